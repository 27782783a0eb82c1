// What can be asked for on the command line, its defaults, and how it is handed on to test files and modules: see settings.mjs.

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

export const VARIABLE = "PROTOCOL_TESTS_SETTINGS";

export const toEnvironment = (values) => ({ [VARIABLE]: JSON.stringify(values) });
