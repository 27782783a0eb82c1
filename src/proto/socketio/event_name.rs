//! Names of events: text or number, and the reserved ones.

use std::borrow::Cow;
use std::fmt;

use super::javascript::{self, LoneSurrogates};

/// The name of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventName<'a> {
    /// The usual one.
    Text(Cow<'a, str>),
    /// A number, which is legal too.
    Number(f64),
}

impl<'a> EventName<'a> {
    /// The name by which handlers are looked up: a number is written as JavaScript does.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            EventName::Text(text) => text,
            EventName::Number(number) => javascript::number_to_string(number).into(),
        }
    }
}

impl fmt::Display for EventName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventName::Text(text) => f.write_str(text),
            EventName::Number(number) => f.write_str(&javascript::number_to_string(*number)),
        }
    }
}

/// Event names that Socket.IO keeps for itself; `connection`, `error` and the empty name are not among them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether Socket.IO keeps this name for itself.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// The text of a JSON string; unpaired surrogates are U+FFFD.
pub(in crate::proto) fn string_text(json: &str) -> Cow<'_, str> {
    let inner = &json[1..json.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let readable = javascript::rewrite(json, LoneSurrogates::Replace);
    Cow::Owned(serde_json::from_str(&readable).unwrap_or_default())
}
