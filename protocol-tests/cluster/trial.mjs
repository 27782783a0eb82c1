// One check on one cluster: counts what passed, and keeps what failed and why.

export class Trial {
  passed = 0;
  failures = [];
  skips = [];
  #clients = [];

  constructor(cluster) {
    this.cluster = cluster;
    this.nodes = cluster.nodes;
    this.configuration = cluster.configuration;
  }

  async run(check) {
    const { without } = this.configuration;
    const reason = without?.checks.includes(check.name) ? without.reason : check.skip?.(this.configuration);
    if (reason) {
      this.skips.push(reason);
      return this;
    }
    try {
      await check.run(this);
    } catch (error) {
      this.#failed("preparing", error);
    }
    for (const client of this.#clients) client.close();
    return this;
  }

  get result() {
    return { passed: this.passed, failures: this.failures, skips: this.skips };
  }

  // The same from each node, at the same time.
  async fromEach(action, among = this.nodes) {
    await Promise.all(among.map((node) => this.part(`from ${node.name}`, () => action(node))));
  }

  async part(who, action) {
    try {
      await action();
      this.passed++;
    } catch (error) {
      if (error.unsupported) this.skip("unsupported");
      else this.#failed(who, error);
    }
  }

  skip(reason) {
    if (!this.skips.includes(reason)) this.skips.push(reason);
  }

  #failed(who, error) {
    const dead = this.nodes.filter(({ process }) => process.exit);
    const ended = dead.map((node) => `\n    ${node.name} ended: ${node.logTail}`).join("");
    const unexpected = error instanceof TypeError || error instanceof ReferenceError ? `\n${error.stack}` : "";
    this.failures.push({ who, error: error.message + unexpected + ended });
  }

  // A client that is closed after the check.
  async client(node, options) {
    const client = await node.connect(options);
    this.#clients.push(client);
    return client;
  }

  // One of each node, with the rest of `options` and in these rooms.
  clients({ rooms = [], ...options } = {}, among = this.nodes) {
    return Promise.all(
      among.map(async (node) => {
        const client = await this.client(node, options);
        for (const room of rooms) await client.call("join", room);
        return client;
      }),
    );
  }

  keep(...clients) {
    this.#clients.push(...clients);
  }
}
