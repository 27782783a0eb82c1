// The columns of the table: adapter configurations, and who the nodes are.

// Classic alone lets us choose how long a request waits; the other two wait 5 s.
const REQUEST_TIMEOUT_MS = 1500;
const CLUSTER_ADAPTER_TIMEOUT_MS = 5000;

const classic = (env = {}) => ({
  family: "classic",
  requestTimeout: REQUEST_TIMEOUT_MS,
  env: { ADAPTER: "redis", REQUEST_TIMEOUT: String(REQUEST_TIMEOUT_MS), ...env },
});
const sharded = (mode) => ({
  family: "sharded",
  requestTimeout: CLUSTER_ADAPTER_TIMEOUT_MS,
  env: { ADAPTER: "redis-sharded", SHARDED_MODE: mode },
});
const streams = (count, env = {}) => ({
  family: "streams",
  requestTimeout: CLUSTER_ADAPTER_TIMEOUT_MS,
  streams: count,
  env: { ADAPTER: "redis-streams", STREAM_COUNT: String(count), ...env },
});

// JSON has no bytes: on the other servers Node's clients get `{"type":"Buffer","data":[…]}`.
const WITH_BYTES = {
  reason: "JSON has no bytes",
  checks: [
    ...["broadcast of binary", "broadcast of JSON of every kind", "broadcast of large payloads", "a client's own broadcasts"],
    ...["broadcast with ack, binary both ways", "remote socket: emit", "remote socket: emit with ack", "redis-emitter"],
    ...["namespace /chat", "a dynamic namespace", "a client of 2.x (EIO 3)"],
  ],
};

const EVERY = {
  classic: classic(),
  "classic-specific": classic({ SPECIFIC_RESPONSE: "1" }),
  "classic-parser": classic({ REDIS_PARSER: "tagged-json" }),
  "classic-json": { ...classic({ REDIS_PARSER: "json" }), without: WITH_BYTES },
  "classic-msgpack": { ...classic({ PARSER: "msgpack" }), parser: "msgpack" },
  "sharded-dynamic": sharded("dynamic"),
  "sharded-private": sharded("dynamic-private"),
  "sharded-static": sharded("static"),
  "sharded-msgpack": { ...sharded("dynamic"), env: { ...sharded("dynamic").env, PARSER: "msgpack" }, parser: "msgpack" },
  streams: streams(1),
  "streams-spubsub": streams(1, { STREAM_SHARDED_PUBSUB: "1" }),
  "streams-4": streams(4),
  "streams-4-spubsub": streams(4, { STREAM_SHARDED_PUBSUB: "1" }),
  "streams-msgpack": { ...streams(1, { PARSER: "msgpack" }), parser: "msgpack" },
  "classic-cluster": { ...classic(), redisCluster: true },
  "sharded-cluster": { ...sharded("dynamic"), redisCluster: true },
  "streams-recovery": { ...streams(1, { RECOVERY: "1" }), recovery: true },
  "streams-4-recovery": { ...streams(4, { RECOVERY: "1" }), recovery: true },
};

export const CONFIGURATIONS = Object.entries(EVERY).map(([name, configuration]) => ({
  name,
  ...configuration,
  env: configuration.parser ? configuration.env : { EIO3: "1", ...configuration.env },
}));

export const FAILURE_CONFIGURATIONS = CONFIGURATIONS.filter(({ name }) => ["classic", "sharded-dynamic", "streams"].includes(name));

// N is Node's own server, F the server under test.
export const CONSTELLATIONS = { "2N+1F": ["N1", "N2", "F1"], "1N+2F": ["N1", "F1", "F2"] };
export const TESTED_ALONE = ["F1", "F2"];

export const isNode = (name) => name.startsWith("N");
