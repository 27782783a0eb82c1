// What the application hears of an upgrade.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";

const LOGGING = { hooks: { log: ["upgrades"] } };

engineTest("upgrade events: upgrading at the probe, upgrade at the switch", LOGGING, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  assert.deepEqual(await app.events(1), [{ upgrading: "websocket" }]);
  websocket.send({ text: "5" }, { text: "4x" });
  assert.deepEqual(await app.events(3), [{ upgrading: "websocket" }, { upgrade: "websocket" }, { message: "x" }]);
  websocket.abort();
});

engineTest("upgrade events: a probe that fails is followed by nothing, a websocket session has none", LOGGING, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" }, { text: "4x" });
  assert.equal(await websocket.text(), "3probe");
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
  const direct = await app.websocket();
  await session.post("4still here");
  assert.deepEqual(await app.events(2), [{ upgrading: "websocket" }, { message: "still here" }]);
  direct.abort();
});
