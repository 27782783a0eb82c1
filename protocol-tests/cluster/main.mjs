// `npm run cluster`: nodes of Node and of the server under test on one Redis, every operation in every direction.

import { parseArgs } from "node:util";
import { REFERENCE } from "../harness/defaults.mjs";
import { ACKS } from "./checks/acks.mjs";
import { BROADCASTS } from "./checks/broadcasts.mjs";
import { EMITTERS } from "./checks/emitters.mjs";
import { FAILURES } from "./checks/failures.mjs";
import { NAMESPACES } from "./checks/namespaces.mjs";
import { RECOVERY } from "./checks/recovery.mjs";
import { SERVER_SIDE } from "./checks/server_side.mjs";
import { SOCKETS } from "./checks/sockets.mjs";
import { CONFIGURATIONS, CONSTELLATIONS, FAILURE_CONFIGURATIONS, TESTED_ALONE } from "./configurations.mjs";
import { Cluster } from "./nodes.mjs";
import { missingRedis, Redis, RedisCluster } from "./redis.mjs";
import { printTable, summarize } from "./report.mjs";
import { Trial } from "./trial.mjs";

const CLUSTERS_AT_A_TIME = 4;
const CHECKS_AT_A_TIME = 8;
const GATHERING = "the nodes start and find each other";
const TOPICS = {
  operations: "every operation, from each node to each",
  recovery: "connection state recovery across nodes",
  failures: "Redis and nodes that fail, garbage on the channels",
};

const USAGE = `usage: npm run cluster -- [options]

  --server COMMAND     the server under test: a shell command, contract app "conformance"; without it Node's own takes its place
  --only NAME,NAME     only these adapter configurations: ${CONFIGURATIONS.map(({ name }) => name).join(", ")}
  --topic NAME,NAME    only these topics: ${Object.keys(TOPICS).join(", ")}
  --with NAME          only this constellation: ${Object.keys(CONSTELLATIONS).join(" or ")}
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
const idle = []; // Redis servers that no cluster of nodes uses now
let redisCluster;

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
  await Promise.all([...idle, await redisCluster].map((redis) => redis?.stop()));
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

// What has its own nodes: a configuration in a constellation.
function jobs() {
  const configurations = CONFIGURATIONS.filter(({ name }) => options.only.includes(name));
  const all = [];
  for (const configuration of configurations) {
    for (const constellation of options.constellations) {
      const column = `${configuration.name} ${constellation}`;
      if (options.topics.includes("recovery") && configuration.recovery) {
        all.push({ column, configuration, constellation, checks: RECOVERY });
      }
      if (options.topics.includes("operations") && !configuration.recovery) {
        const checks = [...SERVER_SIDE, ...BROADCASTS, ...ACKS, ...SOCKETS, ...NAMESPACES, ...EMITTERS];
        all.push({ column, configuration, constellation, checks });
      }
    }
  }
  if (options.topics.includes("failures")) {
    for (const configuration of FAILURE_CONFIGURATIONS.filter(({ name }) => options.only.includes(name))) {
      for (const constellation of options.constellations) {
        all.push({ column: `${configuration.name} ${constellation}, failures`, configuration, constellation, checks: FAILURES });
      }
      // Node's own nodes would crash on some of it.
      const alone = FAILURES.filter(({ name }) => name === "garbage on the channels");
      const column = `${configuration.name} ${TESTED_ALONE.length}F, failures`;
      if (options.server !== REFERENCE.server) all.push({ column, configuration, names: TESTED_ALONE, checks: alone });
    }
  }
  return all.map((job) => ({ ...job, checks: job.checks.filter(({ name }) => !options.filter || options.filter.test(name)) }));
}

// Those on the Redis Cluster share it, one after another.
async function runAll(all) {
  const shared = all.filter(({ configuration }) => configuration.redisCluster);
  // Those that wait for timeouts first, so that the others fill the time.
  const longFirst = [...all].sort((a, b) => b.checks.includes(FAILURES[0]) - a.checks.includes(FAILURES[0]));
  const single = longFirst.filter(({ configuration }) => !configuration.redisCluster);
  if (shared.length > 0) redisCluster = RedisCluster.start();
  const worker = async () => {
    for (let job; (job = single.shift()); ) {
      const redis = idle.pop() ?? (await Redis.start());
      await run(job, redis);
      idle.push(redis);
    }
  };
  const lane = async () => {
    for (const job of shared) await run(job, await redisCluster);
    await worker();
  };
  await Promise.all([lane(), ...Array.from({ length: CLUSTERS_AT_A_TIME - 1 }, worker)]);
}

async function run({ column, configuration, constellation, names = CONSTELLATIONS[constellation], checks }, redis) {
  const start = Date.now();
  const before = results.length;
  let cluster;
  try {
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
}
