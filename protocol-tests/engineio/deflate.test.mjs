// Compression of WebSocket messages: permessage-deflate (RFC 7692).

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { DeflatedWebSocket } from "../harness/deflated_websocket.mjs";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { build } from "../harness/raw_websocket.mjs";
import { Client } from "../harness/socketio_client.mjs";
import { engineTest, socketioTest } from "../harness/suite.mjs";

const ON = { options: { perMessageDeflate: true } };
const P = "permessage-deflate";
const LONG = "lorem ipsum ".repeat(200);

// --- negotiation: the order of parameters is free

const sorted = (extension) => extension?.split(/; */).sort().join("; ");

async function assertAnswers(app, table) {
  for (const [offer, answer] of table) {
    const path = app.query("", { transport: "websocket" });
    const websocket = await app.rawWebSocket(path, { headers: { "Sec-WebSocket-Extensions": offer } });
    const { status, headers, body } = websocket.http;
    if (answer === 400) {
      assert.deepEqual([status, headers["content-type"]], [400, "text/html"], offer);
      assert.equal(body, "Invalid or unacceptable Sec-WebSocket-Extensions header");
    } else {
      assert.equal(status, 101, offer);
      assert.equal(sorted(headers["sec-websocket-extensions"]), sorted(answer), offer);
    }
    websocket.abort();
  }
}

engineTest("deflate: offers that are taken, and how they are answered [EIO-284]", ON, (app) =>
  assertAnswers(app, [
    [undefined, undefined],
    [P, P],
    [`${P}; client_max_window_bits`, P],
    [`${P}; client_max_window_bits=8`, `${P}; client_max_window_bits=8`],
    [`${P}; client_max_window_bits=15`, `${P}; client_max_window_bits=15`],
    [`${P}; client_max_window_bits="12"`, `${P}; client_max_window_bits=12`],
    [`${P}; server_max_window_bits=10`, `${P}; server_max_window_bits=10`],
    [`${P}; server_no_context_takeover`, `${P}; server_no_context_takeover`],
    [`${P}; client_no_context_takeover`, `${P}; client_no_context_takeover`],
    [
      `${P}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9`,
      `${P}; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9`,
    ],
    [`${P}; server_max_window_bits=10, ${P}`, `${P}; server_max_window_bits=10`],
    [`${P}, ${P}; server_no_context_takeover`, P],
    [`foo; bar=1, ${P}`, P],
    ["x-webkit-deflate-frame", undefined],
  ]),
);

engineTest("deflate: offers that are wrong are refused, also beside a right one [EIO-284]", ON, (app) =>
  assertAnswers(app, [
    [`${P}; unknown`, 400],
    [`${P}; client_max_window_bits=7`, 400],
    [`${P}; client_max_window_bits=16`, 400],
    [`${P}; client_max_window_bits=abc`, 400],
    [`${P}; server_max_window_bits`, 400],
    [`${P}; server_max_window_bits=16`, 400],
    [`${P}; server_no_context_takeover=1`, 400],
    [`${P}; server_no_context_takeover; server_no_context_takeover`, 400],
    [`${P}; unknown, ${P}`, 400],
    [`${P};`, 400],
  ]),
);

for (const [option, table] of [
  [
    { serverNoContextTakeover: true },
    [
      [P, `${P}; server_no_context_takeover`],
      [`${P}; server_no_context_takeover`, `${P}; server_no_context_takeover`],
      [`${P}; client_max_window_bits`, `${P}; server_no_context_takeover`],
    ],
  ],
  [
    { clientNoContextTakeover: true },
    [
      [P, `${P}; client_no_context_takeover`],
      [`${P}; server_max_window_bits=10`, `${P}; client_no_context_takeover; server_max_window_bits=10`],
    ],
  ],
  [
    { serverMaxWindowBits: 11 },
    [
      [P, `${P}; server_max_window_bits=11`],
      [`${P}; server_max_window_bits=12`, `${P}; server_max_window_bits=11`],
      [`${P}; server_max_window_bits=10`, 400],
      [`${P}; server_max_window_bits=10, ${P}`, `${P}; server_max_window_bits=11`],
    ],
  ],
  [
    { clientMaxWindowBits: 11 },
    [
      [`${P}; client_max_window_bits`, `${P}; client_max_window_bits=11`],
      [`${P}; client_max_window_bits=12`, `${P}; client_max_window_bits=11`],
      [P, 400],
      [`${P}, ${P}; client_max_window_bits`, `${P}; client_max_window_bits=11`],
      [undefined, undefined],
    ],
  ],
]) {
  const options = { perMessageDeflate: option };
  engineTest(`deflate: the option ${JSON.stringify(option)} forces a parameter [EIO-284]`, { options }, (app) => assertAnswers(app, table));
}

// --- messages, with every kind of context

for (const [name, offer] of [
  ["both contexts kept", P],
  ["no context of the server", `${P}; server_no_context_takeover`],
  ["no context of the client", `${P}; client_no_context_takeover`],
  ["no contexts", `${P}; server_no_context_takeover; client_no_context_takeover`],
  ["small windows", `${P}; server_max_window_bits=9; client_max_window_bits=9`],
]) {
  engineTest(`deflate, ${name}: messages both ways, text and binary [EIO-283]`, ON, async (app) => {
    const websocket = await DeflatedWebSocket.open(app, offer);
    assert.match((await websocket.next()).text, /^0\{/);
    const noise = randomBytes(40_000);
    const values = ["hello", "hello", LONG, LONG, noise, noise, Buffer.from([1, 2, 3]), "é😀".repeat(700), "x"];
    websocket.sendDeflated(...values.map((value) => (typeof value === "string" ? "4" + value : value)));
    const plain = (value) => (typeof value === "string" ? value : { $hex: value.toString("hex") });
    assert.deepEqual(await app.messages(values.length), values.map(plain));

    await app.act(...values.map((value) => ({ send: plain(value) })));
    for (const value of values) {
      const frame = await websocket.next();
      if (typeof value === "string") assert.equal(frame.text, "4" + value);
      else assert.equal(frame.hex, value.toString("hex"));
      if (value === LONG) assert.ok(frame.size < 200, `compressed to ${frame.size} bytes`);
    }
    websocket.abort();
  });
}

const WORDS = randomBytes(1500).toString("hex");

engineTest("deflate: with its context the server refers to the messages before, without it it does not [EIO-283]", ON, async (app) => {
  for (const [offer, isSmaller] of [[P, true], [`${P}; server_no_context_takeover`, false]]) {
    const websocket = await DeflatedWebSocket.open(app, offer);
    await websocket.next();
    await app.act({ send: WORDS }, { send: WORDS });
    const [first, second] = [await websocket.next(), await websocket.next()];
    assert.equal(second.text, "4" + WORDS);
    assert.equal(second.size < first.size / 10, isSmaller, `${first.size} and ${second.size} bytes`);
    websocket.abort();
    await app.closeReason();
    await app.forgetSessions();
  }
});

engineTest("deflate: with the server's context every message is compressed, however small, whatever its flag [EIO-283]", ON, async (app) => {
  const websocket = await DeflatedWebSocket.open(app);
  assert.ok((await websocket.next()).size > 0, "the open packet");
  await app.act({ send: "x" }, { send: "" }, { send: { $hex: "01" } }, { send: LONG, compress: false });
  for (let i = 0; i < 4; i++) assert.ok((await websocket.next()).size > 0, `message ${i}`);
  websocket.abort();
});

for (const [name, perMessageDeflate, threshold] of [
  ["by default", true, 1024],
  ["as configured", { threshold: 10 }, 10],
  ["of nothing", { threshold: 0 }, 0],
]) {
  engineTest(`deflate: without the server's context there is a threshold, ${name} [EIO-283]`, { options: { perMessageDeflate } }, async (app) => {
    const websocket = await DeflatedWebSocket.open(app, `${P}; server_no_context_takeover`);
    assert.equal((await websocket.next()).size !== undefined, threshold < 100);
    for (const length of [2, 9, 10, 1023, 1024, 3000]) {
      await app.act({ send: "x".repeat(length - 1) });
      const { text, size } = await websocket.next();
      assert.equal(text.length, length);
      assert.equal(size !== undefined, length >= threshold, `${length} bytes`);
    }
    websocket.abort();
  });
}

engineTest("deflate: the client may send messages uncompressed", ON, async (app) => {
  const websocket = await DeflatedWebSocket.open(app);
  websocket.sendDeflated("4one");
  websocket.send({ text: "4two" }, { hex: "03" });
  websocket.sendDeflated("4four");
  assert.deepEqual(await app.messages(4), ["one", "two", { $hex: "03" }, "four"]);
  websocket.abort();
});

engineTest("deflate: a compressed message in fragments, with a ping between them, is one message", ON, async (app) => {
  const websocket = await DeflatedWebSocket.open(app);
  await websocket.next();
  const payload = websocket.deflate("4fragmented " + LONG);
  const [first, middle, last] = [payload.subarray(0, 3), payload.subarray(3, 20), payload.subarray(20)];
  websocket.write(Buffer.concat([build(0x41, first), build(0x89, Buffer.from("a")), build(0x00, middle), build(0x80, last)]));
  assert.deepEqual(await websocket.next(), { pong: "61" });
  assert.deepEqual(await app.messages(1), ["fragmented " + LONG]);
  websocket.abort();
});

engineTest("deflate: the probe of an upgrade and what follows are compressed as well", ON, async (app) => {
  const session = await app.polling();
  const websocket = await DeflatedWebSocket.open(app, P, { more: `&sid=${session.sid}` });
  websocket.sendDeflated("2probe");
  const { text, size } = await websocket.next();
  assert.deepEqual([text, size > 0], ["3probe", true]);
  websocket.sendDeflated("5", "4upgraded");
  assert.deepEqual(await app.messages(1), ["upgraded"]);
  websocket.abort();
});

engineTest("deflate: binary of a v3 client keeps its type byte", { options: { perMessageDeflate: true, allowEIO3: true } }, async (app) => {
  const websocket = await DeflatedWebSocket.open(app, P, { eio: 3 });
  await websocket.next();
  websocket.sendDeflated(Buffer.from([4, 1, 2]));
  assert.deepEqual(await app.messages(1), [{ $hex: "0102" }]);
  await app.act({ send: { $hex: "0304" } });
  assert.equal((await websocket.next()).hex, "040304");
  websocket.abort();
});

// --- what is refused

const SMALL = { options: { perMessageDeflate: true, maxHttpBufferSize: 1000 } };

engineTest("deflate: the limit counts inflated bytes, and exactly the limit is taken", SMALL, async (app) => {
  const websocket = await DeflatedWebSocket.open(app);
  websocket.sendDeflated("4" + "x".repeat(999), Buffer.alloc(1000, 7));
  assert.equal((await app.messages(2)).length, 2);
  websocket.abort();
});

for (const [name, code, declared, frames] of [
  ["one byte more than the limit when inflated", 1009, SMALL, (websocket) => build(0xc1, websocket.deflate("4" + "x".repeat(1000)))],
  ["a bomb", 1009, SMALL, (websocket) => build(0xc2, websocket.deflate(Buffer.alloc(20_000_000)))],
  ["a bomb in fragments", 1009, SMALL, (websocket) => {
    const payload = websocket.deflate(Buffer.alloc(500_000));
    return Buffer.concat([build(0x42, payload.subarray(0, 100)), build(0x80, payload.subarray(100))]);
  }],
  ["bytes that are not compressed", 1007, ON, () => build(0xc1, Buffer.from([0xff, 0xff, 0xff]))],
  ["a compressed text that is no UTF-8", 1007, ON, (websocket) => build(0xc1, websocket.deflate(Buffer.from([0x34, 0xff])))],
  ["RSV1 on a continuation", 1002, ON, () => Buffer.concat([build(0x01, Buffer.from("4a")), build(0xc0, Buffer.from("b"))])],
  ["RSV1 on a ping", 1002, ON, () => build(0xc9, Buffer.from("a"))],
  ["RSV2", 1002, ON, (websocket) => build(0xe1, websocket.deflate("4a"))],
]) {
  engineTest(`deflate: ${name} is answered with close code ${code}: transport error`, declared, async (app) => {
    const websocket = await DeflatedWebSocket.open(app);
    await websocket.next();
    websocket.write(frames(websocket));
    assert.deepEqual(await websocket.next(), { close: code });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    assert.equal(await app.closeReason(), "transport error");
  });
}

// --- the official clients

for (const [name, perMessageDeflate] of [
  ["its defaults", { threshold: 0 }],
  ["no contexts", { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }],
]) {
  engineTest(`deflate: the official client with ${name} exchanges messages`, ON, async (app) => {
    const { socket, messages } = await EngineClient.open(app, { ...MODES["websocket only"], perMessageDeflate });
    assert.match(socket.transport.ws.extensions, /permessage-deflate/);
    const values = ["hello", LONG, Buffer.alloc(70_000, 7), "x"];
    const plain = (value) => (typeof value === "string" ? value : { $hex: value.toString("hex") });
    for (const value of values) socket.send(value);
    assert.deepEqual(await app.messages(4), values.map(plain));
    await app.act(...values.map((value) => ({ send: plain(value) })));
    assert.deepEqual((await messages.take(4)).map(plain), values.map(plain));
    socket.close();
  });
}

const SOCKETIO = { env: { OPTIONS: JSON.stringify({ perMessageDeflate: true }) } };

socketioTest("deflate: a broadcast reaches clients with and without compression [EIO-123] [EIO-124]", SOCKETIO, async (app) => {
  const compressed = await Client.connect(app, { perMessageDeflate: { threshold: 0 } });
  assert.match(compressed.socket.io.engine.transport.ws.extensions, /permessage-deflate/);
  const plain = await Client.connect(app, { perMessageDeflate: false });
  assert.equal(plain.socket.io.engine.transport.ws.extensions, "");
  const sender = await Client.connect(app);
  const [one, two] = [compressed.on("news"), plain.on("news")];
  await sender.call("cast", null, "news", LONG, Buffer.alloc(2000, 7));
  assert.deepEqual(await one.next(), [LONG, Buffer.alloc(2000, 7)]);
  assert.deepEqual(await two.next(), [LONG, Buffer.alloc(2000, 7)]);
});

socketioTest("deflate: a broadcast is compressed in frames as everything else [EIO-124]", SOCKETIO, async (app) => {
  const websocket = await DeflatedWebSocket.open(app);
  await websocket.next();
  websocket.sendDeflated("40");
  assert.match((await websocket.next()).text, /^40\{/);
  await websocket.next("the welcome");
  const sender = await Client.connect(app);
  await sender.call("cast", null, "news", LONG);
  const { text, size } = await websocket.next();
  assert.equal(text, `42["news","${LONG}"]`);
  assert.ok(size < 200, `compressed to ${size} bytes`);
  websocket.abort();
});
