// Names of dynamic namespaces that nothing else uses.

let last = 100;

// With several streams Node's nodes never read those of namespaces whose hash is negative (they write to `socket.io--3`).
export function freeDynamicName({ streams = 1 }) {
  for (;;) {
    const name = `/dyn-${++last}`;
    let hash = 0;
    for (const unit of name) hash = (hash * 31 + unit.charCodeAt(0)) | 0;
    if (streams === 1 || hash % streams >= 0) return name;
  }
}
