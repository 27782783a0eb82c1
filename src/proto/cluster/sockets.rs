//! `Sockets`: what servers tell each other of their sockets.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::WireError;
use super::document::Document;
use super::opts::{RoomName, names};
use super::writer::Writer;
use crate::proto::socketio::{ArgsError, EncodeError, Payload, Value};
use bytestring::ByteString;

/// The sockets in an answer, unread.
#[derive(Clone, Debug, PartialEq)]
pub struct Sockets {
    /// Its one argument is the list.
    list: Payload,
}

/// A socket of another server.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketDetails {
    /// The public id.
    pub id: ByteString,
    /// What the socket came with: Node's `socket.handshake`.
    pub handshake: Value,
    /// The rooms it is in, its id among them.
    pub rooms: Vec<ByteString>,
    /// Node's `socket.data`, an object usually.
    pub data: Value,
}

impl Sockets {
    /// Makes the list of an answer: of ids (texts), or of what serializes as `{id,handshake,rooms,data}`.
    ///
    /// # Errors
    /// If one of them cannot be serialized.
    pub fn new<T: Serialize>(sockets: &[T]) -> Result<Sockets, EncodeError> {
        Ok(Sockets { list: Payload::ack(&(sockets,))? })
    }

    /// Reads what is told of each socket.
    ///
    /// # Errors
    /// If an entry is no object with an id.
    pub fn details(&self) -> Result<Vec<SocketDetails>, ArgsError> {
        let (entries,) = self.list.args::<(Vec<RawDetails>,)>()?;
        Ok(entries.into_iter().map(RawDetails::details).collect())
    }

    /// Reads the ids, where the answer consists of ids.
    ///
    /// # Errors
    /// If an entry is no text.
    pub fn ids(&self) -> Result<Vec<String>, ArgsError> {
        let (ids,) = self.list.args::<(Vec<String>,)>()?;
        Ok(ids)
    }

    pub(super) fn read(document: &Document, raw: &RawValue) -> Result<Sockets, WireError> {
        if !raw.get().starts_with('[') {
            return Err(WireError::malformed("the sockets are no array"));
        }
        Ok(Sockets { list: document.value(Some(raw))? })
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.first_argument(&self.list);
    }

    pub(super) fn has_binary(&self) -> bool {
        !self.list.attachments().is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.json().len()
    }
}

#[derive(Deserialize)]
struct RawDetails {
    id: RoomName,
    #[serde(default)]
    handshake: Value,
    rooms: Option<Vec<RoomName>>,
    #[serde(default)]
    data: Value,
}

impl RawDetails {
    fn details(self) -> SocketDetails {
        let RawDetails { id, handshake, rooms, data } = self;
        SocketDetails { id: id.0, handshake, rooms: names(rooms.unwrap_or_default()), data }
    }
}
