// Emitters, which are no nodes: the npm package redis-emitter, and the golden entries of the streams emitter.

import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { Emitter } from "@socket.io/redis-emitter";
import { parserOptions } from "../../harness/redis_parsers.mjs";
import { until } from "../../harness/wait.mjs";
import { expectHeard, expectHeardSometimes, reaches, same, unique } from "../hearing.mjs";
import { inRooms } from "./sockets.mjs";

const row = (name, run, skip, more) => ({ name, run, skip, ...more });
const vectors = JSON.parse(readFileSync(new URL("../../vectors/redis/emitter-streams.json", import.meta.url)));

async function gone(clients) {
  for (const client of clients) await client.disconnected.next(`${client.name} is disconnected`, 10_000);
}

async function allNote(t, nsp, args) {
  for (const node of t.nodes) {
    const there = async () => (await node.notes()).some((note) => isDeepStrictEqual(note, { nsp, args }));
    await until(there, `${node.name} gets the server-side event`, 10_000);
  }
}

export const EMITTERS = [
  row(
    "redis-emitter",
    async (t) => {
      const { stage } = t.cluster;
      const { A, B, AB, a, b, c, all } = stage;
      const root = new Emitter(await t.cluster.redis.client(), parserOptions(t.configuration.env));
      const target = (operator, { rooms = [], except = [], flags = {} }) => {
        for (const room of rooms) operator = operator.to(room);
        operator = operator.except(except);
        if (flags.volatile) operator = operator.volatile;
        return flags.compress === false ? operator.compress(false) : operator;
      };
      const emit = (where, event, args) => target(where.nsp ? root.of(where.nsp) : root, where).emit(event, ...args);
      const heard = (what, where, hearers, args = ["x", { n: 1 }]) =>
        t.part(what, () => (where.flags?.volatile ? expectHeardSometimes : expectHeard)({ emit, target: where, args, hearers, everybody: all }));

      await heard("emit", {}, all);
      await heard("emit to a room", { rooms: [A] }, a);
      await heard("emit to several rooms", { rooms: [A, AB] }, [...a, ...b]);
      await heard("except", { rooms: [AB], except: [B] }, a);
      await heard("except of all", { except: [A, B] }, c);
      await heard("to a socket id", { rooms: [a[0].id] }, [a[0]]);
      await heard("volatile", { flags: { volatile: true } }, all);
      await heard("not compressed", { flags: { compress: false } }, all);
      await heard("binary", { rooms: [A] }, a, [Buffer.from([1, 2, 255]), { in: [Buffer.alloc(0)] }]);
      await t.part("of a namespace", async () => {
        const chats = await t.clients({ nsp: "/chat" });
        for (const name of ["/chat", "chat"]) {
          const event = unique("event");
          const boxes = chats.map((client) => client.on(event));
          root.of(name).emit(event, name);
          for (const [i, box] of boxes.entries()) same(await box.next(`${chats[i].name} hears it`), [name], "what was heard");
        }
      });
      await t.part("joins and leaves", async () => {
        const [in1, in2, x, y] = ["in", "in", "x", "y"].map(unique);
        const [first, second] = [await t.clients({ rooms: [in1] }), await t.clients({ rooms: [in1, in2] })];
        root.in(in1).except(in2).socketsJoin([x, y]);
        for (const client of first) await inRooms(client, [in1, x, y]);
        root.in(in1).socketsJoin(y);
        for (const client of second) await inRooms(client, [in1, in2, y]);
        root.in(in1).except(x).socketsLeave([y]);
        for (const client of second) await inRooms(client, [in1, in2]);
        for (const client of first) await inRooms(client, [in1, x, y]);
      });
      await t.part("server-side events", async () => {
        const marks = [unique("note"), unique("note")];
        root.serverSideEmit("note", marks[0], { n: 1 });
        root.of("/chat").serverSideEmit("note", marks[1]);
        await allNote(t, "/", [marks[0], { n: 1 }]);
        await allNote(t, "/chat", [marks[1]]);
      });
      for (const close of [false, true]) {
        await t.part(`disconnects, close ${close}`, async () => {
          const room = unique("end");
          const clients = await t.clients({ rooms: [room] });
          root.in(room).disconnectSockets(close);
          await gone(clients);
        });
      }
    },
    ({ family }) => (family === "classic" ? undefined : "classic only"),
  ),

  // Byte for byte what the emitter wrote, on the stream that Node's own nodes use for the namespace.
  row(
    "streams emitter",
    async (t) => {
      const { stage } = t.cluster;
      const key = t.configuration.streams > 1 ? "socket.io-3" : "socket.io"; // that of `/` and of `/chat`
      const add = (fields) => t.cluster.redis.command(key, "XADD", key, "MAXLEN", "~", "10000", "*", ...Object.entries(fields).flat());
      const vector = (name) => vectors.find((each) => each.name === name).fields;
      const [room1, room2, r2] = [await t.clients({ rooms: ["room1"] }), await t.clients({ rooms: ["room2"] }), await t.clients({ rooms: ["room1", "r2"] })];
      const everybody = [...room1, ...room2, ...r2];
      const expected = {
        emit: [everybody, "hello", []],
        "emit.binary": [everybody, "e", [Buffer.from([1, 2]), { n: [Buffer.from([255])] }]],
        "emit.in-several": [everybody, "hello", []],
        "emit.except": [room1, "hello", []],
        "emit.volatile": [everybody, "hello", []],
        "emit.compress": [everybody, "hello", []],
      };
      for (const [name, [hearers, event, args]] of Object.entries(expected)) {
        await t.part(name, async () => {
          const boxes = everybody.map((client) => client.on(event));
          // What is volatile is dropped for whoever's connection is busy: again until all have heard one.
          const volatile = vector(name).data.includes('"volatile":true');
          const heard = new Set();
          const once = async () => {
            const last = unique("last");
            const lasts = everybody.map((client) => client.on(last));
            await add(vector(name));
            // The same entry for another event, to all: who has not heard until then never will.
            await add({ ...vector("emit"), data: vector("emit").data.replace('"hello"', JSON.stringify(last)) });
            for (const [i, client] of everybody.entries()) {
              await lasts[i].next(`${client.name} hears the entry after it`, 10_000);
              const got = boxes[i].drain();
              if (got.length > 0) heard.add(client);
              if (!volatile || got.length > 0) same(got, hearers.includes(client) ? [args] : [], `what ${client.name} heard`);
            }
            return !volatile || heard.size === hearers.length;
          };
          await until(once, `all hear the volatile ${name}`, 10_000);
        });
      }
      await t.part("join", async () => {
        await add(vector("join"));
        for (const client of [...room1, ...room2]) await reachesRoom(client, "r");
        await add(vector("join.filtered")); // those of room1 that are not in room2, to a and b
        for (const client of room1) await inRooms(client, ["room1", "r", "a", "b"]);
        for (const client of room2) await inRooms(client, ["room2", "r"]);
      });
      await t.part("leave", async () => {
        await add({ ...vector("join.filtered"), type: "5" });
        for (const client of room1) await inRooms(client, ["room1", "r"]);
        // Others go on in `/`: they were moved to the room `r` too.
        await add({ ...vector("join"), type: "5" });
        for (const client of [...room1, ...room2]) await until(async () => !(await client.call("rooms")).includes("r"), "the room is left");
      });
      await t.part("another namespace", async () => {
        const chats = await t.clients({ nsp: "/chat", rooms: ["room1"] });
        const boxes = chats.map((client) => client.on("hello"));
        const fields = vector("emit.nsp");
        await add({ ...fields, nsp: "/chat", data: fields.data.replace("/admin", "/chat") });
        for (const [i, client] of chats.entries()) await boxes[i].next(`${client.name} hears it`, 10_000);
      });
      await t.part("server-side event", async () => {
        await add({ ...vector("sse"), data: vector("sse").data.replace('"ping"', '"note"') });
        await allNote(t, "/", [1, "a", null]);
      });
      await t.part("disconnection", async () => {
        await add(vector("disconnect"));
        await gone([...room1, ...r2]);
        for (const client of room2) same(await client.ask("echo", 1), [1]);
      });
      await t.part("disconnection with close", async () => {
        const chats = await t.clients({ nsp: "/chat", rooms: ["room-close"] });
        const fields = vector("disconnect.close");
        await add({ ...fields, nsp: "/chat", data: fields.data.replace('"rooms":[]', '"rooms":["room-close"]') });
        await gone(chats);
      });
      await reaches(t.nodes[0], {}, stage.all);
    },
    ({ family }) => (family === "streams" ? undefined : "streams only"),
    { alone: true }, // its golden entries move every socket of `/` to a room and back
  ),
];

async function reachesRoom(client, room) {
  await until(async () => (await client.call("rooms")).includes(room), `${client.name} is in ${room}`, 10_000);
}
