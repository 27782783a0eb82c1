//! Layer 3: Socket.IO at run time.
