//! A Socket.IO server for Rust: hand-written Engine.IO and Socket.IO that no official client can tell from
//! Node's.

pub mod engine;
pub mod proto;
pub mod server;
mod sync;
