// Values in words.

import type { EventType, JobEvent, JobState, Summary } from "./contract";

const number = new Intl.NumberFormat();
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const count = (value: number): string => number.format(value);

export const STATES: Record<JobState, string> = { running: "Running", completed: "Completed", failed: "Failed" };

export const EVENT_TYPES: Record<EventType, string> = {
  job_started: "Started",
  job_progress: "Progress",
  job_completed: "Completed",
  job_failed: "Failed",
  item_scraped: "Item",
  error: "Error",
};

export function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (h > 0) return `${h}\u00a0h ${m}\u00a0min`;
  return m > 0 ? `${m}\u00a0min ${s}\u00a0s` : `${s}\u00a0s`;
}

/** The time of day of an event, or its timestamp as it is where no clock reads it. */
export function clock(timestamp: string | number): string {
  const date = new Date(timestamp);
  return Number.isNaN(date.getTime()) ? String(timestamp) : time.format(date);
}

/** How far a job is, in whole per cent; null while nobody can know. */
export function percent(job: Summary): number | null {
  if (job.state === "completed") return 100;
  if (job.totalPages === null || job.totalPages === 0) return null;
  return Math.min(100, Math.floor((100 * job.currentPage) / job.totalPages));
}

export function pages(job: Summary): string {
  const of = job.totalPages === null ? "" : ` of ${count(job.totalPages)}`;
  return `${count(job.currentPage)}${of}`;
}

/** An event in one line. */
export function sentence({ type, data }: JobEvent): string {
  const text = (key: string) => (typeof data[key] === "string" ? (data[key] as string) : undefined);
  const figure = (key: string) => (typeof data[key] === "number" ? count(data[key] as number) : "?");
  switch (type) {
    case "job_progress":
    case "job_completed":
      if (data["itemsScraped"] === undefined) break;
      return `page ${figure("currentPage")} of ${figure("totalPages")}, ${figure("itemsScraped")} items`;
    case "job_started":
      return text("url") ?? text("name") ?? compact(data);
    case "item_scraped": {
      const name = text("name") ?? text("title");
      if (name === undefined) break;
      const price = typeof data["price"] === "number" ? data["price"].toFixed(2) : text("price");
      return price === undefined ? name : `${name}, ${price}`;
    }
    case "job_failed":
    case "error":
      return text("message") ?? compact(data);
  }
  return compact(data);
}

function compact(data: Record<string, unknown>): string {
  const text = JSON.stringify(data);
  return text === "{}" ? "" : text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
