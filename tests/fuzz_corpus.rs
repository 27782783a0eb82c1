//! The bodies of the fuzz targets over the corpus that fuzzing has found: what once passed keeps passing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Instant;

use ferrio::proto::fuzzing;

fn run(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(inputs.len() >= 50, "the corpus of {target} is there");
    inputs.iter().for_each(|input| body(input));
}

#[test]
#[cfg(feature = "redis")]
fn cluster_message() {
    run("cluster_message", fuzzing::cluster_message);
}

#[test]
fn engineio_packet() {
    run("engineio_packet", fuzzing::engineio_packet);
}

#[test]
fn engineio_payload() {
    run("engineio_payload", fuzzing::engineio_payload);
}

#[test]
fn engineio_payload_v3() {
    run("engineio_payload_v3", fuzzing::engineio_payload_v3);
}

#[test]
fn session() {
    let now = Instant::now();
    run("session", |input| fuzzing::session(now, input));
}

#[test]
fn socketio_decoder() {
    run("socketio_decoder", fuzzing::socketio_decoder);
}

#[test]
fn socketio_msgpack() {
    run("socketio_msgpack", fuzzing::socketio_msgpack);
}
