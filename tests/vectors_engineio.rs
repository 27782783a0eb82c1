//! The Engine.IO codecs against what Node's parser was recorded to write, read and refuse.

#[path = "common/vectors.rs"]
mod vectors;

use ferrio::proto::EncodedMessage;
use ferrio::proto::encoded::Part;
use ferrio::proto::engineio::{Message, Packet, Payload};
use serde_json::Value;
use vectors::{Data, check_all, data};

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
    let mut body = Vec::new();
    packets.iter().for_each(|packet| encode(packet).append_polling4(&mut body));
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
    let packets: Vec<_> = Payload::decode(text.as_str().into()).collect();
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
