// How the official client gets its connections: shared or not, at which path, over which transport, with what in the request.

import assert from "node:assert/strict";
import { Manager } from "socket.io-client";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { within } from "../harness/wait.mjs";

const engineId = (client) => client.socket.io.engine.id;

// As an application would: nothing said of sharing.
const openShared = (app, nsp = "/", options = {}) => Client.open(app, { nsp, forceNew: false, ...options });

// The client remembers connections by address: one that no other test has used.
socketioTest("namespaces of one server share a connection by themselves [SIO-056]", { ownServer: true }, async (app) => {
  const clients = [openShared(app), openShared(app, "/chat"), openShared(app, "/auth", { auth: { token: "secret" } })];
  for (const client of clients) await client.welcomed();
  assert.equal(new Set(clients.map(engineId)).size, 1);
  assert.equal(new Set(clients.map(({ id }) => id)).size, 3);
  clients[0].close();
  assert.deepEqual(await clients[1].ask("echo", 1), [1]);
  assert.deepEqual(await clients[2].ask("echo", 2), [2]);
});

socketioTest("the same namespace again, forceNew and multiplex: false each make another connection [SIO-064]", async (app) => {
  const clients = [
    openShared(app),
    openShared(app),
    openShared(app, "/chat", { forceNew: true }),
    openShared(app, "/chat", { multiplex: false }),
  ];
  for (const client of clients) await client.welcomed();
  assert.equal(new Set(clients.map(engineId)).size, 4);
  for (const [i, client] of clients.entries()) assert.deepEqual(await client.ask("echo", i), [i]);
});

socketioTest("with its last namespace the connection ends, and connect() makes another", async (app) => {
  const main = await Client.connect(app);
  const chat = main.join("/chat");
  await chat.welcomed();
  const before = engineId(main);
  main.close();
  assert.deepEqual(await chat.ask("echo", 1), [1]);
  assert.equal(engineId(chat), before);
  chat.close();
  main.socket.connect();
  await main.welcomed();
  assert.notEqual(engineId(main), before);
  assert.equal(chat.socket.connected, false);
});

socketioTest("a manager made by hand connects when its sockets are told to", async (app) => {
  const manager = new Manager(app.url, { path: app.path, autoConnect: false, transports: ["websocket"] });
  const [main, chat] = ["/", "/chat"].map((nsp) => new Client(manager.socket(nsp)));
  assert.equal(manager.socket("/"), main.socket);
  assert.deepEqual([main.socket.connected, main.socket.active], [false, false]);
  for (const client of [main, chat]) client.socket.connect();
  for (const client of [main, chat]) await client.welcomed();
  assert.equal(await chat.call("transport"), "websocket");
  assert.equal(engineId(main), engineId(chat));
  const ended = within(new Promise((resolve) => manager.once("close", resolve)), "the connection ends with its last namespace");
  for (const client of [main, chat]) client.close();
  assert.equal(await ended, "forced close");
});

socketioTest("the first transport of the list is the first that is used", async (app) => {
  const websocketFirst = await Client.connect(app, { transports: ["websocket", "polling"] });
  assert.equal(await websocketFirst.call("transport"), "websocket");
  assert.equal((await websocketFirst.call("handshake")).query.transport, "websocket");
  const pollingFirst = await Client.connect(app, { mode: "upgrade" });
  assert.equal((await pollingFirst.call("handshake")).query.transport, "polling");
  assert.equal(await pollingFirst.call("transport"), "websocket");
  const staying = await Client.connect(app, { transports: ["polling", "websocket"], upgrade: false });
  assert.equal(await staying.call("transport"), "polling");
});

socketioTest("the engine below tells of the upgrade, and of every packet", async (app) => {
  const client = Client.open(app, { mode: "upgrade" });
  const packets = [];
  const { engine } = client.socket.io;
  const upgraded = within(new Promise((resolve) => engine.once("upgrade", resolve)), "the upgrade");
  engine.on("packet", ({ type }) => packets.push(type));
  await client.welcomed();
  assert.equal((await upgraded).name, "websocket");
  assert.equal(packets[0], "open");
  assert.deepEqual(await client.ask("echo", 1), [1]);
  assert.equal(packets.at(-1), "message");
});

socketioTest("rememberUpgrade makes the next connection begin with a websocket [CLI-145] [CLI-146]", async (app) => {
  const options = { mode: "upgrade", rememberUpgrade: true };
  const first = await Client.connect(app, options);
  await first.transport("websocket");
  first.close();
  assert.equal((await (await Client.connect(app, options)).call("handshake")).query.transport, "websocket");
  assert.equal((await (await Client.connect(app, { mode: "upgrade" })).call("handshake")).query.transport, "polling");
});

for (const [transport, first] of [["polling", "websocket"], ["websocket", "polling"]]) {
  const ONLY = { env: { OPTIONS: JSON.stringify({ transports: [transport] }) } };
  const ids = first === "websocket" ? "[CLI-133]" : "[CLI-134] [CLI-135]";

  socketioTest(`a server with ${transport} alone: tryAllTransports goes on from a refused ${first}, without it it is an error ${ids}`, ONLY, async (app) => {
    const client = await Client.connect(app, { transports: [first, transport], tryAllTransports: true });
    assert.equal(await client.call("transport"), transport);
    const stubborn = Client.open(app, { transports: [first, transport] });
    const error = await stubborn.refused.next();
    assert.equal(error.message, first === "websocket" ? "websocket error" : "xhr poll error");
    assert.equal(stubborn.socket.connected, false);
  });
}

for (const mode of Object.keys(MODES)) {
  const CUSTOM = { env: { OPTIONS: JSON.stringify({ path: "/a/b" }) } };
  socketioTest(`path: ${mode}: client and server agree on another path`, CUSTOM, async (app) => {
    const client = await Client.connect(app, { mode, path: "/a/b" });
    assert.ok((await client.call("handshake")).url.startsWith("/a/b/?"));
    if (mode === "websocket only") return; // a refused upgrade is cut after a second only
    assert.match((await Client.open(app, { mode }).refused.next()).message, /error/);
  });

  const WITHOUT_SLASH = { env: { OPTIONS: JSON.stringify({ addTrailingSlash: false }) } };
  socketioTest(`path: ${mode}: addTrailingSlash: false on both sides [EIO-042]`, WITHOUT_SLASH, async (app) => {
    const client = await Client.connect(app, { mode, addTrailingSlash: false });
    assert.ok((await client.call("handshake")).url.startsWith("/socket.io?"));
    assert.deepEqual(await client.ask("echo", Buffer.from([1])), [Buffer.from([1])]);
  });

  socketioTest(`${mode}: query and extra headers are those of every namespace of a connection, auth is each one's own`, async (app) => {
    const query = { room: "a&b", n: 1 };
    const main = await Client.connect(app, { mode, query, extraHeaders: { "X-Request-Id": "7" }, auth: { of: "main" } });
    const chat = main.join("/chat", { auth: { of: "chat" } });
    await chat.welcomed();
    for (const [client, of] of [[main, "main"], [chat, "chat"]]) {
      const handshake = await client.call("handshake");
      assert.deepEqual([handshake.query.room, handshake.query.n], ["a&b", "1"]);
      assert.equal(handshake.headers["x-request-id"], "7");
      assert.deepEqual(handshake.auth, { of });
    }
  });
}

socketioTest("headers of one transport are sent with it alone", async (app) => {
  const transportOptions = { polling: { extraHeaders: { "X-Over": "polling" } }, websocket: { extraHeaders: { "X-Over": "websocket" } } };
  for (const mode of ["polling only", "websocket only"]) {
    const client = await Client.connect(app, { mode, transportOptions });
    assert.equal((await client.call("handshake")).headers["x-over"], mode.split(" ")[0]);
  }
});

socketioTest("timestamps are a parameter of the request, under the name that the client chooses", async (app) => {
  const websocket = await Client.connect(app, { timestampRequests: true, timestampParam: "stamp" });
  assert.match((await websocket.call("handshake")).query.stamp, /^.+$/);
  const plain = await Client.connect(app);
  assert.equal((await plain.call("handshake")).query.t, undefined);
  const polling = await Client.connect(app, { mode: "polling only" });
  assert.match((await polling.call("handshake")).query.t, /^.+$/);
});

socketioTest("subprotocols of a websocket are accepted [CLI-118]", async (app) => {
  const client = await Client.connect(app, { protocols: ["chat", "other"] });
  assert.deepEqual(await client.ask("echo", 1), [1]);
});

for (const mode of ["polling only", "websocket only"]) {
  socketioTest(`${mode}: forceBase64: binary both ways as text [CLI-198] [CLI-202]`, async (app) => {
    const client = await Client.connect(app, { mode, forceBase64: true });
    const bytes = Buffer.from([0, 1, 254, 255]);
    assert.deepEqual(await client.ask("echo", bytes, { deep: [bytes] }), [bytes, { deep: [bytes] }]);
    assert.deepEqual(await client.call("blob", 1000), Buffer.alloc(1000, 7));
  });
}
