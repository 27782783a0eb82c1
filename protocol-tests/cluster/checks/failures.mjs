// What happens to Redis and to other nodes: local delivery goes on, what cannot be answered fails in time, and afterwards
// everything works again. These run one after another, because each disturbs the whole cluster.

import { readdirSync, readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { until } from "../../harness/wait.mjs";
import { isNode } from "../configurations.mjs";
import { reaches, same, unique } from "../hearing.mjs";
import { answering, expectAnswers } from "./acks.mjs";

const WAIT_MS = 10_000;
const HEAR_MS = 2000; // one frame, while nothing else goes on
const RECOVER_MS = 20_000; // until both sides have connected to Redis again
const SHORT_MS = 700;
const LATER_MS = 6000; // an answer that is late but in time
const row = (name, run, skip) => ({ name, run, skip, alone: true });

// Cross-node work of every kind, in every direction.
async function worksAgain(t, among = t.nodes) {
  await t.cluster.counted(among.length, { among, ms: RECOVER_MS });
  const room = unique("again");
  const clients = await t.clients({ rooms: [room] }, among);
  await Promise.all(among.map((node) => reaches(node, { rooms: [room] }, clients, RECOVER_MS)));
  const ids = clients.map(({ id }) => id);
  await Promise.all(
    among.map((node) =>
      t.part(`afterwards, from ${node.name}`, async () => {
        same((await node.do("fetch", { rooms: [room] })).map(({ id }) => id).sort(), [...ids].sort(), "what fetchSockets found");
        const event = unique("question");
        answering(clients, event, (client) => [client.id]);
        await expectAnswers(node, { rooms: [room] }, event, [1], ids);
        const { err, responses } = await node.do("sseAck", { event: "whoami" });
        same([err, responses.length], [null, among.length - 1], "the outcome of serverSideEmit");
        for (const client of clients) {
          const x = unique("x");
          await node.do("join", { rooms: [client.id], join: [x] });
          await reaches(node, { rooms: [x] }, [client]);
        }
      }),
    ),
  );
}

// What a node's own clients must still be able to do without Redis.
async function locally(t, clients, node) {
  const [one, other] = clients.filter((client) => client.node === node);
  const room = unique("local");
  same(await one.ask("echo", 1, Buffer.from([2])), [1, Buffer.from([2])], "the echo");
  for (const client of [one, other]) same(await client.call("join", room), [client.id, room].sort(), "the rooms");
  const event = unique("local");
  const box = other.on(event);
  await node.do("emit", { rooms: [room], flags: { local: true }, event, args: ["local"] });
  same(await box.next(`${other.name} hears a local broadcast`, WAIT_MS), ["local"], "what was heard");
  if (node.isNode && t.configuration.family !== "classic") {
    t.skip("Node's sharded and streams nodes deliver to their own clients only after Redis took the message");
    return;
  }
  await node.do("emit", { rooms: [room], event, args: ["broadcast"] });
  same(await box.next(`${other.name} hears a broadcast`, WAIT_MS), ["broadcast"], "what was heard");
  one.emit("cast", room, event, "cast");
  same(await box.next(`${other.name} hears a client's broadcast`, WAIT_MS), ["cast"], "what was heard");
}

// Two clients of each node.
const pairsOf = async (t) => [...(await t.clients()), ...(await t.clients())];

// The last node of each kind.
function victims(t) {
  const of = (kind) => t.nodes.filter((node) => isNode(node.name) === kind).at(-1);
  return [of(true), of(false)].filter(Boolean);
}

// A broadcast with ack, a fetchSockets and a serverSideEmit with ack from each of the others while `victim` is away:
// all end in time with an error, and with the answers of those who are there.
async function partial(t, victim, clients, meanwhile) {
  const others = t.nodes.filter((node) => node !== victim);
  const there = clients.filter(({ node }) => node !== victim).map(({ id }) => id);
  const heard = [];
  const asked = others.map(async (node) => {
    const limit = t.configuration.requestTimeout;
    const began = Date.now();
    const event = unique("question");
    answering(clients, event, (client) => [client.id]);
    const elsewhere = clients.find((client) => client.node !== node && client.node !== victim);
    const question = elsewhere.on(event);
    heard.push(until(() => question.size > 0, `${elsewhere.name} hears the question of ${node.name}`, WAIT_MS));
    const [fetch, sse, acks] = await Promise.all([
      node.do("fetch", { rooms: [t.room] }).then((found) => `found ${found.length}`, (error) => error.message),
      node.do("sseAck", { event: "whoami" }),
      node.do("emitAck", { rooms: [t.room], event, timeout: SHORT_MS }),
    ]);
    const took = Date.now() - began;
    if (!/timed out/.test(acks.err)) throw new Error(`the broadcast with ack ends with ${acks.err}`);
    same([...acks.responses].sort(), [...there].sort(), "the answers to the broadcast");
    if (!/timeout/.test(fetch)) throw new Error(`fetchSockets does not fail: ${fetch}`);
    const [come, expected] = [others.length - 1, t.nodes.length - 1];
    same(sse.err, `timeout reached: only ${come} responses received out of ${expected}`, "the error of serverSideEmit");
    same(sse.responses.map(({ node }) => node).sort(), others.filter((other) => other !== node).map(({ name }) => name).sort(), "its answers");
    // A generous bound: it shows that nothing waits for ever, on a busy machine too.
    if (took > limit + WAIT_MS) throw new Error(`it took ${took} ms, the limit is ${limit} ms`);
  });
  // Whose last question is heard elsewhere has asked Redis how many nodes there are before, while the victim still counted.
  const all = Promise.allSettled(asked);
  await Promise.all(heard);
  await meanwhile();
  await all;
  await Promise.all(others.map((node, i) => t.part(`from ${node.name}, without ${victim.name}`, () => asked[i])));
}

async function prepared(t) {
  t.room = unique("room");
  const clients = await t.clients({ rooms: [t.room] });
  await Promise.all(t.nodes.map((node) => reaches(node, { rooms: [t.room] }, clients)));
  return clients;
}

export const FAILURES = [
  row("Redis is paused", async (t) => {
    const clients = await pairsOf(t);
    const event = unique("paused");
    const boxes = clients.map((client) => client.on(event));
    await t.cluster.redis.pause();
    try {
      await t.fromEach((node) => locally(t, clients, node));
      for (const node of t.nodes) await node.do("emit", { event, args: [node.name] });
    } finally {
      t.cluster.redis.resume();
    }
    await t.part("what was emitted meanwhile", async () => {
      for (const [i, box] of boxes.entries()) {
        const heard = (await box.take(t.nodes.length, `${clients[i].name} hears each node`, WAIT_MS)).flat();
        same(heard.sort(), t.nodes.map(({ name }) => name).sort(), `what ${clients[i].name} heard`);
      }
    });
    await worksAgain(t);
  }),

  row("Redis is killed and started again", async (t) => {
    const clients = await pairsOf(t);
    await t.cluster.redis.kill();
    await t.fromEach((node) => locally(t, clients, node));
    await t.part("new clients meanwhile", async () => {
      for (const client of await t.clients()) same(await client.ask("echo", 1), [1]);
    });
    await t.cluster.redis.restart();
    await worksAgain(t);
    await t.part("the clients of before", async () => {
      for (const client of clients) same(await client.ask("echo", 1), [1]);
      await Promise.all(t.nodes.map((node) => reaches(node, {}, clients, RECOVER_MS)));
    });
  }),

  row("Redis is killed in the middle of a question", async (t) => {
    const clients = await prepared(t);
    const event = unique("question");
    answering(clients, event, (client) => [client.id]);
    await t.cluster.redis.pause();
    const questions = (node) => [
      node.do("emitAck", { rooms: [t.room], event, timeout: SHORT_MS }),
      node.do("fetch", { rooms: [t.room] }),
      node.do("sseAck", { event: "whoami" }),
    ];
    // In whatever way they end; Node's own nodes forget some for good.
    const asked = t.nodes.map((node) => [node, Promise.allSettled(questions(node))]);
    await Promise.all(t.nodes.map((node) => node.do("info")));
    await t.cluster.redis.kill();
    await t.cluster.redis.restart();
    await worksAgain(t);
    for (const [node, outcomes] of asked.filter(([node]) => !node.isNode)) {
      await t.part(`what ${node.name} asked`, async () => {
        const unanswered = (await outcomes).filter(({ reason }) => /did not happen/.test(reason?.message));
        same(unanswered.length, 0, "the number of questions that never end");
      });
    }
  }),

  row("a node is killed in the middle", async (t) => {
    for (const victim of victims(t)) {
      const clients = await prepared(t);
      const others = t.nodes.filter((node) => node !== victim);
      // Asleep it cannot answer before it is killed.
      await victim.process.pause();
      await partial(t, victim, clients, () => victim.kill());
      await worksAgain(t, others);
      await victim.run();
      await worksAgain(t);
    }
  }),

  row("a node answers late, but in time", async (t) => {
    for (const victim of victims(t)) {
      const clients = await prepared(t);
      const event = unique("question");
      answering(clients, event, (client) => [client.id]);
      const others = t.nodes.filter((node) => node !== victim);
      await victim.process.pause();
      const asked = others.map((node) =>
        Promise.all([
          node.do("emitAck", { rooms: [t.room], event, timeout: LATER_MS }),
          node.do("fetch", { rooms: [t.room] }),
          node.do("sseAck", { event: "whoami" }),
        ]),
      );
      await Promise.all(others.map((node) => node.do("info")));
      victim.process.resume();
      const ids = clients.map(({ id }) => id).sort();
      await Promise.all(
        others.map((node, i) =>
          t.part(`from ${node.name}, ${victim.name} is late`, async () => {
            const [acks, found, sse] = await asked[i];
            same([acks.err, [...acks.responses].sort()], [null, ids], "the outcome of the broadcast");
            same(found.map(({ id }) => id).sort(), ids, "what fetchSockets found");
            same([sse.err, sse.responses.length], [null, t.nodes.length - 1], "the outcome of serverSideEmit");
          }),
        ),
      );
    }
  }),

  row("a node answers too late", async (t) => {
    for (const victim of victims(t)) {
      const clients = await prepared(t);
      await victim.process.pause();
      await partial(t, victim, clients, () => {}).finally(() => victim.process.resume());
      await worksAgain(t);
    }
  }),
];

export const GARBAGE = [
  row("garbage on the channels", async (t) => {
    const withNode = t.nodes.some((node) => node.isNode);
    const redis = await t.cluster.redis.client();
    const all = injections(t.configuration.family).filter(({ verdict }) => !withNode || ["effect", "ignored"].includes(verdict));
    const listeners = new Map(); // a client of each node
    const differences = [];
    for (const vector of all) {
      await renew(t, listeners);
      await inject(redis, vector);
      const effect = heardBy(vector);
      for (const { name, x } of effect ? listeners.values() : []) {
        const heard = async () => x.drain().some((args) => isDeepStrictEqual(args, effect));
        await until(heard, "", HEAR_MS).catch(() => differences.push(`${name} did not hear ${vector.name}`));
      }
      // What is heard later comes from a later frame.
      const last = unique("last");
      for (const { client } of listeners.values()) client.on(last);
      await t.nodes[0].do("emit", { event: last });
      for (const { client, name, x } of listeners.values()) {
        const settled = () => client.on(last).size > 0 || !client.socket.connected;
        await until(settled, `after ${vector.name}, ${name} hears a broadcast of ${t.nodes[0].name}`, WAIT_MS);
        x.drain();
      }
    }
    await t.part("what has an effect on Node's nodes", () => same(differences, [], "the list of differences"));
    if (!withNode) for (const vector of all) for (const broken of damaged(vector)) await inject(redis, broken);
    await t.fromEach(async (node) => same([node.process.exit, typeof (await node.do("info")).pid], [undefined, "number"], "a sign of life"));
    await worksAgain(t);
  }),
];

export const FAILOVERS = [
  // As ioredis does, now and then; `redis` neither does so nor counts them. Only who is counted is waited for.
  row(
    "who subscribes on a replica counts",
    async (t) => {
      const client = (await t.cluster.redis.servers.at(-1).client()).duplicate();
      client.on("error", () => {});
      await client.connect();
      await client.subscribe("socket.io-request#/#", () => {});
      await t.fromEach((node) => t.cluster.counted(t.nodes.length + 1, { among: [node], ms: WAIT_MS }));
      client.destroy();
      await t.cluster.counted(t.nodes.length, { ms: WAIT_MS });
    },
    ({ family, env }) => (family === "classic" && env.REDIS_CLIENT === "ioredis" ? undefined : "classic with ioredis only"),
  ),

  // In turn, because each master has other slots and other subscriptions.
  row(
    "each master of a Redis Cluster is lost",
    async (t) => {
      const { redis } = t.cluster;
      for (const master of redis.masters) {
        const clients = await pairsOf(t);
        await master.kill();
        await t.fromEach((node) => locally(t, clients, node), t.nodes.filter((node) => !node.isNode));
        await redis.replaced(master);
        await worksAgain(t);
        await t.part("the clients of before", () => Promise.all(t.nodes.map((node) => reaches(node, {}, clients, RECOVER_MS))));
        await master.restart();
        await redis.follows(master);
      }
    },
    // With the npm package `redis` it is the sharded ones that do not always.
    ({ family, env }) => (family === "classic" && env.REDIS_CLIENT === "ioredis" ? "with ioredis Node's classic nodes do not all subscribe again" : undefined),
  ),
];

// A client of each node in the rooms of the vectors, in the place of those whom a frame has made hang up.
async function renew(t, listeners) {
  for (const node of t.nodes) {
    if (listeners.get(node)?.client.socket.connected) continue;
    const client = await t.client(node);
    for (const room of ["room1", "7"]) {
      await client.call("join", room);
      await Promise.all(t.nodes.map((sender) => reaches(sender, { rooms: [room] }, [client])));
    }
    listeners.set(node, { client, name: client.name, x: client.on("x") });
  }
}

// What makes Node's own nodes crash, go deaf or read the same entry for ever is only for others.
function injections(family) {
  const folder = new URL("../../vectors/redis/", import.meta.url);
  return readdirSync(folder)
    .filter((file) => file.startsWith(`inject-${family}`) && (family !== "classic" || file === "inject-classic.json"))
    .flatMap((file) => JSON.parse(readFileSync(new URL(file, folder))));
}

// What a client must hear because Node's did; undefined where something else happened, or where the value is one that
// JavaScript alone has: a key that is no string, text that is not UTF-8.
function heardBy({ name, verdict, observed }) {
  if (verdict !== "effect" || observed.length !== 1 || /proto|utf8|nil-map-key/.test(name)) return undefined;
  const [, json] = /^client got (\["x".*\])$/.exec(observed[0]) ?? [];
  if (!json || json.includes("[ack]")) return undefined;
  const binary = (_key, value) => (typeof value?.$bin === "string" ? Buffer.from(value.$bin, "hex") : value);
  return JSON.parse(json, binary).slice(1);
}

function inject(redis, { command, channel, fields, payload_hex }) {
  if (command !== "XADD") return redis.sendCommand([command, channel, Buffer.from(payload_hex, "hex")]);
  const bytes = (text) => (text.startsWith("hex:") ? Buffer.from(text.slice(4), "hex") : text);
  return redis.sendCommand(["XADD", channel, "*", ...fields.map(bytes)]);
}

// The same frames, cut off and with bytes turned over.
function damaged(vector) {
  if (vector.command === "XADD") {
    const at = vector.fields.indexOf("data") + 1;
    if (at === 0) return [];
    const text = vector.fields[at];
    return [0.25, 0.5, 0.9].map((part) => ({ ...vector, fields: vector.fields.with(at, text.slice(0, Math.floor(text.length * part))) }));
  }
  const bytes = Buffer.from(vector.payload_hex, "hex");
  const cut = [0.25, 0.5, 0.9].map((part) => bytes.subarray(0, Math.floor(bytes.length * part)));
  const turned = [1, 3, 7].map((step) => Buffer.from(bytes.map((byte, i) => (i % step === 0 ? byte ^ 0x80 : byte))));
  return [...cut, ...turned].map((payload) => ({ ...vector, payload_hex: payload.toString("hex") }));
}
