// Namespaces with the official client: several on a connection, refusals, authentication, leaving and coming back.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: a client is welcomed with its id [SIO-053] [SIO-054] [SIO-058] [CLI-049]`, async (app) => {
    const client = await Client.connect(app, { mode });
    assert.equal(client.welcome.id, client.id);
    assert.equal(client.welcome.nsp, "/");
    assert.equal(client.welcome.recovered, false);
    assert.match(client.id, /^[A-Za-z0-9_-]{20}$/);
    assert.notEqual(client.id, client.socket.io.engine.id);
  });

  socketioTest(`${mode}: several namespaces share a connection, each with an id of its own [SIO-056] [CLI-011] [CLI-050]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const chat = main.join("/chat");
    await chat.welcomed();
    assert.equal(chat.welcome.nsp, "/chat");
    assert.equal(chat.welcome.id, chat.id);
    assert.notEqual(chat.id, main.id);
    assert.deepEqual(await Promise.all([main.ask("echo", "/"), chat.ask("echo", "/chat")]), [["/"], ["/chat"]]);
  });

  socketioTest(`${mode}: an unknown namespace is refused, and the others go on [SIO-063] [SIO-082]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const unknown = main.join("/unknown");
    const error = await unknown.refused.next();
    assert.equal(error.message, "Invalid namespace");
    assert.equal(error.data, undefined);
    assert.deepEqual(await main.ask("echo", 1), [1]);
  });

  socketioTest(`${mode}: a middleware refuses with message and data, and lets in [SIO-041] [SIO-042] [SIO-048] [CLI-067] [CLI-065]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const refused = main.join("/auth", { auth: { token: "wrong" } });
    const error = await refused.refused.next();
    assert.equal(error.message, "bad token");
    assert.deepEqual(error.data, { code: 4001 });
    refused.socket.auth = { token: "secret" };
    refused.socket.connect();
    await refused.welcomed();
    assert.equal(refused.welcome.nsp, "/auth");
    assert.deepEqual((await refused.call("handshake")).auth, { token: "secret" });
    assert.deepEqual(await main.ask("echo", 1), [1]);
  });

  socketioTest(`${mode}: leaving one namespace leaves the others and the connection [SIO-242] [CLI-028] [CLI-026]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const chat = main.join("/chat");
    await chat.welcomed();
    chat.close();
    assert.equal((await chat.disconnected.next()).reason, "io client disconnect");
    assert.deepEqual(await main.ask("echo", 1), [1]);
    main.close();
  });

  socketioTest(`${mode}: a namespace may be joined again after it was left [CLI-012] [CLI-045]`, async (app) => {
    const main = await Client.connect(app, { mode });
    const chat = main.join("/chat");
    await chat.welcomed();
    const before = chat.id;
    chat.close();
    // In one read with the DISCONNECT, Node takes the CONNECT for a second one and closes the connection.
    await main.ask("echo", "the DISCONNECT has been read");
    chat.socket.connect();
    await chat.welcomed();
    assert.notEqual(chat.id, before);
    assert.deepEqual(await chat.ask("echo", 1), [1]);
  });
}

socketioTest("events of two namespaces do not mix", async (app) => {
  const main = await Client.connect(app);
  const chat = main.join("/chat");
  await chat.welcomed();
  const [fromMain, fromChat] = [main.on("echo"), chat.on("echo")];
  for (let i = 0; i < 100; i++) (i % 2 === 0 ? main : chat).emit("echo", i);
  assert.deepEqual((await fromMain.take(50)).flat(), Array.from({ length: 50 }, (_, i) => 2 * i));
  assert.deepEqual((await fromChat.take(50)).flat(), Array.from({ length: 50 }, (_, i) => 2 * i + 1));
});

socketioTest("the token may come in the query of the connection [CLI-062] [CLI-063]", async (app) => {
  const client = await Client.connect(app, { nsp: "/auth", query: { token: "secret" } });
  assert.equal((await client.call("handshake")).query.token, "secret");
});

socketioTest("no token is refused as a wrong one is [SIO-041]", async (app) => {
  const client = Client.open(app, { nsp: "/auth" });
  const error = await client.refused.next();
  assert.equal(error.message, "bad token");
  assert.deepEqual(error.data, { code: 4001 });
});

socketioTest("authentication of one namespace is not seen by another [SIO-158]", async (app) => {
  const main = await Client.connect(app, { auth: { a: 1 } });
  const chat = main.join("/chat", { auth: (send) => send({ b: "ключ & = ? #" }) });
  await chat.welcomed();
  assert.deepEqual((await main.call("handshake")).auth, { a: 1 });
  assert.deepEqual((await chat.call("handshake")).auth, { b: "ключ & = ? #" });
});

socketioTest("the handshake says what the client sent [SIO-157] [EIO-152] [EIO-153] [EIO-035] [EIO-036] [EIO-136] [EIO-137] [CLI-060] [CLI-061] [CLI-064] [CLI-066]", async (app) => {
  for (const mode of ["polling only", "websocket only"]) {
    const query = { key: "&=bb c+d", other: "ключ" };
    const client = await Client.connect(app, { mode, query, extraHeaders: { "X-Custom": "Value" } });
    const handshake = await client.call("handshake");
    assert.equal(handshake.query.key, query.key);
    assert.equal(handshake.query.other, query.other);
    assert.equal(handshake.query.EIO, "4");
    assert.equal(handshake.query.transport, mode === "polling only" ? "polling" : "websocket");
    assert.equal(handshake.headers["x-custom"], "Value");
    assert.ok(handshake.url.startsWith("/socket.io/?"), handshake.url);
    assert.ok(handshake.url.includes("key=%26%3Dbb%20c%2Bd"), handshake.url);
    assert.deepEqual(handshake.auth, {});
    assert.equal(handshake.secure, false);
    assert.equal(handshake.xdomain, false);
    assert.match(handshake.address, /127\.0\.0\.1$/);
    assert.ok(Math.abs(handshake.issued - Date.now()) < 60_000, `issued ${handshake.issued}`);
    assert.ok(Math.abs(Date.parse(handshake.time) - Date.now()) < 60_000, `time ${handshake.time}`);
    client.close();
  }
});

socketioTest("a request from another origin is marked so", async (app) => {
  const client = await Client.connect(app, { extraHeaders: { Origin: "http://example.com" } });
  const handshake = await client.call("handshake");
  assert.equal(handshake.xdomain, true);
  assert.equal(handshake.headers.origin, "http://example.com");
});

socketioTest("the handshake stays that of the first request after an upgrade [EIO-129]", async (app) => {
  const client = await Client.connect(app, { mode: "upgrade" });
  assert.equal(await client.call("transport"), "websocket");
  assert.equal((await client.call("handshake")).query.transport, "polling");
});

socketioTest("data of a socket is merged", async (app) => {
  const client = await Client.connect(app);
  assert.equal(await client.call("setdata", { a: 1 }), true);
  assert.equal(await client.call("setdata", { b: { c: 2 } }), true);
});

socketioTest("two sockets of the same namespace need two connections [SIO-064]", async (app) => {
  const [first, second] = await Promise.all([Client.connect(app), Client.connect(app)]);
  assert.notEqual(first.id, second.id);
  assert.notEqual(first.socket.io.engine.id, second.socket.io.engine.id);
});

const DYNAMIC = { requires: ["dynamic-namespaces"] };
socketioTest("a dynamic namespace comes to be when it is asked for [SIO-079] [SIO-081]", DYNAMIC, async (app) => {
  const client = await Client.connect(app, { nsp: "/dyn-101" });
  assert.equal(client.welcome.nsp, "/dyn-101");
  assert.deepEqual(await client.ask("echo", 1), [1]);
  const refused = client.join("/dyn-x");
  assert.equal((await refused.refused.next()).message, "Invalid namespace");
});

socketioTest("GET /health is answered with ok", async (app) => {
  const response = await app.fetch("/health");
  assert.equal(response.status, 200);
  assert.equal(response.body, "ok");
});

socketioTest("a path that is not served is not found [SIO-111] [SIO-214]", async (app) => {
  assert.equal((await app.fetch("/elsewhere")).status, 404);
});

socketioTest("an unknown file below the path is refused by the engine [SIO-110]", async (app) => {
  assert.equal((await app.fetch("/socket.io/nothing.js")).status, 400);
});

socketioTest("two namespaces of a client are joined and left by one packet each [CLI-046] [CLI-047]", async (app) => {
  const main = Client.open(app);
  const sent = [];
  main.socket.io.engine.on("packetCreate", ({ type, data }) => type === "message" && sent.push(data));
  const chat = main.join("/chat");
  await main.welcomed();
  await chat.welcomed();
  main.close();
  chat.close();
  assert.deepEqual(sent, ["0", "0/chat,", "1", "1/chat,"]);
});
