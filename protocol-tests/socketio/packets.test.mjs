// Socket.IO packets by hand: connecting, events, acknowledgements, attachments, and what is lenient and what is refused.

import assert from "node:assert/strict";
import { RawSocketio } from "../harness/raw_socketio.mjs";
import { socketioTest } from "../harness/suite.mjs";

// --- the Engine.IO below

socketioTest("the Engine.IO handshake is served at the path of Socket.IO [SIO-218] [SIO-222]", async (app) => {
  const { handshake } = await app.polling();
  assert.deepEqual(Object.keys(handshake), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
  const websocket = await app.websocket();
  assert.deepEqual(websocket.handshake.upgrades, []);
  websocket.abort();
});

socketioTest("bad Engine.IO requests are refused at the path of Socket.IO [SIO-219] [SIO-220] [SIO-221] [SIO-194]", async (app) => {
  for (const [path, method, code] of [
    ["/socket.io/?transport=polling", "GET", 5],
    ["/socket.io/?EIO=abc&transport=polling", "GET", 5],
    ["/socket.io/?EIO=4", "GET", 0],
    ["/socket.io/?EIO=4&transport=abc", "GET", 0],
    ["/socket.io/?EIO=4&transport=polling", "POST", 2],
    ["/socket.io/?EIO=4&transport=polling", "PUT", 2],
  ]) {
    const response = await app.fetch({ path, method });
    assert.equal(response.status, 400, path);
    assert.equal(JSON.parse(response.body).code, code, path);
  }
});

socketioTest("bad upgrades are refused at the path of Socket.IO [SIO-223] [SIO-224]", async (app) => {
  const version = await app.rawWebSocket("/socket.io/?EIO=abc&transport=websocket");
  assert.equal(version.http.status, 101);
  assert.match((await version.next()).raw, /^HTTP\/1\.1 400 Bad Request\r\n/);
  const transport = await app.rawWebSocket("/socket.io/?EIO=4&transport=abc");
  assert.equal(transport.http.status, 400);
});

// --- CONNECT

socketioTest("CONNECT is answered with exactly the socket's id [SIO-234] [SIO-014]", async (app) => {
  const raw = await RawSocketio.open(app);
  raw.send("0");
  const { sid, ...rest } = JSON.parse((await raw.text()).slice(1));
  assert.deepEqual(rest, {});
  assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
  assert.notEqual(sid, raw.websocket.sid);
  const [event, welcome] = JSON.parse((await raw.text()).slice(1));
  assert.equal(event, "welcome");
  assert.equal(welcome.id, sid);
  raw.send('20["handshake"]');
  assert.deepEqual(JSON.parse((await raw.text()).slice(2))[0].auth, {});
  raw.abort();
});

socketioTest("the payload of CONNECT is the handshake's auth [SIO-235]", async (app) => {
  const raw = await RawSocketio.connect(app, { payload: '{"token":"123"}' });
  raw.send('20["handshake"]');
  assert.deepEqual(JSON.parse((await raw.text()).slice(2))[0].auth, { token: "123" });
  raw.abort();
});

socketioTest("CONNECT to another namespace, with and without payload and comma [SIO-236] [SIO-237] [SIO-057]", async (app) => {
  for (const packet of ["0/chat,", '0/chat,{"token":"x"}', "0/chat"]) {
    const raw = await RawSocketio.open(app);
    raw.send(packet);
    assert.match(await raw.text(), /^0\/chat,\{"sid":"[A-Za-z0-9_-]{20}"\}$/);
    assert.match(await raw.text(), /^2\/chat,\["welcome",/);
    raw.abort();
  }
});

socketioTest("CONNECT to an unknown namespace is refused, the connection stays [SIO-238] [SIO-063]", async (app) => {
  const raw = await RawSocketio.open(app);
  for (const name of ["/random", "/chat?x=1", "/chat/", "/Chat", "/dyn-"]) {
    raw.send(`0${name}`);
    assert.equal(await raw.text(), `4${name},{"message":"Invalid namespace"}`);
  }
  await raw.join("/chat");
  raw.abort();
});

socketioTest("a middleware's refusal is a CONNECT_ERROR with message and data, and may be tried again [SIO-042] [SIO-041]", async (app) => {
  const raw = await RawSocketio.open(app);
  raw.send('0/auth,{"token":"wrong"}');
  assert.equal(await raw.text(), '4/auth,{"message":"bad token","data":{"code":4001}}');
  await raw.join("/auth", '{"token":"secret"}');
  raw.abort();
});

socketioTest("an id of CONNECT is ignored", async (app) => {
  const raw = await RawSocketio.open(app);
  raw.send("07");
  assert.match(await raw.text(), /^0\{"sid":/);
  raw.abort();
});

socketioTest("a leading whitespace and an empty message are a CONNECT [SIO-281]", async (app) => {
  for (const packet of [" ", "\t", "\n"]) {
    const raw = await RawSocketio.open(app);
    raw.send(packet);
    assert.match(await raw.text(), /^0\{"sid":/, JSON.stringify(packet));
    raw.abort();
  }
});

for (const [name, packet] of [
  ["an event", '2["echo",1]'],
  ["an acknowledgement", "31[]"],
  ["a DISCONNECT", "1"],
  ["an unknown type", "9"],
  ["garbage", "abc"],
  ["a CONNECT with an array", "0[]"],
  ["a CONNECT with a text", '0"x"'],
  ["a CONNECT with broken JSON", "0{"],
  ["a CONNECT with null", "0null"],
  ["a CONNECT_ERROR", '4{"message":"x"}'],
]) {
  socketioTest(`${name} as the first packet closes the connection [SIO-239] [SIO-007]`, async (app) => {
    const raw = await RawSocketio.open(app);
    await raw.expectClosedBy(packet);
  });
}

socketioTest("a binary event before CONNECT closes the connection [SIO-239]", async (app) => {
  const raw = await RawSocketio.open(app);
  await raw.expectClosedBy('51-["echo",{"_placeholder":true,"num":0}]', Buffer.from([1]));
});

socketioTest("a binary message before any announcement closes the connection [PAR-026]", async (app) => {
  const raw = await RawSocketio.open(app);
  await raw.expectClosedBy(Buffer.from([1]));
});

socketioTest("CONNECT to a namespace that is joined closes the connection [SIO-006] [SIO-274]", async (app) => {
  const raw = await RawSocketio.connect(app);
  await raw.expectClosedBy("0");
  const chat = await RawSocketio.connect(app, { nsp: "/chat" });
  await chat.expectClosedBy("0/chat,");
});

socketioTest("over polling two CONNECTs are answered and closed [SIO-006] [SIO-274]", async (app) => {
  const session = await app.polling();
  await session.post("40");
  await session.post("40");
  const packets = await session.packetsUntilClosed();
  assert.match(packets[0], /^40\{"sid":/);
  assert.match(packets[1], /^42\["welcome"/);
  assert.deepEqual(packets.slice(2), ["6", "1"]);
});

socketioTest("over polling an event before CONNECT is closed [SIO-007]", async (app) => {
  const session = await app.polling();
  assert.equal((await session.post('42["echo"]')).body, "ok");
  assert.deepEqual(await session.packetsUntilClosed(), ["6", "1"]);
});

socketioTest("over polling an undecodable packet after CONNECT is closed after what was sent [SIO-008]", async (app) => {
  const session = await app.polling();
  await session.post("40");
  assert.equal((await session.post("4abc")).body, "ok");
  const packets = await session.packetsUntilClosed();
  assert.match(packets[0], /^40\{"sid":/);
  assert.match(packets[1], /^42\["welcome"/);
  assert.deepEqual(packets.slice(2), ["6", "1"]);
});

// --- DISCONNECT

socketioTest("DISCONNECT leaves the connection open for another CONNECT [SIO-241]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send("1");
  assert.deepEqual(await raw.websocket.quiet(30), []);
  await raw.join("/");
  await raw.expectAlive();
  raw.abort();
});

socketioTest("DISCONNECT of one namespace leaves the others [SIO-242]", async (app) => {
  const raw = await RawSocketio.connect(app);
  await raw.join("/chat");
  raw.send("1/chat,");
  await raw.expectAlive();
  raw.abort();
});

socketioTest("an event for a namespace that was left closes the connection", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send("1");
  assert.deepEqual(await raw.websocket.quiet(30), []);
  await raw.expectClosedBy('2["echo",1]');
});

socketioTest("the server's disconnect of a namespace is a DISCONNECT packet, the connection stays", async (app) => {
  const raw = await RawSocketio.connect(app);
  await raw.join("/chat");
  raw.send('2/chat,["bye",false]');
  assert.equal(await raw.text(), "1/chat,");
  await raw.expectAlive();
  raw.send('2["bye"]');
  assert.equal(await raw.text(), "1");
  assert.deepEqual(await raw.websocket.quiet(30), []);
  await raw.join("/");
  raw.abort();
});

socketioTest("the server's disconnect of the connection is a DISCONNECT per namespace in order, and a close [SIO-286]", async (app) => {
  const raw = await RawSocketio.connect(app);
  await raw.join("/chat");
  await raw.join("/auth", '{"token":"secret"}');
  raw.send('2/chat,["bye",true]');
  assert.deepEqual([await raw.text(), await raw.text(), await raw.text()], ["1", "1/chat,", "1/auth,"]);
  assert.deepEqual(await raw.websocket.next(), { close: null });
  raw.abort();
});

// --- EVENT and ACK

socketioTest("a text event comes back as it went [SIO-243]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('2["echo",1,"2",{"3":[true]}]');
  assert.equal(await raw.text(), '2["echo",1,"2",{"3":[true]}]');
  raw.abort();
});

socketioTest("an event with an id is acknowledged with it [SIO-245]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('2456["echo",1,"2",{"3":[false]}]');
  assert.equal(await raw.text(), '3456[1,"2",{"3":[false]}]');
  raw.send('20["echo"]');
  assert.equal(await raw.text(), "30[]");
  raw.abort();
});

socketioTest("an event of a namespace is answered in it", async (app) => {
  const raw = await RawSocketio.connect(app, { nsp: "/chat" });
  raw.send('2/chat,["echo","x"]');
  assert.equal(await raw.text(), '2/chat,["echo","x"]');
  raw.send('2/chat,7["echo","x"]');
  assert.equal(await raw.text(), '3/chat,7["x"]');
  raw.abort();
});

socketioTest("ids with leading zeros are numbers, a space is the id 0 [SIO-282]", async (app) => {
  const raw = await RawSocketio.connect(app);
  for (const [id, answered] of [["007", "7"], [" ", "0"], [" 1", "1"], ["9007199254740991", "9007199254740991"]]) {
    raw.send(`2${id}["echo","x"]`);
    assert.equal(await raw.text(), `3${answered}["x"]`, JSON.stringify(id));
  }
  raw.abort();
});

socketioTest("an event without payload is taken and ignored [SIO-280]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send("2", "21", "3", "31");
  await raw.expectAlive();
  raw.abort();
});

socketioTest("an acknowledgement that nobody waits for is ignored", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send("399[]", "3[]", '3123["x"]');
  await raw.expectAlive();
  raw.abort();
});

socketioTest("a second acknowledgement of an id is ignored", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('20["ask","x"]');
  const question = await raw.text();
  const id = /^2(\d+)\["question","x"\]$/.exec(question)?.[1];
  assert.ok(id, question);
  raw.send(`3${id}["first"]`, `3${id}["second"]`);
  assert.equal(await raw.text(), '30[{"ok":true,"answer":"first"}]');
  await raw.expectAlive();
  raw.abort();
});

socketioTest("an event with a number as its name is taken [PAR-005]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send("2[1]", "2[1.5,2]", '2[""]');
  await raw.expectAlive();
  raw.abort();
});

socketioTest("JSON is read leniently in whitespace, and written tightly [SIO-283]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('2[ "echo" , 1.0 , 1e3 , -0 , 0.10 , "\\u0041\\/" ]\n');
  assert.equal(await raw.text(), '2["echo",1,1000,0,0.1,"A/"]');
  raw.abort();
});

socketioTest("text that is no ASCII is not escaped, control characters are", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('2["echo","\\u00e9😀\\u2028\\u0001\\n\\u007f"]');
  assert.equal(await raw.text(), '2["echo","é😀\u2028\\u0001\\n\x7f"]');
  raw.abort();
});

// --- attachments

const PLACEHOLDER = (num) => `{"_placeholder":true,"num":${num}}`;

socketioTest("a binary event comes back with its attachments in order [SIO-244] [PAR-021] [PAR-022]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send(`52-["echo",${PLACEHOLDER(0)},{"a":${PLACEHOLDER(1)}}]`, Buffer.from([1, 2]), Buffer.from([3]));
  assert.equal(await raw.text(), `52-["echo",${PLACEHOLDER(0)},{"a":${PLACEHOLDER(1)}}]`);
  assert.deepEqual(await raw.bytes(), Buffer.from([1, 2]));
  assert.deepEqual(await raw.bytes(), Buffer.from([3]));
  raw.abort();
});

socketioTest("a binary event with an id is acknowledged with attachments [SIO-246] [PAR-023]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send(`51-789["echo",${PLACEHOLDER(0)}]`, Buffer.from([1, 2]));
  assert.equal(await raw.text(), `61-789[${PLACEHOLDER(0)}]`);
  assert.deepEqual(await raw.bytes(), Buffer.from([1, 2]));
  raw.abort();
});

socketioTest("a binary acknowledgement is understood [SIO-151]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send('20["ask",1]');
  const id = /^2(\d+)/.exec(await raw.text())[1];
  raw.send(`61-${id}[${PLACEHOLDER(0)}]`, Buffer.from([5]));
  assert.equal(await raw.text(), `61-0[{"ok":true,"answer":${PLACEHOLDER(0)}}]`);
  assert.deepEqual(await raw.bytes(), Buffer.from([5]));
  raw.abort();
});

socketioTest("attachments may come as base64 text, and over polling do", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.websocket.send({ text: `451-["echo",${PLACEHOLDER(0)}]` }, { text: "bAQI=" });
  assert.equal(await raw.text(), `51-["echo",${PLACEHOLDER(0)}]`);
  assert.deepEqual(await raw.bytes(), Buffer.from([1, 2]));
  raw.abort();

  const session = await app.polling();
  await session.post("40");
  await session.packets(2);
  await session.post([`451-["echo",${PLACEHOLDER(0)}]`, "bAQI="].join("\x1e"));
  assert.deepEqual(await session.packets(2), [`451-["echo",${PLACEHOLDER(0)}]`, "bAQI="]);
});

socketioTest("a binary event to a pending poll may take two polls, and is whole [SIO-295]", async (app) => {
  const session = await app.polling();
  await session.post("40");
  await session.packets(2);
  const poll = await session.pendingGet();
  await session.post('420["blob",3]');
  const first = (await poll.response()).body.split("\x1e");
  const rest = await session.packets(2 - first.length);
  assert.deepEqual([...first, ...rest], [`461-0[${PLACEHOLDER(0)}]`, "bBwcH"]);
});

socketioTest("the same attachment may be used twice, or not at all", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send(`52-["echo",${PLACEHOLDER(1)},${PLACEHOLDER(1)}]`, Buffer.from([1]), Buffer.from([2]));
  assert.equal(await raw.text(), `52-["echo",${PLACEHOLDER(0)},${PLACEHOLDER(1)}]`);
  assert.deepEqual(await raw.bytes(), Buffer.from([2]));
  assert.deepEqual(await raw.bytes(), Buffer.from([2]));
  raw.abort();
});

socketioTest("a placeholder in a text event is plain data", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.send(`2["echo",${PLACEHOLDER(5)}]`);
  assert.equal(await raw.text(), `2["echo",${PLACEHOLDER(5)}]`);
  raw.abort();
});

socketioTest("ten attachments are taken, eleven close the connection [PAR-012]", async (app) => {
  const raw = await RawSocketio.connect(app);
  const ten = Array.from({ length: 10 }, (_, i) => PLACEHOLDER(i));
  raw.send(`510-["echo",${ten}]`, ...ten.map((_, i) => Buffer.from([i])));
  assert.equal(await raw.text(), `510-["echo",${ten}]`);
  for (let i = 0; i < 10; i++) assert.deepEqual(await raw.bytes(), Buffer.from([i]));
  await raw.expectClosedBy('511-["echo"]');
});

for (const [name, ...items] of [
  ["a text while attachments are awaited", '51-["echo"]', '2["echo"]'],
  ["a placeholder beyond the attachments", `51-["echo",${PLACEHOLDER(1)}]`, Buffer.from([1])],
  ["a negative placeholder", `51-["echo",${PLACEHOLDER(-1)}]`, Buffer.from([1])],
  ["a placeholder that is no number", `51-["echo",${PLACEHOLDER('"0"')}]`, Buffer.from([1])],
  ["an attachment too many", `51-["echo",${PLACEHOLDER(0)}]`, Buffer.from([1]), Buffer.from([2])],
]) {
  socketioTest(`${name} closes the connection [PAR-024] [PAR-025] [PAR-027]`, async (app) => {
    const raw = await RawSocketio.connect(app);
    raw.send(...items);
    // An event that was whole before the offence is answered first.
    let frame;
    do frame = await raw.websocket.next("the close frame");
    while (!("close" in frame));
    assert.deepEqual(frame, { close: null });
    raw.abort();
  });
}

// --- what closes a connection that has joined

for (const packet of [
  "7", "9", "a", "abc", "4{}", "2{}", "2[]", "2[null]", "2[true]", "2[{}]", '2["connect"]', '2["connect_error"]',
  '2["disconnect"]', '2["disconnecting"]', '2["newListener"]', '2["removeListener"]', '2"x"', "2[", "2abc", '2["a"', '2x["a"]',
  '21.5["a"]', "2-1[]", "1{}", "1[]", '1"x"', "3{}", '3"x"', "31{}", "0[]", '4"x"', "5", "51", "5-", '50-["a"]', '5a-["a"]',
  '51.5-["a"]', '5-1-["a"]', '511-["a"]', "5woooot", "60-[]", '2["a"]x', '2/other,["a"]', "1/other,", "3/other,1[]",
]) {
  const ids = { 7: "[SIO-247]", "2{}": "[SIO-248]", '2x["a"]': "[SIO-249]", "4{}": "[SIO-166]", 5: "[SIO-168]", "5woooot": "[SIO-167]", abc: "[SIO-165]" };
  socketioTest(`the packet ${packet} closes the connection${ids[packet] ? " " + ids[packet] : ""} [PAR-015] [PAR-016] [PAR-017]`, async (app) => {
    const raw = await RawSocketio.connect(app);
    await raw.expectClosedBy(packet);
  });
}

socketioTest("the end of one connection does not touch another", async (app) => {
  const [first, second] = [await RawSocketio.connect(app), await RawSocketio.connect(app)];
  await first.expectClosedBy("abc");
  await second.expectAlive();
  second.abort();
});

// --- heartbeat, close and upgrade below a joined namespace

const BEATING = { env: { PING_INTERVAL: "120", PING_TIMEOUT: "600" } };

socketioTest("heartbeats of a connection over websocket [SIO-227] [SIO-228] [SIO-241]", BEATING, async (app) => {
  const websocket = await app.websocket();
  for (let i = 0; i < 3; i++) {
    assert.equal(await websocket.text(), "2");
    websocket.send({ text: "3" });
  }
  assert.equal(await websocket.text(), "2");
  assert.deepEqual(await websocket.next(), { close: null });
  websocket.abort();
});

socketioTest("heartbeats of a connection over polling [SIO-225] [SIO-226]", BEATING, async (app) => {
  const session = await app.polling();
  for (let i = 0; i < 3; i++) {
    assert.equal((await session.get()).body, "2");
    assert.equal((await session.post("3")).body, "ok");
  }
  assert.equal((await session.get()).body, "2");
  assert.equal((await session.get()).body, "1");
  assert.equal((await session.get()).status, 400);
});

socketioTest("a close packet over polling ends the connection [SIO-229]", async (app) => {
  const session = await app.polling();
  const poll = await session.pendingGet();
  assert.equal((await session.post("1")).body, "ok");
  assert.equal((await poll.response()).body, "6");
  assert.equal((await session.get()).status, 400);
});

socketioTest("a close frame over websocket ends the connection [SIO-230]", async (app) => {
  const raw = await RawSocketio.connect(app);
  raw.websocket.send({ close: 1000 });
  assert.deepEqual(await raw.websocket.next(), { close: 1000 });
  assert.deepEqual(await raw.websocket.next(), { tcp: "fin" });
});

socketioTest("a joined namespace goes on across the upgrade [SIO-231] [SIO-232] [SIO-233]", async (app) => {
  const session = await app.polling();
  await session.post("40");
  await session.packets(2);
  const websocket = await app.probe(session.sid);
  websocket.send({ text: "2probe" });
  assert.equal(await websocket.text(), "3probe");
  await session.post('42["echo","by POST"]');
  websocket.send({ text: "5" }, { text: '42["echo","by websocket"]' });
  assert.equal(await websocket.text(), '42["echo","by POST"]');
  assert.equal(await websocket.text(), '42["echo","by websocket"]');
  assert.equal((await session.get()).status, 400);
  const second = await app.probe(session.sid);
  assert.deepEqual(await second.next(), { close: null });
  websocket.send({ text: '420["transport"]' });
  assert.equal(await websocket.text(), '430["websocket"]');
  second.abort();
  websocket.abort();
});

socketioTest("packets of one POST are handled in order", async (app) => {
  const session = await app.polling();
  await session.post("40");
  await session.packets(2);
  await session.post(['420["echo",1]', '42["echo",2]', '421["echo",3]'].join("\x1e"));
  assert.deepEqual(await session.packets(3), ["430[1]", '42["echo",2]', "431[3]"]);
});
