// The list of allowed differences: {file, scenario, reason} for each.

import { readFileSync } from "node:fs";

export class Differences {
  #listed;

  constructor(listed) {
    this.#listed = listed;
  }

  static read(path) {
    const listed = JSON.parse(readFileSync(path, "utf8"));
    for (const entry of listed) {
      if (!entry.file || !entry.scenario || !entry.reason) throw new Error(`${path}: file, scenario and reason are needed: ${JSON.stringify(entry)}`);
    }
    return new Differences(listed);
  }

  reasonFor({ file, name }) {
    return this.#listed.find((entry) => entry.file === file && entry.scenario === name)?.reason;
  }
}
