//! `EventPacket`: the packet of a broadcast.

use bytestring::ByteString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::WireError;
use super::document::{Document, object, present, text};
use super::writer::Writer;
use crate::proto::socketio::{Payload, Value};

/// An event for clients: `{type:2,data[,id][,nsp]}`. It is of type 2 with binary values too; each server writes to its
/// clients as they need it.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPacket {
    /// The name and the arguments.
    pub data: Payload,
    /// The acknowledgement id: only where a server with connection state recovery emits to one socket.
    pub id: Option<u64>,
    /// The namespace. The classic adapter and the emitters say it, a server's [`Message`](super::Message) does not.
    pub namespace: Option<ByteString>,
}

impl EventPacket {
    /// Makes one without id.
    pub fn new(namespace: Option<ByteString>, data: Payload) -> EventPacket {
        EventPacket { data, id: None, namespace }
    }

    pub(super) fn read(document: &Document, raw: Option<&RawValue>) -> Result<EventPacket, WireError> {
        let raw = raw.ok_or(WireError::missing("packet"))?;
        object::<RawPacket<'_>>(raw.get())?.read(document)
    }

    /// How long it is, about.
    pub(super) fn len(&self) -> usize {
        self.data.json().len() + self.data.attachments().iter().map(|data| data.len()).sum::<usize>()
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        debug_assert!(self.data.event_name().is_some(), "clients close at data without a name");
        writer.object(2 + usize::from(self.id.is_some()) + usize::from(self.namespace.is_some()));
        writer.key("type");
        writer.number(EVENT);
        writer.key("data");
        writer.payload(&self.data);
        if let Some(id) = self.id {
            writer.key("id");
            writer.number(id);
        }
        if let Some(namespace) = &self.namespace {
            writer.key("nsp");
            writer.text(namespace);
        }
        writer.end_object();
    }
}

const EVENT: u64 = 2;

/// An [`EventPacket`] whose data is still unread.
#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    nsp: Value,
}

impl RawPacket<'_> {
    fn read(self, document: &Document) -> Result<EventPacket, WireError> {
        if self.kind.as_u64() != Some(EVENT) {
            return Err(WireError::NotAnEvent);
        }
        let id = match &self.id {
            Value::Null => None,
            id => Some(id.as_u64().ok_or(WireError::malformed("the id is no whole number"))?),
        };
        let data = document.event(self.data.ok_or(WireError::missing("data"))?)?;
        Ok(EventPacket { data, id, namespace: text(self.nsp) })
    }
}
