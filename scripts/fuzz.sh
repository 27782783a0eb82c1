#!/bin/sh
# Runs each fuzz target for SECONDS_PER_TARGET (default 60), or those named as arguments, on the stable toolchain.
set -eu
cd "$(dirname "$0")/.."
cargo fuzz --version >/dev/null 2>&1 || {
    echo "missing: cargo-fuzz; run: cargo install cargo-fuzz" >&2
    exit 1
}
[ $# -gt 0 ] || set -- cluster_message engineio_packet engineio_payload engineio_payload_v3 session socketio_decoder socketio_msgpack
for target in "$@"; do
    RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" -- -max_total_time="${SECONDS_PER_TARGET:-60}" -print_final_stats=1
done
