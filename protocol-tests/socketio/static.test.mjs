// The client for browsers, served below the path of Socket.IO: names, types, versions, encodings.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { CLIENT_DIST } from "../harness/apps.mjs";
import { socketioTest } from "../harness/suite.mjs";

const STATIC = { requires: ["static"] };
const SCRIPT = "/socket.io/socket.io.js";
const { version: VERSION } = createRequire(import.meta.url)("socket.io/package.json");
const ETAG = `"${VERSION}"`;
const TRANSPORT_UNKNOWN = '{"code":0,"message":"Transport unknown"}';
const origin = { Origin: "http://a.com" };

const options = (values) => ({ requires: ["static"], env: { OPTIONS: JSON.stringify(values) } });

function decoded({ headers, bytes }) {
  const decode = { br: brotliDecompressSync, gzip: gunzipSync, deflate: inflateSync }[headers["content-encoding"]];
  return decode ? decode(bytes) : bytes;
}

// What is said of a file, and nothing else about it.
function assertFile(response, name, what, { encoding } = {}) {
  const { headers } = response;
  assert.equal(response.status, 200, what);
  assert.equal(headers["cache-control"], "public, max-age=0", what);
  const type = name.endsWith(".map") ? "application/json" : "application/javascript";
  assert.equal(headers["content-type"], `${type}; charset=utf-8`, what);
  assert.equal(headers.etag, ETAG, what);
  assert.equal(headers["content-encoding"], encoding, what);
  for (const absent of ["content-length", "last-modified", "sourcemap", "x-sourcemap"]) assert.equal(headers[absent], undefined, what);
}

for (const [name, ids] of [
  ["socket.io.js", "[SIO-092] [SIO-109] [SIO-206]"],
  ["socket.io.js.map", "[SIO-094] [SIO-208]"],
  ["socket.io.min.js", "[SIO-095] [SIO-209]"],
  ["socket.io.min.js.map", "[SIO-096] [SIO-210]"],
  ["socket.io.esm.min.js", "[SIO-102]"],
  ["socket.io.esm.min.js.map", "[SIO-103]"],
  ["socket.io.msgpack.min.js", "[SIO-100] [SIO-211]"],
  ["socket.io.msgpack.min.js.map", "[SIO-101] [SIO-212]"],
]) {
  socketioTest(`the client's ${name} is served, with its type and version ${ids}`, STATIC, async (app) => {
    const response = await app.fetch(`/socket.io/${name}`);
    assertFile(response, name);
    assert.equal(response.headers["transfer-encoding"], "chunked");
    assert.ok(response.bytes.equals(readFileSync(join(CLIENT_DIST, name))));
  });
}

socketioTest("the client is served whatever the query [SIO-093] [SIO-207]", STATIC, async (app) => {
  for (const query of ["?", "?buster=123", "?EIO=4&transport=polling", "?/socket.io.min.js"]) {
    const response = await app.fetch(SCRIPT + query);
    assertFile(response, SCRIPT, query);
    assert.match(response.body, /^\/\*!\n \* Socket\.IO v/, query);
  }
});

socketioTest("any one character may stand between the path and the client's name", STATIC, async (app) => {
  assertFile(await app.fetch("/socket.ioXsocket.io.js"), SCRIPT);
});

socketioTest("other names below the path are the engine's", STATIC, async (app) => {
  for (const name of [
    "socket.io.esm.js",
    "socket.io.msgpack.js",
    "socket.io.min.js.gz",
    "other.js",
    "SOCKET.IO.js",
    "socket%2Eio.js",
    "socket.io.js/",
    "/socket.io.js",
    "x/../socket.io.js",
    "../package.json",
  ]) {
    const { status, body } = await app.fetch(`/socket.io/${name}`);
    assert.deepEqual([status, body], [400, TRANSPORT_UNKNOWN], name);
  }
  for (const path of ["/socket.iosocket.io.js", "/socket.io.js", "/other/socket.io.js"]) {
    assert.equal((await app.fetch(path)).status, 404, path);
  }
});

socketioTest("the client is served for every method, a HEAD without its body [SIO-294]", STATIC, async (app) => {
  for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
    const response = await app.fetch({ method, path: SCRIPT, body: "something" });
    assertFile(response, SCRIPT, method);
    assert.equal(response.bytes.length, readFileSync(join(CLIENT_DIST, "socket.io.js")).length, method);
  }
  assertFile(await app.fetch({ method: "HEAD", path: SCRIPT }), SCRIPT, "HEAD");
  const head = await app.fetch({ method: "HEAD", path: SCRIPT, headers: { "Accept-Encoding": "gzip" } });
  assertFile(head, SCRIPT, "HEAD", { encoding: "gzip" });
});

socketioTest("who has the version gets 304 without a body [SIO-104] [SIO-105] [SIO-215]", STATIC, async (app) => {
  for (const [method, name, tag] of [
    ["GET", "socket.io.js", ETAG],
    ["GET", "socket.io.js", `W/${ETAG}`],
    ["GET", "socket.io.js.map", ETAG],
    ["POST", "socket.io.min.js", ETAG],
  ]) {
    const headers = { "If-None-Match": tag, "Accept-Encoding": "gzip" };
    const response = await app.fetch({ method, path: `/socket.io/${name}`, headers });
    assert.equal(response.status, 304);
    for (const absent of ["cache-control", "content-type", "etag", "content-encoding", "content-length"]) {
      assert.equal(response.headers[absent], undefined, absent);
    }
  }
});

socketioTest("who has another version, or says it otherwise, gets the file [SIO-216] [SIO-294]", STATIC, async (app) => {
  for (const tag of ['"4.0.0"', "*", VERSION, `w/${ETAG}`, `W/ ${ETAG}`, `"4.0.0", ${ETAG}`, `${ETAG}, ${ETAG}`]) {
    assertFile(await app.fetch({ path: SCRIPT, headers: { "If-None-Match": tag } }), SCRIPT, tag);
  }
  const connection = await app.connection();
  const response = connection.beginHead({ path: SCRIPT, headers: { "If-None-Match": ETAG }, unfinished: true });
  connection.write(`If-None-Match: ${ETAG}\r\n\r\n`);
  assertFile(await response, SCRIPT, "twice");
  connection.abort();
});

socketioTest("the encoding of the client: the table of Accept-Encoding [SIO-097] [SIO-098]", STATIC, async (app) => {
  const file = readFileSync(join(CLIENT_DIST, "socket.io.js"));
  for (const [accept, encoding] of [
    [undefined, undefined],
    ["", undefined],
    ["br", "br"],
    ["BR", "br"],
    ["gzip", "gzip"],
    ["deflate", "deflate"],
    ["gzip, br, deflate", "gzip"],
    ["gzip, deflate, br, zstd", "gzip"],
    ["br, gzip", "br"],
    ["deflate, gzip", "deflate"],
    ["deflate, br", "deflate"],
    ["gzip;q=0.5, br;q=0.4", "gzip"],
    ["br;q=0.5, gzip;q=0.5, deflate;q=0.5", "br"],
    ["gzip, deflate;q=1, br;q=0.9", "gzip"],
    ["br;q=0.001", "br"],
    ["*", "br"],
    ["gzip;q=0, *", "br"],
    ["gzip;q=0.4, *;q=0.5", "br"],
    ["*;q=0.5, gzip;q=0.5", "gzip"],
    ["*, gzip", "gzip"],
    ["deflate, *", "deflate"],
    ["*, br;q=0", "gzip"],
    ["*, br;q=0, gzip;q=0", "deflate"],
    ["identity, *", "br"],
    ["identity, gzip", "gzip"],
    ["identity;q=1, gzip;q=0.5", "gzip"],
    ["zstd, br", "br"],
    ["identity", undefined],
    ["identity;q=0", undefined],
    ["zstd", undefined],
    ["br;q=0, gzip;q=0", undefined],
    ["*;q=0", undefined],
  ]) {
    const headers = accept === undefined ? {} : { "Accept-Encoding": accept };
    const response = await app.fetch({ path: SCRIPT, headers });
    assertFile(response, SCRIPT, accept, { encoding });
    assert.equal(response.headers["transfer-encoding"], "chunked", accept);
    assert.ok(decoded(response).equals(file), accept);
  }
});

socketioTest("every file of the client is compressed for those who ask for it", STATIC, async (app) => {
  for (const name of ["socket.io.min.js", "socket.io.esm.min.js.map"]) {
    for (const encoding of ["br", "gzip", "deflate"]) {
      const response = await app.fetch({ path: `/socket.io/${name}`, headers: { "Accept-Encoding": encoding } });
      assertFile(response, name, encoding, { encoding });
      assert.ok(decoded(response).equals(readFileSync(join(CLIENT_DIST, name))), `${name} ${encoding}`);
    }
  }
});

socketioTest("the client is compressed whatever httpCompression says", options({ httpCompression: false }), async (app) => {
  const response = await app.fetch({ path: SCRIPT, headers: { "Accept-Encoding": "gzip" } });
  assertFile(response, SCRIPT, "gzip", { encoding: "gzip" });
});

socketioTest("the client carries the headers of CORS, a 304 too, and preflights are answered [SIO-099]", options({ cors: { origin: "*" } }), async (app) => {
  const response = await app.fetch({ path: SCRIPT, headers: origin });
  assertFile(response, SCRIPT);
  assert.equal(response.headers["access-control-allow-origin"], "*");
  const known = await app.fetch({ path: SCRIPT, headers: { ...origin, "If-None-Match": ETAG } });
  assert.deepEqual([known.status, known.headers["access-control-allow-origin"]], [304, "*"]);
  const preflight = await app.fetch({ method: "OPTIONS", path: SCRIPT, headers: origin });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers["access-control-allow-methods"], "GET,HEAD,PUT,PATCH,POST,DELETE");
});

socketioTest("without CORS an OPTIONS gets the file", options({ cors: false }), async (app) => {
  const response = await app.fetch({ method: "OPTIONS", path: SCRIPT, headers: origin });
  assertFile(response, SCRIPT);
  assert.equal(response.headers["access-control-allow-origin"], undefined);
});

const MIDDLEWARE = { requires: ["static"], env: { HOOKS: JSON.stringify({ middlewares: [{ end: 418 }] }) } };
socketioTest("the client passes by the middlewares of the engine", MIDDLEWARE, async (app) => {
  assertFile(await app.fetch(SCRIPT), SCRIPT);
});

socketioTest("a WebSocket handshake at the client's path is the engine's", STATIC, async (app) => {
  const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": 13, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
  const { status, body } = await app.fetch({ path: SCRIPT, headers });
  assert.deepEqual([status, body], [400, "Transport unknown"]);
});

socketioTest("the client is served below another path", options({ path: "/realtime/" }), async (app) => {
  assertFile(await app.fetch("/realtime/socket.io.js"), SCRIPT);
  assert.equal((await app.fetch(SCRIPT)).status, 404);
});

socketioTest("a path without a trailing slash has its client below it", options({ addTrailingSlash: false }), async (app) => {
  assertFile(await app.fetch(SCRIPT), SCRIPT);
  assert.equal((await app.fetch("/socket.iosocket.io.js")).status, 400);
});

socketioTest("without serveClient the client's files are the engine's [SIO-106]", { env: { OPTIONS: '{"serveClient":false}' } }, async (app) => {
  for (const name of ["socket.io.js", "socket.io.min.js.map"]) {
    const { status, body } = await app.fetch(`/socket.io/${name}`);
    assert.deepEqual([status, body], [400, TRANSPORT_UNKNOWN], name);
  }
});
