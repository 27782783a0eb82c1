// A WebSocket with permessage-deflate by hand: each message is compressed and inflated here, so that its frames can be looked at.

import { constants, deflateRawSync, inflateRawSync } from "node:zlib";

const TAIL = Buffer.from([0x00, 0x00, 0xff, 0xff]);

// One direction: what is left of the messages before, for those after them to refer to.
class Direction {
  #history = Buffer.alloc(0);

  constructor(agreed, side) {
    this.windowBits = Number(new RegExp(`${side}_max_window_bits=(\\d+)`).exec(agreed)?.[1] ?? 15);
    this.takesOver = !agreed.includes(`${side}_no_context_takeover`);
  }

  #options() {
    const dictionary = this.#history.length > 0 ? { dictionary: this.#history } : {};
    return { finishFlush: constants.Z_SYNC_FLUSH, windowBits: this.windowBits, ...dictionary };
  }

  #remember(bytes) {
    if (this.takesOver) this.#history = Buffer.concat([this.#history, bytes]).subarray(-(2 ** this.windowBits));
  }

  deflate(bytes) {
    const payload = deflateRawSync(bytes, this.#options()).subarray(0, -TAIL.length);
    this.#remember(bytes);
    return payload;
  }

  inflate(payload) {
    const bytes = inflateRawSync(Buffer.concat([payload, TAIL]), this.#options());
    this.#remember(bytes);
    return bytes;
  }
}

export class DeflatedWebSocket {
  #websocket;
  #sending;
  #receiving;

  constructor(websocket) {
    this.#websocket = websocket;
    this.agreed = websocket.http.headers["sec-websocket-extensions"] ?? "";
    this.#sending = new Direction(this.agreed, "client");
    this.#receiving = new Direction(this.agreed, "server");
  }

  // A session whose offer the server took, its open packet not read.
  static async open(app, offer = "permessage-deflate", { more = "", eio } = {}) {
    const headers = { "Sec-WebSocket-Extensions": offer };
    const websocket = await app.rawWebSocket(app.query(more, { eio, transport: "websocket" }), { headers });
    const deflated = new DeflatedWebSocket(websocket);
    if (!deflated.agreed.startsWith("permessage-deflate")) throw new Error(`no permessage-deflate: ${websocket.http?.raw}`);
    return deflated;
  }

  // The payload of a compressed message, which must be the next that is sent.
  deflate(message) {
    return this.#sending.deflate(Buffer.from(message));
  }

  // Sends messages compressed: a string is a text, a Buffer binary.
  sendDeflated(...messages) {
    this.send(...messages.map((message) => ({ deflated: typeof message === "string" ? "text" : "binary", bytes: this.deflate(message) })));
  }

  send(...frames) {
    this.#websocket.send(...frames);
  }

  write(bytes) {
    this.#websocket.write(bytes);
  }

  // The next frame; a compressed message is {text} or {hex}, and {size} on the wire.
  async next(what) {
    const frame = await this.#websocket.next(what);
    if (frame.deflated === undefined) return frame;
    const bytes = this.#receiving.inflate(frame.bytes);
    const message = frame.deflated === "text" ? { text: bytes.toString() } : { hex: bytes.toString("hex") };
    return { ...message, size: frame.bytes.length };
  }

  abort() {
    this.#websocket.abort();
  }
}
