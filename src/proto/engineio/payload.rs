//! Payload: many packets ⇄ one polling body (Engine.IO 4).

use bytestring::ByteString;

use super::packet::{Packet, PacketError};

/// Why a polling body is no payload. Packets before the invalid one were handed out already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadError {
    /// The packet at `index` is invalid.
    Packet {
        /// Its index in the body, from 0.
        index: usize,
        /// What is wrong with it.
        error: PacketError,
    },
}

/// An iterator over the packets of a polling body; ends after the first error.
#[derive(Debug)]
pub struct Payload {
    rest: Option<ByteString>,
}

impl Payload {
    /// Starts reading `body`, which has been turned into text (invalid UTF-8 replaced by U+FFFD).
    pub fn decode(body: ByteString) -> Payload {
        Payload { rest: Some(body) }
    }
}

impl Iterator for Payload {
    type Item = Result<Packet, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = &self.rest;
        todo!()
    }
}
