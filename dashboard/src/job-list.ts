// The list of jobs: one card each, kept and updated in place.

import type { Summary } from "./contract";
import { byId, create, setAttribute, setText } from "./dom";
import { count, duration, pages, percent, STATES } from "./format";

/** A job and when its figures came, by the clock of this page. */
export interface KnownJob {
  summary: Summary;
  receivedAt: number;
}

/** Its elapsed time now: what the job last said, and the time since then while it runs. */
export function elapsed({ summary, receivedAt }: KnownJob): number {
  return summary.state === "running" ? summary.elapsedTime + (Date.now() - receivedAt) : summary.elapsedTime;
}

export class JobList {
  readonly #list = byId("job-list");
  readonly #cards = new Map<string, JobCard>();
  readonly #select: (jobId: string) => void;

  constructor(select: (jobId: string) => void) {
    this.#select = select;
  }

  render(jobs: ReadonlyMap<string, KnownJob>, selected: string | null): void {
    const sorted = [...jobs.values()].sort((a, b) => b.summary.startedAt - a.summary.startedAt);
    for (const [id, card] of this.#cards) {
      if (jobs.has(id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    sorted.forEach((job, place) => {
      const card = this.#card(job.summary.jobId);
      card.render(job, job.summary.jobId === selected);
      if (this.#list.children[place] !== card.element) this.#list.insertBefore(card.element, this.#list.children[place] ?? null);
    });
    const running = sorted.filter((job) => job.summary.state === "running").length;
    setText(byId("jobs-count"), sorted.length === 0 ? "" : `${count(running)} running, ${count(sorted.length)} in all`);
    byId("no-jobs").hidden = sorted.length > 0;
  }

  #card(jobId: string): JobCard {
    let card = this.#cards.get(jobId);
    if (card === undefined) {
      card = new JobCard(jobId, () => this.#select(jobId));
      this.#cards.set(jobId, card);
    }
    return card;
  }
}

class JobCard {
  readonly element = create("li");
  readonly #button = create("button", "job");
  readonly #name = create("span", "job-name");
  readonly #badge = create("span", "badge");
  readonly #id: HTMLElement;
  readonly #bar = create("div", "progress");
  readonly #fill = create("div", "progress-fill");
  readonly #figures = create("p", "job-figures");

  constructor(jobId: string, select: () => void) {
    this.#id = create("p", "quiet mono", jobId);
    this.#button.type = "button";
    this.#button.addEventListener("click", select);
    this.#button.append(create("span", "job-head", this.#name, this.#badge));
    this.#bar.setAttribute("role", "progressbar");
    this.#bar.setAttribute("aria-valuemin", "0");
    this.#bar.setAttribute("aria-valuemax", "100");
    this.#bar.append(this.#fill);
    this.element.dataset["job"] = jobId;
    this.element.className = "job-card";
    this.element.append(this.#button, this.#id, this.#bar, this.#figures);
  }

  render(job: KnownJob, isSelected: boolean): void {
    const { summary } = job;
    const name = summary.name ?? summary.jobId;
    setText(this.#name, name);
    setText(this.#badge, STATES[summary.state]);
    this.element.dataset["state"] = summary.state;
    this.#id.hidden = summary.name === null;
    setAttribute(this.#button, "aria-pressed", String(isSelected));
    this.element.classList.toggle("selected", isSelected);

    const done = percent(summary);
    setAttribute(this.#bar, "aria-label", `Progress of ${name}`);
    setAttribute(this.#bar, "aria-valuenow", done === null ? null : String(done));
    setAttribute(this.#bar, "aria-valuetext", done === null ? "unknown" : `${done} %, page ${pages(summary)}`);
    this.#bar.classList.toggle("indeterminate", done === null && summary.state === "running");
    this.#fill.style.width = `${done ?? 0}%`;

    const errors = summary.errors === 0 ? "" : ` · ${count(summary.errors)} ${summary.errors === 1 ? "error" : "errors"}`;
    const known = done === null ? "" : `${done} % · `;
    setText(
      this.#figures,
      `${known}page ${pages(summary)} · ${count(summary.itemsScraped)} items · ${duration(elapsed(job))}${errors}`,
    );
  }
}
