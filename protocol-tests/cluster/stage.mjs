// The clients that broadcasts are tried with: three of each node, in rooms that tell them apart.

import { reaches, unique } from "./hearing.mjs";

export class Stage {
  // On each node `a` is in the rooms A and AB, `b` in B and AB, `c` in none; and one `a` in a room of its own.
  static async set(cluster, nsp, options = {}) {
    const stage = new Stage();
    const room = (name) => unique(name);
    Object.assign(stage, { cluster, nsp, A: room("A"), B: room("B"), AB: room("AB"), single: [] });
    const role = async (name, rooms) => {
      const clients = await cluster.everywhere({ nsp, ...options });
      for (const client of clients) {
        client.name = `client ${name} of ${client.node.name}`;
        for (const room of rooms) await client.call("join", room);
      }
      return clients;
    };
    [stage.a, stage.b, stage.c] = await Promise.all([role("a", [stage.A, stage.AB]), role("b", [stage.B, stage.AB]), role("c", [])]);
    stage.all = [...stage.a, ...stage.b, ...stage.c];
    for (const client of stage.a) {
      const own = room("own");
      await client.call("join", own);
      stage.single.push({ client, room: own });
    }
    const targets = [
      [{}, stage.all],
      [{ rooms: [stage.A] }, stage.a],
      [{ rooms: [stage.B] }, stage.b],
      [{ rooms: [stage.AB] }, [...stage.a, ...stage.b]],
      ...stage.single.map(({ client, room }) => [{ rooms: [room] }, [client]]),
      ...stage.a.map((client) => [{ rooms: [client.id] }, [client]]),
    ];
    const probes = cluster.nodes.flatMap((node) => targets.map(([target, hearers]) => reaches(node, { nsp, ...target }, hearers)));
    stage.unreached = (await Promise.allSettled(probes)).flatMap(({ reason }) => reason?.message ?? []);
    return stage;
  }

  // The client `a` of a node.
  of(node) {
    return this.a.find((client) => client.node === node);
  }

  close() {
    for (const client of this.all) client.close();
  }
}
