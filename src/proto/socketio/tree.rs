//! `Tree`: JSON with its attachments in their places, for reading values from packets that have attachments.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::ser::{Serialize, Serializer};
use serde_json::Error;

use super::Number;

/// A JSON value, or an attachment, borrowed from a packet.
#[derive(Clone, Debug)]
pub(super) enum Tree<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Binary(&'a Bytes),
    Array(Vec<Tree<'a>>),
    Object(Object<'a>),
}

impl<'a> Tree<'a> {
    /// Reads JSON and puts attachments where placeholders are.
    pub(super) fn parse(json: &'a str, attachments: &'a [Bytes]) -> Result<Tree<'a>, Error> {
        let mut tree: Tree<'a> = serde_json::from_str(json)?;
        if !attachments.is_empty() {
            tree.place(attachments)?;
        }
        Ok(tree)
    }

    /// Puts attachments in the place of placeholders. False if the value became undefined, which an array holds as null
    /// and an object not at all.
    fn place(&mut self, attachments: &'a [Bytes]) -> Result<bool, Error> {
        match self {
            Tree::Object(object) if object.is_placeholder() => {
                let attachment = object.attachment(attachments)?;
                *self = attachment.map_or(Tree::Null, Tree::Binary);
                Ok(attachment.is_some())
            }
            Tree::Object(Object(members)) => {
                let mut undefined = Vec::new();
                for (index, value) in members.values_mut().enumerate() {
                    if !value.place(attachments)? {
                        undefined.push(index);
                    }
                }
                let mut index = 0..;
                members
                    .retain(|_, _| index.next().is_none_or(|index| undefined.binary_search(&index).is_err()));
                Ok(true)
            }
            Tree::Array(elements) => {
                for element in elements {
                    element.place(attachments)?;
                }
                Ok(true)
            }
            _ => Ok(true),
        }
    }
}

/// As `JSON.parse` makes it: a repeated key keeps its first place and its last value.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<'a>(IndexMap<Cow<'a, str>, Tree<'a>, RandomState>);

impl<'a> Object<'a> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Tree<'a>> {
        self.0.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Tree<'a>)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// "_placeholder" must be exactly true; other keys than "num" do not matter then.
    fn is_placeholder(&self) -> bool {
        matches!(self.0.get("_placeholder"), Some(Tree::Bool(true)))
    }

    /// What the placeholder stands for; nothing (undefined) if it says 0.5, which is within the bounds of the array.
    fn attachment(&self, attachments: &'a [Bytes]) -> Result<Option<&'a Bytes>, Error> {
        let Some(Tree::Number(num)) = self.0.get("num") else { return Err(illegal_placeholder()) };
        let num = num.as_f64();
        if num < 0.0 || num >= attachments.len() as f64 {
            return Err(illegal_placeholder());
        }
        Ok(if num.fract() == 0.0 { attachments.get(num as usize) } else { None })
    }
}

fn illegal_placeholder() -> Error {
    de::Error::custom("a placeholder refers to no attachment")
}

/// Checks that every placeholder in a packet refers to one of its attachments, and that these, each counted as often as
/// it is referred to, are at most `max_bytes`. (Attachments are written out as often when the values are sent on.)
pub(super) fn check_placeholders(json: &str, attachments: &[Bytes], max_bytes: usize) -> Option<()> {
    let tree = Tree::parse(json, attachments).ok()?;
    let mut bytes = 0_usize;
    let mut open = vec![&tree];
    while let Some(tree) = open.pop() {
        match tree {
            Tree::Binary(attachment) => bytes = bytes.saturating_add(attachment.len()),
            Tree::Array(elements) => open.extend(elements),
            Tree::Object(object) => open.extend(object.0.values()),
            _ => {}
        }
    }
    (bytes <= max_bytes).then_some(())
}

/// Builds a tree from what serde_json reads.
struct Builder;

impl<'a> Deserialize<'a> for Tree<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Tree<'a>, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

impl<'a> Visitor<'a> for Builder {
    type Value = Tree<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree<'a>, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<'a>, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<'a>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<'a>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree<'a>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Tree<'a>, E> {
        Ok(Tree::String(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree<'a>, E> {
        Ok(Tree::String(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut access: A) -> Result<Tree<'a>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Tree::Array(elements))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut access: A) -> Result<Tree<'a>, A::Error> {
        let mut object = Object::default();
        while let Some(key) = access.next_key()? {
            let Tree::String(key) = key else { return Err(de::Error::custom("a key is no string")) };
            object.0.insert(key, access.next_value()?);
        }
        Ok(Tree::Object(object))
    }
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tree::Null => serializer.serialize_unit(),
            Tree::Bool(value) => serializer.serialize_bool(*value),
            Tree::Number(number) => number.serialize(serializer),
            Tree::String(text) => serializer.serialize_str(text),
            Tree::Binary(bytes) => serializer.serialize_bytes(bytes),
            Tree::Array(elements) => serializer.collect_seq(elements),
            Tree::Object(object) => serializer.collect_map(&object.0),
        }
    }
}

impl<'a> Tree<'a> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Tree::Null => Unexpected::Unit,
            Tree::Bool(value) => Unexpected::Bool(*value),
            Tree::Number(number) => number.unexpected(),
            Tree::String(text) => Unexpected::Str(text),
            Tree::Binary(bytes) => Unexpected::Bytes(bytes),
            Tree::Array(_) => Unexpected::Seq,
            Tree::Object(_) => Unexpected::Map,
        }
    }
}

impl<'a> IntoDeserializer<'a, Error> for Tree<'a> {
    type Deserializer = Tree<'a>;

    fn into_deserializer(self) -> Tree<'a> {
        self
    }
}

/// Reads as serde_json does; only that there are bytes.
impl<'a> Deserializer<'a> for Tree<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(value),
            Tree::Number(number) => number.visit(visitor),
            Tree::String(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Tree::String(Cow::Owned(text)) => visitor.visit_string(text),
            Tree::Binary(bytes) => visitor.visit_borrowed_bytes(bytes),
            Tree::Array(elements) => {
                let len = elements.len();
                let mut access = SeqDeserializer::new(elements.into_iter());
                let value = visitor.visit_seq(&mut access)?;
                access.end().map_err(|_| de::Error::invalid_length(len, &"fewer elements"))?;
                Ok(value)
            }
            Tree::Object(object) => {
                let mut access =
                    MapDeserializer::new(object.0.into_iter().map(|(k, v)| (Tree::String(k), v)));
                let value = visitor.visit_map(&mut access)?;
                access.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Tree::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Tree::String(_) => visitor.visit_enum(Variant { name: self, content: None }),
            Tree::Object(object) if object.0.len() == 1 => {
                let (name, content) = object.0.into_iter().next().expect("one key: checked above");
                visitor.visit_enum(Variant { name: Tree::String(name), content: Some(content) })
            }
            other => Err(de::Error::invalid_type(other.unexpected(), &"a string or an object with one key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier
    }
}

/// A variant of an enum as JSON has it: `"Name"` or `{"Name":content}`.
struct Variant<'a> {
    name: Tree<'a>,
    content: Option<Tree<'a>>,
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Error;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Content<'a>), Error> {
        Ok((seed.deserialize(self.name)?, Content(self.content)))
    }
}

/// What a variant holds.
struct Content<'a>(Option<Tree<'a>>);

impl<'a> Content<'a> {
    fn some(self, expected: &'static str) -> Result<Tree<'a>, Error> {
        self.0.ok_or_else(|| de::Error::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'a> VariantAccess<'a> for Content<'a> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.0 {
            None | Some(Tree::Null) => Ok(()),
            Some(other) => Err(de::Error::invalid_type(other.unexpected(), &"unit variant")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.some("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.some("tuple variant")?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.some("struct variant")?.deserialize_any(visitor)
    }
}
