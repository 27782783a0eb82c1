// Polls and POSTs of an open session: payloads, their limits, bodies in every shape, and requests that overlap or break.

import assert from "node:assert/strict";
import { SEPARATOR } from "../harness/polling_session.mjs";
import { engineTest } from "../harness/suite.mjs";
import { settle, until } from "../harness/wait.mjs";

const UNKNOWN_SESSION = '{"code":1,"message":"Session ID unknown"}';

async function assertGone(session) {
  const response = await session.get();
  assert.equal(response.status, 400);
  assert.equal(response.body, UNKNOWN_SESSION);
}

// --- what goes through

engineTest("a POST is answered with ok and its message arrives [EIO-205]", async (app) => {
  const session = await app.polling();
  const response = await session.post("4hello");
  assert.equal(response.status, 200);
  assert.equal(response.body, "ok");
  assert.equal(response.headers["content-type"], "text/html");
  assert.equal(response.headers["content-length"], "2");
  assert.equal(response.headers["cache-control"], "no-store");
  assert.deepEqual(await app.events(1), [{ message: "hello" }]);
});

engineTest("the message of a POST has arrived when its ok does", async (app) => {
  const session = await app.polling();
  for (let i = 0; i < 5; i++) {
    await session.post(`4${i}`);
    assert.equal((await app.events(0)).length, i + 1);
  }
});

engineTest("a poll answers with what waits, in the form of a poll [EIO-205] [EIO-140]", async (app) => {
  const session = await app.polling();
  await app.act({ send: "hello" });
  const { status, body, headers } = await session.get();
  assert.equal(status, 200);
  assert.equal(body, "4hello");
  assert.equal(headers["content-type"], "text/plain; charset=UTF-8");
  assert.equal(headers["content-length"], "6");
  assert.equal(headers["cache-control"], "no-store");
});

engineTest("several packets of a payload arrive in order, and go out joined [EIO-206] [PAR-039]", async (app) => {
  const session = await app.polling();
  await session.post(["4a", "4b", "4c"].join(SEPARATOR));
  assert.deepEqual(await app.events(3), [{ message: "a" }, { message: "b" }, { message: "c" }]);
  await app.act({ send: "x" }, { send: "y" }, { send: "z" });
  assert.equal((await session.get()).body, ["4x", "4y", "4z"].join(SEPARATOR));
});

engineTest("binary goes as base64 both ways [EIO-207] [EIO-096]", async (app) => {
  const session = await app.polling();
  await session.post(["4test", "bAQIDBA=="].join(SEPARATOR));
  assert.deepEqual(await app.events(2), [{ message: "test" }, { message: { $hex: "01020304" } }]);
  await app.act({ send: "test" }, { send: { $hex: "01020304" } }, { send: { $hex: "fbff" } });
  assert.deepEqual(await session.packets(3), ["4test", "bAQIDBA==", "b+/8="]);
});

engineTest("an empty binary and an empty text are messages", async (app) => {
  const session = await app.polling();
  await session.post(["b", "4"].join(SEPARATOR));
  assert.deepEqual(await app.events(2), [{ message: { $hex: "" } }, { message: null }]);
});

engineTest("a pending poll is answered as soon as there is something [EIO-084]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  await app.act({ send: "now" });
  assert.equal((await poll.response()).body, "4now");
});

engineTest("messages sent while no poll waits are kept in order [EIO-085]", async (app) => {
  const session = await app.polling();
  const sent = [];
  for (let i = 0; i < 20; i++) {
    await app.act({ send: `message ${i}` });
    sent.push(`4message ${i}`);
  }
  assert.deepEqual(await session.packets(20), sent);
});

engineTest("text is UTF-8 both ways [EIO-103] [CLI-119] [CLI-120]", async (app) => {
  const session = await app.polling();
  const text = "çé 测试 😀 \u{10ffff} \ue000 \u2028";
  await session.post("4" + text);
  assert.deepEqual(await app.events(1), [{ message: text }]);
  await app.act({ send: text });
  const response = await session.get();
  assert.equal(response.body, "4" + text);
  assert.equal(response.headers["content-length"], String(Buffer.byteLength("4" + text)));
});

engineTest("bytes that are no UTF-8 become replacement characters", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post(Buffer.from([0x34, 0x61, 0xff, 0x62]))).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "a\ufffdb" }]);
});

engineTest("any content type but octet-stream is text [EIO-255]", async (app) => {
  const session = await app.polling();
  for (const type of ["text/plain;charset=UTF-8", "application/json", "application/octet-stream; charset=x", ""]) {
    const response = await session.post("4" + type, type === "" ? {} : { "Content-Type": type });
    assert.equal(response.body, "ok", type);
  }
  assert.equal((await app.events(4)).length, 4);
});

engineTest("open, upgrade, noop and pong packets of a polling client are taken silently [EIO-262]", async (app) => {
  const session = await app.polling();
  for (const packet of ["0", "0{}", "5", "6", "6x", "3", "3probe"]) {
    assert.equal((await session.post(packet)).body, "ok", packet);
  }
  await session.post("4still here");
  assert.deepEqual(await app.events(1), [{ message: "still here" }]);
});

engineTest("Connection: close on every request does not end the session [EIO-058]", async (app) => {
  const session = await app.polling();
  const headers = { Connection: "close" };
  assert.equal((await session.post("4a", headers)).body, "ok");
  await app.act({ send: "b" });
  const response = await session.get(headers);
  assert.equal(response.body, "4b");
  assert.equal((await session.post("4c", headers)).body, "ok");
  assert.deepEqual(await app.messages(2), ["a", "c"]);
});

engineTest("a TCP connection serves one request after the other", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  for (let i = 0; i < 5; i++) {
    assert.equal((await connection.request({ method: "POST", path: session.path, body: `4${i}` })).body, "ok");
    await app.act({ send: `${i}` });
    assert.equal((await connection.request({ path: session.path })).body, `4${i}`);
  }
  connection.abort();
});

// --- bodies in every shape

engineTest("a chunked body in three writes is one message [EIO-099]", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const headers = { "Transfer-Encoding": "chunked" };
  const response = connection.beginHead({ method: "POST", path: session.path, headers });
  for (const part of ["4one ", "message ", "in parts"]) {
    connection.writeChunk(part);
    await settle();
  }
  connection.writeChunk("");
  assert.equal((await response).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "one message in parts" }]);
  connection.abort();
});

engineTest("a body that is split inside a character is put together again", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const body = Buffer.from("4€😀");
  const headers = { "Content-Length": body.length };
  const response = connection.beginHead({ method: "POST", path: session.path, headers });
  for (const byte of body) {
    connection.write(Buffer.from([byte]));
    await settle();
  }
  assert.equal((await response).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "€😀" }]);
  connection.abort();
});

engineTest("a message just below 1 MB arrives from a body in several TCP segments [EIO-098]", async (app) => {
  const session = await app.polling();
  const text = "a".repeat(999_999);
  assert.equal((await session.post("4" + text)).body, "ok");
  const [message] = await app.messages(1);
  assert.equal(message.length, text.length);
});

// --- limits

const SMALL = { options: { maxHttpBufferSize: 10 } };

engineTest("a body of exactly the limit is taken [EIO-088]", SMALL, async (app) => {
  const session = await app.polling();
  assert.equal((await session.post("4123456789")).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "123456789" }]);
});

engineTest("a body above the limit gets 413, and the session lives on [EIO-086] [CLI-140]", SMALL, async (app) => {
  const session = await app.polling();
  const response = await session.post("41234567890");
  assert.equal(response.status, 413);
  assert.equal(response.body, "");
  assert.equal((await session.post("4ok")).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "ok" }]);
});

engineTest("after a 413 the same TCP connection goes on [EIO-256]", SMALL, async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const tooLarge = await connection.request({ method: "POST", path: session.path, body: "4" + "x".repeat(5000) });
  assert.equal(tooLarge.status, 413);
  assert.equal((await connection.request({ method: "POST", path: session.path, body: "4ok" })).body, "ok");
  assert.deepEqual(await app.events(1), [{ message: "ok" }]);
  connection.abort();
});

engineTest("a chunked body above the limit gets 413 as well", SMALL, async (app) => {
  const session = await app.polling();
  const request = { method: "POST", path: session.path, body: "41234567890", chunked: true };
  assert.equal((await app.fetch(request)).status, 413);
  assert.equal((await session.post("4ok")).body, "ok");
});

engineTest("the limit counts bytes and not characters", SMALL, async (app) => {
  const session = await app.polling();
  assert.equal((await session.post("4€€€")).body, "ok");
  assert.equal((await session.post("4€€€€")).status, 413);
});

engineTest("the 413 comes when the limit is passed and not only at the end of the body [EIO-256]", SMALL, async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const response = connection.beginHead({ method: "POST", path: session.path, headers: { "Transfer-Encoding": "chunked" } });
  connection.writeChunk("4" + "x".repeat(20));
  assert.equal((await response).status, 413);
  connection.writeChunk("the rest");
  connection.writeChunk("");
  assert.equal((await connection.request({ method: "POST", path: session.path, body: "4ok" })).body, "ok");
  connection.abort();
});

engineTest("the answer to a poll may be larger than the limit", SMALL, async (app) => {
  const session = await app.polling();
  await app.act({ send: "x".repeat(20) }, { send: "y".repeat(20) });
  assert.deepEqual(await session.packets(2), ["4" + "x".repeat(20), "4" + "y".repeat(20)]);
});

// --- what ends the session

for (const [name, body] of [
  ["an empty body", ""],
  ["an unknown packet type", "abc"],
  ["a type above the known ones", "9"],
  ["a trailing separator", "4a\x1e"],
  ["a leading separator", "\x1e4a"],
  ["two separators", "4a\x1e\x1e4b"],
  ["a whitespace type", " 4a"],
]) {
  engineTest(`${name} in a POST is answered with ok and ends the session: parse error [EIO-208] [EIO-257] [EIO-073] [PAR-040]`, async (app) => {
    const session = await app.polling();
    const response = await session.post(body);
    assert.equal(response.status, 200);
    assert.equal(response.body, "ok");
    assert.equal(await app.closeReason(), "parse error");
    await assertGone(session);
  });
}

engineTest("an invalid packet answers the pending poll with a close packet [EIO-257]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  assert.equal((await session.post("abc")).body, "ok");
  assert.equal((await poll.response()).body, "1");
  assert.equal(await app.closeReason(), "parse error");
});

engineTest("packets before the invalid one are delivered, those after it are not [EIO-258]", async (app) => {
  const session = await app.polling();
  await session.post(["4a", "4b", "x", "4c"].join(SEPARATOR));
  assert.deepEqual(await app.events(3), [{ message: "a" }, { message: "b" }, { close: "parse error" }]);
  await settle();
  assert.equal((await app.events(3)).length, 3);
});

engineTest("a ping from the client ends the session: wrong direction [EIO-262]", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post("2")).body, "ok");
  assert.equal(await app.closeReason(), "transport error");
  await assertGone(session);
});

engineTest("octet-stream in a POST gets 400 and ends the session [EIO-065]", async (app) => {
  const session = await app.polling();
  const response = await session.post(Buffer.from([1, 2]), { "Content-Type": "application/octet-stream" });
  assert.equal(response.status, 400);
  assert.equal(response.body, "");
  assert.equal(await app.closeReason(), "transport error");
  await assertGone(session);
});

// --- requests that overlap

engineTest("a second poll gets 400, the first a close packet, and the session ends [EIO-209]", async (app) => {
  const session = await app.polling();
  const first = await session.pendingGet();
  const second = await session.get();
  assert.equal(second.status, 400);
  assert.equal(second.body, "");
  const answer = await first.response();
  assert.equal(answer.status, 200);
  assert.equal(answer.body, "1");
  assert.equal(await app.closeReason(), "transport error");
  await assertGone(session);
});

engineTest("a second POST gets 400 and the unfinished first one is cut [EIO-260]", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const first = connection.beginHead({ method: "POST", path: session.path, headers: { "Content-Length": 10 } });
  connection.write("4hel");
  await settle();
  const second = await session.post("4x");
  assert.equal(second.status, 400);
  assert.equal(second.body, "");
  assert.equal(await first, null);
  assert.equal(await app.closeReason(), "transport error");
  await assertGone(session);
});

engineTest("a poll and a POST at the same time are no overlap", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  assert.equal((await session.post("4a")).body, "ok");
  assert.equal((await session.post("4b")).body, "ok");
  await app.act({ send: "c" });
  assert.equal((await poll.response()).body, "4c");
  assert.deepEqual(await app.events(2), [{ message: "a" }, { message: "b" }]);
});

// --- requests that break

engineTest("a poll that is aborted ends the session [EIO-057] [EIO-210]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  poll.connection.abort();
  assert.equal(await app.closeReason(), "transport error");
  await assertGone(session);
});

engineTest("a poll right after an aborted one finds no session or is refused, never an answer [EIO-210]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  poll.connection.abort();
  const response = await session.get();
  assert.equal(response.status, 400);
  assert.equal(await app.closeReason(), "transport error");
});

engineTest("a poll whose connection is reset ends the session [EIO-057]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  poll.connection.reset();
  assert.equal(await app.closeReason(), "transport error");
});

engineTest("a POST that breaks off ends the session, and nothing of it arrives", async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  connection.beginHead({ method: "POST", path: session.path, headers: { "Content-Length": 100 } });
  connection.write("4part\x1e4");
  await settle();
  connection.abort();
  assert.deepEqual(await app.events(1), [{ close: "transport error" }]);
  await assertGone(session);
});

engineTest("a connection that breaks off after its poll was answered does not matter", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  await app.act({ send: "a" });
  assert.equal((await poll.response()).body, "4a");
  poll.connection.reset();
  await settle();
  await app.act({ send: "b" });
  assert.equal((await session.get()).body, "4b");
});

engineTest("a poll and its abort do not lose what was sent to it before [EIO-085]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  await app.act({ send: "a" }, { send: "b" });
  const first = (await poll.response()).body.split(SEPARATOR);
  const rest = await session.packets(2 - first.length);
  assert.deepEqual([...first, ...rest], ["4a", "4b"]);
});

engineTest("one session's trouble is not another's", async (app) => {
  const other = await app.polling();
  const session = await app.polling();
  await session.post("abc");
  await assertGone(session);
  await app.act({ send: "fine" });
  assert.equal((await other.get()).body, "4fine");
  await until(async () => (await app.sessions()).length === 1, "one session is left");
});

// --- headers for old browsers

for (const [name, agent, ids] of [
  ["Internet Explorer 8", "Mozilla/4.0 (compatible;MSIE 8.0; Windows NT 6.1; Trident/4.0)", "[EIO-138]"],
  ["Internet Explorer 11", "Mozilla/5.0 (Windows NT 6.1; Trident/7.0; rv:11.0) like Gecko", "[EIO-139]"],
]) {
  engineTest(`polls and POSTs of ${name} switch its filter off ${ids}`, async (app) => {
    const headers = { "User-Agent": agent };
    const handshake = await app.fetch({ path: app.query(), headers });
    assert.equal(handshake.headers["x-xss-protection"], "0");
    const path = app.query(`&sid=${JSON.parse(handshake.body.slice(1)).sid}`);
    const post = await app.fetch({ method: "POST", path, headers, body: "4a" });
    assert.equal(post.headers["x-xss-protection"], "0");
  });
}

engineTest("other browsers get no header for Internet Explorer", async (app) => {
  const response = await app.fetch({ path: app.query(), headers: { "User-Agent": "Mozilla/5.0 Firefox/130.0" } });
  assert.equal(response.headers["x-xss-protection"], undefined);
});
