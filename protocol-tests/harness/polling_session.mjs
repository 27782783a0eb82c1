// An Engine.IO session over HTTP long-polling, driven request by request.

import { HttpConnection } from "./raw_http.mjs";
import { DEADLINE_MS, settle, within } from "./wait.mjs";

export const SEPARATOR = "\x1e";

export class PollingSession {
  #app;
  #packets = []; // polled, not yet read

  constructor(app, handshake, eio) {
    this.#app = app;
    this.handshake = handshake;
    this.sid = handshake.sid;
    this.eio = eio;
  }

  static async open(app, query = "", { eio = 4 } = {}) {
    const response = await app.fetch(app.query(query, { eio }));
    if (response?.status !== 200) throw new Error(`no handshake: ${response?.raw}`);
    const [, packet] = (eio === 3 ? /^\d+:0(\{.*\})/ : /^0(\{.*)/).exec(response.body);
    return new PollingSession(app, JSON.parse(packet), eio);
  }

  get path() {
    return this.#app.query(`&sid=${this.sid}`, { eio: this.eio });
  }

  get(headers) {
    return this.#app.fetch({ path: this.path, headers });
  }

  post(body, headers) {
    return this.#app.fetch({ method: "POST", path: this.path, headers, body });
  }

  // Sends a poll that stays open: {response: a promise of its answer, connection}. Returns when the server has surely read it.
  async pendingGet() {
    const connection = await HttpConnection.open(this.#app.port);
    const answer = connection.begin({ path: this.path });
    await settle();
    const response = () => within(answer, "an answer to the pending poll", DEADLINE_MS);
    return { response, connection };
  }

  // The next `count` packets, over as many polls as the server takes.
  async packets(count) {
    while (this.#packets.length < count) {
      const response = await this.get();
      if (response?.status !== 200) throw new Error(`poll: ${response?.raw}; packets so far: ${this.#packets}`);
      this.#packets.push(...response.body.split(SEPARATOR));
    }
    return this.#packets.splice(0, count);
  }

  async packet() {
    return (await this.packets(1))[0];
  }

  // Polls until there is no session any more: all packets that came.
  async packetsUntilClosed() {
    for (;;) {
      const response = await this.get();
      if (response?.status !== 200) return this.#packets.splice(0);
      this.#packets.push(...response.body.split(SEPARATOR));
    }
  }
}
