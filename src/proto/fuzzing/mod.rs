//! What the fuzz targets run: each body takes bytes and panics where an invariant is broken.

mod socketio;

pub use self::socketio::socketio_decoder;
