// Sharded nodes with different subscription modes in one cluster: whatever reaches from mode to mode between Node's own.

import { isDeepStrictEqual } from "node:util";
import { until } from "../../harness/wait.mjs";
import { byCommand, expectHeard, reaches, same, unique } from "../hearing.mjs";
import { answering, expectAnswers } from "./acks.mjs";

const WAIT_MS = 10_000;
const row = (name, run) => ({ name, run });
const modeOf = (node) => node.env.SHARDED_MODE;
const ids = (clients) => clients.map(({ id }) => id).sort();

// A sender that is dynamic publishes to a room alone on the room's own channel, on which static nodes do not listen. With
// the ids of sockets, private rooms, only `dynamic-private` does so, and only its like listens.
const hearsRooms = (sender, receiver) => sender === receiver || modeOf(sender) === "static" || modeOf(receiver) !== "static";
const hearsIds = (sender, receiver) => sender === receiver || modeOf(sender) !== "dynamic-private" || modeOf(receiver) === "dynamic-private";

// And all of them once.
async function reachesOnce(node, target, hearers) {
  await reaches(node, target, hearers);
  await expectHeard({ emit: byCommand(node), target, args: [node.name], hearers, everybody: hearers });
}

export const MODES = [
  row("modes: broadcast to all, to several rooms, except", async (t) => {
    const [one, two] = [unique("one"), unique("two")];
    const clients = await t.clients({ rooms: [one] });
    const others = await t.clients({ rooms: [two] });
    await t.fromEach(async (node) => {
      await reachesOnce(node, {}, [...clients, ...others]);
      await reachesOnce(node, { rooms: [one, two] }, [...clients, ...others]);
      await reachesOnce(node, { except: [two] }, clients);
      await reachesOnce(node, { rooms: [one, two], except: [one] }, others);
    });
  }),

  row("modes: broadcast to a room", async (t) => {
    const room = unique("room");
    const clients = await t.clients({ rooms: [room] });
    await t.fromEach(async (node) => {
      const hearers = clients.filter((client) => hearsRooms(node, client.node));
      await reachesOnce(node, { rooms: [room] }, hearers);
      // One that leaves, and another one that comes to where nobody was in the room.
      const [later, gone] = [unique("later"), unique("gone")];
      for (const client of hearers) await client.call("join", gone);
      await reachesOnce(node, { rooms: [gone] }, hearers);
      for (const client of hearers) await client.call("leave", gone);
      for (const client of hearers) await client.call("join", later);
      await reachesOnce(node, { rooms: [later] }, hearers);
    });
  }),

  row("modes: broadcast to a socket id", async (t) => {
    const clients = await t.clients();
    await t.fromEach(async (node) => {
      for (const client of clients.filter((client) => hearsIds(node, client.node))) await reachesOnce(node, { rooms: [client.id] }, [client]);
    });
  }),

  row("modes: broadcast with ack", async (t) => {
    const room = unique("room");
    const clients = await t.clients({ rooms: [room] });
    await t.fromEach(async (node) => {
      const event = unique("question");
      answering(clients, event, (client) => [client.id]);
      await expectAnswers(node, { rooms: [room] }, event, [1], ids(clients));
      await expectAnswers(node, { rooms: [clients[0].id] }, event, [1], [clients[0].id]);
    });
  }),

  row("modes: fetchSockets, join, leave", async (t) => {
    const room = unique("room");
    const clients = await t.clients({ rooms: [room] });
    await t.fromEach(async (node) => {
      const joined = unique("joined");
      const found = async (room) => (await node.do("fetch", { rooms: [room] })).map(({ id }) => clients.find((client) => client.id === id)?.name ?? id).sort();
      const all = clients.map(({ name }) => name).sort();
      // Node's nodes move their own clients only after Redis took the message.
      const moved = (room, expected) => until(async () => isDeepStrictEqual(await found(room), expected), `${node.name} finds ${expected} in ${room}`, WAIT_MS);
      same(await found(room), all, "what fetchSockets found");
      await node.do("join", { rooms: [room], join: [joined] });
      const hearers = clients.filter((client) => hearsRooms(node, client.node));
      await reachesOnce(node, { rooms: [joined] }, hearers);
      await moved(joined, all);
      await node.do("leave", { rooms: [room], leave: [joined] });
      await moved(joined, []);
    });
  }),

  row("modes: serverSideEmit with ack", (t) =>
    t.fromEach(async (node) => {
      const { err, responses } = await node.do("sseAck", { event: "whoami", args: [1] });
      const others = t.nodes.filter((other) => other !== node).map(({ name }) => name);
      same([err, responses.map((response) => response.node).sort()], [null, others.sort()], "the outcome");
    }),
  ),

  row("modes: disconnect", (t) =>
    t.fromEach(async (node) => {
      const room = unique("room");
      const clients = await t.clients({ rooms: [room] });
      await node.do("disconnect", { rooms: [room] });
      for (const client of clients) await client.disconnected.next(`${client.name} is disconnected`, WAIT_MS);
    }),
  ),
];
