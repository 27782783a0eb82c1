// Opening a session over polling and over WebSocket: the open packet, its fields, and the response that carries it.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { until } from "../harness/wait.mjs";

const FIELDS = ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"];

engineTest("a polling handshake answers with an open packet of five fields in order [EIO-025] [EIO-198] [EIO-028]", async (app) => {
  const response = await app.fetch(app.query());
  assert.equal(response.status, 200);
  assert.equal(response.body[0], "0");
  const handshake = JSON.parse(response.body.slice(1));
  assert.deepEqual(Object.keys(handshake), FIELDS);
  assert.match(handshake.sid, /^[A-Za-z0-9_-]{20}$/);
  assert.deepEqual(handshake, {
    sid: handshake.sid,
    upgrades: ["websocket"],
    pingInterval: 25000,
    pingTimeout: 20000,
    maxPayload: 1000000,
  });
});

engineTest("a polling handshake carries the headers of a poll and is not cached [EIO-140]", async (app) => {
  const { headers } = await app.fetch(app.query());
  assert.equal(headers["content-type"], "text/plain; charset=UTF-8");
  assert.equal(headers["content-length"], "118");
  assert.equal(headers["cache-control"], "no-store");
  assert.equal(headers["transfer-encoding"], undefined);
});

engineTest("no cookie is set unless it is asked for [EIO-019]", async (app) => {
  const { headers } = await app.fetch(app.query());
  assert.equal(headers["set-cookie"], undefined);
});

engineTest("without the cors option there are no cross-origin headers", async (app) => {
  const { headers } = await app.fetch({ path: app.query(), headers: { Origin: "http://example.com" } });
  assert.deepEqual(Object.keys(headers).filter((name) => name.startsWith("access-control-")), []);
});

engineTest("a websocket handshake answers 101 and an open packet without upgrades [EIO-029] [EIO-030] [EIO-202]", async (app) => {
  const websocket = await app.websocket();
  assert.deepEqual(Object.keys(websocket.handshake), FIELDS);
  assert.deepEqual(websocket.handshake.upgrades, []);
  assert.equal(websocket.http.headers["sec-websocket-accept"], websocket.expectedAccept);
  assert.equal(websocket.http.headers["sec-websocket-extensions"], undefined);
  websocket.abort();
});

engineTest("every session has an id of its own", async (app) => {
  const sids = new Set();
  for (let i = 0; i < 10; i++) sids.add((await app.polling()).sid);
  assert.equal(sids.size, 10);
  await until(async () => (await app.sessions()).length === 10, "ten sessions");
});

const SETTINGS = { pingInterval: 12345, pingTimeout: 6789, maxHttpBufferSize: 10 };
engineTest("configured timings and limits are announced [EIO-026]", { options: SETTINGS }, async (app) => {
  const { handshake } = await app.polling();
  assert.equal(handshake.pingInterval, 12345);
  assert.equal(handshake.pingTimeout, 6789);
  assert.equal(handshake.maxPayload, 10);
});

engineTest("a server with polling only advertises no upgrade [EIO-031] [EIO-032]", { options: { transports: ["polling"] } }, async (app) => {
  assert.deepEqual((await app.polling()).handshake.upgrades, []);
});

const POLLING_ONLY = { options: { transports: ["polling"] } };
engineTest("a server with polling only answers a websocket handshake as an unknown transport", POLLING_ONLY, async (app) => {
  const { http } = await app.rawWebSocket(app.query("", { transport: "websocket" }));
  assert.equal(http.status, 400);
  assert.deepEqual(JSON.parse(http.body), { code: 0, message: "Transport unknown" });
});

const WEBSOCKET_ONLY = { options: { transports: ["websocket"] } };
engineTest("a server with websocket only refuses polling as an unknown transport", WEBSOCKET_ONLY, async (app) => {
  const response = await app.fetch(app.query());
  assert.equal(response.status, 400);
  assert.deepEqual(JSON.parse(response.body), { code: 0, message: "Transport unknown" });
  (await app.websocket()).abort();
});

engineTest("the default transports advertise exactly websocket [EIO-033]", async (app) => {
  assert.deepEqual((await app.polling()).handshake.upgrades, ["websocket"]);
});

const NO_UPGRADES = { options: { allowUpgrades: false } };
engineTest("allowUpgrades false empties the list and yet lets a client upgrade [EIO-273]", NO_UPGRADES, async (app) => {
  const session = await app.polling();
  assert.deepEqual(session.handshake.upgrades, []);
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  websocket.send({ text: "5" }, { text: "4over websocket" });
  assert.deepEqual(await app.messages(1), ["over websocket"]);
  websocket.abort();
});

engineTest("an empty sid is no sid: a new session is opened [EIO-247]", async (app) => {
  const response = await app.fetch(app.query("&sid="));
  assert.equal(response.status, 200);
  assert.equal(response.body[0], "0");
});

engineTest("of duplicate query keys the last one wins [EIO-248]", async (app) => {
  const response = await app.fetch(`${app.path}?EIO=3&EIO=4&transport=abc&transport=polling`);
  assert.equal(response.status, 200);
});

engineTest("the path is a prefix: anything below it is served", async (app) => {
  assert.equal((await app.fetch("/engine.io/any/thing?EIO=4&transport=polling")).status, 200);
});

engineTest("a path that only begins alike is not served", async (app) => {
  for (const path of ["/engine.io?EIO=4&transport=polling", "/engine.iox/?EIO=4&transport=polling", "/"]) {
    assert.equal((await app.fetch(path)).status, 404, path);
  }
});

engineTest("a query key and value may be percent-encoded", async (app) => {
  assert.equal((await app.fetch(`${app.path}?EI%4F=4&transport=p%6Flling`)).status, 200);
});

engineTest("a message sent before the first poll waits for it and is not in the handshake [EIO-288] [EIO-084]", async (app) => {
  const session = await app.polling();
  await app.act({ send: "welcome" });
  assert.equal(await session.packet(), "4welcome");
});

engineTest("two clients at once are two sessions [EIO-020]", async (app) => {
  const first = await app.polling();
  const second = await app.websocket();
  assert.deepEqual(await app.sessions(), [first.sid, second.sid]);
  second.abort();
});
