// `socketioTest`, `engineTest` and `benchTest`: a node:test test with the server it needs, or a note that it is left out.

import { appendFileSync } from "node:fs";
import { after, test } from "node:test";
import { BenchApp, EngineApp, SocketioApp } from "./apps.mjs";
import { settings } from "./settings.mjs";
import { Client } from "./socketio_client.mjs";
import { TOPICS, topicsOfEnvironment, topicsOfHooks, topicsOfOptions } from "./topics.mjs";

const TEST_TIMEOUT_MS = 60_000;
const filter = settings.filter && new RegExp(settings.filter, "i");

// declared: {env: contract variables, requires: [topics], ownServer: true when the test restarts or ruins its server}
export function socketioTest(name, declared, body) {
  if (typeof declared === "function") return socketioTest(name, {}, declared);
  const { env = {}, requires = [], ownServer = false } = declared;
  const needs = [...requires, ...topicsOfEnvironment(env)];
  if (!settings.url && !settings.server) needs.push("conformance app");
  if (settings.url) {
    if (env.APP === "captures") needs.push("captures app");
    else if (Object.keys(env).length > 0) needs.push("configuration");
    if (ownServer) needs.push("restart");
  }
  register(name, needs, async (t) => {
    const app = await SocketioApp.get(env, ownServer);
    try {
      await body(app, t);
    } finally {
      Client.closeAll();
    }
  });
}

// declared: {options: Engine.IO options, hooks: as in HOOKS, requires: [topics], ownServer: true when the test ruins its server}
export function engineTest(name, declared, body) {
  if (typeof declared === "function") return engineTest(name, {}, declared);
  const { options = {}, hooks = {}, requires = [], ownServer = false } = declared;
  const needs = [...requires, ...topicsOfOptions(options), ...topicsOfHooks(hooks)];
  if (!settings.engineServer) needs.push("engine app");
  register(name, needs, async (t) => {
    const app = await EngineApp.get({ options, hooks }, ownServer);
    try {
      await body(app, t);
    } finally {
      await app.forgetSessions();
    }
  });
}

export function benchTest(name, body) {
  register(name, settings.benchServer ? [] : ["bench app"], async (t) => {
    try {
      await body(await BenchApp.get(), t);
    } finally {
      Client.closeAll();
    }
  });
}

// A test that needs no server of ours.
export function plainTest(name, declared, body) {
  register(name, declared.requires ?? [], body);
}

function register(name, needs, body) {
  if (settings.listFile) return appendFileSync(settings.listFile, JSON.stringify(name) + "\n");
  if (filter && !filter.test(name)) return;
  const missing = needs.filter((need) => !(need in TOPICS) || settings.without.includes(need));
  if (missing.length > 0) return leaveOut(name, missing);
  test(name, { timeout: TEST_TIMEOUT_MS }, body);
}

function leaveOut(name, missing) {
  const file = process.argv[1];
  if (settings.leftOutFile) appendFileSync(settings.leftOutFile, JSON.stringify({ file, name, missing }) + "\n");
}

after(async () => {
  await SocketioApp.stopAll();
  await EngineApp.stopAll();
  await BenchApp.stopAll();
});
