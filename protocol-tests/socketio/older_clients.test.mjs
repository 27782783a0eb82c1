// Clients of Socket.IO 1.x and 2.x, which speak Engine.IO 3: by hand, and the official ones.

import assert from "node:assert/strict";
import { RawSocketio } from "../harness/raw_socketio.mjs";
import { Client, MODES, OLDER } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";

const V3 = { env: { EIO3: "1" } };

// --- by hand: Engine.IO 3 below, so binary frames begin with the type byte

class OldRawSocketio extends RawSocketio {
  // Connected to "/" by the server, its packets for that read.
  static async connect(app, { query = "" } = {}) {
    const raw = new OldRawSocketio(await app.websocket(query, { eio: 3 }));
    assert.equal(await raw.text(), "0");
    raw.welcome = JSON.parse((await raw.text()).slice(1))[1];
    return raw;
  }

  // Asks for a namespace as it stands and gives the answer.
  async ask(connect) {
    this.send("0" + connect);
    return this.text();
  }

  async join(connect) {
    const name = connect.split(/[?,]/)[0];
    assert.equal(await this.ask(connect), `0${name},`);
    const welcome = await this.text();
    assert.ok(welcome.startsWith(`2${name},["welcome",`), welcome);
    return JSON.parse(welcome.slice(name.length + 2))[1];
  }

  async handshake(nsp = "/") {
    this.send(nsp === "/" ? '20["handshake"]' : `2${nsp},0["handshake"]`);
    const answer = await this.text();
    return JSON.parse(answer.slice(answer.indexOf("[")))[0];
  }
}

socketioTest("an older client is in the main namespace at once, with the engine's id [SIO-192]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  assert.equal(raw.welcome.id, raw.websocket.sid);
  assert.equal(raw.welcome.nsp, "/");
  await raw.expectAlive();
  raw.abort();
});

socketioTest("an older client finds its CONNECT in the next poll, not in the handshake [SIO-192]", V3, async (app) => {
  const session = await app.polling("", { eio: 3 });
  const { body } = await session.get();
  assert.match(body, /^2:40(\d+:42\["welcome",\{"id":"[^"]+",.*\}\])?$/);
  await session.post("1:1");
});

socketioTest("an older client's ids in other namespaces are the namespace and the engine's id [SIO-192]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  const { id, nsp } = await raw.join("/chat");
  assert.deepEqual([id, nsp], [`/chat#${raw.websocket.sid}`, "/chat"]);
  raw.send('2/chat,0["rooms"]');
  assert.equal(await raw.text(), `3/chat,0[["${id}"]]`);
  raw.abort();
});

socketioTest("an older client's namespace query is its auth, also for the middleware [SIO-193]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  assert.equal(await raw.ask("/auth?token=wrong"), '4/auth,{"code":4001}');
  await raw.join("/auth?token=secret&x=a%20b");
  assert.deepEqual((await raw.handshake("/auth")).auth, { token: "secret", x: "a b" });
  assert.deepEqual((await raw.handshake()).auth, {});
  raw.abort();
});

socketioTest("an older client may repeat the query in later packets [SIO-193]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  await raw.join("/auth?token=secret");
  raw.send('2/auth?token=secret,7["echo",1]');
  assert.equal(await raw.text(), "3/auth,7[1]");
  raw.abort();
});

socketioTest("the payload of an older client's CONNECT is ignored [SIO-293]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  assert.equal(await raw.ask('/auth,{"token":"secret"}'), '4/auth,{"code":4001}');
  await raw.join('/chat,{"a":1}');
  assert.deepEqual((await raw.handshake("/chat")).auth, {});
  raw.abort();
});

socketioTest("an unknown namespace is refused with an object, as for current clients [SIO-292]", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  assert.equal(await raw.ask("/unknown"), '4/unknown,{"message":"Invalid namespace"}');
  await raw.expectAlive();
  raw.abort();
});

const REFUSALS = { "/": { message: "no entry", data: { code: 7 } }, "/chat": { message: "no chat" } };
const REFUSING = { env: { EIO3: "1", HOOKS: JSON.stringify({ refuse: REFUSALS }) } };

socketioTest("an older client that is refused in the main namespace keeps the connection and may join others [SIO-291]", REFUSING, async (app) => {
  const raw = new OldRawSocketio(await app.websocket("", { eio: 3 }));
  // The data of the error, or else its message.
  assert.equal(await raw.text(), '4{"code":7}');
  assert.equal(await raw.ask("/chat"), '4/chat,"no chat"');
  await raw.join("/auth?token=secret");
  raw.send('2/auth,0["echo",1]');
  assert.equal(await raw.text(), "3/auth,0[1]");
  raw.abort();
});

socketioTest("an older client's second CONNECT of a namespace closes the connection", V3, async (app) => {
  for (const connect of ["0", "0/"]) await (await OldRawSocketio.connect(app)).expectClosedBy(connect);
});

socketioTest("an older client sends and receives attachments with the type byte", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  const packet = '["echo",{"_placeholder":true,"num":0}]';
  raw.send(`51-${packet}`, Buffer.from([4, 1, 255]));
  assert.equal(await raw.text(), `51-${packet}`);
  assert.deepEqual(await raw.bytes(), Buffer.from([4, 1, 255]));
  raw.abort();
});

socketioTest("an older client leaves a namespace and comes back", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  await raw.join("/chat");
  raw.send("1/chat");
  await raw.expectAlive();
  await raw.join("/chat");
  raw.abort();
});

socketioTest("older and current clients meet in a room", V3, async (app) => {
  const raw = await OldRawSocketio.connect(app);
  const current = await Client.connect(app);
  const hellos = current.on("hello");
  await current.call("join", "meeting");
  raw.send('20["join","meeting"]');
  await raw.text();
  current.emit("cast", "meeting", "hello", Buffer.from([1, 2]));
  assert.equal(await raw.text(), '51-["hello",{"_placeholder":true,"num":0}]');
  assert.deepEqual(await raw.bytes(), Buffer.from([4, 1, 2]));
  raw.send('2["cast","meeting","hello","back"]');
  assert.deepEqual(await hellos.next(), ["back"]);
  raw.abort();
});

socketioTest("a client of Engine.IO 3 is refused unless it is allowed [SIO-194]", async (app) => {
  const client = Client.open(app, { library: OLDER["2.x"], mode: "polling only" });
  const failed = client.on("connect_error");
  assert.ok((await failed.next("the refusal"))[0]);
});

// --- the official ones

for (const [version, library] of Object.entries(OLDER)) {
  for (const mode of Object.keys(MODES)) {
    const connect = (app, options) => Client.connect(app, { library, mode, ...options });
    const name = `client ${version}, ${mode}:`;

    socketioTest(`${name} both sides know the same id, and the query arrives [SIO-192]`, V3, async (app) => {
      const client = await connect(app, { query: { a: "b" } });
      assert.equal(client.welcome.id, client.id);
      const { query } = await client.call("handshake");
      assert.deepEqual([query.EIO, query.a], ["3", "b"]);
    });

    socketioTest(`${name} events, acknowledgements and binary both ways`, V3, async (app) => {
      const client = await connect(app);
      const values = ["text é😀\u2028", 1.5, null, true, { deep: [1, { blob: Buffer.from([0, 1, 255]) }] }, Buffer.alloc(3000, 7)];
      assert.deepEqual(await client.ask("echo", ...values), values);
      const echoes = client.on("echo");
      client.emit("echo", ...values);
      assert.deepEqual(await echoes.next(), values);
      client.socket.on("question", (x, ack) => ack({ twice: x * 2 }));
      assert.deepEqual(await client.call("ask", 21), { ok: true, answer: { twice: 42 } });
      const bursts = client.on("burst");
      assert.equal(await client.call("burst", 50), 50);
      assert.deepEqual((await bursts.take(50)).flat(), Array.from({ length: 50 }, (_, i) => i));
    });

    socketioTest(`${name} namespaces, their query, and refusals [SIO-193] [SIO-292]`, V3, async (app) => {
      const main = await connect(app);
      const chat = main.join("/chat", { query: version === "1.x" ? "x=1" : { x: "1" } });
      await chat.welcomed();
      assert.equal(chat.welcome.id, `/chat#${main.id}`);
      assert.deepEqual((await chat.call("handshake")).auth, { x: "1" });
      assert.deepEqual(await main.join("/unknown").refused.next(), { message: "Invalid namespace" });
      assert.deepEqual(await main.join("/auth").refused.next(), { code: 4001 });
      assert.deepEqual(await main.ask("echo", 1), [1]);
    });

    socketioTest(`${name} rooms, and both ends' disconnect`, V3, async (app) => {
      const [one, two] = [await connect(app), await connect(app)];
      await one.call("join", "r");
      await two.call("join", "r");
      const hellos = two.on("hello");
      one.emit("cast", "r", "hello", 1);
      assert.deepEqual(await hellos.next(), [1]);
      one.emit("bye", true);
      assert.equal((await one.disconnected.next()).reason, "io server disconnect");
      two.close();
      assert.equal((await two.disconnected.next()).reason, "io client disconnect");
    });
  }
}

const BEATING = { env: { EIO3: "1", PING_INTERVAL: "100", PING_TIMEOUT: "1000" } };

for (const mode of ["polling only", "websocket only"]) {
  socketioTest(`client 2.x, ${mode}: its pings are answered over many heartbeats`, BEATING, async (app) => {
    const client = await Client.connect(app, { library: OLDER["2.x"], mode });
    const pongs = client.on("pong");
    await pongs.take(5, "a pong");
    assert.equal(client.disconnected.size, 0);
    assert.deepEqual(await client.ask("echo", 1), [1]);
  });
}
