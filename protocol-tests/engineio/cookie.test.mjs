// The cookie with the session's id: what it looks like, and which answers set it.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { RecordingProxy } from "../harness/recording_proxy.mjs";
import { engineTest } from "../harness/suite.mjs";

for (const [name, cookie, expected, ids] of [
  ["true", true, "io=SID; Path=/; HttpOnly; SameSite=Lax", "[EIO-011]"],
  ["an empty object", {}, "io=SID; Path=/; HttpOnly; SameSite=Lax", ""],
  ["name", { name: "woot" }, "woot=SID; Path=/; HttpOnly; SameSite=Lax", "[EIO-012]"],
  ["path", { path: "/custom" }, "io=SID; Path=/custom; HttpOnly; SameSite=Lax", "[EIO-013]"],
  ["path false", { path: false }, "io=SID; HttpOnly; SameSite=Lax", "[EIO-014]"],
  ["httpOnly true", { httpOnly: true }, "io=SID; Path=/; HttpOnly; SameSite=Lax", "[EIO-015]"],
  ["httpOnly false", { httpOnly: false }, "io=SID; Path=/; SameSite=Lax", "[EIO-017]"],
  ["httpOnly that is a text", { httpOnly: "no" }, "io=SID; Path=/; HttpOnly; SameSite=Lax", "[EIO-018]"],
  ["sameSite strict", { sameSite: "strict" }, "io=SID; Path=/; HttpOnly; SameSite=Strict", "[EIO-016]"],
  ["sameSite none", { sameSite: "none" }, "io=SID; Path=/; HttpOnly; SameSite=None", ""],
  ["sameSite false", { sameSite: false }, "io=SID; Path=/; HttpOnly", ""],
  ["secure", { secure: true }, "io=SID; Path=/; HttpOnly; Secure; SameSite=Lax", ""],
  ["maxAge and domain", { maxAge: 60, domain: "a.com" }, "io=SID; Max-Age=60; Domain=a.com; Path=/; HttpOnly; SameSite=Lax", ""],
]) {
  engineTest(`cookie: ${name} ${ids}`, { options: { cookie } }, async (app) => {
    const answer = await app.fetch(app.query());
    const { sid } = JSON.parse(answer.body.slice(1));
    assert.equal(answer.headers["set-cookie"], expected.replace("SID", sid));
  });
}

const COOKIE = { options: { cookie: true, maxHttpBufferSize: 10 } };

engineTest("cookie: only the polling handshake sets it [EIO-287]", COOKIE, async (app) => {
  const session = await app.polling();
  await app.act({ send: "x" });
  const websocket = await app.websocket();
  const answers = [
    await session.get(),
    await session.post("4x"),
    websocket.http,
    (await app.probe(session.sid)).http,
    await app.fetch("/engine.io/?transport=abc"),
    await app.fetch(app.query("&sid=unknown")),
    await session.post("4" + "x".repeat(20)),
  ];
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 101, 101, 400, 400, 413]);
  for (const { headers } of answers) assert.equal(headers["set-cookie"], undefined);
  websocket.abort();
});

// --- the official client keeps cookies when it is asked to

const SETTING = {
  options: { cookie: { name: "sid", sameSite: "strict" } },
  hooks: {
    initialHeaders: {
      "set-cookie": [
        "1=1; Path=/; HttpOnly; Secure; SameSite=Strict",
        "2=2; Path=/; Max-Age=86400",
        "3=3; Path=/; Max-Age=0",
        "4=4; Path=/; Expires=Thu, 01 Jan 1970 00:00:10 GMT",
        "5=5; Path=/; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
      ],
    },
  },
};

for (const [name, withCredentials, ids] of [
  ["sends cookies back, without those that are expired", true, "[CLI-175]"],
  ["sends no cookies without withCredentials", false, "[CLI-176]"],
]) {
  engineTest(`cookie: the official client ${name} ${ids}`, SETTING, async (app) => {
    const proxy = await RecordingProxy.open(app.port);
    const { socket, messages } = await EngineClient.open({ ...app, url: proxy.url }, { ...MODES["polling only"], withCredentials });
    await app.act({ send: "a" });
    await messages.next();
    socket.send("b");
    await app.messages(1);
    const [handshake, ...later] = proxy.requests.map(({ headers }) => headers.cookie);
    assert.equal(handshake, undefined);
    assert.ok(later.length >= 2);
    const expected = withCredentials ? `sid=${socket.id}; 1=1; 2=2; 5=5` : undefined;
    for (const cookie of later) assert.equal(cookie, expected);
    socket.close();
    await app.closeReason();
    proxy.close();
  });
}
