// The application's own check of each handshake.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest, socketioTest } from "../harness/suite.mjs";
import { settle, until } from "../harness/wait.mjs";

for (const [name, allowRequest, text, context, ids] of [
  ["false", false, "Forbidden", undefined, ""],
  ["a text", "Thou shall not pass", "Thou shall not pass", "Thou shall not pass", "[EIO-004]"],
  ["a text, after a while", { delay: 20, result: "late" }, "late", "late", ""],
]) {
  const REFUSING = { hooks: { allowRequest } };
  const assertRefused = async (app) => {
    const [error] = await app.errors(1);
    assert.deepEqual([error.code, error.message], [4, "Forbidden"]);
    assert.equal(error.context.message ?? undefined, context);
    assert.deepEqual(await app.sessions(), []);
  };

  engineTest(`allowRequest: refusing by ${name} over polling is 403 with code 4 ${ids}`, REFUSING, async (app) => {
    const answer = await app.fetch(app.query());
    assert.equal(answer.status, 403);
    assert.equal(answer.headers["content-type"], "application/json");
    assert.equal(answer.body, JSON.stringify({ code: 4, message: text }));
    await assertRefused(app);
  });

  engineTest(`allowRequest: refusing by ${name} over websocket is 400 with the text [EIO-253]`, REFUSING, async (app) => {
    const websocket = await app.probe("");
    const { status, headers, body } = websocket.http;
    assert.deepEqual([status, headers["content-type"], headers.connection, body], [400, "text/html", "close", text]);
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    await assertRefused(app);
  });
}

for (const mode of ["polling only", "websocket only"]) {
  engineTest(`allowRequest: refusing closes the official client, ${mode} [EIO-005]`, { hooks: { allowRequest: false } }, async (app) => {
    const client = new EngineClient(app, MODES[mode]);
    assert.equal((await client.closed.next()).reason, "transport error");
  });
}

const NOBODY = { hooks: { allowRequest: false } };

engineTest("allowRequest: it is asked after the request was verified, and before the protocol is", NOBODY, async (app) => {
  for (const [path, code] of [
    ["/engine.io/?EIO=4&transport=abc", 0],
    [app.query("&sid=unknown"), 1],
    [app.query("", { transport: "websocket" }), 3],
    [app.query("", { eio: 3 }), 4],
  ]) {
    assert.equal(JSON.parse((await app.fetch(path)).body).code, code, path);
  }
  assert.equal(JSON.parse((await app.fetch({ method: "POST", path: app.query(), body: "" })).body).code, 2);
});

const SLOW = { hooks: { allowRequest: { delay: 100, result: true } } };

engineTest("allowRequest: true opens the session, and is asked for handshakes only", SLOW, async (app) => {
  let began = Date.now();
  const session = await app.polling();
  assert.ok(Date.now() - began >= 100 - 5);
  began = Date.now();
  await session.post("4a");
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "5" }, { text: "4b" });
  assert.deepEqual(await app.messages(2), ["a", "b"]);
  websocket.abort();
  const other = await app.websocket();
  other.abort();
});

engineTest("allowRequest: a client that leaves meanwhile leaves no session behind", SLOW, async (app) => {
  const connection = await app.connection();
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
  };
  connection.begin({ path: app.query("", { transport: "websocket" }), headers });
  await settle();
  connection.abort();
  // A handshake that is asked for later is answered later.
  const session = await app.polling();
  await until(async () => (await app.sessions()).join() === session.sid, "only the later session");
});

const socketio = (allowRequest) => ({ env: { HOOKS: JSON.stringify({ allowRequest }) } });

socketioTest("allowRequest: Socket.IO hands it on: true is 200 [SIO-018]", socketio(true), async (app) => {
  assert.equal((await app.fetch(app.query())).status, 200);
});

socketioTest("allowRequest: Socket.IO hands it on: false is 403 [SIO-019]", socketio(false), async (app) => {
  assert.equal((await app.fetch(app.query())).status, 403);
});
