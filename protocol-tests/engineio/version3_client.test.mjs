// The official engine.io-client 3 against the server: polling only, WebSocket only, and across the upgrade.

import assert from "node:assert/strict";
import { EngineClient, MODES } from "../harness/engine_client.mjs";
import { engineTest } from "../harness/suite.mjs";
import { settle } from "../harness/wait.mjs";

const V3 = { options: { allowEIO3: true } };
const toPlain = (data) => (typeof data === "string" ? data : { $hex: Buffer.from(data).toString("hex") });

for (const [mode, options] of Object.entries(MODES)) {
  const client = async (app, more) => (await EngineClient.open(app, { version: 3, ...options, ...more })).inMode(mode);

  engineTest(`client 3, ${mode}: text and binary both ways [EIO-179] [EIO-235] [EIO-236]`, V3, async (app) => {
    const { socket, messages } = await client(app);
    const values = ["hello", "", "çé 测试 😀", Buffer.from([0, 1, 254, 255]), Buffer.alloc(0), "x".repeat(70_000)];
    for (const value of values) socket.send(value);
    assert.deepEqual(await app.messages(6), values.map((value) => (value === "" ? null : toPlain(value))));
    await app.act(...values.map((value) => ({ send: toPlain(value) })));
    for (const value of values) assert.deepEqual(toPlain((await messages.next()) ?? ""), toPlain(value));
    socket.close();
  });

  engineTest(`client 3, ${mode}: 200 messages both ways at once keep their order`, V3, async (app) => {
    const { socket, messages } = await client(app);
    const numbers = Array.from({ length: 200 }, (_, i) => String(i));
    for (const n of numbers) socket.send(n);
    await app.act(...numbers.map((n) => ({ send: n })));
    assert.deepEqual(await messages.take(200), numbers);
    assert.deepEqual(await app.messages(200), numbers);
    socket.close();
  });

  engineTest(`client 3, ${mode}: both ends' close [EIO-242] [EIO-243]`, V3, async (app) => {
    const one = await client(app);
    one.close();
    assert.equal(await app.closeReason(), "transport close");
    await app.forgetSessions();
    const two = await client(app);
    await app.act({ send: "last" }, { close: true });
    assert.equal(await two.messages.next(), "last");
    assert.equal((await two.closed.next()).reason, "transport close");
    assert.equal(await app.closeReason(), "forced close");
  });

  const BEATING = { options: { allowEIO3: true, pingInterval: 60, pingTimeout: 1000 } };
  engineTest(`client 3, ${mode}: its pings are answered over many heartbeats [EIO-238] [EIO-240]`, BEATING, async (app) => {
    const { socket, messages, closed } = await client(app);
    for (let pongs = 0; pongs < 4; pongs++) await new Promise((resolve) => socket.once("pong", resolve));
    await settle();
    assert.equal(closed.size, 0);
    await app.act({ send: "still here" });
    assert.equal(await messages.next(), "still here");
    socket.close();
  });
}

engineTest("client 3: base64 that it forces is understood", V3, async (app) => {
  const { socket, messages } = await EngineClient.open(app, { version: 3, ...MODES["polling only"], forceBase64: true });
  socket.send(Buffer.from([1, 2, 3]));
  await app.act({ send: { $hex: "0405" } });
  assert.deepEqual(await app.messages(1), [{ $hex: "010203" }]);
  assert.deepEqual(toPlain(await messages.next()), { $hex: "0405" });
  socket.close();
});

engineTest("client 3: it is refused unless it is allowed", async (app) => {
  const client = new EngineClient(app, { version: 3, ...MODES["polling only"] });
  assert.equal((await client.closed.next()).reason, "transport error");
  assert.equal((await app.errors(1))[0].code, 5);
});
