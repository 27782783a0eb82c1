// The official engine.io-client against the server: polling only, WebSocket only, and across the upgrade.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";
import { sleep, until, within } from "../harness/wait.mjs";

const toPlain = (data) => (typeof data === "string" ? data : { $hex: Buffer.from(data).toString("hex") });

for (const [mode, options] of Object.entries(MODES)) {
  const client = async (app) => (await EngineClient.open(app, options)).inMode(mode);
  const ids = { "polling only": "[CLI-117]", "websocket only": "[CLI-118]", upgrade: "[CLI-201]" }[mode];

  engineTest(`${mode}: text and binary both ways [EIO-095] [EIO-096] [EIO-103] ${ids}`, async (app) => {
    const { socket, messages } = await client(app);
    const values = ["hello", "", "çé 测试 😀", Buffer.from([0, 1, 254, 255]), Buffer.alloc(0), "x".repeat(70_000)];
    for (const value of values) socket.send(value);
    const received = await app.messages(values.length);
    assert.deepEqual(received, values.map((value) => (value === "" ? null : toPlain(value))));
    await app.act(...values.map((value) => ({ send: toPlain(value) })));
    for (const value of values) assert.deepEqual(toPlain((await messages.next()) ?? ""), toPlain(value));
    socket.close();
  });

  engineTest(`${mode}: 300 messages both ways at once keep their order [EIO-111] [EIO-112] [EIO-113] [EIO-114]`, async (app) => {
    const { socket, messages } = await client(app);
    const numbers = Array.from({ length: 300 }, (_, i) => String(i));
    for (const n of numbers) socket.send(n);
    await app.act(...numbers.map((n) => ({ send: n })));
    assert.deepEqual(await messages.take(300), numbers);
    assert.deepEqual(await app.messages(300), numbers);
    socket.close();
  });

  engineTest(`${mode}: the client's close is a transport close [EIO-052] [EIO-053]`, async (app) => {
    const { socket, closed } = await client(app);
    socket.close();
    assert.equal((await closed.next()).reason, "forced close");
    assert.equal(await app.closeReason(), "transport close");
  });

  engineTest(`${mode}: the server's close reaches the client after what was sent before [EIO-049] [EIO-050] [EIO-080] [EIO-091]`, async (app) => {
    const { messages, closed } = await client(app);
    await app.act({ send: "a" }, { send: "b" }, { send: "c" }, { close: true });
    assert.deepEqual(await messages.take(3), ["a", "b", "c"]);
    assert.equal((await closed.next()).reason, "transport close");
    assert.equal(await app.closeReason(), "forced close");
  });

  // The client's own parsing delays its pong on a busy machine; one poll answer holds all 6.5 MB.
  const pingTimeout = mode === "polling only" ? 2000 : 600;
  const BEATING = { options: { pingInterval: 200, pingTimeout } };
  engineTest(`${mode}: 100 messages of 64 kB with a fast heartbeat all arrive without a timeout [EIO-102]`, BEATING, async (app) => {
    const { socket, messages, closed } = await client(app);
    await app.act(...Array.from({ length: 100 }, (_, i) => ({ send: String(i).padStart(4, "0") + "a".repeat(65_532) })));
    for (let i = 0; i < 100; i++) {
      const message = await messages.next();
      assert.equal(message.length, 65_536);
      assert.equal(Number(message.slice(0, 4)), i);
    }
    await sleep(400);
    assert.equal(closed.size, 0);
    socket.close();
  });

  const STAYING = { options: { pingInterval: 80, pingTimeout: 500 } };
  engineTest(`${mode}: an idle client stays connected over many heartbeats [EIO-060] [EIO-076]`, STAYING, async (app) => {
    const { socket, messages, closed } = await client(app);
    await sleep(700);
    assert.equal(closed.size, 0);
    await app.act({ send: "still here" });
    assert.equal(await messages.next(), "still here");
    socket.close();
  });
}

const SMALL = { options: { maxHttpBufferSize: 100 } };

engineTest("a polling client that sends too much closes itself because of the 413 [EIO-086] [CLI-123] [CLI-140]", SMALL, async (app) => {
  const { socket, closed } = await EngineClient.open(app, MODES["polling only"]);
  socket.send("a".repeat(101));
  const { reason, details } = await closed.next();
  assert.equal(reason, "transport error");
  assert.equal(details.description, 413);
  assert.deepEqual((await app.events(0)).filter((event) => "message" in event), []);
});

engineTest("a websocket client that sends too much is closed with 1009 [EIO-087] [CLI-141]", SMALL, async (app) => {
  const { socket, closed } = await EngineClient.open(app, MODES["websocket only"]);
  socket.send("a".repeat(101));
  const { reason, details } = await closed.next();
  assert.equal(reason, "transport close");
  assert.equal(details.context.code, 1009);
  assert.equal(details.context.reason, "");
  assert.equal(await app.closeReason(), "transport error");
});

engineTest("a polling client splits what it sends by the announced limit [CLI-122] [CLI-174] [CLI-199]", SMALL, async (app) => {
  const { socket } = await EngineClient.open(app, MODES["polling only"]);
  const values = ["a".repeat(50), "b".repeat(60), "€".repeat(20), Buffer.alloc(30, 7), Buffer.alloc(30, 8), "z"];
  for (const value of values) socket.send(value);
  assert.deepEqual(await app.messages(6), values.map(toPlain));
  socket.close();
});

engineTest("a client that forces base64 is understood [CLI-198] [CLI-202]", async (app) => {
  for (const mode of ["polling only", "websocket only"]) {
    const { socket, messages } = await EngineClient.open(app, { ...MODES[mode], forceBase64: true });
    socket.send(Buffer.from([1, 2, 3]));
    await app.act({ send: { $hex: "0405" } });
    assert.deepEqual(toPlain(await messages.next()), { $hex: "0405" });
    socket.close();
    await app.closeReason();
    assert.deepEqual((await app.messages(1)).at(-1), { $hex: "010203" });
    await app.forgetSessions();
  }
});

engineTest("typed arrays and array buffers arrive as their bytes [EIO-092] [EIO-093] [EIO-094] [CLI-196] [CLI-197] [CLI-200]", async (app) => {
  for (const mode of ["polling only", "websocket only"]) {
    const { socket } = await EngineClient.open(app, MODES[mode]);
    const numbers = Int32Array.from([1, -2, 3]);
    for (const value of [Int8Array.from([1, -1]), numbers, numbers.buffer, numbers.subarray(1, 2)]) socket.send(value);
    assert.deepEqual(await app.messages(4), [
      { $hex: "01ff" },
      { $hex: "01000000feffffff03000000" },
      { $hex: "01000000feffffff03000000" },
      { $hex: "feffffff" },
    ]);
    socket.close();
    await app.forgetSessions();
  }
});

engineTest("full duplex across the upgrade: 200 messages each way, each once and in order [EIO-129] [EIO-118] [EIO-116]", async (app) => {
  const client = await EngineClient.open(app, MODES.upgrade);
  const numbers = Array.from({ length: 200 }, (_, i) => String(i));
  const upstream = (async () => {
    for (const n of numbers) {
      client.send(n);
      if (n % 4 === 0) await sleep(1);
    }
  })();
  for (let i = 0; i < 200; i += 5) await app.act(...numbers.slice(i, i + 5).map((n) => ({ send: n })));
  await within(upstream, "all is sent");
  assert.deepEqual(await client.messages.take(200), numbers);
  assert.deepEqual(await app.messages(200), numbers);
  await within(client.upgraded, "the upgrade");
  assert.equal(client.socket.transport.name, "websocket");
  await sleep(20);
  assert.equal(client.messages.size, 0);
  assert.equal((await app.messages(200)).length, 200);
  client.close();
  assert.equal(await app.closeReason(), "transport close");
});

engineTest("a hundred upgrades under traffic lose and repeat nothing [EIO-118] [EIO-144]", async (app) => {
  for (let round = 0; round < 20; round++) {
    const clients = await Promise.all(Array.from({ length: 5 }, () => EngineClient.open(app, MODES.upgrade)));
    for (const [index, client] of clients.entries()) {
      client.traffic = (async () => {
        for (let i = 0; i < 40; i++) {
          client.send(`${round}.${index}.${i}`);
          if (i % 10 === round % 10) await sleep(round % 4);
        }
      })();
    }
    await Promise.all(clients.map(({ traffic }) => traffic));
    const received = await app.messages(200);
    for (const [index] of clients.entries()) {
      const own = received.filter((message) => message.startsWith(`${round}.${index}.`));
      assert.deepEqual(own, Array.from({ length: 40 }, (_, i) => `${round}.${index}.${i}`));
    }
    await Promise.all(clients.map((client) => client.inMode("upgrade")));
    for (const client of clients) client.close();
    await app.forgetSessions();
  }
});

engineTest("a client that closes while it upgrades leaves no session behind [EIO-055] [CLI-125] [CLI-128]", async (app) => {
  for (let i = 0; i < 10; i++) {
    const client = await EngineClient.open(app, MODES.upgrade);
    client.send("last words");
    client.close();
    await client.closed.next();
  }
  assert.deepEqual(await app.messages(10), Array(10).fill("last words"));
  await until(async () => (await app.sessions()).length === 0, "no session is left");
});

engineTest("a polling client that is told of an unknown session gives up [CLI-142]", async (app) => {
  const { socket, closed } = await EngineClient.open(app, MODES["polling only"]);
  const path = app.query(`&sid=${socket.id}`);
  await app.fetch({ method: "POST", path, body: "1" });
  socket.send("too late");
  assert.equal((await closed.next()).reason, "transport error");
});

const SILENT = { options: { pingInterval: 100, pingTimeout: 80 } };
engineTest("a client whose pongs are lost is closed by the server's ping timeout [EIO-045] [EIO-048] [EIO-061]", SILENT, async (app) => {
  const { socket, closed } = await EngineClient.open(app, MODES["websocket only"]);
  socket.sendPacket = () => {};
  socket._sendPacket = () => {};
  assert.equal((await closed.next()).reason, "transport close");
  assert.equal(await app.closeReason(), "ping timeout");
});

engineTest("rememberUpgrade makes the next client begin with a websocket [CLI-145] [CLI-146]", async (app) => {
  const options = { ...MODES.upgrade, rememberUpgrade: true };
  const first = await EngineClient.open(app, options);
  if (first.socket.transport.name === "polling") await first.inMode("upgrade");
  first.close();
  const second = await EngineClient.open(app, options);
  assert.equal(second.socket.transport.name, "websocket");
  second.close();
  const third = await EngineClient.open(app, MODES.upgrade);
  assert.equal(third.socket.transport.name, "polling");
  third.close();
});

engineTest("tryAllTransports falls back from a denied websocket to polling [CLI-133]", { options: { transports: ["polling"] } }, async (app) => {
  const client = await EngineClient.open(app, { transports: ["websocket", "polling"], tryAllTransports: true });
  assert.equal(client.socket.transport.name, "polling");
  client.close();
});

engineTest("tryAllTransports falls back from a denied polling to websocket [CLI-134] [CLI-135]", { options: { transports: ["websocket"] } }, async (app) => {
  const refused = new EngineClient(app, MODES["polling only"]);
  await refused.closed.next();
  const client = await EngineClient.open(app, { transports: ["polling", "websocket"], tryAllTransports: true });
  assert.equal(client.socket.transport.name, "websocket");
  client.close();
});
