//! What the fuzz targets run: each body takes bytes and panics where an invariant is broken.

pub mod socketio;
