// What the command line asked for, as the test files (processes of their own) and the replayer see it.
//
// Read once, when this module is loaded: a command must set the variable before it loads anything that imports this.

import { DEFAULTS, VARIABLE } from "./defaults.mjs";

export const settings = { ...DEFAULTS, ...JSON.parse(process.env[VARIABLE] ?? "{}") };
