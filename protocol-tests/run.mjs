// The runner behind `npm test`: reads the command line, runs the test files, says what ran, what failed and what was left out.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { DEFAULTS, REFERENCE, toEnvironment } from "./harness/defaults.mjs";
import { NEEDS, TOPICS } from "./harness/topics.mjs";

const ROOT = fileURLToPath(new URL(".", import.meta.url));
const FOLDERS = ["engineio", "socketio", "bench", "replay"];
const FILES_AT_A_TIME = 2;

const USAGE = `usage: npm test -- [options]

  (none)                    test Node's own servers, the reference
  --server COMMAND          test this server: a shell command, contract app "conformance"
  --engine-server COMMAND   contract app "engine_conformance" of the same implementation
  --bench-server COMMAND    contract app "bench_server"; {port} is replaced
  --url URL                 test a server that is already running with default settings
  --without TOPIC,TOPIC     leave topics out: ${Object.keys(TOPICS).join(", ")}
  --filter PATTERN          only tests whose name matches the regular expression
  --files TEXT              only test files whose path contains the text
  --vectors FOLDER          the folder with the transcripts to replay
  --differences FILE        the list of allowed differences of the replayer
`;

const options = readOptions();
const folder = mkdtempSync(join(tmpdir(), "protocol-tests-"));
options.settings.leftOutFile = join(folder, "left_out.jsonl");
Object.assign(process.env, toEnvironment(options.settings));

const began = Date.now();
const results = await runFiles(testFiles(options.files));
summarize(results, leftOut());
rmSync(folder, { recursive: true });

function readOptions() {
  const text = { type: "string" };
  const names = ["server", "engine-server", "bench-server", "url", "without", "filter", "files", "vectors", "differences"];
  let values;
  try {
    ({ values } = parseArgs({ options: { ...Object.fromEntries(names.map((name) => [name, text])), help: { type: "boolean" } } }));
  } catch (error) {
    usage(error.message);
  }
  if (values.help) usage();
  const without = values.without?.split(",").map((topic) => topic.trim()) ?? [];
  for (const topic of without) if (!(topic in TOPICS)) usage(`--without ${topic}: no such topic`);
  if (values.url && (values.server || values["engine-server"])) usage("--url tests a running server; --server starts one: give one of them");

  // Node's own servers are tested only when no server was named: a run must not pass by testing something else.
  const named = values.url || values.server || values["engine-server"] || values["bench-server"];
  const apps = named
    ? { server: values.server, engineServer: values["engine-server"], benchServer: values["bench-server"] }
    : REFERENCE;
  const settings = { ...apps, url: values.url, without, filter: values.filter };
  const base = process.env.INIT_CWD ?? process.cwd();
  if (values.vectors) settings.vectors = resolve(base, values.vectors);
  if (values.differences) settings.differences = resolve(base, values.differences);
  // JSON has no undefined: what is not given must not fall back to the reference.
  for (const name of Object.keys(apps)) settings[name] ??= null;
  return { settings: { ...DEFAULTS, ...settings }, files: values.files };
}

function usage(problem) {
  if (problem) console.error(problem + "\n");
  (problem ? console.error : console.log)(USAGE);
  process.exit(problem ? 2 : 0);
}

function testFiles(part = "") {
  const files = FOLDERS.flatMap((name) => readdirSync(join(ROOT, name)).map((file) => join(ROOT, name, file)));
  const chosen = files.filter((file) => file.endsWith(".test.mjs") && relative(ROOT, file).includes(part));
  if (chosen.length === 0) usage(`--files ${part}: no such test file`);
  return chosen;
}

async function runFiles(files) {
  const results = { passed: 0, failures: [] };
  const stream = run({ files, concurrency: FILES_AT_A_TIME });
  const isFile = (data) => files.includes(data.name) || data.name.endsWith(".test.mjs");
  stream.on("test:pass", (data) => {
    if (isFile(data)) return;
    results.passed++;
    console.log(`  ok   ${data.name} (${Math.round(data.details.duration_ms)} ms)`);
  });
  stream.on("test:fail", (data) => {
    const error = data.details.error?.cause ?? data.details.error;
    // A file fails by itself only when it could not be loaded or left an error behind; else its tests have said it.
    if (isFile(data) && /subtests? failed/.test(data.details.error?.message ?? "")) return;
    results.failures.push({ name: data.name, file: data.file ?? data.name, error });
    console.log(`  FAIL ${data.name}\n${indent(error?.stack ?? String(error?.message ?? error))}`);
  });
  stream.on("test:stderr", (data) => process.stderr.write(data.message));
  stream.resume();
  await new Promise((done) => stream.on("end", done));
  return results;
}

function leftOut() {
  try {
    return readFileSync(options.settings.leftOutFile, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  } catch {
    return [];
  }
}

function summarize({ passed, failures }, omitted) {
  console.log("");
  if (omitted.length > 0) {
    console.log(`LEFT OUT: ${omitted.length} tests did not run`);
    const reasons = new Map();
    for (const { name, missing } of omitted) {
      const reason = missing.join(" + ");
      reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
    }
    for (const [reason, names] of reasons) {
      console.log(`  for ${reason}${reason in NEEDS ? `, which means ${NEEDS[reason]}` : ""}:`);
      for (const name of names) console.log(`    - ${name}`);
    }
    console.log("");
  }
  for (const { name, file, error } of failures) {
    console.log(`failed: ${name} (${relative(ROOT, file)}): ${String(error?.message ?? error).split("\n")[0]}`);
  }
  console.log(`in ${((Date.now() - began) / 1000).toFixed(1)} s, ${omitted.length} left out`);
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length > 0 || passed === 0 ? 1 : 0;
}

function indent(text) {
  return text.replace(/^/gm, "       ");
}
