// The official socket.io-client in the three ways it connects, with what it receives put into mailboxes; older ones too.

import { io } from "socket.io-client";
import io1 from "socket.io-client-1";
import io2 from "socket.io-client-2";
import { MODES } from "./engine_client.mjs";
import { Mailbox, until, within } from "./wait.mjs";

export { MODES };

// The clients that speak Engine.IO 3, and what they call a refusal.
export const OLDER = { "1.x": { io: io1, refusal: "error" }, "2.x": { io: io2, refusal: "error" } };
const CURRENT = { io, refusal: "connect_error" };

const open = new Set();

export class Client {
  #mailboxes = new Map();
  refused = new Mailbox();
  disconnected = new Mailbox();

  constructor(socket, library = CURRENT) {
    this.socket = socket;
    this.library = library;
    this.on("welcome");
    socket.on(library.refusal, (error) => this.refused.push(error));
    socket.on("disconnect", (reason, details) => this.disconnected.push({ reason, details }));
    open.add(socket);
  }

  // Connected to the namespace and welcomed; upgraded where that is the way.
  static async connect(app, options = {}) {
    const client = Client.open(app, options);
    await client.welcomed();
    if (options.mode === "upgrade") await client.transport("websocket");
    return client;
  }

  // Does not wait for anything: for what may be refused, or must be watched from the beginning.
  static open(app, { library = CURRENT, nsp = "/", mode = "websocket only", ...options } = {}) {
    const defaults = { path: app.path, forceNew: true, reconnection: false };
    return new Client(library.io(app.url + nsp, { ...defaults, ...MODES[mode], ...options }), library);
  }

  // Another namespace on the same connection.
  join(nsp, options = {}) {
    return new Client(this.socket.io.socket(nsp, options), this.library);
  }

  // Fails at once when the connection is refused instead.
  async welcomed() {
    const welcome = this.on("welcome");
    await until(() => welcome.size > 0 || this.refused.size > 0, "the welcome");
    if (welcome.size === 0) throw new Error(`refused: ${(await this.refused.next()).message}`);
    [this.welcome] = await welcome.next();
  }

  // Resolves when the engine below uses this transport.
  async transport(name) {
    const { engine } = this.socket.io;
    if (engine.transport.name === name) return;
    await within(new Promise((resolve) => engine.once("upgrade", resolve)), `the upgrade to ${name}`);
  }

  // The mailbox of an event: each item is the list of its arguments.
  on(event) {
    if (!this.#mailboxes.has(event)) {
      const mailbox = new Mailbox();
      this.socket.on(event, (...args) => mailbox.push(args));
      this.#mailboxes.set(event, mailbox);
    }
    return this.#mailboxes.get(event);
  }

  emit(event, ...args) {
    this.socket.emit(event, ...args);
  }

  // Emits and gives all arguments of the acknowledgement.
  ask(event, ...args) {
    const answer = new Promise((resolve) => this.socket.emit(event, ...args, (...values) => resolve(values)));
    return within(answer, `the acknowledgement of ${event}`);
  }

  // Emits and gives the first argument of the acknowledgement.
  async call(event, ...args) {
    return (await this.ask(event, ...args))[0];
  }

  get id() {
    return this.socket.id;
  }

  close() {
    this.socket.disconnect();
  }

  static closeAll() {
    for (const socket of open) socket.disconnect();
    open.clear();
  }
}
