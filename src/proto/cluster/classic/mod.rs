//! The classic adapter: channels, broadcasts, requests and responses.
//!
//! | what | channel (`P` the prefix, `N` the namespace) |
//! |---|---|
//! | broadcast; to one room alone | `P#N#`, `P#N#<room>#`, heard by `PSUBSCRIBE P#N#*` |
//! | request | `P-request#N#` |
//! | response; to one server alone | `P-response#N#`, `P-response#N#<uid>#` |

mod request;
mod response;

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use self::request::{Request, RequestBody};
pub use self::response::{Response, ResponseBody};
use super::document::{Object, text};
use super::opts::{Keys, RawOpts};
use super::writer::Writer;
use super::{Codec, EventPacket, Form, Opts, WireError};
use crate::proto::socketio::{ParserError, Value};

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
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes it in the form of this codec.
    ///
    /// # Errors
    /// If that is a parser, and it has no form for the message.
    pub fn encode_with(&self, codec: &Codec) -> Result<Bytes, ParserError> {
        codec.encode(&self.packet.data, |writer| self.write(writer))
    }

    fn write(&self, writer: &mut Writer) {
        writer.array(3);
        writer.element();
        match &self.uid {
            Some(uid) => writer.text(uid),
            None => writer.nil(),
        }
        writer.element();
        self.packet.write(writer);
        writer.element();
        self.opts.write(writer, Keys::of(self.uid.as_deref()));
        writer.end_array();
    }

    /// Reads it; in JSON too, as servers with the option `parser` may send it.
    ///
    /// # Errors
    /// If it is not what Node's servers would make sense of.
    pub fn decode(message: &Bytes) -> Result<Broadcast, WireError> {
        Broadcast::decode_with(message, &Codec::Msgpack)
    }

    /// Reads it in the form of this codec.
    ///
    /// # Errors
    /// As [`Broadcast::decode`].
    pub fn decode_with(message: &Bytes, codec: &Codec) -> Result<Broadcast, WireError> {
        let document = codec.event(message)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::socketio::Payload;

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
