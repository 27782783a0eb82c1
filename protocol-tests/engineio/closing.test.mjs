// Closing a polling session, from either side and in every state, and what the requests in flight are answered.

import assert from "node:assert/strict";
import { SEPARATOR } from "../harness/polling_session.mjs";
import { engineTest } from "../harness/suite.mjs";
import { settle, until } from "../harness/wait.mjs";

async function assertGone(session) {
  const response = await session.get();
  assert.equal(response.status, 400);
  assert.equal(response.body, '{"code":1,"message":"Session ID unknown"}');
}

// --- by the client

engineTest("a close packet from the client answers the pending poll with a noop [EIO-218] [EIO-052] [SIO-229]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  assert.equal((await session.post("1")).body, "ok");
  assert.equal((await poll.response()).body, "6");
  assert.equal(await app.closeReason(), "transport close");
  await assertGone(session);
});

engineTest("a close packet from the client ends the session without a poll as well [EIO-052]", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post("1")).body, "ok");
  assert.equal(await app.closeReason(), "transport close");
  await assertGone(session);
});

engineTest("packets after a close packet are dropped [EIO-259] [EIO-054]", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post(["4a", "1", "4b"].join(SEPARATOR))).body, "ok");
  assert.deepEqual(await app.events(2), [{ message: "a" }, { close: "transport close" }]);
  await settle();
  assert.equal((await app.events(0)).length, 2);
});

engineTest("an invalid packet after a close packet does not matter [EIO-259]", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post(["1", "x"].join(SEPARATOR))).body, "ok");
  assert.deepEqual(await app.events(1), [{ close: "transport close" }]);
});

// --- by the server

engineTest("the server's close answers a pending poll with a close packet [EIO-049]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  await app.act({ close: true });
  assert.equal((await poll.response()).body, "1");
  assert.equal(await app.closeReason(), "forced close");
  await assertGone(session);
});

engineTest("the server's close waits for a poll, which gets a noop and a close packet [EIO-049]", async (app) => {
  const session = await app.polling();
  await app.act({ close: true });
  assert.deepEqual(await app.events(0), []);
  assert.equal((await session.get()).body, ["6", "1"].join(SEPARATOR));
  assert.equal(await app.closeReason(), "forced close");
  await assertGone(session);
});

engineTest("what was sent before the server's close is still delivered [EIO-080] [EIO-085]", async (app) => {
  const session = await app.polling();
  await app.act({ send: "a" }, { send: "b" }, { close: true });
  assert.deepEqual(await session.packetsUntilClosed(), ["4a", "4b", "6", "1"]);
  assert.equal(await app.closeReason(), "forced close");
});

engineTest("what was sent to a pending poll before the server's close is still delivered [EIO-080]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  await app.act({ send: "a" }, { send: "b" }, { close: true });
  const first = (await poll.response()).body.split(SEPARATOR);
  const packets = [...first, ...(await session.packetsUntilClosed())];
  assert.deepEqual(packets.filter((packet) => packet !== "6"), ["4a", "4b", "1"]);
  assert.equal(await app.closeReason(), "forced close");
});

engineTest("nothing is accepted for sending after the server's close", async (app) => {
  const session = await app.polling();
  await app.act({ send: "a" }, { close: true }, { send: "b" });
  assert.deepEqual(await session.packetsUntilClosed(), ["4a", "6", "1"]);
});

engineTest("a session that is closing takes POSTs and drops their packets", async (app) => {
  const session = await app.polling();
  await app.act({ close: true });
  assert.equal((await session.post("4a")).body, "ok");
  assert.deepEqual(await session.packetsUntilClosed(), ["6", "1"]);
  assert.deepEqual(await app.events(1).then((events) => events.filter((event) => "message" in event)), []);
});

engineTest("the server's close cuts a POST that is still coming in [EIO-064] [EIO-261]", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const post = connection.beginHead({ method: "POST", path: session.path, headers: { "Content-Length": 10 } });
  connection.write("4hel");
  await settle();
  await app.act({ close: true });
  assert.equal(await post, null);
  assert.equal(await app.closeReason(), "transport error");
});

engineTest("closing twice is closing once", async (app) => {
  const session = await app.polling();
  await app.act({ close: true }, { close: true });
  assert.deepEqual(await session.packetsUntilClosed(), ["6", "1"]);
  await settle();
  assert.equal((await app.events(1)).filter((event) => "close" in event).length, 1);
});

engineTest("closing the engine answers pending polls and forgets every session [EIO-078]", { ownServer: true }, async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  const other = await app.polling();
  const websocket = await app.websocket();
  await app.act({ engine_close: true });
  assert.equal((await poll.response()).body, "1");
  assert.deepEqual(await websocket.next(), { close: null });
  await until(async () => (await app.sessions()).length === 0, "no session is left");
  await assertGone(session);
  await assertGone(other);
  const closes = (await app.events(3)).filter((event) => "close" in event);
  assert.deepEqual(closes, [{ close: "forced close" }, { close: "forced close" }, { close: "forced close" }]);
  websocket.abort();
});

engineTest("closing the engine drops what still waits to be polled [EIO-078] [EIO-079]", { ownServer: true }, async (app) => {
  const session = await app.polling();
  await app.act({ send: "lost" }, { engine_close: true });
  await assertGone(session);
  assert.equal(await app.closeReason(), "forced close");
});

engineTest("closing the engine ends a session that was closing gracefully [EIO-079]", { ownServer: true }, async (app) => {
  const session = await app.polling();
  await app.act({ send: "lost" }, { close: true }, { engine_close: true });
  await assertGone(session);
  assert.equal(await app.closeReason(), "forced close");
});

for (const [doing, ids] of [
  ["idle", "[EIO-081]"],
  ["upgrading", "[EIO-083]"],
  ["upgraded", "[EIO-082]"],
]) {
  engineTest(`the process ends on SIGTERM while a session is ${doing} ${ids}`, { ownServer: true }, async (app) => {
    const session = await app.polling();
    const poll = await session.pendingGet();
    const websocket = doing === "idle" ? undefined : await app.probe(session.sid);
    websocket?.send({ text: "2probe" });
    if (websocket) assert.equal(await websocket.text(), "3probe");
    if (doing === "upgraded") {
      websocket.send({ text: "5" }, { text: "4upgraded" });
      await app.messages(1);
    }
    await app.process.terminate();
    poll.connection.abort();
    websocket?.abort();
  });
}
