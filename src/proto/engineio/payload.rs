//! Payload: many packets ⇄ one polling body (Engine.IO 4; the forms of revision 3 are in `payload_v3.rs`).

use std::fmt;
use std::iter::FusedIterator;

use bytes::Bytes;
use bytestring::ByteString;

use super::packet::{Message, Packet, PacketError};
use super::payload_v3;
use crate::proto::EncodedMessage;

/// Writes messages as one polling body of Engine.IO 4: packets joined by U+001E, binary as `b` and base64.
pub fn polling_body_v4<'a>(messages: impl Iterator<Item = &'a EncodedMessage> + Clone) -> Vec<u8> {
    let mut body = Vec::with_capacity(messages.clone().map(EncodedMessage::len).sum());
    for message in messages {
        message.append_polling4(&mut body);
    }
    body
}

/// Why a polling body is no payload. Packets before the invalid one were handed out already.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadError {
    /// The packet at `index` has no length before it, or another one (Engine.IO 3).
    InvalidLength {
        /// Its index in the body, from 0.
        index: usize,
    },
    /// The packet at `index` is text that is no UTF-8 (Engine.IO 3, binary form).
    InvalidUtf8 {
        /// Its index in the body, from 0.
        index: usize,
    },
    /// The packet at `index` is invalid.
    Packet {
        /// Its index in the body, from 0.
        index: usize,
        /// What is wrong with it.
        error: PacketError,
    },
}

/// An iterator over the packets of a polling body; ends after the first error.
///
/// | body | packets |
/// |---|---|
/// | [`decode`](Payload::decode), Engine.IO 4 | separated by U+001E |
/// | [`decode_v3_text`](Payload::decode_v3_text), Engine.IO 3 | each after its length: `6:4hello2:4€` |
/// | [`decode_v3_binary`](Payload::decode_v3_binary), Engine.IO 3 | each after a binary header |
///
/// Text and binary data are slices of the body, unless they are a small part of it; base64 is decoded when its turn
/// comes.
#[derive(Debug)]
pub struct Payload {
    rest: Rest,
    index: usize,
    /// The length of the body.
    len: usize,
}

/// What has not been read yet.
#[derive(Debug)]
enum Rest {
    V4(Option<ByteString>),
    V3Text(ByteString),
    V3Binary(Bytes),
    Failed(Option<PayloadError>),
}

impl Payload {
    /// Starts reading a body of Engine.IO 4, which has been turned into text (invalid UTF-8 replaced by U+FFFD).
    pub fn decode(body: ByteString) -> Payload {
        Payload { len: body.len(), rest: Rest::V4(Some(body)), index: 0 }
    }

    /// Starts reading a body of Engine.IO 3 in its string form, turned into text in the same way.
    ///
    /// It is as lenient as Node: a length is whatever JavaScript takes for its number, entries of no length and binary
    /// packets of an unknown type are skipped. An empty body is an error, and so is a length that ends within a
    /// character (Node hands out half of it, and then fails).
    pub fn decode_v3_text(body: ByteString) -> Payload {
        let len = body.len();
        let rest = if body.is_empty() { Rest::Failed(Some(payload_v3::EMPTY)) } else { Rest::V3Text(body) };
        Payload { rest, index: 0, len }
    }

    /// Starts reading a body of Engine.IO 3 in its binary form (`application/octet-stream`).
    ///
    /// Binary packets of an unknown type are skipped, the last packet may be shorter than announced, and an empty
    /// body has no packets. As on Node, nothing of a body is read in which a header is broken or missing.
    pub fn decode_v3_binary(body: Bytes) -> Payload {
        let len = body.len();
        let rest = match payload_v3::first_invalid_entry(&body) {
            Some(index) => Rest::Failed(Some(PayloadError::InvalidLength { index })),
            None => Rest::V3Binary(body),
        };
        Payload { rest, index: 0, len }
    }

    /// A packet that may be kept for long: a small part of a large body is copied, so that it does not keep the body.
    fn detach(&self, packet: Packet) -> Packet {
        match packet {
            Packet::Message(Message::Text(text)) if text.len() < self.len / 2 => {
                Packet::Message(Message::Text((&*text).into()))
            }
            Packet::Message(Message::Binary(data))
                if matches!(self.rest, Rest::V3Binary(_)) && data.len() < self.len / 2 =>
            {
                Packet::Message(Message::Binary(Bytes::copy_from_slice(&data)))
            }
            other => other,
        }
    }

    /// The next part of the body; `Ok(None)`: it is no packet that anyone would want.
    fn next_part(&mut self) -> Option<Result<Option<Packet>, PayloadError>> {
        match &mut self.rest {
            Rest::V4(rest) => {
                let packet = next_v4(rest)?;
                let index = self.index;
                Some(Packet::decode(&packet).map(Some).map_err(|error| PayloadError::Packet { index, error }))
            }
            Rest::V3Text(rest) if rest.is_empty() => None,
            Rest::V3Text(rest) => Some(payload_v3::next_text(rest, self.index)),
            Rest::V3Binary(rest) if rest.is_empty() => None,
            Rest::V3Binary(rest) => Some(payload_v3::next_binary(rest, self.index)),
            Rest::Failed(error) => error.take().map(Err),
        }
    }
}

impl Iterator for Payload {
    type Item = Result<Packet, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let part = self.next_part()?;
            self.index += 1;
            match part {
                Ok(None) => {}
                Ok(Some(packet)) => return Some(Ok(self.detach(packet))),
                Err(error) => {
                    self.rest = Rest::Failed(None);
                    return Some(Err(error));
                }
            }
        }
    }
}

impl FusedIterator for Payload {}

fn next_v4(rest: &mut Option<ByteString>) -> Option<ByteString> {
    let body = rest.take()?;
    Some(match memchr::memchr(SEPARATOR, body.as_bytes()) {
        Some(end) => {
            *rest = Some(body.slice_ref(&body[end + 1..]));
            body.slice_ref(&body[..end])
        }
        None => body,
    })
}

const SEPARATOR: u8 = 0x1E;

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayloadError::InvalidLength { index } => {
                write!(f, "packet {index}: its length is missing or wrong")
            }
            PayloadError::InvalidUtf8 { index } => write!(f, "packet {index}: its text is no UTF-8"),
            PayloadError::Packet { index, error } => write!(f, "packet {index}: {error}"),
        }
    }
}

impl std::error::Error for PayloadError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(body: &str) -> Vec<Result<Packet, PayloadError>> {
        Payload::decode(body.into()).collect()
    }

    fn text(data: &str) -> Packet {
        Packet::Message(Message::Text(data.into()))
    }

    fn invalid(index: usize, error: PacketError) -> Result<Packet, PayloadError> {
        Err(PayloadError::Packet { index, error })
    }

    #[test]
    fn a_small_part_of_a_large_body_does_not_keep_it() {
        let large = format!("4{}", "x".repeat(1000));
        let body = ByteString::from(format!("4small\u{1e}{large}"));
        let range = body.as_bytes().as_ptr_range();
        let inside: Vec<bool> = Payload::decode(body)
            .map(|packet| match packet {
                Ok(Packet::Message(Message::Text(text))) => range.contains(&text.as_bytes().as_ptr()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(inside, [false, true]);
    }

    #[test]
    fn packets_come_in_order() {
        let expected = [
            Ok(text("a")),
            Ok(Packet::Pong("".into())),
            Ok(Packet::Message(Message::Binary(vec![1].into()))),
        ];
        assert_eq!(decode("4a\u{1e}3\u{1e}bAQ=="), expected);
    }

    #[test]
    fn an_invalid_packet_ends_the_body_behind_those_before_it() {
        assert_eq!(decode("4a\u{1e}x\u{1e}4b"), [Ok(text("a")), invalid(1, PacketError::UnknownType('x'))]);
    }

    #[test]
    fn empty_packets_are_invalid() {
        assert_eq!(decode(""), [invalid(0, PacketError::Empty)]);
        assert_eq!(decode("\u{1e}4a"), [invalid(0, PacketError::Empty)]);
        assert_eq!(decode("4a\u{1e}"), [Ok(text("a")), invalid(1, PacketError::Empty)]);
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(body in any::<String>()) {
            let packets = decode(&body);
            prop_assert!(packets.len() <= body.matches(char::from(SEPARATOR)).count() + 1);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn what_a_poll_is_answered_with_is_read_back(
            messages in proptest::collection::vec(
                prop_oneof![
                    "[^\u{1e}]{0,20}".prop_map(|data| Message::Text(data.into())),
                    proptest::collection::vec(any::<u8>(), 0..20).prop_map(|data| Message::Binary(data.into())),
                ],
                1..6,
            ),
        ) {
            let encoded: Vec<_> = messages
                .iter()
                .map(|message| match message {
                    Message::Text(data) => EncodedMessage::text(&format!("4{data}")),
                    Message::Binary(data) => EncodedMessage::binary(data),
                })
                .collect();
            let body = String::from_utf8(polling_body_v4(encoded.iter())).unwrap();
            let expected: Vec<_> = messages.into_iter().map(|message| Ok(Packet::Message(message))).collect();
            prop_assert_eq!(decode(&body), expected);
        }
    }
}
