// Broadcasts with acknowledgements: every client of every node answers, or the answers so far come with an error.

import { freeDynamicName } from "../dynamic_names.mjs";
import { reaches, same, unique } from "../hearing.mjs";

const TIMEOUT_MS = 5000; // for what must come
const SHORT_MS = 700; // for what must not

const row = (name, run, skip) => ({ name, run, skip });
const sorted = (list) => [...list].sort((a, b) => String(JSON.stringify(a)).localeCompare(String(JSON.stringify(b))));

// Lets the clients answer an event each in its own way.
export function answering(clients, event, answer) {
  for (const client of clients) client.socket.on(event, (...args) => args.pop()?.(...answer(client, args)));
}

export async function expectAnswers(node, target, event, args, expected) {
  const { err, responses } = await node.do("emitAck", { timeout: TIMEOUT_MS, ...target, event, args });
  // Nothing is null in JSON, and may be either in MessagePack.
  same({ err, responses: sorted(responses.map((response) => response ?? null)) }, { err: null, responses: sorted(expected) }, "the outcome");
}

export const ACKS = [
  row("broadcast with ack", (t) =>
    t.fromEach(async (node) => {
      const { A, AB, B, a, b, all } = t.cluster.stage;
      const event = unique("question");
      answering(all, event, (client, args) => [{ id: client.id, args }]);
      const ids = (clients) => clients.map(({ id }) => ({ id, args: ["q", 1] }));
      await expectAnswers(node, { rooms: [A] }, event, ["q", 1], ids(a));
      await expectAnswers(node, { rooms: [A, AB] }, event, ["q", 1], ids([...a, ...b]));
      await expectAnswers(node, { rooms: [AB], except: [B] }, event, ["q", 1], ids(a));
    }),
  ),

  row("broadcast with ack from a socket", (t) =>
    t.fromEach(async (node) => {
      const { stage } = t.cluster;
      const event = unique("question");
      answering(stage.a, event, (client) => [client.id]);
      const expected = stage.a.filter((client) => client !== stage.of(node)).map(({ id }) => id);
      await expectAnswers(node, { sid: stage.of(node).id, rooms: [stage.A] }, event, [], expected);
    }),
  ),

  row("broadcast with ack, binary both ways", (t) =>
    t.fromEach(async (node) => {
      const { A, a } = t.cluster.stage;
      const event = unique("question");
      answering(a, event, (client, args) => [{ id: client.id, args, more: [Buffer.from(client.id)] }]);
      const args = [Buffer.from([1, 2, 255]), { in: [Buffer.from("nested")] }];
      await expectAnswers(node, { rooms: [A] }, event, args, a.map(({ id }) => ({ id, args, more: [Buffer.from(id)] })));
    }),
  ),

  row("broadcast with ack, every kind of answer", (t) =>
    t.fromEach(async (node) => {
      const { A, a } = t.cluster.stage;
      for (const answer of [null, 0, false, "", [], {}, "text", [1, [2]], { type: 9 }]) {
        const event = unique("question");
        answering(a, event, () => [answer]);
        await expectAnswers(node, { rooms: [A] }, event, [], a.map(() => answer));
      }
    }),
  ),

  // Only the first argument is handed on; one that is missing is nothing in JavaScript and null on the wire.
  row("broadcast with ack, none or several arguments", (t) =>
    t.fromEach(async (node) => {
      const { A, a } = t.cluster.stage;
      const [none, several] = [unique("question"), unique("question")];
      answering(a, none, () => []);
      await expectAnswers(node, { rooms: [A] }, none, [], a.map(() => null));
      answering(a, several, (client) => [client.id, "second", 3]);
      await expectAnswers(node, { rooms: [A] }, several, [], a.map(({ id }) => id));
    }),
  ),

  row("broadcast with ack to nobody", (t) =>
    t.fromEach((node) => expectAnswers(node, { rooms: ["nobody"] }, unique("question"), [], [])),
  ),

  row("broadcast with ack to one node's client", (t) =>
    t.fromEach(async (node) => {
      for (const { client, room } of t.cluster.stage.single) {
        const event = unique("question");
        answering([client], event, () => ["here"]);
        await expectAnswers(node, { rooms: [room] }, event, [], ["here"]);
        await expectAnswers(node, { rooms: [client.id] }, event, [], ["here"]);
      }
    }),
  ),

  row("broadcast with ack, some do not answer", (t) =>
    t.fromEach(async (node) => {
      const { A, a } = t.cluster.stage;
      for (const silent of a) {
        const event = unique("question");
        const answer = a.filter((client) => client !== silent);
        answering(answer, event, (client) => [client.id]);
        const { err, responses } = await node.do("emitAck", { rooms: [A], timeout: SHORT_MS, event });
        if (!/timed out/.test(err)) throw new Error(`the error is ${err}, though ${silent.name} did not answer`);
        same(sorted(responses), sorted(answer.map(({ id }) => id)), "the answers that came");
      }
    }),
  ),

  row("an answer after the timeout is ignored", async (t) => {
    await t.fromEach(async (node) => {
      const { stage } = t.cluster;
      const [late, next] = [unique("question"), unique("question")];
      const held = [];
      for (const client of stage.a) client.socket.on(late, (acknowledge) => held.push(acknowledge));
      const { err, responses } = await node.do("emitAck", { rooms: [stage.A], timeout: SHORT_MS, event: late });
      same([/timed out/.test(err), responses], [true, []], "the outcome");
      for (const acknowledge of held) acknowledge("late");
      answering(stage.a, next, (client) => [client.id]);
      await expectAnswers(node, { rooms: [stage.A] }, next, [], stage.a.map(({ id }) => id));
    });
  }),

  row("many broadcasts with ack at once", (t) =>
    t.fromEach(async (node) => {
      const { A, a } = t.cluster.stage;
      const event = unique("question");
      answering(a, event, (client, [number]) => [`${client.id} ${number}`]);
      const numbers = [...Array(20).keys()];
      await Promise.all(numbers.map((n) => expectAnswers(node, { rooms: [A] }, event, [n], a.map(({ id }) => `${id} ${n}`))));
    }),
  ),

  row("broadcast with ack to all of a namespace", async (t) => {
    const nsp = freeDynamicName(t.configuration);
    const clients = await t.clients({ nsp });
    await Promise.all(t.nodes.map((node) => reaches(node, { nsp }, clients)));
    await t.cluster.counted(t.nodes.length, { nsp });
    await t.fromEach(async (node) => {
      const event = unique("question");
      answering(clients, event, (client) => [client.id]);
      await expectAnswers(node, { nsp }, event, [], clients.map(({ id }) => id));
    });
  }),
];
