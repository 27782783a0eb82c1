// Engine.IO protocol 3 by hand: its payloads, its heartbeat by the client, its upgrade. Only where it differs from version 4.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { settle, sleep } from "../harness/wait.mjs";

const V3 = { options: { allowEIO3: true } };
const OCTETS = { "Content-Type": "application/octet-stream" };
const EIO3 = { eio: 3 };

const open = (app, query) => app.polling(query, EIO3);
const openWebSocket = (app, query) => app.websocket(query, EIO3);

// A text or, given as hex, a binary part of a binary payload, by its own rules: marker, decimal digits as bytes, 255, content.
function part(content) {
  const bytes = typeof content === "string" ? Buffer.from(content) : Buffer.from(content.hex, "hex");
  const digits = [...String(bytes.length)].map(Number);
  return Buffer.concat([Buffer.from([typeof content === "string" ? 0 : 1, ...digits, 255]), bytes]);
}

const binaryPayload = (...contents) => Buffer.concat(contents.map(part));

// --- handshake

for (const [name, query] of [
  ["EIO=3", "?EIO=3&transport=polling"],
  ["no EIO", "?transport=polling"],
  ["EIO=abc", "?EIO=abc&transport=polling"],
  ["EIO=04", "?EIO=04&transport=polling"],
]) {
  engineTest(`version 3: a polling handshake with ${name}: length, colon, open packet [EIO-223]`, V3, async (app) => {
    const { status, headers, body } = await app.fetch("/engine.io/" + query);
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "text/plain; charset=UTF-8");
    const [, length, packet] = /^(\d+):0(.*)$/.exec(body);
    assert.equal(Number(length), packet.length + 1);
    const { sid, ...rest } = JSON.parse(packet);
    assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
    assert.deepEqual(rest, { upgrades: ["websocket"], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
  });
}

engineTest("version 3: a websocket handshake is a frame with the open packet [EIO-226]", V3, async (app) => {
  const websocket = await openWebSocket(app);
  const { sid, ...rest } = websocket.handshake;
  assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
  assert.deepEqual(rest, { upgrades: [], pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 });
  websocket.abort();
});

engineTest("version 3: bad handshakes are refused as in version 4 [EIO-224] [EIO-225] [EIO-228]", V3, async (app) => {
  const invalid = await app.fetch("/engine.io/?EIO=3&transport=abc");
  assert.deepEqual([invalid.status, invalid.body], [400, '{"code":0,"message":"Transport unknown"}']);
  const post = await app.fetch({ method: "POST", path: app.query("", EIO3), body: "" });
  assert.deepEqual([post.status, post.body], [400, '{"code":2,"message":"Bad handshake method"}']);
  const websocket = await app.rawWebSocket("/engine.io/?EIO=3&transport=abc");
  assert.deepEqual([websocket.http.status, websocket.http.body], [400, "Transport unknown"]);
});

engineTest("version 3: an upgrade with EIO=abc is a session of version 3 [EIO-227]", V3, async (app) => {
  const websocket = await app.rawWebSocket("/engine.io/?EIO=abc&transport=websocket");
  assert.equal(websocket.http.status, 101);
  assert.match(await websocket.text(), /^0\{/);
  websocket.send({ text: "2" });
  assert.equal(await websocket.text(), "3");
  websocket.abort();
});

for (const [name, sessionEio, requestEio] of [
  ["a session of version 3 asked for with EIO=4", 3, 4],
  ["a session of version 4 asked for with EIO=3", 4, 3],
]) {
  engineTest(`version 3: ${name} is a mismatch, and lives on`, V3, async (app) => {
    const session = await app.polling("", { eio: sessionEio });
    const path = app.query(`&sid=${session.sid}`, { eio: requestEio });
    for (const answer of [await app.fetch(path), await app.fetch({ method: "POST", path, body: "1" })]) {
      assert.deepEqual([answer.status, answer.body], [400, '{"code":3,"message":"Bad request"}']);
    }
    const websocket = await app.probe(session.sid, { eio: requestEio });
    assert.deepEqual([websocket.http.status, websocket.http.body], [400, "Bad request"]);
    const context = { name: "PROTOCOL_MISMATCH", protocol: requestEio, previousProtocol: sessionEio };
    assert.deepEqual((await app.errors(3)).map((error) => error.context), [context, context, context]);
    await session.post(sessionEio === 3 ? "3:4hi" : "4hi");
    assert.deepEqual(await app.messages(1), ["hi"]);
  });
}

// --- payloads from the client

for (const [name, body, messages, ids] of [
  ["one packet", "6:4hello", ["hello"], "[EIO-229]"],
  ["several packets", "6:4first7:4second2:4\u{e9}", ["first", "second", "\u{e9}"], "[EIO-230]"],
  ["a length in UTF-16 code units", "4:4h😀2:4€", ["h😀", "€"], ""],
  ["base64", "6:4hello10:b4AQIDBA==", ["hello", { $hex: "01020304" }], "[EIO-231]"],
  ["an empty message", "1:4", [null], ""],
  ["a length with a leading zero", "06:4hello", ["hello"], ""],
  ["a packet of no length, which is skipped", "0:2:4a", ["a"], ""],
]) {
  engineTest(`version 3: a text payload from the client: ${name} ${ids}`, V3, async (app) => {
    const session = await open(app);
    const { status, headers, body: answer } = await session.post(body, { "Content-Type": "text/plain;charset=UTF-8" });
    assert.deepEqual([status, headers["content-type"], answer], [200, "text/html", "ok"]);
    assert.deepEqual(await app.messages(messages.length), messages);
  });
}

engineTest("version 3: a binary payload from the client [EIO-179] [EIO-232]", V3, async (app) => {
  const session = await open(app);
  const body = binaryPayload("4h€llo 😀", { hex: "0401020304" }, "4", { hex: "04" }, { hex: "04" + "07".repeat(130) });
  assert.equal((await session.post(body, OCTETS)).body, "ok");
  const expected = ["h€llo 😀", { $hex: "01020304" }, null, { $hex: "" }, { $hex: "07".repeat(130) }];
  assert.deepEqual(await app.messages(5), expected);
});

engineTest("version 3: an empty binary payload is taken, an empty text payload ends the session [EIO-279]", V3, async (app) => {
  const session = await open(app);
  assert.equal((await session.post("", OCTETS)).body, "ok");
  await session.post("2:4a");
  assert.equal((await session.post("")).body, "ok");
  assert.equal(await app.closeReason(), "parse error");
  assert.deepEqual(await app.events(0), [{ message: "a" }, { close: "parse error" }]);
});

for (const [name, body, messages] of [
  ["no length", "abc", []],
  ["a length that is too long", "6:4hell", []],
  ["a length that is too short", "4:4hello", ["hel"]],
  ["an unknown type", "6:9hello", []],
  ["no colon", "6", []],
  ["nothing after the colon", "6:", []],
  ["a digit at the end", "6:4hello7", ["hello"]],
]) {
  engineTest(`version 3: a payload with ${name} is answered with ok and ends the session: parse error [EIO-233]`, V3, async (app) => {
    const session = await open(app);
    const poll = await session.pendingGet();
    assert.equal((await session.post(body)).body, "ok");
    assert.equal((await poll.response()).body, "1:1");
    assert.equal(await app.closeReason(), "parse error");
    assert.deepEqual((await app.events(0)).slice(0, -1), messages.map((message) => ({ message })));
    assert.equal((await session.get()).status, 400);
  });
}

engineTest("version 3: a body above the limit gets 413, the session lives on", { options: { allowEIO3: true, maxHttpBufferSize: 10 } }, async (app) => {
  const session = await open(app);
  assert.deepEqual([(await session.post("9:4hello678")).status, (await session.post(Buffer.alloc(11), OCTETS)).status], [413, 413]);
  assert.equal((await session.post("8:4hello67")).body, "ok");
  assert.deepEqual(await app.messages(1), ["hello67"]);
});

// --- payloads to the client

for (const [name, query, commands, expected, ids] of [
  ["texts", "", [{ send: "h€" }, { send: "😀" }, { send: "" }], "3:4h€3:4😀1:4", "[EIO-229] [EIO-230]"],
  ["texts and base64", "&b64=1", [{ send: "h€" }, { send: { $hex: "01020304" } }], "3:4h€10:b4AQIDBA==", "[EIO-231]"],
  ["texts and binary", "", [{ send: "h€" }, { send: { $hex: "01020304" } }], binaryPayload("4h€", { hex: "0401020304" }), "[EIO-232] [EIO-179]"],
  ["binary alone", "", [{ send: { $hex: "" } }, { send: { $hex: "07".repeat(130) } }], binaryPayload({ hex: "04" }, { hex: "04" + "07".repeat(130) }), ""],
]) {
  engineTest(`version 3: a payload to the client: ${name} ${ids}`, V3, async (app) => {
    const session = await open(app, query);
    await app.act(...commands);
    const { headers, bytes } = await session.get();
    const isText = typeof expected === "string";
    assert.equal(headers["content-type"], isText ? "text/plain; charset=UTF-8" : "application/octet-stream");
    assert.equal(bytes.toString("hex"), Buffer.from(expected).toString("hex"));
  });
}

engineTest("version 3: b64 is asked for in the handshake only, later requests need not repeat it", V3, async (app) => {
  const session = await open(app, "&b64=1");
  await app.act({ send: { $hex: "01" } });
  assert.equal((await session.get()).body, "6:b4AQ==");
});

engineTest("version 3: a second poll while one is pending ends the session [EIO-234]", V3, async (app) => {
  const session = await open(app);
  const poll = await session.pendingGet();
  assert.equal((await session.get()).status, 400);
  assert.equal((await poll.response()).body, "1:1");
  assert.equal(await app.closeReason(), "transport error");
});

// --- frames

engineTest("version 3: texts and binary messages with their type byte both ways over websocket [EIO-235] [EIO-236]", V3, async (app) => {
  const websocket = await openWebSocket(app);
  websocket.send({ text: "4hello" }, { hex: "0401020304" }, { hex: "04" }, { text: "b4AQID" });
  assert.deepEqual(await app.messages(4), ["hello", { $hex: "01020304" }, { $hex: "" }, { $hex: "010203" }]);
  await app.act({ send: "hello" }, { send: { $hex: "0102" } }, { send: "" }, { send: { $hex: "" } });
  for (const frame of [{ text: "4hello" }, { hex: "040102" }, { text: "4" }, { hex: "04" }]) assert.deepEqual(await websocket.next(), frame);
  websocket.abort();
});

engineTest("version 3: with b64 binary goes out as text over websocket", V3, async (app) => {
  const websocket = await openWebSocket(app, "&b64=1");
  await app.act({ send: { $hex: "0102" } });
  assert.deepEqual(await websocket.next(), { text: "b4AQI=" });
  websocket.abort();
});

engineTest("version 3: a binary frame of an unknown type, or of none, is ignored [EIO-278]", V3, async (app) => {
  const websocket = await openWebSocket(app);
  websocket.send({ hex: "09010203" }, { hex: "ff" }, { hex: "" }, { text: "4still here" });
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

for (const [name, frame, reason] of [
  ["an invalid packet", { text: "abc" }, "parse error"],
  ["an empty text frame", { text: "" }, "parse error"],
  ["a pong", { text: "3" }, "transport error"],
  ["a binary pong", { hex: "03" }, "transport error"],
]) {
  engineTest(`version 3: ${name} is answered with an empty close frame: ${reason} [EIO-237]`, V3, async (app) => {
    const websocket = await openWebSocket(app);
    websocket.send(frame);
    assert.deepEqual(await websocket.next(), { close: null });
    assert.equal(await app.closeReason(), reason);
    websocket.abort();
  });
}

// --- the client's heartbeat

engineTest("version 3: a ping over polling is answered with a bare pong, whatever its data [EIO-238] [EIO-276]", V3, async (app) => {
  const session = await open(app);
  for (const ping of ["1:2", "6:2probe", "4:2abc"]) {
    assert.equal((await session.post(ping)).body, "ok");
    assert.equal((await session.get()).body, "1:3");
  }
});

engineTest("version 3: a ping over websocket is answered with a bare pong, whatever its data [EIO-240] [EIO-276]", V3, async (app) => {
  const websocket = await openWebSocket(app);
  for (const frame of [{ text: "2" }, { text: "2probe" }, { text: "2abc" }, { hex: "02" }]) {
    websocket.send(frame);
    assert.deepEqual(await websocket.next(), { text: "3" });
  }
  websocket.abort();
});

engineTest("version 3: a pong over polling ends the session", V3, async (app) => {
  const session = await open(app);
  assert.equal((await session.post("1:3")).body, "ok");
  assert.equal(await app.closeReason(), "transport error");
});

const BEATING = { options: { allowEIO3: true, pingInterval: 150, pingTimeout: 50 } };

engineTest("version 3: without a ping a polling session ends after interval and timeout together [EIO-239] [EIO-062]", BEATING, async (app) => {
  const began = Date.now();
  const session = await open(app);
  const poll = await session.pendingGet();
  assert.equal((await poll.response()).body, "1:1");
  assert.ok(Date.now() - began >= 195, `closed after ${Date.now() - began} ms`);
  assert.equal(await app.closeReason(), "ping timeout");
  assert.equal((await session.post("1:2")).status, 400);
});

engineTest("version 3: without a ping a websocket session ends after interval and timeout together [EIO-241]", BEATING, async (app) => {
  const began = Date.now();
  const websocket = await openWebSocket(app);
  assert.deepEqual(await websocket.next(), { close: null });
  assert.ok(Date.now() - began >= 195, `closed after ${Date.now() - began} ms`);
  assert.equal(await app.closeReason(), "ping timeout");
  websocket.abort();
});

const PATIENT = { options: { allowEIO3: true, pingInterval: 100, pingTimeout: 700 } };

engineTest("version 3: the server never pings, and pings of the client keep the session [EIO-062] [EIO-240]", PATIENT, async (app) => {
  const websocket = await openWebSocket(app);
  for (let i = 0; i < 5; i++) {
    await sleep(200);
    websocket.send({ text: "2" });
    assert.deepEqual(await websocket.next(), { text: "3" });
  }
  assert.deepEqual(await app.events(0), []);
  websocket.abort();
});

// --- closing

engineTest("version 3: the client's close answers the pending poll with a noop [EIO-242]", V3, async (app) => {
  const session = await open(app);
  const poll = await session.pendingGet();
  assert.equal((await session.post("1:1")).body, "ok");
  assert.equal((await poll.response()).body, "1:6");
  assert.equal(await app.closeReason(), "transport close");
  assert.equal((await session.get()).status, 400);
});

engineTest("version 3: a close frame ends the session [EIO-243]", V3, async (app) => {
  const websocket = await openWebSocket(app);
  websocket.send({ close: 1000 });
  assert.deepEqual(await websocket.next(), { close: 1000 });
  assert.equal(await app.closeReason(), "transport close");
});

engineTest("version 3: the server's close is a close packet on the pending poll, or a noop and it on the next", V3, async (app) => {
  const pending = await open(app);
  const poll = await pending.pendingGet();
  await app.act({ close: true });
  assert.equal((await poll.response()).body, "1:1");
  await app.forgetSessions();
  const idle = await open(app);
  await app.act({ close: true });
  assert.equal((await idle.get()).body, "1:61:1");
  assert.equal(await app.closeReason(), "forced close");
});

engineTest("version 3: what was sent before the server's close arrives", V3, async (app) => {
  const session = await open(app);
  await app.act({ send: "last" }, { close: true });
  assert.equal((await session.get()).body, "5:4last");
  assert.equal((await session.get()).body, "1:61:1");
});

// --- upgrade

async function probed(app) {
  const session = await open(app);
  const websocket = await app.probe(session.sid, EIO3);
  websocket.send({ text: "2probe" });
  assert.deepEqual(await websocket.next(), { text: "3probe" });
  return { session, websocket };
}

engineTest("version 3: an upgrade: probe, noop for the poll, switch [EIO-244]", V3, async (app) => {
  const { session, websocket } = await probed(app);
  assert.equal((await session.get()).body, "1:6");
  await session.post("3:4by");
  await app.act({ send: "waits" });
  websocket.send({ text: "5" }, { text: "4upgraded" }, { hex: "0401" });
  assert.deepEqual(await app.messages(3), ["by", "upgraded", { $hex: "01" }]);
  assert.equal(await websocket.text(), "4waits");
  await app.act({ send: { $hex: "02" } });
  assert.deepEqual(await websocket.next(), { hex: "0402" });
  websocket.send({ text: "2" });
  assert.deepEqual(await websocket.next(), { text: "3" });
  websocket.abort();
});

engineTest("version 3: a poll that is pending at the switch gets a close packet", V3, async (app) => {
  const { session, websocket } = await probed(app);
  const poll = await session.pendingGet();
  websocket.send({ text: "5" });
  assert.equal((await poll.response()).body, "1:1");
  websocket.abort();
});

engineTest("version 3: after the upgrade polling requests are refused [EIO-245]", V3, async (app) => {
  const { session, websocket } = await probed(app);
  websocket.send({ text: "5" }, { text: "4upgraded" });
  await app.messages(1);
  for (const answer of [await session.get(), await session.post("1:2")]) {
    assert.deepEqual([answer.status, answer.body], [400, '{"code":3,"message":"Bad request"}']);
  }
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.messages(2), ["upgraded", "still here"]);
  websocket.abort();
});

engineTest("version 3: after the upgrade another websocket is closed, the first goes on [EIO-246]", V3, async (app) => {
  const { session, websocket } = await probed(app);
  websocket.send({ text: "5" }, { text: "4upgraded" });
  await app.messages(1);
  const second = await app.probe(session.sid, EIO3);
  assert.deepEqual(await second.next(), { close: null });
  second.abort();
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.messages(2), ["upgraded", "still here"]);
  websocket.abort();
});

engineTest("version 3: a message instead of the probe closes only the probe", V3, async (app) => {
  const session = await open(app);
  const websocket = await app.probe(session.sid, EIO3);
  websocket.send({ text: "4x" });
  assert.deepEqual(await websocket.next(), { close: null });
  await settle();
  await session.post("3:4hi");
  assert.deepEqual(await app.events(1), [{ message: "hi" }]);
  websocket.abort();
});

engineTest("version 3: sessions of both versions live side by side", V3, async (app) => {
  const three = await open(app);
  const four = await app.polling();
  await three.post("6:4three");
  await four.post("4four");
  assert.deepEqual(await app.messages(2), ["three", "four"]);
  await app.act({ send: "a" });
  assert.equal((await three.get()).body, "2:4a");
});
