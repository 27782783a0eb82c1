// The names of all tests of this package, asked from the test files themselves (names are often put together in loops).

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toEnvironment } from "../harness/defaults.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const ID = /\[([A-Z]+-\d+)\]/g;

export const withoutIds = (name) => name.replace(ID, "").replace(/ +/g, " ").trim();
export const idsOf = (name) => [...name.matchAll(ID)].map((match) => match[1]);

export function testNames(folders = ["engineio", "socketio", "bench", "replay"]) {
  const folder = mkdtempSync(join(tmpdir(), "protocol-tests-"));
  const listFile = join(folder, "names.jsonl");
  const environment = { ...process.env, ...toEnvironment({ listFile }) };
  for (const name of folders) {
    for (const file of readdirSync(join(ROOT, name)).filter((file) => file.endsWith(".test.mjs"))) {
      execFileSync(process.execPath, [join(ROOT, name, file)], { env: environment });
    }
  }
  const names = readFileSync(listFile, "utf8").trim().split("\n").map((line) => JSON.parse(line));
  rmSync(folder, { recursive: true });
  return names;
}
