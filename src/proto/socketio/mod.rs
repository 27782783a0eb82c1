//! Socket.IO on one page.

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::EncodedMessage;

/// The kind of a packet. Binary events and acks are events and acks with attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// `0`
    Connect,
    /// `1`
    Disconnect,
    /// `2`, with attachments `5`
    Event,
    /// `3`, with attachments `6`
    Ack,
    /// `4`
    ConnectError,
}

/// The data of a packet: JSON text, in which a binary value stands as `{"_placeholder":true,"num":i}`, and the
/// attachments. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    json: ByteString,
    attachments: Vec<Bytes>,
}

/// A whole Socket.IO packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: PacketKind,
    /// The namespace, `/` for the main one.
    pub namespace: ByteString,
    /// The acknowledgement id.
    pub id: Option<u64>,
    /// The data; `None` where the packet had none.
    pub data: Option<Payload>,
}

impl Packet {
    /// Encodes it once for all transports (as Engine.IO messages).
    pub fn encode(&self) -> EncodedMessage {
        todo!()
    }
}
