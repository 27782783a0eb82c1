// `npm run soak`: three nodes under load for minutes, while Redis is restarted three times. While Redis is up nothing is lost
// and nothing comes twice, fetches are whole, and the servers do not grow.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { REFERENCE } from "../harness/defaults.mjs";
import { sleep, until } from "../harness/wait.mjs";
import { CONFIGURATIONS, CONSTELLATIONS, isNode } from "./configurations.mjs";
import { reaches, same, unique } from "./hearing.mjs";
import { Cluster } from "./nodes.mjs";
import { missingRedis, Redis } from "./redis.mjs";

const RESTARTS = 3;
const CLIENTS_OF_A_NODE = 8;
const BROADCAST_MS = 10;
const FETCH_MS = 200;
const MOVE_MS = 25;
const SETTLE_MS = 20_000;
const OUTAGE_MS = 1500;
// What a process may take more at the end than after its first round: caches fill, allocators keep.
const GROWTH = { factor: 1.25, mebibytes: 24 };

const text = { type: "string" };
const { values } = parseArgs({ options: { server: text, adapter: text, with: text, seconds: text } });
const missing = missingRedis();
if (missing) {
  console.error(`MISSING: ${missing}`);
  process.exit(1);
}
const possible = CONFIGURATIONS.filter(({ redisCluster, mixedModes }) => !redisCluster && !mixedModes);
const configuration = possible.find(({ name }) => name === (values.adapter ?? "classic"));
const names = CONSTELLATIONS[values.with ?? "1N+2F"];
const seconds = Number(values.seconds ?? 600);
if (!configuration || !names || !(seconds > 0)) {
  console.error("usage: npm run soak -- [--server COMMAND] [--adapter NAME] [--with NAME] [--seconds 600]");
  console.error(`adapters: ${possible.map(({ name }) => name).join(", ")}; with: ${Object.keys(CONSTELLATIONS).join(", ")}`);
  process.exit(2);
}

const redis = await Redis.start();
const cluster = await Cluster.start(configuration, names, redis, values.server ?? REFERENCE.server);
const ROOM = "soak";
const memory = new Map(cluster.nodes.map(({ name }) => [name, []]));
const counts = { broadcasts: 0, heard: 0, fetches: 0, moves: 0 };
let failed;

try {
  await soak();
} catch (error) {
  failed = error;
}
await cluster.stop();
await redis.stop();
for (const [name, sizes] of memory) console.log(`${name}: resident MiB after each round: ${sizes.map((size) => size.toFixed(0)).join(", ")}`);
console.log(JSON.stringify(counts));
if (failed) console.error(failed.stack);
console.log(failed ? "soak: FAILED" : "soak: passed");
process.exit(failed ? 1 : 0);

async function soak() {
  const clients = (await Promise.all(Array.from({ length: CLIENTS_OF_A_NODE }, () => cluster.everywhere()))).flat();
  for (const client of clients) {
    await client.call("join", ROOM);
    client.heard = new Map();
    client.socket.on("tick", (key, number) => {
      const before = client.heard.get(key) ?? 0;
      if (number !== before + 1) client.wrong ??= `${client.name} heard ${number} of ${key} after ${before}`;
      client.heard.set(key, number);
      counts.heard++;
    });
  }
  for (let round = 0; round <= RESTARTS; round++) {
    await ready(clients);
    await load(clients, round, (seconds * 1000) / (RESTARTS + 1));
    await measure();
    console.log(`round ${round}: ${JSON.stringify(counts)}`);
    if (round < RESTARTS) await outage(clients, round);
  }
}

// Until everybody is reached from everywhere.
async function ready(clients) {
  await cluster.counted(cluster.nodes.length, { ms: SETTLE_MS });
  await Promise.all(cluster.nodes.map((node) => reaches(node, { rooms: [ROOM] }, clients, SETTLE_MS)));
}

async function load(clients, round, milliseconds) {
  const end = Date.now() + milliseconds;
  const sent = new Map();
  const repeat = async (pause, work) => {
    while (Date.now() < end && !failed) {
      await work();
      await sleep(pause);
    }
  };
  const ids = clients.map(({ id }) => id).sort();
  const some = (list) => list[Math.floor(Math.random() * list.length)];
  await Promise.all([
    ...cluster.nodes.map((node) => {
      const key = `${round} ${node.name}`;
      return repeat(BROADCAST_MS, async () => {
        const number = (sent.get(key) ?? 0) + 1;
        sent.set(key, number);
        counts.broadcasts++;
        await node.do("emit", { rooms: [ROOM], event: "tick", args: [key, number] });
      });
    }),
    ...cluster.nodes.map((node) =>
      repeat(FETCH_MS, async () => {
        counts.fetches++;
        same((await node.do("fetch", { rooms: [ROOM] })).map(({ id }) => id).sort(), ids, `what ${node.name} fetched`);
      }),
    ),
    repeat(MOVE_MS, async () => {
      counts.moves++;
      const [client, room] = [some(clients), `room ${counts.moves % 50}`];
      await client.call("join", room);
      const [node, far] = [some(cluster.nodes), unique("far")];
      await node.do("join", { rooms: [client.id], join: [far] });
      await client.call("leave", room);
      await node.do("leave", { rooms: [client.id], leave: [far] });
    }),
  ]);
  for (const client of clients) {
    for (const [key, number] of sent) {
      const all = () => client.heard.get(key) === number;
      await until(all, "", SETTLE_MS).catch(() => {
        throw new Error(`${client.name} heard ${client.heard.get(key)} of ${key}, and ${number} were emitted`);
      });
    }
    if (client.wrong) throw new Error(client.wrong);
    client.heard.clear();
  }
}

// Local clients hear their own node while Redis is away (Node's classic nodes do, too).
async function outage(clients, round) {
  await redis.kill();
  for (const node of cluster.nodes.filter(({ isNode }) => !isNode)) {
    await node.do("emit", { rooms: [ROOM], event: "tick", args: [`outage ${round} ${node.name}`, 1] });
    const own = clients.filter((client) => client.node === node);
    await until(() => own.every(({ heard }) => heard.has(`outage ${round} ${node.name}`)), `${node.name}'s own clients hear it without Redis`, SETTLE_MS);
  }
  await sleep(OUTAGE_MS); // how long Redis is away
  await redis.restart();
  for (const client of clients) client.heard.clear();
}

async function measure() {
  for (const node of cluster.nodes) {
    const { pid } = await node.do("info");
    const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
    const sizes = memory.get(node.name);
    sizes.push(resident);
    const most = sizes[0] * GROWTH.factor + GROWTH.mebibytes;
    if (!isNode(node.name) && resident > most) throw new Error(`${node.name} has grown from ${sizes[0]} to ${resident} MiB`);
  }
}
