//! What the fuzz targets run: each body takes bytes and panics where an invariant is broken.

pub mod engineio;
pub mod session;
pub mod socketio;

pub use engineio::{engineio_packet, engineio_payload};
pub use session::session;
pub use socketio::socketio_decoder;
