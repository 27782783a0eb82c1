// Every recorded transcript as a test: the server must answer as Node's did when it was recorded.

import assert from "node:assert/strict";
import { settings } from "../harness/settings.mjs";
import { plainTest } from "../harness/suite.mjs";
import { Differences } from "./differences.mjs";
import { replay } from "./replayer.mjs";
import { isReplayable, readScenarios, topicsOf } from "./transcripts.mjs";

const differences = Differences.read(settings.differences);

for (const scenario of readScenarios(settings.vectors).filter(isReplayable)) {
  const requires = topicsOf(scenario);
  if (scenario.server === "eio" && !settings.engineServer) requires.push("engine app");
  if (scenario.server === "sio" && !settings.server) requires.push("captures app");
  plainTest(`replay of ${scenario.file}: ${scenario.name}`, { requires }, async (t) => {
    const found = await replay(scenario);
    const reason = differences.reasonFor(scenario);
    if (found.length > 0 && reason) return t.diagnostic(`listed difference: ${reason}`);
    if (found.length === 0 && reason) t.diagnostic(`listed as a difference, but equal: ${reason}`);
    assert.deepEqual(found, []);
  });
}
