//! Layer 2: Engine.IO at run time; usable without Socket.IO.
