//! The classic adapter: channels, broadcasts, requests and responses.
//!
//! | what | channel (`P` the prefix, `N` the namespace) |
//! |---|---|
//! | broadcast; to one room alone | `P#N#`, `P#N#<room>#`, heard by `PSUBSCRIBE P#N#*` |
//! | request | `P-request#N#` |
//! | response; to one server alone | `P-response#N#`, `P-response#N#<uid>#` |

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::document::{Document, Object, is_truthy, object, present, text};
use super::opts::{Keys, OneOrSeveral, RawOpts, RoomName, names};
use super::writer::Writer;
use super::{EventPacket, Form, Opts, RequestId, Sockets, WireError};
use crate::proto::socketio::{Payload, Value};

/// The channels of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    prefix: String,
    namespace: String,
    broadcast: String,
    request: String,
    response: String,
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// Broadcasts that concern everybody. Also those to the room with the empty name.
    Broadcast,
    /// Requests.
    Request,
    /// Responses; to this server alone, or to all of which one waits for it.
    Response,
    /// Broadcasts to this room: not to be read where nobody is in it. [`Opts`] say who hears, the channel is a hint.
    Room(&'a str),
}

impl Channels {
    /// `prefix`: Node's option `key`, `socket.io` by default.
    pub fn new(prefix: &str, namespace: &str) -> Channels {
        Channels {
            broadcast: format!("{prefix}#{namespace}#"),
            request: format!("{prefix}-request#{namespace}#"),
            response: format!("{prefix}-response#{namespace}#"),
            prefix: prefix.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// Where a broadcast goes.
    pub fn broadcast(&self, opts: &Opts) -> String {
        match opts.only_room() {
            Some(room) => format!("{}{room}#", self.broadcast),
            None => self.broadcast.clone(),
        }
    }

    /// What to subscribe to by pattern: all broadcasts. Unlike Node's, it matches nothing else.
    pub fn broadcast_pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.broadcast.len() + 1);
        for c in self.broadcast.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }

    /// Where requests go. How many subscribe to it is how many servers there are: to be subscribed to once.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Where responses go.
    pub fn response(&self) -> &str {
        &self.response
    }

    /// Where responses to this server alone go. To be subscribed to always: others decide which they use.
    pub fn private_response(&self, uid: &str) -> String {
        format!("{}{uid}#", self.response)
    }

    /// What a channel is for; `None` if it is none of this namespace.
    pub fn read<'a>(&self, channel: &'a [u8]) -> Option<Channel<'a>> {
        if let Some(rest) = channel.strip_prefix(self.broadcast.as_bytes()) {
            let room = match rest {
                [] => return Some(Channel::Broadcast),
                [room @ .., _] => std::str::from_utf8(room).ok()?,
            };
            return Some(if room.is_empty() { Channel::Broadcast } else { Channel::Room(room) });
        }
        if channel == self.request.as_bytes() {
            return Some(Channel::Request);
        }
        channel.starts_with(self.response.as_bytes()).then_some(Channel::Response)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The prefix.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// A broadcast without acknowledgements: `[uid, packet, opts]` in MessagePack.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// Who sent it; `None` if that is no text. To be dropped if it is one's own.
    pub uid: Option<ByteString>,
    /// The event. To be dropped if it is of another namespace; none said is `/`.
    pub packet: EventPacket,
    /// To whom it goes.
    pub opts: Opts,
}

impl Broadcast {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(Form::Notepack, self.packet.len());
        writer.array(3);
        match &self.uid {
            Some(uid) => writer.text(uid),
            None => writer.nil(),
        }
        self.packet.write(&mut writer);
        self.opts.write(&mut writer, Keys::of(self.uid.as_deref()));
        writer.end_array();
        writer.finish()
    }

    /// Reads it; in JSON too, as servers with the option `parser` may send it.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Broadcast, WireError> {
        let document = Document::read(message)?;
        let BroadcastParts(uid, packet, opts) = serde_json::from_str(&document.json)?;
        Ok(Broadcast {
            uid: text(uid),
            packet: EventPacket::read(&document, Some(packet))?,
            opts: Opts::read(Some(opts))?,
        })
    }
}

/// What a broadcast consists of; Node does not look at what follows.
struct BroadcastParts<'a>(Value, &'a RawValue, Object<RawOpts>);

impl<'de> Deserialize<'de> for BroadcastParts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BroadcastParts<'de>, D::Error> {
        deserializer.deserialize_seq(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = BroadcastParts<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[uid, packet, opts]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<BroadcastParts<'de>, A::Error> {
        let too_short = |len| A::Error::invalid_length(len, &self);
        let uid = access.next_element()?.ok_or_else(|| too_short(0))?;
        let packet = access.next_element()?.ok_or_else(|| too_short(1))?;
        let opts = access.next_element()?.ok_or_else(|| too_short(2))?;
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok(BroadcastParts(uid, packet, opts))
    }
}

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
    /// [`ResponseBody::Done`].
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
        let request_id = self.body.request_id();
        let mut writer = Writer::new(form, len);
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
        self.body.write(&mut writer);
        writer.end_object();
        writer.finish()
    }

    /// Reads it, in JSON or MessagePack.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Request, WireError> {
        let document = Document::read(message)?;
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

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// That of the request.
    pub request_id: RequestId,
    /// The answer.
    pub body: ResponseBody,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// To 7: what one client acknowledged with. Its first argument; none is `undefined`.
    Ack(Payload),
    /// To 7, before all [`ResponseBody::Ack`], once: how many clients were asked.
    ClientCount(u64),
    /// To the requests of servers of version 7 for one socket.
    Done,
    /// To 1: rooms, those with the ids of sockets among them.
    Rooms(Vec<ByteString>),
    /// To 6: what a listener answered. Its first argument; none is `undefined`. Always to all servers.
    ServerSideEmit(Payload),
    /// To 0 with ids, to 5 with all that is known.
    Sockets(Sockets),
}

impl Response {
    /// Writes it.
    pub fn encode(&self) -> Bytes {
        let (form, len) = match &self.body {
            ResponseBody::Ack(answer) => (Form::Notepack, answer.json().len()),
            ResponseBody::ServerSideEmit(answer) => (Form::Json, answer.json().len()),
            ResponseBody::Sockets(sockets) => (Form::Json, sockets.len()),
            _ => (Form::Json, 0),
        };
        let mut writer = Writer::new(form, len);
        let (number, key) = match &self.body {
            ResponseBody::Ack(answer) => (Some(9), (answer.arg_count() > 0).then_some("packet")),
            ResponseBody::ClientCount(_) => (Some(8), Some("clientCount")),
            ResponseBody::Done => (None, None),
            ResponseBody::Rooms(_) => (None, Some("rooms")),
            ResponseBody::ServerSideEmit(answer) => (Some(6), (answer.arg_count() > 0).then_some("data")),
            ResponseBody::Sockets(_) => (None, Some("sockets")),
        };
        writer.object(1 + usize::from(number.is_some()) + usize::from(key.is_some()));
        if let Some(number) = number {
            writer.key("type");
            writer.number(number);
        }
        writer.key("requestId");
        writer.json(self.request_id.json(), &[]);
        if let Some(key) = key {
            writer.key(key);
            match &self.body {
                ResponseBody::Ack(answer) | ResponseBody::ServerSideEmit(answer) => {
                    writer.first_argument(answer);
                }
                ResponseBody::ClientCount(count) => writer.number(*count),
                ResponseBody::Done => {}
                ResponseBody::Rooms(rooms) => writer.texts(rooms),
                ResponseBody::Sockets(sockets) => sockets.write(&mut writer),
            }
        }
        writer.end_object();
        writer.finish()
    }

    /// Reads it, in JSON or MessagePack.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Response, WireError> {
        let document = Document::read(message)?;
        let raw: RawResponse<'_> = object(&document.json)?;
        let request_id = raw.request_id.map(RequestId::read).ok_or(WireError::missing("requestId"))?;
        let body = match raw.kind.as_u64() {
            Some(6) => ResponseBody::ServerSideEmit(document.value(raw.data)?),
            Some(8) => {
                let count = raw.client_count.as_u64();
                ResponseBody::ClientCount(count.ok_or(WireError::missing("clientCount"))?)
            }
            Some(9) => ResponseBody::Ack(document.value(raw.packet)?),
            _ => match (raw.sockets, raw.rooms) {
                (Some(sockets), _) => ResponseBody::Sockets(Sockets::read(&document, sockets)?),
                (None, Some(rooms)) => ResponseBody::Rooms(names(rooms)),
                (None, None) => ResponseBody::Done,
            },
        };
        Ok(Response { request_id, body })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawResponse<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    request_id: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    client_count: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    packet: Option<&'a RawValue>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    rooms: Option<Vec<RoomName>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_built_and_read() {
        let channels = Channels::new("socket.io", "/a*b[");
        let to = |rooms: &[&str]| {
            let rooms = rooms.iter().map(|&room| room.into()).collect();
            channels.broadcast(&Opts { rooms, ..Opts::default() })
        };
        assert_eq!(to(&[]), "socket.io#/a*b[#");
        assert_eq!(to(&["r"]), "socket.io#/a*b[#r#");
        assert_eq!(to(&["r", "r"]), "socket.io#/a*b[#r#");
        assert_eq!(to(&["r", "s"]), "socket.io#/a*b[#");
        assert_eq!(to(&[""]), "socket.io#/a*b[##");
        assert_eq!(channels.broadcast_pattern(), r"socket.io#/a\*b\[#*");
        assert_eq!(channels.request(), "socket.io-request#/a*b[#");
        assert_eq!(channels.private_response("u"), "socket.io-response#/a*b[#u#");

        let channels = Channels::new("socket.io", "/");
        for (channel, read) in [
            ("socket.io#/#", Some(Channel::Broadcast)),
            ("socket.io#/##", Some(Channel::Broadcast)),
            ("socket.io#/#a#b#", Some(Channel::Room("a#b"))),
            ("socket.io#/#room1", Some(Channel::Room("room"))),
            ("socket.io-request#/#", Some(Channel::Request)),
            ("socket.io-response#/#", Some(Channel::Response)),
            ("socket.io-response#/#uid#", Some(Channel::Response)),
            ("socket.io-request#/#uid#", None),
            ("socket.io#/a#", None),
            ("other#/#", None),
        ] {
            assert_eq!(channels.read(channel.as_bytes()), read, "{channel}");
        }
        assert_eq!(channels.read(b"socket.io#/#\xff#"), None);
    }

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

    #[test]
    fn a_broadcast_shares_the_bytes_of_the_message() {
        let data = Payload::event("e", &(1, Bytes::from_static(b"abc"))).unwrap();
        let broadcast = Broadcast {
            uid: Some("WT-Fwa".into()),
            packet: EventPacket::new(Some("/".into()), data.clone()),
            opts: Opts::default(),
        };
        let message = broadcast.encode();
        let read = Broadcast::decode(&message).unwrap();
        assert_eq!(read, broadcast);
        assert!(message.as_ptr_range().contains(&read.packet.data.attachments()[0].as_ptr()));
    }
}
