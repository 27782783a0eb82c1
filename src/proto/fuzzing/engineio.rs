//! Any text into the Engine.IO codecs: no panic, no growth, and what was read is written and read again.

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::engineio::{Message, Packet, Payload, polling_body_v3};
use crate::proto::{EncodedMessage, javascript};

/// Reads one packet.
///
/// # Panics
/// If the packet holds more than the text, or is another one once written and read again.
pub fn engineio_packet(data: &[u8]) {
    let text = lossy(data);
    if let Ok(packet) = Packet::decode(&text) {
        check_packet(&packet, text.len());
    }
}

/// Reads a polling body.
///
/// # Panics
/// If there are more packets than separated parts, if anything comes behind an error, or if a packet breaks what
/// [`engineio_packet`] checks.
pub fn engineio_payload(data: &[u8]) {
    let text = lossy(data);
    let parts = text.split('\u{1e}').count();
    let mut payload = Payload::decode(text.clone());
    let mut read = 0;
    let failed = loop {
        match payload.next() {
            Some(Ok(packet)) => {
                check_packet(&packet, text.len());
                read += 1;
            }
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(payload.next().is_none(), "something came behind the end");
    assert!(read < parts || (read == parts && !failed), "every part is read once");
}

/// Reads a polling body of Engine.IO 3, in the string form and in the binary form.
///
/// # Panics
/// If the string form is read otherwise than JavaScript's UTF-16 strings say, if anything comes behind an error, if
/// the messages hold more than the body, or if they are others once written and read again.
pub fn engineio_payload_v3(data: &[u8]) {
    let text = lossy(data);
    let (messages, failed) = read_v3(Payload::decode_v3_text(text.clone()), text.len());
    assert_eq!((messages.clone(), failed), read_by_utf16(&text));
    check_messages_v3(&messages);

    let (messages, _) = read_v3(Payload::decode_v3_binary(Bytes::copy_from_slice(data)), data.len());
    check_messages_v3(&messages);
}

/// The messages, and whether an error came behind them.
fn read_v3(mut payload: Payload, limit: usize) -> (Vec<Message>, bool) {
    let mut messages = Vec::new();
    let mut bytes = 0;
    let failed = loop {
        match payload.next() {
            Some(Ok(Packet::Message(message))) => {
                bytes += match &message {
                    Message::Text(data) => data.len(),
                    Message::Binary(data) => data.len(),
                };
                messages.push(message);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(payload.next().is_none(), "something came behind the end");
    assert!(bytes + messages.len() <= limit, "the messages hold more than the body");
    (messages, failed)
}

/// The string form read slowly, in units as JavaScript has them.
fn read_by_utf16(text: &str) -> (Vec<Message>, bool) {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut rest = &units[..];
    let mut messages = Vec::new();
    while let Some(colon) = rest.iter().position(|&unit| unit == u16::from(b':')) {
        let number = javascript::number(&String::from_utf16_lossy(&rest[..colon]));
        let after = &rest[colon + 1..];
        let Some(len) = (0..=after.len()).find(|&len| colon > 0 && len as f64 == number) else { break };
        rest = &after[len..];
        if len == 0 {
            continue;
        }
        let Ok(packet) = String::from_utf16(&after[..len]) else { return (messages, true) };
        match Packet::decode_v3(&packet.into()) {
            Ok(Some(Packet::Message(message))) => messages.push(message),
            Ok(_) => {}
            Err(_) => return (messages, true),
        }
    }
    (messages, !rest.is_empty() || units.is_empty())
}

/// Writes the messages in both forms and reads them again.
fn check_messages_v3(messages: &[Message]) {
    let encoded: Vec<_> = messages
        .iter()
        .map(|message| match message {
            Message::Text(data) => EncodedMessage::text(&format!("4{data}")),
            Message::Binary(data) => EncodedMessage::binary(data),
        })
        .collect();
    for base64 in [false, true] {
        let (body, is_binary) = polling_body_v3(encoded.iter(), base64);
        let limit = body.len();
        let payload = if is_binary {
            Payload::decode_v3_binary(body.into())
        } else {
            Payload::decode_v3_text(lossy(&body))
        };
        assert_eq!(read_v3(payload, limit), (messages.to_vec(), false));
    }
}

fn lossy(data: &[u8]) -> ByteString {
    String::from_utf8_lossy(data).as_ref().into()
}

fn check_packet(packet: &Packet, limit: usize) {
    let (kind, data) = match packet {
        Packet::Open(data) => ('0', data),
        Packet::Close(data) => ('1', data),
        Packet::Ping(data) => ('2', data),
        Packet::Pong(data) => ('3', data),
        Packet::Message(Message::Text(data)) => ('4', data),
        Packet::Upgrade(data) => ('5', data),
        Packet::Noop(data) => ('6', data),
        Packet::Message(Message::Binary(data)) => {
            assert!(data.len() <= limit);
            let mut body = Vec::new();
            EncodedMessage::binary(data).append_polling4(&mut body);
            assert_eq!(Packet::decode(&lossy(&body)).as_ref(), Ok(packet));
            return;
        }
    };
    assert!(data.len() < limit);
    assert_eq!(Packet::decode(&format!("{kind}{data}").into()).as_ref(), Ok(packet));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_keep_the_invariants(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            engineio_packet(&data);
            engineio_payload(&data);
            engineio_payload_v3(&data);
        }

        #[test]
        fn what_looks_like_packets_keeps_the_invariants(
            data in proptest::collection::vec(proptest::sample::select(&b"0123456b\x1eAQ=-_+/\xff\xc5\x81\n"[..]), 0..60),
        ) {
            engineio_packet(&data);
            engineio_payload(&data);
        }

        #[test]
        fn what_looks_like_lengths_and_packets_keeps_the_invariants(
            data in proptest::collection::vec(
                proptest::sample::select(&b"\0\x01\x02\x03\xff01234b::::AQ=ex \xed\xa0\x80\xf0\x9f\x98\x80"[..]),
                0..60,
            ),
        ) {
            engineio_payload_v3(&data);
        }

        #[test]
        fn broken_payloads_of_revision_3_keep_the_invariants(
            packets in proptest::collection::vec("[0-6](b4)?[a€😀:]{0,12}", 0..5),
            binary in any::<bool>(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut body = Vec::new();
            for packet in &packets {
                let message = EncodedMessage::text(packet);
                if binary {
                    message.append_polling3_binary(&mut body);
                } else {
                    message.append_polling3(&mut body);
                }
            }
            engineio_payload_v3(&body);
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
                engineio_payload_v3(&body);
            }
        }
    }
}
