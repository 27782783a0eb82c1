//! Payload: many packets ⇄ one polling body (Engine.IO 4).

use std::fmt;

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

/// An iterator over the packets of a polling body, which U+001E separates; ends after the first error.
#[derive(Debug)]
pub struct Payload {
    rest: Option<ByteString>,
    index: usize,
}

impl Payload {
    /// Starts reading `body`, which has been turned into text (invalid UTF-8 replaced by U+FFFD).
    pub fn decode(body: ByteString) -> Payload {
        Payload { rest: Some(body), index: 0 }
    }
}

impl Iterator for Payload {
    type Item = Result<Packet, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let body = self.rest.take()?;
        let packet = match memchr::memchr(SEPARATOR, body.as_bytes()) {
            Some(end) => {
                self.rest = Some(body.slice_ref(&body[end + 1..]));
                body.slice_ref(&body[..end])
            }
            None => body,
        };
        let index = self.index;
        self.index += 1;
        let decoded = Packet::decode(&packet).map_err(|error| PayloadError::Packet { index, error });
        if decoded.is_err() {
            self.rest = None;
        }
        Some(decoded)
    }
}

const SEPARATOR: u8 = 0x1E;

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PayloadError::Packet { index, error } = self;
        write!(f, "packet {index}: {error}")
    }
}

impl std::error::Error for PayloadError {}
