// Rooms and broadcasts: who hears what, once, in order, and who does not.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";

// Room names of a test are its own, so that tests on the same server do not hear each other.
let last = 0;
const newRoom = () => `room ${process.pid}.${++last}`;

const connectMany = (app, count, options) => Promise.all(Array.from({ length: count }, () => Client.connect(app, options)));

// What a client has heard of `event` by now: everything sent to it before is in front of the answer to an echo.
async function heard(client, event) {
  await client.ask("echo", "everything before has arrived");
  return client.on(event).drain();
}

socketioTest("a socket is in the room of its own id, joins and leaves others [SIO-027] [SIO-030]", async (app) => {
  const client = await Client.connect(app);
  const [a, b] = [newRoom(), newRoom()].sort();
  assert.deepEqual(await client.call("rooms"), [client.id]);
  assert.deepEqual(await client.call("join", b), [client.id, b].sort());
  assert.deepEqual(await client.call("join", a), [client.id, a, b].sort());
  assert.deepEqual(await client.call("join", a), [client.id, a, b].sort());
  assert.deepEqual(await client.call("leave", b), [client.id, a].sort());
  assert.deepEqual(await client.call("leave", "never joined"), [client.id, a].sort());
  assert.deepEqual(await client.call("rooms"), [client.id, a].sort());
});

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: a cast to a room reaches its members, not the sender and nobody else [SIO-023] [SIO-025] [SIO-200]`, async (app) => {
    const [sender, member, other] = await connectMany(app, 3, { mode });
    const room = newRoom();
    for (const client of [sender, member]) await client.call("join", room);
    for (const client of [sender, member, other]) client.on("news");
    assert.equal(await sender.call("cast", room, "news", 1, { two: [2] }), true);
    assert.deepEqual(await member.on("news").next(), [1, { two: [2] }]);
    assert.deepEqual(await heard(sender, "news"), []);
    assert.deepEqual(await heard(other, "news"), []);
  });

  socketioTest(`${mode}: a cast with binaries reaches the members [SIO-021] [SIO-026] [SIO-198]`, async (app) => {
    const [sender, ...members] = await connectMany(app, 3, { mode });
    const room = newRoom();
    for (const member of members) await member.call("join", room);
    const value = { a: Buffer.from([1]), b: [Buffer.alloc(0), Buffer.alloc(70_000, 3)] };
    for (const member of members) member.on("news");
    await sender.call("cast", room, "news", value);
    for (const member of members) assert.deepEqual(await member.on("news").next(), [value]);
  });

  socketioTest(`${mode}: 500 casts arrive in order, each once`, async (app) => {
    const [sender, ...members] = await connectMany(app, 4, { mode });
    const room = newRoom();
    for (const member of members) {
      await member.call("join", room);
      member.on("news");
    }
    for (let i = 0; i < 500; i++) sender.emit("cast", room, "news", i);
    const expected = Array.from({ length: 500 }, (_, i) => i);
    for (const member of members) assert.deepEqual((await member.on("news").take(500)).flat(), expected);
    for (const member of members) assert.deepEqual(await heard(member, "news"), []);
  });
}

socketioTest("a cast reaches clients of every transport [SIO-195]", async (app) => {
  const room = newRoom();
  const members = await Promise.all(Object.keys(MODES).map((mode) => Client.connect(app, { mode })));
  for (const member of members) {
    await member.call("join", room);
    member.on("news");
  }
  const sender = await Client.connect(app);
  await sender.call("cast", room, "news", "text", Buffer.from([1]));
  for (const member of members) assert.deepEqual(await member.on("news").next(), ["text", Buffer.from([1])]);
});

socketioTest("a cast to the whole namespace leaves the sender and other namespaces out [SIO-020] [SIO-022] [SIO-196]", async (app) => {
  const [sender, member] = await connectMany(app, 2, { nsp: "/chat" });
  const elsewhere = await Client.connect(app);
  for (const client of [sender, member, elsewhere]) client.on("to all of /chat");
  await sender.call("cast", null, "to all of /chat", "news");
  assert.deepEqual(await member.on("to all of /chat").next(), ["news"]);
  assert.deepEqual(await heard(sender, "to all of /chat"), []);
  assert.deepEqual(await heard(elsewhere, "to all of /chat"), []);
});

socketioTest("the same room in two namespaces is two rooms", async (app) => {
  const room = newRoom();
  const [sender, member] = await connectMany(app, 2);
  const elsewhere = await Client.connect(app, { nsp: "/chat" });
  for (const client of [member, elsewhere]) {
    await client.call("join", room);
    client.on("news");
  }
  await sender.call("cast", room, "news");
  assert.deepEqual(await member.on("news").next(), []);
  assert.deepEqual(await heard(elsewhere, "news"), []);
});

socketioTest("who has left a room hears nothing of it [SIO-204]", async (app) => {
  const [sender, member] = await connectMany(app, 2);
  const room = newRoom();
  await member.call("join", room);
  member.on("news");
  await sender.call("cast", room, "news", 1);
  await member.call("leave", room);
  await sender.call("cast", room, "news", 2);
  assert.deepEqual(await heard(member, "news"), [[1]]);
});

socketioTest("a sender need not be a member [SIO-025]", async (app) => {
  const [sender, member] = await connectMany(app, 2);
  const room = newRoom();
  await member.call("join", room);
  member.on("news");
  await sender.call("cast", room, "news", "from outside");
  assert.deepEqual(await member.on("news").next(), ["from outside"]);
});

socketioTest("the room of a socket's own id reaches it alone", async (app) => {
  const [sender, receiver, other] = await connectMany(app, 3);
  for (const client of [receiver, other]) client.on("private");
  await sender.call("cast", receiver.id, "private", "x");
  assert.deepEqual(await receiver.on("private").next(), ["x"]);
  assert.deepEqual(await heard(other, "private"), []);
});

socketioTest("a cast to oneself or to an empty room reaches nobody", async (app) => {
  const client = await Client.connect(app);
  client.on("news");
  assert.equal(await client.call("cast", client.id, "news"), true);
  assert.equal(await client.call("cast", newRoom(), "news"), true);
  assert.deepEqual(await heard(client, "news"), []);
});

socketioTest("who has disconnected hears nothing, and the others go on", async (app) => {
  const [sender, leaving, staying] = await connectMany(app, 3);
  const room = newRoom();
  for (const client of [leaving, staying]) {
    await client.call("join", room);
    client.on("news");
  }
  leaving.close();
  for (let i = 0; i < 10; i++) await sender.call("cast", room, "news", i);
  assert.deepEqual((await staying.on("news").take(10)).flat(), Array.from({ length: 10 }, (_, i) => i));
  assert.equal(leaving.on("news").size, 0);
});

socketioTest("rooms are gone after a reconnect, and the id is a new one [CLI-057]", async (app) => {
  const client = await Client.connect(app);
  const before = client.id;
  await client.call("join", newRoom());
  client.close();
  client.socket.connect();
  await client.welcomed();
  assert.notEqual(client.id, before);
  assert.deepEqual(await client.call("rooms"), [client.id]);
});

socketioTest("fifty members each hear a cast once", async (app) => {
  const [sender, ...members] = await connectMany(app, 51);
  const room = newRoom();
  await Promise.all(members.map((member) => member.call("join", room)));
  for (const member of members) member.on("news");
  await sender.call("cast", room, "news", "x");
  for (const member of members) assert.deepEqual(await heard(member, "news"), [["x"]]);
});

// --- broadcasts by the server: through the control namespace

async function control(app, command) {
  const client = Client.open(app, { nsp: "/ctl" });
  const answer = await client.call("do", command);
  if (!answer.ok) throw new Error(answer.error);
  return answer.value;
}
const CONTROL = { requires: ["control"] };

socketioTest("a member of two rooms hears an emit to both once [SIO-024] [SIO-201]", CONTROL, async (app) => {
  const [both, first, neither] = await connectMany(app, 3);
  const [a, b] = [newRoom(), newRoom()];
  await both.call("join", a);
  await both.call("join", b);
  await first.call("join", a);
  for (const client of [both, first, neither]) client.on("news");
  await control(app, { op: "emit", rooms: [a, b], event: "news", args: ["x"] });
  for (const client of [both, first]) assert.deepEqual(await heard(client, "news"), [["x"]]);
  assert.deepEqual(await heard(neither, "news"), []);
});

socketioTest("except leaves out rooms and ids [SIO-031] [SIO-032] [SIO-074] [SIO-075] [SIO-076] [SIO-202]", CONTROL, async (app) => {
  const [inside, excluded, alone] = await connectMany(app, 3);
  const [room, out] = [newRoom(), newRoom()];
  for (const client of [inside, excluded, alone]) {
    await client.call("join", room);
    client.on("news");
  }
  await excluded.call("join", out);
  await control(app, { op: "emit", rooms: [room], except: [out, alone.id], event: "news" });
  assert.deepEqual(await heard(inside, "news"), [[]]);
  assert.deepEqual(await heard(excluded, "news"), []);
  assert.deepEqual(await heard(alone, "news"), []);
});

socketioTest("a broadcast with acknowledgements gathers the first argument of each [SIO-034] [SIO-036] [SIO-290]", CONTROL, async (app) => {
  const members = await connectMany(app, 3);
  const room = newRoom();
  for (const [i, member] of members.entries()) {
    await member.call("join", room);
    member.socket.on("count", (ack) => ack(i, "more"));
  }
  const answer = await control(app, { op: "emitAck", rooms: [room], timeout: 2000, event: "count" });
  assert.equal(answer.err, null);
  assert.deepEqual(answer.responses.sort(), [0, 1, 2]);
});

socketioTest("a broadcast that somebody does not acknowledge times out with the answers that came [SIO-035] [SIO-037]", CONTROL, async (app) => {
  const [answering, silent] = await connectMany(app, 2);
  const room = newRoom();
  for (const client of [answering, silent]) await client.call("join", room);
  answering.socket.on("count", (ack) => ack("here"));
  const answer = await control(app, { op: "emitAck", rooms: [room], timeout: 200, event: "count" });
  assert.match(answer.err, /timed out/);
  assert.deepEqual(answer.responses, ["here"]);
});

socketioTest("a broadcast with acknowledgements to nobody is answered at once [SIO-038]", CONTROL, async (app) => {
  const answer = await control(app, { op: "emitAck", rooms: [newRoom()], timeout: 60_000, event: "count" });
  assert.deepEqual(answer, { err: null, responses: [] });
});

socketioTest("the server disconnects the members of a room, or their connections [SIO-190] [SIO-191]", CONTROL, async (app) => {
  const [leaving, staying] = await connectMany(app, 2);
  const room = newRoom();
  await leaving.call("join", room);
  await control(app, { op: "disconnect", rooms: [room], close: true });
  assert.equal((await leaving.disconnected.next()).reason, "io server disconnect");
  assert.deepEqual(await staying.ask("echo", 1), [1]);
});
