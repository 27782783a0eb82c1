// Starts a contract app as a shell command, waits for its line "listening on PORT", and ends it.

import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { until, within } from "./wait.mjs";

const START_MS = 20_000; // the contract gives an app 20 s to listen
const TERM_MS = 3_000; // and 3 s to end after SIGTERM
const running = new Set();

export class ServerProcess {
  #child;
  #exited;

  constructor(child, port, env) {
    this.#child = child;
    this.port = port;
    this.env = env;
    this.log = [];
    running.add(this);
    this.#exited = new Promise((resolve) =>
      child.on("exit", (code, signal) => {
        this.exit = { code, signal };
        running.delete(this);
        resolve(this.exit);
      }),
    );
  }

  static async start(command, env = {}, { port } = {}) {
    for (let attempt = 1; ; attempt++) {
      const chosen = port ?? (await freePort());
      const server = ServerProcess.#spawn(command, { ...env, PORT: String(chosen) }, chosen);
      try {
        await server.#listening(command);
        return server;
      } catch (error) {
        await server.stop();
        // Between our look and its bind the port may have been taken by somebody else.
        if (attempt === 3 || !/in use|EADDRINUSE/i.test(server.log.join(""))) throw error;
      }
    }
  }

  static #spawn(command, env, port) {
    const inherited = { ...process.env };
    delete inherited.NODE_TEST_CONTEXT;
    const child = spawn(command.replaceAll("{port}", String(port)), {
      shell: true,
      detached: true, // its own process group, so that the shell and the app end together
      cwd: process.env.INIT_CWD ?? process.cwd(),
      env: { ...inherited, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    return new ServerProcess(child, port, env);
  }

  async #listening(command) {
    await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${command}: ${why}\n${this.log.join("")}`));
      const timer = setTimeout(() => fail(`no line "listening on PORT" within ${START_MS} ms`), START_MS);
      let text = "";
      this.#child.stdout.on("data", (data) => {
        text += data;
        this.log.push(String(data));
        if (/listening on .*\d+/.test(text)) {
          clearTimeout(timer);
          resolve();
        }
      });
      this.#child.stderr.on("data", (data) => this.log.push(String(data)));
      this.#exited.then(({ code, signal }) => {
        clearTimeout(timer);
        fail(`ended before it listened (code ${code}, signal ${signal})`);
      });
    });
  }

  async stop() {
    if (this.exit) return this.exit;
    return this.terminate().catch(() => this.kill());
  }

  // Asks the process to end and waits until it did, or fails.
  async terminate() {
    this.#signal("SIGTERM");
    return within(this.#exited, "the server ends on SIGTERM", TERM_MS);
  }

  async kill() {
    if (!this.exit) this.#signal("SIGKILL");
    return this.#exited;
  }

  // A server that is there and says nothing, until it is resumed.
  async pause() {
    this.#signal("SIGSTOP");
    await until(() => isAsleep(this.#child.pid), "the server is stopped");
  }

  resume() {
    this.#signal("SIGCONT");
  }

  #signal(name) {
    try {
      process.kill(-this.#child.pid, name);
    } catch {
      // It ended by itself meanwhile.
    }
  }

  static killAll() {
    for (const server of running) server.#signal("SIGKILL");
  }
}

process.on("exit", () => ServerProcess.killAll());

// Whether all threads of a process, and of the group that it leads, have stopped: on a busy machine they go on for a while
// after the signal. Where the system does not tell (it is not Linux), the signal is all there is.
export function isAsleep(leader) {
  if (!existsSync("/proc/self/stat")) return true;
  // [state, group] of each thread; none of what has ended meanwhile.
  const stat = (path) => /^.*\) (\S) \d+ (\d+) /s.exec(readIfThere(readFileSync, path, "latin1") ?? "")?.slice(1);
  const numbers = (folder) => (readIfThere(readdirSync, folder) ?? []).filter((name) => /^\d+$/.test(name));
  const members = numbers("/proc").filter((pid) => Number(pid) === leader || Number(stat(`/proc/${pid}/stat`)?.[1]) === leader);
  const threads = members.flatMap((pid) => numbers(`/proc/${pid}/task`).map((task) => stat(`/proc/${pid}/task/${task}/stat`)));
  return threads.every((thread) => !thread || /[TtZX]/.test(thread[0]));
}

function readIfThere(read, ...what) {
  try {
    return read(...what);
  } catch {
    return undefined;
  }
}

// Below the range that the system gives to outgoing connections; random, because test files run side by side.
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(false));
      probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
