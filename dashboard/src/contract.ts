// What travels between the page and the job monitor; docs/job-monitor.md describes it.

export type JobState = "running" | "completed" | "failed";

/** A job in short. Moments are milliseconds since 1970, by the clock of the job (`updatedAt`: of the monitor). */
export interface Summary {
  jobId: string;
  state: JobState;
  name: string | null;
  startedAt: number;
  updatedAt: number;
  finishedAt: number | null;
  itemsScraped: number;
  pagesScraped: number;
  currentPage: number;
  totalPages: number | null;
  /** Milliseconds. */
  elapsedTime: number;
  errors: number;
  lastError: string | null;
}

export type EventType = "job_started" | "job_progress" | "job_completed" | "job_failed" | "item_scraped" | "error";

export interface JobEvent {
  type: EventType;
  jobId: string;
  timestamp: string | number;
  data: Record<string, unknown>;
}

export interface Snapshot {
  jobId: string;
  job: Summary | null;
  events: JobEvent[];
}

export type Answer = { ok: true } | { ok: false; error: string };

export interface FromMonitor {
  event: (event: JobEvent) => void;
  snapshot: (snapshot: Snapshot) => void;
  jobs: (overview: { jobs: Summary[] }) => void;
  job: (summary: Summary) => void;
  forgotten: (jobId: string) => void;
}

export interface ToMonitor {
  subscribe: (jobId: string, answered: (answer: Answer) => void) => void;
  unsubscribe: (jobId: string, answered: (answer: Answer) => void) => void;
  watch: (answered: (answer: Answer) => void) => void;
}
