// Node's own Engine.IO server as the contract app `engine_conformance` (contract part 2).

import { createServer } from "node:http";
import { Server } from "engine.io";
import { engineOptions } from "./environment.mjs";
import { hookInto, hookOptions } from "./hooks.mjs";

const http = createServer((_request, response) => response.writeHead(404).end());
const options = engineOptions();
const engine = new Server({ ...options, ...hookOptions() });
engine.attach(http, { path: "/engine.io", ...options });

const log = [];
hookInto(engine, log);
engine.on("connection_error", ({ code, message, context }) => log.push({ connection_error: { code, message, context } }));
engine.on("connection", (socket) => {
  socket.on("message", (data) => log.push({ message: toJson(data) }));
  socket.on("close", (reason) => log.push({ close: reason }));
});

const control = createServer(async (request, response) => {
  switch (`${request.method} ${request.url}`) {
    case "GET /events":
      return json(response, log.splice(0));
    case "GET /sessions":
      return json(response, Object.keys(engine.clients));
    case "POST /act":
      return act(await readJson(request), response);
    default:
      return response.writeHead(404).end();
  }
});

http.listen(Number(process.env.PORT), "127.0.0.1", () => {
  control.listen(Number(process.env.CONTROL_PORT), "127.0.0.1", () => {
    console.log(`engine_conformance (Node's reference) listening on ${http.address().port}`);
  });
});
process.on("SIGTERM", () => process.exit(0));

function act(commands, response) {
  const [first] = Object.values(engine.clients);
  for (const command of commands) {
    if ("send" in command) first?.send(fromJson(command.send), { compress: command.compress ?? true });
    if (command.close) first?.close();
    if (command.engine_close) engine.close();
  }
  response.writeHead(204).end();
}

function toJson(data) {
  if (data === undefined) return null;
  return typeof data === "string" ? data : { $hex: Buffer.from(data).toString("hex") };
}

function fromJson(value) {
  return typeof value === "string" ? value : Buffer.from(value.$hex, "hex");
}

async function readJson(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

function json(response, value) {
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}
