//! `RawArgs`: arguments that pass through unread.

use serde::ser::{Error as _, Serialize, SerializeTupleStruct, Serializer};
use serde_json::value::RawValue;

use super::tree::Tree;
use super::{Payload, javascript};

/// All arguments of an event or an acknowledgement, unread, attachments included.
///
/// Emitted, they are again the arguments, written as Node would write them after reading them: numbers, escapes and
/// the order of keys become what `JSON.stringify` makes of them. (Where there are attachments, an unpaired surrogate
/// becomes U+FFFD.)
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
        if attachments.is_empty() {
            for argument in self.payload.raw_arguments().skip(self.skipped) {
                let json = javascript::normalize(argument);
                let json: &RawValue = serde_json::from_str(&json).map_err(S::Error::custom)?;
                arguments.serialize_field(json)?;
            }
        } else {
            for argument in self.payload.readable_arguments().skip(self.skipped) {
                let json = javascript::normalize(argument);
                arguments.serialize_field(&Tree::parse(&json, attachments).map_err(S::Error::custom)?)?;
            }
        }
        arguments.end()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::proto::socketio::{Payload, RawArgs};

    fn received(json: &str, attachments: &[&'static [u8]]) -> RawArgs {
        let attachments = attachments.iter().map(|data| Bytes::from_static(data)).collect();
        let payload = Payload::event_from_json(json.into()).unwrap();
        payload.with_attachments(attachments, 1000).unwrap().raw_args()
    }

    #[track_caller]
    fn check(json: &str, attachments: &[&'static [u8]], expected: &str, expected_attachments: &[&[u8]]) {
        let raw = received(json, attachments);
        let ack = Payload::ack(&raw).unwrap();
        assert_eq!(&**ack.json(), expected);
        assert_eq!(ack.attachments(), expected_attachments);
        assert_eq!(ack.arg_count(), raw.len());
        let event = Payload::event("other", &raw).unwrap();
        let comma = if raw.is_empty() { "" } else { "," };
        assert_eq!(&**event.json(), format!("[\"other\"{comma}{}", &expected[1..]));
        assert_eq!(event.args::<crate::proto::socketio::Args>().unwrap().0, ack.values().unwrap());
    }

    #[test]
    fn arguments_pass_through_as_node_would_write_them() {
        check(r#"["e"]"#, &[], "[]", &[]);
        check(r#"[ "e" , 1.0 , {"b":1,"1":2} , "\ud800" ]"#, &[], r#"[1,{"1":2,"b":1},"\ud800"]"#, &[]);
        check(r#"[7,null]"#, &[], "[null]", &[]);
    }

    #[test]
    fn attachments_pass_through_in_the_order_of_their_placeholders() {
        let at = |num: usize| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
        let (zero, one, two) = (at(0), at(1), at(2));
        check(
            &format!(r#"["e",{one},[{zero}]]"#),
            &[b"a", b"b"],
            &format!("[{zero},[{one}]]"),
            &[b"b", b"a"],
        );
        check(
            &format!(r#"["e",{zero},{zero},{two}]"#),
            &[b"a", b"b", b"c"],
            &format!("[{zero},{one},{two}]"),
            &[b"a", b"a", b"c"],
        );
        check(r#"["e",{"_placeholder":true,"num":0.5}, 1.0]"#, &[b"a"], "[null,1]", &[]);
        check(r#"["e"]"#, &[b"a"], "[]", &[]);
        check(r#"["e","\ud800",1e999]"#, &[b"a"], "[\"\u{fffd}\",null]", &[]);
        check(
            &format!(r#"["e",{{"b":{zero},"1":{one}}}]"#),
            &[b"a", b"b"],
            &format!(r#"[{{"1":{zero},"b":{one}}}]"#),
            &[b"b", b"a"],
        );
    }

    #[test]
    fn within_other_values_and_formats_they_are_a_sequence() {
        let raw = received(r#"["e", 1.0, 2]"#, &[]);
        assert_eq!(serde_json::to_string(&raw).unwrap(), "[1,2]");
        assert_eq!(&**Payload::ack(&(true, &raw)).unwrap().json(), "[true,[1,2]]");
    }

    #[test]
    fn arguments_can_be_left_out_at_the_front() {
        let raw =
            received(r#"["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#, &[b"a", b"b"]);
        let ack = Payload::ack(&raw.clone().skip(1)).unwrap();
        assert_eq!(&**ack.json(), r#"[{"_placeholder":true,"num":0}]"#);
        assert_eq!(ack.attachments(), [&b"a"[..]]);
        assert!(raw.clone().skip(2).is_empty());
        assert!(raw.skip(3).is_empty());
    }
}
