// A node of the contract app `conformance` with its control connection, and several of them on one Redis.

import msgpackParser from "socket.io-msgpack-parser";
import { REFERENCE } from "../harness/defaults.mjs";
import { ServerProcess } from "../harness/server_process.mjs";
import { Client } from "../harness/socketio_client.mjs";
import { until, within } from "../harness/wait.mjs";
import { isNode } from "./configurations.mjs";
import { reaches } from "./hearing.mjs";
import { ownPort } from "./ports.mjs";
import { Stage } from "./stage.mjs";

const COMMAND_MS = 15_000; // an answer may have to wait for the adapter's 5 s
const GATHER_MS = 20_000;

export class ClusterNode {
  #notes = [];

  static async start(name, command, env, clientOptions) {
    const node = new ClusterNode();
    Object.assign(node, { name, command, env: { ...env, NODE_NAME: name }, clientOptions });
    await node.run();
    return node;
  }

  // Also after it was killed: a new process on the same port.
  async run() {
    this.process = await ServerProcess.start(this.command, this.env, { port: this.process?.port ?? (await ownPort()) });
    this.url = `http://127.0.0.1:${this.process.port}`;
    this.path = "/socket.io/";
    this.control = Client.open(this, { nsp: "/ctl", ...this.clientOptions });
    await until(() => this.control.socket.connected, `${this.name} accepts its control connection`);
  }

  async kill() {
    this.control.close();
    await this.process.kill();
    this.#notes = [];
  }

  // Also in the place of the server under test, when none is given.
  get isNode() {
    return this.command === REFERENCE.server;
  }

  async do(op, fields = {}) {
    const asked = new Promise((resolve) => this.control.socket.emit("do", { op, ...fields }, resolve));
    const answer = await within(asked, `${this.name} answers the command ${op}`, COMMAND_MS);
    if (answer.ok) return answer.value;
    throw Object.assign(new Error(`${this.name}: ${op}: ${answer.error}`), { unsupported: answer.error === "unsupported" });
  }

  // All that the app's listener `note` has remembered since the start; it forgets them when it is asked.
  async notes() {
    this.#notes.push(...(await this.do("noted")));
    return this.#notes;
  }

  // An official client, welcomed; `clientOptions` bring the parser.
  async connect(options = {}) {
    const client = await Client.connect(this, { ...this.clientOptions, ...options });
    client.node = this;
    client.name = `a client of ${this.name}`;
    return client;
  }

  get logTail() {
    return this.process.log.join("").split("\n").slice(-12).join("\n");
  }
}

export class Cluster {
  static async start(configuration, names, redis, command) {
    const cluster = new Cluster();
    const envOf = (name) => ({ ...configuration.env, ...configuration.envOf?.(name), REDIS_URL: redis.url });
    const clientOptions = configuration.parser === "msgpack" ? { parser: msgpackParser } : {};
    const start = (name) => ClusterNode.start(name, isNode(name) ? REFERENCE.server : command, envOf(name), clientOptions);
    const started = await Promise.allSettled(names.map(start));
    cluster.nodes = started.flatMap(({ value }) => value ?? []);
    Object.assign(cluster, { configuration, redis });
    const refused = started.find(({ status }) => status === "rejected");
    if (refused) {
      await cluster.stop();
      throw refused.reason;
    }
    return cluster;
  }

  // Until all see each other, in the namespaces that are there from the beginning. Gives what could not be reached there,
  // with which the checks can begin all the same.
  async gather() {
    for (const nsp of ["/", "/chat"]) {
      await this.counted(this.nodes.length, { nsp });
      await this.connected(nsp);
    }
    if (this.configuration.mixedModes) return []; // not all rooms are for all
    this.stage = await Stage.set(this, "/");
    return this.stage.unreached;
  }

  async counted(expected, { nsp = "/", among = this.nodes, ms = GATHER_MS } = {}) {
    for (const node of among) {
      let seen;
      const all = async () => {
        seen = await node.do("serverCount", { nsp }).catch((error) => {
          if (error.unsupported) return expected;
          return error.message;
        });
        return seen === expected;
      };
      await until(all, "", ms).catch(() => {
        throw new Error(`${node.name} sees ${seen} nodes in ${nsp} instead of ${expected}`);
      });
    }
  }

  // Until broadcasts from each node reach a client of each.
  async connected(nsp = "/", among = this.nodes) {
    const clients = await this.everywhere({ nsp }, among);
    await Promise.all(among.map((node) => reaches(node, { nsp }, clients, GATHER_MS)));
    for (const client of clients) client.close();
  }

  // A client of each node.
  everywhere(options, among = this.nodes) {
    return Promise.all(among.map((node) => node.connect(options)));
  }

  async stop() {
    for (const { control } of this.nodes) control?.close();
    await Promise.all(this.nodes.map(({ process }) => process?.stop()));
  }
}
