// The control namespace `/ctl` (contract 1.3) on Node's own server.

const SINGLE_ANSWER_TIMEOUT_MS = 5000;

export function serveControl(io, { nodeName, notes }) {
  const operations = {
    info: () => ({ node: nodeName, adapter: process.env.ADAPTER ?? "none", pid: process.pid }),
    emit: (command) => {
      target(io, command).emit(command.event, ...(command.args ?? []));
      return true;
    },
    emitAck: (command) =>
      new Promise((resolve) => {
        target(io, command).emit(command.event, ...(command.args ?? []), (error, responses) =>
          resolve({ err: error ? error.message : null, responses: responses ?? [] }),
        );
      }),
    join: (command) => {
      target(io, command).socketsJoin(command.join);
      return true;
    },
    leave: (command) => {
      target(io, command).socketsLeave(command.leave);
      return true;
    },
    disconnect: (command) => {
      target(io, command).disconnectSockets(Boolean(command.close));
      return true;
    },
    fetch: async (command) => (await target(io, command).fetchSockets()).map(describe),
    local: ({ nsp = "/" }) => [...io.of(nsp).sockets.keys()],
    sse: ({ nsp = "/", event, args = [] }) => {
      io.of(nsp).serverSideEmit(event, ...args);
      return true;
    },
    sseAck: ({ nsp = "/", event, args = [] }) =>
      new Promise((resolve) => {
        io.of(nsp).serverSideEmit(event, ...args, (error, responses) =>
          resolve({ err: error ? error.message : null, responses: responses ?? [] }),
        );
      }),
    noted: () => notes.splice(0),
    remote: async ({ nsp = "/", id, action, event, args = [], join, leave, close, timeout }) => {
      const [socket] = await io.of(nsp).in(id).fetchSockets();
      if (!socket) throw new Error("no such socket");
      switch (action) {
        case "emit":
          return socket.emit(event, ...args);
        case "emitAck":
          return socket.timeout(timeout ?? SINGLE_ANSWER_TIMEOUT_MS).emitWithAck(event, ...args);
        case "join":
          await socket.join(join);
          return true;
        case "leave":
          for (const room of [leave].flat()) await socket.leave(room);
          return true;
        case "disconnect":
          socket.disconnect(Boolean(close));
          return true;
        default:
          throw new Error("unsupported");
      }
    },
    serverCount: ({ nsp = "/" }) => io.of(nsp).adapter.serverCount(),
    allRooms: async ({ nsp = "/" }) => {
      const { adapter } = io.of(nsp);
      if (!adapter.allRooms) throw new Error("unsupported"); // only the classic adapter has it
      return [...(await adapter.allRooms())].sort();
    },
  };

  io.of("/ctl").on("connection", (socket) => {
    socket.on("do", async (command, ack) => {
      if (typeof ack !== "function") return;
      try {
        const operation = operations[command?.op];
        if (!Object.hasOwn(operations, command?.op)) throw new Error("unsupported");
        ack({ ok: true, value: await operation(command) });
      } catch (error) {
        ack({ ok: false, error: error.message });
      }
    });
  });
}

function target(io, { nsp = "/", rooms = [], except = [], flags = {}, timeout, sid }) {
  const namespace = io.of(nsp);
  let operator = sid === undefined ? namespace.except(except) : localSocket(namespace, sid).broadcast.except(except);
  for (const room of rooms) operator = operator.to(room);
  if (flags.local) operator = operator.local;
  if (flags.volatile) operator = operator.volatile;
  if (flags.compress === false) operator = operator.compress(false);
  return timeout === undefined ? operator : operator.timeout(timeout);
}

function localSocket(namespace, sid) {
  const socket = namespace.sockets.get(sid);
  if (!socket) throw new Error("no such socket");
  return socket;
}

function describe({ id, rooms, data, handshake }) {
  return { id, rooms: [...rooms].sort(), data, handshake };
}
