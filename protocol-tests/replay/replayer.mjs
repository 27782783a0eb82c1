// Replays one transcript against a server and lists where the answers differ. See vectors/README.md for the form.

import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { EngineApp, SocketioApp } from "../harness/apps.mjs";
import { HttpConnection } from "../harness/raw_http.mjs";
import { RawWebSocket } from "../harness/raw_websocket.mjs";
import { DEADLINE_MS, settle, sleep } from "../harness/wait.mjs";
import { Mask } from "./mask.mjs";

// How long the server may take for a frame that is expected, and how long it must be silent after the last one.
const FRAME_MS = 2000;
const SILENCE_MS = 40;
const SEPARATOR = "\x1e";
const COMPARED = ["content-type", "cache-control", "set-cookie", "vary", "content-encoding", "x-xss-protection"];
const isCompared = (name) => COMPARED.includes(name) || name.startsWith("access-control-");

export async function replay(scenario) {
  const app = await appFor(scenario);
  const run = { app, mask: new Mask(), differences: [] };
  try {
    if (scenario.file.startsWith("http")) await replayHttp(scenario, run);
    else await replayWebSocket(scenario, run);
    // Before our connection goes, which would be one event more.
    if (scenario.server === "eio") await compareEvents(scenario, run);
  } finally {
    run.websocket?.abort();
    if (scenario.server === "eio" && !needsOwnServer(scenario)) await app.forgetSessions();
    if (needsOwnServer(scenario)) await app.process.stop();
  }
  return run.differences;
}

// One process per set of options. What is done to "the first session" gets a server that never had another.
function appFor(scenario) {
  if (scenario.server === "eio") return EngineApp.get({ options: scenario.options }, needsOwnServer(scenario));
  const env = { APP: "captures" };
  if (Object.keys(scenario.options).length > 0) env.OPTIONS = JSON.stringify(scenario.options);
  return SocketioApp.get(env);
}

const needsOwnServer = (scenario) => scenario.server === "eio" && scenario.steps.some((step) => "act" in step);

// --- HTTP

async function replayHttp(scenario, run) {
  const pending = [];
  for (const step of joinPolls(scenario.steps)) {
    if (step.act) await run.app.act(...step.act);
    else if (step.sleep_ms) await sleep(step.sleep_ms);
    else if (step.polls) await replayPolls(step.polls, run);
    else if (step.pending) pending.push({ step, ...(await send(step.request, run)) });
    else await replayRequest(step, run);
    if (step.pending) await settle();
  }
  for (const { step, response, connection } of pending) {
    compareResponse(step, await answered(response), run);
    connection.abort();
  }
}

// Polls of a session that follow each other are one: how packets are spread over them is not compared.
function joinPolls(steps) {
  const joined = [];
  for (const step of steps) {
    if (!isPoll(step)) joined.push(step);
    else if (joined.at(-1)?.polls) joined.at(-1).polls.push(step);
    else joined.push({ polls: [step] });
  }
  return joined.map((step) => (step.polls?.length === 1 ? step.polls[0] : step));
}

function isPoll({ request, response, pending }) {
  const text = typeof response?.body === "string";
  return !pending && request?.method === "GET" && /[?&]sid=/.test(request.path) && response?.status === 200 && text;
}

async function replayPolls(polls, run) {
  const expected = polls.map(({ response }) => response.body).join(SEPARATOR);
  const bodies = [];
  while (bodies.length < polls.length * 4) {
    const { response, connection } = await send(polls[0].request, run);
    const actual = await answered(response);
    connection.abort();
    bodies.push(actual?.status === 200 ? actual.body : JSON.stringify(actual?.body));
    const text = bodies.join(SEPARATOR);
    if (actual?.status !== 200 || run.mask.matches(expected, text)) break;
    compareHeaders(polls[0].response.headers, actual.headers, polls[0].request, run);
    if (text.length > expected.length + 100) break;
  }
  compareText(`polls joined`, expected, bodies.join(SEPARATOR), run);
}

async function replayRequest(step, run) {
  const { response, connection } = await send(step.request, run);
  compareResponse(step, await answered(response), run);
  connection.abort();
}

async function send({ method, path, headers = {}, body }, run) {
  const connection = await HttpConnection.open(run.app.port);
  const bytes = body?.$hex === undefined ? body : Buffer.from(body.$hex, "hex");
  const content = typeof bytes === "string" ? run.mask.fill(bytes) : bytes;
  const response = connection.begin({ method, path: run.mask.fill(path), headers, body: content });
  return { response, connection };
}

async function answered(response) {
  return Promise.race([response, sleep(DEADLINE_MS).then(() => null)]);
}

function compareResponse({ request, response: expected }, actual, run) {
  const where = `${request.method} ${request.path}`;
  if (!expected || !actual) {
    if (expected || actual) run.differences.push(`${where}: expected ${expected ? expected.status : "no answer"}, got ${actual ? actual.status : "no answer"}`);
    return;
  }
  if (expected.status !== actual.status) run.differences.push(`${where}: expected status ${expected.status}, got ${actual.status}`);
  compareHeaders(expected.headers, actual.headers, request, run);
  const encoding = expected.headers["content-encoding"];
  if (expected.body?.hex === undefined) compareText(where, expected.body, actual.body, run);
  else {
    const expectedBytes = inflate(Buffer.from(expected.body.hex, "hex"), encoding);
    const actualBytes = inflate(actual.bytes, actual.headers["content-encoding"]);
    if (!expectedBytes.equals(actualBytes)) run.differences.push(`${where}: expected bytes ${expected.body.hex}, got ${actual.bytes.toString("hex")}`);
  }
}

function compareHeaders(expected, actual, { method, path }, run) {
  const names = new Set([...Object.keys(expected), ...Object.keys(actual)].filter(isCompared));
  for (const name of names) {
    const same = expected[name] !== undefined && actual[name] !== undefined && run.mask.matches(expected[name], actual[name]);
    if (!same) run.differences.push(`${method} ${path}: expected ${name}: ${expected[name]}, got ${actual[name]}`);
  }
}

function compareText(where, expected, actual, run) {
  if (!run.mask.matches(expected, actual)) {
    run.differences.push(`${where}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

function inflate(bytes, encoding) {
  try {
    if (encoding === "gzip") return gunzipSync(bytes);
    if (encoding === "deflate") return inflateSync(bytes);
    if (encoding === "br") return brotliDecompressSync(bytes);
  } catch {
    // Not what its header says: the raw bytes differ then.
  }
  return bytes;
}

// --- WebSocket

async function replayWebSocket(scenario, run) {
  const headers = scenario.headers ?? {};
  const websocket = await RawWebSocket.open(run.app.port, scenario.path, { headers });
  run.websocket = websocket;
  compareUpgrade(scenario.http, websocket, scenario, run);
  await compareFrames("open", scenario.open, websocket, run);
  for (const step of joinWaits(scenario.steps)) {
    if (step.act) await run.app.act(...step.act);
    if (step.send) websocket.send(...step.send.map((frame) => fillFrame(frame, run.mask)));
    await compareFrames(JSON.stringify(step.send ?? step.act ?? "wait"), step.recv ?? [], websocket, run);
  }
  await compareEnd(scenario, websocket, run);
}

function compareUpgrade(expected, websocket, { path }, run) {
  const actual = websocket.http;
  if (expected.status !== actual?.status) {
    run.differences.push(`upgrade of ${path}: expected status ${expected.status}, got ${actual?.status ?? "no answer"}`);
    return;
  }
  if (expected.status === 101) {
    if (actual.headers["sec-websocket-accept"] !== websocket.expectedAccept) run.differences.push("wrong sec-websocket-accept");
    for (const name of ["sec-websocket-extensions", "sec-websocket-protocol"]) {
      if (expected.headers[name] !== actual.headers[name]) {
        run.differences.push(`upgrade of ${path}: expected ${name}: ${expected.headers[name]}, got ${actual.headers[name]}`);
      }
    }
  }
  compareHeaders(expected.headers, actual.headers, { method: "upgrade of", path }, run);
  compareText(`upgrade of ${path}`, expected.body, actual.body, run);
}

function joinWaits(steps) {
  const joined = [];
  for (const step of steps) {
    const last = joined.at(-1);
    if (step.wait && last?.wait) last.recv = [...last.recv, ...step.recv];
    else joined.push({ ...step });
  }
  return joined;
}

function fillFrame(frame, mask) {
  return Object.fromEntries(Object.entries(frame).map(([key, value]) => [key, typeof value === "string" ? mask.fill(value) : value]));
}

async function compareFrames(where, recorded, websocket, run) {
  const expected = recorded.filter((frame) => !("tcp" in frame));
  const actual = [];
  while (actual.length < expected.length && !websocket.tcpClosed) {
    const frame = await websocket.next("a frame", FRAME_MS).catch(() => undefined);
    if (frame === undefined) break;
    actual.push(frame);
  }
  actual.push(...(await websocket.quiet(SILENCE_MS)));
  // When the TCP connection ends is compared once, by `tcp_closed`.
  const frames = actual.filter((frame) => !("tcp" in frame));
  const same = frames.length === expected.length && frames.every((frame, i) => run.mask.matchesValue(expected[i], frame));
  if (!same) run.differences.push(`${where}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(frames)}`);
}

async function compareEnd({ tcp_closed: expected }, websocket, run) {
  for (const end = Date.now() + FRAME_MS; expected && !websocket.tcpClosed && Date.now() < end; ) await sleep(5);
  if (websocket.tcpClosed !== expected) {
    run.differences.push(`the TCP connection: expected ${expected ? "closed" : "open"}, got ${websocket.tcpClosed ? "closed" : "open"}`);
  }
}

// --- the server's own log

async function compareEvents({ events }, run) {
  const expected = events.map((event) => ("engine_close" in event ? { close: event.engine_close } : event));
  // JSON drops what is undefined, as it does in the transcripts.
  await run.app.events(expected.length).catch(() => undefined);
  // One event too many may come after the last that is expected.
  await settle();
  const actual = await run.app.events(0);
  const same = actual.length === expected.length && actual.every((event, i) => run.mask.matchesValue(expected[i], event));
  if (!same) run.differences.push(`events: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

