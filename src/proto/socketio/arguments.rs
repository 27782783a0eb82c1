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
