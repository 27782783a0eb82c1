//! `Request`: what the servers ask of each other.

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::proto::cluster::document::{Object, is_truthy, object, present, text};
use crate::proto::cluster::opts::{Keys, OneOrSeveral, RawOpts, RoomName};
use crate::proto::cluster::writer::Writer;
use crate::proto::cluster::{Codec, EventPacket, Form, Opts, RequestId, WireError};
use crate::proto::socketio::{ParserError, Payload, Value};

/// A request to the other servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who asks. Emitters, which want no answer, may say nothing.
    pub uid: Option<ByteString>,
    /// What is asked.
    pub body: RequestBody,
}

/// What is asked of the other servers.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBody {
    /// 1: which rooms there are.
    AllRooms {
        /// To be echoed.
        request_id: RequestId,
    },
    /// 7: to broadcast, to say how many clients hear it, and to pass on what they acknowledge with.
    Broadcast {
        /// To be echoed. Who has asked with this id itself ignores the request.
        request_id: RequestId,
        /// The event; its namespace must be said.
        packet: EventPacket,
        /// To whom it goes; the flags are without effect there.
        opts: Opts,
    },
    /// 4: to disconnect sockets.
    Disconnect {
        /// Which.
        opts: Opts,
        /// Whether to close their connections.
        close: bool,
    },
    /// 4, as servers of version 7 ask it: to disconnect a socket. Only the server that has it answers
    /// [`ResponseBody::Done`](super::ResponseBody::Done).
    DisconnectOne {
        /// To be echoed.
        request_id: RequestId,
        /// Which.
        sid: ByteString,
        /// Whether to close its connection.
        close: bool,
    },
    /// 5: which sockets there are, and what is known of them.
    FetchSockets {
        /// To be echoed.
        request_id: RequestId,
        /// Which.
        opts: Opts,
    },
    /// 2: to let sockets join rooms.
    Join {
        /// Which.
        opts: Opts,
        /// The rooms.
        rooms: Vec<ByteString>,
    },
    /// 2, as servers of version 7 ask it: to let a socket join a room. As for [`RequestBody::DisconnectOne`].
    JoinOne {
        /// To be echoed.
        request_id: RequestId,
        /// Which.
        sid: ByteString,
        /// The room.
        room: ByteString,
    },
    /// 3: to let sockets leave rooms.
    Leave {
        /// Which.
        opts: Opts,
        /// The rooms.
        rooms: Vec<ByteString>,
    },
    /// 3, as servers of version 7 ask it: to let a socket leave a room. As for [`RequestBody::DisconnectOne`].
    LeaveOne {
        /// To be echoed.
        request_id: RequestId,
        /// Which.
        sid: ByteString,
        /// The room.
        room: ByteString,
    },
    /// 6: an event for the servers. The sender ignores it.
    ServerSideEmit {
        /// If an answer is wanted.
        request_id: Option<RequestId>,
        /// The name and the arguments.
        data: Payload,
    },
    /// 0, as servers of version 7 ask it: the ids of the sockets.
    Sockets {
        /// To be echoed.
        request_id: RequestId,
        /// Of these rooms; of the whole namespace if there are none.
        rooms: Vec<ByteString>,
    },
}

impl RequestBody {
    /// The id, if an answer is wanted.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            RequestBody::Disconnect { .. } | RequestBody::Join { .. } | RequestBody::Leave { .. } => None,
            RequestBody::ServerSideEmit { request_id, .. } => request_id.as_ref(),
            RequestBody::AllRooms { request_id }
            | RequestBody::Broadcast { request_id, .. }
            | RequestBody::DisconnectOne { request_id, .. }
            | RequestBody::FetchSockets { request_id, .. }
            | RequestBody::JoinOne { request_id, .. }
            | RequestBody::LeaveOne { request_id, .. }
            | RequestBody::Sockets { request_id, .. } => Some(request_id),
        }
    }

    fn number(&self) -> u64 {
        match self {
            RequestBody::Sockets { .. } => 0,
            RequestBody::AllRooms { .. } => 1,
            RequestBody::Join { .. } | RequestBody::JoinOne { .. } => 2,
            RequestBody::Leave { .. } | RequestBody::LeaveOne { .. } => 3,
            RequestBody::Disconnect { .. } | RequestBody::DisconnectOne { .. } => 4,
            RequestBody::FetchSockets { .. } => 5,
            RequestBody::ServerSideEmit { .. } => 6,
            RequestBody::Broadcast { .. } => 7,
        }
    }

    /// How many keys it writes.
    fn keys(&self) -> usize {
        match self {
            RequestBody::AllRooms { .. } => 0,
            RequestBody::FetchSockets { .. }
            | RequestBody::ServerSideEmit { .. }
            | RequestBody::Sockets { .. } => 1,
            RequestBody::Broadcast { .. }
            | RequestBody::Disconnect { .. }
            | RequestBody::DisconnectOne { .. }
            | RequestBody::Join { .. }
            | RequestBody::JoinOne { .. }
            | RequestBody::Leave { .. }
            | RequestBody::LeaveOne { .. } => 2,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            RequestBody::AllRooms { .. } => {}
            RequestBody::Broadcast { packet, opts, .. } => {
                writer.key("packet");
                packet.write(writer);
                writer.key("opts");
                opts.write(writer, Keys::Server);
            }
            RequestBody::Disconnect { opts, close } => {
                writer.key("opts");
                opts.write(writer, Keys::WithoutFlags);
                writer.key("close");
                writer.bool(*close);
            }
            RequestBody::DisconnectOne { sid, close, .. } => {
                writer.key("sid");
                writer.text(sid);
                writer.key("close");
                writer.bool(*close);
            }
            RequestBody::FetchSockets { opts, .. } => {
                writer.key("opts");
                opts.write(writer, Keys::WithoutFlags);
            }
            RequestBody::Join { opts, rooms } | RequestBody::Leave { opts, rooms } => {
                writer.key("opts");
                opts.write(writer, Keys::WithoutFlags);
                writer.key("rooms");
                writer.texts(rooms);
            }
            RequestBody::JoinOne { sid, room, .. } | RequestBody::LeaveOne { sid, room, .. } => {
                writer.key("sid");
                writer.text(sid);
                writer.key("room");
                writer.text(room);
            }
            RequestBody::ServerSideEmit { data, .. } => {
                writer.key("data");
                writer.payload(data);
            }
            RequestBody::Sockets { rooms, .. } => {
                writer.key("rooms");
                writer.texts(rooms);
            }
        }
    }
}

impl Request {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let (form, len) = match &self.body {
            RequestBody::Broadcast { packet, .. } => (Form::Notepack, packet.len()),
            RequestBody::ServerSideEmit { data, .. } => (Form::Json, data.json().len()),
            _ => (Form::Json, 0),
        };
        let mut writer = Writer::new(form, len);
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes it, in the form of this codec if it is a broadcast.
    ///
    /// # Errors
    /// If that is a parser, and it has no form for the message.
    pub fn encode_with(&self, codec: &Codec) -> Result<Bytes, ParserError> {
        match &self.body {
            RequestBody::Broadcast { packet, .. } => codec.encode(&packet.data, |writer| self.write(writer)),
            _ => Ok(self.encode()),
        }
    }

    fn write(&self, writer: &mut Writer) {
        let request_id = self.body.request_id();
        let keys = 1 + usize::from(self.uid.is_some()) + usize::from(request_id.is_some()) + self.body.keys();
        writer.object(keys);
        if let Some(uid) = &self.uid {
            writer.key("uid");
            writer.text(uid);
        }
        if let Some(request_id) = request_id {
            writer.key("requestId");
            writer.json(request_id.json(), &[]);
        }
        writer.key("type");
        writer.number(self.body.number());
        self.body.write(writer);
        writer.end_object();
    }

    /// Reads it, in JSON or MessagePack.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Request, WireError> {
        Request::decode_with(message, &Codec::Msgpack)
    }

    /// Reads it, in JSON or in the form of this codec.
    ///
    /// # Errors
    /// As [`Request::decode`].
    pub fn decode_with(message: &Bytes, codec: &Codec) -> Result<Request, WireError> {
        let document = codec.request_or_answer(message)?;
        let raw: RawRequest<'_> = object(&document.json)?;
        let id = raw.request_id.map(RequestId::read);
        let request_id = id.clone().ok_or(WireError::missing("requestId"));
        let opts = Opts::read(raw.opts);
        let rooms = raw.rooms.map(OneOrSeveral::names);
        let sid = raw.sid.map(|sid| sid.0);
        let room = raw.room.map(|room| room.0).ok_or(WireError::missing("room"));
        let close = is_truthy(&raw.close);
        let body = match (raw.kind.as_u64(), sid) {
            (Some(0), _) => {
                RequestBody::Sockets { request_id: request_id?, rooms: rooms.unwrap_or_default() }
            }
            (Some(1), _) => RequestBody::AllRooms { request_id: request_id? },
            (Some(2), Some(sid)) => RequestBody::JoinOne { request_id: request_id?, sid, room: room? },
            (Some(3), Some(sid)) => RequestBody::LeaveOne { request_id: request_id?, sid, room: room? },
            (Some(4), Some(sid)) => RequestBody::DisconnectOne { request_id: request_id?, sid, close },
            (Some(2), None) => {
                RequestBody::Join { opts: opts?, rooms: rooms.ok_or(WireError::missing("rooms"))? }
            }
            (Some(3), None) => {
                RequestBody::Leave { opts: opts?, rooms: rooms.ok_or(WireError::missing("rooms"))? }
            }
            (Some(4), None) => RequestBody::Disconnect { opts: opts?, close },
            (Some(5), _) => RequestBody::FetchSockets { request_id: request_id?, opts: opts? },
            (Some(6), _) => {
                let data = document.server_event(raw.data.ok_or(WireError::missing("data"))?)?;
                RequestBody::ServerSideEmit { request_id: id, data }
            }
            (Some(7), _) => RequestBody::Broadcast {
                request_id: request_id?,
                packet: EventPacket::read(&document, raw.packet)?,
                opts: opts?,
            },
            _ => return Err(WireError::UnknownType),
        };
        Ok(Request { uid: text(raw.uid), body })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(default)]
    uid: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    kind: Value,
    opts: Option<Object<RawOpts>>,
    rooms: Option<OneOrSeveral>,
    sid: Option<RoomName>,
    room: Option<RoomName>,
    #[serde(default)]
    close: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::classic::{Response, ResponseBody};

    fn decoded(json: &str) -> Result<RequestBody, WireError> {
        Request::decode(&Bytes::copy_from_slice(json.as_bytes())).map(|request| request.body)
    }

    #[test]
    fn what_stops_node_is_an_error() {
        for json in [
            "",
            "\u{c0}",
            "[1]",
            "{}",
            r#"{"type":"1","requestId":"r"}"#,
            r#"{"type":99,"requestId":"r"}"#,
            r#"{"type":5,"requestId":"r"}"#,
            r#"{"type":5,"requestId":"r","opts":null}"#,
            r#"{"type":5,"requestId":"r","opts":{"rooms":[null]}}"#,
            r#"{"type":3,"opts":{}}"#,
            r#"{"type":6,"requestId":"r"}"#,
            r#"{"type":6,"data":[]}"#,
            r#"{"type":6,"data":[null]}"#,
            r#"{"type":7,"requestId":"r","opts":{}}"#,
            r#"{"type":7,"requestId":"r","packet":{"type":2,"data":["e"]}}"#,
            r#"{"type":7,"requestId":"r","opts":{},"packet":{"type":5,"data":["e"]}}"#,
            r#"{"type":7,"requestId":"r","opts":{},"packet":{"type":2,"data":"e"}}"#,
            r#"{"type":7,"requestId":"r","opts":{},"packet":{"type":2,"data":["connect"]}}"#,
            r#"{"type":7,"requestId":"r","opts":{},"packet":{"type":2,"data":["e"],"id":0.5}}"#,
            r#"{"type":1}"#,
        ] {
            assert!(decoded(json).is_err(), "{json}");
        }
        assert!(Request::decode(&Bytes::from_static(b"\xc0")).is_err());
    }

    #[test]
    fn an_id_is_echoed_as_it_came() {
        for id in ["\"r1\"", "null", "7", "\"\\u0041\""] {
            let json = format!(r#"{{"type":6,"requestId":{id},"data":["e"]}}"#);
            let RequestBody::ServerSideEmit { request_id: Some(request_id), .. } = decoded(&json).unwrap()
            else {
                panic!("an answer is wanted");
            };
            let response = Response { request_id, body: ResponseBody::Done };
            assert_eq!(response.encode(), format!(r#"{{"requestId":{id}}}"#));
        }
        assert!(decoded(r#"{"type":6,"data":["e"]}"#).unwrap().request_id().is_none());
    }

    #[test]
    fn rooms_may_come_in_several_ways() {
        let opts = |json: &str| match decoded(&format!(r#"{{"type":4,"opts":{json}}}"#)).unwrap() {
            RequestBody::Disconnect { opts, close: false } => opts,
            other => panic!("{other:?}"),
        };
        assert_eq!(opts("{}"), Opts::default());
        assert_eq!(opts(r#"{"rooms":null,"except":null,"flags":null}"#), Opts::default());
        assert_eq!(opts(r#"{"rooms":[7,"7",-1,1.5,1e21]}"#).rooms, ["7", "7", "-1", "1.5", "1e+21"]);
        let RequestBody::Join { rooms, .. } = decoded(r#"{"type":2,"opts":{},"rooms":"j"}"#).unwrap() else {
            panic!("one room alone");
        };
        assert_eq!(rooms, ["j"]);
    }
}
