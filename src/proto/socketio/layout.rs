//! Where the arguments are in the JSON text of a packet.

use bytestring::ByteString;

use super::event_name::{is_reserved, string_text};
use super::javascript::{self, LoneSurrogates};
use super::json::{JsonKind, MAX_DEPTH, Scanner};

/// JSON text and where its parts begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) json: ByteString,
    pub(super) layout: Layout,
}

/// Where the arguments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    /// Where the first argument begins, if there is one.
    pub(super) args_start: usize,
    pub(super) arg_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An array that begins with an event name.
    Event { name_start: usize, name_end: usize },
    /// An array of arguments.
    List,
    /// One value, of a CONNECT or CONNECT_ERROR.
    Value,
}

/// What the data of a packet must be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Expected {
    /// Any value.
    Any,
    /// An array which is not empty.
    AnyEvent,
    Event,
    List,
    Object,
    ObjectOrString,
}

impl Text {
    pub(super) fn arguments(&self) -> RawArguments<'_> {
        let Layout { args_start, arg_count, shape } = self.layout;
        let end = self.json.len() - usize::from(!matches!(shape, Shape::Value));
        RawArguments { json: &self.json[..end], at: args_start, left: arg_count }
    }

    /// The same text with everything replaced that serde_json cannot read; `None` if there is nothing.
    pub(super) fn readable(&self) -> Option<Box<Text>> {
        let expected = match self.layout.shape {
            Shape::Event { .. } => Expected::AnyEvent,
            Shape::List => Expected::List,
            Shape::Value => Expected::Any,
        };
        let (_, unreadable) = Layout::find(&self.json, expected)?;
        let json = unreadable.then(|| javascript::rewrite(&self.json, LoneSurrogates::Replace))?;
        let (layout, _) = Layout::find(&json, expected)?;
        Some(Box::new(Text { json: json.into(), layout }))
    }
}

impl Layout {
    pub(super) fn new(shape: Shape, args_start: usize, arg_count: usize) -> Layout {
        // Without arguments 0, so that equal payloads are equal.
        Layout { shape, args_start: if arg_count == 0 { 0 } else { args_start }, arg_count }
    }

    /// Where the arguments are in this text, and whether serde_json is unable to read it; `None` if it is not what was
    /// expected, or no JSON.
    pub(super) fn find(json: &str, expected: Expected) -> Option<(Layout, bool)> {
        let mut scanner = Scanner::new(json);
        let layout = match expected {
            Expected::Event | Expected::AnyEvent => {
                scanner.take(b'[').then_some(())?;
                let shape = Layout::event_name(&mut scanner, json, expected)?;
                let more = scanner.take(b',');
                Layout::elements(&mut scanner, shape, more)?
            }
            Expected::List => {
                scanner.take(b'[').then_some(())?;
                let more = scanner.peek() != Some(b']');
                Layout::elements(&mut scanner, Shape::List, more)?
            }
            Expected::Any | Expected::Object | Expected::ObjectOrString => {
                match scanner.value(MAX_DEPTH)? {
                    _ if expected == Expected::Any => {}
                    JsonKind::Object => {}
                    JsonKind::String if expected == Expected::ObjectOrString => {}
                    _ => return None,
                }
                Layout { shape: Shape::Value, args_start: 0, arg_count: 1 }
            }
        };
        scanner.peek().is_none().then_some((layout, scanner.unreadable()))
    }

    fn event_name(scanner: &mut Scanner<'_>, json: &str, expected: Expected) -> Option<Shape> {
        scanner.peek();
        let name_start = scanner.at();
        let kind = scanner.value(0)?;
        let name_end = scanner.at();
        match kind {
            _ if expected == Expected::AnyEvent => {}
            JsonKind::Number => {}
            JsonKind::String if !is_reserved(&string_text(&json[name_start..name_end])) => {}
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
        scanner.take(b']').then(|| Layout::new(shape, args_start, arg_count))
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
