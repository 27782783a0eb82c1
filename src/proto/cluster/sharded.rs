//! The sharded adapter: channels, and which form a [`Message`] has.

use bytes::Bytes;
use bytestring::ByteString;

use super::{Body, Form, Message};

/// Which rooms have a channel of their own. All servers should have the same mode: what one sends to a room's channel, a
/// server that subscribes to none does not hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionMode {
    /// Those that are no socket's id: those whose name is not of 20 characters.
    #[default]
    Dynamic,
    /// All.
    DynamicPrivate,
    /// None.
    Static,
}

/// The channels of one namespace. The streams adapter has them too, but for those of rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    public: String,
    private: String,
}

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel<'a> {
    /// Responses to this server.
    Private,
    /// All that concerns everybody.
    Public,
    /// Broadcasts to this room; the message says who hears.
    Room(&'a str),
}

impl Channels {
    /// `prefix`: Node's option `channelPrefix`, `socket.io` by default; `uid`: that of this server and namespace.
    pub fn new(prefix: &str, namespace: &str, uid: &str) -> Channels {
        let public = format!("{prefix}#{namespace}#");
        Channels { private: format!("{public}{uid}#"), public }
    }

    /// Where requests and most broadcasts go. How many subscribe to it is how many servers there are: to be subscribed to
    /// once.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Where responses to this server go.
    pub fn private(&self) -> &str {
        &self.private
    }

    /// Where responses to another server go.
    pub fn private_of(&self, uid: &str) -> String {
        format!("{}{uid}#", self.public)
    }

    /// The channel of a room; `None` if rooms like this have none.
    pub fn room(&self, mode: SubscriptionMode, room: &str) -> Option<String> {
        let has_channel = match mode {
            SubscriptionMode::Dynamic => room.encode_utf16().count() != SOCKET_ID_LEN,
            SubscriptionMode::DynamicPrivate => true,
            SubscriptionMode::Static => false,
        };
        has_channel.then(|| format!("{}{room}#", self.public))
    }

    /// Where a message goes that is no response.
    pub fn request(&self, mode: SubscriptionMode, body: &Body) -> String {
        let room = match body {
            Body::Broadcast { request_id: None, opts, .. } => opts.only_room(),
            _ => None,
        };
        room.map(ByteString::as_ref)
            .and_then(|room: &str| self.room(mode, room))
            .unwrap_or_else(|| self.public.clone())
    }

    /// What a channel is for; `None` if it is none of this namespace.
    pub fn read<'a>(&self, channel: &'a [u8]) -> Option<Channel<'a>> {
        if channel == self.private.as_bytes() {
            return Some(Channel::Private);
        }
        match channel.strip_prefix(self.public.as_bytes())? {
            [] => Some(Channel::Public),
            [room @ .., b'#'] => std::str::from_utf8(room).ok().map(Channel::Room),
            _ => None,
        }
    }
}

/// The characters of a socket's id.
const SOCKET_ID_LEN: usize = 20;

/// Writes a message as the sharded adapter does: in JSON, or in MessagePack if it holds binary values. Read it by
/// [`Message::decode`].
pub fn encode(message: &Message) -> Bytes {
    message.encode(if message.body.has_binary() { Form::Notepack } else { Form::Json })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::cluster::{EventPacket, Opts, RequestId};
    use crate::proto::socketio::Payload;

    fn broadcast(rooms: &[&str], request_id: Option<RequestId>) -> Body {
        let packet = EventPacket::new(None, Payload::event("e", &()).unwrap());
        let rooms = rooms.iter().map(|&room| room.into()).collect();
        Body::Broadcast { packet, request_id, opts: Opts { rooms, ..Opts::default() } }
    }

    #[test]
    fn the_mode_decides_which_rooms_have_channels() {
        use SubscriptionMode::{Dynamic, DynamicPrivate, Static};
        let channels = Channels::new("socket.io", "/", "0123456789abcdef");
        let id = "d6xoUD2Y5R8qwG91AAAB";
        for (mode, rooms, channel) in [
            (Dynamic, &["r"][..], "socket.io#/#r#"),
            (Dynamic, &[""], "socket.io#/##"),
            (Dynamic, &[id], "socket.io#/#"),
            (Dynamic, &["r", "s"], "socket.io#/#"),
            (Dynamic, &[], "socket.io#/#"),
            (DynamicPrivate, &[id], "socket.io#/#d6xoUD2Y5R8qwG91AAAB#"),
            (Static, &["r"], "socket.io#/#"),
        ] {
            assert_eq!(channels.request(mode, &broadcast(rooms, None)), channel, "{mode:?} {rooms:?}");
            let with_acks = broadcast(rooms, Some(RequestId::new("r")));
            assert_eq!(channels.request(mode, &with_acks), "socket.io#/#");
        }
    }

    #[test]
    fn channels_are_read() {
        let channels = Channels::new("socket.io", "/", "u");
        for (channel, read) in [
            ("socket.io#/#", Some(Channel::Public)),
            ("socket.io#/#u#", Some(Channel::Private)),
            ("socket.io#/#v#", Some(Channel::Room("v"))),
            ("socket.io#/##", Some(Channel::Room(""))),
            ("socket.io#/#v", None),
            ("socket.io#/a#", None),
        ] {
            assert_eq!(channels.read(channel.as_bytes()), read, "{channel}");
        }
        assert_eq!(channels.private_of("v"), "socket.io#/#v#");
    }
}
