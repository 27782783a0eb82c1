// Packets as MessagePack: by hand over a WebSocket, over polling, and with the official client that has the parser.

import assert from "node:assert/strict";
import msgpackParser from "socket.io-msgpack-parser";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";

const MSGPACK = { env: { PARSER: "msgpack" } };
const MSGPACK_V3 = { env: { PARSER: "msgpack", EIO3: "1" } };
const CONNECT = 0, DISCONNECT = 1, EVENT = 2, ACK = 3, CONNECT_ERROR = 4;

const { Decoder, Encoder } = msgpackParser;

const encode = (packet) => Buffer.from(new Encoder().encode(packet)[0]);

function decode(bytes) {
  let packet;
  const decoder = new Decoder();
  decoder.on("decoded", (decoded) => (packet = decoded));
  decoder.add(bytes);
  return packet;
}

class RawMsgpack {
  constructor(websocket, type = Buffer.alloc(0)) {
    this.websocket = websocket;
    this.type = type; // before each binary message, in Engine.IO 3
  }

  static async open(app) {
    return new RawMsgpack(await app.websocket());
  }

  // Joined to the main namespace, its CONNECT answer and welcome read.
  static async connect(app) {
    const raw = await RawMsgpack.open(app);
    raw.send({ type: CONNECT, nsp: "/" });
    raw.answer = await raw.bytes();
    raw.id = decode(raw.answer).data.sid;
    assert.equal((await raw.packet()).data[0], "welcome");
    return raw;
  }

  send(packet) {
    this.sendBytes(Buffer.isBuffer(packet) ? packet : encode(packet));
  }

  sendBytes(bytes) {
    this.websocket.send({ bytes: Buffer.concat([this.type, bytes]) });
  }

  async bytes() {
    const frame = await this.websocket.next("a binary frame");
    assert.ok(frame.hex !== undefined, `expected a binary frame, got ${JSON.stringify(frame)}`);
    const bytes = Buffer.from(frame.hex, "hex");
    assert.deepEqual(bytes.subarray(0, this.type.length), this.type);
    return bytes.subarray(this.type.length);
  }

  async packet() {
    return decode(await this.bytes());
  }

  async expectClosed() {
    assert.deepEqual(await this.websocket.next("the close frame"), { close: null });
    this.websocket.send({ close: null });
    assert.deepEqual(await this.websocket.next("the end"), { tcp: "fin" });
  }

  async expectAlive() {
    this.send({ type: EVENT, nsp: "/", data: ["echo", "alive"] });
    assert.deepEqual(await this.packet(), { type: EVENT, nsp: "/", data: ["echo", "alive"] });
  }

  abort() {
    this.websocket.abort();
  }
}

// --- out

socketioTest("MessagePack: CONNECT is answered with the socket's id, and an undefined pid [SIO-297]", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  assert.match(raw.id, /^[A-Za-z0-9_-]{20}$/);
  const id = Buffer.from(raw.id).toString("hex");
  assert.equal(raw.answer.toString("hex"), `83a47479706500a46461746182a3736964b4${id}a3706964d40000a36e7370a12f`);
  raw.abort();
});

socketioTest("MessagePack: an event is one message, its binary values within", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  const sent = encode({ type: EVENT, data: ["echo", Buffer.from([1, 2]), { a: [Buffer.alloc(0), 1.5, "é", null, -1] }], nsp: "/" });
  raw.send(sent);
  assert.equal((await raw.bytes()).toString("hex"), sent.toString("hex"));
  raw.abort();
});

socketioTest("MessagePack: the keys of an acknowledgement begin with its id", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  raw.send({ type: EVENT, nsp: "/", data: ["echo", 1, "x"], id: 7 });
  assert.equal((await raw.bytes()).toString("hex"), "84a2696407a47479706503a4646174619201a178a36e7370a12f");
  raw.abort();
});

socketioTest("MessagePack: the server asks and is answered", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  raw.send({ type: EVENT, nsp: "/", data: ["ask", "why"], id: 0 });
  const question = await raw.packet();
  assert.deepEqual(question.data, ["question", "why"]);
  raw.send({ type: ACK, nsp: "/", data: [{ because: Buffer.from("b") }], id: question.id });
  const { data } = await raw.packet();
  assert.deepEqual(data, [{ ok: true, answer: { because: Buffer.from("b") } }]);
  raw.abort();
});

socketioTest("MessagePack: numbers of every size come back", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  const whole = [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53];
  const data = ["echo", ...whole, ...whole.slice(1).map((number) => -number), 0.1, -0.5, 5e-324, 1e-7];
  const sent = encode({ type: EVENT, data, nsp: "/" });
  raw.send(sent);
  assert.equal((await raw.bytes()).toString("hex"), sent.toString("hex"));
  // From here on JavaScript has no more than one number for several integers.
  const large = ["echo", 2 ** 63, 2 ** 64 - 2048, -(2 ** 63), 2 ** 60 + 256];
  raw.send({ type: EVENT, data: large, nsp: "/" });
  assert.deepEqual((await raw.packet()).data, large);
  raw.abort();
});

socketioTest("MessagePack: texts, lists and objects of every size come back", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  const sizes = [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536];
  for (const size of sizes) {
    const object = Object.fromEntries(Array.from({ length: size }, (_, i) => [`k${i}`, i]));
    const data = ["echo", "a".repeat(size), Array(size).fill(0), object, Buffer.alloc(size, 1)];
    const sent = encode({ type: EVENT, data, nsp: "/" });
    raw.send(sent);
    assert.ok((await raw.bytes()).equals(sent), `${size}`);
  }
  raw.abort();
});

socketioTest("MessagePack: an unknown namespace and a middleware refuse, the connection stays", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  raw.send({ type: CONNECT, nsp: "/x" });
  const refusal = "83a47479706504a36e7370a22f78a46461746181a76d657373616765b1496e76616c6964206e616d657370616365";
  assert.equal((await raw.bytes()).toString("hex"), refusal);
  raw.send({ type: CONNECT, nsp: "/auth", data: { token: "wrong" } });
  const data = { message: "bad token", data: { code: 4001 } };
  assert.deepEqual(await raw.packet(), { type: CONNECT_ERROR, nsp: "/auth", data });
  raw.send({ type: CONNECT, nsp: "/auth", data: { token: "secret" } });
  assert.equal((await raw.packet()).type, CONNECT);
  raw.abort();
});

socketioTest("MessagePack: a DISCONNECT of the server has a type and a namespace", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  raw.send({ type: EVENT, nsp: "/", data: ["bye", false] });
  assert.equal((await raw.bytes()).toString("hex"), "82a47479706501a36e7370a12f");
  raw.abort();
});

socketioTest("MessagePack: over polling a packet is base64", MSGPACK, async (app) => {
  const session = await app.polling();
  await session.post("b" + encode({ type: CONNECT, nsp: "/" }).toString("base64"));
  const { body } = await session.get();
  const [answer] = body.split("\x1e");
  assert.equal(answer[0], "b");
  assert.equal(decode(Buffer.from(answer.slice(1), "base64")).type, CONNECT);
  await session.post("1");
});

// --- in

socketioTest("MessagePack: undefined keys, other keys, the order of keys and repeated ones do not matter", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  const echo = (bytes) => raw.send(Buffer.from(bytes, "hex"));
  const type = "a474797065", nsp = "a36e7370a12f", data = "a46461746192a46563686f01", id = "a26964";
  for (const bytes of [
    `83${nsp}${data}${type}02`,
    `84${data}${nsp}${type}02${id}d40000`, // id: undefined
    `84${type}02${data}${nsp}a76f7074696f6e7381a8636f6d7072657373c3`, // options: {compress: true}
    `84${type}05${data}${nsp}${type}02`,
    `83${type}cb4000000000000000${data}${nsp}`, // type: 2.0
  ]) {
    echo(bytes);
    assert.deepEqual((await raw.packet()).data, ["echo", 1], bytes);
  }
  raw.abort();
});

socketioTest("MessagePack: reserved names, names that are none and empty lists are events that nobody handles", MSGPACK, async (app) => {
  const raw = await RawMsgpack.connect(app);
  for (const data of [["connect"], ["newListener", 1], [null], [{}], [Buffer.alloc(1)], []]) {
    raw.send({ type: EVENT, nsp: "/", data });
  }
  await raw.expectAlive();
  raw.abort();
});

for (const [what, hex] of [
  ["type 5", "83a47479706505a36e7370a12fa46461746191a161"],
  ["a type that is text", "83a474797065a132a36e7370a12fa46461746191a161"],
  ["no namespace", "82a47479706502a46461746191a161"],
  ["an event with an object", "83a47479706502a36e7370a12fa46461746180"],
  ["an event without data", "82a47479706502a36e7370a12f"],
  ["an acknowledgement without data", "83a47479706503a36e7370a12fa2696400"],
  ["a CONNECT with null", "83a47479706500a36e7370a12fa464617461c0"],
  ["a DISCONNECT with data", "83a47479706501a36e7370a12fa46461746180"],
  ["an id that is text", "84a47479706502a36e7370a12fa46461746191a161a26964a131"],
  ["garbage", "c1"],
  ["nothing", ""],
  ["a list", "9102"],
  ["a text that is too short", "83a47479706502a36e7370a12fa46461746191a3"],
  ["bytes behind the packet", "83a47479706502a36e7370a12fa46461746191a16100"],
  ["a list that is announced and does not come", "83a47479706502a36e7370a12fa464617461ddffffffff"],
  ["an object that is announced and does not come", "83a47479706502a36e7370a12fa46461746191dfffffffff"],
]) {
  socketioTest(`MessagePack: ${what} closes the connection`, MSGPACK, async (app) => {
    const raw = await RawMsgpack.connect(app);
    raw.sendBytes(Buffer.from(hex, "hex"));
    await raw.expectClosed();
  });
}

for (const text of ["0", '2["echo"]', "garbage"]) {
  socketioTest(`MessagePack: the text ${text} closes the connection`, MSGPACK, async (app) => {
    const raw = await RawMsgpack.connect(app);
    raw.websocket.send({ text: `4${text}` });
    await raw.expectClosed();
  });
}

// --- clients

for (const mode of Object.keys(MODES)) {
  socketioTest(`MessagePack: the official client, ${mode}`, MSGPACK, async (app) => {
    const client = await Client.connect(app, { mode, parser: msgpackParser });
    const values = [1, "two", { three: [3.5, null, true] }, Buffer.from([4])];
    assert.deepEqual(await client.ask("echo", ...values), values);
    assert.deepEqual(await client.ask("echo", ...Array(30).fill(Buffer.from("x"))), Array(30).fill(Buffer.from("x")));
    const chat = client.join("/chat");
    await chat.welcomed();
    assert.deepEqual(await chat.ask("echo", "chat"), ["chat"]);
  });
}

socketioTest("MessagePack: a client of Engine.IO 3 is in the main namespace at once", MSGPACK_V3, async (app) => {
  const raw = new RawMsgpack(await app.websocket("", { eio: 3 }), Buffer.from([4]));
  assert.equal((await raw.bytes()).toString("hex"), "82a47479706500a36e7370a12f");
  assert.equal((await raw.packet()).data[0], "welcome");
  raw.send({ type: CONNECT, nsp: "/chat?token=1" });
  assert.deepEqual(await raw.packet(), { type: CONNECT, nsp: "/chat" });
  assert.equal((await raw.packet()).data[0], "welcome");
  raw.send({ type: CONNECT, nsp: "/auth?token=no" });
  assert.deepEqual(await raw.packet(), { type: CONNECT_ERROR, nsp: "/auth", data: { code: 4001 } });
  await raw.expectAlive();
  raw.send({ type: DISCONNECT, nsp: "/chat" });
  await raw.expectAlive();
  raw.websocket.send({ text: '42["echo"]' });
  await raw.expectClosed();
});
