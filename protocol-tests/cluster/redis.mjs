// Redis servers of our own: on free ports of 127.0.0.1, without persistence, in folders that are removed afterwards.

import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient, createCluster } from "redis";
import { isAsleep } from "../harness/server_process.mjs";
import { until, within } from "../harness/wait.mjs";
import { ownPort } from "./ports.mjs";

const START_MS = 30_000;
const CLUSTER_MS = 30_000;
const MASTERS = 3;
const NODE_TIMEOUT_MS = 1500; // after which a master that has a replica counts as lost
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
    redis.port = await ownPort();
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

  async pause() {
    this.signal("SIGSTOP");
    await until(() => isAsleep(this.#child.pid), "Redis is stopped");
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

// Three masters that share the slots; with `replicas` one for each, which soon take over from a master that is lost.
export class RedisCluster {
  #client;

  static async start({ replicas = 0 } = {}) {
    const cluster = new RedisCluster();
    const start = async () => {
      // The port that the servers talk to each other on would else be 10000 above, among those of outgoing connections.
      const settings = { "cluster-enabled": "yes", "cluster-port": await ownPort() };
      // A replica does not wait for others before it copies its master.
      if (replicas > 0) Object.assign(settings, { "cluster-node-timeout": NODE_TIMEOUT_MS, "repl-diskless-sync-delay": 0 });
      return Redis.start(...Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]));
    };
    cluster.servers = []; // one after another: each is asked by redis-cli until it answers
    while (cluster.servers.length < MASTERS * (1 + replicas)) cluster.servers.push(await start());
    cluster.masters = cluster.servers.slice(0, MASTERS);
    const addresses = cluster.servers.map(({ port }) => `127.0.0.1:${port}`);
    await within(
      promisify(execFile)("redis-cli", ["--cluster", "create", ...addresses, "--cluster-replicas", String(replicas), "--cluster-yes"]),
      "redis-cli creates the cluster",
      CLUSTER_MS,
    );
    await Promise.all(
      cluster.servers.map(async (server, i) => {
        const knowsAll = async () => {
          const state = await server.command("", "CLUSTER", "INFO");
          return state.includes("cluster_state:ok") && state.includes(`cluster_known_nodes:${cluster.servers.length}`);
        };
        await until(knowsAll, "every server knows the whole cluster", CLUSTER_MS);
        if (i >= MASTERS) await cluster.follows(server);
      }),
    );
    return cluster;
  }

  get url() {
    return this.servers.map(({ url }) => url).join(",");
  }

  // Until a replica has all that its master has.
  async follows(server) {
    const linked = async () => /^role:slave[^]*master_link_status:up/m.test(await server.command("", "INFO", "replication"));
    await until(linked, `${server.url} follows a master`, CLUSTER_MS);
  }

  // Until all who are left have another master in the place of this one, which was killed.
  async replaced(master) {
    const others = this.servers.filter((server) => server !== master);
    const agreed = async () => {
      const slots = await Promise.all(others.map((server) => server.command("", "CLUSTER", "SLOTS")));
      return slots.flat().every(([, , [, port]]) => port !== master.port);
    };
    await until(agreed, "a replica takes over", CLUSTER_MS);
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
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}
