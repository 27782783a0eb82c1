// Upgrades in the middle of things: traffic both ways, probes that die, clients that leave, several who want the same session.

import assert from "node:assert/strict";
import { Client } from "../harness/socketio_client.mjs";
import { engineTest, socketioTest } from "../harness/suite.mjs";
import { settle, until } from "../harness/wait.mjs";

const ROUNDS = 5;
const COUNT = 120;
const numbers = Array.from({ length: COUNT }, (_, i) => String(i));

// A client over polling that sends numbers and polls without pause until it is told to stop.
class BusyClient {
  received = []; // packets, without noops
  sent = 0;
  #stopping = false;
  #loops;

  constructor(session) {
    this.session = session;
    this.#loops = [this.#poll(), this.#post()];
  }

  static async open(app) {
    return new BusyClient(await app.polling());
  }

  async #poll() {
    while (!this.#stopping) {
      const { status, body } = await this.session.get();
      assert.equal(status, 200, body);
      this.received.push(...body.split("\x1e").filter((packet) => packet !== "6"));
    }
  }

  async #post() {
    // Half of the numbers at most: the other half is for after the upgrade.
    while (!this.#stopping && this.sent < COUNT / 2) {
      const { body } = await this.session.post(`4${this.sent}\x1e4${this.sent + 1}`);
      assert.equal(body, "ok");
      this.sent += 2;
    }
  }

  // Lets the requests under way come to their end, as a client does before it switches.
  async pause() {
    this.#stopping = true;
    await Promise.all(this.#loops);
  }

  resume() {
    this.#stopping = false;
    this.#loops = [this.#poll(), this.#post()];
  }
}

// The server sends all numbers, one or a few at a time, while other things happen.
async function serverSends(app) {
  for (let at = 0, size = 1; at < COUNT; at += size, size = (size % 4) + 1) {
    await app.act(...numbers.slice(at, at + size).map((send) => ({ send })));
  }
}

async function probe(app, session) {
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  return websocket;
}

// Switches, sends and reads the rest over the websocket, and checks that every number came once and in order.
async function finish(app, client, websocket, sending) {
  websocket.send({ text: "5" }, ...numbers.slice(client.sent).map((n) => ({ text: "4" + n })));
  await sending;
  while (client.received.length < COUNT) client.received.push(await websocket.text());
  assert.deepEqual(client.received, numbers.map((n) => "4" + n));
  assert.deepEqual(await app.messages(COUNT), numbers);
  websocket.abort();
  await app.closeReason();
  await app.forgetSessions();
}

engineTest("upgrades under load: packets that flow both ways arrive once and in order [EIO-118]", async (app) => {
  for (let round = 0; round < ROUNDS; round++) {
    const client = await BusyClient.open(app);
    const sending = serverSends(app);
    const websocket = await probe(app, client.session);
    await client.pause();
    await finish(app, client, websocket, sending);
  }
});

engineTest("upgrades under load: a probe that dies loses nothing, and the next upgrade succeeds [EIO-272]", async (app) => {
  for (let round = 0; round < ROUNDS; round++) {
    const client = await BusyClient.open(app);
    const sending = serverSends(app);
    const dying = await probe(app, client.session);
    if (round % 2) await client.pause();
    dying.abort();
    if (round % 2) client.resume();
    // The server may still hold the dead probe for the session's upgrade.
    const websocket = await until(() => probe(app, client.session).catch(() => false), "another probe");
    await client.pause();
    await finish(app, client, websocket, sending);
  }
});

engineTest("upgrades under load: a poll beside the switch is answered or refused, nothing is lost [EIO-269]", async (app) => {
  for (let round = 0; round < ROUNDS; round++) {
    const session = await app.polling();
    const websocket = await probe(app, session);
    const poll = await session.pendingGet();
    const sending = serverSends(app);
    const client = { sent: 0, received: [] };
    const takePoll = async () => {
      const { status, body } = await poll.response();
      if (status === 400) return assert.equal(body, '{"code":3,"message":"Bad request"}'); // it came after the switch
      assert.equal(status, 200);
      client.received.push(...body.split("\x1e").filter((packet) => packet[0] === "4"));
    };
    // Whichever of the two is first: the switch, or a message for the poll.
    if (round % 2) await settle();
    await finish(app, client, websocket, sending.then(takePoll));
  }
});

engineTest("upgrades under load: a poll whose request is unfinished at the switch is refused afterwards", async (app) => {
  const session = await app.polling();
  const websocket = await probe(app, session);
  const connection = await app.connection();
  const answer = connection.beginHead({ path: session.path, unfinished: true });
  await settle();
  websocket.send({ text: "5" }, { text: "4upgraded" });
  await app.messages(1);
  await app.act({ send: "for the websocket" });
  assert.equal(await websocket.text(), "4for the websocket");
  connection.write("\r\n");
  const { status, body } = await answer;
  assert.deepEqual([status, body], [400, '{"code":3,"message":"Bad request"}']);
  connection.abort();
  websocket.abort();
});

for (const [name, leave, reason] of [
  ["by a close packet in a POST", async ({ session }) => session.post("1"), "transport close"],
  ["by dropping its poll", async ({ poll }) => poll.connection.abort(), "transport error"],
]) {
  engineTest(`upgrades under load: a client that leaves ${name} after the probe leaves nothing behind [EIO-055] [EIO-074]`, async (app) => {
    for (let round = 0; round < ROUNDS; round++) {
      const session = await app.polling();
      const poll = await session.pendingGet();
      const websocket = await probe(app, session);
      await leave({ session, poll });
      assert.equal(await app.closeReason(), reason);
      assert.deepEqual(await websocket.next(), { close: null });
      websocket.send({ text: "5" }, { text: "4too late" }, { close: null });
      assert.deepEqual(await websocket.next(), { tcp: "fin" });
      assert.deepEqual(await app.sessions(), []);
      assert.equal((await session.get()).status, 400);
      assert.deepEqual((await app.events(0)).filter((event) => "message" in event), []);
      await app.forgetSessions();
    }
  });
}

engineTest("upgrades under load: the close and the switch at once end the session once", async (app) => {
  for (let round = 0; round < ROUNDS; round++) {
    const session = await app.polling();
    const websocket = await probe(app, session);
    const posted = session.post("1");
    websocket.send({ text: "5" }, { close: null });
    await posted;
    assert.equal(await app.closeReason(), "transport close");
    await until(async () => (await app.sessions()).length === 0, "no session");
    assert.equal((await app.events(0)).filter((event) => "close" in event).length, 1);
    websocket.abort();
    await app.forgetSessions();
  }
});

engineTest("upgrades under load: of several websockets that want a session exactly one gets it [EIO-008] [EIO-222]", async (app) => {
  for (let round = 0; round < ROUNDS; round++) {
    const session = await app.polling();
    const candidates = await Promise.all([1, 2, 3, 4].map(() => app.probe(session.sid)));
    for (const candidate of candidates) candidate.send({ text: "2probe" });
    const answers = await Promise.all(candidates.map((candidate) => candidate.next("an answer to the probe")));
    const winners = candidates.filter((_, i) => answers[i].text === "3probe");
    assert.equal(winners.length, 1, JSON.stringify(answers));
    assert.equal(answers.filter((answer) => answer.close === null).length, 3, JSON.stringify(answers));
    const [winner] = winners;
    for (const candidate of candidates) candidate.send({ text: "5" }, { text: "4mine" });
    assert.deepEqual(await app.messages(1), ["mine"]);
    await app.act({ send: "yours" });
    assert.equal(await winner.text(), "4yours");
    assert.deepEqual(await app.messages(1), ["mine"]);
    for (const candidate of candidates) candidate.abort();
    await app.closeReason();
    await app.forgetSessions();
  }
});

const CLIENTS = 20;

socketioTest("upgrades under load: many official clients talk while they upgrade, nothing is lost or out of order [EIO-118]", async (app) => {
  const clients = Array.from({ length: CLIENTS }, () => Client.open(app, { mode: "upgrade" }));
  await Promise.all(clients.map(async (client) => {
    const [bursts, echoes] = [client.on("burst"), client.on("echo")];
    await client.welcomed();
    const burst = client.call("burst", COUNT);
    for (const n of numbers) client.emit("echo", n);
    const upgraded = client.transport("websocket");
    assert.equal(await burst, COUNT);
    assert.deepEqual((await bursts.take(COUNT)).flat(), numbers.map(Number));
    assert.deepEqual((await echoes.take(COUNT)).flat(), numbers);
    await upgraded;
    for (const n of numbers) client.emit("echo", n);
    assert.deepEqual((await echoes.take(COUNT)).flat(), numbers);
  }));
});
