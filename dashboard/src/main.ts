// The page: what is known, and who is told when it changes.

import { forgetToken, keepToken, selectedJob, showSelectedJob, takeToken } from "./address";
import { Connection, type ConnectionState } from "./connection";
import type { Summary } from "./contract";
import { byId, setText } from "./dom";
import { JobDetails } from "./job-details";
import { JobList, type KnownJob } from "./job-list";

const jobs = new Map<string, KnownJob>();
let selected: string | null = selectedJob();
let connection: Connection | null = null;
let renderIsDue = false;

const list = new JobList((jobId) => {
  // On a narrow screen the details stand below the list.
  void select(jobId).then(() => byId("details").scrollIntoView({ block: "nearest", behavior: "smooth" }));
});
const details = new JobDetails();

/** Renders with the next frame, however many events come before it. */
function changed(): void {
  if (renderIsDue) return;
  renderIsDue = true;
  requestAnimationFrame(render);
}

function render(): void {
  renderIsDue = false;
  list.render(jobs, selected);
  details.render(selected, selected === null ? undefined : jobs.get(selected));
}

function learn(summary: Summary): void {
  jobs.set(summary.jobId, { summary, receivedAt: Date.now() });
}

async function select(jobId: string): Promise<boolean> {
  setText(byId("follow-problem"), "");
  const answer = await connection?.subscribe(jobId);
  if (answer === undefined || !answer.ok) {
    setText(byId("follow-problem"), answer?.error ?? "There is no connection.");
    return false;
  }
  return true;
}

function connect(token: string): void {
  connection?.close();
  jobs.clear();
  byId("sign-in").hidden = true;
  byId("board").hidden = false;
  connection = new Connection(token, {
    state: show,
    jobs: (overview) => {
      jobs.clear();
      overview.jobs.forEach(learn);
      // Whoever comes to look wants to see something: the latest job, unless they already chose one.
      const first = overview.jobs[0];
      if (selected === null && first !== undefined) void select(first.jobId);
      changed();
    },
    job: (summary) => {
      const isFirst = jobs.size === 0;
      learn(summary);
      if (selected === null && isFirst) void select(summary.jobId);
      changed();
    },
    forgotten: (jobId) => {
      jobs.delete(jobId);
      changed();
    },
    snapshot: ({ jobId, job, events }) => {
      // It opens the stream of this job's events: from here on this job is the selected one.
      if (selected !== null && selected !== jobId) void connection?.unsubscribe(selected);
      selected = jobId;
      showSelectedJob(jobId);
      if (job !== null) learn(job);
      details.replace(events);
      changed();
    },
    event: (event) => {
      if (event.jobId !== selected) return;
      details.add(event);
      changed();
    },
  });
}

async function resume(): Promise<void> {
  const answer = await connection?.watch();
  if (answer !== undefined && !answer.ok) setText(byId("follow-problem"), answer.error);
  if (selected !== null) await select(selected);
}

function show(state: ConnectionState): void {
  const status = byId("status");
  status.dataset["state"] = state.kind;
  byId("sign-out").hidden = state.kind === "refused";
  byId("reconnect").hidden = state.kind !== "ended";
  switch (state.kind) {
    case "connecting":
      return setText(status, "Connecting…");
    case "connected":
      setText(status, "Live");
      return void resume();
    case "reconnecting":
      return setText(status, "Connection lost. Reconnecting…");
    case "ended":
      return setText(status, "The job monitor ended the session");
    case "refused":
      setText(status, state.message);
      forgetToken();
      return askForToken(
        state.message === "Authentication failed"
          ? "Authentication failed: the token is not valid, or has expired."
          : `The job monitor refused the connection: ${state.message}`,
      );
  }
}

function askForToken(problem: string): void {
  byId("board").hidden = true;
  byId("sign-in").hidden = false;
  setText(byId("sign-in-problem"), problem);
  byId("token").focus();
}

function start(): void {
  const token = takeToken();
  if (token !== null) return connect(token);
  const status = byId("status");
  status.dataset["state"] = "signed-out";
  setText(status, "Not connected");
  askForToken("");
}

byId("token-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const input = byId<HTMLInputElement>("token");
  const token = input.value.trim();
  if (token === "") return;
  input.value = "";
  keepToken(token);
  connect(token);
});

byId("follow-form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const input = byId<HTMLInputElement>("follow");
  if (await select(input.value.trim())) input.value = "";
});

byId("sign-out").addEventListener("click", () => {
  connection?.close();
  connection = null;
  forgetToken();
  location.replace(location.pathname);
});

byId("reconnect").addEventListener("click", () => {
  show({ kind: "connecting" });
  connection?.reconnect();
});

// An address with another token, pasted into the same tab, changes the fragment and nothing else.
addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) start();
});

setInterval(changed, 1000); // elapsed times go on between events
start();
