//! `RawArgs`: arguments that pass through unread.

use serde::ser::{Error as _, Serialize, SerializeTupleStruct, Serializer};
use serde_json::value::RawValue;

use super::tree::Tree;
use super::{Payload, javascript};

/// All arguments of an event or an acknowledgement, unread, attachments included.
///
/// Emitted, they are again the arguments, written as Node would write them after reading them: numbers, escapes and the order of
/// keys become what `JSON.stringify` makes of them. (Where there are attachments, an unpaired surrogate becomes
/// U+FFFD.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawArgs {
    payload: Payload,
    /// Arguments left out at the front.
    skipped: usize,
}

impl RawArgs {
    pub(super) fn new(payload: Payload) -> RawArgs {
        RawArgs { payload, skipped: 0 }
    }

    /// The same without the first `count` arguments.
    #[must_use]
    pub fn skip(mut self, count: usize) -> RawArgs {
        self.skipped = self.skipped.saturating_add(count).min(self.payload.arg_count());
        self
    }

    /// How many arguments there are.
    pub fn len(&self) -> usize {
        self.payload.arg_count() - self.skipped
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// By this name the serializer of argument lists recognises [`RawArgs`]; to any other it is a sequence of values.
pub(super) const TOKEN: &str = "$ferrio::RawArgs";

impl Serialize for RawArgs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut arguments = serializer.serialize_tuple_struct(TOKEN, self.len())?;
        let attachments = self.payload.attachments();
        for argument in self.payload.raw_arguments().skip(self.skipped) {
            let json = javascript::normalize(argument);
            if attachments.is_empty() {
                let json: &RawValue = serde_json::from_str(&json).map_err(S::Error::custom)?;
                arguments.serialize_field(json)?;
            } else {
                arguments.serialize_field(&Tree::parse(&json, attachments).map_err(S::Error::custom)?)?;
            }
        }
        arguments.end()
    }
}
