//! Any text into the Engine.IO codecs: no panic, no growth, and what was read is written and read again.

use bytestring::ByteString;

use crate::proto::EncodedMessage;
use crate::proto::engineio::{Message, Packet, Payload};

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
        }

        #[test]
        fn what_looks_like_packets_keeps_the_invariants(
            data in proptest::collection::vec(proptest::sample::select(&b"0123456b\x1eAQ=-_+/\xff\xc5\x81\n"[..]), 0..60),
        ) {
            engineio_packet(&data);
            engineio_payload(&data);
        }
    }
}
