// The dashboard in a real Chromium, served by a real job monitor, watching a real crawl.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { CHROMIUM, Monitor, scrape, stop, token } from "./programs.mjs";

const WAIT_MS = 30_000; // of one expectation; generous, for machines that do other things too

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
});
after(() => browser?.close());

/** A page of a profile of its own; whatever goes wrong in it fails the test. */
async function open(t, url) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(error));
  t.after(() => assert.deepEqual(errors, []));
  await page.goto(url);
  return page;
}

async function started(t, start) {
  const monitor = await start;
  t.after(() => monitor.stop());
  return monitor;
}

const statusIs = (page, text) => page.locator("#status", { hasText: text }).waitFor();

test("the progress bar of a real crawl moves until the job is complete", async (t) => {
  const monitor = await started(t, Monitor.start());
  const page = await open(t, monitor.dashboard);
  await statusIs(page, "Live");
  assert.equal(new URL(page.url()).hash, "", "the token has left the address bar");
  await page.getByText("No job has posted an event yet").waitFor();

  // Every value that any progress bar shows from now on.
  await page.evaluate(() => {
    window.seen = [];
    const look = () => {
      const now = document.querySelector("[data-job=a-crawl] [role=progressbar]")?.getAttribute("aria-valuenow");
      if (now !== null && now !== undefined && now !== window.seen.at(-1)) window.seen.push(now);
    };
    new MutationObserver(look).observe(document.querySelector("#job-list"), { subtree: true, childList: true, attributes: true });
  });
  const crawl = scrape(monitor, "a-crawl", "--pages", "12", "--delay", "300");
  t.after(() => stop(crawl));

  const card = page.locator("[data-job=a-crawl]");
  await card.getByRole("progressbar", { name: "Progress of Bookshop crawl" }).waitFor();
  await card.locator(".badge", { hasText: "Running" }).waitFor();
  await card.locator(".badge", { hasText: "Completed" }).waitFor();
  const seen = (await page.evaluate(() => window.seen)).map(Number);
  assert.ok(new Set(seen).size >= 3, `at least three values: ${seen}`);
  assert.deepEqual(seen, seen.toSorted((a, b) => a - b), "it only goes forward");
  assert.equal(seen.at(-1), 100);
  assert.equal(await card.getByRole("progressbar").getAttribute("aria-valuenow"), "100");

  // It was selected by itself, and its events came live.
  const log = page.getByRole("log");
  await log.locator("[data-type=job_started]").waitFor();
  await log.locator("[data-type=error]", { hasText: "/page/7 answered 500" }).waitFor();
  await log.locator("[data-type=job_completed]").waitFor();
  await log.locator("[data-type=item_scraped]").first().waitFor();
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
});

test("whoever comes later sees what was, and follows a job by its id", async (t) => {
  const monitor = await started(t, Monitor.start());
  const post = async (type, data) => {
    const answer = await fetch(`${monitor.url}/jobs/by-hand/events`, {
      method: "POST",
      headers: { authorization: `Bearer ${monitor.publisher}`, "content-type": "application/json" },
      body: JSON.stringify({ type, jobId: "by-hand", timestamp: Date.now(), data }),
    });
    assert.equal(answer.status, 202);
  };
  await post("job_started", { name: "<img src=x onerror=alert(1)>" });
  await post("item_scraped", { name: "first" });
  const page = await open(t, monitor.dashboard);
  const title = page.locator("#details-title");
  await title.getByText("<img src=x onerror=alert(1)>").waitFor();
  await page.getByRole("log").getByText("first").waitFor();

  const follow = page.getByLabel("Follow a job by its id");
  await follow.fill("not an id");
  await follow.press("Enter");
  await page.getByText("jobId is not accepted").waitFor();
  await follow.fill("not-yet");
  await follow.press("Enter");
  await page.getByText("Waiting for its first event").waitFor();
  await page.locator("[data-job=by-hand] button").click();
  await page.getByRole("log").getByText("first").waitFor();
  await post("job_failed", { message: "the disk is full" });
  await page.locator("#details-problem", { hasText: "the disk is full" }).waitFor();
});

test("a wrong token is answered with words, and a right one can be given", async (t) => {
  const monitor = await started(t, Monitor.start());
  const page = await open(t, `${monitor.url}/#token=wrong`);
  await statusIs(page, "Authentication failed");
  await page.locator("#sign-in-problem", { hasText: "Authentication failed" }).waitFor();
  await page.getByLabel("Token", { exact: true }).fill(new URL(monitor.dashboard).hash.slice("#token=".length));
  await page.getByRole("button", { name: "Connect" }).click();
  await statusIs(page, "Live");
});

test("after a restart of the monitor the page is live again by itself", async (t) => {
  const environment = { JOB_MONITOR_JWT_SECRET: randomBytes(32).toString("hex") };
  const first = await started(t, Monitor.start({ environment }));
  const page = await open(t, `${first.url}/#token=${token(environment)}`);
  await statusIs(page, "Live");
  await first.stop();
  await statusIs(page, "Reconnecting…");
  await started(t, Monitor.start({ listen: new URL(first.url).host, environment }));
  await statusIs(page, "Live");
});
