// Events and acknowledgements with the official client, over polling, WebSocket and across the upgrade.

import assert from "node:assert/strict";
import { Client, MODES } from "../harness/socketio_client.mjs";
import { socketioTest } from "../harness/suite.mjs";
import { sleep } from "../harness/wait.mjs";

const JSON_VALUES = [
  ["a string", "hello"],
  ["an empty string", ""],
  ["quotes, backslashes and control characters", "\" \\ / \b\t\n\f\r \u0001 \u007f"],
  ["text of many scripts", "çé 测试 हिन्दी عربي 😀 \u{10ffff} \u2028 \u2029 \ufeff"],
  ["the separator of payloads", "a\x1eb"],
  ["zero", 0],
  ["integers", [1, -1, 123456789, 9007199254740991, -9007199254740991]],
  ["fractions", [0.1, -0.5, 1.7976931348623157e308, 5e-324, 0.30000000000000004, 123456.789]],
  ["numbers with exponents", [1e21, 1e-7, 1.5e300]],
  ["true and false", [true, false]],
  ["null", null],
  ["an empty object and an empty array", [{}, []]],
  ["a nested object", { a: { b: { c: [1, { d: null }] } }, "ключ": "значение", "": 1 }],
  ["an object that looks like a placeholder", { _placeholder: false, num: 0 }],
  ["a deep array", [[[[[[[[[["deep"]]]]]]]]]]],
];

for (const mode of Object.keys(MODES)) {
  const connect = (app, options) => Client.connect(app, { mode, ...options });

  for (const [name, value] of JSON_VALUES) {
    socketioTest(`${mode}: ${name} is echoed as it is [SIO-123] [SIO-125] [SIO-128] [CLI-001] [CLI-009] [CLI-010]`, async (app) => {
      const client = await connect(app);
      const echo = client.on("echo");
      client.emit("echo", value);
      assert.deepEqual(await echo.next(), [value]);
      assert.deepEqual(await client.ask("echo", value), [value]);
      client.close();
    });
  }

  socketioTest(`${mode}: any number of arguments, with and without an acknowledgement [SIO-144] [SIO-147] [CLI-007]`, async (app) => {
    const client = await connect(app);
    const echo = client.on("echo");
    for (const args of [[], [1], [1, "2", { 3: [4] }, null, true], Array(100).fill("x")]) {
      client.emit("echo", ...args);
      assert.deepEqual(await echo.next(), args);
      assert.deepEqual(await client.ask("echo", ...args), args);
    }
  });

  socketioTest(`${mode}: what JavaScript writes as JSON: dates, undefined, NaN, -0 [CLI-008] [CLI-035] [CLI-036]`, async (app) => {
    const client = await connect(app);
    const date = new Date(0);
    const text = "1970-01-01T00:00:00.000Z";
    const answer = await client.ask("echo", date, { date }, undefined, { gone: undefined }, NaN, -0);
    assert.deepEqual(answer, [text, { date: text }, null, {}, null, 0]);
  });

  for (const size of [0, 1, 125, 126, 1000, 65_535, 65_536, 500_000]) {
    socketioTest(`${mode}: a binary of ${size} bytes is echoed as event and acknowledgement [SIO-129] [SIO-131] [SIO-151] [SIO-152]`, async (app) => {
      const client = await connect(app);
      const bytes = Buffer.alloc(size).map((_, i) => (i * 7) % 256);
      const echo = client.on("echo");
      client.emit("echo", bytes);
      const [received] = await echo.next();
      assert.ok(Buffer.isBuffer(received));
      assert.ok(received.equals(bytes), `${received.length} bytes came back`);
      assert.ok((await client.call("echo", bytes)).equals(bytes));
    });
  }

  socketioTest(`${mode}: binaries at any depth, in order, with their siblings [SIO-130] [SIO-132] [SIO-149] [SIO-150] [SIO-244] [CLI-040] [CLI-041]`, async (app) => {
    const client = await connect(app);
    const [a, b, c] = ["a", "bb", ""].map((text) => Buffer.from(text));
    const value = { list: [a, null, { deep: { b, n: 1 } }], text: "x", c };
    const echo = client.on("echo");
    client.emit("echo", value, b, "between", a);
    client.emit("echo", "after");
    assert.deepEqual(await echo.next(), [value, b, "between", a]);
    assert.deepEqual(await echo.next(), ["after"]);
    assert.deepEqual(await client.ask("echo", [a], { b }, c), [[a], { b }, c]);
  });

  socketioTest(`${mode}: ten binaries in one packet, and the same one twice [SIO-132]`, async (app) => {
    const client = await connect(app);
    const ten = Array.from({ length: 10 }, (_, i) => Buffer.from([i]));
    assert.deepEqual(await client.ask("echo", ...ten), ten);
    assert.deepEqual(await client.ask("echo", ten[1], ten[1]), [ten[1], ten[1]]);
  });

  socketioTest(`${mode}: array buffers and typed arrays arrive as their bytes [CLI-038] [CLI-039] [CLI-040]`, async (app) => {
    const client = await connect(app);
    const numbers = Uint16Array.from([1, 2, 3]);
    assert.deepEqual(await client.ask("echo", numbers.buffer, numbers.subarray(1), { view: new DataView(numbers.buffer, 2, 2) }), [
      Buffer.from("010002000300", "hex"),
      Buffer.from("02000300", "hex"),
      { view: Buffer.from("0200", "hex") },
    ]);
  });

  socketioTest(`${mode}: an acknowledgement with a binary from the server [SIO-152]`, async (app) => {
    const client = await connect(app);
    for (const size of [0, 1, 100_000]) {
      const blob = await client.call("blob", size);
      assert.ok(blob.equals(Buffer.alloc(size, 7)), `${blob.length} bytes`);
    }
  });

  socketioTest(`${mode}: the server asks and the client answers [SIO-118] [SIO-146] [SIO-148] [SIO-153]`, async (app) => {
    const client = await connect(app);
    client.socket.on("question", (x, answer) => answer({ got: x }));
    assert.deepEqual(await client.call("ask", "a text"), { ok: true, answer: { got: "a text" } });
    const bytes = Buffer.from([1, 2, 3]);
    assert.deepEqual(await client.call("ask", bytes), { ok: true, answer: { got: bytes } });
  });

  socketioTest(`${mode}: the server asks and nobody answers: a timeout, and a late answer is ignored [SIO-116] [SIO-117] [SIO-119]`, async (app) => {
    const client = await connect(app);
    const questions = client.on("question");
    const answer = client.ask("ask", 1);
    assert.deepEqual(await client.ask("echo", "meanwhile"), ["meanwhile"]);
    assert.deepEqual(await answer, [{ ok: false, error: "timeout" }]);
    const [, reply] = await questions.next();
    reply("late");
    assert.deepEqual(await client.ask("echo", "still here"), ["still here"]);
  });

  socketioTest(`${mode}: many questions at once each get their own answer [SIO-120]`, async (app) => {
    const client = await connect(app);
    client.socket.on("question", (x, answer) => setTimeout(() => answer(x * 2), (x * 7) % 30));
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => client.call("ask", i)));
    assert.deepEqual(answers, Array.from({ length: 50 }, (_, i) => ({ ok: true, answer: i * 2 })));
  });

  socketioTest(`${mode}: 20 000 pipelined events are all answered in order [SIO-145] [CLI-071]`, async (app) => {
    const client = await connect(app);
    const echo = client.on("echo");
    const count = 20_000;
    for (let i = 0; i < count; i++) client.emit("echo", i);
    for (let i = 0; i < count; i++) {
      const [n] = await echo.next("the next echo", 20_000);
      if (n !== i) assert.equal(n, i);
    }
  });

  socketioTest(`${mode}: 5 000 acknowledgements come in the order of the events`, async (app) => {
    const client = await connect(app);
    const order = [];
    const answers = Array.from({ length: 5_000 }, (_, i) => client.ask("echo", i).then(([n]) => order.push(n)));
    await Promise.all(answers);
    assert.deepEqual(order, Array.from({ length: 5_000 }, (_, i) => i));
  });

  socketioTest(`${mode}: a burst of events from the server comes in order, then its acknowledgement [SIO-127]`, async (app) => {
    const client = await connect(app);
    const burst = client.on("burst");
    assert.equal(await client.call("burst", 2_000), 2_000);
    assert.equal(burst.size, 2_000);
    for (let i = 0; i < 2_000; i++) assert.deepEqual(await burst.next(), [i]);
  });

  socketioTest(`${mode}: binaries and texts mixed keep their order [CLI-041] [CLI-044]`, async (app) => {
    const client = await connect(app);
    const echo = client.on("echo");
    const sent = Array.from({ length: 200 }, (_, i) => (i % 3 === 0 ? Buffer.from([i]) : i));
    for (const value of sent) client.emit("echo", value);
    for (const value of sent) assert.deepEqual(await echo.next(), [value]);
  });

  socketioTest(`${mode}: very large JSON goes both ways [SIO-160]`, async (app) => {
    const client = await connect(app);
    const value = Array.from({ length: 10_000 }, (_, i) => ({ index: i, text: "some text that fills it up" }));
    assert.deepEqual(await client.ask("echo", value), [value]);
  });

  socketioTest(`${mode}: the client's own timeout of an acknowledgement [CLI-084] [CLI-086] [CLI-087] [CLI-088] [CLI-089] [CLI-072]`, async (app) => {
    const client = await connect(app);
    await assert.rejects(client.socket.timeout(50).emitWithAck("nobody listens to this"), /timed out/);
    assert.equal(await client.socket.timeout(5000).emitWithAck("echo", 1), 1);
    assert.equal(await client.socket.emitWithAck("echo", 2), 2);
  });

  socketioTest(`${mode}: volatile events of an idle client arrive [CLI-075]`, async (app) => {
    const client = await connect(app);
    const echo = client.on("echo");
    await sleep(50);
    client.socket.volatile.emit("echo", 1);
    assert.deepEqual(await echo.next(), [1]);
  });

  socketioTest(`${mode}: what is emitted before the connection is up is sent when it is, in order [CLI-071] [CLI-100]`, async (app) => {
    const client = Client.open(app, { mode });
    const echo = client.on("echo");
    client.emit("echo", "first");
    client.socket.on("connect", () => client.emit("echo", "third"));
    client.emit("echo", "second");
    const order = (await echo.take(3)).flat();
    assert.deepEqual([...order].sort(), ["first", "second", "third"]);
    assert.ok(order.indexOf("first") < order.indexOf("second"));
  });

  socketioTest(`${mode}: the transport is as it should be`, async (app) => {
    const client = await connect(app);
    assert.equal(await client.call("transport"), mode === "polling only" ? "polling" : "websocket");
  });
}

socketioTest("an event with a name nobody listens to is ignored", async (app) => {
  const client = await Client.connect(app);
  client.emit("unheard of", 1);
  client.emit("", 2);
  assert.deepEqual(await client.ask("echo", 3), [3]);
});

socketioTest("events with a retry are sent one after the other [CLI-097] [CLI-098]", async (app) => {
  const client = await Client.connect(app, { retries: 3, ackTimeout: 100 });
  const order = [];
  const answers = [1, 2, 3].map((n) => client.ask("echo", n).then(([error, value]) => order.push([error, value])));
  await Promise.all(answers);
  assert.deepEqual(order, [[null, 1], [null, 2], [null, 3]]);
  const [error] = await client.ask("nobody answers");
  assert.match(error.message, /timed out/);
});

socketioTest("events keep their order and are heard once across the upgrade [SIO-205]", async (app) => {
  for (let round = 0; round < 10; round++) {
    const client = Client.open(app, { mode: "upgrade" });
    const echo = client.on("echo");
    for (let i = 0; i < 200; i++) {
      client.emit("echo", i);
      if (i % 20 === 0) await sleep(1);
    }
    const heard = (await echo.take(200)).flat();
    assert.deepEqual(heard, Array.from({ length: 200 }, (_, i) => i));
    await client.transport("websocket");
    assert.deepEqual(await client.ask("echo", "after"), ["after"]);
    assert.equal(echo.size, 0);
    client.close();
  }
});

socketioTest("a client that leaves before its upgrade is complete does no harm [SIO-205]", async (app) => {
  for (let i = 0; i < 10; i++) {
    const client = Client.open(app, { mode: "upgrade" });
    await client.welcomed();
    client.close();
  }
  assert.deepEqual(await (await Client.connect(app)).ask("echo", 1), [1]);
});

socketioTest("hundred clients at once are each answered themselves", async (app) => {
  const clients = await Promise.all(Array.from({ length: 100 }, () => Client.connect(app)));
  assert.equal(new Set(clients.map(({ id }) => id)).size, 100);
  const answers = await Promise.all(clients.map((client, i) => client.call("echo", i)));
  assert.deepEqual(answers, Array.from({ length: 100 }, (_, i) => i));
});
