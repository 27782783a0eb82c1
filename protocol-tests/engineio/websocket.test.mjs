// A WebSocket session frame by frame: messages, control frames, every way to break the protocol, and closing.

import assert from "node:assert/strict";
import { build } from "../harness/raw_websocket.mjs";
import { engineTest } from "../harness/suite.mjs";
import { settle } from "../harness/wait.mjs";

// --- what goes through

engineTest("text and binary messages arrive from the client [EIO-211] [EIO-212] [EIO-095]", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "4hello" }, { hex: "01020304" }, { text: "4" }, { hex: "" }, { text: "bAQI=" });
  assert.deepEqual(await app.events(5), [
    { message: "hello" },
    { message: { $hex: "01020304" } },
    { message: null },
    { message: { $hex: "" } },
    { message: { $hex: "0102" } },
  ]);
  websocket.abort();
});

engineTest("text and binary messages go to the client as text and binary frames [EIO-089] [EIO-092] [EIO-211] [EIO-212]", async (app) => {
  const websocket = await app.websocket();
  await app.act({ send: "hello" }, { send: { $hex: "01020304" } }, { send: "" }, { send: { $hex: "" } });
  assert.deepEqual(await websocket.next(), { text: "4hello" });
  assert.deepEqual(await websocket.next(), { hex: "01020304" });
  assert.deepEqual(await websocket.next(), { text: "4" });
  assert.deepEqual(await websocket.next(), { hex: "" });
  websocket.abort();
});

engineTest("many messages keep their order both ways [EIO-090] [EIO-112]", async (app) => {
  const websocket = await app.websocket();
  const numbers = Array.from({ length: 500 }, (_, i) => String(i));
  websocket.send(...numbers.map((n) => ({ text: "4" + n })));
  assert.deepEqual(await app.messages(500), numbers);
  await app.act(...numbers.map((n) => ({ send: n })));
  for (const n of numbers) assert.equal(await websocket.text(), "4" + n);
  websocket.abort();
});

engineTest("frames of every length class go both ways", async (app) => {
  const websocket = await app.websocket();
  for (const length of [1, 125, 126, 127, 65_535, 65_536, 200_000]) {
    const text = "x".repeat(length);
    websocket.send({ text: "4" + text });
    assert.equal((await app.messages(1)).at(-1), text);
    await app.act({ send: text });
    assert.equal(await websocket.text(), "4" + text);
    await app.events(0);
  }
  websocket.abort();
});

engineTest("text is UTF-8 both ways [EIO-103]", async (app) => {
  const websocket = await app.websocket();
  const text = "çé 测试 😀 \u{10ffff} \ue000 \u2028";
  websocket.send({ text: "4" + text });
  assert.deepEqual(await app.messages(1), [text]);
  await app.act({ send: text });
  assert.equal(await websocket.text(), "4" + text);
  websocket.abort();
});

engineTest("the separator of payloads has no meaning in a frame", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "4a\x1e4b" });
  assert.deepEqual(await app.messages(1), ["a\x1e4b"]);
  websocket.abort();
});

engineTest("a frame that comes byte by byte is a frame", async (app) => {
  const websocket = await app.websocket();
  for (const byte of build(0x81, Buffer.from("4€"))) {
    websocket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(await app.messages(1), ["€"]);
  websocket.abort();
});

engineTest("a message in fragments is one message, also with a ping between them", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text_fragment: "4he" }, { middle_fragment: "ll" }, { ping: "61" }, { fin_fragment: "o" });
  assert.deepEqual(await websocket.next(), { pong: "61" });
  assert.deepEqual(await app.messages(1), ["hello"]);
  websocket.abort();
});

engineTest("a ping frame is answered with a pong frame of the same bytes", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ ping: "" }, { ping: "00ff" });
  assert.deepEqual(await websocket.next(), { pong: "" });
  assert.deepEqual(await websocket.next(), { pong: "00ff" });
  websocket.send({ pong: "01" }, { text: "4still here" });
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

engineTest("open, close, upgrade, noop and pong packets of the client are ignored [EIO-263]", async (app) => {
  const websocket = await app.websocket();
  for (const packet of ["0", "1", "5", "6", "3", "3probe"]) websocket.send({ text: packet });
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  websocket.abort();
});

engineTest("the first subprotocol that is offered is selected [EIO-254]", async (app) => {
  const websocket = await app.websocket("", { headers: { "Sec-WebSocket-Protocol": "one, two" } });
  assert.equal(websocket.http.headers["sec-websocket-protocol"], "one");
  websocket.abort();
});

engineTest("no extension is agreed to by default", async (app) => {
  const websocket = await app.websocket("", { headers: { "Sec-WebSocket-Extensions": "permessage-deflate" } });
  assert.equal(websocket.http.headers["sec-websocket-extensions"], undefined);
  websocket.abort();
});

engineTest("b64 in the query makes binary go out as base64 text", async (app) => {
  const websocket = await app.websocket("&b64=1");
  await app.act({ send: { $hex: "01020304" } });
  assert.equal(await websocket.text(), "bAQIDBA==");
  websocket.abort();
});

// --- what breaks the Engine.IO protocol: an empty close frame

for (const [name, frame, reason, ids] of [
  ["an invalid packet", { text: "abc" }, "parse error", "[EIO-213] [EIO-072]"],
  ["an empty text frame", { text: "" }, "parse error", "[EIO-265]"],
  ["a ping packet", { text: "2" }, "transport error", "[EIO-264]"],
  ["a probe outside an upgrade", { text: "2probe" }, "transport error", "[EIO-264]"],
]) {
  engineTest(`${name} is answered with an empty close frame: ${reason} ${ids} [EIO-266]`, async (app) => {
    const websocket = await app.websocket();
    websocket.send(frame);
    assert.deepEqual(await websocket.next(), { close: null });
    assert.equal(await app.closeReason(), reason);
    assert.deepEqual(await app.sessions(), []);
    websocket.send({ close: null });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
  });
}

engineTest("nothing is delivered after a packet that ended the session", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "4a" }, { text: "x" }, { text: "4b" });
  assert.deepEqual(await websocket.next(), { close: null });
  await settle();
  assert.deepEqual(await app.events(2), [{ message: "a" }, { close: "parse error" }]);
  websocket.abort();
});

// --- what breaks the WebSocket protocol: a close frame with the code, and FIN

const raw = (...bytes) => Buffer.from(bytes);
const closeFrame = (...payload) => build(0x88, Buffer.from(payload));

for (const [name, bytes, code] of [
  ["an unmasked frame", build(0x81, Buffer.from("4x"), { mask: false }), 1002],
  ["RSV1 without an extension", build(0xc1, Buffer.from("4x")), 1002],
  ["RSV2", build(0xa1, Buffer.from("4x")), 1002],
  ["RSV3", build(0x91, Buffer.from("4x")), 1002],
  ["opcode 3", build(0x83, Buffer.alloc(0)), 1002],
  ["opcode 11", build(0x8b, Buffer.alloc(0)), 1002],
  ["a continuation of nothing", build(0x80, Buffer.from("x")), 1002],
  ["a text inside a fragmented message", Buffer.concat([build(0x01, raw(0x34)), build(0x81, raw(0x34))]), 1002],
  ["a fragmented ping", build(0x09, Buffer.alloc(0)), 1002],
  ["a ping of 126 bytes", build(0x89, Buffer.alloc(126)), 1002],
  ["a close frame of one byte", closeFrame(3), 1002],
  ["close code 1005", closeFrame(0x03, 0xed), 1002],
  ["close code 999", closeFrame(0x03, 0xe7), 1002],
  ["close code 1016", closeFrame(0x03, 0xf8), 1002],
  ["a close reason that is no UTF-8", closeFrame(0x03, 0xe8, 0xff), 1007],
  ["a text that is no UTF-8", build(0x81, raw(0x34, 0xff)), 1007],
  ["a text that ends inside a character", build(0x81, raw(0x34, 0xe2, 0x82)), 1007],
  ["a text with an encoded surrogate", build(0x81, raw(0x34, 0xed, 0xa0, 0x80)), 1007],
]) {
  engineTest(`${name} is answered with close code ${code} and FIN: transport error`, async (app) => {
    const websocket = await app.websocket();
    websocket.write(bytes);
    assert.deepEqual(await websocket.next(), { close: code });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    assert.equal(await app.closeReason(), "transport error");
    assert.deepEqual(await app.sessions(), []);
  });
}

const SMALL = { options: { maxHttpBufferSize: 10 } };

engineTest("a frame of exactly the limit is taken [EIO-088]", SMALL, async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "4123456789" }, { hex: "00112233445566778899" });
  assert.equal((await app.messages(2)).length, 2);
  websocket.abort();
});

for (const [name, frames] of [
  ["a text frame", [{ text: "41234567890" }]],
  ["a binary frame", [{ hex: "0011223344556677889900" }]],
  ["a fragmented message", [{ text_fragment: "412345" }, { fin_fragment: "67890" }]],
]) {
  engineTest(`${name} above the limit is answered with close code 1009: transport error [EIO-087] [CLI-141]`, SMALL, async (app) => {
    const websocket = await app.websocket();
    websocket.send(...frames);
    assert.deepEqual(await websocket.next(), { close: 1009 });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    assert.equal(await app.closeReason(), "transport error");
  });
}

engineTest("the length that a frame announces is enough to refuse it", SMALL, async (app) => {
  const websocket = await app.websocket();
  websocket.write(build(0x81, Buffer.from("4"), { announced: 2 ** 40 }));
  assert.deepEqual(await websocket.next(), { close: 1009 });
  assert.equal(await app.closeReason(), "transport error");
  websocket.abort();
});

// --- closing

for (const [name, frame, answer] of [
  ["without a code", { close: null }, { close: null }],
  ["with 1000", { close: 1000 }, { close: 1000 }],
  ["with 1001 and a reason", { close: 1001, reason: "bye" }, { close: 1001, reason: "bye" }],
  ["with 1011", { close: 1011 }, { close: 1011 }],
  ["with 3000", { close: 3000 }, { close: 3000 }],
  ["with 4999", { close: 4999 }, { close: 4999 }],
]) {
  engineTest(`a close frame ${name} is echoed and the connection ended: transport close [EIO-267] [EIO-053] [SIO-230]`, async (app) => {
    const websocket = await app.websocket();
    websocket.send(frame);
    const echo = await websocket.next();
    assert.equal(echo.close, answer.close);
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    assert.equal(await app.closeReason(), "transport close");
    assert.deepEqual(await app.sessions(), []);
  });
}

engineTest("messages before a close frame are delivered, frames after it are not", async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "4a" }, { close: null }, { text: "4b" });
  assert.deepEqual(await websocket.next(), { close: null });
  assert.deepEqual(await app.events(2), [{ message: "a" }, { close: "transport close" }]);
});

engineTest("a TCP connection that ends is a transport close", async (app) => {
  const websocket = await app.websocket();
  websocket.end();
  assert.equal(await app.closeReason(), "transport close");
  websocket.abort();
});

engineTest("a TCP connection that is dropped is a transport close", async (app) => {
  const websocket = await app.websocket();
  websocket.abort();
  assert.equal(await app.closeReason(), "transport close");
  assert.deepEqual(await app.sessions(), []);
});

engineTest("the server's close is an empty close frame, and FIN after the echo [EIO-050] [EIO-266]", async (app) => {
  const websocket = await app.websocket();
  await app.act({ close: true });
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal(await app.closeReason(), "forced close");
  assert.deepEqual(await app.sessions(), []);
  assert.equal(websocket.tcpClosed, false);
  websocket.send({ close: null });
  assert.deepEqual(await websocket.next(), { tcp: "fin" });
});

engineTest("messages sent before the server's close all arrive, then the close frame [EIO-090] [EIO-091]", async (app) => {
  const websocket = await app.websocket();
  await app.act({ send: "a" }, { send: "b" }, { send: { $hex: "01" } }, { close: true }, { send: "never" });
  assert.deepEqual(await websocket.next(), { text: "4a" });
  assert.deepEqual(await websocket.next(), { text: "4b" });
  assert.deepEqual(await websocket.next(), { hex: "01" });
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.send({ close: null });
  assert.deepEqual(await websocket.next(), { tcp: "fin" });
});

engineTest("100 messages of 64 kB sent at once and closed after all arrive", async (app) => {
  const websocket = await app.websocket();
  const messages = Array.from({ length: 100 }, (_, i) => ({ send: String(i).padStart(4, "0") + "x".repeat(65_532) }));
  await app.act(...messages, { close: true });
  for (let i = 0; i < 100; i++) {
    const text = await websocket.text();
    assert.equal(text.length, 65_537);
    assert.equal(Number(text.slice(1, 5)), i);
  }
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
});

engineTest("a session that is gone cannot be polled", async (app) => {
  const websocket = await app.websocket();
  websocket.abort();
  await app.closeReason();
  assert.equal((await app.fetch(app.query(`&sid=${websocket.sid}`))).body, '{"code":1,"message":"Session ID unknown"}');
});

engineTest("a second websocket for a websocket session does not disturb the first", async (app) => {
  const websocket = await app.websocket();
  const second = await app.probe(websocket.sid);
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  second.abort();
  await settle();
  await app.act({ send: "to the first" });
  assert.equal(await websocket.text(), "4to the first");
  websocket.abort();
});
