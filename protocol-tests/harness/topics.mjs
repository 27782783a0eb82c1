// The topics a test can require; `--without` leaves them out by these names.

export const TOPICS = {
  "allow-request": "the `allowRequest` option",
  cookie: "the `cookie` option",
  control: "the control namespace `/ctl` (contract 1.3)",
  cors: "cross-origin headers: the `cors` option",
  deflate: "WebSocket compression: the `perMessageDeflate` option",
  "dynamic-namespaces": "namespaces `/dyn-` + digits",
  "engine-middlewares": "middlewares of the engine, `engine.use`",
  eio3: "Engine.IO protocol 3: `EIO3=1`, the `allowEIO3` option",
  "generate-id": "`engine.generateId`",
  "headers-events": "the engine's events `initial_headers` and `headers`",
  "http-compression": "compressed poll responses",
  "initial-packet": "the `initialPacket` option",
  jsonp: "JSONP polling (`j` in the query)",
  msgpack: "the MessagePack parser: `PARSER=msgpack`",
  path: "the `path` and `addTrailingSlash` options",
  recovery: "connection state recovery: `RECOVERY=1`, the `connectionStateRecovery` option",
  static: "the client's files served below the path",
  "upgrade-events": "the session's events `upgrading` and `upgrade`",
};

// Not topics of the protocol, but what the run was given; reported like topics.
export const NEEDS = {
  configuration: "a server started with other settings (run with --server)",
  "conformance app": "the contract app conformance (run with --server or --url)",
  restart: "stopping and starting the server (run with --server)",
  "engine app": "the contract app engine_conformance (run with --engine-server)",
  "bench app": "the contract app bench_server (run with --bench-server)",
  "captures app": "conformance started with APP=captures (run with --server)",
};

export function topicsOfOptions(options = {}) {
  const topics = [];
  if (options.allowEIO3) topics.push("eio3");
  if (options.cors !== undefined) topics.push("cors");
  if (options.cookie) topics.push("cookie");
  if (options.perMessageDeflate) topics.push("deflate");
  if (options.httpCompression !== undefined) topics.push("http-compression");
  if (options.path !== undefined || options.addTrailingSlash !== undefined) topics.push("path");
  if (options.initialPacket !== undefined) topics.push("initial-packet");
  if (options.connectionStateRecovery) topics.push("recovery");
  return topics;
}

export function topicsOfHooks(hooks = {}) {
  const topics = [];
  if (hooks.allowRequest !== undefined) topics.push("allow-request");
  if (hooks.generateId) topics.push("generate-id");
  if (hooks.initialHeaders || hooks.headers || hooks.log?.includes("headers")) topics.push("headers-events");
  if (hooks.middlewares) topics.push("engine-middlewares");
  if (hooks.log?.includes("upgrades")) topics.push("upgrade-events");
  return topics;
}

export function topicsOfEnvironment(env = {}) {
  const topics = [...topicsOfOptions(JSON.parse(env.OPTIONS ?? "{}")), ...topicsOfHooks(JSON.parse(env.HOOKS ?? "{}"))];
  if (env.EIO3 === "1") topics.push("eio3");
  if (env.PARSER === "msgpack") topics.push("msgpack");
  if (env.RECOVERY === "1") topics.push("recovery");
  return topics;
}
