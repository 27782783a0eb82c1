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
// Of the nodes 1, 2 and 3 of each kind.
const MODES = ["dynamic", "dynamic-private", "static"];
const SHARDED_PUBSUB = { STREAM_SHARDED_PUBSUB: "1" };
const more = (configuration, env) => ({ ...configuration, env: { ...configuration.env, ...env } });
const msgpack = (configuration) => ({ ...more(configuration, { PARSER: "msgpack" }), parser: "msgpack" });
const recovery = (configuration) => ({ ...more(configuration, { RECOVERY: "1" }), recovery: true });
const ioredis = (configuration) => more(configuration, { REDIS_CLIENT: "ioredis" });
const onCluster = (configuration) => ({ ...configuration, redisCluster: true });
// Tried in one constellation only, to save time.
const few = (configurations) => Object.fromEntries(Object.entries(configurations).map(([name, each]) => [name, { ...each, few: true }]));

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
  "classic-msgpack": msgpack(classic()),
  "sharded-dynamic": sharded("dynamic"),
  "sharded-private": sharded("dynamic-private"),
  "sharded-static": sharded("static"),
  "sharded-msgpack": msgpack(sharded("dynamic")),
  streams: streams(1),
  "streams-spubsub": streams(1, SHARDED_PUBSUB),
  "streams-4": streams(4),
  "streams-4-spubsub": streams(4, SHARDED_PUBSUB),
  "streams-msgpack": msgpack(streams(1)),
  "classic-cluster": onCluster(classic()),
  "sharded-cluster": onCluster(sharded("dynamic")),
  "sharded-mixed": { ...sharded("dynamic"), mixedModes: true, envOf: (name) => ({ SHARDED_MODE: MODES[name.at(-1) - 1] }) },
  "streams-recovery": recovery(streams(1)),
  "streams-4-recovery": recovery(streams(4)),
  ...few({
    "streams-cluster": onCluster(streams(1)),
    "streams-4-cluster-spubsub": onCluster(streams(4, SHARDED_PUBSUB)),
    "classic-ioredis": ioredis(classic()),
    "sharded-ioredis": ioredis(sharded("dynamic")),
    "streams-ioredis": ioredis(streams(1)),
    "classic-cluster-ioredis": onCluster(ioredis(classic())),
    "sharded-cluster-ioredis": onCluster(ioredis(sharded("dynamic"))),
    "streams-4-spubsub-recovery": recovery(streams(4, SHARDED_PUBSUB)),
    "streams-msgpack-recovery": recovery(msgpack(streams(1))),
    "streams-4-msgpack-recovery": recovery(msgpack(streams(4, SHARDED_PUBSUB))),
    "streams-cluster-recovery": onCluster(recovery(streams(1))),
    "streams-4-cluster-recovery": onCluster(recovery(streams(4, SHARDED_PUBSUB))),
  }),
};

export const CONFIGURATIONS = Object.entries(EVERY).map(([name, configuration]) => ({
  name,
  ...configuration,
  env: configuration.parser ? configuration.env : { EIO3: "1", ...configuration.env },
}));

// N is Node's own server, F the server under test; `2F` is nothing without one.
export const CONSTELLATIONS = {
  "2N+1F": ["N1", "N2", "F1"],
  "1N+2F": ["N1", "F1", "F2"],
  "2F": ["F1", "F2"],
  "3N+3F": ["N1", "N2", "N3", "F1", "F2", "F3"],
};
const BOTH = ["2N+1F", "1N+2F"];
const FEW = ["1N+2F"]; // every direction but that from Node's to Node's

// What each topic is tried with: configurations, and the constellations for each.
export const TOPICS = {
  operations: [
    [CONFIGURATIONS.filter(({ recovery, mixedModes, few }) => !recovery && !mixedModes && !few), BOTH],
    [CONFIGURATIONS.filter(({ recovery, few }) => !recovery && few), FEW],
  ],
  modes: [[named("sharded-mixed"), ["3N+3F"]]],
  recovery: [
    [CONFIGURATIONS.filter(({ recovery, few }) => recovery && !few), BOTH],
    [CONFIGURATIONS.filter(({ recovery, few }) => recovery && few), FEW],
  ],
  failures: [[named("classic", "sharded-dynamic", "streams"), BOTH]],
  // Node's own nodes crash on some of it.
  garbage: [
    [named("classic", "sharded-dynamic", "streams"), BOTH],
    [named("classic", "sharded-dynamic", "streams"), ["2F"]],
  ],
  failover: [[named("classic-cluster", "classic-cluster-ioredis", "sharded-cluster-ioredis", "streams-cluster"), FEW]],
};

function named(...names) {
  return CONFIGURATIONS.filter(({ name }) => names.includes(name));
}

export const isNode = (name) => name.startsWith("N");
