//! Revision: the generation of the Engine.IO protocol that a client speaks.

/// A revision of the protocol; `EIO` in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revision {
    /// Engine.IO 3, of socket.io-client 1.x and 2.x: the client pings, payloads carry lengths.
    V3,
    /// Engine.IO 4, of socket.io-client 3.x and 4.x: the server pings, payloads have separators.
    V4,
}

impl Revision {
    /// Gives the number on the wire.
    pub fn as_u8(self) -> u8 {
        match self {
            Revision::V3 => 3,
            Revision::V4 => 4,
        }
    }
}
