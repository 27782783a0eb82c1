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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::Message;
    use super::*;
    use crate::proto::EncodedMessage;

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
            let mut body = Vec::new();
            for message in &messages {
                match message {
                    Message::Text(data) => EncodedMessage::text(&format!("4{data}")),
                    Message::Binary(data) => EncodedMessage::binary(data),
                }
                .append_polling4(&mut body);
            }
            let body = String::from_utf8(body).unwrap();
            let expected: Vec<_> = messages.into_iter().map(|message| Ok(Packet::Message(message))).collect();
            prop_assert_eq!(decode(&body), expected);
        }
    }
}
