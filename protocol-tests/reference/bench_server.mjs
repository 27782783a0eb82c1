// Node's own Socket.IO server as the contract app `bench_server` (contract part 3).

import { parseArgs } from "node:util";
import { Server } from "socket.io";
import { createServer } from "node:http";

const { values } = parseArgs({ options: { port: { type: "string" }, threads: { type: "string", default: "1" } } });

const http = createServer();
const io = new Server(http);
io.on("connection", (socket) => {
  socket.on("echo", (...args) => socket.emit("echo", ...args));
  socket.on("ackme", (...args) => args.pop()(...args));
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack();
  });
  socket.on("leave", (room) => socket.leave(room));
  socket.on("cast", (room, seq, payload) => io.to(room).emit("cast", seq, payload));
});

http.listen(Number(values.port), "127.0.0.1", () => console.log(`bench_server (Node's reference) listening on ${values.port}`));
process.on("SIGTERM", () => process.exit(0));
