// The programs under test: found where cargo put them, started, read, and stopped.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROJECT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const START_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 15_000;

/** The job monitor (`MONITOR_BIN`) and the example crawler (`SCRAPE_BIN`), else the newest builds of both. */
export const MONITOR = process.env.MONITOR_BIN ?? built("job-monitor");
export const SCRAPE = process.env.SCRAPE_BIN ?? built("examples/scrape");

/** Chromium as Debian installs it, or `CHROMIUM`. */
export const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(CHROMIUM)) {
  throw new Error(`there is no ${CHROMIUM}: as root run apt-get install chromium, or name a Chromium with CHROMIUM`);
}

function built(name) {
  const metadata = execFileSync("cargo", ["metadata", "--no-deps", "--format-version", "1"], {
    cwd: PROJECT,
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  const target = JSON.parse(metadata).target_directory;
  const found = ["quick", "release", "debug"].map((profile) => join(target, profile, name)).filter(existsSync);
  if (found.length === 0) {
    throw new Error(
      `${name} is not built; run: cargo build --profile quick --features job-monitor --bin job-monitor --example scrape`,
    );
  }
  return found.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}

/** A job monitor of its own, on a free port unless `listen` says otherwise. */
export class Monitor {
  static async start({ listen = "127.0.0.1:0", environment = {} } = {}) {
    const monitor = new Monitor();
    monitor.process = spawn(MONITOR, ["--listen", listen, "--dashboard", join(PROJECT, "dashboard", "dist")], {
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const timer = setTimeout(() => monitor.process.kill("SIGKILL"), START_TIMEOUT_MS);
    for await (const line of createInterface({ input: monitor.process.stdout })) {
      monitor.read(line);
      if (monitor.url !== undefined && line === "") break;
    }
    clearTimeout(timer);
    if (monitor.url === undefined) throw new Error("the job monitor did not print its address");
    monitor.process.stdout.resume();
    return monitor;
  }

  /** Reads a line of what the job monitor prints at its start. */
  read(line) {
    const [, label, value] = /^ {2}(Dashboard|Viewer token|Publisher token) +(\S+)$/.exec(line) ?? [];
    if (label === "Dashboard") {
      this.dashboard = value;
      this.url = new URL(value).origin;
    } else if (label === "Publisher token") {
      this.publisher = value;
    }
  }

  async stop() {
    await stop(this.process);
  }
}

/** A token signed with the secret of `environment`. */
export function token(environment, ...options) {
  return execFileSync(MONITOR, ["token", ...options], { env: { ...process.env, ...environment }, encoding: "utf8" }).trim();
}

/** Starts the example crawler; it reports to this monitor. */
export function scrape(monitor, job, ...options) {
  return spawn(SCRAPE, ["--monitor", monitor.url, "--job", job, ...options], {
    env: { ...process.env, SCRAPE_TOKEN: monitor.publisher },
    stdio: ["ignore", "inherit", "inherit"],
  });
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  child.kill("SIGTERM");
  await once(child, "exit");
  clearTimeout(timer);
}
