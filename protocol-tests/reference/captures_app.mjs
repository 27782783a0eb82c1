// The small app that the Socket.IO transcripts were recorded against (`APP=captures`).

export function serveCaptures(io) {
  for (const name of ["/", "/admin"]) {
    io.of(name).on("connection", (socket) => {
      socket.on("echo", (...args) => {
        const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
        if (ack) ack(...args);
        else socket.emit("echo", ...args);
      });
      socket.on("bye", (close) => socket.disconnect(Boolean(close)));
    });
  }
  io.of("/deny").use((_socket, next) => {
    const error = new Error("denied");
    error.data = { c: 1 };
    next(error);
  });
}
