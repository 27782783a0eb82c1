// Sockets of other nodes: listing them, moving them between rooms, ending them, one by one and all at once.

import { until } from "../../harness/wait.mjs";
import { reaches, same, unique } from "../hearing.mjs";

const REMOTE_MS = 10_000;
const row = (name, run, skip) => ({ name, run, skip });

export const inRooms = (client, expected, ms = REMOTE_MS) => {
  let rooms;
  const wanted = [client.id, ...expected].sort();
  const there = async () => JSON.stringify((rooms = await client.call("rooms"))) === JSON.stringify(wanted);
  return until(there, "", ms).catch(() => {
    throw new Error(`${client.name} is in ${JSON.stringify(rooms)} instead of ${JSON.stringify(wanted)}`);
  });
};

const byId = (list) => [...list].sort((a, b) => a.id.localeCompare(b.id));

// Two clients of each node in a room of their own, which all nodes reach.
async function pairs(t, node, options = {}) {
  const room = unique("pair");
  const [first, second] = [await t.clients({ rooms: [room], ...options }), await t.clients({ rooms: [room], ...options })];
  await reaches(node, { rooms: [room] }, [...first, ...second]);
  return { room, first, second };
}

async function ended(client) {
  const { reason } = await client.disconnected.next(`${client.name} is disconnected`, REMOTE_MS);
  same(reason, "io server disconnect", "the reason");
}

export const SOCKETS = [
  row("join and leave everywhere", (t) =>
    t.fromEach(async (node) => {
      const { room, first, second } = await pairs(t, node);
      const [x, y] = [unique("x"), unique("y")];
      await node.do("join", { rooms: [room], join: [x, y] });
      for (const client of [...first, ...second]) await inRooms(client, [room, x, y]);
      await reaches(node, { rooms: [x] }, [...first, ...second]);
      await node.do("leave", { rooms: [room], leave: [x] });
      for (const client of [...first, ...second]) await inRooms(client, [room, y]);
    }),
  ),

  row("join and leave with except", (t) =>
    t.fromEach(async (node) => {
      const { room, first, second } = await pairs(t, node);
      const [out, x] = [unique("out"), unique("x")];
      for (const client of second) await client.call("join", out);
      await node.do("join", { rooms: [room], except: [out], join: [x] });
      for (const client of first) await inRooms(client, [room, x]);
      // The same way as the one before, so that it shows that the one before has come everywhere.
      const marker = unique("marker");
      await node.do("join", { rooms: [room], join: [marker] });
      for (const client of second) await inRooms(client, [room, out, marker]);
      await node.do("leave", { rooms: [room], except: [x], leave: [marker] });
      for (const client of second) await inRooms(client, [room, out]);
      for (const client of first) await inRooms(client, [room, x, marker]);
    }),
  ),

  row("join by socket id", (t) =>
    t.fromEach(async (node) => {
      for (const client of await t.clients()) {
        const room = unique("x");
        await node.do("join", { rooms: [client.id], join: [room] });
        await inRooms(client, [room]);
        await reaches(node, { rooms: [room] }, [client]);
      }
    }),
  ),

  row("join and leave of local sockets only", (t) =>
    t.fromEach(async (node) => {
      const { room, first } = await pairs(t, node);
      const [x, marker] = [unique("x"), unique("marker")];
      await node.do("join", { rooms: [room], flags: { local: true }, join: [x] });
      await node.do("join", { rooms: [room], join: [marker] });
      for (const client of first) await inRooms(client, client.node === node ? [room, x, marker] : [room, marker]);
      await node.do("leave", { rooms: [room], flags: { local: true }, leave: [marker] });
      for (const client of first) await inRooms(client, client.node === node ? [room, x] : [room, marker]);
    }),
  ),

  row("disconnect everywhere", (t) =>
    t.fromEach(async (node) => {
      const { room, first, second } = await pairs(t, node);
      const out = unique("out");
      for (const client of second) await client.call("join", out);
      const chats = first.map((client) => client.join("/chat"));
      for (const chat of chats) await chat.welcomed();
      await node.do("disconnect", { rooms: [room], except: [out] });
      for (const client of first) await ended(client);
      // Without `close` the connection goes on, in its other namespaces; and those excepted are still there.
      for (const chat of chats) same(await chat.ask("echo", "still here"), ["still here"]);
      for (const client of second) same(await client.ask("echo", 1), [1]);
    }),
  ),

  row("disconnect everywhere, with close", (t) =>
    t.fromEach(async (node) => {
      const { room, first, second } = await pairs(t, node);
      const chats = first.map((client) => client.join("/chat"));
      for (const chat of chats) await chat.welcomed();
      await node.do("disconnect", { rooms: [room], close: true });
      for (const client of [...first, ...second]) await ended(client);
      for (const [i, chat] of chats.entries()) {
        chat.name = `the other namespace of ${first[i].name}`;
        await ended(chat);
      }
    }),
  ),

  row("fetchSockets", (t) =>
    t.fromEach(async (node) => {
      const auth = { token: "t", nested: [1, { a: null }] };
      const { room, first, second } = await pairs(t, node, { auth, query: { colour: "blue" } });
      const clients = [...first, ...second];
      for (const client of clients) await client.call("setdata", { number: 1, list: ["a", { b: null }], text: "ünï 🦀" });
      const found = byId(await node.do("fetch", { rooms: [room] }));
      same(
        found.map(({ id, rooms, data }) => ({ id, rooms, data })),
        byId(clients.map(({ id }) => ({ id, rooms: [id, room].sort(), data: { number: 1, list: ["a", { b: null }], text: "ünï 🦀" } }))),
        "what was found",
      );
      for (const { handshake } of found) {
        same(Object.keys(handshake).sort(), ["address", "auth", "headers", "issued", "query", "secure", "time", "url", "xdomain"], "the handshake's keys");
        same(handshake.auth, auth, "auth");
        same([handshake.query.colour, handshake.query.EIO, handshake.query.transport], ["blue", "4", "websocket"], "the query");
        same([handshake.secure, handshake.xdomain, handshake.address], [false, false, "127.0.0.1"], "secure, xdomain, address");
        same([typeof handshake.issued, typeof handshake.time, handshake.headers.upgrade], ["number", "string", "websocket"], "issued, time, headers");
        if (!handshake.url.startsWith("/socket.io/?")) throw new Error(`the url is ${handshake.url}`);
      }
    }),
  ),

  row("fetchSockets of rooms, except and ids", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      const ids = async (target) => (await node.do("fetch", target)).map(({ id }) => id).sort();
      const of = (...groups) => groups.flat().map(({ id }) => id).sort();
      same(await ids({ rooms: [stage.A, stage.AB] }), of(stage.a, stage.b), "two rooms");
      same(await ids({ rooms: [stage.AB], except: [stage.A] }), of(stage.b), "a room except another");
      same(await ids({ rooms: ["nobody"] }), [], "a room of nobody");
      for (const { client, room } of stage.single) {
        same(await ids({ rooms: [room] }), [client.id], `the room of ${client.name}`);
        same(await ids({ rooms: [client.id] }), [client.id], `the id of ${client.name}`);
      }
      const all = await ids({});
      for (const { id, name } of stage.all) if (all.filter((other) => other === id).length !== 1) throw new Error(`${name} is not once among all`);
    }),
  ),

  row("fetchSockets, local only", (t) =>
    t.fromEach(async (node) => {
      const found = await node.do("fetch", { rooms: [t.cluster.stage.A], flags: { local: true } });
      same(found.map(({ id }) => id), [t.cluster.stage.of(node).id], "what was found");
    }),
  ),

  // JSON has no bytes: the classic format writes Node's own form of them.
  row("fetchSockets with binary data", (t) =>
    t.fromEach(async (node) => {
      const clients = await t.clients();
      for (const client of clients) await client.call("setdata", { bytes: Buffer.from([1, 2, 255]) });
      for (const client of clients) {
        const [{ data }] = await node.do("fetch", { rooms: [client.id] });
        const json = t.configuration.family === "classic" && client.node !== node;
        same(data, { bytes: json ? { type: "Buffer", data: [1, 2, 255] } : Buffer.from([1, 2, 255]) }, `the data of ${client.name}`);
      }
    }),
  ),

  row("many fetchSockets at once", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      await Promise.all(
        stage.all.map(async ({ id }) => same((await node.do("fetch", { rooms: [id] })).map((found) => found.id), [id], "what was found")),
      );
    }),
  ),

  row("remote socket: emit", (t) =>
    t.fromEach(async (node) => {
      for (const client of t.cluster.stage.a) {
        const event = unique("remote");
        const boxes = t.cluster.stage.all.map((each) => each.on(event));
        for (const args of [[1, Buffer.from("two")], ["last"]]) {
          await node.do("remote", { id: client.id, action: "emit", event, args });
          same(await client.on(event).next(`${client.name} hears it`, REMOTE_MS), args, "what was heard");
        }
        same(boxes.filter(({ size }) => size > 0).length, 0, "the number of others who heard it");
      }
    }),
  ),

  row("remote socket: emit with ack", (t) =>
    t.fromEach(async (node) => {
      for (const client of t.cluster.stage.a) {
        const event = unique("remote");
        client.socket.on(event, (x, acknowledge) => acknowledge({ answer: x, bytes: Buffer.from([3]) }));
        const answer = await node.do("remote", { id: client.id, action: "emitAck", event, args: ["x"] });
        same(answer, { answer: "x", bytes: Buffer.from([3]) }, `the answer of ${client.name}`);
      }
    }),
  ),

  row("remote socket: no answer", (t) =>
    t.fromEach(async (node) => {
      for (const client of t.cluster.stage.a) {
        const asked = node.do("remote", { id: client.id, action: "emitAck", event: unique("ignored"), timeout: 300 });
        const error = await asked.then(() => undefined, (error) => error);
        if (!/timed out/.test(error?.message)) throw new Error(`the outcome for ${client.name} is ${error?.message ?? "an answer"}`);
      }
    }),
  ),

  row("remote socket: join and leave", (t) =>
    t.fromEach(async (node) => {
      for (const client of await t.clients()) {
        const [x, y] = [unique("x"), unique("y")];
        await node.do("remote", { id: client.id, action: "join", join: [x, y] });
        await inRooms(client, [x, y]);
        await node.do("remote", { id: client.id, action: "leave", leave: [x] });
        await inRooms(client, [y]);
      }
    }),
  ),

  row("remote socket: disconnect", (t) =>
    t.fromEach(async (node) => {
      for (const close of [false, true]) {
        for (const client of await t.clients()) {
          const chat = client.join("/chat");
          await chat.welcomed();
          await node.do("remote", { id: client.id, action: "disconnect", close });
          await ended(client);
          if (close) await ended(Object.assign(chat, { name: `the other namespace of ${client.name}` }));
          else same(await chat.ask("echo", 1), [1]);
        }
      }
    }),
  ),

  row("remote socket: gone", (t) =>
    t.fromEach(async (node) => {
      const [client] = await t.clients({}, [t.nodes.find((other) => other !== node)]);
      const { id } = client;
      client.close();
      const gone = async () => (await node.do("fetch", { rooms: [id] })).length === 0;
      await until(gone, "a client that left is not found any more", REMOTE_MS);
    }),
  ),
];
