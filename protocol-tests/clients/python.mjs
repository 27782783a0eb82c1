// The Python clients: a process of its virtualenv for each cell.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Missing } from "./table.mjs";

const execute = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PROCESS_MS = 60_000;

export class Python {
  static version(generation) {
    return /^python-socketio==(.*)$/m.exec(readFileSync(here(`python/requirements-${generation}.txt`), "utf8"))[1];
  }

  static async start() {
    try {
      await execute(here("python/venvs.sh"));
    } catch (error) {
      const why = String(error.stderr ?? error.message).trim();
      throw new Missing(`Python 3 with venv and pip, and the packages of python/requirements-*.txt: ${why}`);
    }
    return new Python();
  }

  async run({ generation, transport, parser, url }, checks) {
    const cell = JSON.stringify({ generation, transport, parser, url });
    const python = here(`.venv-${generation}/bin/python`);
    const made = await execute(python, [here("python/checks.py"), cell, ...checks], { timeout: PROCESS_MS }).catch((error) => error);
    const results = made.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    if (made.stderr) process.stderr.write(made.stderr);
    if (results.length < checks.length) {
      const error = `ended (code ${made.code}, signal ${made.signal}) before it was tried`;
      for (const check of checks.slice(results.length)) results.push({ check, error });
    }
    return results;
  }
}
