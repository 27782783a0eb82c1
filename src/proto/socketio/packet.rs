//! `Packet`: one Socket.IO packet.

use bytestring::ByteString;

use super::Payload;

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

impl PacketKind {
    /// Gives the number of the type, 0 to 4; with attachments the default parser writes 5 and 6.
    pub fn number(self) -> u8 {
        match self {
            PacketKind::Connect => 0,
            PacketKind::Disconnect => 1,
            PacketKind::Event => 2,
            PacketKind::Ack => 3,
            PacketKind::ConnectError => 4,
        }
    }

    /// Gives the kind with this number, 0 to 4.
    pub fn from_number(number: u8) -> Option<PacketKind> {
        Some(match number {
            0 => PacketKind::Connect,
            1 => PacketKind::Disconnect,
            2 => PacketKind::Event,
            3 => PacketKind::Ack,
            4 => PacketKind::ConnectError,
            _ => return None,
        })
    }
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
    /// Makes one without id and data.
    pub fn new(kind: PacketKind, namespace: impl Into<ByteString>) -> Packet {
        Packet { kind, namespace: namespace.into(), id: None, data: None }
    }

    /// Sets the acknowledgement id.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Packet {
        self.id = Some(id);
        self
    }

    /// Sets the data.
    #[must_use]
    pub fn with_data(mut self, data: Payload) -> Packet {
        self.data = Some(data);
        self
    }
}
