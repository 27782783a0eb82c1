// The events that let an application set headers: `initial_headers` once a session, `headers` on every answer.

import assert from "node:assert/strict";
import { EngineClient } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";
import { within } from "../harness/wait.mjs";

const SETTING = {
  options: { cookie: true, maxHttpBufferSize: 10 },
  hooks: { initialHeaders: { "x-first": "123", "set-cookie": "mycookie=456" }, headers: { "x-each": "789" } },
};

engineTest("headers events: the first answer of a polling session gets both, later ones `headers` only [EIO-141] [EIO-142]", SETTING, async (app) => {
  const handshake = await app.fetch(app.query());
  const { sid } = JSON.parse(handshake.body.slice(1));
  assert.deepEqual([handshake.headers["x-first"], handshake.headers["x-each"]], ["123", "789"]);
  // A name in another case does not replace the engine's own cookie.
  const cookies = handshake.rawHeaders.filter(([name]) => name.toLowerCase() === "set-cookie").map(([, value]) => value);
  assert.deepEqual(cookies.sort(), [`io=${sid}; Path=/; HttpOnly; SameSite=Lax`, "mycookie=456"]);

  await app.act({ send: "hello" });
  const path = app.query(`&sid=${sid}`);
  for (const request of [{ path }, { method: "POST", path, body: "4x" }]) {
    const { status, headers } = await app.fetch(request);
    assert.deepEqual([status, headers["x-first"], headers["x-each"], headers["set-cookie"]], [200, undefined, "789", undefined]);
  }
});

engineTest("headers events: the 101 of a websocket session gets both, and no session cookie [EIO-143]", SETTING, async (app) => {
  const websocket = await app.websocket();
  const { headers } = websocket.http;
  assert.deepEqual([headers["x-first"], headers["x-each"], headers["set-cookie"]], ["123", "789", "mycookie=456"]);
  websocket.abort();
});

engineTest("headers events: the 101 of an upgrade gets `headers` only [EIO-145]", SETTING, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  const { headers } = websocket.http;
  assert.deepEqual([headers["x-first"], headers["x-each"], headers["set-cookie"]], [undefined, "789", undefined]);
  websocket.abort();
});

engineTest("headers events: refusals get neither", SETTING, async (app) => {
  const session = await app.polling();
  for (const [status, request] of [
    [400, { path: "/engine.io/?transport=abc" }],
    [400, { path: app.query("&sid=unknown") }],
    [413, { method: "POST", path: session.path, body: "4" + "x".repeat(20) }],
    [500, { method: "PUT", path: session.path }],
  ]) {
    const answer = await app.fetch(request);
    assert.deepEqual([answer.status, answer.headers["x-first"], answer.headers["x-each"]], [status, undefined, undefined]);
  }
});

const COUNTING = { hooks: { log: ["headers"] } };

engineTest("headers events: they fire in order with the requests [EIO-141] [EIO-142] [EIO-143]", COUNTING, async (app) => {
  const session = await app.polling();
  await session.post("4a");
  await app.act({ send: "b" });
  await session.packet();
  const expected = [{ initial_headers: "GET" }, { headers: "GET" }, { headers: "POST" }, { headers: "GET" }];
  assert.deepEqual((await app.events(5)).filter((event) => !("message" in event)), expected);
  const websocket = await app.websocket();
  assert.deepEqual((await app.events(7)).slice(5), [{ initial_headers: "GET" }, { headers: "GET" }]);
  websocket.abort();
});

engineTest("headers events: a client that upgrades makes `headers` fire at least four times [EIO-145]", COUNTING, async (app) => {
  const client = await EngineClient.open(app);
  client.send("by POST");
  await within(client.upgraded, "the upgrade");
  const events = await app.events(6); // handshake, POST, poll, upgrade; the message, and the handshake's `initial_headers`
  assert.equal(events.filter((event) => "initial_headers" in event).length, 1);
  assert.ok(events.filter((event) => "headers" in event).length >= 4, JSON.stringify(events));
  client.close();
});
