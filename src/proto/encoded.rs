//! `EncodedMessage`: one message made ready for every transport, once.

use bytes::Bytes;

/// One message, encoded once and shared by all its recipients: a text packet, binary packets, or a text packet
/// followed by its attachments.
#[derive(Debug)]
pub struct EncodedMessage {
    ws4: Bytes,
}

impl EncodedMessage {
    /// Makes one from a whole Engine.IO text packet, its type character included (`4hello`, `2`, `0{…}`).
    pub fn text(_packet: &str) -> EncodedMessage {
        todo!()
    }

    /// Makes one from the data of a binary message packet.
    pub fn binary(_data: &[u8]) -> EncodedMessage {
        todo!()
    }

    /// The finished WebSocket frames, one after the other: the text frame, then one binary frame per attachment.
    pub fn ws4(&self) -> &Bytes {
        &self.ws4
    }

    /// How many bytes this message counts for in a send queue: the length of [`EncodedMessage::ws4`].
    pub fn len(&self) -> usize {
        self.ws4.len()
    }

    /// Whether there is nothing to send (never the case for a message made by this module).
    pub fn is_empty(&self) -> bool {
        self.ws4.is_empty()
    }

    /// Engine.IO packets in this message (one plus the attachments).
    pub fn packets(&self) -> usize {
        todo!()
    }

    /// Appends the packets as a part of a polling body (Engine.IO 4): packets separated by U+001E, binary as `b`
    /// and base64. `body` is empty or ends with a whole packet: a separator is written before the first packet if
    /// `body` is not empty.
    pub fn append_polling4(&self, _body: &mut Vec<u8>) {
        todo!()
    }
}
