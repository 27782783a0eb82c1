// Reads the contract's environment variables into Node's own server options.

import msgpackParser from "socket.io-msgpack-parser";

const ANY_ORIGIN_WITH_CREDENTIALS = { origin: true, credentials: true };

export function engineOptions() {
  return withoutFalseCors(givenOptions());
}

function givenOptions() {
  return JSON.parse(process.env.OPTIONS ?? "{}", revivePattern);
}

// JSON has no regular expressions: {"$regex": "…"} stands for one.
function revivePattern(_key, value) {
  return typeof value?.$regex === "string" ? new RegExp(value.$regex) : value;
}

export function serverOptions({ cors } = { cors: ANY_ORIGIN_WITH_CREDENTIALS }) {
  const env = process.env;
  const options = {};
  if (cors) options.cors = cors;
  if (env.EIO3 === "1") options.allowEIO3 = true;
  if (env.PARSER === "msgpack") options.parser = msgpackParser;
  if (env.RECOVERY === "1") options.connectionStateRecovery = { maxDisconnectionDuration: 120_000 };
  const numbers = {
    PING_INTERVAL: "pingInterval",
    PING_TIMEOUT: "pingTimeout",
    MAX_PAYLOAD: "maxHttpBufferSize",
    CONNECT_TIMEOUT: "connectTimeout",
    UPGRADE_TIMEOUT: "upgradeTimeout",
  };
  for (const [variable, option] of Object.entries(numbers)) {
    if (env[variable] !== undefined) options[option] = Number(env[variable]);
  }
  return withoutFalseCors({ ...options, ...givenOptions() });
}

function withoutFalseCors(options) {
  if (options.cors === false) delete options.cors;
  return options;
}

// Starting with a variable that is silently ignored would make a test pass for the wrong reason.
export function refuse(...variables) {
  for (const [variable, allowed] of variables) {
    const value = process.env[variable];
    if (value !== undefined && !allowed.includes(value)) {
      console.error(`${variable}=${value} is not supported, only ${allowed.join(", ")}`);
      process.exit(2);
    }
  }
}
