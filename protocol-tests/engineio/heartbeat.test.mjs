// The heartbeat: pings by the server, pongs in time, late, early and never, over polling, WebSocket and an upgrade.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { sleep } from "../harness/wait.mjs";

// Timers of a busy machine fire late, not early; so lower bounds are near the setting and upper bounds are generous.
const EARLY_MS = 25;
const FAST = { options: { pingInterval: 120, pingTimeout: 100 } };
const PATIENT = { options: { pingInterval: 120, pingTimeout: 5000 } };

engineTest("polling: three rounds of ping and pong [EIO-214] [SIO-225]", PATIENT, async (app) => {
  const session = await app.polling();
  for (let i = 0; i < 3; i++) {
    assert.equal((await session.get()).body, "2");
    assert.equal((await session.post("3")).body, "ok");
  }
  assert.deepEqual(await app.events(0), []);
});

engineTest("websocket: three rounds of ping and pong [EIO-216] [SIO-227]", PATIENT, async (app) => {
  const websocket = await app.websocket();
  for (let i = 0; i < 3; i++) {
    assert.equal(await websocket.text(), "2");
    websocket.send({ text: "3" });
  }
  assert.deepEqual(await app.events(0), []);
  websocket.abort();
});

engineTest("the first ping comes after the interval [EIO-059]", PATIENT, async (app) => {
  const websocket = await app.websocket();
  const began = Date.now();
  assert.equal(await websocket.text(), "2");
  assert.ok(Date.now() - began >= 120 - EARLY_MS, `ping after ${Date.now() - began} ms`);
  websocket.abort();
});

engineTest("the next ping comes an interval after the pong", PATIENT, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  await sleep(100);
  websocket.send({ text: "3" });
  const began = Date.now();
  assert.equal(await websocket.text(), "2");
  assert.ok(Date.now() - began >= 120 - EARLY_MS, `ping ${Date.now() - began} ms after the pong`);
  websocket.abort();
});

engineTest("there is one ping at a time: none follows before the pong", PATIENT, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  assert.deepEqual(await websocket.quiet(300), []);
  websocket.send({ text: "3" });
  assert.equal(await websocket.text(), "2");
  websocket.abort();
});

engineTest("a pong that nobody asked for restarts the interval", PATIENT, async (app) => {
  const websocket = await app.websocket();
  await sleep(80);
  websocket.send({ text: "3" });
  const began = Date.now();
  assert.equal(await websocket.text(), "2");
  assert.ok(Date.now() - began >= 120 - EARLY_MS, `ping ${Date.now() - began} ms after the pong`);
  websocket.abort();
});

engineTest("messages do not move the interval", PATIENT, async (app) => {
  const websocket = await app.websocket();
  const began = Date.now();
  const chatter = setInterval(() => websocket.send({ text: "4x" }), 40);
  assert.equal(await websocket.text(), "2");
  clearInterval(chatter);
  assert.ok(Date.now() - began < 1000, `ping after ${Date.now() - began} ms`);
  websocket.abort();
});

engineTest("a pong with data is a pong", PATIENT, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  websocket.send({ text: "3data" });
  assert.equal(await websocket.text(), "2");
  websocket.abort();
});

engineTest("websocket: a ping without pong ends the session after the timeout [EIO-217] [EIO-045] [EIO-070] [SIO-228]", FAST, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  const began = Date.now();
  assert.deepEqual(await websocket.next(), { close: null });
  assert.ok(Date.now() - began >= 100 - EARLY_MS, `closed ${Date.now() - began} ms after the ping`);
  assert.equal(await app.closeReason(), "ping timeout");
  assert.deepEqual(await app.sessions(), []);
  websocket.abort();
});

engineTest("polling: a ping without pong ends the session, also a pending poll [EIO-215] [EIO-071] [EIO-061] [SIO-226]", FAST, async (app) => {
  const session = await app.polling();
  assert.equal((await session.get()).body, "2");
  assert.equal((await session.get()).body, "1");
  assert.equal(await app.closeReason(), "ping timeout");
  const response = await session.post("3");
  assert.equal(response.status, 400);
  assert.equal(response.body, '{"code":1,"message":"Session ID unknown"}');
});

engineTest("polling: the timeout runs also while nobody fetches the ping [EIO-215]", FAST, async (app) => {
  const session = await app.polling();
  assert.equal(await app.closeReason(), "ping timeout");
  assert.equal((await session.get()).status, 400);
});

engineTest("a session that is closing and never polled ends by ping timeout [EIO-046]", FAST, async (app) => {
  const session = await app.polling();
  await app.act({ close: true });
  assert.equal(await app.closeReason(), "ping timeout");
  assert.equal((await session.get()).status, 400);
});

engineTest("a session is not ended before interval and timeout are over [EIO-060] [EIO-063]", FAST, async (app) => {
  const websocket = await app.websocket();
  const began = Date.now();
  assert.equal(await app.closeReason(), "ping timeout");
  assert.ok(Date.now() - began >= 220 - EARLY_MS, `closed after ${Date.now() - began} ms`);
  websocket.abort();
});

engineTest("a client that answers every ping stays", FAST, async (app) => {
  const websocket = await app.websocket();
  for (const end = Date.now() + 800; Date.now() < end; ) {
    assert.equal(await websocket.text(), "2");
    websocket.send({ text: "3" });
  }
  assert.deepEqual(await app.events(0), []);
  websocket.abort();
});

const REFRESH = { options: { pingInterval: 100, pingTimeout: 300 } };

engineTest("another packet refreshes the timeout once after a ping [EIO-275]", REFRESH, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  await sleep(150);
  websocket.send({ text: "4x" });
  const began = Date.now();
  assert.deepEqual(await websocket.next(), { close: null });
  assert.ok(Date.now() - began >= 300 - EARLY_MS, `closed ${Date.now() - began} ms after the packet`);
  assert.deepEqual(await app.events(2), [{ message: "x" }, { close: "ping timeout" }]);
  websocket.abort();
});

engineTest("only the first packet after a ping refreshes the timeout [EIO-275]", REFRESH, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  const began = Date.now();
  const chatter = setInterval(() => websocket.send({ text: "4x" }), 50);
  const closed = await websocket.next();
  clearInterval(chatter);
  assert.deepEqual(closed, { close: null });
  // The first packet came at once or 50 ms after the ping; refreshed by every packet it would never close.
  assert.ok(Date.now() - began < 2000, `closed after ${Date.now() - began} ms`);
  assert.equal(await app.closeReason(), "ping timeout");
  websocket.abort();
});

engineTest("after an upgrade the heartbeat goes on over the websocket [EIO-076]", PATIENT, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  websocket.send({ text: "5" });
  for (let i = 0; i < 3; i++) {
    assert.equal(await websocket.text(), "2");
    websocket.send({ text: "3" });
  }
  websocket.abort();
});

engineTest("a ping that waits at the switch goes out over the websocket [EIO-076]", PATIENT, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  await sleep(180);
  websocket.send({ text: "5" });
  assert.equal(await websocket.text(), "2");
  websocket.send({ text: "3" });
  assert.equal(await websocket.text(), "2");
  assert.deepEqual(await app.events(0), []);
  websocket.abort();
});

engineTest("a silent session is ended while its probe is open, and the probe with it", FAST, async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "ping timeout");
  websocket.abort();
});

engineTest("websocket ping frames are no pongs: the session still ends [EIO-045]", FAST, async (app) => {
  const websocket = await app.websocket();
  assert.equal(await websocket.text(), "2");
  websocket.send({ ping: "" }, { pong: "" });
  assert.deepEqual(await websocket.next(), { pong: "" });
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "ping timeout");
  websocket.abort();
});

engineTest("a websocket client that sent a close packet and falls silent is ended by the timeout [EIO-219]", FAST, async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "1" });
  assert.equal(await websocket.text(), "2");
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "ping timeout");
  websocket.abort();
});
