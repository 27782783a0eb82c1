//! `Payload`: the data of a packet, read only where somebody asks.

use bytes::Bytes;
use bytestring::ByteString;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::arguments::write_arguments;
use super::attachment::{Attachments, write_value};
use super::error::{ArgsError, EncodeError};
use super::event_name::{EventName, is_reserved, string_text};
use super::javascript;
use super::layout::{Expected, Layout, RawArguments, Shape, Text};
use super::packet::PacketKind;
use super::raw::RawArgs;
use super::read::ArgumentsReader;
use super::tree::{self, Tree};
use super::value::{Args, Value};

/// The data of a packet: JSON text, in which a binary value stands as `{"_placeholder":true,"num":i}`, and the
/// attachments. Cheap to clone.
///
/// The text is valid JSON, and in a payload with attachments each placeholder refers to one of them (several may refer
/// to the same).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    text: Text,
    attachments: Vec<Bytes>,
    /// The text as serde_json can read it, where it differs: unpaired surrogates are U+FFFD there, numbers beyond `f64`
    /// null.
    readable: Option<Box<Text>>,
}

impl Payload {
    /// Makes the data of an event.
    ///
    /// A tuple is the argument list, `()` is no argument, anything else (a tuple struct too) is one argument. Bytes
    /// (`bytes::Bytes`, the types of `serde_bytes`) become attachments, wherever they are; `Vec<u8>` is an array of
    /// numbers. Numbers are written as JavaScript does, but integers beyond 2⁵³ exactly.
    ///
    /// # Errors
    /// If the name is one of [`RESERVED_EVENTS`](super::RESERVED_EVENTS), or if `args` cannot be serialized.
    pub fn event<T: Serialize + ?Sized>(name: &str, args: &T) -> Result<Payload, EncodeError> {
        let mut out = Vec::with_capacity(CAPACITY);
        let mut attachments = Attachments::default();
        let layout = write_event(&mut out, &mut attachments, name, args)?;
        Ok(Payload::written(out, layout, attachments))
    }

    /// Makes the data of an event whose name clients could not hear: for other servers.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub(crate) fn event_unchecked<T: Serialize + ?Sized>(
        name: &str,
        args: &T,
    ) -> Result<Payload, EncodeError> {
        let mut out = Vec::with_capacity(CAPACITY);
        let mut attachments = Attachments::default();
        let layout = write_any_event(&mut out, &mut attachments, name, args)?;
        Ok(Payload::written(out, layout, attachments))
    }

    /// Makes the data of an acknowledgement; the arguments are those of [`Payload::event`].
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(args: &T) -> Result<Payload, EncodeError> {
        let mut out = Vec::with_capacity(CAPACITY);
        let mut attachments = Attachments::default();
        let layout = write_ack(&mut out, &mut attachments, args)?;
        Ok(Payload::written(out, layout, attachments))
    }

    /// Makes the data of a CONNECT or CONNECT_ERROR: one value. It has no attachments; bytes appear in it as
    /// `{"type":"Buffer","data":[1,2,3]}`, as they do on Node.
    ///
    /// # Errors
    /// If `value` cannot be serialized.
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Result<Payload, EncodeError> {
        let mut out = Vec::with_capacity(CAPACITY);
        write_value(&mut out, value)?;
        let layout = Layout::new(Shape::Value, 0, 1);
        Ok(Payload::written(out, layout, Attachments::default()))
    }

    /// Takes the data of an event as it was received. `None` if it is not a JSON array that begins with a number or
    /// with a string which is no reserved event name.
    pub fn event_from_json(json: ByteString) -> Option<Payload> {
        Payload::received(json, Expected::Event)
    }

    /// Takes the data of an acknowledgement as it was received. `None` if it is not a JSON array.
    pub fn ack_from_json(json: ByteString) -> Option<Payload> {
        Payload::received(json, Expected::List)
    }

    /// Takes the data of a CONNECT as it was received. `None` if it is not a JSON object.
    pub fn object_from_json(json: ByteString) -> Option<Payload> {
        Payload::received(json, Expected::Object)
    }

    /// Takes the data of a CONNECT_ERROR as it was received. `None` if it is neither a JSON object nor a string.
    pub fn object_or_string_from_json(json: ByteString) -> Option<Payload> {
        Payload::received(json, Expected::ObjectOrString)
    }

    /// Takes the data of a packet of this kind as it was received. `None` if it is not what packets of this kind have.
    pub fn from_json(kind: PacketKind, json: ByteString) -> Option<Payload> {
        match kind {
            PacketKind::Connect => Payload::object_from_json(json),
            PacketKind::Disconnect => None,
            PacketKind::Event => Payload::event_from_json(json),
            PacketKind::Ack => Payload::ack_from_json(json),
            PacketKind::ConnectError => Payload::object_or_string_from_json(json),
        }
    }

    /// Takes the data of an event from a form of packets that knows no reserved names, and lets a name be anything; where
    /// it is neither string nor number, the event has none.
    pub(in crate::proto) fn event_of_any_name(json: ByteString) -> Option<Payload> {
        let named = matches!(json.as_bytes().get(1), Some(b'"' | b'-' | b'0'..=b'9'));
        Payload::received(json, if named { Expected::AnyEvent } else { Expected::List })
    }

    /// Adds the attachments. `None` if a placeholder refers to none of them, or if they are, each counted as often as it
    /// is referred to, more than `max_bytes`.
    pub fn with_attachments(self, attachments: Vec<Bytes>, max_bytes: usize) -> Option<Payload> {
        tree::check_placeholders(&self.readable().json, &attachments, max_bytes)?;
        Some(self.attach(attachments))
    }

    /// Adds the attachments to a text whose placeholders refer to them for certain.
    pub(in crate::proto) fn attach(mut self, attachments: Vec<Bytes>) -> Payload {
        self.attachments = attachments;
        self
    }

    /// The JSON text.
    pub fn json(&self) -> &ByteString {
        &self.text.json
    }

    /// What the placeholders in the text stand for.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Gives the bytes of both.
    pub(crate) fn memory(&self) -> usize {
        self.json().len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The name of the event; `None` if this is no event's data.
    pub fn event_name(&self) -> Option<EventName<'_>> {
        let Shape::Event { name_start, name_end } = self.text.layout.shape else { return None };
        let name = &self.text.json[name_start..name_end];
        Some(match name.as_bytes()[0] {
            b'"' => EventName::Text(string_text(name)),
            _ => EventName::Number(javascript::number(name)),
        })
    }

    /// How many arguments there are, the event name not counted.
    pub fn arg_count(&self) -> usize {
        self.text.layout.arg_count
    }

    /// Reads the arguments, without the event name.
    ///
    /// A tuple reads as many arguments as it has elements, `()` reads none, any other type reads the first one, and
    /// [`Args`] reads all. Surplus arguments are ignored, missing ones are `None` for an `Option`. The data of a
    /// CONNECT is one argument.
    ///
    /// # Errors
    /// If an argument is missing or is something else than `T` says.
    pub fn args<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArgsError> {
        T::deserialize(ArgumentsReader::new(self))
    }

    /// Reads all arguments, without the event name.
    ///
    /// # Errors
    /// If they are nested too deep, which only arguments made by this process can be.
    pub fn values(&self) -> Result<Vec<Value>, ArgsError> {
        self.args().map(|Args(values)| values)
    }

    /// All arguments unread, to be passed on.
    pub fn raw_args(&self) -> RawArgs {
        RawArgs::new(self.clone())
    }

    /// The same data with one more argument at the end.
    ///
    /// # Errors
    /// If `value` cannot be serialized.
    pub fn with_text_argument(&self, value: &str) -> Result<Payload, EncodeError> {
        let old = &self.text.json;
        let end = old.rfind(']').unwrap_or(old.len());
        let mut out = Vec::with_capacity(old.len() + value.len() + 3);
        out.extend_from_slice(&old.as_bytes()[..end]);
        let has_elements = self.arg_count() > 0 || matches!(self.text.layout.shape, Shape::Event { .. });
        if has_elements {
            out.push(b',');
        }
        let start = out.len();
        write_value(&mut out, value)?;
        out.push(b']');

        let mut layout = self.text.layout;
        layout.args_start = if layout.arg_count == 0 { start } else { layout.args_start };
        layout.arg_count += 1;
        let json = String::from_utf8(out).expect("serializers write UTF-8").into();
        Ok(Payload::from_parts(json, layout, self.attachments.clone()))
    }

    /// All data with its attachments in their places.
    pub(super) fn tree(&self) -> serde_json::Result<Tree<'_>> {
        Tree::parse(&self.readable().json, &self.attachments)
    }

    /// The text of each argument, as it was received.
    pub(super) fn raw_arguments(&self) -> RawArguments<'_> {
        self.text.arguments()
    }

    /// The text of each argument, as serde_json can read it.
    pub(super) fn readable_arguments(&self) -> RawArguments<'_> {
        self.readable().arguments()
    }

    fn readable(&self) -> &Text {
        self.readable.as_deref().unwrap_or(&self.text)
    }

    /// `out` was written by our serializer.
    fn written(out: Vec<u8>, layout: Layout, attachments: Attachments) -> Payload {
        let json = String::from_utf8(out).expect("serializers write UTF-8").into();
        Payload::from_parts(json, layout, attachments.into_bytes())
    }

    pub(super) fn from_parts(json: ByteString, layout: Layout, attachments: Vec<Bytes>) -> Payload {
        let text = Text { json, layout };
        // Only raw arguments bring escapes with them which serde_json cannot read.
        let may_be_unreadable = memmem::find(text.json.as_bytes(), b"\\u").is_some();
        let readable = if may_be_unreadable { text.readable() } else { None };
        Payload { text, attachments, readable }
    }

    fn received(json: ByteString, expected: Expected) -> Option<Payload> {
        let (layout, unreadable) = Layout::find(&json, expected)?;
        let text = Text { json, layout };
        let readable = if unreadable { text.readable() } else { None };
        Some(Payload { text, attachments: Vec::new(), readable })
    }
}

/// Writes the data of an event.
pub(super) fn write_event<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    attachments: &mut Attachments,
    name: &str,
    args: &T,
) -> Result<Layout, EncodeError> {
    if is_reserved(name) {
        return Err(EncodeError::ReservedEvent { name: name.to_owned() });
    }
    write_any_event(out, attachments, name, args)
}

fn write_any_event<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    attachments: &mut Attachments,
    name: &str,
    args: &T,
) -> Result<Layout, EncodeError> {
    let start = out.len();
    out.push(b'[');
    write_value(out, name)?;
    let name_end = out.len() - start;
    let arg_count = write_arguments(out, attachments, true, args)?;
    out.push(b']');
    Ok(Layout::new(Shape::Event { name_start: 1, name_end }, name_end + 1, arg_count))
}

/// Writes the data of an acknowledgement.
pub(super) fn write_ack<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    attachments: &mut Attachments,
    args: &T,
) -> Result<Layout, EncodeError> {
    out.push(b'[');
    let arg_count = write_arguments(out, attachments, false, args)?;
    out.push(b']');
    Ok(Layout::new(Shape::List, 1, arg_count))
}

/// What most payloads fit into, so that they cost one allocation.
const CAPACITY: usize = 128;
