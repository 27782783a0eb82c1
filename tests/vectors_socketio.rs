//! The Socket.IO codec against what Node's parser was recorded to write, read and refuse.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::PathBuf;

use bytes::Bytes;
use bytestring::ByteString;
use ferrio::proto::encoded::{EncodedMessage, Part};
use ferrio::proto::engineio::Message;
use ferrio::proto::socketio::{
    Args, DecodeError, Decoder, DecoderLimits, EventName, MsgpackParser, Packet, PacketKind, Parser,
    ParserError, Payload, RESERVED_EVENTS, Value,
};

/// Reads the rows of one codec from a file of vectors; `FERRIO_VECTORS` replaces the folder.
///
/// # Panics
/// If the file is missing, or has no such rows.
fn rows(file: &str, codec: &str) -> Vec<Value> {
    let folder = std::env::var_os("FERRIO_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/vectors")),
        PathBuf::from,
    );
    let path = folder.join(file);
    let json = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = serde_json::from_str(&json).unwrap();
    let rows: Vec<Value> = rows.into_iter().filter(|row| row["codec"].as_str() == Some(codec)).collect();
    assert!(!rows.is_empty(), "{} has no rows of {codec}", path.display());
    rows
}

#[derive(Debug, PartialEq)]
enum Wire {
    Text(String),
    Binary(Bytes),
}

/// The wire messages of a row; `None` where a text holds what UTF-8 cannot.
fn wire(messages: &Value) -> Option<Vec<Wire>> {
    let message = |message: &Value| match (message.get("text"), message.get("hex")) {
        (Some(text), _) => Some(Wire::Text(text.as_str()?.to_owned())),
        (_, Some(hex)) => Some(Wire::Binary(unhex(hex))),
        _ => None,
    };
    messages.as_array().unwrap().iter().map(message).collect()
}

fn unhex(hex: &Value) -> Bytes {
    let digits = hex.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// What stands for a value that JSON does not have: `{"$kind": …}`.
fn special(value: &Value) -> Option<(&str, &Value)> {
    let (key, inner) = value.as_object()?.iter().next()?;
    Some((key.strip_prefix('$')?, inner))
}

/// The value that a row describes. `None`: Rust does not hold such values.
fn described(value: &Value) -> Option<Value> {
    match special(value) {
        Some(("hex", hex)) => return Some(Value::Binary(unhex(hex))),
        Some(("num", num)) => {
            return Some(Value::from(match num.as_str()? {
                "-0" => -0.0,
                other => other.parse::<f64>().unwrap(),
            }));
        }
        Some(("repeat", _)) => panic!("a kind of vector that this test does not know: {value:?}"),
        Some(_) => return None,
        None => {}
    }
    Some(match value {
        Value::Array(elements) => Value::Array(elements.iter().map(described).collect::<Option<_>>()?),
        Value::Object(map) => {
            let members = map.iter().map(|(key, value)| Some((key, described(value)?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
        other => other.clone(),
    })
}

/// The same where the value was read: an unpaired surrogate is U+FFFD, undefined is null.
fn as_read(value: &Value) -> Value {
    match (special(value), value) {
        (Some(("utf16", units)), _) => {
            let units = units.as_str().unwrap().split(' ').map(|unit| u16::from_str_radix(unit, 16).unwrap());
            String::from_utf16_lossy(&units.collect::<Vec<_>>()).into()
        }
        (Some(("undefined", _)), _) => Value::Null,
        (Some(_), _) => described(value).unwrap(),
        (None, Value::Array(elements)) => Value::Array(elements.iter().map(as_read).collect()),
        (None, Value::Object(map)) => {
            Value::Object(map.iter().map(|(key, value)| (key, as_read(value))).collect())
        }
        (None, other) => other.clone(),
    }
}

/// Equal as JavaScript's values: numbers as `f64`, objects without regard to the order of keys.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn kind(packet: &Value) -> PacketKind {
    match packet["type"].as_u64().unwrap() {
        0 => PacketKind::Connect,
        1 => PacketKind::Disconnect,
        // Clients of protocol 4 keep the types of packets with attachments.
        2 | 5 => PacketKind::Event,
        3 | 6 => PacketKind::Ack,
        4 => PacketKind::ConnectError,
        other => panic!("packets of type {other} are not delivered"),
    }
}

/// `None`: no id that Rust holds.
fn id(packet: &Value) -> Option<Option<u64>> {
    packet.get("id").map_or(Some(None), |id| id.as_u64().map(Some))
}

fn payload(kind: PacketKind, data: Value) -> Payload {
    match (kind, data) {
        (PacketKind::Event, Value::Array(mut list)) => match list.first().cloned() {
            Some(Value::String(name)) if !RESERVED_EVENTS.contains(&name.as_str()) => {
                list.remove(0);
                Payload::event(&name, &Args(list)).unwrap()
            }
            // Names that are no strings are only passed on.
            _ => Payload::ack(&Args(list)).unwrap(),
        },
        (PacketKind::Ack, Value::Array(list)) => Payload::ack(&Args(list)).unwrap(),
        (_, data) => Payload::value(&data).unwrap(),
    }
}

/// The packet that a row describes. `None`: it has what Rust does not hold.
fn described_packet(row: &Value) -> Option<Packet> {
    let kind = kind(row);
    let mut packet = Packet::new(kind, row["nsp"].as_str()?);
    packet.id = id(row)?;
    if let Some(data) = row.get("data") {
        packet.data = Some(payload(kind, described(data)?));
    }
    Some(packet)
}

fn encoded(message: &EncodedMessage) -> Vec<Wire> {
    let wire = |part: Part<'_>| match part {
        Part::Text(text) => {
            let text = std::str::from_utf8(text).unwrap();
            Wire::Text(text.strip_prefix('4').expect("an Engine.IO message").to_owned())
        }
        Part::Binary(data) => Wire::Binary(Bytes::copy_from_slice(data)),
    };
    message.parts().map(wire).collect()
}

/// What came out before the error, if there was one.
fn decoded(messages: &[Wire]) -> (Vec<Packet>, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(DecoderLimits::default());
    let mut packets = Vec::new();
    for message in messages {
        let packet = match message {
            Wire::Text(text) => decoder.text(ByteString::from(text.as_str())),
            Wire::Binary(data) => decoder.binary(data.clone()),
        };
        match packet {
            Ok(packet) => packets.extend(packet),
            Err(error) => return (packets, Err(error)),
        }
    }
    (packets, Ok(()))
}

/// The data as the row's `data` describes it.
fn data(packet: &Packet) -> Option<Value> {
    let payload = packet.data.as_ref()?;
    let mut values = payload.values().unwrap();
    Some(match packet.kind {
        PacketKind::Event => {
            let name = match payload.event_name().unwrap() {
                EventName::Text(text) => Value::from(&*text),
                EventName::Number(number) => Value::from(number),
            };
            values.insert(0, name);
            Value::Array(values)
        }
        PacketKind::Ack => Value::Array(values),
        _ => values.remove(0),
    })
}

fn assert_read(packet: &Packet, row: &Value, name: &str) {
    assert_eq!(packet.kind, kind(row), "{name}");
    assert_eq!(&*packet.namespace, row["nsp"].as_str().unwrap(), "{name}");
    assert_eq!(Some(packet.id), id(row), "{name}");
    match (data(packet), row.get("data").map(as_read)) {
        (None, None) => {}
        (Some(read), Some(expected)) => {
            assert!(same(&read, &expected), "{name}: {read:?}, expected {expected:?}");
        }
        (read, expected) => panic!("{name}: {read:?}, expected {expected:?}"),
    }
}

/// The event or ack as an echo would send it: its arguments unread.
fn echoed(packet: &Packet) -> Option<Packet> {
    let payload = packet.data.as_ref()?;
    let data = match packet.kind {
        PacketKind::Event => match payload.event_name()? {
            // An unpaired surrogate in a name is the one thing that does not come out as it went in.
            EventName::Text(name) if name.contains('\u{fffd}') => return None,
            EventName::Text(name) => Payload::event(&name, &payload.raw_args()),
            EventName::Number(_) => return None,
        },
        PacketKind::Ack => Payload::ack(&payload.raw_args()),
        _ => return None,
    };
    Some(Packet { data: Some(data.unwrap()), ..packet.clone() })
}

#[test]
fn vectors_are_encoded_byte_for_byte() {
    let (mut passed, mut not_held) = (0, Vec::new());
    for row in rows("sio5.json", "sio5") {
        let name = row["name"].as_str().unwrap();
        if row["dir"].as_str() == Some("decode") {
            continue;
        }
        let (Some(packet), Some(expected)) = (described_packet(&row["packet"]), wire(&row["encoded"])) else {
            not_held.push(name.to_owned());
            continue;
        };
        assert_eq!(encoded(&packet.encode()), expected, "{name}");
        passed += 1;
    }
    assert!(passed > not_held.len());
    println!("{passed} rows encoded, {} hold what Rust does not: {not_held:?}", not_held.len());
}

#[test]
fn vectors_are_decoded() {
    let (mut passed, mut not_held) = (0, Vec::new());
    for row in rows("sio5.json", "sio5") {
        let name = row["name"].as_str().unwrap();
        if row["dir"].as_str() == Some("encode") {
            continue;
        }
        let Some(messages) = wire(&row["encoded"]) else {
            not_held.push(name.to_owned());
            continue;
        };
        let (packets, result) = decoded(&messages);
        if let Some(message) = row.get("decode_error") {
            assert_eq!(result.unwrap_err().to_string(), message.as_str().unwrap(), "{name}");
            passed += 1;
            continue;
        }
        let one = row.get("decoded").unwrap_or(&row["packet"]);
        let expected = match row.get("packets") {
            Some(packets) => packets.as_array().unwrap(),
            None => std::slice::from_ref(one),
        };
        if expected.iter().any(|packet| id(packet).is_none()) {
            // Only an event needs its id.
            let refused = result == Err(DecodeError::IdOutOfRange);
            assert!(refused || packets.iter().all(|packet| packet.id.is_none()), "{name}");
            not_held.push(name.to_owned());
            continue;
        }
        assert_eq!(result, Ok(()), "{name}");
        assert_eq!(packets.len(), expected.len(), "{name}");
        for (packet, expected) in packets.iter().zip(expected) {
            assert_read(packet, expected, name);
        }
        passed += 1;
    }
    assert!(passed > not_held.len());
    println!("{passed} rows decoded, {} hold what Rust does not: {not_held:?}", not_held.len());
}

#[test]
fn vectors_that_go_both_ways_are_passed_on_byte_for_byte() {
    let mut passed = 0;
    for row in rows("sio5.json", "sio5") {
        let name = row["name"].as_str().unwrap();
        let both = row.get("dir").is_none() && row.get("decode_error").is_none();
        let Some(messages) = wire(&row["encoded"]).filter(|_| both) else { continue };
        for packet in decoded(&messages).0 {
            assert_eq!(encoded(&packet.encode()), messages, "{name}");
            if let Some(echoed) = echoed(&packet) {
                assert_eq!(encoded(&echoed.encode()), messages, "{name}");
                passed += 1;
            }
        }
    }
    assert!(passed > 0);
}

fn check_failures(codec: &str) {
    let rows = rows("decode-failures.json", codec);
    let mut refused = 0;
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let Some(messages) = wire(&row["input"]) else { continue };
        refused += 1;
        let (packets, result) = decoded(&messages);
        let error = result.expect_err(name);
        if let Some(message) = row.get("message") {
            assert_eq!(error.to_string(), message.as_str().unwrap(), "{name}");
        }
        if let Some(partial) = row.get("partial") {
            let partial = partial.as_array().unwrap();
            assert_eq!(packets.len(), partial.len(), "{name}");
            for (packet, expected) in packets.iter().zip(partial) {
                assert_read(packet, expected, name);
            }
        }
    }
    assert!(refused * 2 > rows.len(), "{codec}: only {refused} of {} rows could be tried", rows.len());
    println!("{refused} of {} rows refused", rows.len());
}

#[test]
fn vectors_that_must_fail_fail_with_the_message_of_node() {
    check_failures("sio5");
}

/// A server speaks with clients of protocol 4 by its own codec, and the rows are recorded from that of a client: what
/// only its decoder lets through, a server refuses.
#[test]
fn vectors_of_protocol_4_are_decoded() {
    let (mut passed, mut not_held, mut refused) = (0, Vec::new(), Vec::new());
    for row in rows("sio4.json", "sio4") {
        let name = row["name"].as_str().unwrap();
        if row["dir"].as_str() == Some("encode") {
            continue;
        }
        let Some(messages) = wire(&row["encoded"]) else {
            not_held.push(name.to_owned());
            continue;
        };
        let expected = row.get("decoded").unwrap_or(&row["packet"]);
        match decoded(&messages) {
            (packets, Ok(())) => {
                assert_eq!(packets.len(), 1, "{name}");
                assert_read(&packets[0], expected, name);
                passed += 1;
            }
            (packets, Err(error)) => {
                assert_eq!(row["dir"].as_str(), Some("decode"), "{name}: {error}");
                assert_eq!(packets, [], "{name}");
                refused.push(format!("{name}: {error}"));
            }
        }
    }
    assert!(passed > refused.len());
    println!(
        "{passed} rows decoded, refused: {refused:?}, {} hold what Rust does not: {not_held:?}",
        not_held.len()
    );
}

#[test]
fn vectors_of_protocol_4_are_encoded_byte_for_byte() {
    let (mut passed, mut not_held) = (0, Vec::new());
    for row in rows("sio4.json", "sio4") {
        let name = row["name"].as_str().unwrap();
        // With `decoded` it is a packet that a caller of the client's encoder made wrong: no emit of ours is one.
        if row["dir"].as_str() == Some("decode") || row.get("decoded").is_some() {
            continue;
        }
        let (Some(packet), Some(expected)) = (described_packet(&row["packet"]), wire(&row["encoded"])) else {
            not_held.push(name.to_owned());
            continue;
        };
        assert_eq!(encoded(&packet.encode()), expected, "{name}");
        passed += 1;
    }
    assert!(passed > not_held.len());
    println!("{passed} rows encoded, {} hold what Rust does not: {not_held:?}", not_held.len());
}

#[test]
fn vectors_of_protocol_4_that_must_fail_fail_with_the_message_of_node() {
    check_failures("sio4");
}

fn msgpack_encoded(packet: &Packet) -> Vec<Wire> {
    let wire = |message: Message| match message {
        Message::Text(text) => Wire::Text(text.to_string()),
        Message::Binary(data) => Wire::Binary(data),
    };
    MsgpackParser.encode(packet).unwrap().into_iter().map(wire).collect()
}

fn msgpack_decoded(messages: &[Wire]) -> Result<Packet, ParserError> {
    let mut decoder = MsgpackParser.decoder(&DecoderLimits::default());
    let [message] = messages else { panic!("a packet is one message: {messages:?}") };
    let packet = decoder.decode(match message {
        Wire::Text(text) => Message::Text(text.as_str().into()),
        Wire::Binary(data) => Message::Binary(data.clone()),
    })?;
    Ok(packet.expect("a packet is one message"))
}

#[test]
fn vectors_of_messagepack_are_encoded_byte_for_byte() {
    let (mut passed, mut not_held) = (0, Vec::new());
    for row in rows("sio-msgpack.json", "sio-msgpack") {
        let name = row["name"].as_str().unwrap();
        // Only clients have options.
        if row["dir"].as_str() == Some("decode") || name.contains("options key") {
            continue;
        }
        let (Some(packet), Some(expected)) = (described_packet(&row["packet"]), wire(&row["encoded"])) else {
            not_held.push(name.to_owned());
            continue;
        };
        assert_eq!(msgpack_encoded(&packet), expected, "{name}");
        passed += 1;
    }
    assert_eq!(not_held, ["undefined arg"]);
    assert!(passed > 10);
}

#[test]
fn vectors_of_messagepack_are_decoded() {
    for row in rows("sio-msgpack.json", "sio-msgpack") {
        let name = row["name"].as_str().unwrap();
        let expected = row.get("decoded").unwrap_or(&row["packet"]);
        let decoded = msgpack_decoded(&wire(&row["encoded"]).unwrap());
        if id(expected).is_none() {
            assert_eq!(decoded.unwrap_err().to_string(), DecodeError::IdOutOfRange.to_string(), "{name}");
        } else {
            assert_read(&decoded.unwrap(), expected, name);
        }
    }
}

#[test]
fn vectors_of_messagepack_that_must_fail_fail() {
    let rows = rows("decode-failures.json", "sio-msgpack");
    assert!(!rows.is_empty());
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let error = msgpack_decoded(&wire(&row["input"]).unwrap()).expect_err(name).to_string();
        // Node reads text as bytes, and behind the end of a message.
        if !matches!(name, "text input" | "malformed truncated") {
            assert_eq!(error, row["message"].as_str().unwrap(), "{name}");
        }
    }
}
