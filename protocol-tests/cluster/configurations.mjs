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
const SHARDED_PUBSUB = { STREAM_SHARDED_PUBSUB: "1" };
const more = (configuration, env) => ({ ...configuration, env: { ...configuration.env, ...env } });
const msgpack = (configuration) => ({ ...more(configuration, { PARSER: "msgpack" }), parser: "msgpack" });
const recovery = (configuration) => ({ ...more(configuration, { RECOVERY: "1" }), recovery: true });
const onCluster = (configuration) => ({ ...configuration, redisCluster: true });

const EVERY = {
  classic: classic(),
  "classic-specific": classic({ SPECIFIC_RESPONSE: "1" }),
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
  "streams-cluster": onCluster(streams(1)),
  "streams-cluster-spubsub": onCluster(streams(1, SHARDED_PUBSUB)),
  "streams-4-cluster": onCluster(streams(4)),
  "streams-4-cluster-spubsub": onCluster(streams(4, SHARDED_PUBSUB)),
  "streams-recovery": recovery(streams(1)),
  "streams-spubsub-recovery": recovery(streams(1, SHARDED_PUBSUB)),
  "streams-4-recovery": recovery(streams(4)),
  "streams-4-spubsub-recovery": recovery(streams(4, SHARDED_PUBSUB)),
  "streams-msgpack-recovery": recovery(msgpack(streams(1))),
  "streams-4-msgpack-recovery": recovery(msgpack(streams(4, SHARDED_PUBSUB))),
  "streams-cluster-recovery": onCluster(recovery(streams(1))),
  "streams-4-cluster-recovery": onCluster(recovery(streams(4, SHARDED_PUBSUB))),
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
