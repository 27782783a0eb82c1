//! Reading the arguments of a packet as what the user asks for.

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::error::{ArgsError, JsonError};
use super::layout::RawArguments;
use super::payload::Payload;
use super::tree::Tree;
use super::value;

/// The argument list, as a deserializer: a tuple reads several arguments, `()` none, anything else the first.
#[derive(Debug)]
pub(super) struct ArgumentsReader<'a> {
    arguments: RawArguments<'a>,
    attachments: &'a [Bytes],
    index: usize,
}

impl<'a> ArgumentsReader<'a> {
    pub(super) fn new(payload: &'a Payload) -> ArgumentsReader<'a> {
        ArgumentsReader {
            arguments: payload.readable_arguments(),
            attachments: payload.attachments(),
            index: 0,
        }
    }

    fn next(&mut self) -> Argument<'a> {
        let argument =
            Argument { index: self.index, json: self.arguments.next(), attachments: self.attachments };
        self.index += 1;
        argument
    }
}

/// Any type but tuples and `()`.
macro_rules! first_argument {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'a>>(mut self, $($name: $type,)* visitor: V) -> Result<V::Value, ArgsError> {
            self.next().$method($($name,)* visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for ArgumentsReader<'a> {
    type Error = ArgsError;

    fn deserialize_tuple<V: Visitor<'a>>(self, len: usize, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_seq(Several { left: len, reader: self })
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        mut self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ArgsError> {
        if name == value::ALL_ARGUMENTS {
            return visitor.visit_seq(Several { left: self.arguments.left(), reader: self });
        }
        self.next().deserialize_tuple_struct(name, len, visitor)
    }

    first_argument! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf()
        deserialize_option()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }
}

/// The arguments one after the other, as many as are wanted.
struct Several<'a> {
    reader: ArgumentsReader<'a>,
    left: usize,
}

impl<'a> SeqAccess<'a> for Several<'a> {
    type Error = ArgsError;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, ArgsError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.reader.next()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// One argument, or that it is missing.
struct Argument<'a> {
    index: usize,
    json: Option<&'a str>,
    attachments: &'a [Bytes],
}

macro_rules! read_argument {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'a>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, ArgsError> {
            let json = self.json.ok_or(ArgsError::Missing { index: self.index })?;
            let value = if self.attachments.is_empty() {
                serde_json::Deserializer::from_str(json).$method($($name,)* visitor)
            } else {
                Tree::parse(json, self.attachments).and_then(|tree| tree.$method($($name,)* visitor))
            };
            value.map_err(|error| ArgsError::Invalid { index: self.index, reason: JsonError(error) })
        })*
    };
}

impl<'a> Deserializer<'a> for Argument<'a> {
    type Error = ArgsError;

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        if self.json.is_none() {
            return visitor.visit_none();
        }
        let index = self.index;
        let value = if self.attachments.is_empty() {
            serde_json::Deserializer::from_str(self.json.unwrap_or_default()).deserialize_option(visitor)
        } else {
            Tree::parse(self.json.unwrap_or_default(), self.attachments)
                .and_then(|tree| tree.deserialize_option(visitor))
        };
        value.map_err(|error| ArgsError::Invalid { index, reason: JsonError(error) })
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ArgsError> {
        visitor.visit_unit()
    }

    read_argument! {
        deserialize_any()
        deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64()
        deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_map()
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use serde::{Deserialize, Serialize};
    use serde_bytes::ByteBuf;

    use crate::proto::socketio::{Args, Payload, Value};

    fn event(json: &str) -> Payload {
        Payload::event_from_json(json.into()).unwrap()
    }

    fn ack(json: &str, attachments: &[&'static [u8]]) -> Payload {
        let attachments = attachments.iter().map(|data| Bytes::from_static(data)).collect();
        Payload::ack_from_json(json.into()).unwrap().with_attachments(attachments, 1000).unwrap()
    }

    #[track_caller]
    fn error<'a, T: Deserialize<'a> + std::fmt::Debug>(payload: &'a Payload) -> String {
        payload.args::<T>().unwrap_err().to_string()
    }

    #[test]
    fn a_tuple_reads_several_arguments_unit_none_others_the_first() {
        let payload = event(r#" [ "e" , 1 , "b" , [ 2 , 3 ] ] "#);
        assert_eq!(payload.args::<()>().unwrap(), ());
        assert_eq!(payload.args::<u8>().unwrap(), 1);
        assert_eq!(payload.args::<(u8,)>().unwrap(), (1,));
        assert_eq!(payload.args::<(u8, &str)>().unwrap(), (1, "b"));
        assert_eq!(payload.args::<(u8, String, (u8, u8))>().unwrap(), (1, "b".into(), (2, 3)));
        assert_eq!(payload.args::<Option<u8>>().unwrap(), Some(1));
        assert_eq!(payload.arg_count(), 3);
        assert_eq!(payload.values().unwrap(), [1.into(), "b".into(), vec![2, 3].into()] as [Value; 3]);
        assert_eq!(event(r#"["e",[1,2]]"#).args::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(event(r#"["e",1,2]"#).args::<[u8; 2]>().unwrap(), [1, 2]);
    }

    #[test]
    fn the_name_is_no_argument_and_an_ack_has_none() {
        assert_eq!(event(r#"["e"]"#).values().unwrap(), []);
        assert_eq!(event(r#"[5,6]"#).args::<u8>().unwrap(), 6);
        assert_eq!(ack("[6]", &[]).args::<u8>().unwrap(), 6);
        assert_eq!(ack("[ ]", &[]).arg_count(), 0);
        assert_eq!(
            Payload::object_from_json(r#"{"a":1}"#.into()).unwrap().args::<HashMap<&str, u8>>().unwrap()["a"],
            1
        );
    }

    #[test]
    fn what_is_missing_is_none_or_an_error_with_its_index() {
        let payload = event(r#"["e",1]"#);
        assert_eq!(payload.args::<(u8, Option<u8>, Option<String>)>().unwrap(), (1, None, None));
        assert_eq!(error::<(u8, String)>(&payload), "argument 1 is missing");
        assert_eq!(error::<u8>(&event(r#"["e"]"#)), "argument 0 is missing");
        assert_eq!(event(r#"["e"]"#).args::<Option<u8>>().unwrap(), None);
        assert_eq!(event(r#"["e",null]"#).args::<Option<u8>>().unwrap(), None);
    }

    #[test]
    fn what_is_something_else_is_named_with_its_index() {
        let payload = event(r#"["e",1,"x"]"#);
        assert_eq!(error::<(u8, u8)>(&payload), "argument 1: invalid type: string \"x\", expected u8");
        assert_eq!(error::<String>(&payload), "argument 0: invalid type: integer `1`, expected a string");
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
        Text(String),
        Binary(ByteBuf),
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    enum Kinds {
        Plain,
        One(Bytes),
        Two(u8, Bytes),
        Named { a: Bytes },
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Inner {
        image: Bytes,
        note: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Flat {
        id: u64,
        #[serde(flatten)]
        inner: Inner,
        #[serde(flatten)]
        rest: HashMap<String, Value>,
    }

    #[track_caller]
    fn check_round_trip<T>(value: &T)
    where
        T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
    {
        let sent = Payload::ack(value).unwrap();
        assert_eq!(&sent.args::<T>().unwrap(), value);
        let received = Payload::ack_from_json(sent.json().clone()).unwrap();
        let received = received.with_attachments(sent.attachments().to_vec(), 1000).unwrap();
        assert_eq!(&received.args::<T>().unwrap(), value);
        assert_eq!(received, sent);
    }

    #[test]
    fn user_types_come_back_with_bytes_in_them() {
        let bytes = Bytes::from_static(b"\0\xff");
        check_round_trip(&(
            Untagged::Number(1),
            Untagged::Binary(ByteBuf::from([0xff])),
            Untagged::Text("x".into()),
        ));
        check_round_trip(&(Kinds::Plain, Kinds::One(bytes.clone())));
        check_round_trip(&[Kinds::Two(1, bytes.clone()), Kinds::Named { a: bytes.clone() }]);
        let inner = Inner { image: bytes.clone(), note: None };
        let rest =
            HashMap::from([("more".to_owned(), Value::from(bytes.clone())), ("n".to_owned(), 1.into())]);
        check_round_trip(&Flat { id: 7, inner, rest });
        check_round_trip(&Some(vec![(bytes.clone(), i128::from(i64::MIN), u64::MAX, 1.5, 'c', true)]));
        check_round_trip(&(bytes, i128::from(u64::MAX), ()));
        check_round_trip(&(Some(1), None::<u8>, vec![Some(1.5), None], i128::MIN));
    }

    #[test]
    fn text_is_borrowed_with_and_without_attachments() {
        let json = r#"["plain",{"_placeholder":true,"num":0},{"key":"value"}]"#;
        let payload = ack(json, &[b"\x01"]);
        let (text, bytes, map) = payload.args::<(&str, &serde_bytes::Bytes, HashMap<&str, &str>)>().unwrap();
        assert_eq!((text, &bytes[..], map["key"]), ("plain", &[1][..], "value"));
        assert!(payload.json().as_bytes().as_ptr_range().contains(&text.as_ptr()));
        assert_eq!(bytes.as_ptr(), payload.attachments()[0].as_ptr());
    }

    #[test]
    fn a_placeholder_is_bytes_in_packets_with_attachments_only() {
        let json = r#"[{"_placeholder":true,"num":0}]"#;
        let plain = Payload::ack_from_json(json.into()).unwrap();
        assert_eq!(plain.args::<Value>().unwrap()["num"], 0.into());
        assert_eq!(ack(json, &[b"x"]).args::<Value>().unwrap(), Bytes::from_static(b"x").into());
        assert_eq!(error::<u8>(&ack(json, &[b"x"])), "argument 0: invalid type: byte array, expected u8");
        let twice = r#"[{"num":0,"_placeholder":true,"x":1},[{"_placeholder":true,"num":0}],{"_placeholder":true,"num":0.5}]"#;
        let values = ack(twice, &[b"x"]).values().unwrap();
        assert_eq!(
            values,
            [Bytes::from_static(b"x").into(), vec![Bytes::from_static(b"x")].into(), Value::Null]
        );
    }

    #[test]
    fn what_became_undefined_is_no_key_of_an_object() {
        let json = r#"[{"a":1,"b":{"_placeholder":true,"num":0.5},"c":{"_placeholder":true,"num":-0}}]"#;
        let value = ack(json, &[b"x"]).args::<Value>().unwrap();
        let keys: Vec<_> = value.as_object().unwrap().iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "c"]);
    }

    #[test]
    fn unpaired_surrogates_and_infinite_numbers_do_not_hide_the_rest() {
        let payload = event(r#"["\ud800e" ,"a\udc00b",1e999,"\ud83d\ude00"]"#);
        assert_eq!(payload.event_name().unwrap().to_string(), "\u{fffd}e");
        assert_eq!(payload.args::<(&str, Option<f64>, &str)>().unwrap(), ("a\u{fffd}b", None, "😀"));
        assert_eq!(&**payload.json(), r#"["\ud800e" ,"a\udc00b",1e999,"\ud83d\ude00"]"#);
    }

    #[test]
    fn all_arguments_are_read_as_a_list_of_values() {
        let Args(values) = event(r#"["e",1,{"b":[null,true]}]"#).args().unwrap();
        assert_eq!(values[1]["b"][1], true.into());
        assert_eq!(values[1]["nothing"][7], Value::Null);
        assert_eq!(serde_json::from_str::<Args>("[1]").unwrap(), Args(vec![1.into()]));
    }
}
