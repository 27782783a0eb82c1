// A TCP relay between a client and a node: it can be cut, as networks are, and led to another node.

import { connect, createServer } from "node:net";

const RECONNECT = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 40, randomizationFactor: 0 };

export class Relay {
  #node;
  #sockets = new Set();
  path = "/socket.io/";

  static async open(node) {
    const relay = new Relay();
    relay.#node = node;
    relay.server = createServer((socket) => relay.#accept(socket));
    await new Promise((resolve) => relay.server.listen(0, "127.0.0.1", resolve));
    relay.url = `http://127.0.0.1:${relay.server.address().port}`;
    return relay;
  }

  // Options of the official client that make it come back soon.
  static get options() {
    return RECONNECT;
  }

  #accept(socket) {
    socket.on("error", () => {});
    if (!this.#node) return socket.destroy();
    const other = connect(this.#node.process.port, "127.0.0.1");
    other.on("error", () => {});
    for (const [from, to] of [[socket, other], [other, socket]]) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }

  // Without a goodbye; until it is led to a node again, nobody gets through.
  cut() {
    this.#node = undefined;
    for (const socket of this.#sockets) socket.destroy();
  }

  lead(node) {
    this.#node = node;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
