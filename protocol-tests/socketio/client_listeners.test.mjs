// The client's listeners of every kind: catch-all ones for both directions, once, off; and its short ways to emit.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: a catch-all listener hears every event with its arguments, binary and acknowledgement too`, async (app) => {
    const client = await Client.connect(app, { mode });
    const heard = [];
    client.socket.onAny((event, ...args) => heard.push([event, ...args]));
    client.socket.on("question", (x, answer) => answer(x));
    client.emit("echo", 1, { two: [Buffer.from([2])] });
    assert.deepEqual(await client.call("burst", 2), 2);
    assert.deepEqual(await client.call("ask", "x"), { ok: true, answer: "x" });
    const [question, x, answer] = heard.pop();
    assert.deepEqual([question, x, typeof answer], ["question", "x", "function"]);
    // An acknowledgement is no event.
    assert.deepEqual(heard, [["echo", 1, { two: [Buffer.from([2])] }], ["burst", 0], ["burst", 1]]);
  });

  socketioTest(`${mode}: a catch-all listener of outgoing events hears what is sent, and the server gets it`, async (app) => {
    const client = await Client.connect(app, { mode });
    const sent = [];
    client.socket.onAnyOutgoing((event, ...args) => sent.push([event, ...args.filter((arg) => typeof arg !== "function")]));
    client.socket.on("question", (x, answer) => answer(x));
    assert.deepEqual(await client.ask("echo", 1, Buffer.from([2])), [1, Buffer.from([2])]);
    await client.ask("ask", "x");
    assert.deepEqual(sent, [["echo", 1, Buffer.from([2])], ["ask", "x"]]);
  });
}

socketioTest("catch-all listeners are called before the others, the prepended ones first, until they are taken away", async (app) => {
  const client = await Client.connect(app);
  const calls = [];
  const [first, second] = [() => calls.push("first"), () => calls.push("second")];
  client.socket.on("echo", () => calls.push("the event's own"));
  client.socket.onAny(second);
  client.socket.prependAny(first);
  assert.deepEqual(client.socket.listenersAny(), [first, second]);
  const round = async () => {
    client.emit("echo");
    await client.ask("echo", "it has come back");
    return calls.splice(0);
  };
  assert.deepEqual(await round(), ["first", "second", "the event's own"]);
  client.socket.offAny(first);
  assert.deepEqual(await round(), ["second", "the event's own"]);
  client.socket.offAny();
  assert.deepEqual(await round(), ["the event's own"]);
});

socketioTest("catch-all listeners of outgoing events are called in order, until they are taken away", async (app) => {
  const client = await Client.connect(app);
  const calls = [];
  const [first, second] = [(event) => calls.push(`first ${event}`), (event) => calls.push(`second ${event}`)];
  client.socket.onAnyOutgoing(second);
  client.socket.prependAnyOutgoing(first);
  assert.deepEqual(client.socket.listenersAnyOutgoing(), [first, second]);
  await client.ask("rooms");
  client.socket.offAnyOutgoing(first);
  await client.ask("transport");
  client.socket.offAnyOutgoing();
  await client.ask("echo");
  assert.deepEqual(calls, ["first rooms", "second rooms", "second transport"]);
});

socketioTest("once is called once, off takes one or all away", async (app) => {
  const client = await Client.connect(app);
  const calls = [];
  const always = (n) => calls.push(["always", n]);
  const other = (n) => calls.push(["other", n]);
  client.socket.once("burst", (n) => calls.push(["once", n]));
  client.socket.on("burst", always);
  client.socket.on("burst", other);
  await client.ask("burst", 2);
  assert.deepEqual(calls.splice(0), [["once", 0], ["always", 0], ["other", 0], ["always", 1], ["other", 1]]);
  client.socket.off("burst", other);
  await client.ask("burst", 1);
  assert.deepEqual(calls.splice(0), [["always", 0]]);
  client.socket.off("burst");
  await client.ask("burst", 1);
  assert.deepEqual(calls, []);
});

socketioTest("send emits a message event, and one that arrives is heard as such", async (app) => {
  const [sender, receiver] = await Promise.all([Client.connect(app), Client.connect(app)]);
  const sent = [];
  sender.socket.io.engine.on("packetCreate", ({ type, data }) => type === "message" && sent.push(data));
  sender.socket.send("a", { b: 1 });
  assert.deepEqual(sent, ['2["message","a",{"b":1}]']);
  const messages = receiver.on("message");
  await sender.ask("cast", receiver.id, "message", "a", Buffer.from([1]));
  assert.deepEqual(await messages.next(), ["a", Buffer.from([1])]);
});

// Beyond every threshold of compression.
const LONG = "compress me ".repeat(1000);
const DEFLATING = { env: { OPTIONS: JSON.stringify({ perMessageDeflate: { threshold: 0 }, httpCompression: { threshold: 0 } }) } };

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: events with and without the client's compress flag arrive on a compressed connection, in order`, DEFLATING, async (app) => {
    const client = await Client.connect(app, { mode, perMessageDeflate: { threshold: 0 } });
    const echo = client.on("echo");
    for (const compress of [true, false, true]) client.socket.compress(compress).emit("echo", compress, LONG, Buffer.from(LONG));
    client.emit("echo", "plain");
    for (const compress of [true, false, true]) assert.deepEqual(await echo.next(), [compress, LONG, Buffer.from(LONG)]);
    assert.deepEqual(await echo.next(), ["plain"]);
  });
}
