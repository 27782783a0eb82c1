//! The formats of the Redis adapters against what Node's servers were recorded to publish, to ignore, and to die of.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::PathBuf;

use bytes::Bytes;
use ferrio::proto::cluster::classic::{
    self, Broadcast, Channel, Request, RequestBody, Response, ResponseBody,
};
use ferrio::proto::cluster::sharded::{self, SubscriptionMode};
use ferrio::proto::cluster::streams::{Entry, Route, Session, stream_key};
use ferrio::proto::cluster::{
    Body, ClusterParser, Codec, Form, JsonClusterParser, Message, Opts, RequestId, WireError,
};
use ferrio::proto::socketio::{EventName, ParserError, Payload, Value};

/// Reads the rows of a file of vectors; `FERRIO_VECTORS` replaces the folder.
///
/// # Panics
/// If the file is missing.
fn rows(file: &str) -> Vec<Value> {
    let folder = std::env::var_os("FERRIO_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/vectors")),
        PathBuf::from,
    );
    let path = folder.join("redis").join(file);
    let json = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    // The notes hold unpaired surrogates, which a payload replaces.
    let (rows,) = Payload::ack_from_json(format!("[{json}]").into()).unwrap().args().unwrap();
    rows
}

fn unhex(hex: &Value) -> Bytes {
    let digits = hex.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or("")
}

/// Whether this is what a row describes: binary values, dates and numbers stand as `{"$kind": …}`.
fn is(read: &Value, described: &Value) -> bool {
    match (tag(described), read) {
        (Some(("bin", hex)), read) => *read == Value::Binary(unhex(hex)),
        (Some(("date", _)), Value::String(text)) => text.ends_with('Z'),
        (Some(("f64" | "int", number)), read) => match number.as_str().unwrap().parse::<f64>().unwrap() {
            number if number.is_finite() => read.as_f64() == Some(number),
            _ => read.is_null(), // JSON has no other numbers
        },
        // Of notepack 2: undefined, a date, an ArrayBuffer.
        (Some(("ext", _)), read) => match unhex(&described["hex"]) {
            data if data.len() == 1 && data[0] == 0 => read.is_null(),
            data if data.len() == 8 => matches!(read, Value::String(_)),
            data => *read == Value::Binary(data),
        },
        (Some(_), _) => false,
        (None, Value::Array(a)) => {
            let b = described.as_array().unwrap_or_default();
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is(a, b))
        }
        (None, Value::Object(a)) => described.as_object().is_some_and(|b| {
            // A key with `undefined` is none.
            let left_out = |value: &Value| tag(value).is_some_and(|(tag, _)| tag == "ext");
            b.iter().all(|(key, b)| a.get(key).map_or(left_out(b), |a| is(a, b)))
        }),
        (None, Value::Number(a)) => described.as_f64() == Some(a.as_f64()),
        (None, read) => read == described,
    }
}

fn tag(value: &Value) -> Option<(&str, &Value)> {
    let (key, inner) = value.as_object()?.iter().next()?;
    Some((key.strip_prefix('$')?, inner))
}

/// The data of an event: its name and its arguments.
#[track_caller]
fn check_event(payload: &Payload, described: &Value, name: &str) {
    let mut values = payload.values().unwrap();
    values.insert(
        0,
        match payload.event_name().unwrap() {
            EventName::Text(text) => Value::from(&*text),
            EventName::Number(number) => Value::from(number),
        },
    );
    let read = Value::Array(values);
    assert!(is(&read, described), "{name}: {read:?}, expected {described:?}");
}

/// A value by itself; none is `undefined`.
#[track_caller]
fn check_value(payload: &Payload, described: Option<&Value>, name: &str) {
    let read: Option<Value> = payload.values().unwrap().into_iter().next();
    let equal = match (&read, described) {
        (None, None) => true,
        (Some(read), Some(described)) => is(read, described),
        _ => false,
    };
    assert!(equal, "{name}: {read:?}, expected {described:?}");
}

/// What was compared.
#[derive(Debug, Default)]
struct Count {
    /// Bytes equal to Node's.
    equal: usize,
    /// Read, but written otherwise, with the reason.
    otherwise: Vec<(String, &'static str)>,
    /// Rows in which nothing was published.
    silent: usize,
}

impl Count {
    #[track_caller]
    fn compare(&mut self, row: &Value, written: &[u8]) {
        let name = text(row, "name").to_owned();
        let expected = unhex(&row["payload_hex"]);
        if written == expected {
            self.equal += 1;
            return;
        }
        let reason = reason(row).unwrap_or_else(|| {
            let (written, expected) = (String::from_utf8_lossy(written), String::from_utf8_lossy(&expected));
            panic!("{name}:\n{written}\n{expected}\n{written:x?}")
        });
        self.otherwise.push((name, reason));
    }

    #[track_caller]
    fn assert(&self, file: &str) {
        println!(
            "{file}: {} rows byte for byte, {} silent, otherwise: {:#?}",
            self.equal, self.silent, self.otherwise
        );
        assert!(self.equal > 0 && self.equal >= 4 * self.otherwise.len(), "{file}: {self:?}");
    }
}

/// Why we write the message of this row in other bytes; they have been read as the same.
fn reason(row: &Value) -> Option<&'static str> {
    let (name, note, adapter) = (text(row, "name"), text(row, "payload_note"), text(row, "adapter"));
    let has = |texts: &[&str]| texts.iter().any(|text| note.contains(text));
    let rooms = ["decoded", "opts"].iter().fold(row, |value, key| &value[*key]);
    let of_message = &row["decoded"]["data"]["opts"];
    let of_broadcast = &row["decoded"][2];
    let number_as_room = [rooms, of_message, of_broadcast].iter().any(|opts| {
        ["rooms", "except"]
            .iter()
            .any(|key| opts[*key].as_array().unwrap_or_default().iter().any(|room| room.as_f64().is_some()))
    });
    if number_as_room {
        return Some("rooms are texts here");
    }
    if has(&["ts32(", "ts64(", "ts96("]) {
        return Some("a date is text here");
    }
    if has(&["badutf8("]) {
        return Some("what is no UTF-8 is replaced");
    }
    if has(&["NaN", "Infinity"]) {
        return Some("JSON text has no such numbers: they are null");
    }
    if name.contains("bigInts") || name.contains("floats") {
        return Some(
            "notepack keeps 64 bits of larger numbers; what is left is written in the smallest form",
        );
    }
    if has(&["compress: false, timeout", "compress: false, volatile", "\"compress\":false,\"volatile\""]) {
        return Some("flags have one order here");
    }
    if adapter.contains("7.2.0 (A)") && has(&["ext("]) {
        return Some("notepack 2 has other forms");
    }
    if adapter.contains("8.2.1") {
        return Some("version 8.2 has another order of keys");
    }
    None
}

#[test]
fn classic_messages() {
    for file in ["classic.json", "classic-options.json", "legacy.json", "emitter-redis.json"] {
        let mut count = Count::default();
        for row in rows(file) {
            if row["command"].is_null() {
                count.silent += 1;
                continue;
            }
            assert_eq!(text(&row, "command"), "PUBLISH");
            if text(&row, "name").starts_with("parser") {
                classic_message(&row, &Codec::new(JsonClusterParser), &mut count);
                classic_message(&row, &Codec::new(ByTheTree), &mut count);
            } else {
                classic_message(&row, &Codec::default(), &mut count);
            }
        }
        count.assert(file);
    }
}

/// JSON by the way that all parsers but the two that are built in go.
#[derive(Debug)]
struct ByTheTree;

impl ClusterParser for ByTheTree {
    fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
        JsonClusterParser.encode(message)
    }

    fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
        JsonClusterParser.decode(message)
    }
}

fn classic_message(row: &Value, codec: &Codec, count: &mut Count) {
    let name = text(row, "name");
    let channel = text(row, "channel");
    let (prefix, rest) = channel.split_once('#').unwrap();
    let prefix = prefix.trim_end_matches("-request").trim_end_matches("-response");
    let channels = classic::Channels::new(prefix, rest.split_once('#').unwrap().0);
    let message = unhex(&row["payload_hex"]);
    let decoded = &row["decoded"];
    match channels.read(channel.as_bytes()).unwrap() {
        Channel::Broadcast | Channel::Room(_) => {
            let broadcast = Broadcast::decode_with(&message, codec).unwrap();
            assert_eq!(channels.broadcast(&broadcast.opts), channel, "{name}");
            assert_eq!(broadcast.uid.as_deref(), decoded[0].as_str(), "{name}");
            assert_eq!(broadcast.packet.namespace.as_deref(), decoded[1]["nsp"].as_str(), "{name}");
            check_event(&broadcast.packet.data, &decoded[1]["data"], name);
            let written = broadcast.encode_with(codec).unwrap();
            assert_eq!(Broadcast::decode_with(&written, codec).unwrap(), broadcast, "{name}");
            count.compare(row, &written);
        }
        Channel::Request => {
            let request = Request::decode_with(&message, codec).unwrap();
            assert_eq!(channels.request(), channel, "{name}");
            assert_eq!(request.uid.as_deref(), decoded["uid"].as_str(), "{name}");
            match &request.body {
                RequestBody::Broadcast { packet, .. } => {
                    check_event(&packet.data, &decoded["packet"]["data"], name);
                }
                RequestBody::ServerSideEmit { data, .. } => check_event(data, &decoded["data"], name),
                _ => {}
            }
            let written = request.encode_with(codec).unwrap();
            assert_eq!(Request::decode_with(&written, codec).unwrap(), request, "{name}");
            count.compare(row, &written);
        }
        Channel::Response => {
            let response = Response::decode_with(&message, codec).unwrap();
            match &response.body {
                ResponseBody::Ack(answer) => check_value(answer, decoded.get("packet"), name),
                ResponseBody::ServerSideEmit(answer) => check_value(answer, decoded.get("data"), name),
                ResponseBody::Sockets(sockets) => {
                    let expected = decoded["sockets"].as_array().unwrap();
                    match sockets.ids() {
                        Ok(ids) => assert_eq!(ids.len(), expected.len(), "{name}"),
                        Err(_) => check_details(&sockets.details().unwrap(), expected, name),
                    }
                }
                _ => {}
            }
            let written = response.encode_with(codec).unwrap();
            assert_eq!(Response::decode_with(&written, codec).unwrap(), response, "{name}");
            count.compare(row, &written);
        }
    }
}

#[track_caller]
fn check_details(read: &[ferrio::proto::cluster::SocketDetails], expected: &[Value], name: &str) {
    assert_eq!(read.len(), expected.len(), "{name}");
    for (read, expected) in read.iter().zip(expected) {
        assert_eq!(Some(&*read.id), expected["id"].as_str(), "{name}");
        assert!(is(&read.handshake, &expected["handshake"]), "{name}");
        assert!(is(&read.data, &expected["data"]), "{name}");
        assert_eq!(read.rooms.len(), expected["rooms"].as_array().unwrap().len(), "{name}");
        assert!(read.rooms.contains(&read.id), "{name}");
    }
}

#[track_caller]
fn check_message(message: &Message, data: &Value, name: &str) {
    match &message.body {
        Body::Broadcast { packet, .. } => check_event(&packet.data, &data["packet"]["data"], name),
        Body::ServerSideEmit { data: event, .. } => check_event(event, &data["packet"], name),
        Body::BroadcastAck { answer, .. } | Body::ServerSideEmitResponse { answer, .. } => {
            check_value(answer, data.get("packet"), name);
        }
        Body::FetchSocketsResponse { sockets, .. } => {
            check_details(&sockets.details().unwrap(), data["sockets"].as_array().unwrap(), name);
        }
        _ => {}
    }
}

#[test]
fn sharded_messages() {
    for (file, old) in [("sharded.json", false), ("legacy-sharded.json", true)] {
        let mut count = Count::default();
        for row in rows(file) {
            if row["command"].is_null() {
                count.silent += 1;
                continue;
            }
            let name = text(&row, "name");
            assert_eq!(text(&row, "command"), "SPUBLISH");
            let message = Message::decode(&unhex(&row["payload_hex"])).unwrap();
            check_message(&message, &row["decoded"]["data"], name);
            let mode = match (name, text(&row, "adapter")) {
                (name, adapter) if [name, adapter].iter().any(|text| text.contains("dynamic-private")) => {
                    SubscriptionMode::DynamicPrivate
                }
                (name, adapter) if [name, adapter].iter().any(|text| text.contains("static")) => {
                    SubscriptionMode::Static
                }
                _ => SubscriptionMode::Dynamic,
            };
            let channel = text(&row, "channel");
            let (prefix, rest) = channel.split_once('#').unwrap();
            let (namespace, _) = rest.split_once('#').unwrap();
            let channels = sharded::Channels::new(prefix, namespace, "uid");
            if message.body.is_response() {
                let uid = rest[namespace.len() + 1..].trim_end_matches('#');
                assert_eq!(channels.private_of(uid), channel, "{name}");
            } else if !old {
                assert_eq!(channels.request(mode, &message.body), channel, "{name}");
            }
            assert_eq!(message.namespace.as_deref(), (!old).then_some(namespace), "{name}");
            let written = sharded::encode(&message);
            assert_eq!(Message::decode(&written).unwrap(), message, "{name}");
            if old {
                // Version 8.2 has another order of keys. What nobody sends any more is read.
                count.silent += 1;
                continue;
            }
            count.compare(&row, &written);
        }
        if old {
            assert!(count.silent > 0);
        } else {
            count.assert(file);
        }
    }
}

#[test]
fn streams_messages() {
    for file in ["streams.json", "streams-legacy-heartbeat.json", "emitter-streams.json"] {
        let mut count = Count::default();
        for row in rows(file) {
            match row["command"].as_str() {
                None => count.silent += 1,
                Some("XADD") => stream_entry(&row, &mut count),
                Some("PUBLISH" | "SPUBLISH") => published_by_streams(&row, &mut count),
                Some("SET") => {
                    let value = unhex(&row["payload_hex"]);
                    let session = Session::decode(&value).unwrap();
                    assert!(session.rooms.contains(&session.sid));
                    count.compare(&row, session.encode().unwrap().as_bytes());
                }
                Some(_) => count.silent += 1, // reading: nothing of ours is in it
            }
        }
        count.assert(file);
    }
}

fn stream_entry(row: &Value, count: &mut Count) {
    let name = text(row, "name");
    let order: Vec<&str> =
        row["field_order"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let fields: Vec<(&str, Bytes)> = order
        .iter()
        .map(|&key| match key {
            "data" => (key, unhex(&row["payload_hex"])),
            _ => (key, text(&row["fields"], key).to_owned().into()),
        })
        .collect();
    let decode =
        |fields: &[(&str, Bytes)]| Entry::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value)));
    let message = decode(&fields).unwrap();
    check_message(&message, &row["decoded"], name);
    let of_old_version = text(row, "adapter").contains("0.2.");
    let of_emitter = message.uid.as_deref() == Some("emitter");
    if !of_old_version && !of_emitter {
        assert_eq!(Route::of(&message.body), Route::Stream, "{name}");
    }
    if name.starts_with("streamCount") {
        let (stream, _) = text(row, "channel").split_once('-').unwrap();
        assert_eq!(stream_key(stream, 4, message.namespace.as_deref().unwrap()), text(row, "channel"));
    }
    let entry: Vec<_> = Entry::new(&message, name.contains("Plaintext")).fields().collect();
    assert_eq!(entry.iter().map(|(name, _)| *name).collect::<Vec<_>>(), order, "{name}");
    assert_eq!(entry[..3], fields[..3], "{name}");
    assert_eq!(decode(&entry).unwrap(), message, "{name}");
    count.compare(row, entry.get(3).map_or(&b""[..], |(_, data)| data));
}

fn published_by_streams(row: &Value, count: &mut Count) {
    let name = text(row, "name");
    let message = Message::decode(&unhex(&row["payload_hex"])).unwrap();
    check_message(&message, &row["decoded"]["data"], name);
    let channel = text(row, "channel");
    let (prefix, rest) = channel.split_once('#').unwrap();
    let channels = sharded::Channels::new(prefix, rest.split_once('#').unwrap().0, "uid");
    match Route::of(&message.body) {
        Route::Public => assert_eq!(channels.public(), channel, "{name}"),
        Route::Private => assert!(channel.len() > channels.public().len(), "{name}"),
        Route::Stream => panic!("{name} was published"),
    }
    let written = message.encode(Form::Msgpack);
    assert_eq!(Message::decode(&written).unwrap(), message, "{name}");
    count.compare(row, &written);
}

/// The value of each row as what a client acknowledged with: read from both of Node's forms, it is what `JSON.stringify`
/// makes of it; written again, it is Node's bytes.
#[test]
fn values_in_both_forms() {
    let forms = [
        (Form::Notepack, "notepack.io@3.0.1"),
        (Form::Msgpack, "@msgpack/msgpack@2.8.0"),
        (Form::Notepack, "notepack.io@2.2.0 (redis-adapter 7.x)"),
    ];
    let ack = |answer: Payload| Message {
        uid: None,
        namespace: None,
        body: Body::BroadcastAck { request_id: RequestId::new("r"), answer },
    };
    let (mut read, mut written, mut otherwise) = (0, 0, Vec::new());
    for row in rows("codec.json") {
        let name = text(&row, "name");
        for (form, codec) in forms {
            let Some(hex) = row[codec].get("hex") else { continue };
            let frame = ack(Payload::ack(&((),)).unwrap()).encode(form);
            let bytes = [&frame[..frame.len() - 1], &unhex(hex)].concat().into();
            let message = Message::decode(&bytes).unwrap_or_else(|error| panic!("{name} {codec}: {error:?}"));
            let Body::BroadcastAck { answer, .. } = &message.body else { panic!("{name}") };
            read += 1;
            let json = text(&row["JSON.stringify"], "text");
            if answer.attachments().is_empty() && **answer.json() != format!("[{json}]") {
                otherwise.push(format!("{name} {codec}: {}, JSON.stringify: {json}", answer.json()));
            }
            let of_version_2 = codec.contains("2.2.0");
            if message.encode(form) == bytes {
                written += 1;
            } else if !of_version_2 {
                let note = text(&row[codec], "note");
                let kinds = ["ts32(", "ts64(", "ts96(", "NaN", "Infinity", "badutf8("];
                let other_value = kinds.iter().any(|kind| note.contains(kind));
                // 2⁶⁴ and 1e21, of which notepack keeps the lowest 64 bits in the widest form.
                let cut_off = form == Form::Notepack && text(&row["JSON.stringify"], "text").len() > 19
                    || text(&row["JSON.stringify"], "text").contains("e+");
                assert!(other_value || cut_off, "{name} {codec}: {note}, written otherwise");
            }
        }
    }
    println!("{read} values read, {written} written byte for byte; other than in JSON: {otherwise:#?}");
    assert!(read > 100 && written * 4 > read * 3 && otherwise.len() * 4 < read);
}

/// What Node's servers did with messages made by hand: of what had an effect we read all, of what stopped them nothing.
#[test]
fn messages_made_by_hand() {
    type Decode = fn(&Value) -> Result<(), WireError>;
    let classic: Decode = |row| {
        let channels = classic::Channels::new("socket.io", "/");
        let message = unhex(&row["payload_hex"]);
        match channels.read(text(row, "channel").as_bytes()).unwrap() {
            Channel::Broadcast | Channel::Room(_) => Broadcast::decode(&message).map(drop),
            Channel::Request => Request::decode(&message).map(drop),
            Channel::Response => Response::decode(&message).map(drop),
        }
    };
    let cluster: Decode = |row| match row["fields"].as_array() {
        None => Message::decode(&unhex(&row["payload_hex"])).map(drop),
        Some(fields) => {
            let fields: Vec<Bytes> = fields
                .iter()
                .map(|field| match field.as_str().unwrap() {
                    text if text.starts_with("hex:") => unhex(&text[4..].into()),
                    text => text.to_owned().into(),
                })
                .collect();
            Entry::decode(fields.chunks(2).map(|field| (&field[0][..], &field[1]))).map(drop)
        }
    };
    let (mut read, mut refused, mut left) = (0, 0, 0);
    for (file, decode) in [
        ("inject-classic.json", classic),
        ("inject-classic-ioredis.json", classic),
        ("inject-classic-ioredis5.json", classic),
        ("inject-classic-redis4.json", classic),
        ("inject-classic-redis5.json", classic),
        ("inject-sharded.json", cluster),
        ("inject-streams.json", cluster),
    ] {
        for row in rows(file) {
            let name = text(&row, "name");
            let result = decode(&row);
            let has_effect = match text(&row, "verdict") {
                "effect" => true,
                "crash" | "redis-client-error" | "poison" => false,
                // Some is read, and then concerns nobody.
                "ignored" => {
                    left += 1;
                    continue;
                }
                other => panic!("{name}: a verdict that this test does not know: {other}"),
            };
            let expected = match exception(name) {
                Some(read) => read,
                None => has_effect,
            };
            assert_eq!(result.is_ok(), expected, "{file} {name}: {result:?}");
            if expected { read += 1 } else { refused += 1 }
        }
    }
    println!("{read} read, {refused} refused, {left} that Node ignores");
    assert!(read > 50 && refused > 20 && left > 20);
}

/// Whether we read what Node did not survive, or do not read what it did.
fn exception(name: &str) -> Option<bool> {
    match name {
        // The client was disconnected for a parse error.
        "b.bin-event-name" | "b.data-not-array" => Some(false),
        // An answer that nobody can match with a question.
        "q.all-rooms-no-requestId" | "q.broadcast-ack-no-requestId" => Some(false),
        // It was the listener that threw, or that there was none.
        "q.sse-error-event" | "x.POISON.sse-listener-throws" => Some(true),
        // Joining takes one room alone; here leaving does, too.
        "leave-rooms-string" => Some(true),
        // A parser's JSON, which Node reads if it is told to.
        "b.json-array" => Some(true),
        _ => None,
    }
}

#[test]
fn opts_say_who_hears() {
    let opts = |rooms: &[&str], except: &[&str]| Opts {
        rooms: rooms.iter().map(|&room| room.into()).collect(),
        except: except.iter().map(|&room| room.into()).collect(),
        ..Opts::default()
    };
    let is_in = |room: &str| room == "a";
    assert!(opts(&[], &[]).includes(is_in));
    assert!(opts(&["b", "a"], &["c"]).includes(is_in));
    assert!(!opts(&["b"], &[]).includes(is_in));
    assert!(!opts(&["a"], &["a"]).includes(is_in));
}
