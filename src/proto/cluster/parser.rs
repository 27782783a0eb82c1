//! `ClusterParser`: how the classic adapter writes what holds values of the application, where that is not MessagePack.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::document::Document;
use super::writer::Writer;
use super::{Form, WireError};
use crate::proto::socketio::{ParserError, Payload, Value};

/// A form of the classic adapter's messages other than MessagePack: the option `parser` of Node's adapter and emitter.
/// All servers and emitters of a cluster have to use the same.
///
/// Not every message goes through it, as on Node:
///
/// | message | what `encode` gets |
/// |---|---|
/// | an event | `[uid, {type, data, nsp}, {rooms, except, flags}]` |
/// | an event that wants to be acknowledged | `{uid, requestId, type: 7, packet, opts}` |
/// | an acknowledgement of a client | `{type: 9, requestId, packet}` |
/// | all else: joining, leaving, `fetch_sockets`, `server_side_emit`, … | – (always JSON) |
///
/// Where requests and answers go, a message that begins with `{` is read as JSON and everything else by `decode`: what
/// `encode` writes for the last two must not begin with `{`, unless it is JSON. Events are read by `decode` whatever they
/// begin with, those that this server has published among them.
///
/// # Example: any format of serde
/// A [`Value`] can be serialized and deserialized, so most formats need a line each; one that knows bytes keeps binary
/// values as they are. (For JSON as Node writes it there is [`JsonClusterParser`].)
/// ```no_run
/// use ferrio::{ClusterParser, ParserError, RedisAdapter, RedisConfig, Server, Value};
///
/// #[derive(Debug)]
/// struct SerdeJson;
///
/// impl ClusterParser for SerdeJson {
///     fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
///         serde_json::to_vec(message).map_err(ParserError::new)
///     }
///
///     fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
///         serde_json::from_slice(message).map_err(ParserError::new)
///     }
/// }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = RedisConfig::from_url("redis://127.0.0.1:6379")?;
/// let io = Server::builder().adapter(RedisAdapter::new(redis).parser(SerdeJson).connect().await?).build()?;
/// # let io: Server = io;
/// # Ok(())
/// # }
/// ```
pub trait ClusterParser: fmt::Debug + Send + Sync + 'static {
    /// Writes a message. It must not block.
    ///
    /// # Errors
    /// If the message has no such form. The other servers then do not get it; that is counted in
    /// [`LinkStats::unencodable`](crate::LinkStats::unencodable), and the first time is in the log. An emitter returns the
    /// error.
    fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError>;

    /// Reads a message; anybody who may publish on this Redis can have written it. It must not block, and it has to bound how
    /// deep values are nested, as formats of serde do.
    ///
    /// # Errors
    /// If it is no message. It is ignored, and counted in [`LinkStats::ignored`](crate::LinkStats::ignored).
    fn decode(&self, message: &[u8]) -> Result<Value, ParserError>;
}

/// JSON, as Node's adapter and emitter write it with `parser: { encode: JSON.stringify, decode: JSON.parse }`: to be read in
/// `redis-cli monitor`, and to be published by programs that have no MessagePack.
///
/// It costs what JSON has no form for: on the other servers **binary values arrive as `{"type":"Buffer","data":[…]}`**, about
/// four times as long, and stay that; so do Node's. Clients of the server that emits them still get bytes.
///
/// It goes straight from and to the text, as the default does, and by no tree as other parsers do. Servers of ferrio with the
/// default read JSON, too, Node's do not; with this parser nobody reads MessagePack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonClusterParser;

impl ClusterParser for JsonClusterParser {
    fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
        let payload = Payload::ack(&(message,)).map_err(ParserError::new)?;
        let mut writer = Writer::new(Form::Json, payload.json().len());
        writer.first_argument(&payload);
        Ok(writer.finish().into())
    }

    fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
        only_value(&format!("[{}]", String::from_utf8_lossy(message)).into(), &[])
    }
}

/// What the classic adapter and its emitter write and read with.
#[derive(Clone, Debug, Default)]
pub enum Codec {
    /// JSON, straight from and to its text.
    Json,
    /// MessagePack, straight from and to JSON text; JSON is read, too.
    #[default]
    Msgpack,
    /// Any other form, by way of a tree.
    Other(Arc<dyn ClusterParser>),
}

impl Codec {
    /// The one that writes and reads as this parser does.
    pub fn new<P: ClusterParser>(parser: P) -> Codec {
        if TypeId::of::<P>() == TypeId::of::<JsonClusterParser>() {
            return Codec::Json;
        }
        Codec::Other(Arc::new(parser))
    }

    /// Writes the message that `write` puts down, in which there is this payload.
    pub(super) fn encode(
        &self,
        payload: &Payload,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Bytes, ParserError> {
        let bytes = payload.attachments().iter().map(Bytes::len).sum::<usize>();
        let len = payload.json().len() + bytes;
        let mut writer = match self {
            Codec::Json => Writer::new(Form::Json, len),
            Codec::Msgpack => Writer::new(Form::Notepack, len),
            Codec::Other(parser) => {
                let mut writer = Writer::with_placeholders(payload.json().len());
                writer.array(1);
                writer.element();
                write(&mut writer);
                writer.end_array();
                let json = ByteString::try_from(writer.finish()).map_err(ParserError::new)?;
                return Ok(parser.encode(&only_value(&json, payload.attachments())?)?.into());
            }
        };
        write(&mut writer);
        Ok(writer.finish())
    }

    /// Reads an event: by its channel it is known to come from such a codec.
    pub(super) fn event(&self, message: &Bytes) -> Result<Document, WireError> {
        match self {
            Codec::Json => Document::json(message),
            Codec::Msgpack => Document::read(message),
            Codec::Other(parser) => Document::parsed(message, &**parser),
        }
    }

    /// Reads a request or an answer: "begins with `{`: JSON".
    pub(super) fn request_or_answer(&self, message: &Bytes) -> Result<Document, WireError> {
        match message.first() {
            Some(b'{') => Document::json(message),
            _ => self.event(message),
        }
    }
}

/// The only element of an array.
fn only_value(json: &ByteString, attachments: &[Bytes]) -> Result<Value, ParserError> {
    let list = Payload::ack_from_json(json.clone()).filter(|list| list.arg_count() == 1);
    let list = list.ok_or_else(|| ParserError::new("the message is no JSON, or nested too deep"))?;
    let (value,) = list.attach(attachments.to_vec()).args().map_err(ParserError::new)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::classic::{Broadcast, Request, RequestBody, Response, ResponseBody};
    use crate::proto::cluster::{EventPacket, Opts, RequestId};
    use crate::proto::socketio::{Map, json_of};

    /// MessagePack, marked, and with a mistake on demand.
    #[derive(Debug)]
    struct Marked;

    impl ClusterParser for Marked {
        fn encode(&self, message: &Value) -> Result<Vec<u8>, ParserError> {
            let packet = Payload::ack(&(message,)).map_err(ParserError::new)?;
            if packet.json().contains("unwritable") {
                return Err(ParserError::new("this is refused"));
            }
            let mut writer = Writer::new(Form::Notepack, 0);
            writer.first_argument(&packet);
            Ok([b"<", &*writer.finish()].concat())
        }

        fn decode(&self, message: &[u8]) -> Result<Value, ParserError> {
            let message = message.strip_prefix(b"<").ok_or_else(|| ParserError::new("no mark"))?;
            let (json, attachments) =
                json_of(&Bytes::copy_from_slice(message), 1 << 20).map_err(ParserError::new)?;
            only_value(&format!("[{json}]").into(), &attachments)
        }
    }

    fn broadcast(args: &Value) -> Broadcast {
        Broadcast {
            uid: Some("WT-Fwa".into()),
            packet: EventPacket::new(Some("/".into()), Payload::event("e", args).unwrap()),
            opts: Opts { rooms: vec!["a\"".into()], ..Opts::default() },
        }
    }

    #[test]
    fn messages_come_back_with_their_bytes() {
        let codec = Codec::new(Marked);
        let nested = Map::from_iter([("b", Value::from(Bytes::from_static(b"\xff")))]);
        let value = Value::from(vec![nested.into(), Value::from(u64::MAX), Value::Null]);
        let broadcast = broadcast(&value);
        let request_id = RequestId::new("r");

        let message = broadcast.encode_with(&codec).unwrap();
        assert_eq!(message[..2], *b"<\x93");
        assert_eq!(Broadcast::decode_with(&message, &codec).unwrap().opts, broadcast.opts);

        let (packet, opts) = (broadcast.packet.clone(), broadcast.opts.clone());
        let body = RequestBody::Broadcast { request_id: request_id.clone(), packet, opts };
        let request = Request { uid: broadcast.uid.clone(), body };
        let message = request.encode_with(&codec).unwrap();
        assert_eq!(message[..2], *b"<\x85");
        let read = Request::decode_with(&message, &codec).unwrap();
        let RequestBody::Broadcast { packet, .. } = read.body else { panic!("{read:?}") };
        assert_eq!(packet.data.attachments(), [Bytes::from_static(b"\xff")]);
        assert_eq!(packet.namespace.as_deref(), Some("/"));

        // The second argument, with its bytes, is not said.
        let answer = Payload::ack(&(1, Bytes::from_static(b"abc"))).unwrap();
        let response = Response { request_id: request_id.clone(), body: ResponseBody::Ack(answer) };
        let message = response.encode_with(&codec).unwrap();
        assert_eq!(message[..2], *b"<\x83");
        let Response { body: ResponseBody::Ack(read), .. } = Response::decode_with(&message, &codec).unwrap()
        else {
            panic!("an acknowledgement");
        };
        assert_eq!(read.values().unwrap(), [Value::from(1_u64)]);
        let nothing = ResponseBody::Ack(Payload::ack(&()).unwrap());
        let response = Response { request_id: request_id.clone(), body: nothing };
        assert_eq!(Response::decode_with(&response.encode_with(&codec).unwrap(), &codec).unwrap(), response);

        // All else is JSON, and read as such.
        let body = ResponseBody::ClientCount(1);
        let count = Response { request_id: request_id.clone(), body };
        let message = count.encode_with(&codec).unwrap();
        assert_eq!(message, r#"{"type":8,"requestId":"r","clientCount":1}"#);
        assert_eq!(Response::decode_with(&message, &codec).unwrap(), count);
        let request = Request { uid: None, body: RequestBody::AllRooms { request_id } };
        let message = request.encode_with(&codec).unwrap();
        assert_eq!(message, r#"{"requestId":"r","type":1}"#);
        assert_eq!(Request::decode_with(&message, &codec).unwrap(), request);
    }

    #[test]
    fn both_ways_to_json_are_one() {
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
        let (straight, tree) = (Codec::new(JsonClusterParser), Codec::new(ByTheTree));
        assert!(matches!((&straight, &tree), (Codec::Json, Codec::Other(_))));
        let bytes = Value::from(Bytes::from_static(b"\x01\xff"));
        let broadcast = broadcast(&Value::from(vec![bytes, Value::from(1e21), Value::from("\u{1f600}\n")]));
        let message = broadcast.encode_with(&straight).unwrap();
        assert_eq!(message, broadcast.encode_with(&tree).unwrap());
        let read = Broadcast::decode_with(&message, &straight).unwrap();
        assert_eq!(read, Broadcast::decode_with(&message, &tree).unwrap());
        assert_eq!(read, Broadcast::decode(&message).unwrap());
        let buffer = r#"{"type":"Buffer","data":[1,255]}"#;
        assert_eq!(*read.packet.data.json(), format!("[\"e\",[{buffer},1e+21,\"\u{1f600}\\n\"]]"));
        assert!(Broadcast::decode_with(&broadcast.encode(), &straight).is_err());
    }

    #[test]
    fn what_has_no_form_and_what_is_none_are_errors() {
        let codec = Codec::new(Marked);
        let refused = broadcast(&Value::from("unwritable")).encode_with(&codec).unwrap_err();
        assert_eq!(refused.to_string(), "this is refused");
        let garbage = Bytes::from_static(b"garbage");
        assert!(matches!(Broadcast::decode_with(&garbage, &codec), Err(WireError::Malformed { .. })));
        assert!(Request::decode_with(&garbage, &codec).is_err());
        assert!(Response::decode_with(&garbage, &codec).is_err());
        let event = broadcast(&Value::Null).encode_with(&Codec::Json).unwrap();
        assert!(Broadcast::decode_with(&event, &codec).is_err());
        // The application's object beside bytes stands for none of them.
        let placeholder = Map::from_iter([("_placeholder", Value::from(true)), ("num", Value::from(7_u64))]);
        let lying = Value::from(vec![placeholder.into(), Value::from(Bytes::from_static(b"\x01"))]);
        #[derive(Debug)]
        struct Says(Value);
        impl ClusterParser for Says {
            fn encode(&self, _message: &Value) -> Result<Vec<u8>, ParserError> {
                Ok(Vec::new())
            }
            fn decode(&self, _message: &[u8]) -> Result<Value, ParserError> {
                Ok(self.0.clone())
            }
        }
        assert!(Response::decode_with(&garbage, &Codec::new(Says(lying))).is_err());
    }

    #[test]
    fn json_is_nodes() {
        let value = Value::from(vec![
            Value::from(1e21),
            Value::from(f64::NAN),
            Value::from(u64::MAX),
            Value::from("/\u{2028}\""),
            Value::from(Bytes::from_static(b"\x01\xff")),
            Value::Null,
        ]);
        let json =
            "[1e+21,null,18446744073709551615,\"/\u{2028}\\\"\",{\"type\":\"Buffer\",\"data\":[1,255]},null]";
        assert_eq!(String::from_utf8(JsonClusterParser.encode(&value).unwrap()).unwrap(), json);
        for json in ["null", " [1] ", r#"{"a":[{}]}"#, "\"\u{2028}\"", "-0.5"] {
            let value = JsonClusterParser.decode(json.as_bytes()).unwrap();
            assert_eq!(JsonClusterParser.encode(&value).unwrap(), json.trim().as_bytes());
        }
        assert_eq!(JsonClusterParser.decode(b"\"\xff\"").unwrap(), Value::from("\u{fffd}"));
        let deep = "[".repeat(10_000);
        for json in ["", "1,2", "1],[2", "]", "[", "{a:1}", "\u{c0}", &deep] {
            assert!(JsonClusterParser.decode(json.as_bytes()).is_err(), "{json}");
        }
    }
}
