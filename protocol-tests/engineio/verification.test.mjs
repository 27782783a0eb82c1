// What is refused, in which order it is checked, and what the refusal looks like over HTTP and over an upgrade.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { settle } from "../harness/wait.mjs";

const ERRORS = {
  0: "Transport unknown",
  1: "Session ID unknown",
  2: "Bad handshake method",
  3: "Bad request",
  5: "Unsupported protocol version",
};

function assertRefused(response, code) {
  assert.equal(response.status, 400);
  assert.equal(response.headers["content-type"], "application/json");
  assert.equal(response.headers["cache-control"], undefined);
  assert.equal(response.body, JSON.stringify({ code, message: ERRORS[code] }));
}

async function assertError(app, code, context) {
  const [error] = await app.errors(1);
  assert.deepEqual(error, { code, message: ERRORS[code], context });
}

for (const [transport, ids] of [
  ["abc", " [EIO-001] [EIO-200]"],
  ["constructor", " [EIO-002]"],
  ["__proto__", " [EIO-009]"],
  ["Polling", ""],
  ["webtransport", ""],
]) {
  engineTest(`GET with transport=${transport} is refused with code 0${ids}`, async (app) => {
    assertRefused(await app.fetch(`${app.path}?EIO=4&transport=${transport}`), 0);
    await assertError(app, 0, { transport });
  });
}

engineTest("a transport like constructor is refused with an Origin header as well [EIO-002]", async (app) => {
  const headers = { Origin: "http://example.com" };
  assertRefused(await app.fetch({ path: app.query("", { transport: "constructor" }), headers }), 0);
});

engineTest("GET without a transport is refused with code 0 [EIO-161] [EIO-200]", async (app) => {
  assertRefused(await app.fetch(`${app.path}?EIO=4`), 0);
  assertRefused(await app.fetch(app.path), 0);
});

engineTest("GET with an unknown sid is refused with code 1 [EIO-003] [CLI-142]", async (app) => {
  assertRefused(await app.fetch(app.query("&sid=nope")), 1);
  await assertError(app, 1, { sid: "nope" });
});

engineTest("a sid that is a property of every object is unknown", async (app) => {
  for (const sid of ["__proto__", "constructor", "toString"]) assertRefused(await app.fetch(app.query(`&sid=${sid}`)), 1);
});

engineTest("POST with an unknown sid is refused with code 1", async (app) => {
  assertRefused(await app.fetch({ method: "POST", path: app.query("&sid=nope"), body: "4x" }), 1);
});

for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
  const ids = { POST: " [EIO-201]", PUT: " [EIO-201]", OPTIONS: " [EIO-039]" }[method] ?? "";
  engineTest(`a handshake by ${method} is refused with code 2${ids}`, async (app) => {
    assertRefused(await app.fetch({ method, path: app.query() }), 2);
    await assertError(app, 2, { method });
  });
}

engineTest("a handshake by HEAD is refused without a body", async (app) => {
  const response = await app.fetch({ method: "HEAD", path: app.query() });
  assert.equal(response.status, 400);
  await assertError(app, 2, { method: "HEAD" });
});

engineTest("GET transport=websocket without an upgrade is refused with code 3 [EIO-037]", async (app) => {
  assertRefused(await app.fetch(app.query("", { transport: "websocket" })), 3);
  await assertError(app, 3, { name: "TRANSPORT_HANDSHAKE_ERROR" });
});

for (const [name, query] of Object.entries({
  "EIO=3": "?EIO=3&transport=polling",
  "no EIO": "?transport=polling",
  "EIO=abc": "?EIO=abc&transport=polling",
  "EIO=04": "?EIO=04&transport=polling",
  "EIO=5": "?EIO=5&transport=polling",
})) {
  engineTest(`a polling handshake with ${name} is refused with code 5 [EIO-040] [EIO-199]`, async (app) => {
    assertRefused(await app.fetch(app.path + query), 5);
    await assertError(app, 5, { protocol: 3 });
  });
}

engineTest("the transport is checked before the sid, the method and the version", async (app) => {
  assertRefused(await app.fetch({ method: "POST", path: `${app.path}?EIO=3&transport=abc&sid=nope` }), 0);
});

engineTest("the sid is checked before the method and the version", async (app) => {
  assertRefused(await app.fetch({ method: "PUT", path: app.query("&sid=nope", { eio: 3 }) }), 1);
});

engineTest("the method is checked before the upgrade and the version", async (app) => {
  assertRefused(await app.fetch({ method: "POST", path: app.query("", { transport: "websocket", eio: 3 }) }), 2);
  assertRefused(await app.fetch({ method: "POST", path: app.query("", { eio: 3 }) }), 2);
});

engineTest("the missing upgrade is noticed before the version", async (app) => {
  assertRefused(await app.fetch(app.query("", { transport: "websocket", eio: 3 })), 3);
});

engineTest("a polling session asked for as websocket is a mismatch, and lives on [EIO-034]", async (app) => {
  const session = await app.polling();
  assertRefused(await app.fetch(app.query(`&sid=${session.sid}`, { transport: "websocket" })), 3);
  await assertError(app, 3, { name: "TRANSPORT_MISMATCH", transport: "websocket", previousTransport: "polling" });
  assert.equal((await session.post("4still here")).status, 200);
  assert.deepEqual(await app.messages(1), ["still here"]);
});

engineTest("a websocket session asked for as polling is a mismatch, and lives on", async (app) => {
  const websocket = await app.websocket();
  assertRefused(await app.fetch(app.query(`&sid=${websocket.sid}`)), 3);
  await assertError(app, 3, { name: "TRANSPORT_MISMATCH", transport: "polling", previousTransport: "websocket" });
  websocket.send({ text: "4still here" });
  assert.deepEqual(await app.messages(1), ["still here"]);
  websocket.abort();
});

engineTest("a session asked for with another protocol is a mismatch, and lives on [EIO-250]", async (app) => {
  const session = await app.polling();
  assertRefused(await app.fetch(app.query(`&sid=${session.sid}`, { eio: 3 })), 3);
  await assertError(app, 3, { name: "PROTOCOL_MISMATCH", protocol: 3, previousProtocol: 4 });
  assert.equal((await session.post("4x")).status, 200);
});

engineTest("an upgrade with another protocol is a mismatch [EIO-250]", async (app) => {
  const session = await app.polling();
  const { http } = await app.rawWebSocket(app.query(`&sid=${session.sid}`, { transport: "websocket", eio: 3 }));
  assert.equal(http.status, 400);
  assert.equal(http.body, "Bad request");
  await assertError(app, 3, { name: "PROTOCOL_MISMATCH", protocol: 3, previousProtocol: 4 });
});

engineTest("the transport mismatch is noticed before the protocol mismatch", async (app) => {
  const session = await app.polling();
  await app.fetch(app.query(`&sid=${session.sid}`, { transport: "websocket", eio: 3 }));
  assert.equal((await app.errors(1))[0].context.name, "TRANSPORT_MISMATCH");
});

for (const method of ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]) {
  engineTest(`${method} on a session answers 500 without a body and leaves it alone [EIO-249]`, async (app) => {
    const session = await app.polling();
    const response = await app.fetch({ method, path: session.path });
    assert.equal(response.status, 500);
    assert.equal(response.body, "");
    assert.equal((await session.post("4still here")).status, 200);
    assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  });
}

engineTest("an Origin header with a tab is taken, one with a control character is refused [EIO-038]", async (app) => {
  assert.equal((await app.fetch({ path: app.query(), headers: { Origin: "http://tab\tin.example" } })).status, 200);
  for (const character of ["\x01", "\x7f"]) {
    const response = await app.fetch({ path: app.query(), headers: { Origin: `http://a${character}b` } });
    assert.equal(response.status, 400);
  }
});

// --- upgrade requests

function assertUpgradeRefused({ http }, text) {
  assert.equal(http.statusLine, "HTTP/1.1 400 Bad Request");
  assert.equal(http.headers.connection, "close");
  assert.equal(http.headers["content-type"], "text/html");
  assert.equal(http.headers["content-length"], String(text.length));
  assert.equal(http.body, text);
}

for (const [transport, id] of [["abc", " [EIO-204]"], ["__proto__", " [EIO-010]"], ["constructor", ""]]) {
  engineTest(`an upgrade with transport=${transport} is refused with a text${id}`, async (app) => {
    const websocket = await app.rawWebSocket(app.query("", { transport }));
    assertUpgradeRefused(websocket, "Transport unknown");
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    await assertError(app, 0, { transport });
  });
}

engineTest("an upgrade without a query is refused and ended [EIO-056] [EIO-204]", async (app) => {
  const websocket = await app.rawWebSocket(app.path);
  assertUpgradeRefused(websocket, "Transport unknown");
  assert.deepEqual(await websocket.next(), { tcp: "fin" });
});

engineTest("an upgrade with an unknown sid is refused with a text [CLI-143]", async (app) => {
  const websocket = await app.rawWebSocket(app.query("&sid=nope", { transport: "websocket" }));
  assertUpgradeRefused(websocket, "Session ID unknown");
  await assertError(app, 1, { sid: "nope" });
});

for (const [name, query] of [["EIO=3", "?EIO=3&transport=websocket"], ["no EIO", "?transport=websocket"]]) {
  engineTest(`an upgrade with ${name} is accepted first and then refused in plain HTTP [EIO-203] [EIO-251]`, async (app) => {
    const websocket = await app.rawWebSocket(app.path + query);
    assert.equal(websocket.http.status, 101);
    const text = "Unsupported protocol version";
    const raw =
      `HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: ${text.length}\r\n\r\n` + text;
    assert.deepEqual(await websocket.next(), { raw });
    assert.deepEqual(await websocket.next(), { tcp: "fin" });
    await assertError(app, 5, { protocol: 3 });
  });
}

engineTest("an upgrade with transport=polling is accepted and closed at once [EIO-252]", async (app) => {
  const websocket = await app.rawWebSocket(app.query());
  assert.equal(websocket.http.status, 101);
  assert.deepEqual(await websocket.next(), { close: null });
  await settle();
  assert.deepEqual(await app.events(0), []);
  assert.deepEqual(await app.sessions(), []);
  websocket.abort();
});

for (const [name, headers] of Object.entries({
  "a key that is no 16 bytes": { "Sec-WebSocket-Key": "short" },
  "no key": { "Sec-WebSocket-Key": undefined },
  "version 12": { "Sec-WebSocket-Version": "12" },
  "a malformed subprotocol list": { "Sec-WebSocket-Protocol": "a,,b" },
})) {
  engineTest(`an upgrade with ${name} is answered with 400 and opens no session`, async (app) => {
    const websocket = await app.rawWebSocket(app.query("", { transport: "websocket" }), { headers });
    assert.equal(websocket.http.status, 400);
    if (name === "version 12") assert.equal(websocket.http.headers["sec-websocket-version"], "13, 8");
    assert.deepEqual(await app.sessions(), []);
  });
}

engineTest("bytes of garbage after an upgrade request do not harm the server [EIO-006]", async (app) => {
  const websocket = await app.rawWebSocket(app.query("", { transport: "websocket" }), { trailing: Buffer.from([0xff, 0xff]) });
  assert.equal(websocket.http.status, 101);
  assert.equal(await app.closeReason(), "transport error");
  assert.equal((await app.fetch(app.query())).status, 200);
  websocket.abort();
});

engineTest("bytes of garbage after the upgrade request of a session do not harm the session [EIO-007]", async (app) => {
  const session = await app.polling();
  const websocket = await app.probe(session.sid, { trailing: Buffer.from([0xff, 0xff]) });
  await settle();
  assert.equal((await session.post("4still here")).status, 200);
  assert.deepEqual(await app.messages(1), ["still here"]);
  websocket.abort();
});

engineTest("bytes after the head of a GET that asks for no upgrade do not harm the server", async (app) => {
  const connection = await app.connection();
  const response = connection.begin({ path: app.query() });
  connection.write("\x00\xff garbage \r\n\r\n");
  assert.equal((await response).status, 200);
  assert.equal((await app.fetch(app.query())).status, 200);
  connection.abort();
});

engineTest("an upgrade to something else than websocket opens no session", async (app) => {
  const websocket = await app.rawWebSocket(app.query("", { transport: "websocket" }), { headers: { Upgrade: "h2c" } });
  assert.equal(websocket.http.status, 400);
  assert.deepEqual(await app.sessions(), []);
});

engineTest("an upgrade on a path that is not served is not accepted, and is ended [EIO-162] [EIO-164]", async (app) => {
  const websocket = await app.rawWebSocket("/elsewhere/?EIO=4&transport=websocket", { trailing: Buffer.from("more") });
  // Node ends it after a second without a word; a server with routes of its own may say that there is none.
  if (websocket.http) assert.ok(websocket.http.status >= 400, websocket.http.statusLine);
  else assert.equal(websocket.tcpClosed, true);
  assert.deepEqual(await app.sessions(), []);
  websocket.abort();
});
