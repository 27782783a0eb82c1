//! What a user's value is as an argument list: a tuple is several arguments, `()` is none, anything else is one.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{Error as _, SerializeTuple, SerializeTupleStruct, Serializer};
use serde_json::Error;
use serde_json::ser::Compound;

use super::attachment::{Attachments, JavaScriptFormatter, Json, json_with_attachments};
use super::raw;

/// Appends `args` to a JSON array that was begun, and says how many there were. `has_name`: the array holds an event
/// name already.
pub(super) fn write_arguments<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    attachments: &mut Attachments,
    has_name: bool,
    args: &T,
) -> Result<usize, Error> {
    let mut list = ArgumentList { place: Place::Array { out, attachments }, has_name, count: 0 };
    args.serialize(&mut list)?;
    Ok(list.count)
}

/// Decides by the first call of a value's `serialize` how many arguments it is.
struct ArgumentList<'a> {
    place: Place<'a>,
    has_name: bool,
    count: usize,
}

/// Where the next byte goes.
enum Place<'a> {
    Array {
        out: &'a mut Vec<u8>,
        attachments: &'a mut Attachments,
    },
    /// Inside the one argument.
    Value(Json<'a>),
    Taken,
}

impl<'a> ArgumentList<'a> {
    /// Begins the one argument.
    fn one(&mut self) -> &mut Json<'a> {
        if let Place::Array { out, attachments } = std::mem::replace(&mut self.place, Place::Taken) {
            if self.has_name {
                out.push(b',');
            }
            self.count = 1;
            self.place = Place::Value(json_with_attachments(out, attachments));
        }
        match &mut self.place {
            Place::Value(json) => json,
            _ => unreachable!("a value is serialized once: every method of Serializer takes the list"),
        }
    }

    fn several(&mut self) -> Result<(&mut Vec<u8>, &mut Attachments), Error> {
        match &mut self.place {
            Place::Array { out, attachments } => Ok((out, attachments)),
            _ => Err(Error::custom("a value was serialized twice")),
        }
    }
}

/// The arguments of a tuple, each a JSON value of its own.
struct Tuple<'l, 'a>(&'l mut ArgumentList<'a>);

impl SerializeTuple for Tuple<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let comma = self.0.has_name || self.0.count > 0;
        self.0.count += 1;
        let (out, attachments) = self.0.several()?;
        if comma {
            out.push(b',');
        }
        value.serialize(&mut json_with_attachments(out, attachments))
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A tuple struct is one argument, but for the one that stands for all of them.
enum TupleStruct<'l, 'a> {
    One(One<'l, 'a>),
    RawArgs(Tuple<'l, 'a>),
}

impl SerializeTupleStruct for TupleStruct<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match self {
            TupleStruct::One(one) => SerializeTupleStruct::serialize_field(one, value),
            TupleStruct::RawArgs(tuple) => tuple.serialize_element(value),
        }
    }

    fn end(self) -> Result<(), Error> {
        match self {
            TupleStruct::One(one) => SerializeTupleStruct::end(one),
            TupleStruct::RawArgs(tuple) => SerializeTuple::end(tuple),
        }
    }
}

type One<'l, 'a> = Compound<'l, &'a mut Vec<u8>, JavaScriptFormatter<'a>>;

macro_rules! one_argument {
    ($($method:ident($type:ty),)*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> { self.one().$method(value) })*
    };
}

impl<'l, 'a> Serializer for &'l mut ArgumentList<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = One<'l, 'a>;
    type SerializeTuple = Tuple<'l, 'a>;
    type SerializeTupleStruct = TupleStruct<'l, 'a>;
    type SerializeTupleVariant = One<'l, 'a>;
    type SerializeMap = One<'l, 'a>;
    type SerializeStruct = One<'l, 'a>;
    type SerializeStructVariant = One<'l, 'a>;

    fn serialize_tuple(self, _len: usize) -> Result<Tuple<'l, 'a>, Error> {
        Ok(Tuple(self))
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.one().serialize_newtype_struct(name, value)
    }

    one_argument! {
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_str(&str),
        serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.one().serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.one().serialize_some(value)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.one().serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.one().serialize_newtype_variant(name, index, variant, value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<One<'l, 'a>, Error> {
        self.one().serialize_seq(len)
    }

    fn serialize_tuple_struct(self, name: &'static str, len: usize) -> Result<TupleStruct<'l, 'a>, Error> {
        if name == raw::TOKEN {
            return Ok(TupleStruct::RawArgs(Tuple(self)));
        }
        self.one().serialize_tuple_struct(name, len).map(TupleStruct::One)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<One<'l, 'a>, Error> {
        self.one().serialize_tuple_variant(name, index, variant, len)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<One<'l, 'a>, Error> {
        self.one().serialize_map(len)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<One<'l, 'a>, Error> {
        self.one().serialize_struct(name, len)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<One<'l, 'a>, Error> {
        self.one().serialize_struct_variant(name, index, variant, len)
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.one().collect_str(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde::Serialize;
    use serde_bytes::{ByteArray, ByteBuf};

    use crate::proto::socketio::{Args, EncodeError, Map, Payload, RESERVED_EVENTS, Value};

    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype((u8, u8));
    #[derive(Serialize)]
    struct Pair(u8, u8);
    #[derive(Serialize)]
    struct Item {
        id: u32,
        image: Bytes,
    }
    #[derive(Serialize)]
    struct Flat {
        name: &'static str,
        #[serde(flatten)]
        item: Item,
    }
    #[derive(Serialize)]
    enum Kinds {
        Plain,
        One(Bytes),
        Two(u8, u8),
        Named { a: u8 },
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged {
        Binary(Bytes),
        Number(f64),
    }

    const BYTES: Bytes = Bytes::from_static(b"\x01\x02");

    #[track_caller]
    fn check<T: Serialize + ?Sized>(args: &T, json: &str, attachments: usize) {
        let event = Payload::event("e", args).unwrap();
        let rest = if json.is_empty() { String::new() } else { format!(",{json}") };
        assert_eq!(&**event.json(), format!("[\"e\"{rest}]"));
        assert_eq!(event.attachments(), vec![BYTES; attachments]);
        let ack = Payload::ack(args).unwrap();
        assert_eq!(&**ack.json(), format!("[{json}]"));
        assert_eq!((ack.arg_count(), ack.attachments().len()), (event.arg_count(), attachments));
        let values = serde_json::from_str::<Vec<serde_json::Value>>(ack.json()).unwrap();
        assert_eq!(ack.arg_count(), values.len());
    }

    #[test]
    fn a_tuple_is_the_argument_list_and_unit_is_none() {
        check(&(), "", 0);
        check(&(1, "b", [true]), r#"1,"b",[true]"#, 0);
        check(&[1, 2], "1,2", 0);
        check::<[u8; 0]>(&[], "", 0);
        check(&([1, 2],), "[1,2]", 0);
        check(&((),), "null", 0);
        check(&Box::new((1, 2)), "1,2", 0);
        check(&Args(vec![1.into(), Value::Null]), "1,null", 0);
        check(&Args(vec![]), "", 0);
    }

    #[test]
    fn anything_else_is_one_argument() {
        check("text", r#""text""#, 0);
        check(&vec![1, 2], "[1,2]", 0);
        check(&[1, 2][..], "[1,2]", 0);
        check(&Pair(1, 2), "[1,2]", 0);
        check(&Newtype((1, 2)), "[1,2]", 0);
        check(&Unit, "null", 0);
        check(&None::<u8>, "null", 0);
        check(&Some((1, 2)), "[1,2]", 0);
        check(&(Args(vec![1.into()]),), "[1]", 0);
        check(&BTreeMap::from([(1, true)]), r#"{"1":true}"#, 0);
        check(&Kinds::Plain, r#""Plain""#, 0);
        check(&Kinds::Two(1, 2), r#"{"Two":[1,2]}"#, 0);
        check(&Kinds::Named { a: 1 }, r#"{"Named":{"a":1}}"#, 0);
        check(&'c', r#""c""#, 0);
        check(&format_args!("{}", 1), r#""1""#, 0);
    }

    #[test]
    fn bytes_are_attachments_at_any_depth() {
        let at = |num: usize| format!(r#"{{"_placeholder":true,"num":{num}}}"#);
        check(&BYTES, &at(0), 1);
        check(&ByteBuf::from([1, 2]), &at(0), 1);
        check(&ByteArray::new([1, 2]), &at(0), 1);
        check(&(BYTES, 1, BYTES), &format!("{},1,{}", at(0), at(1)), 2);
        check(&Kinds::One(BYTES), &format!(r#"{{"One":{}}}"#, at(0)), 1);
        check(&[Untagged::Binary(BYTES), Untagged::Number(2.0)], &format!("{},2", at(0)), 1);
        let flat = Flat { name: "x", item: Item { id: 1, image: BYTES } };
        check(&flat, &format!(r#"{{"name":"x","id":1,"image":{}}}"#, at(0)), 1);
        let map: Map =
            [("z", Value::from(BYTES)), ("a", vec![Value::from(BYTES)].into())].into_iter().collect();
        check(&Value::from(map), &format!(r#"{{"z":{},"a":[{}]}}"#, at(0), at(1)), 2);
        check(&vec![1_u8, 2], "[1,2]", 0);
        check(&Some(Bytes::from_static(&[1, 2])), &at(0), 1);
    }

    #[test]
    fn numbers_are_written_as_javascript_does() {
        check(&(1.0, -0.0, 1.5, 1e21, 1e-7, 0.1), "1,0,1.5,1e+21,1e-7,0.1", 0);
        check(&(f64::NAN, f64::INFINITY, f32::NEG_INFINITY), "null,null,null", 0);
        check(&(1.1_f32, 16_777_216_f32, 3e38_f32), "1.1,16777216,3e+38", 0);
        check(&(u64::MAX, i64::MIN, i128::MAX), &format!("{},{},{}", u64::MAX, i64::MIN, i128::MAX), 0);
    }

    #[test]
    fn strings_are_escaped_as_javascript_does() {
        check(
            "\"\\/\u{8}\t\n\u{c}\r\0\u{1f}\u{7f}\u{2028}é",
            "\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}\u{2028}é\"",
            0,
        );
        let event = Payload::event("a\"b", &()).unwrap();
        assert_eq!(&**event.json(), r#"["a\"b"]"#);
        assert_eq!(event.event_name().unwrap().into_text(), "a\"b");
    }

    #[test]
    fn bytes_in_a_value_are_the_object_that_node_writes() {
        let payload = Payload::value(&Item { id: 1, image: BYTES }).unwrap();
        assert_eq!(&**payload.json(), r#"{"id":1,"image":{"type":"Buffer","data":[1,2]}}"#);
        assert_eq!(payload.attachments(), &[] as &[Bytes]);
    }

    #[test]
    fn reserved_names_are_refused() {
        for name in RESERVED_EVENTS {
            assert!(matches!(Payload::event(name, &()), Err(EncodeError::ReservedEvent { .. })), "{name}");
        }
        for name in ["connection", "error", "", "Connect"] {
            assert!(Payload::event(name, &()).is_ok(), "{name}");
        }
        let error = Payload::event("connect", &()).unwrap_err().to_string();
        assert_eq!(error, "\"connect\" is a reserved event name, choose another one");
    }

    #[test]
    fn what_json_cannot_say_is_an_error_with_its_reason() {
        let error = Payload::event("e", &BTreeMap::from([(vec![1], 2)])).unwrap_err();
        assert_eq!(error.to_string(), "the arguments cannot be serialized");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "key must be a string");
    }
}
