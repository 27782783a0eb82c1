// Disconnects from either side with the reasons the official client sees, and coming back after them.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { sleep } from "../harness/wait.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100, randomizationFactor: 0 };

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: the client leaves and comes back [CLI-014] [CLI-069]`, async (app) => {
    const client = await Client.connect(app, { mode });
    const before = client.id;
    client.close();
    assert.equal((await client.disconnected.next()).reason, "io client disconnect");
    client.socket.connect();
    await client.welcomed();
    assert.notEqual(client.id, before);
    assert.deepEqual(await client.ask("echo", 1), [1]);
  });

  socketioTest(`${mode}: the server disconnects one namespace, the others go on [SIO-241]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const chat = main.join("/chat");
    await chat.welcomed();
    chat.emit("bye", false);
    assert.equal((await chat.disconnected.next()).reason, "io server disconnect");
    assert.deepEqual(await main.ask("echo", 1), [1]);
    assert.equal(main.disconnected.size, 0);
    chat.socket.connect();
    await chat.welcomed();
  });

  socketioTest(`${mode}: the server disconnects the connection: every namespace ends [SIO-061] [SIO-182] [SIO-286]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const chat = main.join("/chat");
    await chat.welcomed();
    main.emit("bye", true);
    assert.equal((await main.disconnected.next()).reason, "io server disconnect");
    assert.equal((await chat.disconnected.next()).reason, "io server disconnect");
  });

  socketioTest(`${mode}: what was emitted before the server's disconnect still arrives`, async (app) => {
    const client = await Client.connect(app, { mode });
    const echo = client.on("echo");
    client.emit("echo", 1);
    client.emit("echo", Buffer.from([2]));
    client.emit("bye", true);
    assert.deepEqual(await echo.take(2), [[1], [Buffer.from([2])]]);
    assert.equal((await client.disconnected.next()).reason, "io server disconnect");
  });

  socketioTest(`${mode}: an event whose answer was lost with the connection can be sent again, and is answered [CLI-095]`, async (app) => {
    const client = await Client.connect(app, { mode, retries: 5, ackTimeout: 200, ...RECONNECTING });
    client.socket.io.engine.close();
    const answer = client.ask("echo", "again");
    assert.deepEqual(await answer, [null, "again"]);
  });


  socketioTest(`${mode}: a lost connection is made again, with a new id [SIO-061] [CLI-013] [CLI-015] [CLI-057]`, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING });
    const before = client.id;
    client.socket.io.engine.close();
    await client.disconnected.next();
    await client.welcomed();
    assert.notEqual(client.id, before);
    assert.deepEqual(await client.ask("echo", 1), [1]);
  });

  socketioTest(`${mode}: clients come back after the server has restarted on its port [SIO-162] [EIO-051]`, { ownServer: true }, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING });
    const chat = client.join("/chat");
    await chat.welcomed();
    await app.process.stop();
    const { reason } = await client.disconnected.next();
    assert.match(reason, /^transport (close|error)$/);
    client.emit("echo", "emitted while the server was down");
    const echo = client.on("echo");
    await app.restart();
    // Not `welcomed`: attempts made while the server was down have failed.
    await client.on("welcome").next();
    await chat.on("welcome").next();
    assert.deepEqual(await echo.next(), ["emitted while the server was down"]);
    assert.deepEqual(await client.ask("echo", 1), [1]);
    assert.deepEqual(await chat.ask("echo", 2), [2]);
  });
}

socketioTest("the server's end closes its clients' connections without a DISCONNECT packet [SIO-001] [SIO-002] [SIO-287]", { ownServer: true }, async (app) => {
  const client = await Client.connect(app);
  const websocket = await app.websocket();
  websocket.send({ text: "40" });
  await websocket.text();
  await websocket.text();
  const stopped = app.process.stop();
  assert.deepEqual(await websocket.next(), { close: null });
  assert.equal((await client.disconnected.next()).reason, "transport close");
  websocket.send({ close: null });
  const { signal, code } = await stopped;
  assert.notEqual(signal, "SIGKILL", `it had to be killed (code ${code})`);
});

// The client's pong may be late on a busy machine.
const BEATING = { env: { PING_INTERVAL: "100", PING_TIMEOUT: "2000" } };

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: a client stays over many heartbeats, idle and busy`, BEATING, async (app) => {
    const client = await Client.connect(app, { mode });
    await sleep(500);
    for (let i = 0; i < 20; i++) {
      assert.deepEqual(await client.ask("echo", i), [i]);
      await sleep(10);
    }
    assert.equal(client.disconnected.size, 0);
  });
}

const SHORT_BEAT = { env: { PING_INTERVAL: "100", PING_TIMEOUT: "200" } };

socketioTest("a client that answers no ping is disconnected, and leaves its rooms", SHORT_BEAT, async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "40" });
  const frames = [];
  for (let frame; (frame = await websocket.next()); ) {
    frames.push(frame);
    if ("close" in frame) break;
  }
  assert.equal(frames.filter(({ text }) => text === "2").length, 1);
  assert.deepEqual(frames.at(-1), { close: null });
  websocket.abort();
});

socketioTest("a message above MAX_PAYLOAD ends a websocket client's connection", { env: { MAX_PAYLOAD: "1000" } }, async (app) => {
  const client = await Client.connect(app);
  assert.deepEqual(await client.ask("echo", "x".repeat(900)), ["x".repeat(900)]);
  client.emit("echo", "x".repeat(1000));
  const { reason, details } = await client.disconnected.next();
  assert.equal(reason, "transport close");
  assert.equal(details.context.code, 1009);
});

const IMPATIENT = { env: { CONNECT_TIMEOUT: "150" } };

socketioTest("a connection that joins no namespace in time is closed [SIO-073] [SIO-240]", IMPATIENT, async (app) => {
  const websocket = await app.websocket();
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
});

socketioTest("a refused namespace does not stop the clock [SIO-073]", IMPATIENT, async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "40/unknown," });
  assert.equal(await websocket.text(), '44/unknown,{"message":"Invalid namespace"}');
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
});

socketioTest("a joined namespace stops the clock, also after it was left [SIO-285]", IMPATIENT, async (app) => {
  const websocket = await app.websocket();
  websocket.send({ text: "40" });
  assert.match(await websocket.text(), /^40\{/);
  assert.match(await websocket.text(), /^42\["welcome"/);
  websocket.send({ text: "41" });
  assert.deepEqual(await websocket.quiet(300), []);
  websocket.send({ text: "40/chat," });
  assert.match(await websocket.text(), /^40\/chat,\{/);
  websocket.abort();
});

socketioTest("a polling connection that joins no namespace in time is closed as well [SIO-240]", IMPATIENT, async (app) => {
  const session = await app.polling();
  assert.equal((await session.get()).body, "1");
  assert.equal((await session.get()).status, 400);
});

socketioTest("a connection that succeeds is not made again [CLI-025]", async (app) => {
  const client = await Client.connect(app, { ...RECONNECTING, timeout: 300 });
  let attempts = 0;
  client.socket.io.on("reconnect_attempt", () => attempts++);
  await sleep(400);
  assert.equal(attempts, 0);
  assert.equal(client.disconnected.size, 0);
});

socketioTest("a refusal by a middleware is not tried again by itself [CLI-068]", async (app) => {
  const client = Client.open(app, { nsp: "/auth", ...RECONNECTING });
  await client.refused.next();
  await sleep(250);
  assert.equal(client.refused.size, 0);
  assert.equal(client.socket.active, false);
});
