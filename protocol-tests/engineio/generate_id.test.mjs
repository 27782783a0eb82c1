// Session ids that the application makes.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";

for (const [how, kind, ids] of [
  ["a function", "counter", "[EIO-021]"],
  ["an asynchronous function", "promise", "[EIO-022]"],
]) {
  engineTest(`generateId: ids of ${how} are the sessions' ids ${ids}`, { hooks: { generateId: kind }, ownServer: true }, async (app) => {
    const session = await app.polling();
    const websocket = await app.websocket();
    const client = await EngineClient.open(app, MODES["websocket only"]);
    assert.deepEqual([session.sid, websocket.sid, client.socket.id], ["custom-1", "custom-2", "custom-3"]);
    assert.deepEqual(await app.sessions(), ["custom-1", "custom-2", "custom-3"]);
    await app.act({ send: "hello" });
    assert.equal(await session.packet(), "4hello");
    websocket.abort();
    client.close();
  });
}

const FAILING = { hooks: { generateId: "reject" } };

async function assertNoSession(app) {
  assert.deepEqual(await app.sessions(), []);
  const [{ code, message, context }, ...others] = await app.errors(1);
  assert.deepEqual([code, message, context.name, others], [3, "Bad request", "ID_GENERATION_ERROR", []]);
}

engineTest("generateId: a failure over polling is code 3 [EIO-023]", FAILING, async (app) => {
  const answer = await app.fetch(app.query());
  assert.equal(answer.status, 400);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.equal(answer.body, '{"code":3,"message":"Bad request"}');
  await assertNoSession(app);
});

engineTest("generateId: a failure over websocket comes after the 101 [EIO-024]", FAILING, async (app) => {
  const websocket = await app.probe("");
  assert.equal(websocket.http.status, 101);
  const { raw } = await websocket.next();
  assert.match(raw, /^HTTP\/1\.1 400 Bad Request\r\n[^]*\r\n\r\nBad request$/);
  assert.deepEqual(await websocket.next(), { tcp: "fin" });
  await assertNoSession(app);
});

for (const mode of ["polling only", "websocket only"]) {
  engineTest(`generateId: a failure closes the official client, ${mode} [EIO-023] [EIO-024]`, FAILING, async (app) => {
    const client = new EngineClient(app, MODES[mode]);
    const { reason } = await client.closed.next();
    assert.equal(reason, "transport error");
    await assertNoSession(app);
  });
}
