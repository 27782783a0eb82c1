// The official engine.io-client in the three ways it connects, with what it receives put into mailboxes.

import { Socket } from "engine.io-client";
import { Mailbox, within } from "./wait.mjs";

export const MODES = {
  "polling only": { transports: ["polling"], upgrade: false },
  "websocket only": { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

export class EngineClient {
  messages = new Mailbox();
  closed = new Mailbox();

  constructor(app, options) {
    this.socket = new Socket(app.url, { path: app.path, ...options });
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
