// Losing the connection as the official client tells of it: reasons, details, attempts, the manager's events.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { Mailbox } from "../harness/wait.mjs";

const RECONNECTING = { reconnection: true, reconnectionDelay: 30, reconnectionDelayMax: 30, randomizationFactor: 0 };
const OWN = { ownServer: true };

// What the manager tells, in order: [event, ...arguments], an error by its message.
function managerEvents(client, ...names) {
  const events = new Mailbox();
  for (const name of names) {
    client.socket.io.on(name, (...args) => events.push([name, ...args.map((arg) => (arg instanceof Error ? "error" : arg))]));
  }
  return events;
}

for (const mode of Object.keys(MODES)) {
  socketioTest(`${mode}: the manager tells of lost connections, attempts, errors and the reconnection [CLI-013]`, OWN, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING });
    const events = managerEvents(client, "reconnect_attempt", "reconnect_error", "reconnect", "reconnect_failed");
    await app.process.stop();
    await client.disconnected.next();
    assert.deepEqual([client.socket.connected, client.socket.active, client.id], [false, true, undefined]);
    assert.deepEqual(await events.take(4), [
      ["reconnect_attempt", 1],
      ["reconnect_error", "error"],
      ["reconnect_attempt", 2],
      ["reconnect_error", "error"],
    ]);
    const error = await client.refused.next();
    assert.match(error.message, mode === "websocket only" ? /^websocket error$/ : /^xhr poll error$/);
    await app.restart();
    const [welcome] = await client.on("welcome").next("the welcome after the restart");
    assert.deepEqual([client.socket.connected, client.id], [true, welcome.id]);
    let last;
    while (last?.[0] !== "reconnect") last = await events.next("the reconnection");
    assert.ok(last[1] >= 3, `it took ${last[1]} attempts`);
    assert.equal(events.size, 0);
  });

  socketioTest(`${mode}: after the last attempt the client gives up, and can be told to connect again`, OWN, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING, reconnectionAttempts: 2 });
    const events = managerEvents(client, "reconnect_attempt", "reconnect_failed", "reconnect");
    await app.process.stop();
    assert.deepEqual(await events.take(3), [["reconnect_attempt", 1], ["reconnect_attempt", 2], ["reconnect_failed"]]);
    await app.restart();
    client.socket.connect();
    await client.on("welcome").next("the welcome after connect()");
    assert.deepEqual(await client.ask("echo", 1), [1]);
    assert.equal(events.size, 0);
  });

  socketioTest(`${mode}: each reconnection asks the auth function anew`, async (app) => {
    let asked = 0;
    const auth = (send) => setTimeout(send, 5, { token: "secret", asked: ++asked });
    const client = await Client.connect(app, { mode, nsp: "/auth", auth, ...RECONNECTING });
    assert.deepEqual((await client.call("handshake")).auth, { token: "secret", asked: 1 });
    client.socket.io.engine.close();
    await client.on("welcome").next("the welcome after the reconnection");
    assert.deepEqual((await client.call("handshake")).auth, { token: "secret", asked: 2 });
  });

  socketioTest(`${mode}: what is changed before an attempt counts for it: the query and a namespace's token`, async (app) => {
    const client = await Client.connect(app, { mode, nsp: "/auth", auth: { token: "secret" }, query: { n: "1" }, ...RECONNECTING });
    client.socket.io.on("reconnect_attempt", () => {
      client.socket.io.opts.query.n = "2";
      client.socket.auth.token = "wrong";
    });
    client.socket.io.engine.close();
    const error = await client.refused.next();
    assert.deepEqual([error.message, error.data], ["bad token", { code: 4001 }]);
    assert.ok(error instanceof Error);
    assert.deepEqual([client.socket.active, client.socket.connected], [false, false]);
    client.socket.auth.token = "secret";
    client.socket.connect();
    await client.on("welcome").next("the welcome with the right token");
    assert.equal((await client.call("handshake")).query.n, "2");
  });

  socketioTest(`${mode}: the server and the client end a socket for good, and it says so`, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING });
    const attempts = managerEvents(client, "reconnect_attempt");
    client.emit("bye", false);
    assert.equal((await client.disconnected.next()).reason, "io server disconnect");
    assert.deepEqual([client.socket.active, client.socket.connected, client.id], [false, false, undefined]);
    client.socket.connect();
    await client.on("welcome").next();
    assert.equal(client.socket.active, true);
    client.close();
    assert.equal((await client.disconnected.next()).reason, "io client disconnect");
    assert.equal(client.socket.active, false);
    assert.equal(attempts.size, 0);
  });

  const BEATING = { env: { PING_INTERVAL: "100", PING_TIMEOUT: "150" }, ownServer: true };
  socketioTest(`${mode}: a server that does not speak any more is left for a ping timeout, and found again`, BEATING, async (app) => {
    const client = await Client.connect(app, { mode, ...RECONNECTING });
    const pings = managerEvents(client, "ping");
    await pings.take(2, "pings");
    await app.process.pause();
    const { reason } = await client.disconnected.next();
    app.process.resume();
    assert.equal(reason, "ping timeout");
    await client.on("welcome").next("the welcome after the pause");
    assert.deepEqual(await client.ask("echo", 1), [1]);
  });
}

socketioTest("a lost websocket says how it was closed", OWN, async (app) => {
  const client = await Client.connect(app);
  await app.process.stop();
  const { reason, details } = await client.disconnected.next();
  assert.equal(reason, "transport close");
  assert.equal(details.description, "websocket connection closed");
  assert.equal(details.context.code, 1005);
});

socketioTest("a polling client whose session has ended says so", async (app) => {
  const client = await Client.connect(app, { mode: "polling only" });
  // A second poll beside the client's own ends the session.
  const poll = await app.fetch(app.query(`&sid=${client.socket.io.engine.id}`));
  assert.equal(poll.status, 400);
  const { reason, details } = await client.disconnected.next();
  assert.equal(reason, "transport close");
  assert.equal(details.description, "transport closed by the server");
});

socketioTest("without reconnection a lost connection stays lost until the client is told to connect", async (app) => {
  const client = await Client.connect(app);
  const attempts = managerEvents(client, "reconnect_attempt", "open");
  client.socket.io.engine.close();
  await client.disconnected.next();
  client.socket.connect();
  await client.on("welcome").next("the welcome after connect()");
  assert.deepEqual(attempts.drain(), [["open"]]);
});

socketioTest("several namespaces of a connection are lost together and come back together", async (app) => {
  const main = await Client.connect(app, RECONNECTING);
  const others = [main.join("/chat"), main.join("/auth", { auth: { token: "secret" } })];
  for (const other of others) await other.welcomed();
  const left = others.shift();
  left.close();
  main.socket.io.engine.close();
  for (const client of [main, ...others]) {
    assert.equal((await client.disconnected.next()).reason, "forced close");
    const [welcome] = await client.on("welcome").next("the welcome after the reconnection");
    assert.equal(welcome.id, client.id);
    assert.deepEqual(await client.ask("echo", welcome.nsp), [welcome.nsp]);
  }
  assert.equal(left.socket.connected, false);
});
