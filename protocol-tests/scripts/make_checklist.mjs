// Writes checklist.md: every row, with the test that covers it or why there is none yet. Rows that name no kind can be seen on the
// wire.
//
// Statuses come from the tests (ids in their names) and, for what no test here covers, from checklist_statuses.json.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { idsOf, testNames, withoutIds } from "./test_names.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const rows = JSON.parse(readFileSync(here("checklist_rows.json"), "utf8"));
const statuses = new Map();
for (const { rows: list, status } of JSON.parse(readFileSync(here("checklist_statuses.json"), "utf8"))) {
  for (const id of expand(list)) statuses.set(id, status);
}
const tests = new Map();
for (const name of testNames()) for (const id of idsOf(name)) if (!tests.has(id)) tests.set(id, withoutIds(name));

const lines = [introduction()];
let section;
for (const row of rows) {
  if (row.section !== section) lines.push(`\n## ${(section = row.section)}\n\n| id | kind | behaviour | status |\n| --- | --- | --- | --- |`);
  lines.push(`| ${row.id} | ${row.kind ?? "W"} | ${row.behaviour} | ${statusOf(row.id)} |`);
}
// In the project it stands at the root; a copy of this folder alone keeps its own.
const target = process.argv[2] ?? [here("../../checklist.md"), here("../checklist.md")].find(existsSync) ?? here("../checklist.md");
writeFileSync(target, lines.join("\n") + "\n");
console.log(`${rows.length} rows written`);

// A listed status wins over a test: the test may need a topic that the server does not have yet.
function statusOf(id) {
  const status = statuses.get(id) ?? (tests.has(id) ? `done (${tests.get(id)})` : undefined);
  if (!status) throw new Error(`${id}: no test has it in its name, and checklist_statuses.json says nothing`);
  return status;
}

function expand(list) {
  return list.split(" ").flatMap((part) => {
    const range = /^([A-Z]+)-(\d+)\.\.(\d+)$/.exec(part);
    if (!range) return [part];
    const [, prefix, first, end] = range;
    return Array.from({ length: end - first + 1 }, (_, i) => `${prefix}-${String(Number(first) + i).padStart(3, "0")}`);
  });
}

function introduction() {
  return `# Checklist of behaviours

One row for each behaviour of Node's Socket.IO stack that a peer or an official client can observe (kind W), and for each that only an
application on the server can (kind A), and where it stands here: \`done (test name)\`, \`later (topic)\` or
\`not applicable (why)\`. A plain name is a test in \`protocol-tests/\`, \`rust: name\` one of the Rust tests whose names contain it. Written by \`npm run checklist:write\`, checked by \`npm run checklist\`, both in \`protocol-tests/\`.`;
}
