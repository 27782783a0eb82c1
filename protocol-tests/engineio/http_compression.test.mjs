// Compression of poll answers: when, with what, and how it is framed.

import assert from "node:assert/strict";
import { gunzipSync, inflateSync } from "node:zlib";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";

const COMPRESSING = { requires: ["http-compression"] };
const LONG = "x".repeat(2000);

function inflated({ headers, bytes }) {
  const encoding = headers["content-encoding"];
  const inflate = { gzip: gunzipSync, deflate: inflateSync }[encoding];
  return { encoding, body: (inflate ? inflate(bytes) : bytes).toString() };
}

// The encoding of the poll that answers these commands; what it holds is checked.
async function encodingOf(app, session, commands, accept) {
  await app.act(...[commands].flat());
  const response = await session.get(accept === undefined ? {} : { "Accept-Encoding": accept });
  const { encoding, body } = inflated(response);
  const packet = ({ send }) => (typeof send === "string" ? "4" + send : "b" + Buffer.from(send.$hex, "hex").toString("base64"));
  assert.equal(body, [commands].flat().map(packet).join("\x1e"));
  return encoding;
}

engineTest("compression: the table of Accept-Encoding [EIO-130] [EIO-131]", COMPRESSING, async (app) => {
  const session = await app.polling();
  for (const [accept, expected] of [
    ["gzip, deflate", "gzip"],
    ["gzip", "gzip"],
    ["deflate", "deflate"],
    ["deflate, gzip", "deflate"],
    ["gzip, deflate, br", "gzip"],
    ["br, gzip", "gzip"],
    ["GZIP", "gzip"],
    ["*", "gzip"],
    ["identity, gzip", "gzip"],
    ["identity;q=1, gzip;q=0.5", "gzip"],
    ["gzip;q=0.5, deflate;q=0.9", "deflate"],
    ["deflate;q=0.5, gzip;q=0.5", "deflate"],
    ["deflate;q=1, *;q=0.5", "deflate"],
    ["gzip; q=0.001", "gzip"],
    ["gzip;q=0, deflate", "deflate"],
    ["*, gzip;q=0", "deflate"],
    ["gzip;q=0", undefined],
    ["gzip;q=0.0", undefined],
    ["*;q=0", undefined],
    ["identity", undefined],
    ["identity;q=0", undefined],
    ["br", undefined],
    ["", undefined],
    [undefined, undefined],
  ]) {
    assert.equal(await encodingOf(app, session, { send: LONG }, accept), expected, accept);
  }
});

engineTest("compression: a compressed answer is chunked and has no length, others have one [EIO-282]", COMPRESSING, async (app) => {
  const session = await app.polling();
  await app.act({ send: LONG });
  const { headers } = await session.get({ "Accept-Encoding": "gzip" });
  assert.equal(headers["content-encoding"], "gzip");
  assert.equal(headers["transfer-encoding"], "chunked");
  assert.equal(headers["content-length"], undefined);
  assert.equal(headers["content-type"], "text/plain; charset=UTF-8");
  assert.equal(headers["cache-control"], "no-store");
  await app.act({ send: LONG });
  const plain = (await session.get()).headers;
  assert.deepEqual([plain["content-encoding"], plain["content-length"]], [undefined, "2001"]);
});

engineTest("compression: the threshold is 1024 bytes of the whole answer, not characters [EIO-130] [EIO-135]", COMPRESSING, async (app) => {
  const session = await app.polling();
  for (const [commands, expected] of [
    [{ send: "x".repeat(1022) }, undefined],
    [{ send: "x".repeat(1023) }, "gzip"],
    [{ send: "€".repeat(340) }, undefined],
    [{ send: "€".repeat(341) }, "gzip"],
    [[{ send: "x".repeat(600) }, { send: "x".repeat(600) }], "gzip"],
    [{ send: { $hex: "07".repeat(700) } }, undefined],
    [{ send: { $hex: "07".repeat(800) } }, "gzip"],
  ]) {
    assert.equal(await encodingOf(app, session, commands, "gzip"), expected, JSON.stringify(commands).slice(0, 40));
  }
});

engineTest("compression: an answer is left alone only if all its packets were sent without [EIO-134]", COMPRESSING, async (app) => {
  const session = await app.polling();
  assert.equal(await encodingOf(app, session, { send: LONG, compress: false }, "gzip"), undefined);
  const together = [{ send: LONG, compress: false }, { send: LONG, compress: false }];
  assert.equal(await encodingOf(app, session, together, "gzip"), undefined);
  assert.equal(await encodingOf(app, session, [{ send: LONG, compress: false }, { send: "y" }], "gzip"), "gzip");
});

engineTest("compression: the answer to a POST is never compressed", { options: { httpCompression: { threshold: 0 } } }, async (app) => {
  const session = await app.polling();
  const { body, headers } = await session.post("4" + LONG, { "Accept-Encoding": "gzip" });
  assert.deepEqual([body, headers["content-encoding"], headers["content-length"]], ["ok", undefined, "2"]);
});

engineTest("compression: a poll that waits is compressed as it was asked for", COMPRESSING, async (app) => {
  const session = await app.polling();
  const connection = await app.connection();
  const answer = connection.begin({ path: session.path, headers: { "Accept-Encoding": "deflate" } });
  await app.act({ send: LONG });
  assert.deepEqual(inflated(await answer), { encoding: "deflate", body: "4" + LONG });
  connection.abort();
});

for (const [name, httpCompression, { handshake, one, long }, ids] of [
  ["true compresses everything", true, { handshake: "gzip", one: "gzip", long: "gzip" }, "[EIO-281]"],
  ["an empty object compresses everything", {}, { handshake: "gzip", one: "gzip", long: "gzip" }, "[EIO-281]"],
  ["threshold 0 compresses everything", { threshold: 0 }, { handshake: "gzip", one: "gzip", long: "gzip" }, "[EIO-132]"],
  ["threshold 200 compresses from there", { threshold: 200 }, { long: "gzip" }, ""],
  ["false compresses nothing", false, {}, "[EIO-133]"],
]) {
  engineTest(`httpCompression: ${name} ${ids}`, { options: { httpCompression } }, async (app) => {
    const first = inflated(await app.fetch({ path: app.query(), headers: { "Accept-Encoding": "gzip" } }));
    assert.equal(first.encoding, handshake);
    assert.match(first.body, /^0\{"sid":/);
    await app.forgetSessions();
    const session = await app.polling();
    assert.equal(await encodingOf(app, session, { send: "1" }, "gzip"), one);
    assert.equal(await encodingOf(app, session, { send: "x".repeat(250) }, "gzip"), long);
  });
}

engineTest("compression: the official client understands it", COMPRESSING, async (app) => {
  const options = { ...MODES["polling only"], extraHeaders: { "accept-encoding": "gzip" } };
  const { socket, messages } = await EngineClient.open(app, options);
  await app.act({ send: "short" });
  assert.equal(await messages.next(), "short");
  socket.close();
});
