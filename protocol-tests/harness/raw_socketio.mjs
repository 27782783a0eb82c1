// Socket.IO packets by hand over a WebSocket session: texts and attachments as they are on the wire.

import assert from "node:assert/strict";

export class RawSocketio {
  constructor(websocket) {
    this.websocket = websocket;
  }

  static async open(app, query) {
    return new RawSocketio(await app.websocket(query));
  }

  // Joined to the namespace, its CONNECT answer and welcome read.
  static async connect(app, { nsp = "/", payload = "" } = {}) {
    const raw = await RawSocketio.open(app);
    raw.id = await raw.join(nsp, payload);
    return raw;
  }

  async join(nsp, payload = "") {
    const prefix = nsp === "/" ? "" : `${nsp},`;
    this.send(`0${prefix}${payload}`);
    const answer = await this.text();
    assert.ok(answer.startsWith(`0${prefix}{`), answer);
    const welcome = await this.text();
    assert.ok(welcome.startsWith(`2${prefix}["welcome",`), welcome);
    return JSON.parse(answer.slice(1 + prefix.length)).sid;
  }

  // Each item is a packet text or a Buffer (an attachment); all in one write.
  send(...items) {
    this.websocket.send(...items.map((item) => (Buffer.isBuffer(item) ? { bytes: item } : { text: "4" + item })));
  }

  // The next Socket.IO packet text.
  async text() {
    const text = await this.websocket.text();
    assert.equal(text[0], "4", `expected a message, got ${text}`);
    return text.slice(1);
  }

  async bytes() {
    const frame = await this.websocket.next("an attachment");
    assert.ok(frame.hex !== undefined, `expected a binary frame, got ${JSON.stringify(frame)}`);
    return Buffer.from(frame.hex, "hex");
  }

  // Sends packets and expects the connection to be closed in answer to them.
  async expectClosedBy(...items) {
    this.send(...items);
    assert.deepEqual(await this.websocket.next("the close frame"), { close: null });
    this.websocket.send({ close: null });
    assert.deepEqual(await this.websocket.next("the end"), { tcp: "fin" });
  }

  // That the connection still works, and that nothing else came before.
  async expectAlive(mark = Math.floor(Math.random() * 1e6)) {
    this.send(`2["echo","alive",${mark}]`);
    assert.equal(await this.text(), `2["echo","alive",${mark}]`);
  }

  abort() {
    this.websocket.abort();
  }
}
