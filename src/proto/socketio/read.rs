//! Reading the arguments of a packet as what the user asks for.

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::error::{ArgsError, JsonError};
use super::payload::{Payload, RawArguments};
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
