use bytes::Bytes;
use proptest::prelude::*;
use serde::Serialize;

use super::decode::MsgpackError;
use super::*;
use crate::proto::socketio::{Args, Map, PacketKind, Payload, Value};

const LIMIT: usize = 10_000;

fn decode(message: &[u8]) -> Result<Packet, MsgpackError> {
    decode::packet(&Bytes::copy_from_slice(message), LIMIT)
}

fn encode(packet: &Packet) -> Vec<u8> {
    encode::packet(packet).unwrap()
}

/// A message of the main namespace with these bytes as data.
fn message(kind: u8, data: &[u8]) -> Vec<u8> {
    [b"\x83\xa4type", &[kind][..], b"\xa3nsp\xa1/\xa4data", data].concat()
}

fn event(args: &(impl Serialize + ?Sized)) -> Packet {
    Packet::new(PacketKind::Event, "/").with_data(Payload::event("e", args).unwrap())
}

/// What an event with this one argument, in MessagePack, becomes.
#[track_caller]
fn check_argument(argument: &[u8], json: &str, attachments: &[&[u8]]) {
    let packet = decode(&message(2, &[b"\x92\xa1e", argument].concat())).unwrap();
    let data = packet.data.unwrap();
    assert_eq!(&**data.json(), format!("[\"e\",{json}]"));
    assert_eq!(data.attachments(), attachments);
    assert_eq!(data.arg_count(), 1);
}

#[test]
fn what_json_does_not_have_is_what_the_default_parser_would_make_of_it() {
    check_argument(b"\xd4\x00\x00", "null", &[]);
    check_argument(b"\x82\xa1a\xd4\x00\x07\xa1b\x01", r#"{"b":1}"#, &[]);
    check_argument(b"\xcb\x7f\xf8\0\0\0\0\0\0", "null", &[]);
    check_argument(b"\xcb\xff\xf0\0\0\0\0\0\0", "null", &[]);
    check_argument(b"\xd7\x00\0\0\0\0\0\0\x03\xe8", r#""1970-01-01T00:00:01.000Z""#, &[]);
    check_argument(b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null", &[]);
}

#[test]
fn binary_values_are_attachments_in_their_order() {
    let at = |num: usize| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
    check_argument(b"\xc4\x02\x01\x02", &at(0), &[b"\x01\x02"]);
    check_argument(
        b"\x92\xc5\0\x01a\x81\xa1k\xc6\0\0\0\x00",
        &format!(r#"[{},{{"k":{}}}]"#, at(0), at(1)),
        &[b"a", b""],
    );
    check_argument(b"\xc7\x03\x00abc", &at(0), &[b"abc"]); // an ArrayBuffer
    check_argument(b"\xd4\x05x", &format!("[5,{}]", at(0)), &[b"x"]);
    check_argument(b"\xd5\x00xy", &format!("[0,{}]", at(0)), &[b"xy"]);
    check_argument(b"\xc7\x01\xffx", &format!("[-1,{}]", at(0)), &[b"x"]);
}

#[test]
fn numbers_become_those_of_javascript() {
    check_argument(b"\xca\x3f\xc0\0\0", "1.5", &[]);
    check_argument(b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612", &[]);
    check_argument(b"\xcb\x40\x14\0\0\0\0\0\0", "5", &[]);
    check_argument(b"\xcb\x80\0\0\0\0\0\0\0", "0", &[]);
    check_argument(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615", &[]);
    check_argument(b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808", &[]);
    check_argument(b"\xd3\0\0\0\0\0\0\0\x01", "1", &[]);
}

#[test]
fn keys_become_texts() {
    check_argument(b"\x81\x01\x02", r#"{"1":2}"#, &[]);
    check_argument(b"\x83\xc0\x01\xc3\x02\xff\x03", r#"{"null":1,"true":2,"-1":3}"#, &[]);
    check_argument(b"\x82\xcb\x3f\xf8\0\0\0\0\0\0\x01\xc4\x01a\x02", r#"{"1.5":1,"a":2}"#, &[]);
    check_argument(b"\x81\xd4\0\0\x02", r#"{"undefined":2}"#, &[]);
    for key in [&b"\x90"[..], b"\x80", b"\xd7\0\0\0\0\0\0\0\0\0", b"\xd4\x01\0"] {
        let data = [b"\x92\xa1e\x81", key, b"\x01"].concat();
        assert_eq!(decode(&message(2, &data)), Err(MsgpackError::InvalidKey));
    }
}

#[test]
fn texts_that_are_no_utf8_are_read_as_node_does() {
    check_argument(b"\xa1\xff", "\"\u{fffd}\"", &[]);
    check_argument(b"\xa3\xed\xa0\x80", "\"\u{fffd}\u{fffd}\u{fffd}\"", &[]);
    check_argument(b"\xa2\xc3a", "\"\u{fffd}a\"", &[]);
    check_argument(b"\xa5\"\\\n\x01/", r#""\"\\\n\u0001/""#, &[]);
}

#[test]
fn an_event_may_have_any_name() {
    let name = |name: &[u8]| {
        let data = decode(&message(2, &[b"\x91", name].concat())).unwrap().data.unwrap();
        data.event_name().map(|name| name.into_text().into_owned())
    };
    assert_eq!(name(b"\xa7connect").as_deref(), Some("connect"));
    assert_eq!(name(b"\xff").as_deref(), Some("-1"));
    for none in [&b"\xc0"[..], b"\xc3", b"\x80", b"\x91\xa1e", b"\xc4\x01a", b"\xd4\0\0"] {
        assert_eq!(name(none), None, "{none:x?}");
    }
    let empty = decode(&message(2, b"\x90")).unwrap().data.unwrap();
    assert_eq!((empty.event_name(), empty.arg_count()), (None, 0));
}

#[test]
fn data_is_what_packets_of_its_type_have() {
    let data = |kind: u8, data: &[u8]| {
        decode(&message(kind, data)).map(|packet| packet.data.map(|data| data.json().to_string()))
    };
    let invalid = Err(MsgpackError::InvalidPayload);
    for (kind, accepted) in [
        (0, &[&b"\x80"[..], b"\xd4\0\0"][..]),
        (1, &[b"\xd4\0\0"]),
        (2, &[b"\x90"]),
        (3, &[b"\x90"]),
        (4, &[b"\x80", b"\xa0"]),
    ] {
        for value in
            [&b"\x80"[..], b"\x90", b"\xa0", b"\xc0", b"\xc2", b"\x01", b"\xd4\0\0", b"\xc4\0", b"\xd4\x01\0"]
        {
            let read = data(kind, value);
            assert_eq!(read.is_ok(), accepted.contains(&value), "{kind} {value:x?}");
            assert!(read.is_ok() || read == invalid);
        }
    }
    for (kind, accepted) in [(0, true), (1, true), (2, false), (3, false), (4, false)] {
        assert_eq!(decode(&[b"\x82\xa4type", &[kind][..], b"\xa3nsp\xa1/"].concat()).is_ok(), accepted);
    }
}

#[test]
fn ids_are_whole_numbers() {
    let read = |kind: u8, id: &[u8]| {
        let message = [b"\x84\xa4type", &[kind][..], b"\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id", id].concat();
        decode(&message).map(|packet| packet.id)
    };
    assert_eq!(read(2, b"\x00"), Ok(Some(0)));
    assert_eq!(read(2, b"\xcb\x40\x14\0\0\0\0\0\0"), Ok(Some(5)));
    assert_eq!(read(2, b"\xcf\0\x20\0\0\0\0\0\x01"), Ok(Some(1 << 53)));
    assert_eq!(read(2, b"\xd4\0\0"), Ok(None));
    assert_eq!(read(2, b"\xff"), Err(MsgpackError::IdOutOfRange));
    assert_eq!(read(2, b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), Err(MsgpackError::IdOutOfRange));
    assert_eq!(read(3, b"\xff"), Ok(None));
    for id in [&b"\xc0"[..], b"\xa11", b"\xcb\x3f\xf8\0\0\0\0\0\0", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\x90"] {
        assert_eq!(read(2, id), Err(MsgpackError::InvalidPacketId), "{id:x?}");
        assert_eq!(read(3, id), Err(MsgpackError::InvalidPacketId), "{id:x?}");
    }
}

#[test]
fn nothing_is_taken_on_trust() {
    for end in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\0",
        b"\x91",
        b"\xcf\0",
        b"\xd8\0",
        b"\xc1",
        b"",
    ] {
        assert_eq!(decode(&message(2, end)), Err(MsgpackError::Malformed), "{end:x?}");
        let ignored = [b"\x81\xa1x", end].concat();
        assert_eq!(decode(&ignored), Err(MsgpackError::Malformed), "{end:x?}");
    }
    assert_eq!(decode(&message(2, b"\x91\xa1e\0\0")), Err(MsgpackError::TrailingBytes(2)));
    // A billion of lists in lists, of which nobody makes anything.
    assert_eq!(decode(&[&b"\x81\xa1x"[..], &[0xdd; 5000]].concat()), Err(MsgpackError::Malformed));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| message(2, &[b"\x92\xa1e", &vec![0x91; depth][..], b"\xc0"].concat());
    assert!(decode(&nested(126)).unwrap().data.unwrap().args::<Value>().is_ok());
    assert_eq!(decode(&nested(127)), Err(MsgpackError::TooDeep));
    assert_eq!(decode(&nested(100_000)), Err(MsgpackError::TooDeep));
    // What nobody reads may be as deep as it likes.
    let ignored = [b"\x83\xa1x", &vec![0x91; 100_000][..], b"\xc0\xa4type\x00\xa3nsp\xa1/"].concat();
    assert!(decode(&ignored).is_ok());
}

#[test]
fn what_a_message_becomes_is_bounded() {
    let list = |element: &[u8], count: u16| {
        let mut data = vec![0xdc];
        data.extend_from_slice(&count.to_be_bytes());
        data.extend(element.repeat(usize::from(count)));
        decode(&message(3, &data)).map(drop)
    };
    let too_many = Err(MsgpackError::TooManyBytes { limit: LIMIT });
    assert_eq!(list(b"\xc0", 1900), Ok(()));
    assert_eq!(list(b"\xc0", 2100), too_many);
    assert_eq!(list(b"\xc4\0", 140), Ok(())); // more than the attachments of the default parser
    assert_eq!(list(b"\xc4\0", 200), too_many);
}

#[test]
fn nobody_forges_a_placeholder() {
    let forged = b"\x82\xac_placeholder\xc3\xa3num\x00";
    let alone = decode(&message(3, &[b"\x91", &forged[..]].concat())).unwrap().data.unwrap();
    assert_eq!(alone.args::<Value>().unwrap()["num"], 0.into());
    let beside_bytes = message(3, &[b"\x92\xc4\0", &forged[..]].concat());
    assert_eq!(decode(&beside_bytes), Err(MsgpackError::IllegalPlaceholder));
}

#[test]
fn text_is_refused() {
    let mut decoder = MsgpackParser.decoder(&DecoderLimits::default());
    for text in ["", "0", "2[\"e\"]"] {
        assert!(decoder.decode(Message::Text(text.into())).is_err(), "{text}");
    }
}

#[test]
fn numbers_are_written_in_the_forms_that_node_chooses() {
    for (number, bytes) in [
        (Value::from(0.5), &b"\xcb\x3f\xe0\0\0\0\0\0\0"[..]),
        (Value::from(-0.0), b"\x00"),
        (Value::from(3.0), b"\x03"),
        (Value::from(u64::MAX), b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Value::from(i64::MIN), b"\xd3\x80\0\0\0\0\0\0\0"),
        (Value::from(1e21), b"\xcf\x35\xc9\xad\xc5\xde\xa0\0\0"),
        (Value::from(-1e21), b"\xd3\xca\x36\x52\x3a\x21\x60\0\0"),
        (Value::from(1e300), b"\xcf\0\0\0\0\0\0\0\0"),
        (Value::from(-1e300), b"\xd3\0\0\0\0\0\0\0\0"),
    ] {
        let encoded = encode(&event(&number));
        assert_eq!(
            encoded,
            [b"\x83\xa4type\x02\xa4data\x92\xa1e", bytes, b"\xa3nsp\xa1/"].concat(),
            "{number:?}"
        );
    }
}

#[test]
fn only_the_connect_answer_has_an_undefined_pid() {
    let connect = |json: &str| {
        let data = Payload::from_json(PacketKind::Connect, json.into()).unwrap();
        encode(&Packet::new(PacketKind::Connect, "/").with_data(data))
    };
    assert_eq!(connect("{}"), b"\x83\xa4type\x00\xa4data\x81\xa3pid\xd4\0\0\xa3nsp\xa1/");
    assert_eq!(connect(r#"{"pid":"x"}"#), b"\x83\xa4type\x00\xa4data\x81\xa3pid\xa1x\xa3nsp\xa1/");
    assert_eq!(encode(&Packet::new(PacketKind::Connect, "/")), b"\x82\xa4type\x00\xa3nsp\xa1/");
}

#[test]
fn what_cannot_be_read_by_serde_json_is_replaced() {
    let received = Payload::event_from_json(r#"["e","\ud800",1e999]"#.into()).unwrap();
    let encoded = encode(&Packet::new(PacketKind::Event, "/").with_data(received));
    assert_eq!(encoded, b"\x83\xa4type\x02\xa4data\x93\xa1e\xa3\xef\xbf\xbd\xc0\xa3nsp\xa1/");
}

#[test]
fn what_is_nested_too_deep_is_not_sent() {
    let mut value = Value::Null;
    for _ in 0..200 {
        value = Value::Array(vec![value]);
    }
    assert!(MsgpackParser.encode(&event(&value)).is_err());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-300..300).prop_map(Value::from),
        // Whole ones beyond 64 bits do not come back.
        any::<f64>().prop_map(|number| Value::from(if number.abs() < 1e15 { number } else { 0.5 })),
        ".{0,40}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|data| Value::from(Bytes::from(data))),
    ];
    leaf.prop_recursive(4, 60, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::vec((".{0,4}", inner), 0..20)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map>())),
        ]
    })
}

proptest! {
    #[test]
    fn values_come_back(
        namespace in "/[^,]{0,40}",
        id in proptest::option::of(0..=1_u64 << 53),
        name in ".{0,40}",
        args in proptest::collection::vec(value(), 0..4),
    ) {
        let data = Payload::event(&name, &Args(args.clone()));
        prop_assume!(data.is_ok()); // not a reserved name
        let packet = Packet { kind: PacketKind::Event, namespace: namespace.into(), id, data: data.ok() };
        let decoded = decode::packet(&encode(&packet).into(), usize::MAX).unwrap();
        prop_assert_eq!(&decoded, &packet);
        let data = decoded.data.unwrap();
        prop_assert_eq!(data.event_name().unwrap().into_text(), name);
        prop_assert_eq!(data.values().unwrap(), args);
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = decode(&bytes);
        let _ = decode(&message(2, &[b"\x92\xa1e", &bytes[..]].concat()));
    }
}
