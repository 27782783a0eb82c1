// An HTTP proxy before a server, for what a client sends and the server does not tell: it keeps every request's method and headers.

import { createServer, request } from "node:http";
import { once } from "node:events";

export class RecordingProxy {
  requests = [];
  #server;

  constructor(port) {
    this.#server = createServer((incoming, outgoing) => {
      const { method, url: path, headers } = incoming;
      this.requests.push({ method, path, headers });
      const onward = request({ host: "127.0.0.1", port, method, path, headers }, (response) => {
        outgoing.writeHead(response.statusCode, response.rawHeaders);
        response.pipe(outgoing);
      });
      onward.on("error", () => outgoing.destroy());
      outgoing.on("close", () => onward.destroy());
      incoming.pipe(onward);
    });
  }

  static async open(port) {
    const proxy = new RecordingProxy(port);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}
