// Ports that nobody else of these tests gets, not even while their owner is dead or about to start.

import { freePort } from "../harness/server_process.mjs";

const taken = new Set();

export async function ownPort() {
  for (;;) {
    const port = await freePort();
    if (taken.has(port)) continue;
    taken.add(port);
    return port;
  }
}
