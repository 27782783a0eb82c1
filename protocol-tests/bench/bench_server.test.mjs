// The contract app `bench_server`: that the load it is measured with is answered as it should be.

import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { benchTest } from "../harness/suite.mjs";

async function connect(app, mode = "websocket only") {
  const client = new Client(io(app.url, { path: app.path, forceNew: true, reconnection: false, ...MODES[mode] }));
  await client.ask("ackme");
  return client;
}

for (const mode of Object.keys(MODES)) {
  benchTest(`bench_server: ${mode}: echo and ackme give back what came`, async (app) => {
    const client = await connect(app, mode);
    const echo = client.on("echo");
    const args = [1, "two", { three: [Buffer.from([4])] }, Buffer.alloc(10_000, 5)];
    client.emit("echo", ...args);
    assert.deepEqual(await echo.next(), args);
    assert.deepEqual(await client.ask("ackme", ...args), args);
  });
}

benchTest("bench_server: a cast reaches every member, a member who sends included, in order", async (app) => {
  const [sender, member, other] = await Promise.all([connect(app), connect(app), connect(app)]);
  for (const client of [sender, member]) await client.ask("join", "room");
  for (const client of [sender, member, other]) client.on("cast");
  for (let seq = 0; seq < 1000; seq++) sender.emit("cast", "room", seq, seq % 2 === 0 ? "text" : Buffer.from([seq % 256]));
  for (const client of [sender, member]) {
    const casts = await client.on("cast").take(1000);
    assert.deepEqual(casts.map(([seq]) => seq), Array.from({ length: 1000 }, (_, i) => i));
    assert.deepEqual(casts[0][1], "text");
    assert.deepEqual(casts[1][1], Buffer.from([1]));
  }
  await other.ask("ackme");
  assert.equal(other.on("cast").size, 0);
});

benchTest("bench_server: who has left hears nothing more", async (app) => {
  const [sender, member] = await Promise.all([connect(app), connect(app)]);
  await member.ask("join", "left");
  member.on("cast");
  member.emit("leave", "left");
  await member.ask("ackme");
  sender.emit("cast", "left", 1, "x");
  await sender.ask("ackme");
  await member.ask("ackme");
  assert.equal(member.on("cast").size, 0);
});
