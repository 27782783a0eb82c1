//! Layer 1, bytes in, values out: pure protocol code without clock, lock, task or socket; time is an argument.

#[cfg(feature = "redis")]
pub mod cluster;
pub mod encoded;
pub mod engineio;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod javascript;
pub mod socketio;

pub use encoded::EncodedMessage;
