// Node's own Socket.IO server as the contract app `conformance` (contract part 1).

import { createServer } from "node:http";
import { Server } from "socket.io";
import { ADAPTER_NAMES, adapterOptions, CLIENT_NAMES } from "./adapter.mjs";
import { serveCaptures } from "./captures_app.mjs";
import { serveControl } from "./control_namespace.mjs";
import { refuse, serverOptions } from "./environment.mjs";
import { hookInto, hookIntoNamespaces, hookOptions } from "./hooks.mjs";

refuse(
  ["ADAPTER", ADAPTER_NAMES],
  ["REDIS_CLIENT", CLIENT_NAMES],
  ["SHARDED_MODE", ["dynamic", "dynamic-private", "static"]],
  ["PARSER", ["msgpack", "default"]],
  ["APP", ["conformance", "captures"]],
);

const ASK_TIMEOUT_MS = 1000;
const nodeName = process.env.NODE_NAME ?? "node";

const http = createServer((request, response) => {
  if (request.url === "/health") response.end("ok");
  else response.writeHead(404).end();
});
const captures = process.env.APP === "captures";
const given = serverOptions(captures ? { cors: undefined } : undefined);
const io = new Server(http, { ...given, ...hookOptions(), ...(await adapterOptions()) });
hookInto(io.engine);

if (captures) {
  serveCaptures(io);
} else {
  const notes = [];
  for (const name of ["/", "/chat", /^\/dyn-[0-9]+$/, "/auth"]) io.of(name).on("connection", welcome);
  io.of("/auth").use(requireToken);
  hookIntoNamespaces(io);
  for (const name of ["/", "/chat"]) listenToOtherNodes(io.of(name), notes);
  serveControl(io, { nodeName, notes });
}

http.listen(Number(process.env.PORT), "127.0.0.1", () => {
  console.log(`conformance (Node's reference) listening on ${http.address().port}`);
});
process.on("SIGTERM", () => {
  io.close();
  setTimeout(() => process.exit(0), 100).unref();
});

function requireToken(socket, next) {
  const token = socket.handshake.auth.token ?? socket.handshake.query.token;
  if (token === "secret") return next();
  const error = new Error("bad token");
  error.data = { code: 4001 };
  next(error);
}

function welcome(socket) {
  const nsp = socket.nsp.name;
  socket.emit("welcome", { id: socket.id, node: nodeName, nsp, recovered: socket.recovered });
  const roomsOf = () => [...socket.rooms].sort();

  on("echo", (args, ack) => (ack ? ack(...args) : socket.emit("echo", ...args)));
  on("ask", ([x], ack) => {
    socket.timeout(ASK_TIMEOUT_MS).emit("question", x, (error, answer) => {
      ack?.(error ? { ok: false, error: "timeout" } : { ok: true, answer });
    });
  });
  on("join", async ([room], ack) => {
    await socket.join(room);
    ack?.(roomsOf());
  });
  on("leave", async ([room], ack) => {
    await socket.leave(room);
    ack?.(roomsOf());
  });
  on("rooms", (_, ack) => ack?.(roomsOf()));
  on("cast", ([room, event, ...args], ack) => {
    (room === null ? socket.broadcast : socket.to(room)).emit(event, ...args);
    ack?.(true);
  });
  on("setdata", ([data], ack) => {
    Object.assign(socket.data, data);
    ack?.(true);
  });
  on("handshake", (_, ack) => {
    const { auth, query, headers, url, address, secure, xdomain, issued, time } = socket.handshake;
    ack?.({ auth, query, headers, url, address, secure, xdomain, issued, time });
  });
  on("burst", ([n], ack) => {
    for (let i = 0; i < n; i++) socket.emit("burst", i);
    ack?.(n);
  });
  on("blob", ([n], ack) => ack?.(Buffer.alloc(n, 7)));
  on("transport", (_, ack) => ack?.(socket.conn.transport.name));
  on("bye", ([close]) => socket.disconnect(Boolean(close)));

  // Hands the acknowledgement over apart from the arguments; a client's bad arguments must not end the process.
  function on(event, handle) {
    socket.on(event, async (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      try {
        await handle(args, ack);
      } catch (error) {
        console.error(`${event}: ${error.message}`);
      }
    });
  }
}

function listenToOtherNodes(namespace, notes) {
  const nsp = namespace.name;
  namespace.on("note", (...args) => notes.push({ nsp, args }));
  namespace.on("whoami", (...args) => {
    const ack = args.pop();
    ack({ node: nodeName, nsp, args });
  });
  namespace.on("mute", () => {});
}
