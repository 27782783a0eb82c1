//! What the fuzz targets run: each body takes bytes and panics where an invariant is broken.

#[cfg(feature = "redis")]
mod cluster;
mod engineio;
mod session;
mod socketio;
mod socketio_msgpack;

#[cfg(feature = "redis")]
pub use self::cluster::cluster_message;
pub use self::engineio::{engineio_packet, engineio_payload, engineio_payload_v3};
pub use self::session::session;
pub use self::socketio::socketio_decoder;
pub use self::socketio_msgpack::socketio_msgpack;
