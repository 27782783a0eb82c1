//! Any messages into the Socket.IO decoder: what comes out can be read, and goes in again.

use bytes::Bytes;

use crate::proto::encoded::{EncodedMessage, Part};
use crate::proto::socketio::{Decoder, DecoderLimits, Packet, PacketKind, Payload, normalize};

/// Takes messages that are separated by bytes of 0xff; one that begins with 0xfe is binary, and so is what is no UTF-8.
///
/// # Panics
/// If a decoded packet cannot be read, or if it is another packet once encoded and decoded, or if more waits in the
/// decoder than its limit says.
pub fn socketio_decoder(data: &[u8]) {
    const LIMIT: usize = 4096;
    let mut decoder = Decoder::new(DecoderLimits { max_attachments: 10, max_pending_bytes: LIMIT });
    for message in data.split(|&byte| byte == 0xff) {
        let packet = match (message.strip_prefix(b"\xfe"), std::str::from_utf8(message)) {
            (Some(data), _) => decoder.binary(Bytes::copy_from_slice(data)),
            (None, Ok(text)) => decoder.text(text.into()),
            (None, Err(_)) => decoder.binary(Bytes::copy_from_slice(message)),
        };
        assert!(decoder.pending_bytes() <= LIMIT);
        if let Ok(Some(packet)) = packet {
            check_packet(&packet);
        }
    }
}

fn check_packet(packet: &Packet) {
    assert_eq!(&decode(&packet.encode()), packet);
    let Some(data) = &packet.data else { return };
    let values = data.values().expect("what was decoded can be read");
    assert_eq!(values.len(), data.arg_count());
    assert_eq!(data.event_name().is_some(), packet.kind == PacketKind::Event);

    let normalized = normalize(data.json()).into_owned();
    assert_eq!(normalize(&normalized), normalized);

    let echo = Payload::ack(&data.raw_args()).expect("what was decoded can be sent on");
    let echo = decode(&Packet::new(PacketKind::Ack, "/").with_data(echo).encode()).data;
    let echo = echo.expect("it was sent with data");
    assert_eq!(echo.arg_count(), values.len());
    let again = Payload::ack(&echo.raw_args()).expect("what was decoded can be sent on");
    assert_eq!((again.json(), again.attachments()), (echo.json(), echo.attachments()));
}

fn decode(message: &EncodedMessage) -> Packet {
    let limits = DecoderLimits { max_attachments: usize::MAX, max_pending_bytes: usize::MAX };
    let mut decoder = Decoder::new(limits);
    let mut packet = None;
    for part in message.parts() {
        assert_eq!(packet, None, "a packet was complete before its last part");
        packet = match part {
            Part::Text(text) => {
                let text = std::str::from_utf8(text).expect("packets are UTF-8");
                decoder.text(text.strip_prefix('4').expect("packets are Engine.IO messages").into())
            }
            Part::Binary(data) => decoder.binary(Bytes::copy_from_slice(data)),
        }
        .expect("what was encoded can be decoded");
    }
    packet.expect("what was encoded is whole")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEEDS: [&[u8]; 6] = [
        b"0{\"token\":\"x\"}\xff0/admin,\xff1/admin,\xff4\"x\"",
        b"2[\"e\",1.0,-0,1e3,1e999,\"\\ud800\",\"\\u0041\",{\"b\":1,\"1\":2,\"b\":3}]",
        b"51-/a,7[\"e\",{\"_placeholder\":true,\"num\":0}]\xff\xfe\x01\x02",
        b"62-1[{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0.5},{\"num\":1,\"_placeholder\":true}]\xff\xfe\x01\xff\xfe",
        b"5 1 -[\"e\"]\xff\xfe\xff42\xff \xff\xff2 1 [\"e\",[[[]]]]",
        b"50x2-[\"e\",{\"_placeholder\":true,\"num\":0,\"num\":1},\"\\ud800\"]\xff\xfea\xff\xfeb",
    ];

    #[test]
    fn seeds_keep_the_invariants() {
        SEEDS.into_iter().for_each(socketio_decoder);
    }

    proptest! {
        #[test]
        fn changed_seeds_keep_the_invariants(
            seed in proptest::sample::select(&SEEDS[..]),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), proptest::sample::select(&b"\xff\xfe 0159-,.eE\"\\{}[]:ud8c/"[..])), 0..4),
        ) {
            let mut data = seed.to_vec();
            for (place, byte) in changes {
                let place = place.index(data.len());
                data[place] = byte;
            }
            socketio_decoder(&data);
        }
    }
}
