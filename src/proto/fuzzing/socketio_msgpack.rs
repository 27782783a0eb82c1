//! Any bytes as a packet in MessagePack: what comes out is bounded, can be read, and comes back when it is sent.

use bytes::Bytes;

use crate::proto::engineio::Message;
use crate::proto::socketio::{
    DecoderLimits, Map, MsgpackParser, Packet, Parser, ParserError, Payload, Value,
};

/// Takes one message.
///
/// # Panics
/// If a decoded packet is larger than its limit, cannot be read, or has other values once encoded and decoded.
pub fn socketio_msgpack(data: &[u8]) {
    const LIMIT: usize = 4096;
    let Ok(packet) = decode(Bytes::copy_from_slice(data), LIMIT) else { return };
    if let Some(data) = &packet.data {
        let size = data.json().len() + data.attachments().iter().map(Bytes::len).sum::<usize>();
        assert!(size <= LIMIT, "{size}");
        assert_eq!(values(&packet).len(), data.arg_count());
        let echo = Payload::ack(&data.raw_args()).expect("what was decoded can be sent on");
        assert_eq!(echo.arg_count(), data.arg_count());
    }

    let sent = sent(&packet);
    assert_eq!((sent.kind, &sent.namespace, sent.id), (packet.kind, &packet.namespace, packet.id));
    assert_eq!(sent.data.is_some(), packet.data.is_some());
    let expected: Vec<Value> = values(&packet).into_iter().map(as_sent).collect();
    assert_eq!(values(&sent), expected);
    assert_eq!(self::sent(&sent), sent);
}

/// The packet after it was encoded and decoded.
fn sent(packet: &Packet) -> Packet {
    let messages = MsgpackParser.encode(packet).expect("what was decoded can be encoded");
    let [Message::Binary(data)] = &messages[..] else { panic!("a packet is one binary message") };
    decode(data.clone(), usize::MAX).expect("what was encoded can be decoded")
}

fn decode(data: Bytes, max_bytes: usize) -> Result<Packet, ParserError> {
    let limits = DecoderLimits { max_attachments: 0, max_pending_bytes: max_bytes };
    let packet = MsgpackParser.decoder(&limits).decode(Message::Binary(data))?;
    Ok(packet.expect("a packet is one message"))
}

fn values(packet: &Packet) -> Vec<Value> {
    packet.data.as_ref().map_or(Vec::new(), |data| data.values().expect("what was decoded can be read"))
}

/// Of whole numbers that do not fit into 64 bits the lowest ones are left.
fn as_sent(value: Value) -> Value {
    const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;
    match value {
        Value::Number(number)
            if number.as_u64().is_none() && number.as_i64().is_none() && number.as_f64().fract() == 0.0 =>
        {
            let lowest = (number.as_f64().abs() % TWO_TO_THE_64) as u64;
            if number.as_f64() > 0.0 { lowest.into() } else { (lowest.wrapping_neg() as i64).into() }
        }
        Value::Array(elements) => Value::Array(elements.into_iter().map(as_sent).collect()),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| (key, as_sent(value.clone())));
            Value::Object(members.collect::<Map>())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One of each form of values.
    const SEEDS: [&[u8]; 5] = [
        b"\x83\xa4type\x00\xa4data\x82\xa3sid\xa3abc\xa3pid\xd4\x00\x00\xa3nsp\xa1/",
        b"\x84\xa2id\x07\xa4type\x03\xa4data\x92\xc4\x02\x01\x02\x81\xa1a\xc7\x01\x00\x05\xa3nsp\xa2/x",
        b"\x83\xa4type\x02\xa4data\x97\xa1n\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c\xca\x3f\xc0\0\0\xd3\xff\xe0\0\0\0\0\0\0\xcd\x01\0\xc2\xc0\xa3nsp\xa1/",
        b"\x83\xa4type\x02\xa4data\x94\xa1x\xd7\x00\0\0\0\0\0\0\x03\xe8\xd5\x01\x05\x06\x83\x01\x02\xc0\x03\xa1a\x90\xa3nsp\xa1/",
        b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\x82\xac_placeholder\xc3\xa3num\x00",
    ];

    #[test]
    fn seeds_keep_the_invariants() {
        for seed in SEEDS {
            assert!(decode(Bytes::from_static(seed), 4096).is_ok(), "{seed:x?}");
            socketio_msgpack(seed);
        }
    }

    proptest! {
        #[test]
        fn changed_seeds_keep_the_invariants(
            seed in proptest::sample::select(&SEEDS[..]),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut data = seed.to_vec();
            for (place, byte) in changes {
                let place = place.index(data.len());
                data[place] = byte;
            }
            socketio_msgpack(&data);
        }
    }
}
