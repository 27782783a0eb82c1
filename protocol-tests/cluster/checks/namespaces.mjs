// Other namespaces: a fixed one, and dynamic ones that only some nodes have.

import { OLDER } from "../../harness/socketio_client.mjs";
import { freeDynamicName } from "../dynamic_names.mjs";
import { byCommand, expectHeard, reaches, same, unique } from "../hearing.mjs";
import { Stage } from "../stage.mjs";
import { broadcast, TARGETS } from "./broadcasts.mjs";
import { answering, expectAnswers } from "./acks.mjs";

const row = (name, run, skip) => ({ name, run, skip });
// Everything that a namespace of its own could break.
async function everything(t, nsp) {
  const stage = await Stage.set(t.cluster, nsp);
  t.keep(...stage.all);
  await t.fromEach(async (node) => {
    for (const [name, choose] of Object.entries(TARGETS)) {
      await broadcast(stage, node, choose(stage, node)).catch((error) => {
        throw new Error(`${name}: ${error.message}`);
      });
    }
    await broadcast(stage, node, TARGETS["to all"](stage), [Buffer.from([1, 2])]);
    const event = unique("question");
    answering(stage.a, event, (client) => [client.id]);
    await expectAnswers(node, { nsp, rooms: [stage.A] }, event, [], stage.a.map(({ id }) => id));
    const found = await node.do("fetch", { nsp, rooms: [stage.AB] });
    same(found.map(({ id }) => id).sort(), [...stage.a, ...stage.b].map(({ id }) => id).sort(), "what fetchSockets found");
    const room = unique("x");
    const client = stage.c[0];
    await node.do("join", { nsp, rooms: [client.id], join: [room] });
    await node.do("remote", { nsp, id: client.id, action: "emit", event: unique("nothing") });
    await reaches(node, { nsp, rooms: [room] }, [client]);
  });
  await t.part("disconnection", async () => {
    await t.nodes[0].do("disconnect", { nsp, rooms: [stage.B] });
    for (const client of stage.b) await client.disconnected.next(`${client.name} is disconnected`);
  });
}

export const NAMESPACES = [
  row("namespace /chat", (t) => everything(t, "/chat")),

  row("a dynamic namespace", (t) => everything(t, freeDynamicName(t.configuration))),

  row("namespaces are apart", (t) =>
    t.fromEach(async (node) => {
      const room = unique("same-name");
      const [roots, chats] = [await t.clients({ rooms: [room] }), await t.clients({ rooms: [room], nsp: "/chat" })];
      for (const [nsp, hearers, deaf] of [["/", roots, chats], ["/chat", chats, roots]]) {
        const event = unique("event");
        const boxes = deaf.map((client) => client.on(event));
        for (const client of hearers) client.on(event);
        await reaches(node, { nsp, rooms: [room] }, hearers);
        await expectHeard({ emit: byCommand(node), target: { nsp, rooms: [room] }, hearers, everybody: hearers });
        await node.do("emit", { nsp, rooms: [room], event });
        for (const client of hearers) await client.on(event).next(`${client.name} hears it`);
        const other = nsp === "/" ? "/chat" : "/";
        await reaches(node, { nsp: other }, deaf);
        same(boxes.filter(({ size }) => size > 0).length, 0, "the number of clients of the other namespace that heard it");
        same((await node.do("fetch", { nsp, rooms: [room] })).map(({ id }) => id).sort(), hearers.map(({ id }) => id).sort(), "what was found");
      }
    }),
  ),

  // Those who do not have it must not be waited for.
  row("a dynamic namespace of two nodes", async (t) => {
    for (const without of t.nodes) {
      const nsp = freeDynamicName(t.configuration);
      const with2 = t.nodes.filter((node) => node !== without);
      const clients = await t.clients({ nsp }, with2);
      await Promise.all(with2.map((node) => reaches(node, { nsp }, clients)));
      await t.cluster.counted(2, { nsp, among: with2 });
      await Promise.all(
        with2.map((node) =>
          t.part(`from ${node.name}, ${without.name} does not have it`, async () => {
            await expectHeard({ emit: byCommand(node), target: { nsp }, hearers: clients, everybody: clients });
            same((await node.do("fetch", { nsp })).map(({ id }) => id).sort(), clients.map(({ id }) => id).sort(), "what fetchSockets found");
            const event = unique("question");
            answering(clients, event, (client) => [client.id]);
            await expectAnswers(node, { nsp }, event, [], clients.map(({ id }) => id));
            for (const client of clients) {
              const room = unique("x");
              await node.do("join", { nsp, rooms: [client.id], join: [room] });
              await reaches(node, { nsp, rooms: [room] }, [client]);
            }
          }),
        ),
      );
    }
  }),

  row(
    "a client of 2.x (EIO 3)",
    async (t) => {
      const room = unique("old");
      const old = await t.clients({ library: OLDER["2.x"], rooms: [room] });
      for (const client of old) client.name = `the 2.x client of ${client.node.name}`;
      await Promise.all(t.nodes.map((node) => reaches(node, { rooms: [room] }, old)));
      await t.fromEach(async (node) => {
        const emit = byCommand(node);
        await expectHeard({ emit, target: { rooms: [room] }, args: ["x", Buffer.from([1])], hearers: old, everybody: old });
        const own = old.find((client) => client.node === node);
        await expectHeard({ emit, target: { rooms: [room], except: [own.id] }, hearers: old.filter((client) => client !== own), everybody: old });
        const event = unique("question");
        answering(old, event, (client) => [client.welcome.id]);
        await expectAnswers(node, { rooms: [room] }, event, [], old.map(({ welcome }) => welcome.id));
        const found = await node.do("fetch", { rooms: [room] });
        same(found.map(({ id }) => id).sort(), old.map(({ welcome }) => welcome.id).sort(), "what fetchSockets found");
        for (const client of old) {
          const x = unique("x");
          await node.do("join", { rooms: [client.id], join: [x] });
          await reaches(node, { rooms: [x] }, [client]);
          await node.do("leave", { rooms: [client.id], leave: [x] });
        }
      });
      await t.part("disconnection", async () => {
        await t.nodes[0].do("disconnect", { rooms: [room] });
        for (const client of old) await client.disconnected.next(`${client.name} is disconnected`);
      });
    },
    ({ parser }) => (parser ? "a default parser only" : undefined),
  ),
];

