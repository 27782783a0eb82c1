// The upgrade of a polling session to WebSocket: the probe, the noops, the switch, and every way it can go wrong.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { settle, sleep, until } from "../harness/wait.mjs";

const NOOP_INTERVAL_MS = 100;

async function probed(app) {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  assert.equal(websocket.http.status, 101);
  websocket.send({ text: "2probe" });
  assert.deepEqual(await websocket.next(), { text: "3probe" });
  return { session, websocket };
}

async function upgraded(app) {
  const { session, websocket } = await probed(app);
  websocket.send({ text: "5" });
  websocket.send({ text: "4upgraded" });
  await app.messages(1);
  return { session, websocket };
}

async function assertMismatch(response) {
  assert.equal(response.status, 400);
  assert.equal(response.body, '{"code":3,"message":"Bad request"}');
}

engineTest("an upgrade: probe, noop to the poll, switch, messages over websocket [EIO-220] [SIO-231]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  const websocket = await app.probe(session.sid);
  assert.equal(websocket.http.status, 101);
  websocket.send({ text: "2probe" });
  assert.deepEqual(await websocket.next(), { text: "3probe" });
  assert.equal((await poll.response()).body, "6");
  websocket.send({ text: "5" }, { text: "4to the server" });
  assert.deepEqual(await app.messages(1), ["to the server"]);
  await app.act({ send: "to the client" });
  assert.deepEqual(await websocket.next(), { text: "4to the client" });
  websocket.abort();
});

engineTest("the server sends nothing on the probe by itself", async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  await app.act({ send: "for the poll" });
  assert.deepEqual(await websocket.quiet(50), []);
  assert.equal((await session.get()).body, "4for the poll");
  websocket.abort();
});

engineTest("after the upgrade polling requests are refused, the websocket goes on [EIO-221] [SIO-232]", async (app) => {
  const { session, websocket } = await upgraded(app);
  await assertMismatch(await session.get());
  await assertMismatch(await session.post("4x"));
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.messages(2), ["upgraded", "still here"]);
  websocket.abort();
});

engineTest("a poll that comes together with the switch is refused or answered as pending, never lost", async (app) => {
  const { session, websocket } = await probed(app);
  websocket.send({ text: "5" }, { text: "4upgraded" });
  await app.messages(1);
  await assertMismatch(await session.get());
  websocket.abort();
});

engineTest("after the upgrade another websocket is closed, the first goes on [EIO-222] [EIO-008] [SIO-233]", async (app) => {
  const { session, websocket } = await upgraded(app);
  const second = await app.probe(session.sid);
  assert.equal(second.http.status, 101);
  assert.deepEqual(await second.next(), { close: null });
  second.send({ close: null });
  assert.deepEqual(await second.next(), { tcp: "fin" });
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.messages(2), ["upgraded", "still here"]);
  websocket.abort();
});

engineTest("during an upgrade another websocket is closed, the first goes on", async (app) => {
  const { session, websocket } = await probed(app);
  const second = await app.probe(session.sid);
  assert.equal(second.http.status, 101);
  assert.deepEqual(await second.next(), { close: null });
  second.abort();
  websocket.send({ text: "5" }, { text: "4upgraded" });
  assert.deepEqual(await app.messages(1), ["upgraded"]);
  websocket.abort();
});

engineTest("noops answer one poll after the other while the upgrade lasts [EIO-268] [EIO-220]", async (app) => {
  const { session, websocket } = await probed(app);
  const began = Date.now();
  for (let i = 0; i < 3; i++) assert.equal((await session.get()).body, "6");
  // The first comes up to an interval late; no poll is answered twice within an interval.
  assert.ok(Date.now() - began >= 2 * NOOP_INTERVAL_MS - 20, `three noops within ${Date.now() - began} ms`);
  websocket.abort();
});

engineTest("the noop is not sent at once but after an interval [EIO-268]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  const websocket = await app.probe(session.sid);
  const began = Date.now();
  websocket.send({ text: "2probe" });
  assert.equal((await poll.response()).body, "6");
  assert.ok(Date.now() - began >= NOOP_INTERVAL_MS - 20, `noop after ${Date.now() - began} ms`);
  websocket.abort();
});

engineTest("a poll that is pending at the switch gets a close packet [EIO-269]", async (app) => {
  const { session, websocket } = await probed(app);
  const poll = await session.pendingGet();
  websocket.send({ text: "5" });
  const { status, body } = await poll.response();
  assert.equal(status, 200);
  assert.equal(body, "1");
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

engineTest("a switch without a probe upgrades [EIO-270]", async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "5" }, { text: "4over websocket" });
  assert.deepEqual(await app.messages(1), ["over websocket"]);
  await assertMismatch(await session.get());
  websocket.abort();
});

engineTest("the probe may be repeated [EIO-272]", async (app) => {
  const { websocket } = await probed(app);
  websocket.send({ text: "2probe" });
  assert.deepEqual(await websocket.next(), { text: "3probe" });
  websocket.send({ text: "5" }, { text: "4upgraded" });
  assert.deepEqual(await app.messages(1), ["upgraded"]);
  websocket.abort();
});

for (const [name, frame] of [
  ["a message", { text: "4x" }],
  ["a ping without probe", { text: "2" }],
  ["another ping", { text: "2probing" }],
  ["a pong", { text: "3probe" }],
  ["a noop", { text: "6" }],
  ["a close packet", { text: "1" }],
  ["garbage", { text: "abc" }],
  ["nothing in a frame", { text: "" }],
  ["a binary message", { hex: "01" }],
]) {
  engineTest(`${name} instead of the probe closes only the probe, and an upgrade may be tried again [EIO-271]`, async (app) => {
    const session = await app.polling();
    const websocket = await app.probe(session.sid);
    websocket.send(frame);
    assert.deepEqual(await websocket.next(), { close: null });
    websocket.send({ close: null });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    await session.post("4still here");
    assert.deepEqual(await app.events(1), [{ message: "still here" }]);
    const again = await app.probe(session.sid);
    again.send({ text: "2probe" });
    assert.deepEqual(await again.next(), { text: "3probe" });
    again.send({ text: "5" }, { text: "4upgraded" });
    assert.deepEqual(await app.messages(2), ["still here", "upgraded"]);
    again.abort();
  });
}

engineTest("a message after the probe and before the switch closes only the probe [EIO-271]", async (app) => {
  const { session, websocket } = await probed(app);
  websocket.send({ text: "4too early" });
  assert.deepEqual(await websocket.next(), { close: null });
  await session.post("4still here");
  assert.deepEqual(await app.messages(1), ["still here"]);
  websocket.abort();
});

engineTest("a broken frame on the probe closes only the probe", async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ unmasked_text: "2probe" });
  assert.deepEqual(await websocket.next(), { close: 1002 });
  await session.post("4still here");
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
});

engineTest("a probe that is dropped leaves the session on polling, and an upgrade may be tried again [EIO-272]", async (app) => {
  const { session, websocket } = await probed(app);
  websocket.abort();
  await settle();
  await session.post("4still here");
  assert.deepEqual(await app.messages(1), ["still here"]);
  const again = await app.probe(session.sid);
  again.send({ text: "2probe" });
  assert.deepEqual(await again.next(), { text: "3probe" });
  again.send({ text: "5" }, { text: "4upgraded" });
  assert.deepEqual(await app.messages(2), ["still here", "upgraded"]);
  again.abort();
});

engineTest("no noop is sent any more after the probe was dropped", async (app) => {
  const { session, websocket } = await probed(app);
  websocket.abort();
  await settle();
  const poll = await session.pendingGet();
  await sleep(NOOP_INTERVAL_MS + 50);
  await app.act({ send: "x" });
  assert.equal((await poll.response()).body, "4x");
});

// --- the session goes on meanwhile

engineTest("messages from the client by POST arrive during the upgrade [EIO-118]", async (app) => {
  const { session, websocket } = await probed(app);
  assert.equal((await session.post("4a")).body, "ok");
  assert.equal((await session.post("4b")).body, "ok");
  websocket.send({ text: "5" }, { text: "4c" });
  assert.deepEqual(await app.messages(3), ["a", "b", "c"]);
  websocket.abort();
});

engineTest("messages to the client go to polls until the switch, the rest to the websocket, each once in order [EIO-118]", async (app) => {
  const { session, websocket } = await probed(app);
  const poll = await session.pendingGet();
  await app.act({ send: "0" }, { send: "1" }, { send: "2" });
  const polled = (await poll.response()).body.split("\x1e").filter((packet) => packet !== "6");
  websocket.send({ text: "5" }, { text: "4switched" });
  await app.messages(1);
  await app.act({ send: "3" }, { send: "4" });
  while (polled.length < 5) polled.push(await websocket.text());
  assert.deepEqual(polled, ["40", "41", "42", "43", "44"]);
  assert.deepEqual(await websocket.quiet(30), []);
  websocket.abort();
});

engineTest("messages that wait at the switch go out over the websocket [EIO-118]", async (app) => {
  const { websocket } = await probed(app);
  await app.act({ send: "a" }, { send: "b" });
  assert.deepEqual(await websocket.quiet(30), []);
  websocket.send({ text: "5" });
  assert.equal(await websocket.text(), "4a");
  assert.equal(await websocket.text(), "4b");
  websocket.abort();
});

engineTest("a POST that is unfinished at the switch does not end the session", async (app) => {
  const { session, websocket } = await probed(app);
  const connection = await app.connection();
  connection.beginHead({ method: "POST", path: session.path, headers: { "Content-Length": 10 } });
  connection.write("4hel");
  await settle();
  websocket.send({ text: "5" }, { text: "4switched" });
  await until(async () => (await app.events(0)).some((event) => event.message === "switched"), "the switch");
  websocket.send({ text: "4still here" });
  await until(async () => (await app.events(0)).some((event) => event.message === "still here"), "a message after it");
  connection.abort();
  websocket.abort();
});

// --- ends

engineTest("an upgraded session whose websocket closes is a transport close", async (app) => {
  const { websocket } = await upgraded(app);
  websocket.send({ close: 1000 });
  assert.deepEqual(await websocket.next(), { close: 1000 });
  assert.equal(await app.closeReason(), "transport close");
});

const IMPATIENT = { options: { upgradeTimeout: 150 } };

engineTest("an upgrade that takes too long closes the probe, the session lives on [EIO-075]", IMPATIENT, async (app) => {
  const { session, websocket } = await probed(app);
  assert.deepEqual(await websocket.next(), { close: null });
  await session.post("4still here");
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

engineTest("an upgrade that never begins is closed by the timeout as well [EIO-075]", IMPATIENT, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  assert.deepEqual(await websocket.next(), { close: null });
  await session.post("4still here");
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

engineTest("the upgrade timeout does not touch a session that has upgraded", IMPATIENT, async (app) => {
  const { websocket } = await upgraded(app);
  assert.deepEqual(await websocket.quiet(200), []);
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.events(2), [{ message: "upgraded" }, { message: "still here" }]);
  websocket.abort();
});

engineTest("a session that ends during the upgrade closes the probe [EIO-074]", async (app) => {
  const { session, websocket } = await probed(app);
  await session.post("1");
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "transport close");
  websocket.abort();
});

engineTest("the server's close during an upgrade is completed by a poll, and closes the probe [EIO-074]", async (app) => {
  const { session, websocket } = await probed(app);
  const poll = await session.pendingGet();
  await app.act({ close: true });
  const { body } = await poll.response();
  // On a slow machine the noop of the upgrade comes before our close; then the next poll completes it.
  if (body === "6") assert.equal((await session.get()).body, "6\u001e1");
  else assert.equal(body, "1");
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "forced close");
  websocket.abort();
});

engineTest("the server's close during an upgrade is completed by the switch", async (app) => {
  const { websocket } = await probed(app);
  await app.act({ close: true });
  websocket.send({ text: "5" });
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "forced close");
  websocket.abort();
});

engineTest("an aborted poll during an upgrade ends the session and closes the probe", async (app) => {
  const { session, websocket } = await probed(app);
  const poll = await session.pendingGet();
  poll.connection.abort();
  assert.equal(await app.closeReason(), "transport error");
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
});
