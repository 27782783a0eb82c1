//! `Document`: a message as JSON text with attachments, whatever it was, and the parts of it that all messages share.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ClusterParser, WireError};
use crate::proto::socketio::{Payload, Value, json_of};

/// A message on its way in.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) json: ByteString,
    attachments: Vec<Bytes>,
}

/// What a message may have in bytes, and what it may become: far more than Node's `maxHttpBufferSize` lets clients send.
const MAX_BYTES: usize = 128 << 20;

impl Document {
    /// "decides by the first byte": JSON begins with a bracket, which is no MessagePack that anybody writes.
    pub(super) fn read(message: &Bytes) -> Result<Document, WireError> {
        match message.first() {
            Some(b'{' | b'[') => Document::json(message),
            _ => Document::msgpack(message),
        }
    }

    pub(super) fn json(message: &Bytes) -> Result<Document, WireError> {
        if message.len() > MAX_BYTES {
            return Err(WireError::TooLarge { limit: MAX_BYTES });
        }
        let json = ByteString::try_from(message.clone())
            .unwrap_or_else(|_| String::from_utf8_lossy(message).into_owned().into());
        Ok(Document { json, attachments: Vec::new() })
    }

    pub(super) fn msgpack(message: &Bytes) -> Result<Document, WireError> {
        if message.len() > MAX_BYTES {
            return Err(WireError::TooLarge { limit: MAX_BYTES });
        }
        let (json, attachments) = json_of(message, MAX_BYTES)?;
        Ok(Document { json, attachments })
    }

    /// What a parser makes of it.
    pub(super) fn parsed(message: &Bytes, parser: &dyn ClusterParser) -> Result<Document, WireError> {
        if message.len() > MAX_BYTES {
            return Err(WireError::TooLarge { limit: MAX_BYTES });
        }
        let value = parser.decode(message).map_err(WireError::parser)?;
        let list = Payload::ack(&(value,)).map_err(WireError::parser)?;
        let attachments = list.attachments().to_vec();
        // The application's own objects may look like placeholders.
        let list = list.with_attachments(attachments, MAX_BYTES);
        let list = list.ok_or(WireError::malformed("an object is taken for a placeholder"))?;
        let json = list.json();
        Ok(Document {
            json: json.slice_ref(&json[1..json.len() - 1]),
            attachments: list.attachments().to_vec(),
        })
    }

    /// The data of a packet for clients: a slice of the document.
    pub(super) fn event(&self, raw: &RawValue) -> Result<Payload, WireError> {
        let payload = Payload::event_from_json(self.slice(raw)).ok_or(WireError::NotAnEvent)?;
        Ok(payload.attach(self.attachments.clone()))
    }

    /// The data of an event for servers, which may have reserved names.
    pub(super) fn server_event(&self, raw: &RawValue) -> Result<Payload, WireError> {
        let payload = Payload::event_of_any_name(self.slice(raw)).filter(|data| data.event_name().is_some());
        Ok(payload.ok_or(WireError::NotAnEvent)?.attach(self.attachments.clone()))
    }

    /// One value, as the one argument of a payload; none if there is none.
    pub(super) fn value(&self, raw: Option<&RawValue>) -> Result<Payload, WireError> {
        let json = format!("[{}]", raw.map_or("", RawValue::get));
        let payload = Payload::ack_from_json(json.into());
        let payload = payload.ok_or(WireError::malformed("a value is nested too deep"))?;
        Ok(payload.attach(self.attachments.clone()))
    }

    fn slice(&self, raw: &RawValue) -> ByteString {
        self.json.slice_ref(raw.get())
    }
}

/// Reads an object.
pub(super) fn object<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, WireError> {
    let Object(object) = serde_json::from_str(json)?;
    Ok(object)
}

/// A struct that is an object for certain: serde would take an array for its values.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(access)).map(Object)
    }
}

/// Reads a value that is there, `null` too; a field without it has the attribute `default`.
pub(super) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A name, or whatever else stands there.
pub(super) fn text(value: Value) -> Option<ByteString> {
    match value {
        Value::String(text) => Some(text.into()),
        _ => None,
    }
}

/// As JavaScript's conditions see it.
pub(super) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != 0.0,
        Value::String(text) => !text.is_empty(),
        Value::Binary(_) | Value::Array(_) | Value::Object(_) => true,
    }
}
