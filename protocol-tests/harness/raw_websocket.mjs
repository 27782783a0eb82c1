// WebSocket frames by hand over a TCP socket: valid and invalid ones out; every frame, stray byte and FIN in.
//
// What comes is given in the form of the transcripts: {text}, {hex}, {ping}, {pong}, {close, reason?}, {raw}, {tcp}.
// A compressed message (RSV1) is left as it is, both ways: {deflated: "text" or "binary", bytes}.

import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { parseResponse } from "./raw_http.mjs";
import { DEADLINE_MS, Mailbox, sleep, within } from "./wait.mjs";

const RSV1 = 0x40;
const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

export class RawWebSocket {
  #socket;
  #input = Buffer.alloc(0);
  #received = new Mailbox();
  #head;
  #fragments = null;
  #ended = false;

  constructor(socket, headResolve) {
    this.#socket = socket;
    this.#head = headResolve;
    socket.setNoDelay(true);
    socket.on("data", (data) => {
      this.#input = Buffer.concat([this.#input, data]);
      this.#parse();
    });
    socket.on("end", () => this.#over("fin"));
    socket.on("error", () => this.#over("reset"));
    socket.on("close", () => this.#over("fin"));
  }

  // Opens the TCP connection, sends the upgrade request and waits for the answer, whatever it is: see `http`.
  static async open(port, path, { headers = {}, key = randomBytes(16).toString("base64"), trailing } = {}) {
    // As every client does, we end our side when the server has ended its own.
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: false });
    await within(new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject)), "a connection");
    let websocket;
    const head = new Promise((resolve) => (websocket = new RawWebSocket(socket, resolve)));
    const all = {
      Host: "127.0.0.1",
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      ...headers,
    };
    const lines = [`GET ${path} HTTP/1.1`];
    for (const [name, value] of Object.entries(all)) if (value !== undefined) lines.push(`${name}: ${value}`);
    const request = Buffer.from(lines.join("\r\n") + "\r\n\r\n");
    socket.write(trailing ? Buffer.concat([request, trailing]) : request);
    websocket.http = await within(head, `an answer to the upgrade of ${path}`);
    websocket.expectedAccept = createHash("sha1").update(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    return websocket;
  }

  // Sends frames written as in the transcripts; all of them in one write.
  send(...frames) {
    this.write(Buffer.concat(frames.map(encode)));
  }

  write(bytes) {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  next(what = "a frame", ms = DEADLINE_MS) {
    return this.#received.next(what, ms);
  }

  // The next frame that is a text, as a string.
  async text(ms) {
    const frame = await this.next("a text frame", ms);
    if (frame.text === undefined) throw new Error(`expected a text frame, got ${JSON.stringify(frame)}`);
    return frame.text;
  }

  // What came within `ms`, possibly nothing.
  async quiet(ms) {
    await sleep(ms);
    return this.#received.drain();
  }

  get received() {
    return this.#received.size;
  }

  get tcpClosed() {
    return this.#ended;
  }

  // Drops the TCP connection without a close frame.
  abort() {
    this.#socket.destroy();
  }

  end() {
    this.#socket.end();
  }

  #over(how) {
    if (this.#ended) return;
    this.#ended = true;
    this.#parse();
    this.#head?.(null);
    this.#received.push({ tcp: how });
  }

  #parse() {
    if (this.#head && !this.#parseHead()) return;
    if (this.#input.subarray(0, 7).toString("latin1") === "HTTP/1.") {
      // Bytes after the 101 that are no frame: whole when the server has ended its side.
      if (this.#ended) this.#received.push({ raw: this.#input.toString("latin1") });
      if (this.#ended) this.#input = Buffer.alloc(0);
      return;
    }
    for (let frame; (frame = this.#parseFrame()); ) this.#deliver(frame);
  }

  #parseHead() {
    const parsed = parseResponse(this.#input, "GET", this.#ended);
    if (!parsed) return false;
    this.#input = this.#input.subarray(parsed.length);
    this.#head(parsed.response);
    this.#head = null;
    return true;
  }

  #parseFrame() {
    const input = this.#input;
    if (input.length < 2) return undefined;
    let length = input[1] & 0x7f;
    let at = 2;
    if (length === 126) {
      if (input.length < 4) return undefined;
      length = input.readUInt16BE(2);
      at = 4;
    } else if (length === 127) {
      if (input.length < 10) return undefined;
      length = Number(input.readBigUInt64BE(2));
      at = 10;
    }
    if (input[1] & 0x80) throw new Error("the server masked a frame");
    if (input.length < at + length) return undefined;
    const frame = { fin: (input[0] & 0x80) !== 0, rsv: input[0] & 0x70, opcode: input[0] & 0x0f };
    frame.payload = input.subarray(at, at + length);
    this.#input = input.subarray(at + length);
    return frame;
  }

  #deliver({ fin, rsv, opcode, payload }) {
    if (opcode === OPCODE.close) {
      const reason = payload.subarray(2).toString("utf8");
      const close = payload.length >= 2 ? payload.readUInt16BE(0) : null;
      this.#received.push(reason === "" ? { close } : { close, reason });
    } else if (opcode === OPCODE.ping) this.#received.push({ ping: payload.toString("hex") });
    else if (opcode === OPCODE.pong) this.#received.push({ pong: payload.toString("hex") });
    else {
      const message = opcode === OPCODE.continuation ? this.#fragments : { opcode, rsv, parts: [] };
      message.parts.push(payload);
      this.#fragments = fin ? null : message;
      if (fin) this.#received.push(toFrame(message));
    }
  }
}

function toFrame({ opcode, rsv, parts }) {
  const bytes = Buffer.concat(parts);
  const isText = opcode === OPCODE.text;
  if (rsv === RSV1) return { deflated: isText ? "text" : "binary", bytes };
  const message = isText ? { text: bytes.toString("utf8") } : { hex: bytes.toString("hex") };
  return rsv === 0 ? message : { ...message, rsv };
}

function encode(frame) {
  if (frame.text !== undefined) return build(0x81, Buffer.from(frame.text));
  if (frame.hex !== undefined) return build(0x82, Buffer.from(frame.hex, "hex"));
  if (frame.deflated !== undefined) return build(frame.deflated === "text" ? 0xc1 : 0xc2, frame.bytes);
  if (frame.bytes !== undefined) return build(0x82, frame.bytes);
  if (frame.text_hex !== undefined) return build(0x81, Buffer.from(frame.text_hex, "hex"));
  if (frame.unmasked_text !== undefined) return build(0x81, Buffer.from(frame.unmasked_text), { mask: false });
  if (frame.rsv1_text !== undefined) return build(0xc1, Buffer.from(frame.rsv1_text));
  if (frame.text_fragment !== undefined) return build(0x01, Buffer.from(frame.text_fragment));
  if (frame.middle_fragment !== undefined) return build(0x00, Buffer.from(frame.middle_fragment));
  if (frame.fin_fragment !== undefined) return build(0x80, Buffer.from(frame.fin_fragment));
  if (frame.ping !== undefined) return build(0x89, Buffer.from(frame.ping, "hex"));
  if (frame.pong !== undefined) return build(0x8a, Buffer.from(frame.pong, "hex"));
  if (frame.opcode !== undefined) return build(0x80 | frame.opcode, Buffer.alloc(0));
  if (frame.close === null) return build(0x88, Buffer.alloc(0));
  if (frame.close !== undefined) {
    const code = Buffer.alloc(2);
    code.writeUInt16BE(frame.close);
    return build(0x88, Buffer.concat([code, Buffer.from(frame.reason ?? "")]));
  }
  throw new Error(`no such frame: ${JSON.stringify(frame)}`);
}

// A frame with this first byte; `announced` writes another length than the payload has.
export function build(first, payload, { mask = true, announced = payload.length } = {}) {
  let head;
  if (announced < 126) head = Buffer.from([first, announced]);
  else if (announced < 65_536) {
    head = Buffer.from([first, 126, 0, 0]);
    head.writeUInt16BE(announced, 2);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(announced), 2);
  }
  if (!mask) return Buffer.concat([head, payload]);
  head[1] |= 0x80;
  const key = randomBytes(4);
  return Buffer.concat([head, key, payload.map((byte, i) => byte ^ key[i & 3])]);
}
