// HTTP/1.1 by hand over a TCP socket: exact bytes out, exact response in, bodies in pieces, aborts.

import { connect } from "node:net";
import { DEADLINE_MS, within } from "./wait.mjs";

export class HttpConnection {
  #socket;
  #input = Buffer.alloc(0);
  #pending = []; // the requests whose responses have not come, oldest first
  ended = false; // the server closed its side

  constructor(socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data) => {
      this.#input = Buffer.concat([this.#input, data]);
      this.#parse();
    });
    const over = () => {
      this.ended = true;
      this.#parse();
      for (const request of this.#pending.splice(0)) request.resolve(null);
    };
    socket.on("end", over);
    socket.on("close", over);
    socket.on("error", () => {});
  }

  static open(port, host = "127.0.0.1") {
    const opened = new Promise((resolve, reject) => {
      const socket = connect({ port, host, allowHalfOpen: true });
      socket.once("connect", () => resolve(new HttpConnection(socket)));
      socket.once("error", reject);
    });
    return within(opened, `a TCP connection to ${host}:${port}`);
  }

  // Sends a whole request and answers with the response, or null if the connection ended without one.
  request(request) {
    const response = this.begin(request);
    return within(response, `a response to ${request.method ?? "GET"} ${request.path}`, request.ms ?? DEADLINE_MS);
  }

  // Sends a request and gives the promise of its response, which may stay open as long as it likes.
  begin({ method = "GET", path, headers = {}, body, chunked = false }) {
    const bytes = body === undefined ? undefined : Buffer.isBuffer(body) ? body : Buffer.from(body);
    const framing = bytes && !chunked ? { "Content-Length": bytes.length } : {};
    if (chunked) framing["Transfer-Encoding"] = "chunked";
    const promise = this.beginHead({ method, path, headers: { ...framing, ...headers } });
    if (bytes && !chunked) this.write(bytes);
    if (bytes && chunked) {
      this.writeChunk(bytes);
      this.writeChunk("");
    }
    return promise;
  }

  // Sends a request's head only; its body follows by `write` or `writeChunk`. An unfinished head lacks its last line: `write("\r\n")`.
  beginHead({ method = "GET", path, headers = {}, unfinished = false }) {
    const lines = [`${method} ${path} HTTP/1.1`, "Host: 127.0.0.1"];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
    const promise = new Promise((resolve) => this.#pending.push({ method, resolve }));
    if (this.ended) for (const request of this.#pending.splice(0)) request.resolve(null);
    this.write(lines.join("\r\n") + (unfinished ? "\r\n" : "\r\n\r\n"));
    return promise;
  }

  write(bytes) {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  writeChunk(text) {
    const bytes = Buffer.from(text);
    this.write(Buffer.concat([Buffer.from(bytes.length.toString(16) + "\r\n"), bytes, Buffer.from("\r\n")]));
  }

  // Ends our side (FIN); what the server still sends is read.
  end() {
    this.#socket.end();
  }

  // Drops the connection at once, without waiting for anything.
  abort() {
    this.#socket.destroy();
  }

  reset() {
    this.#socket.resetAndDestroy();
  }

  #parse() {
    while (this.#pending.length > 0) {
      const { method, resolve } = this.#pending[0];
      const parsed = parseResponse(this.#input, method, this.ended);
      if (!parsed) return;
      this.#input = this.#input.subarray(parsed.length);
      this.#pending.shift();
      resolve(parsed.response);
    }
  }
}

// One response of `input`, or undefined while it is not whole.
export function parseResponse(input, method, ended) {
  const headEnd = input.indexOf("\r\n\r\n");
  if (headEnd < 0) return undefined;
  const [statusLine, ...lines] = input.subarray(0, headEnd).toString("latin1").split("\r\n");
  const status = Number(statusLine.split(" ")[1]);
  const rawHeaders = lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
  const headers = {};
  for (const [name, value] of rawHeaders) {
    const key = name.toLowerCase();
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value;
  }
  const rest = input.subarray(headEnd + 4);
  const finish = (body, used) => {
    const length = headEnd + 4 + used;
    const response = { status, statusLine, headers, rawHeaders, bytes: body, body: body.toString("utf8") };
    response.raw = input.subarray(0, length).toString("latin1");
    return { response, length };
  };
  if (method === "HEAD" || status === 101 || status === 204 || status === 304) return finish(Buffer.alloc(0), 0);
  if (headers["transfer-encoding"]?.toLowerCase() === "chunked") {
    const chunks = parseChunks(rest);
    return chunks && finish(chunks.body, chunks.used);
  }
  if ("content-length" in headers) {
    const length = Number(headers["content-length"]);
    return rest.length >= length ? finish(rest.subarray(0, length), length) : undefined;
  }
  return ended ? finish(rest, rest.length) : undefined;
}

function parseChunks(input) {
  const parts = [];
  let at = 0;
  for (;;) {
    const lineEnd = input.indexOf("\r\n", at);
    if (lineEnd < 0) return undefined;
    const size = parseInt(input.subarray(at, lineEnd).toString("latin1"), 16);
    const end = lineEnd + 2 + size;
    if (input.length < end + 2) return undefined;
    parts.push(input.subarray(lineEnd + 2, end));
    at = end + 2;
    if (size === 0) return { body: Buffer.concat(parts), used: at };
  }
}

// One request on a connection of its own.
export async function fetchOnce(port, request) {
  const connection = await HttpConnection.open(port);
  try {
    return await connection.request(request);
  } finally {
    connection.abort();
  }
}
