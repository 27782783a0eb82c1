// The adapter of the contract's variables ADAPTER, REDIS_URL, … (contract 1.0), from the npm packages.

import { createAdapter as createClassic, createShardedAdapter } from "@socket.io/redis-adapter";
import { createAdapter as createStreams } from "@socket.io/redis-streams-adapter";
import { Cluster, Redis } from "ioredis";
import { createClient, createCluster } from "redis";
import { parserOptions } from "../harness/redis_parsers.mjs";

const env = process.env;

const ADAPTERS = {
  redis: async () => createClassic(await connect(), await connect(), classicOptions()),
  "redis-sharded": async () => createShardedAdapter(await connect(), await connect(), shardedOptions()),
  "redis-streams": async () => createStreams(await connect(), streamsOptions()),
};

export const ADAPTER_NAMES = ["none", ...Object.keys(ADAPTERS)];

const CLIENTS = {
  redis: (urls) => (urls.length > 1 ? createCluster({ rootNodes: urls.map((url) => ({ url })) }) : createClient({ url: urls[0] })),
  ioredis: (urls) => (urls.length > 1 ? new Cluster(urls, { lazyConnect: true, shardedSubscribers: true }) : new Redis(urls[0], { lazyConnect: true })),
};
export const CLIENT_NAMES = Object.keys(CLIENTS);

// The adapters do not catch what becomes of their commands when the connection is lost, and Node ends a process for that.
if (env.ADAPTER in ADAPTERS) process.on("unhandledRejection", (error) => console.error(`Redis: ${error?.message}`));

// The option `adapter` of the server; nothing for the adapter in memory. Waits until Redis is there.
export async function adapterOptions() {
  const create = ADAPTERS[env.ADAPTER];
  return create ? { adapter: await create() } : {};
}

function classicOptions() {
  return {
    requestsTimeout: Number(env.REQUEST_TIMEOUT ?? 5000),
    publishOnSpecificResponseChannel: env.SPECIFIC_RESPONSE === "1",
    ...parserOptions(env),
  };
}

function shardedOptions() {
  return { subscriptionMode: env.SHARDED_MODE ?? "dynamic" };
}

function streamsOptions() {
  return { streamCount: Number(env.STREAM_COUNT ?? 1), useShardedPubSub: env.STREAM_SHARDED_PUBSUB === "1" };
}

// With the npm package `redis`, or with `ioredis` where REDIS_CLIENT says so.
async function connect() {
  const urls = (env.REDIS_URL ?? "redis://127.0.0.1:6379").split(",");
  const client = CLIENTS[env.REDIS_CLIENT ?? "redis"](urls);
  // Without a listener a lost connection would end the process; the client connects again by itself.
  client.on("error", (error) => console.error(`Redis: ${error.message}`));
  await client.connect();
  return client;
}
