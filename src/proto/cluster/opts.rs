//! `Opts`: to whom a message goes.

use bytestring::ByteString;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::document::{Object, is_truthy};
use super::writer::Writer;
use super::{EMITTER_UID, WireError};
use crate::proto::socketio::Value;

/// To whom a message goes, and how: `{rooms,except,flags}`.
///
/// Rooms are texts. A number, which Node keeps apart from the text of its digits, is read as that text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opts {
    /// The sockets of any of these rooms; of the whole namespace if there are none. Each room once.
    pub rooms: Vec<ByteString>,
    /// But not those of any of these rooms.
    pub except: Vec<ByteString>,
    /// How it is sent.
    pub flags: Flags,
}

/// How a broadcast is sent. Written in the order of these fields: Node has the order of the calls, and reads any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Set by Node's `RemoteSocket`; means nothing to who receives it.
    pub expect_single_response: bool,
    /// How long acknowledgements are waited for, in milliseconds; means nothing to who receives it.
    pub timeout: Option<u64>,
    /// To be dropped for clients that are not ready to receive.
    pub volatile: bool,
    /// Whether to compress.
    pub compress: Option<bool>,
}

/// Which keys there are, and in what order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// `rooms,flags,except`
    Emitter,
    /// `rooms,except,flags`
    Server,
    /// `rooms,except`
    WithoutFlags,
}

impl Keys {
    /// Those of a broadcast by this sender.
    pub(super) fn of(uid: Option<&str>) -> Keys {
        if uid == Some(EMITTER_UID) { Keys::Emitter } else { Keys::Server }
    }
}

impl Opts {
    /// Whether a socket with these rooms is among those to whom the message goes.
    pub fn includes(&self, is_in: impl Fn(&str) -> bool) -> bool {
        let any = |rooms: &[ByteString]| rooms.iter().any(|room| is_in(room));
        (self.rooms.is_empty() || any(&self.rooms)) && !any(&self.except)
    }

    /// The room, if there is exactly one.
    pub(super) fn only_room(&self) -> Option<&ByteString> {
        let (first, others) = self.rooms.split_first()?;
        others.iter().all(|room| room == first).then_some(first)
    }

    pub(super) fn write(&self, writer: &mut Writer, keys: Keys) {
        writer.object(if keys == Keys::WithoutFlags { 2 } else { 3 });
        writer.key("rooms");
        writer.texts(&self.rooms);
        if keys == Keys::Emitter {
            self.flags.write(writer);
        }
        writer.key("except");
        writer.texts(&self.except);
        if keys == Keys::Server {
            self.flags.write(writer);
        }
        writer.end_object();
    }
}

impl Flags {
    fn write(self, writer: &mut Writer) {
        writer.key("flags");
        writer.object(
            usize::from(self.expect_single_response)
                + usize::from(self.timeout.is_some())
                + usize::from(self.volatile)
                + usize::from(self.compress.is_some()),
        );
        if self.expect_single_response {
            writer.key("expectSingleResponse");
            writer.bool(true);
        }
        if let Some(timeout) = self.timeout {
            writer.key("timeout");
            writer.number(timeout);
        }
        if self.volatile {
            writer.key("volatile");
            writer.bool(true);
        }
        if let Some(compress) = self.compress {
            writer.key("compress");
            writer.bool(compress);
        }
        writer.end_object();
    }
}

/// [`Opts`] as they come: everything may be missing, or null.
#[derive(Deserialize)]
pub(super) struct RawOpts {
    rooms: Option<Vec<RoomName>>,
    except: Option<Vec<RoomName>>,
    flags: Option<Object<RawFlags>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawFlags {
    expect_single_response: Value,
    timeout: Value,
    volatile: Value,
    compress: Value,
}

impl Opts {
    pub(super) fn read(raw: Option<Object<RawOpts>>) -> Result<Opts, WireError> {
        let Object(raw) = raw.ok_or(WireError::missing("opts"))?;
        let flags = raw.flags.map_or_else(RawFlags::default, |Object(flags)| flags);
        Ok(Opts {
            rooms: names(raw.rooms.unwrap_or_default()),
            except: names(raw.except.unwrap_or_default()),
            flags: Flags {
                expect_single_response: is_truthy(&flags.expect_single_response),
                timeout: flags.timeout.as_u64(),
                volatile: is_truthy(&flags.volatile),
                compress: flags.compress.as_bool(),
            },
        })
    }
}

pub(super) fn names(names: Vec<RoomName>) -> Vec<ByteString> {
    names.into_iter().map(|name| name.0).collect()
}

/// The name of a room: a text, or a number.
pub(super) struct RoomName(pub(super) ByteString);

impl<'de> Deserialize<'de> for RoomName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RoomName, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = RoomName;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a room: a string or a number")
    }

    fn visit_str<E>(self, name: &str) -> Result<RoomName, E> {
        Ok(RoomName(name.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<RoomName, E> {
        Ok(RoomName(number.to_string().into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RoomName, E> {
        Ok(RoomName(number.to_string().into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<RoomName, E> {
        Ok(RoomName(ryu_js::Buffer::new().format(number).into()))
    }
}

/// Rooms to join or leave: Node accepts one alone, too.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrSeveral {
    Several(Vec<RoomName>),
    One(RoomName),
}

impl OneOrSeveral {
    pub(super) fn names(self) -> Vec<ByteString> {
        match self {
            OneOrSeveral::One(name) => vec![name.0],
            OneOrSeveral::Several(several) => names(several),
        }
    }
}
