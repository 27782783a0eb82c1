//! The streams adapter: entries, keys, sessions and offsets. Its channels are [`sharded::Channels`](super::sharded).
//!
//! Version 0.2 sends all messages through the stream, heartbeats too, in the same fields.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;

use super::document::{Document, object};
use super::opts::{RoomName, names};
use super::writer::Writer;
use super::{Body, Form, Message, WireError};
use crate::proto::socketio::{EncodeError, Payload, Value};

/// By which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Published to the channel of who asked, [`Message::encode`]d as [`Form::Msgpack`].
    Private,
    /// Published to all, in the same form.
    Public,
    /// Added to the stream, as an [`Entry`].
    Stream,
}

impl Route {
    /// The way that version 0.3 chooses.
    pub fn of(body: &Body) -> Route {
        match body {
            body if body.is_response() => Route::Private,
            Body::Broadcast { request_id: Some(_), .. }
            | Body::FetchSockets { .. }
            | Body::ServerSideEmit { .. } => Route::Public,
            _ => Route::Stream,
        }
    }
}

/// The fields of an entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    uid: ByteString,
    namespace: ByteString,
    kind: u64,
    data: Option<Bytes>,
}

impl Entry {
    /// Writes a message. `only_plaintext`: Node's option, by which binary values go as `{"type":"Buffer","data":[…]}`.
    pub fn new(message: &Message, only_plaintext: bool) -> Entry {
        let data = if message.body.has_binary() && !only_plaintext {
            message.encode_data(Form::Msgpack).map(|data| BASE64.encode(data).into())
        } else {
            message.encode_data(Form::Json)
        };
        Entry {
            uid: message.uid.clone().unwrap_or_default(),
            namespace: message.namespace.clone().unwrap_or_default(),
            kind: message.body.number(),
            data,
        }
    }

    /// The names and values in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Bytes)> {
        let fields = [
            ("uid", self.uid.as_bytes().clone()),
            ("nsp", self.namespace.as_bytes().clone()),
            ("type", self.kind.to_string().into()),
        ];
        fields.into_iter().chain(self.data.clone().map(|data| ("data", data)))
    }

    /// Reads a message from fields in any order.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of. (Some of it makes them read the entry again and again.)
    pub fn decode<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a Bytes)>) -> Result<Message, WireError> {
        let (mut uid, mut namespace, mut kind, mut data) = (None, None, None, None);
        for (name, value) in fields {
            match name {
                b"uid" => uid = Some(text(value)),
                b"nsp" => namespace = Some(text(value)),
                b"type" => kind = leading_number(value),
                b"data" => data = Some(value),
                _ => {}
            }
        }
        let document = match data {
            None => Document::default(),
            Some(data) if data.starts_with(b"{") => Document::json(data)?,
            Some(data) => Document::msgpack(&from_base64(data)?)?,
        };
        Ok(Message { uid, namespace, body: Body::read_data(kind, &document)? })
    }
}

fn text(value: &Bytes) -> ByteString {
    ByteString::try_from(value.clone()).unwrap_or_else(|_| String::from_utf8_lossy(value).into_owned().into())
}

/// As C's `atoi` reads it: "3abc" is 3.
fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// Node reads both alphabets, and needs no padding.
fn from_base64(text: &[u8]) -> Result<Bytes, WireError> {
    let data = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
    data.map(Bytes::from).map_err(|_| WireError::malformed("the data is neither JSON nor base64"))
}

const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, TOLERANT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, TOLERANT);

/// The key of the stream that Node writes to; `count`: Node's option `streamCount`.
///
/// With several, a namespace whose hash is negative goes to a key like `socket.io--3`, which no server of Node reads.
pub fn stream_key(name: &str, count: u32, namespace: &str) -> String {
    if count <= 1 {
        return name.to_owned();
    }
    let hash = namespace
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    format!("{name}-{}", i64::from(hash) % i64::from(count))
}

/// What is kept of a socket whose connection was lost: the value of the key `<sessionKeyPrefix><pid>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// The socket's public id.
    pub sid: ByteString,
    /// The client's secret.
    pub pid: ByteString,
    /// The rooms, the socket's id among them.
    pub rooms: Vec<ByteString>,
    /// Node's `socket.data`.
    pub data: Value,
}

impl Session {
    /// Writes it, as base64.
    ///
    /// # Errors
    /// If the data cannot be serialized.
    pub fn encode(&self) -> Result<String, EncodeError> {
        let data = Payload::ack(&(&self.data,))?;
        let mut writer = Writer::new(Form::Msgpack, data.json().len());
        writer.object(4);
        writer.key("sid");
        writer.text(&self.sid);
        writer.key("pid");
        writer.text(&self.pid);
        writer.key("rooms");
        writer.texts(&self.rooms);
        writer.key("data");
        writer.first_argument(&data);
        writer.end_object();
        Ok(BASE64.encode(writer.finish()))
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is no such session.
    pub fn decode(value: &[u8]) -> Result<Session, WireError> {
        let document = Document::msgpack(&from_base64(value)?)?;
        let raw: RawSession<'_> = object(&document.json)?;
        let data = document.value(Some(raw.data))?;
        Ok(Session {
            sid: raw.sid.0,
            pid: raw.pid.0,
            rooms: names(raw.rooms),
            data: data.args().map_err(|_| WireError::malformed("the data cannot be read"))?,
        })
    }
}

#[derive(Deserialize)]
struct RawSession<'a> {
    sid: RoomName,
    pid: RoomName,
    rooms: Vec<RoomName>,
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

/// The id of an entry, by which a client says up to where it has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    milliseconds: u64,
    sequence: u64,
}

impl Offset {
    /// Reads one; `None` if Redis has no such ids: only then does Node not look it up.
    pub fn parse(offset: &str) -> Option<Offset> {
        let number = |digits: &str| {
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let (milliseconds, sequence) = offset.split_once('-')?;
        Some(Offset { milliseconds: number(milliseconds)?, sequence: number(sequence)? })
    }

    /// The two numbers of the id.
    pub fn parts(self) -> (u64, u64) {
        (self.milliseconds, self.sequence)
    }

    /// The first id after this one: where reading goes on.
    #[must_use]
    pub fn next(self) -> Offset {
        match self.sequence.checked_add(1) {
            Some(sequence) => Offset { sequence, ..self },
            None => Offset { milliseconds: self.milliseconds.saturating_add(1), sequence: 0 },
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::socketio::Map;

    #[test]
    fn a_namespace_has_its_stream() {
        for (namespace, key) in [
            ("/", "socket.io-3"),
            ("/admin", "socket.io-0"),
            ("/chat", "socket.io-3"),
            ("/foo", "socket.io-3"),
            ("/a", "socket.io-2"),
            ("/orders", "socket.io-0"),
            ("/very-long-namespace-name", "socket.io-2"),
            ("/notifications", "socket.io--3"),
        ] {
            assert_eq!(stream_key("socket.io", 4, namespace), key);
        }
        assert_eq!(stream_key("socket.io", 1, "/notifications"), "socket.io");
    }

    #[test]
    fn offsets_are_two_numbers() {
        let next = |offset: &str| Offset::parse(offset).map(|offset| offset.next().to_string());
        assert_eq!(next("1795398744738-0").as_deref(), Some("1795398744738-1"));
        assert_eq!(next("0-18446744073709551615").as_deref(), Some("1-0"));
        for no_offset in
            ["", "1", "-", "1-", "-1", "1-2-3", "a-1", "+1-2", " 1-2", "1-2\n", "99999999999999999999-0"]
        {
            assert_eq!(next(no_offset), None, "{no_offset}");
        }
        assert!(Offset::parse("9-1") < Offset::parse("10-0"));
    }

    #[test]
    fn entries_that_node_reads_again_and_again_are_errors() {
        let decode = |kind: &'static str, data: Option<&'static str>| {
            let fields = [(&b"type"[..], kind.into()), (b"nsp", "/".into())];
            let mut fields: Vec<(&[u8], Bytes)> = fields.into_iter().collect();
            fields.extend(data.map(|data| (&b"data"[..], data.into())));
            Entry::decode(fields.iter().map(|(name, value)| (*name, value)))
        };
        assert_eq!(decode("2", None).unwrap().body, Body::Heartbeat);
        assert_eq!(decode("13x", Some("{}")).unwrap().body, Body::AdapterClose);
        for (kind, data) in [
            ("3", None),
            ("3", Some("")),
            ("3", Some("{}")),
            ("3", Some(r#"{"packet":{"type":2,"data":["e"]}}"#)),
            ("3", Some(r#"{"opts":{}}"#)),
            ("3", Some(r#"[{"type":2,"data":["e"]},"r",{}]"#)),
            ("3", Some(r#"{"packet":[2,["e"]],"opts":{}}"#)),
            ("3", Some(r#" {"packet":{"type":2,"data":["e"]},"opts":{}}"#)),
            ("4", Some(r#"{"opts":{}}"#)),
            ("7", Some(r#"{"requestId":"r"}"#)),
            ("8", Some(r#"{"requestId":"r","sockets":{}}"#)),
            ("9", Some(r#"{"packet":"e"}"#)),
            ("11", Some(r#"{"requestId":"r"}"#)),
            ("12", Some(r#"{"packet":1}"#)),
            ("x", Some("{}")),
            ("", Some("{}")),
        ] {
            assert!(decode(kind, data).is_err(), "{kind} {data:?}");
        }
    }

    #[test]
    fn sessions_come_back() {
        let data: Map =
            [("user", Value::from("u1")), ("bin", Bytes::from_static(b"\x01").into())].into_iter().collect();
        let session = Session {
            sid: "sid".into(),
            pid: "pid".into(),
            rooms: vec!["sid".into(), "r".into()],
            data: data.into(),
        };
        let encoded = session.encode().unwrap();
        // {sid, pid, rooms, data}
        assert!(
            BASE64.decode(&encoded).unwrap().starts_with(b"\x84\xa3sid\xa3sid\xa3pid\xa3pid\xa5rooms\x92")
        );
        assert_eq!(Session::decode(encoded.as_bytes()).unwrap(), session);
        assert!(Session::decode(b"").is_err());
        assert!(Session::decode(b"wA==").is_err());
        assert!(Session::decode(b"{}").is_err());
    }
}
