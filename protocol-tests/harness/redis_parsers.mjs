// The values of REDIS_PARSER: what the classic adapter and its emitter write messages with, instead of MessagePack.

const { parse, stringify } = JSON;

// JSON has no bytes: Buffers become `{"type":"Buffer","data":[…]}` and stay that.
const json = { encode: (message) => stringify(message), decode: (bytes) => parse(bytes) };

// Begins with a `~`, and keeps bytes.
const tagged = {
  encode: (message) => "~" + stringify(message, (_, value) => (value?.type === "Buffer" ? { $bytes: Buffer.from(value.data).toString("hex") } : value)),
  decode: (bytes) => parse(bytes.toString().slice(1), (_, value) => (typeof value?.$bytes === "string" ? Buffer.from(value.$bytes, "hex") : value)),
};

const PARSERS = { json, "tagged-json": tagged };

// The option `parser` of Node's adapter and emitter; `{ parser: undefined }` would be no parser at all.
export function parserOptions({ REDIS_PARSER: name }) {
  if (!name) return {};
  if (!(name in PARSERS)) throw new Error(`REDIS_PARSER=${name}: accepted is ${Object.keys(PARSERS).join(", ")}`);
  return { parser: PARSERS[name] };
}
