// One job in full: its figures and its events as they come.

import type { JobEvent } from "./contract";
import { byId, create, setText } from "./dom";
import { clock, count, duration, EVENT_TYPES, pages, sentence, STATES } from "./format";
import { elapsed, type KnownJob } from "./job-list";

const MAX_LINES = 300; // what one scrolls through; the monitor keeps fewer

export class JobDetails {
  readonly #log = byId("event-log");
  readonly #figures = new Map<string, HTMLElement>();

  constructor() {
    const list = byId("details-figures");
    for (const name of ["Items", "Pages read", "Current page", "Elapsed", "Errors"]) {
      const value = create("dd");
      list.append(create("div", "", create("dt", "", name), value));
      this.#figures.set(name, value);
    }
  }

  /** Shows this job; `job` is undefined while nothing is known of it but its id. */
  render(jobId: string | null, job: KnownJob | undefined): void {
    byId("details").hidden = jobId === null;
    if (jobId === null) return;
    setText(byId("details-title"), job?.summary.name ?? jobId);
    setText(byId("details-id"), job === undefined ? "" : `${jobId}, last heard at ${clock(job.summary.updatedAt)}`);
    byId("details").dataset["state"] = job?.summary.state ?? "unknown";
    setText(byId("details-state"), job === undefined ? "Unknown" : STATES[job.summary.state]);
    byId("details-figures").hidden = job === undefined;
    byId("no-events").hidden = this.#log.childElementCount > 0;
    if (job === undefined) return;
    const { summary } = job;
    this.#set("Items", count(summary.itemsScraped));
    this.#set("Pages read", count(summary.pagesScraped));
    this.#set("Current page", pages(summary));
    this.#set("Elapsed", duration(elapsed(job)));
    this.#set("Errors", count(summary.errors));
    if (summary.state === "failed") this.problem(summary.lastError ?? "The job failed and did not say why.");
  }

  /** Replaces the log. */
  replace(events: readonly JobEvent[]): void {
    this.problem("");
    this.#log.replaceChildren(...events.slice(-MAX_LINES).reverse().map(line));
  }

  /** Adds an event on top of the log. */
  add(event: JobEvent): void {
    if (event.type === "job_started") this.problem("");
    this.#log.prepend(line(event));
    while (this.#log.childElementCount > MAX_LINES) this.#log.lastElementChild?.remove();
  }

  problem(text: string): void {
    setText(byId("details-problem"), text);
  }

  #set(name: string, text: string): void {
    const value = this.#figures.get(name);
    if (value !== undefined) setText(value, text);
  }
}

function line(event: JobEvent): HTMLElement {
  const item = create(
    "li",
    "event",
    create("time", "quiet", clock(event.timestamp)),
    create("span", "event-type", EVENT_TYPES[event.type]),
    create("span", "event-text", sentence(event)),
  );
  item.dataset["type"] = event.type;
  return item;
}
