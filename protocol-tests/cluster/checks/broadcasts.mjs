// Broadcasts from each node to clients of each: who hears them, and what.

import { byCommand, expectHeard, expectHeardSometimes, reaches, same, unique } from "../hearing.mjs";

const BINARY = [{ a: [Buffer.from([0, 1, 255]), { b: Buffer.from("nested") }], n: 1 }, Buffer.alloc(0), "between", [[Buffer.from([7])]]];
// No integers beyond 2^53: Node's own classic nodes garble them.
const JSON_KINDS = [
  null, true, false, 0, -1, 1.5, 4294967296, 9007199254740991, -9007199254740991, "", "text", 'quotes " \\ / and \n\t',
  "ünï 🦀 \u2028\u2029 \u0000", [], [1, [2, [3, []]]], {}, { a: { b: [null, { c: "d" }] }, "": 1, type: 3, nsp: "/x" }, "long ".repeat(4000),
];
const LARGE = 400_000;
const ORDERED = 200;
const ODD_ROOMS = ["42", "a#b", "#", "/chat", "ünï 🦀 room", "*", "[a]?\\", "twenty characters ok", "x".repeat(300), "with space", "__proto__"];

// Each gives the target, and who must hear it, for a sender and a stage.
export const TARGETS = {
  "to all": ({ all }) => ({ target: {}, hearers: all }),
  "to a room": ({ A, a }) => ({ target: { rooms: [A] }, hearers: a }),
  "to several rooms, each once": ({ A, AB, B, a, b }) => ({ target: { rooms: [A, AB, B] }, hearers: [...a, ...b] }),
  "to all except a room": ({ A, b, c }) => ({ target: { except: [A] }, hearers: [...b, ...c] }),
  "to all except several rooms": ({ A, B, c }) => ({ target: { except: [A, B] }, hearers: c }),
  "to a room except another": ({ AB, B, a }) => ({ target: { rooms: [AB], except: [B] }, hearers: a }),
  "to several rooms except another": ({ A, AB, B, a }) => ({ target: { rooms: [A, AB], except: [B] }, hearers: a }),
  "to a room of nobody": () => ({ target: { rooms: ["nobody"] }, hearers: [] }),
  "socket.broadcast": (stage, node) => ({ target: { sid: stage.of(node).id }, hearers: others(stage.all, stage.of(node)) }),
  "socket.to(room)": (stage, node) => ({
    target: { sid: stage.of(node).id, rooms: [stage.AB] },
    hearers: others([...stage.a, ...stage.b], stage.of(node)),
  }),
  "socket.broadcast except a room": (stage, node) => ({
    target: { sid: stage.of(node).id, except: [stage.B] },
    hearers: others([...stage.a, ...stage.c], stage.of(node)),
  }),
  volatile: ({ all }) => ({ target: { flags: { volatile: true } }, hearers: all }),
  "volatile to a room": ({ A, a }) => ({ target: { rooms: [A], flags: { volatile: true } }, hearers: a }),
  "not compressed": ({ all }) => ({ target: { flags: { compress: false } }, hearers: all }),
  "local to all": ({ all }, node) => ({ target: { flags: { local: true } }, hearers: all.filter((client) => client.node === node) }),
  "local to a room": ({ A, a }, node) => ({ target: { rooms: [A], flags: { local: true } }, hearers: a.filter((client) => client.node === node) }),
};

const others = (clients, without) => clients.filter((client) => client !== without);

// One broadcast on a stage, with everything that must hold for it.
export function broadcast(stage, node, { target, hearers }, args = ["argument", { n: 1 }]) {
  const expect = target.flags?.volatile ? expectHeardSometimes : expectHeard;
  return expect({ emit: byCommand(node), target: { nsp: stage.nsp, ...target }, args, hearers, everybody: stage.all });
}

const row = (name, run, skip) => ({ name, run, skip });

export const BROADCASTS = [
  ...Object.entries(TARGETS).map(([name, choose]) =>
    row(`broadcast ${name}`, (t) => t.fromEach((node) => broadcast(t.cluster.stage, node, choose(t.cluster.stage, node)))),
  ),

  row("broadcast to the rooms of single nodes", (t) =>
    t.fromEach(async (node) => {
      for (const { client, room } of t.cluster.stage.single) await broadcast(t.cluster.stage, node, { target: { rooms: [room] }, hearers: [client] });
    }),
  ),

  row("broadcast to a socket id", (t) =>
    t.fromEach(async (node) => {
      for (const client of t.cluster.stage.a) await broadcast(t.cluster.stage, node, { target: { rooms: [client.id] }, hearers: [client] });
    }),
  ),

  row("broadcast to several socket ids", (t) =>
    t.fromEach((node) => {
      const { a, b } = t.cluster.stage;
      return broadcast(t.cluster.stage, node, { target: { rooms: [...a, ...b].map(({ id }) => id) }, hearers: [...a, ...b] });
    }),
  ),

  row("broadcast except socket ids", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      for (const client of stage.a) await broadcast(stage, node, { target: { except: [client.id] }, hearers: others(stage.all, client) });
    }),
  ),

  row("broadcast of binary", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      for (const choose of [TARGETS["to all"], TARGETS["to a room"], TARGETS["to several rooms, each once"]]) {
        await broadcast(stage, node, choose(stage, node), BINARY);
      }
    }),
  ),

  row("broadcast of JSON of every kind", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      await broadcast(stage, node, TARGETS["to all"](stage), JSON_KINDS);
      await broadcast(stage, node, TARGETS["to a room"](stage), [{ with: [Buffer.from("binary"), ...JSON_KINDS] }]);
    }),
  ),

  row("broadcast of large payloads", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      await broadcast(stage, node, TARGETS["to a room"](stage), ["x".repeat(LARGE)]);
      await broadcast(stage, node, TARGETS["to a room"](stage), [Buffer.alloc(LARGE, 7)]);
    }),
  ),

  row("broadcast to rooms with odd names", async (t) => {
    const clients = await t.clients({ rooms: ODD_ROOMS });
    await t.fromEach(async (node) => {
      for (const room of ODD_ROOMS) {
        await reaches(node, { rooms: [room] }, clients);
        const everybody = [...clients, ...t.cluster.stage.all];
        await expectHeard({ emit: byCommand(node), target: { rooms: [room] }, args: [room], hearers: clients, everybody });
      }
    });
  }),

  row("a client's own broadcasts", async (t) => {
    const { stage } = t.cluster;
    await t.fromEach(async (node) => {
      const sender = stage.of(node);
      const emit = ({ rooms: [room] = [null] }, event, args) => sender.call("cast", room, event, ...args);
      // The marker to all reaches everybody but its sender, who is therefore left out.
      const everybody = others(stage.all, sender);
      await expectHeard({ emit, target: {}, args: ["to all"], hearers: everybody, everybody });
      await expectHeard({ emit, target: { rooms: [stage.A] }, args: BINARY, hearers: others(stage.a, sender), everybody });
    });
  }),

  row("nothing after leaving a room", async (t) => {
    await t.fromEach(async (node) => {
      const room = unique("left");
      const [leaving, staying] = [await t.clients({ rooms: [room] }), await t.clients({ rooms: [room] })];
      await reaches(node, { rooms: [room] }, [...leaving, ...staying]);
      for (const client of leaving) await client.call("leave", room);
      const everybody = [...leaving, ...staying];
      await expectHeard({ emit: byCommand(node), target: { rooms: [room] }, hearers: staying, everybody });
      for (const client of staying) await client.call("leave", room);
      await expectHeard({ emit: byCommand(node), target: { rooms: [room] }, hearers: [], everybody });
      for (const client of leaving) await client.call("join", room);
      await reaches(node, { rooms: [room] }, leaving);
    });
  }),

  row("order of one sender's events", async (t) => {
    const { stage } = t.cluster;
    const ordered = t.nodes.filter((node) => !(node.isNode && t.configuration.redisCluster && t.configuration.family === "classic"));
    if (ordered.length < t.nodes.length) t.skip("Node's client spreads PUBLISH over the masters");
    await t.fromEach(async (node) => {
      const event = unique("ordered");
      const sender = stage.of(node);
      const hearers = others(stage.a, sender);
      const boxes = hearers.map((client) => client.on(event));
      // Through the channel of the room and that of all, where one Redis keeps both in order.
      const rooms = t.configuration.redisCluster ? [stage.A] : [stage.A, null, stage.AB];
      for (let i = 0; i < ORDERED; i++) {
        sender.emit("cast", rooms[i % rooms.length], event, i, ...(i % 10 === 0 ? [Buffer.from([i])] : []));
      }
      for (const [i, box] of boxes.entries()) {
        const numbers = (await box.take(ORDERED, `${hearers[i].name} hears all ${ORDERED} events`, 10_000)).map(([number]) => number);
        same(numbers, [...Array(ORDERED).keys()], `the order for ${hearers[i].name}`);
      }
    }, ordered);
  }),
];
