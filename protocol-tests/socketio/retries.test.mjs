// The client's retries and timeouts: what it sends again, what it gives up, and what the server's answers do to it.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { until, within } from "../harness/wait.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100, randomizationFactor: 0 };
const IMPATIENT = { retries: 3, ackTimeout: 60 };

// Every Socket.IO packet from now on, sent ones behind `>` and received ones behind `<`.
function packetsOf(client) {
  const packets = [];
  const { engine } = client.socket.io;
  engine.on("packetCreate", ({ type, data }) => type === "message" && packets.push(`>${data}`));
  engine.on("packet", ({ type, data }) => type === "message" && packets.push(`<${data}`));
  return packets;
}

// The error that an emit with a timeout or a retry gives its callback, and the values.
const outcome = (socket, event, ...args) =>
  within(new Promise((resolve) => socket.emit(event, ...args, (error, ...values) => resolve({ error, values }))), `the outcome of ${event}`);

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: with retries one event is on its way at a time, the next after its answer [CLI-097]`, async (app) => {
    const client = await Client.connect(app, { mode, retries: 3, ackTimeout: 5000 });
    const packets = packetsOf(client);
    for (const n of [1, 2]) client.emit("echo", n);
    assert.deepEqual(await client.ask("echo", 3), [null, 3]);
    assert.deepEqual(packets, ['>20["echo",1]', "<30[1]", '>21["echo",2]', "<31[2]", '>22["echo",3]', "<32[3]"]);
  });

  socketioTest(`${mode}: an event that is never answered is sent once and three times more, the ones behind it then go on [CLI-098]`, async (app) => {
    const client = await Client.connect(app, { mode, ...IMPATIENT });
    const sent = packetsOf(client);
    const silent = outcome(client.socket, "nobody answers");
    const next = outcome(client.socket, "echo", "next");
    assert.match((await silent).error.message, /timed out/);
    assert.deepEqual((await next).values, ["next"]);
    const tries = sent.filter((packet) => packet.includes("nobody answers"));
    assert.deepEqual(tries, [0, 1, 2, 3].map((id) => `>2${id}["nobody answers"]`));
  });

  socketioTest(`${mode}: events with retries emitted while the server is away are each answered once, in order [CLI-095]`, { ownServer: true }, async (app) => {
    const client = await Client.connect(app, { mode, retries: 1000, ackTimeout: 100, ...RECONNECTING });
    await app.process.stop();
    await client.disconnected.next();
    const answered = [];
    for (let n = 0; n < 5; n++) client.emit("echo", n, (error, value) => answered.push([error, value]));
    await app.restart();
    await until(() => answered.length >= 5, "all five are answered");
    assert.deepEqual(answered, [0, 1, 2, 3, 4].map((n) => [null, n]));
  });
}

socketioTest("an answer to the first try that comes during the second is not taken, the second's is", async (app) => {
  const client = await Client.connect(app, { retries: 5, ackTimeout: 150 });
  const questions = client.on("question");
  const answer = outcome(client.socket, "ask", "x");
  const [, first] = await questions.next();
  const [, second] = await questions.next("the question of the second try");
  first("first");
  second("second");
  assert.deepEqual(await answer, { error: null, values: [{ ok: true, answer: "second" }] });
});

socketioTest("emitWithAck with retries resolves, and rejects after the last try", async (app) => {
  const client = await Client.connect(app, IMPATIENT);
  assert.deepEqual(await client.socket.emitWithAck("echo", { a: Buffer.from([1]) }), { a: Buffer.from([1]) });
  await assert.rejects(client.socket.emitWithAck("nobody answers"), /timed out/);
});

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: a callback with a timeout gets null and the values, or an error [CLI-084] [CLI-086]`, async (app) => {
    const client = await Client.connect(app, { mode });
    assert.deepEqual(await outcome(client.socket.timeout(5000), "echo", 1, "two"), { error: null, values: [1, "two"] });
    const late = await outcome(client.socket.timeout(40), "nobody answers");
    assert.match(late.error.message, /timed out/);
    assert.deepEqual(late.values, []);
  });

  socketioTest(`${mode}: the option ackTimeout is the timeout of every event with a callback [CLI-089]`, async (app) => {
    const client = await Client.connect(app, { mode, ackTimeout: 60 });
    assert.match((await outcome(client.socket, "nobody answers")).error.message, /timed out/);
    assert.deepEqual(await outcome(client.socket.timeout(5000), "echo", 1), { error: null, values: [1] });
  });

  socketioTest(`${mode}: an answer that comes after its timeout is ignored`, async (app) => {
    const client = await Client.connect(app, { mode });
    const packets = packetsOf(client);
    const questions = client.on("question");
    let calls = 0;
    const late = within(
      new Promise((resolve) => client.socket.timeout(60).emit("ask", 1, (error) => ++calls && resolve(error))),
      "the timeout",
    );
    const [, reply] = await questions.next();
    assert.match((await late).message, /timed out/);
    reply("late");
    await until(() => packets.includes('<30[{"ok":true,"answer":"late"}]'), "the late answer has come");
    assert.deepEqual(await client.ask("echo", 2), [2]);
    assert.equal(calls, 1);
  });

  socketioTest(`${mode}: who waits for an answer when the connection is lost is told so`, async (app) => {
    const client = await Client.connect(app, { mode });
    const waiting = [outcome(client.socket.timeout(60_000), "nobody answers").then(({ error }) => error)];
    waiting.push(client.socket.emitWithAck("nobody answers").catch((error) => error));
    await client.ask("echo", "both have been sent");
    client.socket.io.engine.close();
    for (const error of await within(Promise.all(waiting), "both errors")) assert.match(error.message, /has been disconnected/);
  });
}

socketioTest("what times out before the connection is up is not sent any more, and volatile is not kept", async (app) => {
  const client = Client.open(app, { autoConnect: false });
  const echo = client.on("echo");
  const late = outcome(client.socket.timeout(20), "echo", "late");
  client.emit("echo", "kept");
  client.socket.volatile.emit("echo", "volatile");
  assert.match((await late).error.message, /timed out/);
  client.socket.connect();
  await client.welcomed();
  client.emit("echo", "last");
  assert.deepEqual(await echo.take(2), [["kept"], ["last"]]);
  assert.equal(echo.size, 0);
});
