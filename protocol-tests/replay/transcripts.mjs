// Reads the recorded transcripts of a folder and says of each what it needs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { topicsOfOptions } from "../harness/topics.mjs";

export const FILES = ["http-captures.json", "ws-captures.json"];

export function readScenarios(folder) {
  return FILES.flatMap((file) =>
    JSON.parse(readFileSync(join(folder, file), "utf8")).scenarios.map((scenario) => ({ ...scenario, file })),
  );
}

export function topicsOf(scenario) {
  const topics = new Set(topicsOfOptions(scenario.options));
  for (const { request, response } of scenario.steps ?? []) {
    if (!request) continue;
    if (/[?&]j=/.test(request.path)) topics.add("jsonp");
    if (/\.js(\.map)?(\?|$)/.test(request.path)) topics.add("static");
    if (response?.headers?.["content-encoding"]) topics.add("http-compression");
  }
  if (/[?&]EIO=3/.test(scenario.path ?? "") && scenario.options.allowEIO3) topics.add("eio3");
  return [...topics];
}

// What the recorder's own server code did cannot be asked for from outside.
export const isReplayable = (scenario) => !(scenario.steps ?? []).some((step) => "server_call" in step);
