// Fails if checklist.md names a test that does not exist, lacks a row, or has a status that is none of the three.
//
// usage: npm run checklist -- [--without-rust] [FILE]

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { testNames, withoutIds } from "./test_names.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const { values, positionals } = parseArgs({ options: { "without-rust": { type: "boolean" } }, allowPositionals: true });
const file = positionals[0] ?? [here("../../checklist.md"), here("../checklist.md")].find(existsSync);
const rows = JSON.parse(readFileSync(here("checklist_rows.json"), "utf8"));
const wire = new Set(testNames().map(withoutIds));
const rust = values["without-rust"] ? undefined : rustTests();

const problems = [];
const seen = new Map();
for (const line of readFileSync(file, "utf8").split("\n")) {
  const cells = /^\| ([A-Z]+-\d+) \| (\w) \| (.*) \| (.*?) \|$/.exec(line);
  if (!cells) continue;
  const [, id, , , status] = cells;
  if (seen.has(id)) problems.push(`${id}: two rows`);
  seen.set(id, status);
  check(id, status);
}
for (const { id } of rows) if (!seen.has(id)) problems.push(`${id}: no row`);

for (const problem of problems) console.error(problem);
const count = (word) => [...seen.values()].filter((status) => status.startsWith(word)).length;
console.log(`${seen.size} rows: ${count("done")} done, ${count("later")} later, ${count("not applicable")} not applicable`);
console.log(`${problems.length} problems`);
process.exit(problems.length > 0 ? 1 : 0);

function check(id, status) {
  const match = /^(done|later|not applicable) \((.+)\)$/.exec(status);
  if (!match) return problems.push(`${id}: the status is none of done, later, not applicable: ${status}`);
  const [, word, text] = match;
  if (word !== "done") return;
  if (!text.startsWith("rust: ")) {
    if (!wire.has(text)) problems.push(`${id}: no such test: ${text}`);
  } else if (rust && !rust.some((name) => name.includes(text.slice("rust: ".length)))) {
    problems.push(`${id}: no Rust test has this in its name: ${text.slice("rust: ".length)}`);
  }
}

function rustTests() {
  const files = ["../../src", "../../tests"].flatMap((folder) => rustFiles(here(folder)));
  // A test's path is its file, its modules and its name; `cargo test WORD` looks for the word in all of them.
  return files.flatMap((path) => [basename(path, ".rs"), ...[...readFileSync(path, "utf8").matchAll(/\b(?:fn|mod)\s+(\w+)/g)].map((match) => match[1])]);
}

function rustFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".rs")).map((name) => join(folder, name));
}
