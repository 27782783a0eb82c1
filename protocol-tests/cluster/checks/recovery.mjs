// Connection state recovery through the streams: a client is cut off from one node and comes back on another.

import { Client } from "../../harness/socketio_client.mjs";
import { until } from "../../harness/wait.mjs";
import { freeDynamicName } from "../dynamic_names.mjs";
import { reaches, same, unique } from "../hearing.mjs";
import { Relay } from "../relay.mjs";

const WAIT_MS = 10_000;
const OFFSET = /^[0-9]+-[0-9]+$/;
const row = (name, run, skip, more) => ({ name, run, skip, ...more });

// A client of a node through a relay, which keeps what it hears in order, without the offsets.
class Wanderer {
  heard = [];

  static async start(t, node, nsp = "/") {
    const wanderer = new Wanderer();
    wanderer.relay = await Relay.open(node);
    const client = await Client.connect(wanderer.relay, { nsp, ...node.clientOptions, ...Relay.options });
    Object.assign(wanderer, { t, node, nsp, client, id: client.id });
    wanderer.client.name = `the client that began on ${node.name}`;
    client.socket.onAny((event, mark, ...args) => {
      if (!String(mark).startsWith("mark")) return;
      wanderer.offset = args.at(-1);
      wanderer.heard.push([event, mark, ...args.slice(0, -1)]);
    });
    t.keep(wanderer);
    return wanderer;
  }

  // Until the node has put the session away.
  async cut() {
    this.relay.cut();
    await this.client.disconnected.next(`${this.client.name} notices the cut`, WAIT_MS);
    const gone = async () => !(await this.node.do("local", { nsp: this.nsp })).includes(this.id);
    await until(gone, `${this.node.name} notices the cut`, WAIT_MS);
    this.pid = await until(() => sessionOf(this.t, this.id), `the session of ${this.client.name} is in Redis`, WAIT_MS);
  }

  async comeBack(node) {
    this.relay.lead(node);
    this.node = node;
    [this.welcome] = await this.client.on("welcome").next(`${this.client.name} is welcomed on ${node.name}`, WAIT_MS);
  }

  hears(mark) {
    return until(() => this.heard.some((each) => each[1] === mark), `${this.client.name} hears ${mark}`, WAIT_MS);
  }

  close() {
    this.client.close();
    this.relay.close();
  }
}

// The private id under which the session of a socket lies, if it does.
async function sessionOf(t, id) {
  const { redis } = t.cluster;
  const read = (t.cluster.sessions ??= new Map()); // a session keeps its socket's id for good
  for (const key of await redis.keys("sio:session:*")) {
    if (!read.has(key)) {
      const value = await redis.command(key, "GET", key);
      if (value) read.set(key, Buffer.from(value, "base64"));
    }
    if (read.get(key)?.includes(id)) return key.slice("sio:session:".length);
  }
}

// Emits from each node what the wanderer must get and what not. Gives what it must get, by sender.
async function miss(t, wanderer, room, witness) {
  const { nsp, id } = wanderer;
  const expected = new Map();
  for (const node of t.nodes) {
    const mark = () => unique(`mark-${node.name}`);
    const own = [];
    const emit = async (target, getsIt, ...args) => {
      const event = unique("missed");
      const marked = mark();
      await node.do("emit", { nsp, ...target, event, args: [marked, ...args] });
      if (getsIt) own.push([event, marked, ...args]);
    };
    await emit({}, true, { to: "all" });
    await emit({ rooms: ["not its room"] }, false);
    await emit({ rooms: [room] }, true, 1, "two");
    await emit({ except: [room] }, false);
    await emit({ rooms: [id] }, true);
    await emit({ rooms: [room], except: [id] }, false);
    await emit({ rooms: ["not its room", room] }, true, Buffer.from([1, 2, 255]), { in: [Buffer.from("nested")] });
    const last = unique("witnessed");
    const seen = witness.on(last);
    await emit({ rooms: [room] }, true);
    await node.do("emit", { nsp, event: last });
    await seen.next(`${witness.name} hears what ${node.name} emitted last`, WAIT_MS);
    expected.set(node, own);
  }
  return expected;
}

const sameBySender = (wanderer, expected) => {
  for (const [node, own] of expected) {
    const heard = wanderer.heard.filter(([event, mark]) => event.startsWith("missed") && mark.startsWith(`mark-${node.name}-`));
    same(heard, own, `what was heard of ${node.name}`);
  }
};

// A node delivers its own messages when Redis has taken them, and those of others when it reads them, so that a client
// can hear them in another order than that of the offsets; and Node then sends again, or forgets, what is between.
// Nothing else is emitted in the namespace meanwhile, so that the order is always the same.
async function wander(t, from, to, nsp) {
  const room = unique("room");
  const witnesses = await t.clients({ nsp });
  await Promise.all(t.nodes.map((node) => reaches(node, { nsp }, witnesses)));
  const witness = witnesses.find(({ node }) => node !== from);
  const wanderer = await Wanderer.start(t, from, nsp);
  await wanderer.client.call("join", room);
  await wanderer.client.call("setdata", { from: from.name, list: [1] });

  // There and back again.
  for (const node of [to, from]) {
    wanderer.heard = [];
    const live = [];
    for (const sender of t.nodes) {
      live.push(unique(`mark-live-${sender.name}`));
      await sender.do("emit", { nsp, rooms: [room], event: "live", args: [live.at(-1)] });
      await wanderer.hears(live.at(-1));
    }
    await wanderer.cut();
    const expected = await miss(t, wanderer, room, witness);
    await wanderer.comeBack(node);
    same([wanderer.client.socket.recovered, wanderer.welcome.recovered, wanderer.welcome.node], [true, true, node.name], "recovered, and where");
    same([wanderer.client.id, wanderer.welcome.id], [wanderer.id, wanderer.id], "the id");

    // Events to all from each node arrive after what was missed, and once more all must be there once.
    for (const sender of t.nodes) {
      const after = unique(`mark-after-${sender.name}`);
      await sender.do("emit", { nsp, rooms: [room], event: "after", args: [after] });
      await wanderer.hears(after);
      same(wanderer.heard.filter(([, mark]) => mark === after).length, 1, `how often it hears a new event of ${sender.name}`);
    }
    sameBySender(wanderer, expected);
    same(wanderer.heard.filter(([event]) => event === "live").map(([, mark]) => mark), live, "what it had heard before the cut");
    same(await wanderer.client.call("rooms"), [wanderer.id, room].sort(), "its rooms");
    const [found] = await witness.node.do("fetch", { nsp, rooms: [wanderer.id] });
    same(found?.data, { from: from.name, list: [1] }, "its data");
    same(await wanderer.client.ask("echo", "still", Buffer.from([1])), ["still", Buffer.from([1])], "its echo");
  }
}

const pairs = (nodes) => nodes.flatMap((from) => nodes.map((to) => [from, to]));

async function refused(t, node, auth) {
  const client = await t.client(node, { auth });
  same([client.socket.recovered, client.welcome.recovered], [false, false], "recovered");
  return client;
}

export const RECOVERY = [
  row("recovery: from node to node", (t) =>
    Promise.all(
      pairs(t.nodes).map(([from, to]) =>
        t.part(`from ${from.name} to ${to.name} and back`, () => wander(t, from, to, freeDynamicName(t.configuration))),
      ),
    ),
  ),

  row(
    "recovery in / and /chat",
    async (t) => {
      for (const nsp of ["/", "/chat"]) {
        const [from, to] = [t.nodes[0], t.nodes.at(-1)];
        await t.part(`from ${from.name} to ${to.name} and back, in ${nsp}`, () => wander(t, from, to, nsp));
      }
    },
    undefined,
    { alone: true },
  ),

  row("recovery: nothing missed", (t) =>
    Promise.all(
      pairs(t.nodes).map(([from, to]) =>
        t.part(`from ${from.name} to ${to.name}`, async () => {
          const wanderer = await Wanderer.start(t, from);
          const mark = unique("mark");
          await to.do("emit", { rooms: [wanderer.id], event: "live", args: [mark] });
          await wanderer.hears(mark);
          await wanderer.cut();
          await wanderer.comeBack(to);
          same([wanderer.welcome.recovered, wanderer.client.id], [true, wanderer.id], "recovered, and the id");
          const last = unique("mark");
          await from.do("emit", { rooms: [wanderer.id], event: "live", args: [last] });
          await wanderer.hears(last);
          same(wanderer.heard.map(([, heard]) => heard), [mark, last], "what was heard");
        }),
      ),
    ),
  ),

  row("recovery: a session is used once", (t) =>
    Promise.all(
      pairs(t.nodes).map(([from, to]) =>
        t.part(`from ${from.name} to ${to.name}`, async () => {
          const wanderer = await Wanderer.start(t, from);
          const mark = unique("mark");
          await from.do("emit", { rooms: [wanderer.id], event: "live", args: [mark] });
          await wanderer.hears(mark);
          await wanderer.cut();
          const session = { pid: wanderer.pid, offset: wanderer.offset };
          const again = await t.client(to, { auth: session });
          same([again.welcome.recovered, again.id], [true, wanderer.id], "recovered by the session's id, and its id");
          for (const node of t.nodes) await refused(t, node, session);
        }),
      ),
    ),
  ),

  row("recovery: what is no session", (t) =>
    t.fromEach(async (node) => {
      const ids = new Set();
      for (const auth of [
        { pid: "unknown-unknown-1234", offset: "1-0" },
        { pid: "unknown-unknown-1234", offset: "garbage" },
        { pid: 7, offset: "1-0" },
        { pid: "unknown-unknown-1234" },
        { offset: "1-0" },
      ]) {
        ids.add((await refused(t, node, auth)).id);
      }
      same(ids.size, 5, "the number of ids");
      const wanderer = await Wanderer.start(t, node);
      const mark = unique("mark");
      await node.do("emit", { rooms: [wanderer.id], event: "live", args: [mark] });
      await wanderer.hears(mark);
      await wanderer.cut();
      // Redis would take this for a range.
      await refused(t, node, { pid: wanderer.pid, offset: "-" });
    }),
  ),

  // The one who is cut off later shows when the other's session would have been written.
  row("recovery: who says goodbye is forgotten", (t) =>
    t.fromEach(async (node) => {
      const leaving = await t.client(node);
      const { id } = leaving;
      leaving.close();
      const gone = async () => !(await node.do("local")).includes(id);
      await until(gone, `${node.name} notices that a client left`, WAIT_MS);
      const wanderer = await Wanderer.start(t, node);
      await wanderer.cut();
      same(await sessionOf(t, id), undefined, "the session of one who left");
    }),
  ),

  row("recovery: offsets", async (t) => {
    const room = unique("room");
    const clients = await t.clients({ rooms: [room] });
    await t.fromEach(async (node) => {
      const event = unique("event");
      const boxes = clients.map((client) => client.on(event));
      await reaches(node, { rooms: [room] }, clients);
      await node.do("emit", { rooms: [room], event, args: ["x"] });
      const heard = await Promise.all(boxes.map((box, i) => box.next(`${clients[i].name} hears it`, WAIT_MS)));
      const [, offset] = heard[0];
      if (!OFFSET.test(offset)) throw new Error(`the offset is ${offset}`);
      same(heard, clients.map(() => ["x", offset]), "what the clients heard");
      // What asks for an answer has no offset, and so has not what is volatile.
      const question = unique("question");
      for (const client of clients) client.socket.on(question, (...args) => args.pop()(args));
      const { responses } = await node.do("emitAck", { rooms: [room], event: question, args: ["q"], timeout: 5000 });
      same(responses, clients.map(() => ["q"]), "the arguments of a question");
      const volatile = clients.map((client) => client.on(`${event}-volatile`));
      const all = async () => {
        await node.do("emit", { rooms: [room], flags: { volatile: true }, event: `${event}-volatile`, args: ["v"] });
        return volatile.every(({ size }) => size > 0);
      };
      await until(all, "the clients hear volatile events", WAIT_MS);
      for (const box of volatile) same(await box.next(), ["v"], "a volatile event");
    });
  }),
];
