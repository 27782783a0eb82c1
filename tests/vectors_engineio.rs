//! The Engine.IO codecs against what Node's parser was recorded to write, read and refuse.

#[path = "common/vectors.rs"]
mod vectors;

use ferrio::proto::EncodedMessage;
use ferrio::proto::encoded::Part;
use ferrio::proto::engineio::{Message, Packet, Payload, PayloadError, polling_body_v3, polling_body_v4};
use ferrio::proto::frame::{self, Opcode};
use serde_json::Value;
use vectors::{Data, Row, check_all, data};

/// The packet a row describes; `None`: Rust cannot hold it.
fn described(packet: &Value) -> Option<Packet> {
    let data = packet.get("data").map_or(Some(Data::Text(String::new())), data)?;
    let kind = packet["type"].as_str().expect("a packet has a type");
    let text = match data {
        Data::Binary(data) => {
            assert_eq!(kind, "message");
            return Some(Packet::Message(Message::Binary(data.into())));
        }
        Data::Text(text) => text.into(),
    };
    Some(match kind {
        "open" => Packet::Open(text),
        "close" => Packet::Close(text),
        "ping" => Packet::Ping(text),
        "pong" => Packet::Pong(text),
        "message" => Packet::Message(Message::Text(text)),
        "upgrade" => Packet::Upgrade(text),
        "noop" => Packet::Noop(text),
        other => panic!("a packet of an unknown type: {other}"),
    })
}

fn all_described(packets: &Value) -> Option<Vec<Packet>> {
    packets.as_array().expect("a payload is a list").iter().map(described).collect()
}

fn encode(packet: &Packet) -> EncodedMessage {
    let (kind, data) = match packet {
        Packet::Open(data) => ('0', data),
        Packet::Close(data) => ('1', data),
        Packet::Ping(data) => ('2', data),
        Packet::Pong(data) => ('3', data),
        Packet::Message(Message::Text(data)) => ('4', data),
        Packet::Message(Message::Binary(data)) => return EncodedMessage::binary(data),
        Packet::Upgrade(data) => ('5', data),
        Packet::Noop(data) => ('6', data),
    };
    EncodedMessage::text(&format!("{kind}{data}"))
}

/// As a WebSocket carries it.
fn messages(packet: &Packet) -> Vec<Data> {
    let message = encode(packet);
    let data = |part| match part {
        Part::Text(text) => Data::Text(String::from_utf8(text.to_vec()).expect("text is UTF-8")),
        Part::Binary(data) => Data::Binary(data.to_vec()),
    };
    message.parts().map(data).collect()
}

/// As polling carries them.
fn body(packets: &[Packet]) -> Vec<Data> {
    let messages: Vec<_> = packets.iter().map(encode).collect();
    let body = polling_body_v4(messages.iter());
    vec![Data::Text(String::from_utf8(body).expect("a body is UTF-8"))]
}

/// A packet from what a WebSocket brings, or from a part of a polling body.
fn decode(message: &Data) -> Option<Packet> {
    match message {
        Data::Text(text) => Packet::decode(&text.as_str().into()).ok(),
        Data::Binary(data) => Some(Packet::Message(Message::Binary(data.clone().into()))),
    }
}

/// The packets of a polling body, and whether it failed behind them.
fn decode_body(body: &Data) -> (Vec<Packet>, bool) {
    let Data::Text(text) = body else { panic!("a body is text") };
    split(Payload::decode(text.as_str().into()).collect())
}

fn split(packets: Vec<Result<Packet, PayloadError>>) -> (Vec<Packet>, bool) {
    let failed = packets.iter().any(Result::is_err);
    (packets.into_iter().filter_map(Result::ok).collect(), failed)
}

fn only(messages: &[Data]) -> &Data {
    let [message] = messages else { panic!("one message, not {}", messages.len()) };
    message
}

#[test]
fn vectors_of_packets() {
    check_all("eio4.json", "eio4-packet", |row| {
        let (packet, decoded, encoded) =
            (described(row.packet())?, described(row.decoded())?, row.encoded()?);
        if row.encodes() {
            assert_eq!(messages(&packet), encoded, "{}", row.name());
        }
        if row.decodes() {
            assert_eq!(decode(only(&encoded)), Some(decoded), "{}", row.name());
        }
        Some(())
    });
}

#[test]
fn vectors_of_packets_in_base64() {
    check_all("eio4.json", "eio4-packet-base64", |row| {
        let (packet, decoded, encoded) =
            (described(row.packet())?, described(row.decoded())?, row.encoded()?);
        if row.encodes() {
            assert_eq!(body(&[packet]), encoded, "{}", row.name());
        }
        if row.decodes() {
            assert_eq!(decode(only(&encoded)), Some(decoded), "{}", row.name());
        }
        Some(())
    });
}

#[test]
fn vectors_of_payloads() {
    check_all("eio4.json", "eio4-payload", |row| {
        let (packets, encoded) = (all_described(row.packet())?, row.encoded()?);
        let decoded = all_described(row.decoded())?;
        if row.encodes() {
            assert_eq!(body(&packets), encoded, "{}", row.name());
        }
        if row.decodes() {
            assert_eq!(decode_body(only(&encoded)), (decoded, false), "{}", row.name());
        }
        Some(())
    });
}

#[test]
fn vectors_of_packets_that_fail() {
    check_all("decode-failures.json", "eio4-packet", |row| {
        assert_eq!(decode(only(&row.input()?)), None, "{}", row.name());
        Some(())
    });
}

#[test]
fn vectors_of_payloads_that_fail() {
    check_all("decode-failures.json", "eio4-payload", |row| {
        let partial = row.field("partial").map_or(Some(Vec::new()), all_described)?;
        assert_eq!(decode_body(only(&row.input()?)), (partial, true), "{}", row.name());
        Some(())
    });
}

/// The finished frames of revision 3.
fn frames(frames: &[u8]) -> Vec<Data> {
    let mut rest = frames;
    let frame = || {
        let (opcode, payload, after) = frame::split_frame(rest)?;
        rest = after;
        Some(match opcode {
            Opcode::Text => Data::Text(String::from_utf8(payload.to_vec()).expect("text is UTF-8")),
            _ => Data::Binary(payload.to_vec()),
        })
    };
    std::iter::from_fn(frame).collect()
}

/// As polling of revision 3 carries them.
fn body_v3(packets: &[Packet], supports_binary: bool) -> Vec<Data> {
    let messages: Vec<_> = packets.iter().map(encode).collect();
    let (body, is_binary) = polling_body_v3(messages.iter(), !supports_binary);
    vec![match String::from_utf8(body) {
        Ok(text) if !is_binary => Data::Text(text),
        Ok(text) => Data::Binary(text.into_bytes()),
        Err(error) => Data::Binary(error.into_bytes()),
    }]
}

/// A packet of revision 3: `Ok(None)` for one that is ignored, `Err` for what is none.
fn decode_v3(message: &Data) -> Result<Option<Packet>, ()> {
    match message {
        Data::Text(text) => Packet::decode_v3(&text.as_str().into()).map_err(|_| ()),
        Data::Binary(data) => Ok(Packet::decode_v3_binary(&data.clone().into())),
    }
}

fn decode_body_v3(body: &Data) -> (Vec<Packet>, bool) {
    split(match body {
        Data::Text(text) => Payload::decode_v3_text(text.as_str().into()).collect(),
        Data::Binary(data) => Payload::decode_v3_binary(data.clone().into()).collect(),
    })
}

/// A packet of revision 3 that a row describes, `Some(None)` if it is of an unknown type and so ignored.
fn described_v3(packet: &Value) -> Option<Option<Packet>> {
    let Some(kind) = packet.get("type") else { return Some(None) };
    if kind != "message" && packet.get("data").is_some_and(Value::is_object) {
        // Binary data of other packets: nobody reads it.
        return described(&serde_json::json!({ "type": kind })).map(Some);
    }
    described(packet).map(Some)
}

fn all_described_v3(packets: &Value) -> Option<Vec<Packet>> {
    let packets: Option<Vec<_>> =
        packets.as_array().expect("a payload is a list").iter().map(described_v3).collect();
    Some(packets?.into_iter().flatten().collect())
}

fn check_packet_v3(row: &Row, ready: fn(&EncodedMessage) -> &[u8]) -> Option<()> {
    let encoded = row.encoded()?;
    if row.encodes() {
        let packet = described(row.packet())?;
        assert_eq!(frames(ready(&encode(&packet))), encoded, "{}", row.name());
    }
    if row.decodes() {
        assert_eq!(decode_v3(only(&encoded)), Ok(described_v3(row.decoded())?), "{}", row.name());
    }
    Some(())
}

#[test]
fn vectors_of_packets_of_revision_3() {
    check_all("eio3.json", "eio3-packet", |row| check_packet_v3(row, |message| message.ws3()));
}

#[test]
fn vectors_of_packets_of_revision_3_in_base64() {
    check_all("eio3.json", "eio3-packet-base64", |row| check_packet_v3(row, |message| message.ws3_base64()));
}

#[test]
fn vectors_of_payloads_of_revision_3() {
    check_all("eio3.json", "eio3-payload", |row| {
        let encoded = row.encoded()?;
        if row.encodes() {
            let supports_binary =
                row.field("supportsBinary").and_then(Value::as_bool).expect("it says which form");
            let packets = all_described(row.packet())?;
            assert_eq!(body_v3(&packets, supports_binary), encoded, "{}", row.name());
        }
        if row.decodes() {
            let decoded = all_described_v3(row.decoded())?;
            assert_eq!(decode_body_v3(only(&encoded)), (decoded, false), "{}", row.name());
        }
        Some(())
    });
}

#[test]
fn vectors_of_packets_of_revision_3_that_fail() {
    check_all("decode-failures.json", "eio3-packet", |row| {
        assert_eq!(decode_v3(only(&row.input()?)), Err(()), "{}", row.name());
        Some(())
    });
}

/// Where Node decodes on after the error (`after_error`), it has closed the session by it: nobody sees what follows.
#[test]
fn vectors_of_payloads_of_revision_3_that_fail() {
    check_all("decode-failures.json", "eio3-payload", |row| {
        let partial = row.field("partial").map_or(Some(Vec::new()), all_described_v3)?;
        assert_eq!(decode_body_v3(only(&row.input()?)), (partial, true), "{}", row.name());
        Some(())
    });
}
