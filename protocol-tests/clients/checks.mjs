// What every client must be able to do, in the words of its own generation. Runs in Node and, unchanged, in a browser.
//
// A cell is {io, generation, transport, parser, url, megabytes}: the client's `io` function, the major version of the
// client, a key of TRANSPORTS, a parser or nothing.

import { Mailbox, sleep, until, within } from "../harness/wait.mjs";

export const TRANSPORTS = {
  polling: { transports: ["polling"] },
  jsonp: { transports: ["polling"], upgrade: false, forceJSONP: true },
  websocket: { transports: ["websocket"] },
  upgrade: { transports: ["polling", "websocket"] },
};

const PIPELINED = 200;
const HEARTBEATS = 5; // one each 300 ms: 1.5 s
const HANGING_POLL_MS = 1200;
const MEGABYTE = 1_000_000;
const CHECK_MS = 20_000;

const JSON_KINDS = [
  null, true, false, 0, -1, 1.5, 9007199254740991, "", "text", 'quotes " \\ / and \n\t', "ünï 🦀 \u2028\u2029 \u0000",
  [], [1, [2, [3, []]]], {}, { a: { b: [null, { c: "d" }] }, "": 1 }, "long ".repeat(4000),
];
// What these clients cannot do themselves, whatever the server is. The first is an error that they make together with
// Node's server: 1.x encodes such text twice.
const cannot = ({ generation, transport }) => {
  const oldRequests = generation === 1 && transport === "polling" && typeof document !== "undefined";
  return { sendNonAscii: oldRequests, readLongText: oldRequests, sendLongBinary: transport === "jsonp" };
};
const VALUES_OF_ASK = [7, "text", ["a", { b: null }]];

const CHECKS = {
  "connects, and is welcomed": async (cell) => {
    const client = await connect(cell);
    const { id, nsp } = client.welcome;
    same([id, nsp], [client.socket.id, "/"]);
    same(await client.call("transport"), cell.transport === "jsonp" ? "polling" : client.socket.io.engine.transport.name);
  },

  "echoes JSON of every kind": async (cell) => {
    const client = await connect(cell);
    const kinds = cannot(cell).sendNonAscii ? JSON_KINDS.filter((kind) => !/[^\0-\x7f]/.test(kind)) : JSON_KINDS;
    same(await client.ask("echo", ...kinds), kinds);
    same(await client.echo(...kinds), kinds);
  },

  "echoes nested binary": async (cell) => {
    const client = await connect(cell);
    const every = bytes(...Array(256).keys());
    const args = [{ a: [every, { b: bytes(1, 2, 3) }], n: 1 }, bytes(), "between", [[bytes(0)]]];
    same(await client.ask("echo", ...args), args);
    same(await client.echo(...args), args);
    same(await client.call("blob", 1000), bytes(...Array(1000).fill(7)));
  },

  "acknowledges both ways": async (cell) => {
    const client = await connect(cell);
    client.socket.on("question", (value, acknowledge) => acknowledge({ answered: value }));
    for (const value of [...VALUES_OF_ASK, { x: [bytes(1, 2)] }]) {
      let answer;
      // The server waits a second, and JSONP on a busy machine takes about that long.
      for (let attempt = 0; attempt < 3 && !answer?.ok; attempt++) answer = await client.call("ask", value);
      same(answer, { ok: true, answer: { answered: value } });
    }
  },

  // In the upgrade column they are sent while the upgrade goes on.
  "keeps pipelined events in order": async (cell) => {
    const client = await open(cell);
    const echoes = client.on("echo");
    const numbers = [...Array(PIPELINED).keys()];
    for (const number of numbers) client.socket.emit("echo", number, ...(number % 10 === 0 ? [bytes(number)] : []));
    same((await echoes.take(PIPELINED, "all echoes")).map(([number]) => number), numbers);
    const bursts = client.on("burst");
    same(await client.call("burst", PIPELINED), PIPELINED);
    same(bursts.drain().flat(), numbers);
  },

  "is in rooms with another client": async (cell) => {
    const [one, two] = [await connect(cell), await connect(cell)];
    const room = `room of ${one.welcome.id}`;
    for (const client of [one, two]) same(await client.call("join", room), [room, client.welcome.id].toSorted());
    const [heardByOne, heardByTwo] = [one.on("news"), two.on("news")];
    same(await one.call("cast", room, "news", 1, { data: bytes(4, 5) }), true);
    same(await heardByTwo.next("the cast"), [1, { data: bytes(4, 5) }]);
    same(await two.call("leave", room), [two.welcome.id]);
    same(await one.call("cast", room, "news", 2), true);
    same(await two.call("cast", room, "news", 3), true);
    same(await heardByOne.next("the cast from outside"), [3]);
    same(heardByTwo.size, 0);
  },

  "joins another namespace": async (cell) => {
    const client = await connect(cell);
    const chat = await client.namespace("/chat");
    same(chat.welcome.nsp, "/chat");
    if (cell.generation > 1) same(chat.socket.id, chat.welcome.id); // 1.x shows the connection's id in every namespace
    same(await chat.ask("echo", "in chat", bytes(9)), ["in chat", bytes(9)]);
    same(await client.ask("echo", "in /"), ["in /"]);
    const gone = chat.on("disconnect");
    chat.socket.disconnect();
    same(await gone.next("its own disconnect"), ["io client disconnect"]);
    same(await client.ask("echo", "still there"), ["still there"]);
  },

  "is refused with the data of the error": async (cell) => {
    const client = start(cell, { nsp: "/auth" });
    const [error] = await client.on(cell.generation < 3 ? "error" : "connect_error").next("the refusal");
    if (cell.generation < 3) return same(error, { code: 4001 });
    same([error.message, error.data], ["bad token", { code: 4001 }]);
  },

  "is accepted with a token": async (cell) => {
    const token = { token: "secret" };
    const accepted = await connect(cell, { nsp: "/auth", ...(cell.generation < 3 ? { query: token } : { auth: token }) });
    same(accepted.welcome.nsp, "/auth");
    // The second way of 2.x: a query of the namespace's own, on a connection that has none.
    if (cell.generation !== 2) return;
    const client = await connect(cell);
    same((await client.namespace("/auth", { query: "token=secret" })).welcome.nsp, "/auth");
  },

  "is disconnected by the server": async (cell) => {
    const client = await connect(cell);
    const chat = await client.namespace("/chat");
    const [gone, chatGone] = [client.on("disconnect"), chat.on("disconnect")];
    chat.socket.emit("bye", false);
    same((await chatGone.next("the disconnect of /chat"))[0], "io server disconnect");
    same(await client.ask("echo", "still there"), ["still there"]);
    const { engine } = client.socket.io;
    client.socket.emit("bye", true);
    same((await gone.next("the disconnect"))[0], "io server disconnect");
    await until(() => engine.readyState === "closed", "the close of the connection");
  },

  "reconnects after the server dropped it": async (cell) => {
    const client = await connect(cell, { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 });
    const [gone, welcomes] = [client.on("disconnect"), client.on("welcome")];
    client.socket.io.engine.write("garbage"); // no packet of Socket.IO: the server closes the connection
    const [reason] = await gone.next("the disconnect");
    if (!/^transport (close|error)$/.test(reason)) throw new Error(`disconnected: ${reason}`);
    const [{ id }] = await welcomes.next("the welcome after it");
    same(id === client.welcome.id, false);
    same(await client.ask("echo", "back", bytes(1)), ["back", bytes(1)]);
  },

  "carries a megabyte both ways": async (cell) => {
    const client = await connect(cell);
    const text = "x".repeat(MEGABYTE);
    if (!cannot(cell).readLongText) same(await client.ask("echo", text), [text]);
    if (cannot(cell).sendLongBinary) return;
    const data = bytes(...Array(1000).keys());
    const megabyte = bytes.join(Array(MEGABYTE / 1000).fill(data));
    same(await client.ask("echo", { megabyte }), [{ megabyte }]);
  },

  "lives on its heartbeats": async (cell) => {
    const client = await connect(cell);
    const beats = new Mailbox();
    client.socket.on("disconnect", (reason) => beats.push(reason));
    const beat = cell.generation < 3 ? "pong" : "ping"; // the server answers the old clients, and asks the newer ones
    client.socket.io.engine.on("packet", ({ type }) => type === beat && beats.push(beat));
    for (let count = 0; count < HEARTBEATS; count++) same(await beats.next("a heartbeat"), beat);
    same(await client.ask("echo", "alive"), ["alive"]);
  },

  "waits long for what comes": async (cell) => {
    const [client, other] = [await connect(cell), await connect(cell)];
    const room = `quiet room of ${client.welcome.id}`;
    await client.call("join", room);
    const news = client.on("news");
    await sleep(HANGING_POLL_MS); // the hanging itself is what is tested
    await other.call("cast", room, "news", "at last");
    same(await news.next("what was sent after the silence"), ["at last"]);
  },
};

export const HEARTBEAT_CHECKS = ["lives on its heartbeats"];
export const PROXY_CHECKS = ["waits long for what comes"];
export const MEGABYTE_CHECKS = ["carries a megabyte both ways"];
export const COMMON_CHECKS = Object.keys(CHECKS).filter(
  (name) => ![...HEARTBEAT_CHECKS, ...PROXY_CHECKS, ...MEGABYTE_CHECKS].includes(name),
);

export const NOT_TRIED = "not tried: the first check failed";

// Runs these checks one after the other: [{check, error}], the error undefined where all is well.
export async function runChecks(cell, names) {
  const results = [];
  for (const check of names) {
    const error = results[0]?.error ? NOT_TRIED : await outcome(cell, check);
    results.push({ check, error });
  }
  return results;
}

async function outcome(cell, check) {
  const sockets = [];
  try {
    await within(CHECKS[check]({ ...cell, sockets }), "the end of the check", CHECK_MS);
  } catch (error) {
    return String(error?.message ?? error);
  } finally {
    for (const socket of sockets) socket.io.reconnection(false), socket.disconnect();
  }
}

// Everybody in one room: each sends, all others hear it in the same form. One result for each sender.
//
// Only ASCII, because 1.x writes other text over polling in a form that only itself reads back.
export async function runTogether(cells) {
  const sockets = [];
  const results = [];
  try {
    const clients = [];
    for (const cell of cells) clients.push(await connect({ ...cell, sockets }));
    const room = `room of all with ${clients[0].welcome.id}`;
    for (const client of clients) await client.call("join", room);
    const heard = clients.map((client) => client.on("news"));
    for (const [index, sender] of clients.entries()) {
      const check = `${cells[index].label} is heard by all others`;
      try {
        const args = [index, "text", { nested: [bytes(index, 255), { more: bytes() }] }];
        await sender.call("cast", room, "news", ...args);
        for (const [other, mailbox] of heard.entries()) {
          if (other !== index) same(await mailbox.next(`the cast at ${cells[other].label}`), args);
        }
        results.push({ check });
      } catch (error) {
        results.push({ check, error: error.message });
      }
    }
  } catch (error) {
    results.push({ check: "all connect and join", error: error.message });
  } finally {
    for (const socket of sockets) socket.disconnect();
  }
  return results;
}

// Connected and welcomed; in the upgrade column also upgraded.
//
// The upgrade is waited for because 1.x writes text that is not ASCII in one form over polling and in another over
// WebSocket, and Node's server answers in the form that came: what is asked over one and answered over the other is garbled.
async function connect(cell, options) {
  const client = await open(cell, options);
  const { engine } = client.socket.io;
  if (cell.transport === "upgrade") await until(() => engine.transport.name === "websocket", "the upgrade");
  return client;
}

async function open(cell, options) {
  const client = start(cell, options);
  await client.welcomed();
  return client;
}

function start(cell, { nsp = "/", ...options } = {}) {
  const { io, url, parser, transport, sockets } = cell;
  const defaults = { forceNew: true, reconnection: false, ...TRANSPORTS[transport], ...(parser ? { parser } : {}) };
  const socket = io(url + (nsp === "/" ? "" : nsp), { ...defaults, ...options });
  sockets.push(socket);
  return new Peer(socket);
}

class Peer {
  #welcomes;
  #refusals = [];

  constructor(socket) {
    this.socket = socket;
    this.#welcomes = this.on("welcome");
    for (const event of ["error", "connect_error"]) {
      socket.on(event, (error) => this.#refusals.push(`${event}: ${error?.message ?? JSON.stringify(error)}`));
    }
  }

  async welcomed() {
    await until(() => this.#welcomes.size > 0 || this.#refusals.length > 0, "the welcome");
    if (this.#welcomes.size === 0) throw new Error(this.#refusals[0]);
    [this.welcome] = await this.#welcomes.next();
  }

  // Another namespace on the same connection.
  async namespace(name, options) {
    const peer = new Peer(this.socket.io.socket(name, options));
    await peer.welcomed();
    return peer;
  }

  on(event) {
    const mailbox = new Mailbox();
    this.socket.on(event, (...args) => mailbox.push(event === "disconnect" ? args.slice(0, 1) : args));
    return mailbox;
  }

  ask(event, ...args) {
    const answer = new Promise((resolve) => this.socket.emit(event, ...args, (...values) => resolve(values)));
    return within(answer, `the acknowledgement of ${event}`);
  }

  async call(event, ...args) {
    return (await this.ask(event, ...args))[0];
  }

  echo(...args) {
    const echoes = this.on("echo");
    this.socket.emit("echo", ...args);
    return echoes.next("the echo");
  }
}

// Bytes as the platform's clients take and give them: Buffer in Node, ArrayBuffer in a browser.
function bytes(...values) {
  return ofPlatform(Uint8Array.from(values));
}

bytes.join = (parts) => {
  const whole = new Uint8Array(parts.length * parts[0].byteLength);
  parts.forEach((part, index) => whole.set(new Uint8Array(ofView(part)), index * part.byteLength));
  return ofPlatform(whole);
};

const ofPlatform = (array) => (globalThis.Buffer ? Buffer.from(array) : array.buffer);
const ofView = (data) => (ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : data);

function same(actual, expected) {
  const [is, must] = [describe(actual), describe(expected)];
  if (is !== must) throw new Error(`got ${shorten(is)}, expected ${shorten(must)}`);
}

// JSON with binary in it, in whichever of its forms.
function describe(value) {
  return JSON.stringify(marked(value)) ?? "undefined";
}

function marked(value) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) return { "bytes of the binary": hash(new Uint8Array(ofView(value))) };
  if (Array.isArray(value)) return value.map(marked);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, marked(member)]));
}

function hash(array) {
  if (array.length <= 300) return Array.from(array);
  let sum = 0;
  for (const byte of array) sum = (Math.imul(sum, 31) + byte) | 0;
  return [array.length, sum];
}

function shorten(text) {
  return text.length > 300 ? `${text.slice(0, 200)}… (${text.length} characters)` : text;
}
