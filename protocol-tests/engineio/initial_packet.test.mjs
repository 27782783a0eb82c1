// The packet that the server sends with the handshake.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";

const HELLO = { options: { initialPacket: "faster!" } };

engineTest("initialPacket: over polling it is in the handshake's answer [EIO-041]", HELLO, async (app) => {
  const [open, initial, ...others] = (await app.fetch(app.query())).body.split("\x1e");
  assert.equal(typeof JSON.parse(open.slice(1)).sid, "string");
  assert.deepEqual([initial, others], ["4faster!", []]);
});

engineTest("initialPacket: over websocket it is the second frame, before what is sent later [EIO-041]", HELLO, async (app) => {
  const websocket = await app.websocket();
  await app.act({ send: "later" });
  assert.equal(await websocket.text(), "4faster!");
  assert.equal(await websocket.text(), "4later");
  websocket.abort();
});

for (const [mode, options] of Object.entries(MODES)) {
  engineTest(`initialPacket: the official client receives it once, ${mode} [EIO-041]`, HELLO, async (app) => {
    const client = await (await EngineClient.open(app, options)).inMode(mode);
    await app.act({ send: "later" });
    assert.deepEqual(await client.messages.take(2), ["faster!", "later"]);
    client.close();
  });
}

const V3 = { options: { initialPacket: "faster!", allowEIO3: true } };

engineTest("initialPacket: a v3 client finds it in the handshake's answer too", V3, async (app) => {
  const { body } = await app.fetch(app.query("", { eio: 3 }));
  assert.match(body, /^\d+:0\{[^}]*\}8:4faster!$/);
});
