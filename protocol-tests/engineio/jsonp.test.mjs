// JSONP polling: `j` in the handshake's query. Answers are scripts, requests are forms.

import assert from "node:assert/strict";
import { engineTest } from "../harness/suite.mjs";
import { settle } from "../harness/wait.mjs";

const SCRIPT = /^___eio\[(\d*)\]\((".*")\);$/s;

// The packets in the script of an answer, as the browser sees them.
function read({ body }, index = "7") {
  const match = SCRIPT.exec(body);
  assert.ok(match, body);
  assert.equal(match[1], index);
  return JSON.parse(match[2]);
}

class JsonpSession {
  constructor(app, eio, handshake) {
    this.app = app;
    this.eio = eio;
    this.handshake = handshake;
  }

  static async open(app, { eio = 4, j = "7", more = "" } = {}) {
    const payload = read(await app.fetch(app.query(`&j=${j}${more}`, { eio })), j);
    return new JsonpSession(app, eio, JSON.parse(payload.slice(payload.indexOf("{"))));
  }

  path(more = "&j=7") {
    return this.app.query(`&sid=${this.handshake.sid}${more}`, { eio: this.eio });
  }

  get(more) {
    return this.app.fetch(this.path(more));
  }

  // `form` as it is on the wire; for the field `d` use `field`.
  post(form) {
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    return this.app.fetch({ method: "POST", path: this.path(), headers, body: form });
  }

  async field(text) {
    const { status, body } = await this.post("d=" + encodeURIComponent(text));
    assert.deepEqual([status, body], [200, "ok"]);
  }
}

for (const eio of [4, 3]) {
  const V = eio === 4 ? { requires: ["jsonp"] } : { requires: ["jsonp"], options: { allowEIO3: true } };
  // A payload of one packet; version 3 counts UTF-16 code units.
  const payload = (packet) => (eio === 3 ? `${packet.length}:${packet}` : packet);

  engineTest(`jsonp, version ${eio}: the handshake is a script [EIO-280]`, V, async (app) => {
    const answer = await app.fetch(app.query("&j=7", { eio }));
    assert.equal(answer.headers["content-type"], "text/plain; charset=UTF-8");
    assert.equal(answer.headers["cache-control"], "no-store");
    assert.equal(answer.headers["content-length"], String(answer.bytes.length));
    assert.match(read(answer), eio === 3 ? /^\d+:0\{"sid":.*\}$/ : /^0\{"sid":.*\}$/);
  });

  engineTest(`jsonp, version ${eio}: messages to the client, whatever they contain`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    for (const text of ["hello", 'say "hi"', "back\\slash", "two\nlines", "line \u2028 and paragraph \u2029", "</script>", "é😀'"]) {
      await app.act({ send: text });
      const answer = await session.get();
      assert.equal(read(answer), payload("4" + text));
      assert.ok(!/[\u2028\u2029\n]/.test(answer.body), "the separators of lines are escaped");
    }
  });

  engineTest(`jsonp, version ${eio}: the exact script [EIO-280]`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    await app.act({ send: 'a"b\u2028c\u2029d\\e\nf' });
    const count = eio === 3 ? "12:" : "";
    assert.equal((await session.get()).body, `___eio[7]("${count}4a\\"b\\u2028c\\u2029d\\\\e\\nf");`);
  });

  engineTest(`jsonp, version ${eio}: binary is base64`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio, more: "&b64=1" });
    await app.act({ send: { $hex: "01020304" } });
    assert.equal(read(await session.get()), eio === 3 ? "10:b4AQIDBA==" : "bAQIDBA==");
    await session.field(eio === 3 ? "10:b4AQIDBA==" : "bAQIDBA==");
    assert.deepEqual(await app.events(1), [{ message: { $hex: "01020304" } }]);
  });

  engineTest(`jsonp, version ${eio}: the field d of a form is a payload`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    await session.field(payload("4hello"));
    await session.field(payload("4a+b &=%é😀"));
    assert.equal((await session.post("x=1&d=" + encodeURIComponent(payload("4with others")) + "&y=2")).body, "ok");
    assert.deepEqual(await app.messages(3), ["hello", "a+b &=%é😀", "with others"]);
  });

  engineTest(`jsonp, version ${eio}: a form without d is taken and ignored`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    for (const form of ["", "x=1"]) assert.equal((await session.post(form)).body, "ok");
    await session.field(payload("4still here"));
    assert.deepEqual(await app.events(1), [{ message: "still here" }]);
  });

  engineTest(`jsonp, version ${eio}: an invalid payload is answered with ok and ends the session: parse error`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    await session.field("abc");
    assert.equal(await app.closeReason(), "parse error");
  });

  engineTest(`jsonp, version ${eio}: the client's close answers the pending poll with a script`, V, async (app) => {
    const session = await JsonpSession.open(app, { eio });
    const connection = await app.connection();
    const answer = connection.begin({ path: session.path() });
    await settle();
    await session.field(payload("1"));
    assert.equal(read(await answer), payload("6"));
    assert.equal(await app.closeReason(), "transport close");
    connection.abort();
  });
}

const JSONP = { requires: ["jsonp"] };

engineTest("jsonp: what a browser's form did to line breaks is undone", JSONP, async (app) => {
  const session = await JsonpSession.open(app);
  // Backslash-n is a line feed, two backslashes and n are a backslash and n; a line feed itself is one.
  await session.field("4a\\nb");
  await session.field("4a\\\\nb");
  await session.field("4a\nb");
  assert.deepEqual(await app.messages(3), ["a\nb", "a\\nb", "a\nb"]);
});

engineTest("jsonp: the index is the digits of j in the handshake, later ones are ignored [EIO-280]", JSONP, async (app) => {
  for (const [j, index] of [["0", "0"], ["12", "12"], ["007", "007"], ["1a2", "12"], ["%3Balert(1)", "1"], ["abc", ""], ["", ""]]) {
    assert.match(read(await app.fetch(app.query(`&j=${j}`)), index), /^0\{/);
  }
  await app.forgetSessions();
  const session = await JsonpSession.open(app);
  await app.act({ send: "a" });
  assert.equal(read(await session.get("&j=9")), "4a");
  await app.act({ send: "b" });
  assert.equal(read(await session.get("")), "4b");
});

engineTest("jsonp: several packets are one script", JSONP, async (app) => {
  const session = await JsonpSession.open(app);
  await app.act({ send: "a" }, { send: "b" });
  assert.equal(read(await session.get()), "4a\x1e4b");
  await session.field("4c\x1e4d");
  assert.deepEqual(await app.messages(2), ["c", "d"]);
});

engineTest("jsonp: a body above the limit gets 413", { ...JSONP, options: { maxHttpBufferSize: 20 } }, async (app) => {
  const session = await JsonpSession.open(app);
  assert.equal((await session.post("d=4" + "x".repeat(20))).status, 413);
  await session.field("4" + "x".repeat(17));
  assert.deepEqual(await app.messages(1), ["x".repeat(17)]);
});

engineTest("jsonp: a session upgrades, and j means nothing on a websocket", JSONP, async (app) => {
  const session = await JsonpSession.open(app);
  assert.deepEqual(session.handshake.upgrades, ["websocket"]);
  const websocket = await app.probe(session.handshake.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  assert.equal(read(await session.get()), "6");
  websocket.send({ text: "5" }, { text: "4upgraded" });
  assert.deepEqual(await app.messages(1), ["upgraded"]);
  await app.act({ send: "x" });
  assert.equal(await websocket.text(), "4x");
  websocket.abort();
  const direct = await app.websocket("&j=7");
  assert.equal(typeof direct.sid, "string");
  direct.abort();
});
