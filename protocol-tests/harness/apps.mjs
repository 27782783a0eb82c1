// The contract apps as the tests see them: one process per distinct configuration, shared by the tests of a file.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { settings } from "./settings.mjs";
import { freePort, ServerProcess } from "./server_process.mjs";
import { fetchOnce, HttpConnection } from "./raw_http.mjs";
import { RawWebSocket } from "./raw_websocket.mjs";
import { PollingSession } from "./polling_session.mjs";
import { DEADLINE_MS, sleep, until } from "./wait.mjs";

// The client for browsers, which Node's server finds by itself.
export const CLIENT_DIST = join(dirname(createRequire(import.meta.url).resolve("socket.io/package.json")), "client-dist");

class App {
  constructor(port, path, process) {
    this.port = port;
    this.path = path;
    this.process = process;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  query(more = "", { eio = 4, transport = "polling" } = {}) {
    return `${this.path}?EIO=${eio}&transport=${transport}${more}`;
  }

  fetch(request) {
    return fetchOnce(this.port, typeof request === "string" ? { path: request } : request);
  }

  connection() {
    return HttpConnection.open(this.port);
  }

  polling(query, options) {
    return PollingSession.open(this, query, options);
  }

  // A WebSocket session of its own, its open packet read.
  async websocket(more = "", { eio, ...options } = {}) {
    const websocket = await RawWebSocket.open(this.port, this.query(more, { eio, transport: "websocket" }), options);
    if (websocket.http?.status !== 101) throw new Error(`no upgrade: ${JSON.stringify(websocket.http)}`);
    const open = await websocket.text();
    websocket.handshake = JSON.parse(open.slice(1));
    websocket.sid = websocket.handshake.sid;
    return websocket;
  }

  // A WebSocket that offers itself as the upgrade of a session; nothing sent yet.
  probe(sid, { eio, ...options } = {}) {
    return RawWebSocket.open(this.port, this.query(`&sid=${sid}`, { eio, transport: "websocket" }), options);
  }

  rawWebSocket(path, options) {
    return RawWebSocket.open(this.port, path, options);
  }
}

function shared(apps, key, start) {
  if (!apps.has(key)) apps.set(key, start());
  return apps.get(key);
}

async function stopEach(apps) {
  const started = await Promise.allSettled(apps.values());
  await Promise.all(started.map((app) => app.value?.process?.stop()));
  apps.clear();
}

export class SocketioApp extends App {
  static #apps = new Map();

  static async get(env, own) {
    if (settings.url) return new SocketioApp(portOf(settings.url), "/socket.io/", undefined);
    const key = own ? Symbol("own") : JSON.stringify(env);
    return shared(SocketioApp.#apps, key, async () => {
      const process = await ServerProcess.start(settings.server, { CLIENT_DIST, ...env });
      return new SocketioApp(process.port, "/socket.io/", process);
    });
  }

  // Ends the process and starts it again on the same port.
  async restart() {
    await this.process.stop();
    this.process = await ServerProcess.start(settings.server, this.process.env, { port: this.port });
  }

  static stopAll() {
    return stopEach(SocketioApp.#apps);
  }
}

// What ends a polling session: of version 4 or 3, of JSONP.
const CLOSE_PACKETS = [
  [4, "1"],
  [3, "1:1"],
  [4, "d=1"],
  [3, "d=1:1"],
];

export class EngineApp extends App {
  static #apps = new Map();
  #log = [];

  static async get(configuration, own) {
    const key = own ? Symbol("own") : JSON.stringify(configuration);
    const app = await shared(EngineApp.#apps, key, () => EngineApp.start(configuration));
    if (!app.process.exit) return app;
    EngineApp.#apps.delete(key); // it ended: that failed the test before, not the next one
    return EngineApp.get(configuration, own);
  }

  static async start({ options = {}, hooks = {} }) {
    const controlPort = await freePort();
    const env = { OPTIONS: JSON.stringify(options), HOOKS: JSON.stringify(hooks), CONTROL_PORT: String(controlPort) };
    const process = await ServerProcess.start(settings.engineServer, env);
    const path = (options.path ?? "/engine.io").replace(/\/?$/, "/");
    const app = new EngineApp(process.port, path, process);
    app.controlPort = controlPort;
    return app;
  }

  static stopAll() {
    return stopEach(EngineApp.#apps);
  }

  // Carries commands out on the first session, in one go.
  async act(...commands) {
    const body = JSON.stringify(commands);
    const headers = { "Content-Type": "application/json" };
    const response = await fetchOnce(this.controlPort, { method: "POST", path: "/act", headers, body });
    if (response.status !== 204) throw new Error(`/act answered ${response.status}: ${response.body}`);
  }

  async sessions() {
    return JSON.parse((await fetchOnce(this.controlPort, { path: "/sessions" })).body);
  }

  // Waits until `count` things have happened since the test began, and gives all that have.
  async events(count) {
    await until(async () => {
      this.#log.push(...JSON.parse((await fetchOnce(this.controlPort, { path: "/events" })).body));
      return this.#log.length >= count;
    }, `${count} events`).catch((error) => {
      throw new Error(`${error.message}; so far: ${JSON.stringify(this.#log)}`);
    });
    return this.#log.slice();
  }

  async messages(count) {
    const texts = () => this.#log.filter((event) => "message" in event).map((event) => event.message);
    await until(async () => (await this.events(0)) && texts().length >= count, `${count} messages`);
    return texts();
  }

  async closeReason() {
    const closed = () => this.#log.find((event) => "close" in event);
    await until(async () => (await this.events(0)) && closed(), "the close of the session");
    return closed().close;
  }

  async errors(count) {
    const errors = () => this.#log.filter((event) => "connection_error" in event).map((event) => event.connection_error);
    await until(async () => (await this.events(0)) && errors().length >= count, `${count} connection errors`);
    return errors();
  }

  // `/act` means the first session: none of the last test may be left when the next begins.
  async forgetSessions() {
    if (this.process.exit) return;
    const end = Date.now() + DEADLINE_MS;
    for (let sids, round = 0; (sids = await this.sessions()).length > 0; round++) {
      if (Date.now() > end) return this.process.kill();
      if (round > 0) await sleep(5);
      const [eio, body] = CLOSE_PACKETS[round % CLOSE_PACKETS.length];
      for (const sid of sids) await this.fetch({ method: "POST", path: this.query(`&sid=${sid}`, { eio }), body });
    }
    await this.events(0);
    this.#log = [];
  }
}

export class BenchApp extends App {
  static #apps = new Map();

  static get() {
    return shared(BenchApp.#apps, "bench", async () => {
      const process = await ServerProcess.start(settings.benchServer);
      return new BenchApp(process.port, "/socket.io/", process);
    });
  }

  static stopAll() {
    return stopEach(BenchApp.#apps);
  }
}

function portOf(url) {
  const { hostname, port } = new URL(url);
  if (hostname !== "127.0.0.1" && hostname !== "localhost") throw new Error(`--url must be on 127.0.0.1, not ${hostname}`);
  return Number(port || 80);
}
