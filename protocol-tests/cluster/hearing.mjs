// Who heard what: the heart of most checks.

import { isDeepStrictEqual, inspect } from "node:util";
import { sleep, until } from "../harness/wait.mjs";

const HEAR_MS = 6000; // far above what is ever needed, so that a busy machine is no failure
const PROBE_MS = 150;
let count = 0;

export const unique = (name) => `${name}-${++count}`;

export function same(actual, expected, what = "it") {
  if (isDeepStrictEqual(plain(actual), plain(expected))) return;
  const show = (value) => inspect(value, { depth: 6, breakLength: 200, maxArrayLength: 12, maxStringLength: 200 });
  throw new Error(`${what} is ${show(actual)} instead of ${show(expected)}`);
}

// Bytes are bytes, whatever class the parser makes of them.
function plain(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

// Repeats a broadcast until all hear one: a node that joins a room subscribes to its channel in the background, so that
// an acknowledged `join` does not say that other nodes' messages arrive already.
export async function reaches(sender, target, hearers, ms = HEAR_MS) {
  let deaf = hearers;
  const heard = async () => {
    const event = unique("probe");
    const boxes = hearers.map((client) => client.on(event));
    await sender.do("emit", { ...target, event });
    const end = Date.now() + PROBE_MS;
    do {
      deaf = hearers.filter((_, i) => boxes[i].size === 0);
      if (deaf.length === 0) return true;
      await sleep(5);
    } while (Date.now() < end);
    return false;
  };
  await until(heard, "", ms).catch((error) => {
    if (!/did not happen/.test(error.message)) throw error;
    throw new Error(`no broadcast from ${sender.name} to ${JSON.stringify(target)} reaches ${names(deaf)}`);
  });
}

// Emits and demands that exactly `hearers` among `everybody` hear it, once. That the others do not is known when they
// hear a later broadcast to all; that the hearers do not twice, when they hear a later one to the same target.
export async function expectHeard({ emit, target, args = [], hearers, everybody }) {
  const [event, again, last] = [unique("event"), unique("again"), unique("last")];
  const boxes = new Map(everybody.map((client) => [client, client.on(event)]));
  const follow = [again, last].map((name) => new Map(everybody.map((client) => [client, client.on(name)])));

  await emit(target, event, args);
  for (const client of hearers) same(await next(boxes.get(client), client, "the broadcast"), args, `what ${client.name} heard`);
  await emit(target, again, []);
  for (const client of hearers) await next(follow[0].get(client), client, "a second broadcast to the same target");
  await emit({ nsp: target.nsp }, last, []);
  for (const client of everybody) await next(follow[1].get(client), client, "the broadcast to all that came last");

  for (const client of everybody) {
    const rest = boxes.get(client).size;
    if (rest > 0) throw new Error(`${client.name} heard it ${hearers.includes(client) ? `${rest + 1} times` : "and should not"}`);
  }
  for (const client of everybody) for (const name of [event, again, last]) client.socket.off?.(name);
}

// The same for volatile broadcasts, which are dropped for whoever's connection is busy: repeats them until all have heard
// some. Nobody may hear one twice, or out of order.
export async function expectHeardSometimes({ emit, target, args = [], hearers, everybody }) {
  const [event, last] = [unique("event"), unique("last")];
  const [boxes, lasts] = [event, last].map((name) => new Map(everybody.map((client) => [client, client.on(name)])));
  let sent = 0;
  const deaf = () => hearers.filter((client) => boxes.get(client).size === 0);
  const heard = async () => {
    await emit(target, event, [sent++, ...args]);
    const end = Date.now() + PROBE_MS;
    while (deaf().length > 0 && Date.now() < end) await sleep(5);
    return deaf().length === 0;
  };
  await until(heard, "", HEAR_MS).catch((error) => {
    if (!/did not happen/.test(error.message)) throw error;
    throw new Error(`${names(deaf())} heard none of ${sent} volatile broadcasts`);
  });
  await emit({ nsp: target.nsp }, last, []);
  for (const client of everybody) {
    await next(lasts.get(client), client, "the broadcast to all that came last");
    const all = boxes.get(client).drain();
    if (!hearers.includes(client) && all.length > 0) throw new Error(`${client.name} heard it and should not`);
    for (const [i, [number, ...rest]] of all.entries()) {
      same(rest, args, `what ${client.name} heard`);
      if (i > 0 && number <= all[i - 1][0]) throw new Error(`${client.name} heard ${number} after ${all[i - 1][0]}`);
    }
  }
}

async function next(mailbox, client, what) {
  return mailbox.next(`${client.name} hears ${what}`, HEAR_MS);
}

export const names = (clients) => clients.map(({ name }) => name).join(", ");

// Emits by a command of the contract.
export const byCommand = (node) => (target, event, args) => node.do("emit", { ...target, event, args });
