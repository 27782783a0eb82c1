// Cross-origin headers: preflights, and what every other answer carries.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest, socketioTest } from "../harness/suite.mjs";

const A = "http://a.com";
const METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE";

// The headers of the topic, without their common prefix.
function corsOf({ headers }) {
  const ours = Object.entries(headers).filter(([name]) => name.startsWith("access-control-") || name === "vary");
  return Object.fromEntries(ours.map(([name, value]) => [name.replace("access-control-", ""), value]));
}

function preflight(app, { path = app.query(), origin = A, headers = {} } = {}) {
  const all = { Origin: origin, "Access-Control-Request-Method": "PUT", ...headers };
  return app.fetch({ method: "OPTIONS", path, headers: all });
}

// "A server MUST NOT send a Content-Length header field in any response with a status code of … 204" (RFC 9110, 8.6); Node does.
function assertEmpty({ headers, body }) {
  assert.equal(headers["content-length"] ?? "0", "0");
  assert.equal(headers["transfer-encoding"], undefined);
  assert.equal(body, "");
}

const get = (app, origin) => app.fetch({ path: app.query(), headers: origin ? { Origin: origin } : {} });

// --- whose requests are allowed: what a GET from A is answered, and whether that was only its own origin sent back

for (const [name, cors, { allowed, vary, reflected }] of [
  ["true", true, { allowed: "*" }],
  ["an empty object", {}, { allowed: "*" }],
  ["origin *", { origin: "*" }, { allowed: "*" }],
  ["origin true", { origin: true }, { allowed: A, vary: "Origin", reflected: true }],
  ["the client's origin", { origin: A }, { allowed: A, vary: "Origin" }],
  ["another origin", { origin: "http://b.com" }, { allowed: "http://b.com", vary: "Origin" }],
  ["a list with the origin", { origin: ["http://b.com", A] }, { allowed: A, vary: "Origin", reflected: true }],
  ["a list without the origin", { origin: ["http://b.com"] }, { vary: "Origin" }],
  ["an empty list", { origin: [] }, { vary: "Origin" }],
  ["a list with a pattern", { origin: ["x", { $regex: "^http://a" }] }, { allowed: A, vary: "Origin", reflected: true }],
  ["a pattern that matches", { origin: { $regex: "a\\.com$" } }, { allowed: A, vary: "Origin", reflected: true }],
  ["a pattern that does not match", { origin: { $regex: "b\\.com$" } }, { vary: "Origin" }],
]) {
  engineTest(`cors: ${name}: the origin that is allowed, and Vary [EIO-148] [EIO-285]`, { options: { cors } }, async (app) => {
    const headers = (origin, more) => ({ ...(origin && { "allow-origin": origin }), ...(vary && { vary }), ...more });
    assert.deepEqual(corsOf(await get(app, A)), headers(allowed));
    assert.deepEqual(corsOf(await get(app)), headers(reflected ? undefined : allowed));

    const answer = await preflight(app);
    assert.equal(answer.status, 204);
    assertEmpty(answer);
    const asked = "Access-Control-Request-Headers";
    const expected = { "allow-methods": METHODS, vary: vary ? `Origin, ${asked}` : asked };
    assert.deepEqual(corsOf(answer), headers(allowed, expected));
  });
}

engineTest("cors: origin false sets no headers and answers no preflight", { options: { cors: { origin: false } } }, async (app) => {
  assert.deepEqual(corsOf(await get(app, A)), {});
  const answer = await preflight(app);
  assert.equal(answer.body, '{"code":2,"message":"Bad handshake method"}');
  assert.deepEqual(corsOf(answer), {});
});

// --- what is answered to a preflight

// Without allowedHeaders, those that the client asks for are allowed.
const AS_ASKED = { "allow-headers": "x-q, x-r", vary: "Origin, Access-Control-Request-Headers" };
const forA = (more) => ({ "allow-origin": A, vary: "Origin", ...more });

for (const [name, cors, expected, status = 204] of [
  ["credentials", { credentials: true }, { "allow-credentials": "true", ...AS_ASKED }],
  ["methods as a list", { methods: ["GET", "PUT"] }, { "allow-methods": "GET,PUT", ...AS_ASKED }],
  ["methods as a text", { methods: "GET,PUT" }, { "allow-methods": "GET,PUT", ...AS_ASKED }],
  ["allowedHeaders as a list", { allowedHeaders: ["x-a", "x-b"] }, { "allow-headers": "x-a,x-b" }],
  ["allowedHeaders as a text", { allowedHeaders: "x-a" }, { "allow-headers": "x-a" }],
  ["headers, the older name of allowedHeaders", { headers: ["x-h"] }, { "allow-headers": "x-h" }],
  ["exposedHeaders", { allowedHeaders: "x-a", exposedHeaders: ["x-c", "x-d"] }, { "allow-headers": "x-a", "expose-headers": "x-c,x-d" }],
  ["maxAge", { allowedHeaders: "x-a", maxAge: 123 }, { "allow-headers": "x-a", "max-age": "123" }],
  ["maxAge 0", { allowedHeaders: "x-a", maxAge: 0 }, { "allow-headers": "x-a", "max-age": "0" }],
  ["optionsSuccessStatus", { allowedHeaders: "x-a", optionsSuccessStatus: 200 }, { "allow-headers": "x-a" }, 200],
]) {
  engineTest(`cors: ${name} in a preflight [EIO-149]`, { options: { cors: { origin: true, ...cors } } }, async (app) => {
    const answer = await preflight(app, { headers: { "Access-Control-Request-Headers": "x-q, x-r" } });
    assert.equal(answer.status, status);
    assert.equal(answer.body, "");
    assert.deepEqual(corsOf(answer), forA({ "allow-methods": METHODS, ...expected }));
  });
}

const CONTINUING = { options: { cors: { origin: true, preflightContinue: true } } };

engineTest("cors: preflightContinue leaves the preflight to the server, which refuses it with the headers", CONTINUING, async (app) => {
  const answer = await preflight(app);
  assert.equal(answer.status, 400);
  assert.equal(answer.body, '{"code":2,"message":"Bad handshake method"}');
  assert.deepEqual(corsOf(answer), forA({ "allow-methods": METHODS, vary: "Origin, Access-Control-Request-Headers" }));
});

// --- every answer

const FULL = {
  options: {
    cors: { origin: true, credentials: true, methods: ["GET"], headers: ["x-h"], exposedHeaders: ["x-c"], maxAge: 5 },
    maxHttpBufferSize: 10,
  },
};
const actual = forA({ "allow-credentials": "true", "expose-headers": "x-c" });
const preflighted = { ...actual, "allow-methods": "GET", "allow-headers": "x-h", "max-age": "5" };

engineTest("cors: a preflight is answered before anything is verified, also with a sid [EIO-146] [EIO-286]", FULL, async (app) => {
  const { sid } = await app.polling();
  const paths = [app.query(), app.query("&sid=unknown"), app.query(`&sid=${sid}`), "/engine.io/?transport=abc", "/engine.io/any/thing"];
  for (const path of paths) {
    const answer = await preflight(app, { path });
    assert.equal(answer.status, 204, path);
    assert.deepEqual(corsOf(answer), preflighted, path);
  }
  assert.deepEqual(await app.events(0), []);
});

engineTest("cors: handshake, poll, POST and 101 carry the headers, without those of a preflight [EIO-147] [EIO-150]", FULL, async (app) => {
  const headers = { Origin: A };
  assert.deepEqual(corsOf(await get(app, A)), actual);
  await app.forgetSessions();
  const session = await app.polling();
  await app.act({ send: "hello" });
  const poll = await session.get(headers);
  assert.equal(poll.body, "4hello");
  assert.deepEqual(corsOf(poll), actual);
  const post = await session.post("4hello", headers);
  assert.equal(post.body, "ok");
  assert.deepEqual(corsOf(post), actual);
  assert.deepEqual(await app.messages(1), ["hello"]);
  const websocket = await app.websocket("", { headers });
  assert.deepEqual(corsOf(websocket.http), actual);
  websocket.abort();
});

engineTest("cors: refusals carry the headers [EIO-147]", FULL, async (app) => {
  const session = await app.polling();
  for (const [status, request] of [
    [400, { path: "/engine.io/?transport=abc" }],
    [400, { path: app.query("&sid=unknown") }],
    [400, { path: "/engine.io/?EIO=3&transport=polling" }],
    [413, { method: "POST", path: session.path, body: "4" + "x".repeat(20) }],
    [500, { method: "PUT", path: session.path }],
  ]) {
    const answer = await app.fetch({ ...request, headers: { Origin: A } });
    assert.equal(answer.status, status);
    assert.deepEqual(corsOf(answer), actual, request.path);
  }
});

engineTest("cors: the official client exchanges messages [EIO-150]", FULL, async (app) => {
  const { socket, messages } = await EngineClient.open(app, { ...MODES["polling only"], extraHeaders: { origin: A } });
  await app.act({ send: "ping" });
  assert.equal(await messages.next(), "ping");
  socket.send("pong");
  assert.deepEqual(await app.messages(1), ["pong"]);
  socket.close();
});

// --- Socket.IO hands the options on

const SOCKETIO = { env: { OPTIONS: JSON.stringify({ cors: FULL.options.cors }) } };

socketioTest("cors: Socket.IO answers preflights on any path below its own [SIO-016]", SOCKETIO, async (app) => {
  for (const path of ["/socket.io/", "/socket.io/default/", "/socket.io/?EIO=4&transport=polling"]) {
    const answer = await preflight(app, { path });
    assert.equal(answer.status, 204, path);
    assert.deepEqual(corsOf(answer), preflighted, path);
  }
});

socketioTest("cors: Socket.IO's handshake carries the headers [SIO-017]", SOCKETIO, async (app) => {
  const answer = await get(app, A);
  assert.equal(answer.status, 200);
  assert.deepEqual(corsOf(answer), actual);
});
