// The official engine.io-client in the three ways it connects, with what it receives put into mailboxes; the older one too.

import { Socket } from "engine.io-client";
import createSocket3 from "engine.io-client-3";
import { Mailbox, within } from "./wait.mjs";

export const MODES = {
  "polling only": { transports: ["polling"], upgrade: false },
  "websocket only": { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

export class EngineClient {
  messages = new Mailbox();
  closed = new Mailbox();

  // `version` 3 is the client that speaks Engine.IO 3.
  constructor(app, { version = 4, ...options } = {}) {
    const create = version === 3 ? createSocket3 : (...args) => new Socket(...args);
    this.socket = create(app.url, { path: app.path, ...options });
    this.socket.binaryType = "nodebuffer";
    this.socket.on("message", (data) => this.messages.push(data));
    this.socket.on("close", (reason, details) => this.closed.push({ reason, details }));
    this.socket.on("error", (error) => (this.error = error));
    this.opened = new Promise((resolve) => this.socket.once("open", resolve));
    this.upgraded = new Promise((resolve) => this.socket.once("upgrade", resolve));
  }

  // Opened, and upgraded if that is the way.
  static async open(app, options = {}) {
    const client = new EngineClient(app, options);
    await within(client.opened, "the client opens");
    return client;
  }

  async inMode(mode) {
    if (mode === "upgrade") await within(this.upgraded, "the client upgrades");
    return this;
  }

  send(data) {
    this.socket.send(data);
  }

  close() {
    this.socket.close();
  }
}
