// What the command line asked for, as the test files (processes of their own) see it.

import { fileURLToPath } from "node:url";

const referenceApp = (file) => `"${process.execPath}" "${fileURLToPath(new URL(`../reference/${file}`, import.meta.url))}"`;

export const REFERENCE = {
  server: referenceApp("conformance.mjs"),
  engineServer: referenceApp("engine_conformance.mjs"),
  benchServer: `${referenceApp("bench_server.mjs")} --port {port}`,
};

export const DEFAULTS = {
  ...REFERENCE,
  url: undefined, // a server that somebody else runs; then nothing is started
  without: [], // topics to leave out
  filter: undefined, // a regular expression on the name of the test
  vectors: fileURLToPath(new URL("../vectors/", import.meta.url)),
  differences: fileURLToPath(new URL("../replay/differences.json", import.meta.url)),
  listFile: undefined, // if given, test files only write the names of their tests there
  leftOutFile: undefined, // where a test file notes what it did not run
};

const VARIABLE = "PROTOCOL_TESTS_SETTINGS";

export const settings = { ...DEFAULTS, ...JSON.parse(process.env[VARIABLE] ?? "{}") };

export const toEnvironment = (values) => ({ [VARIABLE]: JSON.stringify(values) });
