//! The body is in the crate (src/proto/fuzzing), where `cargo test` runs it over the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrio::proto::fuzzing::cluster_message(data));
