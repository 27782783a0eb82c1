// Redis servers of our own: on free ports of 127.0.0.1, without persistence, in folders that are removed afterwards.

import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient, createCluster } from "redis";
import { freePort } from "../harness/server_process.mjs";
import { until, within } from "../harness/wait.mjs";

const START_MS = 10_000;
const CLUSTER_MS = 30_000;
const running = new Set();

process.on("exit", () => {
  for (const redis of running) redis.discard();
});

// Says what to install where the programs are missing or too old (sharded channels came with Redis 7).
export function missingRedis() {
  for (const program of ["redis-server", "redis-cli"]) {
    const { stdout, error } = spawnSync(program, ["--version"], { encoding: "utf8" });
    if (error) return `${program} is missing; on Debian, as root: apt-get install redis-server`;
    const major = Number(/(?:v=|redis-cli )(\d+)/.exec(stdout)?.[1]);
    if (major < 7) return `${program} is too old, Redis 7 or newer is needed: ${stdout.trim()}`;
  }
}

async function connected(client) {
  client.on("error", () => {}); // it connects again by itself
  await client.connect();
  return client;
}

export class Redis {
  #child;
  #client;
  #folder = mkdtempSync(join(tmpdir(), "cluster-tests-redis-"));
  #arguments;

  static async start(...more) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.#arguments = more;
    await redis.restart();
    return redis;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  // On the same port as before.
  async restart() {
    const settings = { port: this.port, bind: "127.0.0.1", save: "", appendonly: "no", dir: this.#folder, loglevel: "warning" };
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#child = spawn("redis-server", [...flags, ...this.#arguments], { stdio: ["ignore", "pipe", "pipe"] });
    let log = "";
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream.on("data", (data) => (log += data));
    this.exited = new Promise((resolve) => this.#child.on("exit", resolve));
    running.add(this);
    // Through the command line, which a client library's own reconnecting does not blur.
    const answers = async () => {
      if (this.#child.exitCode !== null) throw new Error(`redis-server ended: ${log}`);
      const { stdout } = await promisify(execFile)("redis-cli", ["-p", String(this.port), "ping"]).catch(() => ({}));
      return stdout?.trim() === "PONG";
    };
    await until(answers, `redis-server answers on port ${this.port}`, START_MS);
  }

  // A client for commands of the tests, connected at the first use.
  client() {
    this.#client ??= connected(createClient({ url: this.url }));
    return this.#client;
  }

  // For the server that has the key; without one, for any.
  async command(key, ...args) {
    return (await this.client()).sendCommand(args);
  }

  async keys(pattern) {
    return (await this.client()).keys(pattern);
  }

  async flush() {
    await (await this.client()).flushAll();
  }

  async kill() {
    this.signal("SIGKILL");
    await this.exited;
    running.delete(this);
  }

  pause() {
    this.signal("SIGSTOP");
  }

  resume() {
    this.signal("SIGCONT");
  }

  signal(name) {
    this.#child.kill(name);
  }

  async stop() {
    (await this.#client)?.destroy();
    await this.kill();
    this.discard();
  }

  // At once, without waiting for anything.
  discard() {
    this.signal("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

// Three masters that share the slots.
export class RedisCluster {
  #client;

  static async start() {
    const cluster = new RedisCluster();
    cluster.masters = [];
    for (let i = 0; i < 3; i++) {
      // The port that the masters talk to each other on would else be 10000 above, among those of outgoing connections.
      const bus = await freePort();
      cluster.masters.push(await Redis.start("--cluster-enabled", "yes", "--cluster-port", String(bus)));
    }
    const addresses = cluster.masters.map(({ port }) => `127.0.0.1:${port}`);
    await within(
      promisify(execFile)("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", "0", "--cluster-yes"]),
      "redis-cli creates the cluster",
      CLUSTER_MS,
    );
    for (const master of cluster.masters) {
      const client = await master.client();
      const knowsAll = async () => /cluster_state:ok[^]*cluster_known_nodes:3/.test(await client.sendCommand(["CLUSTER", "INFO"]));
      await until(knowsAll, "every master knows the whole cluster", CLUSTER_MS);
    }
    return cluster;
  }

  get url() {
    return this.masters.map(({ url }) => url).join(",");
  }

  client() {
    this.#client ??= connected(createCluster({ rootNodes: this.masters.map(({ url }) => ({ url })) }));
    return this.#client;
  }

  async command(key, ...args) {
    return (await this.client()).sendCommand(key, false, args);
  }

  async keys(pattern) {
    return (await Promise.all(this.masters.map((master) => master.keys(pattern)))).flat();
  }

  async flush() {
    await Promise.all(this.masters.map((master) => master.flush()));
  }

  async stop() {
    (await this.#client)?.destroy();
    await Promise.all(this.masters.map((master) => master.stop()));
  }
}
