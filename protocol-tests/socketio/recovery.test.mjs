// Connection state recovery: a client that comes back is who it was, and gets what it missed.

import assert from "node:assert/strict";
import { RawSocketio } from "../harness/raw_socketio.mjs";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { sleep, until } from "../harness/wait.mjs";

const RECOVERY = { env: { RECOVERY: "1" }, requires: ["control"] };
const withOption = (option) => ({
  env: { OPTIONS: JSON.stringify({ connectionStateRecovery: { maxDisconnectionDuration: 120_000, ...option } }) },
  requires: ["control"],
});

let last = 0;
const newRoom = () => `room ${process.pid}.${++last}`;

async function control(app, command) {
  const client = Client.open(app, { nsp: "/ctl" });
  const answer = await client.call("do", command);
  client.close();
  if (!answer.ok) throw new Error(answer.error);
  return answer.value;
}

// Ends the connection below the client, and waits until the server has seen it.
async function lose(app, client, nsp = "/") {
  const { id } = client;
  client.socket.io.engine.close();
  await gone(app, id, nsp);
}

const gone = (app, id, nsp = "/") => until(async () => !(await control(app, { op: "local", nsp })).includes(id), "the server sees the loss");

async function comeBack(client) {
  client.socket.connect();
  await client.welcomed();
}

// The arguments of an event without the offset, the last one.
const withoutOffset = (args) => args.slice(0, -1);

for (const mode of Object.keys(MODES)) {
  socketioTest(`recovery: ${mode}: a client that comes back has its id, rooms and data [SIO-010] [SIO-267] [CLI-101]`, RECOVERY, async (app) => {
    const client = await Client.connect(app, { mode });
    assert.equal(client.socket.recovered, false);
    const [before, room] = [client.id, newRoom()];
    await client.call("join", room);
    await client.call("setdata", { user: "me", deep: { n: [1] } });
    await lose(app, client);
    await comeBack(client);
    assert.equal(client.socket.recovered, true);
    assert.equal(client.welcome.recovered, true);
    assert.equal(client.id, before);
    assert.equal(client.welcome.id, before);
    assert.deepEqual(await client.call("rooms"), [before, room].sort());
    const [described] = await control(app, { op: "fetch", rooms: [room] });
    assert.deepEqual([described.id, described.data], [before, { user: "me", deep: { n: [1] } }]);
  });

  socketioTest(`recovery: ${mode}: what was sent to all, to a room and to the client itself meanwhile arrives, in order and once [SIO-009] [SIO-268]`, RECOVERY, async (app) => {
    const [client, other] = await Promise.all([Client.connect(app, { mode }), Client.connect(app)]);
    const [id, room] = [client.id, newRoom()];
    await client.call("join", room);
    const news = client.on("news");
    await other.call("cast", room, "news", "before");
    await client.ask("echo", "it has come");
    await lose(app, client);
    await other.call("cast", null, "news", "to all");
    await other.call("cast", newRoom(), "news", "to others");
    await other.call("cast", room, "news", { to: "the room", bytes: [Buffer.from([1, 2]), Buffer.alloc(0)] });
    await control(app, { op: "emit", except: [room], event: "news", args: ["to all but the room"] });
    for (let i = 0; i < 50; i++) other.emit("cast", id, "news", i);
    await other.ask("echo", "all is sent");
    await comeBack(client);
    await other.call("cast", room, "news", "after");
    await client.ask("echo", "all has come");
    assert.deepEqual(news.drain().map(withoutOffset), [
      ["before"],
      ["to all"],
      [{ to: "the room", bytes: [Buffer.from([1, 2]), Buffer.alloc(0)] }],
      ...Array.from({ length: 50 }, (_, i) => [i]),
      ["after"],
    ]);
  });

  socketioTest(`recovery: ${mode}: the client reconnects by itself, again and again, and stays who it is`, RECOVERY, async (app) => {
    const options = { reconnection: true, reconnectionDelay: 50, randomizationFactor: 0 };
    const client = await Client.connect(app, { mode, ...options });
    const { id } = client;
    for (let round = 0; round < 3; round++) {
      client.socket.io.engine.close();
      const [welcome] = await client.on("welcome").next("the welcome after the reconnection");
      assert.deepEqual([welcome.id, welcome.recovered], [id, true]);
      assert.deepEqual(await client.ask("echo", round), [round]);
    }
  });
}

socketioTest("recovery: volatile events and those that ask for an answer are not kept [SIO-268]", RECOVERY, async (app) => {
  const client = await Client.connect(app);
  const rooms = [client.id];
  const news = client.on("news");
  await lose(app, client);
  await control(app, { op: "emit", rooms, flags: { volatile: true }, event: "news", args: ["volatile"] });
  await control(app, { op: "emitAck", rooms, timeout: 20, event: "news", args: ["with an answer"] });
  await control(app, { op: "emit", rooms, event: "news", args: ["kept"] });
  await comeBack(client);
  await client.ask("echo", "all has come");
  assert.deepEqual(news.drain().map(withoutOffset), [["kept"]]);
});

socketioTest("recovery: each namespace of a connection is recovered, with what it missed", RECOVERY, async (app) => {
  const main = await Client.connect(app);
  const chat = main.join("/chat");
  await chat.welcomed();
  const ids = [main.id, chat.id];
  const [fromMain, fromChat] = [main.on("news"), chat.on("news")];
  main.socket.io.engine.close();
  await gone(app, ids[0]);
  await gone(app, ids[1], "/chat");
  await control(app, { op: "emit", rooms: [ids[0]], event: "news", args: ["/"] });
  await control(app, { op: "emit", nsp: "/chat", rooms: [ids[1]], event: "news", args: ["/chat"] });
  await comeBack(main);
  if (!chat.socket.connected) chat.socket.connect();
  await chat.welcomed();
  assert.deepEqual([main.id, chat.id], ids);
  assert.deepEqual([main.socket.recovered, chat.socket.recovered], [true, true]);
  assert.deepEqual([...withoutOffset(await fromMain.next()), ...withoutOffset(await fromChat.next())], ["/", "/chat"]);
});

for (const [name, leave] of [
  ["its client has left", (client) => client.close()],
  ["the server has disconnected", (client) => client.emit("bye", false)],
  ["the server has disconnected with its connection", (client) => client.emit("bye", true)],
]) {
  socketioTest(`recovery: a socket that ${name} is not recovered`, RECOVERY, async (app) => {
    const client = await Client.connect(app);
    const before = client.id;
    await client.call("join", newRoom());
    leave(client);
    await client.disconnected.next();
    await gone(app, before);
    await comeBack(client);
    assert.deepEqual([client.socket.recovered, client.welcome.recovered], [false, false]);
    assert.notEqual(client.id, before);
    assert.deepEqual(await client.call("rooms"), [client.id]);
  });
}

const AUTH = { nsp: "/auth", auth: { token: "secret" } };

socketioTest("recovery: middlewares are skipped [SIO-011]", RECOVERY, async (app) => {
  const client = await Client.connect(app, AUTH);
  const before = client.id;
  await lose(app, client, "/auth");
  client.socket.auth = { token: "wrong" };
  await comeBack(client);
  assert.deepEqual([client.id, client.socket.recovered], [before, true]);
});

socketioTest("recovery: with skipMiddlewares false they are asked again [SIO-012]", withOption({ skipMiddlewares: false }), async (app) => {
  const client = await Client.connect(app, AUTH);
  const before = client.id;
  await lose(app, client, "/auth");
  client.socket.auth = { token: "wrong" };
  client.socket.connect();
  assert.equal((await client.refused.next()).message, "bad token");
  client.socket.auth = { token: "secret" };
  await comeBack(client);
  assert.deepEqual([client.id, client.socket.recovered], [before, true]);
});

socketioTest("recovery: who comes back too late is somebody new", withOption({ maxDisconnectionDuration: 60 }), async (app) => {
  const client = await Client.connect(app);
  const before = client.id;
  await lose(app, client);
  await sleep(120); // the duration, which nothing tells the end of
  await comeBack(client);
  assert.equal(client.socket.recovered, false);
  assert.notEqual(client.id, before);
});

socketioTest("recovery: after a restart everybody is new [SIO-013]", { ...RECOVERY, ownServer: true }, async (app) => {
  const client = await Client.connect(app);
  const before = client.id;
  await app.restart();
  await client.disconnected.next();
  await comeBack(client);
  assert.equal(client.socket.recovered, false);
  assert.notEqual(client.id, before);
});

socketioTest("without recovery a client that comes back is somebody new, and events are as they were sent [SIO-015]", async (app) => {
  const client = await Client.connect(app);
  const before = client.id;
  const echo = client.on("echo");
  client.emit("echo", 1);
  assert.deepEqual(await echo.next(), [1]);
  client.socket.io.engine.close();
  await comeBack(client);
  assert.notEqual(client.socket.recovered, true);
  assert.notEqual(client.id, before);
});

// --- on the wire

// A WebSocket session joined with this payload: its CONNECT answer, and the packets before and after it.
async function connectRaw(app, payload = "") {
  const raw = await RawSocketio.open(app);
  raw.send("0" + payload);
  raw.before = [];
  let packet;
  while (!(packet = await raw.text()).startsWith("0")) raw.before.push(JSON.parse(packet.slice(1)));
  raw.answer = JSON.parse(packet.slice(1));
  raw.welcome = JSON.parse((await raw.text()).slice(1));
  raw.offset = raw.welcome.at(-1);
  return raw;
}

// Leaves as a lost connection does: not by a DISCONNECT packet.
async function leaveRaw(app, raw) {
  raw.websocket.send({ close: null });
  await gone(app, raw.answer.sid);
  raw.abort();
}

socketioTest("recovery: the answer has a private id; events end with an offset, acknowledgements and questions do not [SIO-288]", RECOVERY, async (app) => {
  const raw = await connectRaw(app);
  assert.deepEqual(Object.keys(raw.answer), ["sid", "pid"]);
  assert.notEqual(raw.answer.pid, raw.answer.sid);
  assert.equal(raw.welcome.length, 3);
  assert.equal(typeof raw.offset, "string");
  raw.send('2["echo",1]');
  const [, value, offset, ...rest] = JSON.parse((await raw.text()).slice(1));
  assert.deepEqual([value, typeof offset, rest], [1, "string", []]);
  assert.notEqual(offset, raw.offset);
  raw.send('27["echo",1]');
  assert.equal(await raw.text(), "37[1]");
  raw.send('28["ask",1]');
  const question = await raw.text();
  assert.match(question, /^2\d+\["question",1\]$/);
  raw.send(`3${question.slice(1, question.indexOf("["))}[2]`);
  assert.equal(await raw.text(), '38[{"ok":true,"answer":2}]');
  raw.abort();
});

socketioTest("recovery: what was missed comes before the CONNECT answer, which is the old one [SIO-009]", RECOVERY, async (app) => {
  const raw = await connectRaw(app);
  const { sid, pid } = raw.answer;
  raw.send('2["echo","missed"]');
  await raw.text();
  await leaveRaw(app, raw);
  await control(app, { op: "emit", rooms: [sid], event: "news", args: ["meanwhile"] });
  const back = await connectRaw(app, JSON.stringify({ pid, offset: raw.offset }));
  assert.deepEqual(back.answer, { sid, pid });
  assert.deepEqual(back.before.map(withoutOffset), [["echo", "missed"], ["news", "meanwhile"]]);
  assert.equal(back.welcome[1].recovered, true);
  back.abort();
});

socketioTest("recovery: over polling, what was missed and the answer come together [SIO-009]", RECOVERY, async (app) => {
  const raw = await connectRaw(app);
  const { sid, pid } = raw.answer;
  await leaveRaw(app, raw);
  await control(app, { op: "emit", rooms: [sid], event: "news", args: [1] });
  const session = await app.polling();
  await session.post(`40${JSON.stringify({ pid, offset: raw.offset })}`);
  const [news, answer, welcome] = await session.packets(3);
  assert.match(news, /^42\["news",1,"[^"]+"\]$/);
  assert.equal(answer, `40${JSON.stringify({ sid, pid })}`);
  assert.match(welcome, /^42\["welcome",\{.*"recovered":true\}/);
  await session.post("1");
});

for (const [name, ids, payload] of [
  ["an unknown id", "[SIO-013] [SIO-269]", ({ offset }) => ({ pid: "unknown", offset })],
  ["an unknown offset", "[SIO-013] [SIO-270]", ({ answer: { pid } }) => ({ pid, offset: "unknown" })],
  ["an id that is no text", "[SIO-013]", ({ offset }) => ({ pid: 1, offset })],
  ["no offset", "[SIO-013]", ({ answer: { pid } }) => ({ pid })],
]) {
  socketioTest(`recovery: ${name} makes somebody new ${ids}`, RECOVERY, async (app) => {
    const raw = await connectRaw(app);
    await leaveRaw(app, raw);
    const other = await connectRaw(app, JSON.stringify(payload(raw)));
    assert.notEqual(other.answer.sid, raw.answer.sid);
    assert.notEqual(other.answer.pid, raw.answer.pid);
    assert.deepEqual(other.before, []);
    assert.equal(other.welcome[1].recovered, false);
    other.abort();
  });
}

socketioTest("recovery: who was thrown out for a packet that is none is not recovered [SIO-288]", RECOVERY, async (app) => {
  const session = await app.polling();
  await session.post("40");
  const [answer, welcome] = (await session.packets(2)).map((packet) => packet.slice(2));
  const { sid, pid } = JSON.parse(answer);
  await session.post("no packet");
  await gone(app, sid);
  const other = await connectRaw(app, JSON.stringify({ pid, offset: JSON.parse(welcome).at(-1) }));
  assert.notEqual(other.answer.sid, sid);
  assert.equal(other.welcome[1].recovered, false);
  other.abort();
});

socketioTest("recovery: a session can be recovered again, from an older offset too [SIO-288]", RECOVERY, async (app) => {
  const raw = await connectRaw(app);
  const payload = JSON.stringify({ pid: raw.answer.pid, offset: raw.offset });
  await leaveRaw(app, raw);
  const first = await connectRaw(app, payload);
  await leaveRaw(app, first);
  const second = await connectRaw(app, payload);
  assert.deepEqual(second.answer, raw.answer);
  assert.equal(second.welcome[1].recovered, true);
  assert.deepEqual(second.before, [first.welcome]);
  second.abort();
});

socketioTest("recovery: a binary event's offset is its last element, and it is sent again whole", RECOVERY, async (app) => {
  const raw = await connectRaw(app);
  const { sid, pid } = raw.answer;
  await leaveRaw(app, raw);
  await control(app, { op: "emit", rooms: [sid], event: "news", args: [Buffer.from([1]), { b: Buffer.from([2]) }] });
  const back = await RawSocketio.open(app);
  back.send(`0${JSON.stringify({ pid, offset: raw.offset })}`);
  assert.match(await back.text(), /^52-\["news",\{"_placeholder":true,"num":0\},\{"b":\{"_placeholder":true,"num":1\}\},"[^"]+"\]$/);
  assert.deepEqual(await back.bytes(), Buffer.from([1]));
  assert.deepEqual(await back.bytes(), Buffer.from([2]));
  assert.match(await back.text(), /^0\{/);
  back.abort();
});

socketioTest("recovery: a client of protocol 4 gets no private id", { env: { RECOVERY: "1", EIO3: "1" } }, async (app) => {
  const websocket = await app.websocket("", { eio: 3 });
  assert.equal(await websocket.text(), "40");
  websocket.abort();
});
