//! Packet: one packet ⇄ one text or binary message.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
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

impl Message {
    /// Gives the text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text.into())
    }
}

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Message {
        Message::Binary(data)
    }
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
            return Ok(Packet::Message(Message::Binary(decode_base64(data).into())));
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

    /// Reads one text packet of Engine.IO 3 (a WebSocket text message, or one part of a polling body), where a type
    /// follows the `b` of base64 binary (`b4AQID`). `Ok(None)`: a binary packet of an unknown type, which is ignored.
    ///
    /// # Errors
    /// The text is empty, or begins with no packet type.
    pub fn decode_v3(text: &ByteString) -> Result<Option<Packet>, PacketError> {
        let Some(binary) = text.strip_prefix('b') else { return Packet::decode(text).map(Some) };
        let Some(kind @ '0'..='6') = binary.chars().next() else { return Ok(None) };
        Ok(Packet::of_binary(kind as u8 - b'0', || decode_base64(&binary[1..]).into()))
    }

    /// Reads one binary packet of Engine.IO 3 (a WebSocket binary message, or one part of a polling body), whose
    /// first byte is its type (`04` for a message). `None`: the type is unknown or missing, the packet is ignored.
    pub fn decode_v3_binary(packet: &Bytes) -> Option<Packet> {
        let kind = *packet.first()?;
        Packet::of_binary(kind, || packet.slice(1..))
    }

    /// Only of a message the data matters: of the others nobody reads it, but `probe`, and that only as text.
    fn of_binary(kind: u8, data: impl FnOnce() -> Bytes) -> Option<Packet> {
        let nothing = ByteString::new();
        Some(match kind {
            0 => Packet::Open(nothing),
            1 => Packet::Close(nothing),
            2 => Packet::Ping(nothing),
            3 => Packet::Pong(nothing),
            4 => Packet::Message(Message::Binary(data())),
            5 => Packet::Upgrade(nothing),
            6 => Packet::Noop(nothing),
            _ => return None,
        })
    }
}

/// Reads base64 as Node's `Buffer.from(text, "base64")` does.
fn decode_base64(text: &str) -> Vec<u8> {
    BASE64.decode(text).unwrap_or_else(|_| decode_base64_leniently(text))
}

/// The common case: one alphabet, whole or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Both alphabets, padding optional, other characters skipped, nothing after the first `=`. Of a character that is
/// not ASCII, Node takes the low byte of its UTF-16 units, and so a few of them count as digits.
fn decode_base64_leniently(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0u32);
    let low_bytes = text.encode_utf16().map(|unit| unit as u8);
    for digit in low_bytes.take_while(|byte| *byte != b'=').filter_map(base64_digit) {
        bits = bits << 6 | digit;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
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
            PacketError::UnknownType(kind) => {
                write!(f, "{kind:?} is no packet type, accepted are 0 to 6 and b")
            }
        }
    }
}

impl std::error::Error for PacketError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> Result<Packet, PacketError> {
        Packet::decode(&text.into())
    }

    fn check_base64(text: &str, expected: &[u8]) {
        let binary = Packet::Message(Message::Binary(Bytes::copy_from_slice(expected)));
        assert_eq!(decode(&format!("b{text}")), Ok(binary), "{text}");
    }

    #[test]
    fn the_first_character_is_the_type() {
        assert_eq!(decode("0{}"), Ok(Packet::Open("{}".into())));
        assert_eq!(decode("1"), Ok(Packet::Close("".into())));
        assert_eq!(decode("2probe"), Ok(Packet::Ping("probe".into())));
        assert_eq!(decode("3probe"), Ok(Packet::Pong("probe".into())));
        assert_eq!(decode("4€\u{1e}\0"), Ok(Packet::Message(Message::Text("€\u{1e}\0".into()))));
        assert_eq!(decode("4"), Ok(Packet::Message(Message::Text("".into()))));
        assert_eq!(decode("5"), Ok(Packet::Upgrade("".into())));
        assert_eq!(decode("6abc"), Ok(Packet::Noop("abc".into())));
    }

    #[test]
    fn what_begins_with_no_type_is_refused() {
        assert_eq!(decode(""), Err(PacketError::Empty));
        for (text, kind) in
            [("a123", 'a'), ("7", '7'), (" 4", ' '), ("\u{feff}4a", '\u{feff}'), ("４a", '４')]
        {
            assert_eq!(decode(text), Err(PacketError::UnknownType(kind)));
        }
    }

    #[test]
    fn the_data_is_a_slice_of_the_text() {
        let text = ByteString::from("4hello");
        let Ok(Packet::Message(Message::Text(data))) = Packet::decode(&text) else {
            panic!("no text message")
        };
        assert_eq!(data.as_ptr(), text[1..].as_ptr());
    }

    #[test]
    fn base64_is_read_as_leniently_as_node_does() {
        for (text, expected) in [
            ("", &b""[..]),
            ("A", b""),
            ("AQ", b"\x01"),
            ("AQ==", b"\x01"),
            ("AR", b"\x01"),
            ("AQ=", b"\x01"),
            ("AQI", b"\x01\x02"),
            ("AQIDA", b"\x01\x02\x03"),
            ("AQID====", b"\x01\x02\x03"),
            ("AQ==AQID", b"\x01"),
            ("AQ=ID", b"\x01"),
            ("=AQID", b""),
            ("A\n=QID", b""),
            ("A Q\r\nI!D", b"\x01\x02\x03"),
            ("-_+/", b"\xfb\xff\xbf"),
            ("AQ€ID", b"\x01\x02\x03"),
            ("A\u{141}QI", b"\x00\x04\x08"),
            ("AQ\u{13d}ID", b"\x01"),
            ("AQID\u{1f600}AQ", b"\x01\x02\x03"),
        ] {
            check_base64(text, expected);
        }
    }

    #[test]
    fn binary_of_revision_3_has_a_type() {
        let decode_v3 = |text: &str| Packet::decode_v3(&text.into());
        let message = |data: &'static [u8]| Packet::Message(Message::Binary(Bytes::from_static(data)));
        assert_eq!(decode_v3("b4AQI="), Ok(Some(message(&[1, 2]))));
        assert_eq!(decode_v3("b4"), Ok(Some(message(&[]))));
        assert_eq!(decode_v3("b2cHJvYmU="), Ok(Some(Packet::Ping("".into()))));
        for ignored in ["b", "b9", "b7AQI=", "b😀", "bb"] {
            assert_eq!(decode_v3(ignored), Ok(None), "{ignored}");
        }
        assert_eq!(decode_v3("2probe"), Ok(Some(Packet::Ping("probe".into()))));
        assert_eq!(decode_v3("B4"), Err(PacketError::UnknownType('B')));
        assert_eq!(decode_v3(""), Err(PacketError::Empty));

        let decode_binary = |packet: &'static [u8]| Packet::decode_v3_binary(&Bytes::from_static(packet));
        assert_eq!(decode_binary(&[4, 1, 2]), Some(message(&[1, 2])));
        assert_eq!(decode_binary(&[4]), Some(message(&[])));
        assert_eq!(decode_binary(&[0]), Some(Packet::Open("".into())));
        assert_eq!(decode_binary(&[1]), Some(Packet::Close("".into())));
        assert_eq!(decode_binary(b"\x02probe"), Some(Packet::Ping("".into())));
        assert_eq!(decode_binary(&[3]), Some(Packet::Pong("".into())));
        assert_eq!(decode_binary(&[5]), Some(Packet::Upgrade("".into())));
        assert_eq!(decode_binary(&[6, 1]), Some(Packet::Noop("".into())));
        for ignored in [&b""[..], &[7, 1], b"4a", &[255]] {
            assert_eq!(decode_binary(ignored), None, "{ignored:?}");
        }
    }

    #[test]
    fn binary_data_of_revision_3_is_a_slice_of_the_packet() {
        let packet = Bytes::from_static(&[4, 1, 2, 3]);
        let Some(Packet::Message(Message::Binary(data))) = Packet::decode_v3_binary(&packet) else {
            panic!("no binary message")
        };
        assert_eq!(data.as_ptr(), packet[1..].as_ptr());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_without_growth(text in any::<String>()) {
            if let Ok(Packet::Message(Message::Binary(data))) = decode(&text) {
                prop_assert!(data.len() <= text.len());
            }
            prop_assert!(decode_base64(&text).len() <= text.len());
        }

        #[test]
        fn binary_comes_back_whole_or_without_padding(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = base64::engine::general_purpose::STANDARD.encode(&data);
            check_base64(&text, &data);
            check_base64(text.trim_end_matches('='), &data);
            check_base64(&base64::engine::general_purpose::URL_SAFE.encode(&data), &data);
        }

        #[test]
        fn the_short_way_reads_what_the_lenient_way_reads(text in "[AQIDz+/=]{0,12}") {
            prop_assert_eq!(decode_base64(&text), decode_base64_leniently(&text));
        }
    }
}
