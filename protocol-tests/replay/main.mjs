// The command `npm run replay`: replays the transcripts of a folder and prints what is equal, what differs and what was skipped.

import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { DEFAULTS, REFERENCE, toEnvironment } from "../harness/defaults.mjs";
import { TOPICS } from "../harness/topics.mjs";

const USAGE = `usage: npm run replay -- [options]

  --vectors FOLDER          the folder with http-captures.json and ws-captures.json
  --server COMMAND          contract app "conformance" (default: Node's own, the reference)
  --engine-server COMMAND   contract app "engine_conformance"
  --differences FILE        the list of allowed differences
  --without TOPIC,TOPIC     leave topics out: ${Object.keys(TOPICS).join(", ")}
  --filter PATTERN          only scenarios whose name matches the regular expression
`;

const text = { type: "string" };
let values;
try {
  const names = ["vectors", "server", "engine-server", "differences", "without", "filter"];
  ({ values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, text])) }));
} catch (error) {
  usage(error.message);
}
const without = values.without?.split(",") ?? [];
for (const topic of without) if (!(topic in TOPICS)) usage(`--without ${topic}: no such topic`);
const named = values.server || values["engine-server"];
const apps = named ? { server: values.server ?? null, engineServer: values["engine-server"] ?? null } : REFERENCE;
const base = process.env.INIT_CWD ?? process.cwd();
const vectors = values.vectors ? resolve(base, values.vectors) : DEFAULTS.vectors;
const differencesFile = values.differences ? resolve(base, values.differences) : DEFAULTS.differences;
Object.assign(process.env, toEnvironment({ ...apps, vectors, differences: differencesFile }));

// The settings above are read when the modules below are loaded.
const { EngineApp, SocketioApp } = await import("../harness/apps.mjs");
const { Differences } = await import("./differences.mjs");
const { replay } = await import("./replayer.mjs");
const { isReplayable, readScenarios, topicsOf } = await import("./transcripts.mjs");

const differences = Differences.read(differencesFile);
const count = { replayed: 0, equal: 0, differing: 0, listed: 0, skipped: 0 };
const filter = values.filter && new RegExp(values.filter, "i");

for (const scenario of readScenarios(vectors)) {
  const name = `${scenario.file}: ${scenario.name}`;
  if (filter && !filter.test(name)) continue;
  const reason = whySkipped(scenario);
  if (reason) {
    count.skipped++;
    console.log(`skipped  ${name} (${reason})`);
  } else await one(scenario, name);
}
await SocketioApp.stopAll();
await EngineApp.stopAll();

const { replayed, equal, differing, listed, skipped } = count;
console.log(`\nreplayed ${replayed}, equal ${equal}, differing ${differing} (listed: ${listed}), skipped ${skipped}`);
process.exit(differing > listed || replayed === 0 ? 1 : 0);

function whySkipped(scenario) {
  if (!isReplayable(scenario)) return "the recorder's server code acted";
  const left = topicsOf(scenario).filter((topic) => without.includes(topic));
  if (left.length > 0) return `without ${left.join(", ")}`;
  if (scenario.server === "eio" && !apps.engineServer) return "no --engine-server";
  if (scenario.server === "sio" && !apps.server) return "no --server";
}

async function one(scenario, name) {
  const found = await replay(scenario).catch((error) => [error.message]);
  const reason = differences.reasonFor(scenario);
  count.replayed++;
  if (found.length === 0) {
    count.equal++;
    console.log(`equal    ${name}${reason ? ` (LISTED as a difference: ${reason})` : ""}`);
    return;
  }
  count.differing++;
  if (reason) count.listed++;
  console.log(`${reason ? "listed  " : "DIFFERS "} ${name}${reason ? ` (${reason})` : ""}`);
  for (const difference of found) console.log(`           ${difference}`);
}

function usage(problem) {
  console.error(`${problem}\n\n${USAGE}`);
  process.exit(2);
}
