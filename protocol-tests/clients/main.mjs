// `npm run matrix`: every generation of official clients over every transport, against one server, as a table.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { REFERENCE } from "../harness/defaults.mjs";
import { ServerProcess } from "../harness/server_process.mjs";
import { TOPICS } from "../harness/topics.mjs";
import { Chromium } from "./chromium.mjs";
import { COMMON_CHECKS, HEARTBEAT_CHECKS, MEGABYTE_CHECKS, NOT_TRIED, PROXY_CHECKS, runChecks, runTogether } from "./checks.mjs";
import { Nginx } from "./nginx.mjs";
import { Python } from "./python.mjs";
import { Missing, printTable } from "./table.mjs";

const require = createRequire(import.meta.url);
const CELLS_AT_A_TIME = 6;
const WAITING_CELLS_AT_A_TIME = 12;
const HEARTBEAT_ATTEMPTS = 3;
const COLUMNS = ["polling", "jsonp", "websocket", "upgrade"];
const NODE_COLUMNS = ["polling", "websocket", "upgrade"];
// Payloads of a megabyte become base64, which JSONP writes percent-encoded.
const ENVIRONMENT = { MAX_PAYLOAD: "8000000" };
const HEARTBEAT = { PING_INTERVAL: "300", PING_TIMEOUT: "1500" };

const USAGE = `usage: npm run matrix -- [options]

  (none)                    test Node's own server, the reference
  --server COMMAND          test this server: a shell command, contract app "conformance"
  --url URL                 test a server that is already running, with EIO3=1
  --without TOPIC,TOPIC     leave topics out: ${Object.keys(TOPICS).join(", ")}
  --filter PATTERN          only cells whose row and column ("socket.io-client 2.5.0 polling") match the regular expression
`;

const options = readOptions();
const began = Date.now();
const leftOut = new Map(); // reason: [what]
const cells = chosen(rows().flatMap((row) => row.columns.map((column) => ({ ...row, column, results: [] }))));
const servers = [];
const helpers = { nginx: undefined, chromium: undefined, python: undefined };

// Thrown by a client outside of what a check waits for; the place in its stack tells which one.
const thrown = new Map(); // error: how often
process.on("uncaughtException", (error) => {
  const text = `${error.message} (${/node_modules\/([^/]+)/.exec(error.stack)?.[1] ?? error.stack})`;
  thrown.set(text, (thrown.get(text) ?? 0) + 1);
});

try {
  await prepare();
  await runAll();
} catch (error) {
  thrown.set(error.stack, 1);
} finally {
  for (const helper of Object.values(helpers)) await helper?.stop?.();
  await Promise.all(servers.map((server) => server.stop()));
}
summarize();
process.exit();

function readOptions() {
  const text = { type: "string" };
  let values;
  try {
    const names = { server: text, url: text, without: text, filter: text, help: { type: "boolean" } };
    ({ values } = parseArgs({ options: names }));
  } catch (error) {
    usage(error.message);
  }
  if (values.help) usage();
  const without = values.without?.split(",").map((topic) => topic.trim()) ?? [];
  for (const topic of without) if (!(topic in TOPICS)) usage(`--without ${topic}: no such topic`);
  if (values.url && values.server) usage("--url tests a running server; --server starts one: give one of them");
  const filter = values.filter && new RegExp(values.filter, "i");
  return { server: values.server ?? REFERENCE.server, url: values.url, without, filter };
}

function usage(problem) {
  if (problem) console.error(problem + "\n");
  (problem ? console.error : console.log)(USAGE);
  process.exit(problem ? 2 : 0);
}

// A row is a client, what it runs in, its parser, and what stands between it and the server.
function rows() {
  const nodes = [
    { generation: 1, module: "socket.io-client-1" },
    { generation: 2, module: "socket.io-client-2" },
    { generation: 3, module: "socket.io-client-3" },
    { generation: 4, module: "socket.io-client" },
  ].map((client) => ({ ...client, label: `socket.io-client ${require(`${client.module}/package.json`).version}` }));
  const [one, two, three, four] = nodes;
  const row = (client, more) => ({ where: "node", columns: NODE_COLUMNS, ...client, ...more, label: client.label + (more.suffix ?? "") });
  const python = (generation, version) => ({ label: `python-socketio ${version}`, generation, where: "python", columns: NODE_COLUMNS });
  const pythons = [python(4, Python.version(4)), python(5, Python.version(5))];
  return [
    ...nodes.map((client) => row(client, {})),
    ...[three, four].map((client) => row(client, { suffix: ", msgpack", parser: "msgpack" })),
    ...[one, two].map((client) => row(client, { suffix: " in Chromium", where: "chromium", columns: COLUMNS })),
    row(four, { suffix: " in Chromium", where: "chromium" }),
    ...pythons,
    row(pythons[1], { suffix: ", msgpack", parser: "msgpack" }),
    ...["buffering", "not buffering"].flatMap((nginx) =>
      [two, four].map((client) => row(client, { suffix: `, nginx ${nginx}`, nginx })),
    ),
    { label: "all of them in one room", where: "together", clients: nodes, columns: NODE_COLUMNS },
  ];
}

// Without what the command line leaves out.
function chosen(all) {
  return all.filter((cell) => {
    const name = `${cell.label} ${cell.column}`;
    if (options.filter && !options.filter.test(name)) return false;
    const missing = topics(cell).filter((topic) => options.without.includes(topic));
    if (options.url && cell.parser) missing.push("another configuration (--server)");
    if (missing.length > 0) leaveOut(missing.join(" + "), name);
    return missing.length === 0;
  });
}

function topics({ where, generation, column, parser }) {
  const topics = [];
  if (where === "together") return topics; // of those generations that are there
  if (generation < 3 || (where === "python" && generation === 4)) topics.push("eio3");
  if (column === "jsonp") topics.push("jsonp");
  if (parser === "msgpack") topics.push("msgpack");
  if (where === "chromium" && ["polling", "upgrade"].includes(column)) topics.push("cors");
  return topics;
}

function leaveOut(reason, name) {
  leftOut.set(reason, [...(leftOut.get(reason) ?? []), name]);
}

async function prepare() {
  const eio3 = options.without.includes("eio3") ? {} : { EIO3: "1" };
  const start = async (environment) => {
    const server = await ServerProcess.start(options.server, { ...eio3, ...ENVIRONMENT, ...environment });
    servers.push(server);
    return `http://127.0.0.1:${server.port}`;
  };
  const plain = options.url ?? (await start({}));
  const heartbeat = options.url ? undefined : await start(HEARTBEAT);
  const msgpack = cells.some((cell) => cell.parser);
  const [packed, packedHeartbeat] = msgpack
    ? [await start({ PARSER: "msgpack" }), await start({ PARSER: "msgpack", ...HEARTBEAT })]
    : [];

  await helper("nginx", (cell) => cell.nginx, () => Nginx.start([plain, heartbeat].filter(Boolean)));
  await helper("chromium", (cell) => cell.where === "chromium", () => Chromium.start());
  await helper("python", (cell) => cell.where === "python", () => Python.start());
  for (const cell of cells) {
    [cell.url, cell.heartbeatUrl] = cell.parser ? [packed, packedHeartbeat] : [plain, heartbeat];
    if (!cell.nginx || cell.missing) continue;
    cell.url = helpers.nginx.url(cell.url, cell.nginx);
    if (cell.heartbeatUrl) cell.heartbeatUrl = helpers.nginx.url(cell.heartbeatUrl, cell.nginx);
  }
}

// What some cells need beside the server. Where it is missing they are left out, loudly; in CI that is a failure.
async function helper(name, needs, start) {
  const those = cells.filter(needs);
  if (those.length === 0) return;
  try {
    helpers[name] = await start();
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    console.error(`MISSING: ${error.message}`);
    for (const cell of those) {
      if (process.env.CI === "true") cell.results.push({ check: `${name} is there`, error: error.message });
      else leaveOut(`${name} is missing`, `${cell.label} ${cell.column}`);
      cell.missing = true;
    }
  }
}

async function runAll() {
  const ready = cells.filter((cell) => !cell.missing);
  await eachOf(ready, CELLS_AT_A_TIME, async (cell) => cell.results.push(...(await run(cell, cell.url, checksOf(cell)))));

  // Apart from the others, because here an answer must not be late.
  if (options.url) return leaveOut("another configuration (--server)", HEARTBEAT_CHECKS[0]);
  const connected = ready.filter((cell) => cell.where !== "together" && !cell.results[0]?.error);
  await eachOf(connected, WAITING_CELLS_AT_A_TIME, async (cell) => {
    // A busy machine can miss a deadline; a server without heartbeats misses them every time.
    let results = [];
    for (let attempt = 0; attempt < HEARTBEAT_ATTEMPTS && !results.some(({ error }) => !error); attempt++) {
      results = await run(cell, cell.heartbeatUrl, HEARTBEAT_CHECKS);
    }
    cell.results.push(...results);
  });
}

// Several at a time, but in each page of the browser one after the other: it has few connections for a server.
async function eachOf(all, atATime, handle) {
  const lanes = new Map();
  for (const cell of all) {
    const lane = cell.where === "chromium" ? cell.module : "";
    lanes.set(lane, [...(lanes.get(lane) ?? []), cell]);
  }
  const workers = [...lanes].flatMap(([lane, waiting]) => {
    const work = async () => {
      for (let cell; (cell = waiting.shift()); ) await handle(cell);
    };
    return Array.from({ length: lane === "" ? atATime : 1 }, work);
  });
  await Promise.all(workers);
}

function checksOf(cell) {
  return [...COMMON_CHECKS, ...(options.url ? [] : MEGABYTE_CHECKS), ...(cell.nginx ? PROXY_CHECKS : [])];
}

function run(cell, url, checks) {
  const { generation, module, parser, column: transport } = cell;
  const plain = { generation, module, parser, transport, url };
  if (cell.where === "chromium") return helpers.chromium.run(plain, checks);
  if (cell.where === "python") return helpers.python.run(plain, checks);
  const inNode = (client) => ({
    ...plain,
    ...client,
    io: require(client.module),
    parser: parser && require("socket.io-msgpack-parser"),
  });
  if (cell.where === "node") return runChecks(inNode({ module, generation }), checks);
  const clients = cell.clients.filter(({ generation }) => generation > 2 || !options.without.includes("eio3"));
  return runTogether(clients.map(inNode));
}

function summarize() {
  printTable(cells, COLUMNS);
  for (const [reason, names] of leftOut) {
    console.log(`\nLEFT OUT: ${names.length} for ${reason}${reason in TOPICS ? `, which means ${TOPICS[reason]}` : ""}:`);
    for (const name of names) console.log(`  - ${name}`);
  }
  const results = cells.flatMap((cell) => cell.results.map((result) => ({ ...result, cell })));
  const failed = results.filter(({ error }) => error);
  if (failed.length + thrown.size > 0) console.log("");
  for (const { check, error, cell } of failed) {
    if (error !== NOT_TRIED) console.log(`failed: ${cell.label}, ${cell.column}: ${check}: ${error}`);
  }
  for (const [error, times] of thrown) console.log(`failed: thrown ${times} times: ${error}`);
  const [passes, failures] = [results.length - failed.length, failed.length + thrown.size];
  console.log(`\nin ${((Date.now() - began) / 1000).toFixed(1)} s`);
  console.log(`${passes} passed, ${failures} failed`);
  process.exitCode = failures > 0 || passes === 0 ? 1 : 0;
}
