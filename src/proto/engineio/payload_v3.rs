//! Payload: many packets ⇄ one polling body (Engine.IO 3), in its two forms.
//!
//! ```text
//! string   6:4hello 2:4€ 10:b4AQIDBA==     <length in UTF-16 units>:<packet>, binary as b, type and base64
//! binary   00 04 ff "4€"                   <0: text, else binary> <decimal digits, a byte each> ff <content>,
//!          01 05 ff 04 01020304            lengths in bytes, binary begins with its type
//! ```

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use super::packet::{Packet, PacketError};
use super::payload::PayloadError;
use crate::proto::EncodedMessage;
use crate::proto::javascript;

/// Writes messages as one polling body of Engine.IO 3, and says whether it is the binary form: the string form is
/// written for a client that wants `base64` (`b64` in its query), and where nothing is binary.
pub fn polling_body_v3<'a>(
    messages: impl Iterator<Item = &'a EncodedMessage> + Clone,
    base64: bool,
) -> (Vec<u8>, bool) {
    let binary = !base64 && messages.clone().any(EncodedMessage::has_binary);
    let mut body =
        Vec::with_capacity(messages.clone().map(|message| message.len() + message.packets() * 8).sum());
    for message in messages {
        if binary {
            message.append_polling3_binary(&mut body);
        } else {
            message.append_polling3(&mut body);
        }
    }
    if body.is_empty() {
        // A body without any entry is an error in the string form; no packets are an entry of no length.
        body.extend_from_slice(b"0:");
    }
    (body, binary)
}

/// The next packet of a body in the string form, which is taken off it. `Ok(None)`: an entry to skip.
pub(super) fn next_text(rest: &mut ByteString, index: usize) -> Result<Option<Packet>, PayloadError> {
    let invalid = PayloadError::InvalidLength { index };
    let Some((length, after)) = rest.split_once(':') else { return Err(invalid) };
    let Some(text) = text_length(length).and_then(|units| javascript::utf16_prefix(after, units)) else {
        return Err(invalid);
    };
    let packet = (!text.is_empty()).then(|| rest.slice_ref(text));
    *rest = rest.slice_ref(&after[text.len()..]);
    match packet {
        Some(packet) => Packet::decode_v3(&packet).map_err(|error| PayloadError::Packet { index, error }),
        None => Ok(None),
    }
}

/// The next packet of a body in the binary form, which is taken off it. `Ok(None)`: a packet to ignore.
pub(super) fn next_binary(rest: &mut Bytes, index: usize) -> Result<Option<Packet>, PayloadError> {
    let Some(entry) = Entry::first(rest) else { return Err(PayloadError::InvalidLength { index }) };
    let content = rest.slice(entry.start..entry.end);
    rest.advance(entry.end);
    if entry.is_binary {
        return Ok(Packet::decode_v3_binary(&content));
    }
    let text = text_content(&content).ok_or(PayloadError::InvalidUtf8 { index })?;
    Packet::decode_v3(&text).map_err(|error| PayloadError::Packet { index, error })
}

/// The index of the first entry of a body in the binary form that is none. Node finds all entries before it reads the
/// first packet.
pub(super) fn first_invalid_entry(mut body: &[u8]) -> Option<usize> {
    let mut index = 0;
    while !body.is_empty() {
        let Some(entry) = Entry::first(body) else { return Some(index) };
        body = &body[entry.end..];
        index += 1;
    }
    None
}

/// The error of a string form without any entry; the binary form may be empty.
pub(super) const EMPTY: PayloadError = PayloadError::Packet { index: 0, error: PacketError::Empty };

/// Node compares the text with `Number(text)`, and that with the length it finds: `02`, `1e0`, ` 2`, `+2` and `0x2`
/// are lengths too, as is a space; no text at all is none.
fn text_length(text: &str) -> Option<usize> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain {
        return text.parse().ok();
    }
    let number = javascript::number(text);
    let whole = number >= 0.0 && number.fract() == 0.0; // not of infinity: its fraction is NaN
    (whole && !text.is_empty()).then_some(number as usize)
}

/// Where an entry of the binary form is in its body.
struct Entry {
    is_binary: bool,
    start: usize,
    end: usize,
}

impl Entry {
    /// A content that is shorter than announced is taken as it is, as Node does.
    fn first(body: &[u8]) -> Option<Entry> {
        let (&marker, after) = body.split_first()?;
        let digits = after.iter().take(MAX_LENGTH_DIGITS + 1).position(|&byte| byte == 0xff)?;
        // Node takes larger bytes as several digits and then loses its place.
        let valid = digits > 0 && after[..digits].iter().all(|&digit| digit <= 9);
        let length = after[..digits]
            .iter()
            .fold(0usize, |length, &digit| length.saturating_mul(10).saturating_add(usize::from(digit)));
        let start = 1 + digits + 1;
        let end = start.saturating_add(length).min(body.len());
        valid.then_some(Entry { is_binary: marker != 0, start, end })
    }
}

/// The most digits that Node reads: as many as the largest number of JavaScript has, and two.
const MAX_LENGTH_DIGITS: usize = 311;

/// Reads UTF-8 as Node does here: the three bytes of a lone surrogate are U+FFFD, anything else invalid is an error.
/// But base64 it reads as Latin-1.
fn text_content(content: &Bytes) -> Option<ByteString> {
    if content.starts_with(b"b") && !content.is_ascii() {
        return Some(content.iter().map(|&byte| char::from(byte)).collect::<String>().into());
    }
    match ByteString::try_from(content.clone()) {
        Ok(text) => Some(text),
        Err(_) => replace_surrogates(content).map(ByteString::from),
    }
}

fn replace_surrogates(content: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(content.len());
    let mut rest = content;
    loop {
        let valid = match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                return Some(text);
            }
            Err(error) => error.valid_up_to(),
        };
        let (before, invalid) = rest.split_at(valid);
        text.push_str(std::str::from_utf8(before).ok()?);
        let ([0xed, 0xa0..=0xbf, 0x80..=0xbf], after) = invalid.split_first_chunk()? else { return None };
        text.push('\u{fffd}');
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::Message;
    use super::super::payload::Payload;
    use super::*;

    type Read = Vec<Result<Packet, PayloadError>>;

    fn text(body: &str) -> Read {
        Payload::decode_v3_text(body.into()).collect()
    }

    fn binary(body: &[u8]) -> Read {
        Payload::decode_v3_binary(Bytes::copy_from_slice(body)).collect()
    }

    fn message(data: &str) -> Result<Packet, PayloadError> {
        Ok(Packet::Message(Message::Text(data.into())))
    }

    fn bytes(data: &[u8]) -> Result<Packet, PayloadError> {
        Ok(Packet::Message(Message::Binary(Bytes::copy_from_slice(data))))
    }

    fn length(index: usize) -> Result<Packet, PayloadError> {
        Err(PayloadError::InvalidLength { index })
    }

    fn invalid(index: usize, error: PacketError) -> Result<Packet, PayloadError> {
        Err(PayloadError::Packet { index, error })
    }

    #[test]
    fn lengths_of_the_string_form_are_numbers_of_javascript() {
        for length in
            ["2", "02", "2.0", ".2e1", "+2", "0x2", "0b10", "0o2", " 2", "2 ", "\u{a0}2", "\u{feff}2"]
        {
            assert_eq!(text(&format!("{length}:4a")), [message("a")], "{length:?}");
        }
        for other in [
            "",
            "-2",
            "2.5",
            "Infinity",
            "NaN",
            "٢",
            "2n",
            "+",
            "e",
            "1_0",
            "abc",
            "1e400",
            "9007199254740993",
        ] {
            assert_eq!(text(&format!("{other}:4a")), [length(0)], "{other:?}");
        }
    }

    #[test]
    fn entries_of_no_length_are_skipped() {
        for nothing in ["0:", "0:0:", " :", "-0:", "00: :0x0:"] {
            assert_eq!(text(nothing), [], "{nothing:?}");
            assert_eq!(text(&format!("{nothing}2:4a{nothing}")), [message("a")], "{nothing:?}");
        }
        assert_eq!(text(""), [invalid(0, PacketError::Empty)]);
        assert_eq!(text("0:x"), [length(1)]);
    }

    #[test]
    fn lengths_of_the_string_form_count_utf16_units() {
        assert_eq!(text("3:4😀2:4€2:4a"), [message("😀"), message("€"), message("a")]);
        assert_eq!(text("3:4a"), [length(0)]);
        assert_eq!(text("1:4a"), [message(""), length(1)]);
        // Node hands out the first half of the character, and then fails too.
        assert_eq!(text("2:4😀2:4a"), [length(0)]);
    }

    #[test]
    fn an_invalid_packet_ends_the_string_form() {
        assert_eq!(text("2:4a2:9b2:4c"), [message("a"), invalid(1, PacketError::UnknownType('9'))]);
        assert_eq!(text("2:4a3"), [message("a"), length(1)]);
        assert_eq!(text("2:4a:"), [message("a"), length(1)]);
        assert_eq!(text("1:b3:b9A6:b4AQI=2:4a"), [bytes(&[1, 2]), message("a")]);
    }

    #[test]
    fn the_binary_form_is_read() {
        assert_eq!(
            binary(b"\0\x04\xff4\xe2\x82\xac\x01\x05\xff\x04\x01\x02\x03\x04"),
            [message("€"), bytes(&[1, 2, 3, 4]),]
        );
        assert_eq!(binary(b""), []);
        assert_eq!(binary(b"\0\0\x02\xff4a"), [message("a")]);
        assert_eq!(binary(b"\0\x06\xffb4AQI="), [bytes(&[1, 2])]);
        assert_eq!(binary(b"\0\x09\xffb4A\xc5\x81\xffQI="), [bytes(&[1, 2])]);
        assert_eq!(binary(b"\x05\x01\xff\x04"), [bytes(&[])]);
        // Of unknown type, and of none.
        assert_eq!(binary(b"\x01\x02\xff\x09\x01\x01\0\xff\0\x02\xff4a"), [message("a")]);
        // Shorter than announced.
        assert_eq!(binary(b"\0\x09\xff4a"), [message("a")]);
        assert_eq!(binary(&[&[0][..], &[9; 311], b"\xff4a"].concat()), [message("a")]);
    }

    #[test]
    fn a_broken_header_spoils_the_whole_binary_form() {
        let packet = b"\0\x02\xff4a";
        for header in [&b"\0"[..], b"\0\x01", b"\0\x014", b"\xff", b"\x01\xff", b"\0\x0a\xff4", b"\0\xfe"] {
            assert_eq!(binary(&[packet, header].concat()), [length(1)], "{header:?}");
        }
        assert_eq!(binary(&[&[0][..], &[0; 312], b"\xff4a"].concat()), [length(0)]);
    }

    #[test]
    fn an_invalid_content_ends_the_binary_form() {
        let packet = b"\0\x02\xff4a";
        let after = |content: &[u8]| {
            let mut read = binary(&[packet, &[0, content.len() as u8, 0xff][..], content, packet].concat());
            assert_eq!(read.remove(0), message("a"));
            assert_eq!(read.len(), 1, "{content:?}");
            read.remove(0)
        };
        assert_eq!(after(b""), invalid(1, PacketError::Empty));
        assert_eq!(after(b"zz"), invalid(1, PacketError::UnknownType('z')));
        assert_eq!(after("\u{feff}4".as_bytes()), invalid(1, PacketError::UnknownType('\u{feff}')));
        for content in [
            &b"4\xe2\x82"[..],
            b"4\xff",
            b"4\x80",
            b"4\xc0\x80",
            b"4\xe0\x80\xaf",
            b"4\xf0\x80\x80\x80",
            b"4\xf5\x80\x80\x80",
            b"4\xed\xa0",
        ] {
            assert_eq!(after(content), Err(PayloadError::InvalidUtf8 { index: 1 }), "{content:?}");
        }
    }

    #[test]
    fn unpaired_surrogates_of_the_binary_form_are_replaced() {
        assert_eq!(binary(b"\0\x04\xff4\xed\xa0\x80"), [message("\u{fffd}")]);
        assert_eq!(binary(b"\0\x09\xff4a\xed\xa0\xbd\xed\xb8\x80b"), [message("a\u{fffd}\u{fffd}b")]);
    }

    #[test]
    fn data_is_a_slice_of_the_body() {
        let body = ByteString::from("6:4hello");
        let Some(Ok(Packet::Message(Message::Text(data)))) = Payload::decode_v3_text(body.clone()).next()
        else {
            panic!("no text message")
        };
        assert_eq!(data.as_ptr(), body[3..].as_ptr());

        let body = Bytes::from_static(b"\x01\x07\xff\x04abcdef");
        let Some(Ok(Packet::Message(Message::Binary(data)))) = Payload::decode_v3_binary(body.clone()).next()
        else {
            panic!("no binary message")
        };
        assert_eq!(data.as_ptr(), body[4..].as_ptr());
    }

    #[test]
    fn nothing_to_send_is_an_entry_of_no_length() {
        assert_eq!(polling_body_v3(std::iter::empty(), false), (b"0:".to_vec(), false));
    }

    #[test]
    fn the_form_is_chosen_by_what_the_client_wants_and_by_what_there_is() {
        let (text, data) = (EncodedMessage::text("4é😀"), EncodedMessage::binary(&[0; 9]));
        let body = |messages: &[&EncodedMessage], base64| polling_body_v3(messages.iter().copied(), base64);
        assert_eq!(body(&[&text], false), ("4:4é😀".into(), false));
        assert_eq!(body(&[&text, &data], true), ("4:4é😀14:b4AAAAAAAAAAAA".into(), false));
        let binary = b"\0\x07\xff4\xc3\xa9\xf0\x9f\x98\x80\x01\x01\0\xff\x04\0\0\0\0\0\0\0\0\0";
        assert_eq!(body(&[&text, &data], false), (binary.to_vec(), true));
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end_or_first_error(body in any::<String>()) {
            let packets = text(&body);
            prop_assert!(packets.len() <= body.matches(':').count() + 1);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn any_bytes_are_read_to_their_end_or_first_error(
            body in proptest::collection::vec(prop_oneof![0u8..5, Just(0xff), Just(b'4'), any::<u8>()], 0..60),
        ) {
            let packets = binary(&body);
            prop_assert!(packets.len() <= body.iter().filter(|&&byte| byte == 0xff).count() + 1);
            prop_assert!(packets.iter().rev().skip(1).all(Result::is_ok));
        }

        #[test]
        fn what_a_poll_is_answered_with_is_read_back(
            messages in proptest::collection::vec(
                prop_oneof![
                    any::<String>().prop_map(|data| Message::Text(data.into())),
                    "[a€😀:]{0,150}".prop_map(|data| Message::Text(data.into())),
                    proptest::collection::vec(any::<u8>(), 0..150).prop_map(|data| Message::Binary(data.into())),
                ],
                0..6,
            ),
            base64 in any::<bool>(),
        ) {
            let encoded: Vec<_> = messages
                .iter()
                .map(|message| match message {
                    Message::Text(data) => EncodedMessage::text(&format!("4{data}")),
                    Message::Binary(data) => EncodedMessage::binary(data),
                })
                .collect();
            let has_binary = messages.iter().any(|message| matches!(message, Message::Binary(_)));
            let expected: Read = messages.into_iter().map(|message| Ok(Packet::Message(message))).collect();
            let (body, is_binary) = polling_body_v3(encoded.iter(), base64);
            prop_assert_eq!(is_binary, has_binary && !base64);
            let read = if is_binary { binary(&body) } else { text(&String::from_utf8(body).unwrap()) };
            prop_assert_eq!(read, expected);
        }
    }
}
