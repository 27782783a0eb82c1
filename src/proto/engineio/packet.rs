//! Packet: one packet ⇄ one text or binary message.

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
    /// Reads one text packet (a WebSocket text message, or one part of a polling body); `b…` is base64 binary.
    pub fn decode(_text: &ByteString) -> Result<Packet, PacketError> {
        todo!()
    }
}
