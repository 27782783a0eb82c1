// Middlewares of the engine: they see every request before it is verified.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest, socketioTest } from "../harness/suite.mjs";

// As a package for secure headers sets them.
const SECURE = {
  "Content-Security-Policy": "default-src 'self';base-uri 'self'",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
  "X-Content-Type-Options": "nosniff",
  "X-Download-Options": "noopen",
  "X-Frame-Options": "SAMEORIGIN",
  "X-XSS-Protection": "0",
};

for (const [name, middlewares, expected, [polling, websocket]] of [
  ["a header", [{ header: ["foo", "bar"] }], { foo: "bar" }, ["[EIO-167]", "[EIO-168]"]],
  ["several headers", Object.entries(SECURE).map((header) => ({ header })), SECURE, ["[EIO-172]", "[EIO-173]"]],
  ["a session cookie", [{ lateHeader: ["Set-Cookie", "session=1; Path=/; HttpOnly"] }], { "set-cookie": "session=1; Path=/; HttpOnly" }, ["[EIO-174]", "[EIO-175]"]],
  ["a header several times", [{ header: ["x-list", ["1", "2"]] }], { "x-list": "1, 2" }, ["", ""]],
  ["the header of the last one", [{ header: ["foo", "1"] }, { header: ["foo", "2"] }], { foo: "2" }, ["[EIO-169]", "[EIO-169]"]],
  ["a header after a while", [{ delay: 20 }, { header: ["foo", "bar"] }], { foo: "bar" }, ["", ""]],
]) {
  const SETTING = { hooks: { middlewares } };
  const joined = (text) => text?.replaceAll(", ", ",");
  const assertHeaders = ({ headers }) => {
    for (const [header, value] of Object.entries(expected)) assert.equal(joined(headers[header.toLowerCase()]), joined(value), header);
  };

  engineTest(`middlewares: ${name} on every answer over polling ${polling}`, SETTING, async (app) => {
    const session = await app.polling();
    await app.act({ send: "x" });
    assertHeaders(await app.fetch(app.query()));
    assertHeaders(await session.get());
    assertHeaders(await session.post("4x"));
    assertHeaders(await app.fetch("/engine.io/?transport=abc"));
  });

  engineTest(`middlewares: ${name} on the 101 ${websocket}`, SETTING, async (app) => {
    const direct = await app.websocket();
    assertHeaders(direct.http);
    direct.abort();
    const session = await app.polling();
    const upgrade = await app.probe(session.sid);
    assertHeaders(upgrade.http);
    upgrade.abort();
  });
}

const LOGGING = { hooks: { middlewares: [{ log: "first" }, { delay: 20 }, { log: "second" }, { log: "third" }] } };

engineTest("middlewares: they run one after the other, for every request [EIO-169]", LOGGING, async (app) => {
  const all = ["first", "second", "third"].map((middleware) => ({ middleware }));
  const session = await app.polling();
  assert.deepEqual(await app.events(3), all);
  await session.post("4x");
  assert.deepEqual((await app.events(7)).slice(3), [...all, { message: "x" }]);
  await app.fetch("/engine.io/?transport=abc");
  assert.deepEqual((await app.events(11)).slice(7, 10), all);
  const websocket = await app.probe(session.sid);
  assert.deepEqual((await app.events(14)).slice(11), all);
  websocket.abort();
});

const ENDING = { hooks: { middlewares: [{ log: "before" }, { end: 503 }, { log: "after" }] } };

engineTest("middlewares: one that answers a request itself ends it [EIO-170]", ENDING, async (app) => {
  const { status, body } = await app.fetch(app.query());
  assert.deepEqual([status, body], [503, ""]);
  assert.deepEqual(await app.events(1), [{ middleware: "before" }]);
  assert.deepEqual(await app.sessions(), []);
});

engineTest("middlewares: one that answers an upgrade itself ends the connection [EIO-171]", ENDING, async (app) => {
  const websocket = await app.probe("");
  assert.notEqual(websocket.http?.status, 101);
  assert.deepEqual(await websocket.next(), { tcp: "fin" });
  assert.deepEqual(await app.events(1), [{ middleware: "before" }]);
  assert.deepEqual(await app.sessions(), []);
});

for (const [name, failing, ids] of [
  ["fails", { fail: "unauthorized" }, "[EIO-176] [EIO-177]"],
  ["throws", { throw: "unauthorized" }, ""],
]) {
  const FAILING = { hooks: { middlewares: [failing, { log: "after" }] } };
  const assertRefused = async (app) => {
    const events = await app.events(1);
    assert.equal(events.length, 1);
    const { code, message, context } = events[0].connection_error;
    assert.deepEqual([code, message, context.name], [3, "Bad request", "MIDDLEWARE_FAILURE"]);
    assert.deepEqual(await app.sessions(), []);
  };

  engineTest(`middlewares: one that ${name} refuses the request ${ids}`, FAILING, async (app) => {
    const { status, headers, body } = await app.fetch("/engine.io/?transport=abc");
    assert.deepEqual([status, headers["content-type"]], [400, "application/json"]);
    assert.equal(body, '{"code":3,"message":"Bad request"}');
    await assertRefused(app);
  });

  engineTest(`middlewares: one that ${name} refuses the upgrade ${ids}`, FAILING, async (app) => {
    const websocket = await app.probe("");
    const { status, headers, body } = websocket.http;
    assert.deepEqual([status, headers["content-type"], body], [400, "text/html", "Bad request"]);
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    await assertRefused(app);
  });
}

for (const mode of ["polling only", "websocket only"]) {
  engineTest(`middlewares: one that fails closes the official client, ${mode} [EIO-177]`, { hooks: { middlewares: [{ fail: "no" }] } }, async (app) => {
    const client = new EngineClient(app, MODES[mode]);
    assert.equal((await client.closed.next()).reason, "transport error");
  });
}

const PASSING = { options: { maxHttpBufferSize: 5 }, hooks: { middlewares: [{ delay: 1 }] } };

engineTest("middlewares: the limit of a body holds, and a whole body arrives after a slow one [EIO-178]", PASSING, async (app) => {
  const session = await app.polling();
  assert.equal((await session.post("4" + "x".repeat(5))).status, 413);
  assert.equal((await session.post("4abcd")).body, "ok");
  assert.deepEqual(await app.messages(1), ["abcd"]);
});

engineTest("middlewares: they come after the headers of cors [EIO-169]", { ...ENDING, options: { cors: { origin: "*" } } }, async (app) => {
  const preflight = await app.fetch({ method: "OPTIONS", path: app.query(), headers: { Origin: "http://a.com" } });
  assert.equal(preflight.status, 204);
  assert.equal((await app.fetch(app.query())).headers["access-control-allow-origin"], "*");
  assert.deepEqual(await app.events(1), [{ middleware: "before" }]);
});

const SOCKETIO = { env: { HOOKS: JSON.stringify({ middlewares: [{ header: ["foo", "bar"] }] }) } };

socketioTest("middlewares: Socket.IO's engine has them [EIO-167]", SOCKETIO, async (app) => {
  assert.equal((await app.fetch(app.query())).headers.foo, "bar");
});
