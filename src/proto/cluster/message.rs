//! `Message`: what servers with the sharded or the streams adapter tell each other.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::{Document, Object, is_truthy, object, present, text};
use super::opts::{Keys, OneOrSeveral, RawOpts};
use super::writer::Writer;
use super::{EventPacket, Form, Opts, RequestId, Sockets, WireError};
use crate::proto::socketio::{Payload, Value};

/// A message of one server to the others: `{type,data,uid,nsp}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who sent it. To be dropped if it is one's own.
    pub uid: Option<ByteString>,
    /// The namespace. Node drops requests of another or none, and looks at no response's; servers with the sharded adapter
    /// of version 8.2 send none.
    pub namespace: Option<ByteString>,
    /// What it says.
    pub body: Body,
}

/// What a [`Message`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// 13: its server leaves. Only the streams adapter 0.2 sends it.
    AdapterClose,
    /// 3: an event for clients.
    Broadcast {
        /// The event.
        packet: EventPacket,
        /// If acknowledgements are wanted.
        request_id: Option<RequestId>,
        /// To whom it goes.
        opts: Opts,
    },
    /// 12, to 3: what one client acknowledged with.
    BroadcastAck {
        /// That of the request.
        request_id: RequestId,
        /// Its first argument; none is `undefined`, but where that is nil, which is read as null.
        answer: Payload,
    },
    /// 11, to 3, before all 12, once: how many clients were asked.
    BroadcastClientCount {
        /// That of the request.
        request_id: RequestId,
        /// How many.
        client_count: u64,
    },
    /// 6: to disconnect sockets.
    DisconnectSockets {
        /// Which.
        opts: Opts,
        /// Whether to close their connections.
        close: bool,
    },
    /// 7: which sockets there are, and what is known of them.
    FetchSockets {
        /// Which.
        opts: Opts,
        /// To be echoed.
        request_id: RequestId,
    },
    /// 8, to 7.
    FetchSocketsResponse {
        /// That of the request.
        request_id: RequestId,
        /// The sockets.
        sockets: Sockets,
    },
    /// 2: its server lives. Only the streams adapter 0.2 sends it.
    Heartbeat,
    /// 1: its server lives, and wants to know of the others. Only the streams adapter 0.2 sends it.
    InitialHeartbeat,
    /// 9: an event for the servers.
    ServerSideEmit {
        /// If an answer is wanted.
        request_id: Option<RequestId>,
        /// The name and the arguments.
        data: Payload,
    },
    /// 10, to 9: what a listener answered.
    ServerSideEmitResponse {
        /// That of the request.
        request_id: RequestId,
        /// As in [`Body::BroadcastAck`].
        answer: Payload,
    },
    /// 4: to let sockets join rooms.
    SocketsJoin {
        /// Which.
        opts: Opts,
        /// The rooms.
        rooms: Vec<ByteString>,
    },
    /// 5: to let sockets leave rooms.
    SocketsLeave {
        /// Which.
        opts: Opts,
        /// The rooms.
        rooms: Vec<ByteString>,
    },
}

impl Message {
    /// Writes all of it.
    pub fn encode(&self, form: Form) -> Bytes {
        let mut writer = Writer::new(form, self.body.len());
        let has_data = self.body.has_data();
        writer.object(
            1 + usize::from(has_data)
                + usize::from(self.uid.is_some())
                + usize::from(self.namespace.is_some()),
        );
        writer.key("type");
        writer.number(self.body.number());
        if has_data {
            writer.key("data");
            self.write_data(&mut writer);
        }
        if let Some(uid) = &self.uid {
            writer.key("uid");
            writer.text(uid);
        }
        if let Some(namespace) = &self.namespace {
            writer.key("nsp");
            writer.text(namespace);
        }
        writer.end_object();
        writer.finish()
    }

    /// Writes `data` alone; `None` if there is none.
    pub(super) fn encode_data(&self, form: Form) -> Option<Bytes> {
        if !self.body.has_data() {
            return None;
        }
        let mut writer = Writer::new(form, self.body.len());
        self.write_data(&mut writer);
        Some(writer.finish())
    }

    /// Reads a whole message, in JSON or MessagePack.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Message, WireError> {
        let document = Document::read(message)?;
        let raw: RawMessage<'_> = object(&document.json)?;
        let body = Body::read(&document, raw.kind.as_u64(), raw.data)?;
        Ok(Message { uid: text(raw.uid), namespace: text(raw.nsp), body })
    }

    fn write_data(&self, writer: &mut Writer) {
        let emitter_or_server = Keys::of(self.uid.as_deref());
        match &self.body {
            Body::AdapterClose | Body::Heartbeat | Body::InitialHeartbeat => return,
            Body::Broadcast { packet, request_id, opts } => {
                writer.object(2 + usize::from(request_id.is_some()));
                writer.key("packet");
                packet.write(writer);
                write_request_id(writer, request_id.as_ref());
                write_opts(writer, opts, emitter_or_server);
            }
            Body::BroadcastAck { request_id, answer }
            | Body::ServerSideEmitResponse { request_id, answer } => {
                // A key with `undefined` is none, or nil.
                let has_key = answer.arg_count() > 0 || writer.form() == Form::Msgpack;
                writer.object(1 + usize::from(has_key));
                write_request_id(writer, Some(request_id));
                if has_key {
                    writer.key("packet");
                    writer.first_argument(answer);
                }
            }
            Body::BroadcastClientCount { request_id, client_count } => {
                writer.object(2);
                write_request_id(writer, Some(request_id));
                writer.key("clientCount");
                writer.number(*client_count);
            }
            Body::DisconnectSockets { opts, close } => {
                writer.object(2);
                write_opts(writer, opts, Keys::Server);
                writer.key("close");
                writer.bool(*close);
            }
            Body::FetchSockets { opts, request_id } => {
                writer.object(2);
                write_opts(writer, opts, Keys::Server);
                write_request_id(writer, Some(request_id));
            }
            Body::FetchSocketsResponse { request_id, sockets } => {
                writer.object(2);
                write_request_id(writer, Some(request_id));
                writer.key("sockets");
                sockets.write(writer);
            }
            Body::ServerSideEmit { request_id, data } => {
                writer.object(1 + usize::from(request_id.is_some()));
                write_request_id(writer, request_id.as_ref());
                writer.key("packet");
                writer.payload(data);
            }
            Body::SocketsJoin { opts, rooms } | Body::SocketsLeave { opts, rooms } => {
                writer.object(2);
                write_opts(writer, opts, Keys::Server);
                writer.key("rooms");
                writer.texts(rooms);
            }
        }
        writer.end_object();
    }
}

fn write_opts(writer: &mut Writer, opts: &Opts, keys: Keys) {
    writer.key("opts");
    opts.write(writer, keys);
}

fn write_request_id(writer: &mut Writer, request_id: Option<&RequestId>) {
    if let Some(request_id) = request_id {
        writer.key("requestId");
        writer.json(request_id.json(), &[]);
    }
}

impl Body {
    /// The number of its type.
    pub fn number(&self) -> u64 {
        match self {
            Body::InitialHeartbeat => 1,
            Body::Heartbeat => 2,
            Body::Broadcast { .. } => 3,
            Body::SocketsJoin { .. } => 4,
            Body::SocketsLeave { .. } => 5,
            Body::DisconnectSockets { .. } => 6,
            Body::FetchSockets { .. } => 7,
            Body::FetchSocketsResponse { .. } => 8,
            Body::ServerSideEmit { .. } => 9,
            Body::ServerSideEmitResponse { .. } => 10,
            Body::BroadcastClientCount { .. } => 11,
            Body::BroadcastAck { .. } => 12,
            Body::AdapterClose => 13,
        }
    }

    /// Whether it is an answer, which goes to who asked alone.
    pub fn is_response(&self) -> bool {
        matches!(
            self,
            Body::BroadcastAck { .. }
                | Body::BroadcastClientCount { .. }
                | Body::FetchSocketsResponse { .. }
                | Body::ServerSideEmitResponse { .. }
        )
    }

    /// Whether it holds binary values: such a message is written in MessagePack.
    pub fn has_binary(&self) -> bool {
        match self {
            Body::Broadcast { packet, .. } => !packet.data.attachments().is_empty(),
            Body::BroadcastAck { answer, .. } | Body::ServerSideEmitResponse { answer, .. } => {
                !answer.attachments().is_empty()
            }
            Body::FetchSocketsResponse { sockets, .. } => sockets.has_binary(),
            Body::ServerSideEmit { data, .. } => !data.attachments().is_empty(),
            _ => false,
        }
    }

    fn has_data(&self) -> bool {
        !matches!(self, Body::AdapterClose | Body::Heartbeat | Body::InitialHeartbeat)
    }

    /// How long it is, about.
    fn len(&self) -> usize {
        match self {
            Body::Broadcast { packet, .. } => packet.len(),
            Body::BroadcastAck { answer, .. } | Body::ServerSideEmitResponse { answer, .. } => {
                answer.json().len()
            }
            Body::FetchSocketsResponse { sockets, .. } => sockets.len(),
            Body::ServerSideEmit { data, .. } => data.json().len(),
            _ => 0,
        }
    }

    fn read(
        document: &Document,
        number: Option<u64>,
        data: Option<Object<RawData<'_>>>,
    ) -> Result<Body, WireError> {
        match number {
            Some(1) => return Ok(Body::InitialHeartbeat),
            Some(2) => return Ok(Body::Heartbeat),
            Some(3..=12) => {}
            Some(13) => return Ok(Body::AdapterClose),
            _ => return Err(WireError::UnknownType),
        }
        let Object(data) = data.ok_or(WireError::missing("data"))?;
        let id = data.request_id.map(RequestId::read);
        let request_id = id.clone().ok_or(WireError::missing("requestId"));
        let opts = Opts::read(data.opts);
        let rooms = data.rooms.map(OneOrSeveral::names).ok_or(WireError::missing("rooms"));
        Ok(match number {
            Some(3) => {
                let packet = EventPacket::read(document, data.packet)?;
                Body::Broadcast { packet, request_id: id, opts: opts? }
            }
            Some(4) => Body::SocketsJoin { opts: opts?, rooms: rooms? },
            Some(5) => Body::SocketsLeave { opts: opts?, rooms: rooms? },
            Some(6) => Body::DisconnectSockets { opts: opts?, close: is_truthy(&data.close) },
            Some(7) => Body::FetchSockets { opts: opts?, request_id: request_id? },
            Some(8) => {
                let sockets = data.sockets.ok_or(WireError::missing("sockets"))?;
                let sockets = Sockets::read(document, sockets)?;
                Body::FetchSocketsResponse { request_id: request_id?, sockets }
            }
            Some(9) => Body::ServerSideEmit {
                request_id: id,
                data: document.server_event(data.packet.ok_or(WireError::missing("packet"))?)?,
            },
            Some(10) => {
                Body::ServerSideEmitResponse { request_id: request_id?, answer: document.value(data.packet)? }
            }
            Some(11) => {
                let client_count = data.client_count.as_u64().ok_or(WireError::missing("clientCount"))?;
                Body::BroadcastClientCount { request_id: request_id?, client_count }
            }
            _ => Body::BroadcastAck { request_id: request_id?, answer: document.value(data.packet)? },
        })
    }

    /// Reads `data` that came apart from its type; empty if there was none.
    pub(super) fn read_data(number: Option<u64>, document: &Document) -> Result<Body, WireError> {
        let data = match &*document.json {
            "" => None,
            json => Some(serde_json::from_str(json)?),
        };
        Body::read(document, number, data)
    }
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow)]
    data: Option<Object<RawData<'a>>>,
    #[serde(default)]
    uid: Value,
    #[serde(default)]
    nsp: Value,
}

/// The keys of all types: which one it is may come later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawData<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
    opts: Option<Object<RawOpts>>,
    rooms: Option<OneOrSeveral>,
    #[serde(default)]
    close: Value,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(default)]
    client_count: Value,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::cluster::{Flags, SocketDetails};
    use crate::proto::socketio::{Args, Map};

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "[a-zé\"]{0,40}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|data| Value::from(Bytes::from(data))),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec(("[a-c]{0,2}", inner), 0..5)
                    .prop_map(|members| Value::from(members.into_iter().collect::<Map>())),
            ]
        })
    }

    fn event() -> impl Strategy<Value = Payload> {
        ("[a-z]{3}", proptest::collection::vec(value(), 0..3))
            .prop_map(|(name, args)| Payload::event(&name, &Args(args)).unwrap())
    }

    fn answer() -> impl Strategy<Value = Payload> {
        value().prop_map(|value| Payload::ack(&(value,)).unwrap())
    }

    fn rooms() -> impl Strategy<Value = Vec<ByteString>> {
        proptest::collection::vec(".{0,30}".prop_map(ByteString::from), 0..20)
    }

    fn opts() -> impl Strategy<Value = Opts> {
        let flags = (any::<bool>(), any::<Option<u32>>(), any::<bool>(), any::<Option<bool>>());
        let flags = flags.prop_map(|(expect_single_response, timeout, volatile, compress)| Flags {
            expect_single_response,
            timeout: timeout.map(u64::from),
            volatile,
            compress,
        });
        (rooms(), rooms(), flags).prop_map(|(rooms, except, flags)| Opts { rooms, except, flags })
    }

    fn request_id() -> impl Strategy<Value = RequestId> {
        "[A-Za-z0-9_-]{6}".prop_map(|id| RequestId::new(&id))
    }

    fn sockets() -> impl Strategy<Value = Sockets> {
        #[derive(serde::Serialize)]
        struct Details {
            id: String,
            handshake: Value,
            rooms: Vec<String>,
            data: Value,
        }
        let details = ("[a-z]{20}", value(), proptest::collection::vec("[a-z]{0,3}", 0..3), value());
        proptest::collection::vec(details, 0..3).prop_map(|list| {
            let list: Vec<Details> = list
                .into_iter()
                .map(|(id, handshake, rooms, data)| Details { id, handshake, rooms, data })
                .collect();
            Sockets::new(&list).unwrap()
        })
    }

    fn body() -> impl Strategy<Value = Body> {
        let packet = (event(), any::<Option<u32>>())
            .prop_map(|(data, id)| EventPacket { id: id.map(u64::from), ..EventPacket::new(None, data) });
        prop_oneof![
            Just(Body::Heartbeat),
            Just(Body::AdapterClose),
            (packet, proptest::option::of(request_id()), opts())
                .prop_map(|(packet, request_id, opts)| Body::Broadcast { packet, request_id, opts }),
            (opts(), rooms()).prop_map(|(opts, rooms)| Body::SocketsJoin { opts, rooms }),
            (opts(), rooms()).prop_map(|(opts, rooms)| Body::SocketsLeave { opts, rooms }),
            (opts(), any::<bool>()).prop_map(|(opts, close)| Body::DisconnectSockets { opts, close }),
            (opts(), request_id()).prop_map(|(opts, request_id)| Body::FetchSockets { opts, request_id }),
            (request_id(), sockets())
                .prop_map(|(request_id, sockets)| Body::FetchSocketsResponse { request_id, sockets }),
            (proptest::option::of(request_id()), event())
                .prop_map(|(request_id, data)| Body::ServerSideEmit { request_id, data }),
            (request_id(), answer())
                .prop_map(|(request_id, answer)| Body::ServerSideEmitResponse { request_id, answer }),
            (request_id(), any::<u32>()).prop_map(|(request_id, count)| Body::BroadcastClientCount {
                request_id,
                client_count: count.into()
            }),
            (request_id(), answer())
                .prop_map(|(request_id, answer)| Body::BroadcastAck { request_id, answer }),
        ]
    }

    /// The answer, event or sockets as values: floats stand for integers beyond 2⁵³ after `@msgpack`.
    fn values(body: &Body) -> (Vec<Value>, Vec<SocketDetails>) {
        match body {
            Body::Broadcast { packet, .. } => (packet.data.values().unwrap(), vec![]),
            Body::BroadcastAck { answer, .. } | Body::ServerSideEmitResponse { answer, .. } => {
                (answer.values().unwrap(), vec![])
            }
            Body::ServerSideEmit { data, .. } => (data.values().unwrap(), vec![]),
            Body::FetchSocketsResponse { sockets, .. } => (vec![], sockets.details().unwrap()),
            _ => (vec![], vec![]),
        }
    }

    proptest! {
        #[test]
        fn messages_come_back(
            body in body(),
            uid in proptest::option::of("[0-9a-f]{16}|emitter"),
            namespace in proptest::option::of("/[a-z]{0,5}"),
        ) {
            let message =
                Message { uid: uid.map(Into::into), namespace: namespace.map(Into::into), body };
            prop_assert_eq!(&Message::decode(&message.encode(Form::Notepack)).unwrap(), &message);
            if !message.body.has_binary() {
                prop_assert_eq!(&Message::decode(&message.encode(Form::Json)).unwrap(), &message);
            }
            let read = Message::decode(&message.encode(Form::Msgpack)).unwrap();
            prop_assert_eq!(values(&read.body), values(&message.body));
            prop_assert_eq!((&read.uid, &read.namespace), (&message.uid, &message.namespace));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Message::decode(&bytes.into());
        }
    }

    #[test]
    fn undefined_is_no_key_or_nil() {
        let message = |answer: Payload| Message {
            uid: None,
            namespace: None,
            body: Body::BroadcastAck { request_id: RequestId::new("r"), answer },
        };
        let undefined = message(Payload::ack(&()).unwrap());
        let null = message(Payload::ack(&((),)).unwrap());
        assert_eq!(undefined.encode(Form::Json), r#"{"type":12,"data":{"requestId":"r"}}"#);
        assert_eq!(null.encode(Form::Json), r#"{"type":12,"data":{"requestId":"r","packet":null}}"#);
        for form in [Form::Json, Form::Notepack] {
            assert_eq!(Message::decode(&undefined.encode(form)).unwrap(), undefined);
            assert_eq!(Message::decode(&null.encode(form)).unwrap(), null);
        }
        assert_eq!(undefined.encode(Form::Msgpack), null.encode(Form::Msgpack));
    }

    #[test]
    fn a_packet_is_a_slice_of_the_message() {
        let json = r#"{"type":3,"data":{"packet":{"type":2,"data":["e",1]},"opts":{}},"uid":"u","nsp":"/"}"#;
        let bytes = Bytes::from_static(json.as_bytes());
        let Body::Broadcast { packet, .. } = Message::decode(&bytes).unwrap().body else { panic!("type 3") };
        assert_eq!(&**packet.data.json(), r#"["e",1]"#);
        assert!(bytes.as_ptr_range().contains(&packet.data.json().as_ptr()));
    }
}
