//! `Message`: what servers with the sharded or the streams adapter tell each other.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::document::{Document, is_truthy, present, text};
use super::event::RawPacket;
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
        let raw: RawMessage<'_> = serde_json::from_str(&document.json)?;
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

    fn read(document: &Document, number: Option<u64>, data: Option<RawData<'_>>) -> Result<Body, WireError> {
        match number {
            Some(1) => return Ok(Body::InitialHeartbeat),
            Some(2) => return Ok(Body::Heartbeat),
            Some(3..=12) => {}
            Some(13) => return Ok(Body::AdapterClose),
            _ => return Err(WireError::UnknownType),
        }
        let data = data.ok_or(WireError::missing("data"))?;
        let id = data.request_id.map(RequestId::read);
        let request_id = id.clone().ok_or(WireError::missing("requestId"));
        let opts = data.opts.map(Opts::from).ok_or(WireError::missing("opts"));
        let rooms = data.rooms.map(OneOrSeveral::names).ok_or(WireError::missing("rooms"));
        let packet = data.packet.ok_or(WireError::missing("packet"));
        Ok(match number {
            Some(3) => {
                let packet: RawPacket<'_> = serde_json::from_str(packet?.get())?;
                Body::Broadcast { packet: packet.read(document)?, request_id: id, opts: opts? }
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
            Some(9) => Body::ServerSideEmit { request_id: id, data: document.server_event(packet?)? },
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

    /// Reads `data` that came apart from its type.
    pub(super) fn read_data(number: Option<u64>, document: Option<&Document>) -> Result<Body, WireError> {
        match document {
            Some(document) => Body::read(document, number, Some(serde_json::from_str(&document.json)?)),
            None => Body::read(&Document::json(&Bytes::new())?, number, None),
        }
    }
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow)]
    data: Option<RawData<'a>>,
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
    opts: Option<RawOpts>,
    rooms: Option<OneOrSeveral>,
    #[serde(default)]
    close: Value,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(default)]
    client_count: Value,
}
