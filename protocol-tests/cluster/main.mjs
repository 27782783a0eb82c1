// `npm run cluster`: nodes of Node and of the server under test on one Redis, every operation in every direction.

import { parseArgs } from "node:util";
import { REFERENCE } from "../harness/defaults.mjs";
import { ACKS } from "./checks/acks.mjs";
import { BROADCASTS } from "./checks/broadcasts.mjs";
import { EMITTERS } from "./checks/emitters.mjs";
import { FAILOVERS, FAILURES, GARBAGE } from "./checks/failures.mjs";
import { MODES } from "./checks/modes.mjs";
import { NAMESPACES } from "./checks/namespaces.mjs";
import { RECOVERY } from "./checks/recovery.mjs";
import { SERVER_SIDE } from "./checks/server_side.mjs";
import { SOCKETS } from "./checks/sockets.mjs";
import { CONFIGURATIONS, CONSTELLATIONS, isNode, TOPICS } from "./configurations.mjs";
import { Cluster } from "./nodes.mjs";
import { missingRedis, Redis, RedisCluster } from "./redis.mjs";
import { printTable, summarize } from "./report.mjs";
import { Trial } from "./trial.mjs";

const CLUSTERS_AT_A_TIME = 4;
const MORE_THAT_WAIT = 2; // of the topics that mostly wait
const CHECKS_AT_A_TIME = 8;
const GATHERING = "the nodes start and find each other";
const START = {
  single: () => Redis.start(),
  cluster: () => RedisCluster.start(),
  replicated: () => RedisCluster.start({ replicas: 1 }),
};
// The order is that in which they begin. Those that mostly wait come first, so that the others fill the time.
const PATIENT = ["failover", "failures"];
const CHECKS = {
  failover: FAILOVERS,
  failures: FAILURES,
  garbage: GARBAGE,
  operations: [...SERVER_SIDE, ...BROADCASTS, ...ACKS, ...SOCKETS, ...NAMESPACES, ...EMITTERS],
  recovery: RECOVERY,
  modes: MODES,
};

const USAGE = `usage: npm run cluster -- [options]

  --server COMMAND     the server under test: a shell command, contract app "conformance"; without it Node's own takes its place
  --only NAME,NAME     only these adapter configurations: ${CONFIGURATIONS.map(({ name }) => name).join(", ")}
  --topic NAME,NAME    only these topics: ${Object.keys(TOPICS).join(", ")}
  --with NAME,NAME     only these constellations: ${Object.keys(CONSTELLATIONS).join(", ")}
  --filter PATTERN     only operations whose name matches the regular expression
`;

const options = readOptions();
const missing = missingRedis();
if (missing) {
  console.error(`MISSING: ${missing}`);
  process.exit(1);
}

const began = Date.now();
const results = [];
// Redis servers that no cluster of nodes uses now.
const idle = { single: [], cluster: [] };

// Ending in order lets the handlers of `exit` take nodes and Redis servers along.
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]]) process.on(signal, () => process.exit(code));

// Thrown by a client outside of what a check waits for.
process.on("uncaughtException", (error) => results.push(crash("an exception of the tests or a client", error)));

const all = jobs();
const names = all.flatMap(({ column, checks }) => [column, ...checks.map(({ name }) => name)]);
try {
  await runAll(all);
} catch (error) {
  results.push(crash("running", error));
} finally {
  await Promise.all(Object.values(idle).flat().map((redis) => redis.stop()));
}
printTable(results, names);
process.exit(summarize(results, (Date.now() - began) / 1000) ? 0 : 1);

function crash(row, error) {
  return { row, column: "-", passed: 0, skips: [], failures: [{ who: "-", error: error.stack }] };
}

function readOptions() {
  const text = { type: "string" };
  let values;
  try {
    const names = { server: text, only: text, topic: text, with: text, filter: text, help: { type: "boolean" } };
    ({ values } = parseArgs({ options: names }));
  } catch (error) {
    usage(error.message);
  }
  if (values.help) usage();
  const list = (name, allowed) => {
    const given = values[name]?.split(",").map((text) => text.trim()) ?? allowed;
    for (const text of given) if (!allowed.includes(text)) usage(`--${name} ${text}: there is none of this name`);
    return given;
  };
  return {
    server: values.server ?? REFERENCE.server,
    only: list("only", CONFIGURATIONS.map(({ name }) => name)),
    topics: list("topic", Object.keys(TOPICS)),
    constellations: list("with", Object.keys(CONSTELLATIONS)),
    filter: values.filter && new RegExp(values.filter, "i"),
  };
}

function usage(problem) {
  if (problem) console.error(problem + "\n");
  (problem ? console.error : console.log)(USAGE);
  process.exit(problem ? 2 : 0);
}

// What has its own nodes: a topic with a configuration in a constellation.
function jobs() {
  const all = [];
  for (const [topic, every] of Object.entries(CHECKS)) {
    const checks = every.filter(({ name }) => !options.filter || options.filter.test(name));
    if (!options.topics.includes(topic) || checks.length === 0) continue;
    for (const [configurations, constellations] of TOPICS[topic]) {
      for (const configuration of configurations.filter(({ name }) => options.only.includes(name))) {
        for (const constellation of constellations.filter((name) => options.constellations.includes(name))) {
          // The names of the configurations say the other topics.
          const title = [...PATIENT, "garbage"].includes(topic) ? `, ${topic}` : "";
          const column = `${configuration.name} ${constellation}${title}`;
          all.push({ topic, column, configuration, names: CONSTELLATIONS[constellation], checks });
        }
      }
    }
  }
  return all.filter(({ names }) => options.server !== REFERENCE.server || names.some(isNode));
}

async function runAll(all) {
  const waiting = [...all];
  const worker = async (topics) => {
    while (topics.includes(waiting[0]?.topic)) {
      const job = waiting.shift();
      const kind = job.topic === "failover" ? "replicated" : job.configuration.redisCluster ? "cluster" : "single";
      const redis = await run(job, async () => idle[kind]?.pop() ?? (await START[kind]()));
      if (kind in idle && redis) idle[kind].push(redis);
      else await redis?.stop(); // its masters are others now
    }
  };
  await Promise.all([
    ...Array.from({ length: CLUSTERS_AT_A_TIME }, () => worker(Object.keys(CHECKS))),
    ...Array.from({ length: MORE_THAT_WAIT }, () => worker(PATIENT)),
  ]);
}

// Gives the Redis that it ran on, where there was one.
async function run({ column, configuration, names, checks }, take) {
  const start = Date.now();
  const before = results.length;
  let cluster;
  let redis;
  try {
    redis = await take();
    await redis.flush();
    cluster = await Cluster.start(configuration, names, redis, options.server);
    const unreached = await cluster.gather();
    const failures = unreached.map((error) => ({ who: "at the beginning", error }));
    if (failures.length > 0) results.push({ row: GATHERING, column, passed: 0, skips: [], failures });
    const finish = async (check) => {
      const trial = await new Trial(cluster).run(check);
      results.push({ row: check.name, column, ...trial.result });
    };
    const waiting = checks.filter(({ alone }) => !alone);
    const work = async () => {
      for (let check; (check = waiting.shift()); ) await finish(check);
    };
    await Promise.all(Array.from({ length: CHECKS_AT_A_TIME }, work));
    for (const check of checks.filter(({ alone }) => alone)) await finish(check);
  } catch (error) {
    const logs = cluster?.nodes.map((node) => `\n  ${node.name}: ${node.logTail}`).join("") ?? "";
    results.push({ row: GATHERING, column, passed: 0, skips: [], failures: [{ who: "-", error: error.message + logs }] });
  } finally {
    await cluster?.stop();
  }
  const own = results.slice(before).filter((result) => result.column === column);
  const sum = (of) => own.reduce((total, result) => total + of(result), 0);
  const seconds = ((Date.now() - start) / 1000).toFixed(1);
  console.log(`${column}: ${sum(({ passed }) => passed)} passed, ${sum(({ failures }) => failures.length)} failed, ${seconds} s`);
  return redis;
}
