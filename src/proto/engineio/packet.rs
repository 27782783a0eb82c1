//! Packet: one packet ⇄ one text or binary message.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// The data of a `message` packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text, possibly empty.
    Text(ByteString),
    /// Bytes, possibly none.
    Binary(Bytes),
}

/// One Engine.IO packet as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// `0`
    Open(ByteString),
    /// `1`
    Close(ByteString),
    /// `2`
    Ping(ByteString),
    /// `3`
    Pong(ByteString),
    /// `4`, or a binary message
    Message(Message),
    /// `5`
    Upgrade(ByteString),
    /// `6`
    Noop(ByteString),
}

/// Why a text is no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// The text is empty.
    Empty,
    /// The first character is no packet type.
    UnknownType(char),
}

impl Packet {
    /// Reads one text packet (a WebSocket text message, or one part of a polling body); `b…` is base64 binary. The
    /// data is a slice of `text`.
    ///
    /// # Errors
    /// The text is empty, or begins with no packet type.
    pub fn decode(text: &ByteString) -> Result<Packet, PacketError> {
        let mut characters = text.chars();
        let kind = characters.next().ok_or(PacketError::Empty)?;
        let data = characters.as_str();
        if kind == 'b' {
            return Ok(Packet::Message(Message::Binary(decode_base64(data.as_bytes()).into())));
        }
        let data = text.slice_ref(data);
        match kind {
            '0' => Ok(Packet::Open(data)),
            '1' => Ok(Packet::Close(data)),
            '2' => Ok(Packet::Ping(data)),
            '3' => Ok(Packet::Pong(data)),
            '4' => Ok(Packet::Message(Message::Text(data))),
            '5' => Ok(Packet::Upgrade(data)),
            '6' => Ok(Packet::Noop(data)),
            other => Err(PacketError::UnknownType(other)),
        }
    }
}

/// Reads base64 as Node's `Buffer.from(text, "base64")` does: both alphabets, padding optional, other characters
/// skipped, nothing after the first `=`.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in text.iter().take_while(|byte| **byte != b'=').filter_map(|byte| base64_digit(*byte)) {
        bits = bits << 6 | digit;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    bytes
}

fn base64_digit(byte: u8) -> Option<u32> {
    let digit = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(digit))
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PacketError::Empty => f.write_str("the packet is empty"),
            PacketError::UnknownType(kind) => write!(f, "{kind:?} is no packet type, accepted are 0 to 6 and b"),
        }
    }
}

impl std::error::Error for PacketError {}
