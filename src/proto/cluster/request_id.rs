//! `RequestId`: by what an answer is matched with its question.

use std::fmt;

use bytestring::ByteString;
use serde_json::value::RawValue;

/// The id of a question. It is echoed byte for byte, whatever JSON value it is: Node asks with strings, and takes a `null`
/// for an id too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// JSON text.
    json: ByteString,
}

impl RequestId {
    /// Makes one for a question of our own: 6 characters of `A-Za-z0-9-_` for the classic adapter, 16 lower-case hex digits
    /// for the others.
    pub fn new(id: &str) -> RequestId {
        RequestId { json: serde_json::to_string(id).expect("a text has a JSON form").into() }
    }

    /// The JSON text.
    pub(super) fn json(&self) -> &str {
        &self.json
    }

    /// A copy: an id is kept longer than the message.
    pub(super) fn read(raw: &RawValue) -> RequestId {
        RequestId { json: raw.get().to_owned().into() }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json.trim_matches('"'))
    }
}
