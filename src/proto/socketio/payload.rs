//! `Payload`: the data of a packet, read only where somebody asks.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};

use super::arguments::write_arguments;
use super::attachment::{Attachments, write_value};
use super::error::{ArgsError, EncodeError};
use super::javascript::{self, LoneSurrogates};
use super::json::{JsonKind, MAX_DEPTH, Scanner};
use super::raw::RawArgs;
use super::read::ArgumentsReader;
use super::value::{Args, Value};

/// Event names that Socket.IO keeps for itself; `connection`, `error` and the empty name are not among them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

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

/// JSON text and where its parts begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    json: ByteString,
    layout: Layout,
}

/// Where the arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    shape: Shape,
    /// Where the first argument begins, if there is one.
    args_start: usize,
    arg_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// An array that begins with an event name.
    Event { name_start: usize, name_end: usize },
    /// An array of arguments.
    List,
    /// One value, of a CONNECT or CONNECT_ERROR.
    Value,
}

impl Payload {
    /// Makes the data of an event.
    ///
    /// A tuple is the argument list, `()` is no argument, anything else (a tuple struct too) is one argument. Bytes
    /// (`bytes::Bytes`, the types of `serde_bytes`) become attachments, wherever they are; `Vec<u8>` is an array of
    /// numbers. Numbers are written as JavaScript does, but integers beyond 2⁵³ exactly.
    ///
    /// # Errors
    /// If the name is one of [`RESERVED_EVENTS`], or if `args` cannot be serialized.
    pub fn event<T: Serialize + ?Sized>(name: &str, args: &T) -> Result<Payload, EncodeError> {
        let mut out = Vec::with_capacity(CAPACITY);
        let mut attachments = Attachments::default();
        let layout = write_event(&mut out, &mut attachments, name, args)?;
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
        let layout = Layout { shape: Shape::Value, args_start: 0, arg_count: 1 };
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

    /// Adds the attachments. `None` if a placeholder refers to none of them, or if they are, each counted as often as it
    /// is referred to, more than `max_bytes`.
    pub(super) fn with_attachments(mut self, attachments: Vec<Bytes>, max_bytes: usize) -> Option<Payload> {
        super::tree::check_placeholders(&self.readable().json, &attachments, max_bytes)?;
        self.attachments = attachments;
        Some(self)
    }

    /// The JSON text.
    pub fn json(&self) -> &ByteString {
        &self.text.json
    }

    /// What the placeholders in the text stand for.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The name of the event; `None` if this is no event's data.
    pub fn event_name(&self) -> Option<EventName<'_>> {
        let text = self.readable();
        let Shape::Event { name_start, name_end } = text.layout.shape else { return None };
        let name = &text.json[name_start..name_end];
        Some(match name.as_bytes()[0] {
            b'"' => EventName::Text(event_text(name)),
            _ => EventName::Number(name.parse().unwrap_or(f64::INFINITY)),
        })
    }

    /// How many arguments there are, the event name not counted.
    pub fn arg_count(&self) -> usize {
        self.text.layout.arg_count
    }

    /// Reads the arguments, without the event name.
    ///
    /// A tuple reads as many arguments as it has elements, `()` reads none, any other type reads the first one, and
    /// [`Args`] reads all. Surplus arguments are ignored, missing ones are `None` for an `Option`. The data of a CONNECT is one argument.
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
        let mut payload = Payload::written(out, layout, Attachments::default());
        payload.attachments.clone_from(&self.attachments);
        payload.readable = self.readable.as_ref().and_then(|_| payload.text.readable());
        Ok(payload)
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
        Payload { text: Text { json, layout }, attachments, readable: None }
    }

    fn received(json: ByteString, expected: Expected) -> Option<Payload> {
        let (layout, unreadable) = Layout::find(&json, expected)?;
        let text = Text { json, layout };
        let readable = if unreadable { Some(text.readable()?) } else { None };
        Some(Payload { text, attachments: Vec::new(), readable })
    }
}

/// What the data of a packet must be.
#[derive(Clone, Copy)]
enum Expected {
    Event,
    List,
    Object,
    ObjectOrString,
}

impl Text {
    fn arguments(&self) -> RawArguments<'_> {
        let Layout { args_start, arg_count, shape } = self.layout;
        let end = self.json.len() - usize::from(!matches!(shape, Shape::Value));
        RawArguments { json: &self.json[..end], at: args_start, left: arg_count }
    }

    /// The same text with everything replaced that serde_json cannot read.
    fn readable(&self) -> Option<Box<Text>> {
        let json = javascript::rewrite(&self.json, LoneSurrogates::Replace);
        let expected = match self.layout.shape {
            Shape::Event { .. } => Expected::Event,
            Shape::List => Expected::List,
            Shape::Value => Expected::ObjectOrString,
        };
        let (layout, _) = Layout::find(&json, expected)?;
        Some(Box::new(Text { json: json.into(), layout }))
    }
}

impl Layout {
    /// Where the arguments are in this text, and whether serde_json is unable to read it; `None` if it is not what was
    /// expected, or no JSON.
    fn find(json: &str, expected: Expected) -> Option<(Layout, bool)> {
        let mut scanner = Scanner::new(json);
        let layout = match expected {
            Expected::Event => {
                scanner.take(b'[').then_some(())?;
                let shape = Layout::event_name(&mut scanner, json)?;
                let more = scanner.take(b',');
                Layout::elements(&mut scanner, shape, more)?
            }
            Expected::List => {
                scanner.take(b'[').then_some(())?;
                let more = scanner.peek() != Some(b']');
                Layout::elements(&mut scanner, Shape::List, more)?
            }
            Expected::Object | Expected::ObjectOrString => {
                match scanner.value(MAX_DEPTH)? {
                    JsonKind::Object => {}
                    JsonKind::String if matches!(expected, Expected::ObjectOrString) => {}
                    _ => return None,
                }
                Layout { shape: Shape::Value, args_start: 0, arg_count: 1 }
            }
        };
        scanner.peek().is_none().then_some((layout, scanner.unreadable()))
    }

    fn event_name(scanner: &mut Scanner<'_>, json: &str) -> Option<Shape> {
        scanner.peek();
        let name_start = scanner.at();
        let kind = scanner.value(0)?;
        let name_end = scanner.at();
        match kind {
            JsonKind::Number => {}
            JsonKind::String if !is_reserved(&event_text(&json[name_start..name_end])) => {}
            _ => return None,
        }
        Some(Shape::Event { name_start, name_end })
    }

    /// Goes past the elements of an array (`more`: there is one) and its end.
    fn elements(scanner: &mut Scanner<'_>, shape: Shape, mut more: bool) -> Option<Layout> {
        scanner.peek();
        let args_start = scanner.at();
        let mut arg_count = 0;
        while more {
            scanner.value(MAX_DEPTH - 1)?;
            arg_count += 1;
            more = scanner.take(b',');
        }
        scanner.take(b']').then_some(Layout { shape, args_start, arg_count })
    }
}

/// The text of each argument.
#[derive(Debug)]
pub(super) struct RawArguments<'a> {
    /// Without the closing bracket.
    json: &'a str,
    at: usize,
    left: usize,
}

impl RawArguments<'_> {
    pub(super) fn left(&self) -> usize {
        self.left
    }
}

impl<'a> Iterator for RawArguments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        if self.left == 0 {
            return Some(&self.json[self.at..]); // nothing but whitespace follows the last one
        }
        let mut scanner = Scanner::starting_at(self.json, self.at);
        let _ = scanner.value(u128::BITS);
        let argument = &self.json[self.at..scanner.at()];
        scanner.take(b',');
        self.at = scanner.at();
        Some(argument)
    }
}

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
    let start = out.len();
    out.push(b'[');
    write_value(out, name)?;
    let name_end = out.len() - start;
    let arg_count = write_arguments(out, attachments, true, args)?;
    out.push(b']');
    Ok(Layout { shape: Shape::Event { name_start: 1, name_end }, args_start: name_end + 1, arg_count })
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
    Ok(Layout { shape: Shape::List, args_start: 1, arg_count })
}

/// What most payloads fit into, so that they cost one allocation.
const CAPACITY: usize = 128;

fn is_reserved(name: &str) -> bool {
    RESERVED_EVENTS.contains(&name)
}

/// The text of a JSON string; unpaired surrogates are U+FFFD.
fn event_text(json: &str) -> Cow<'_, str> {
    let inner = &json[1..json.len() - 1];
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let readable = javascript::rewrite(json, LoneSurrogates::Replace);
    Cow::Owned(serde_json::from_str(&readable).unwrap_or_default())
}
