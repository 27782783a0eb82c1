// Events between servers, and what the nodes know of each other.

import { until } from "../../harness/wait.mjs";
import { reaches, same, unique } from "../hearing.mjs";

const row = (name, run, skip) => ({ name, run, skip });
const BYTES = Buffer.from([1, 2, 255]);

// `note` is remembered by all but its sender.
async function notes(t, nsp) {
  const binary = t.configuration.family === "classic" ? { type: "Buffer", data: [...BYTES] } : BYTES;
  const sent = new Map();
  for (const node of t.nodes) {
    const mark = unique("note");
    sent.set(node, mark);
    await node.do("sse", { nsp, event: "note", args: [mark, 1, { a: [null, "ü"] }] });
    await node.do("sse", { nsp, event: "note", args: [mark, BYTES] });
    await node.do("sse", { nsp, event: "note", args: [mark] });
  }
  await t.fromEach(async (node) => {
    let collected = [];
    const others = t.nodes.filter((other) => other !== node);
    const of = (mark) => collected.filter(({ args }) => args[0] === mark);
    const all = async () => {
      collected = await node.notes();
      return others.every((other) => of(sent.get(other)).length >= 3);
    };
    await until(all, `${node.name} gets the events of ${others.map(({ name }) => name).join(", ")}`, 10_000);
    for (const other of others) {
      const mark = sent.get(other);
      const expected = [[mark, 1, { a: [null, "ü"] }], [mark, binary], [mark]];
      const ordered = t.configuration.redisCluster ? [...of(mark)].sort((a, b) => b.args.length - a.args.length) : of(mark);
      same(ordered, expected.map((args) => ({ nsp, args })), `what ${node.name} noted of ${other.name}`);
    }
    same(of(sent.get(node)), [], "what came back to the sender");
  });
}

const answers = (t, node, nsp, args) => t.nodes.filter((other) => other !== node).map(({ name }) => ({ node: name, nsp, args }));
const byNode = (list) => [...list].sort((a, b) => a.node.localeCompare(b.node));

export const SERVER_SIDE = [
  row("serverSideEmit", async (t) => {
    for (const nsp of ["/", "/chat"]) await notes(t, nsp);
  }),

  row("serverSideEmit with ack", (t) =>
    t.fromEach(async (node) => {
      for (const nsp of ["/", "/chat"]) {
        const args = ["x", { n: [1] }];
        const { err, responses } = await node.do("sseAck", { nsp, event: "whoami", args });
        same({ err, responses: byNode(responses) }, { err: null, responses: byNode(answers(t, node, nsp, args)) }, "the outcome");
      }
    }),
  ),

  row("serverSideEmit with ack, several at once", (t) =>
    t.fromEach(async (node) => {
      const ask = async (n) => {
        const { err, responses } = await node.do("sseAck", { event: "whoami", args: [n] });
        same({ err, responses: byNode(responses) }, { err: null, responses: byNode(answers(t, node, "/", [n])) }, "the outcome");
      };
      await Promise.all([...Array(20).keys()].map(ask));
    }),
  ),

  row("serverSideEmit with ack, nobody answers", (t) =>
    t.fromEach(async (node) => {
      const outcome = await node.do("sseAck", { event: "mute" });
      const expected = `timeout reached: only 0 responses received out of ${t.nodes.length - 1}`;
      same(outcome, { err: expected, responses: [] }, "the outcome");
    }),
  ),

  row("serverCount", (t) =>
    t.fromEach(async (node) => {
      for (const nsp of ["/", "/chat", "/auth"]) same(await node.do("serverCount", { nsp }), t.nodes.length, `the count in ${nsp}`);
    }),
  ),

  row(
    "allRooms",
    async (t) => {
      const rooms = [];
      for (const node of t.nodes) {
        const [shared, own] = [unique("shared"), unique("own")];
        const [client] = await t.clients({ rooms: [shared, own] }, [node]);
        rooms.push(shared, own, client.id);
      }
      await t.fromEach(async (node) => {
        const all = await node.do("allRooms");
        for (const room of rooms) same(all.filter((other) => other === room).length, 1, `how often ${room} is among all rooms`);
      });
    },
    ({ family }) => (family === "classic" ? undefined : "classic only"),
  ),
];
