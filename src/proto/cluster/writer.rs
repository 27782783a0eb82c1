//! `Writer`: writes a message in each of the forms that Node writes it in.

use bytes::Bytes;
use bytestring::ByteString;
use memchr::memmem;
use serde_json::value::RawValue;

use super::msgpack;
use crate::proto::socketio::{PLACEHOLDER_START, Payload};

/// In which form a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `JSON.stringify`; binary values are `{"type":"Buffer","data":[…]}`, which no reader turns back.
    Json,
    /// MessagePack as npm's `@msgpack/msgpack` 2 writes it: whole numbers from 2⁵³ on are floats, `undefined` is nil.
    Msgpack,
    /// MessagePack as npm's `notepack.io` 3 writes it: whole numbers have up to 64 bits, a key with `undefined` is left out.
    Notepack,
}

/// A message in the making.
#[derive(Debug)]
pub(super) struct Writer {
    out: Vec<u8>,
    form: Form,
    /// JSON: whether a comma has to come before the next key or element.
    comma: bool,
    /// JSON: whether placeholders stay.
    keeps_placeholders: bool,
}

impl Writer {
    /// `len`: about how long the payloads in it are.
    pub(super) fn new(form: Form, len: usize) -> Writer {
        let out = Vec::with_capacity(len + FRAME_LEN);
        Writer { out, form, comma: false, keeps_placeholders: false }
    }

    /// Writes JSON in which placeholders stand for binary values, as in a payload.
    pub(super) fn with_placeholders(len: usize) -> Writer {
        Writer { keeps_placeholders: true, ..Writer::new(Form::Json, len) }
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.into()
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// Begins an object of so many keys.
    pub(super) fn object(&mut self, len: usize) {
        match self.form {
            Form::Json => self.out.push(b'{'),
            Form::Msgpack | Form::Notepack => msgpack::map_len(&mut self.out, len),
        }
        self.comma = false;
    }

    pub(super) fn end_object(&mut self) {
        if self.form == Form::Json {
            self.out.push(b'}');
        }
        self.comma = true;
    }

    /// Begins an array of so many elements.
    pub(super) fn array(&mut self, len: usize) {
        match self.form {
            Form::Json => self.out.push(b'['),
            Form::Msgpack | Form::Notepack => msgpack::array_len(&mut self.out, len),
        }
        self.comma = false;
    }

    pub(super) fn end_array(&mut self) {
        if self.form == Form::Json {
            self.out.push(b']');
        }
        self.comma = true;
    }

    /// Begins a member; its value has to follow.
    pub(super) fn key(&mut self, key: &str) {
        self.element();
        self.text(key);
        if self.form == Form::Json {
            self.out.push(b':');
        }
    }

    /// Begins an element of an array; its value has to follow.
    pub(super) fn element(&mut self) {
        if self.form == Form::Json && self.comma {
            self.out.push(b',');
        }
        self.comma = true;
    }

    pub(super) fn text(&mut self, text: &str) {
        match self.form {
            Form::Json => {
                serde_json::to_writer(&mut self.out, text).expect("a Vec takes all that is written to it");
            }
            Form::Msgpack | Form::Notepack => msgpack::text(&mut self.out, text),
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        self.json(&number.to_string(), &[]);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.json(if value { "true" } else { "false" }, &[]);
    }

    pub(super) fn nil(&mut self) {
        self.json("null", &[]);
    }

    pub(super) fn texts(&mut self, texts: &[ByteString]) {
        self.array(texts.len());
        for text in texts {
            self.element();
            self.text(text);
        }
        self.end_array();
    }

    /// The whole of an event's data: its name and its arguments.
    pub(super) fn payload(&mut self, payload: &Payload) {
        self.json(payload.json(), payload.attachments());
    }

    /// The first argument of a payload, if there is one.
    pub(super) fn first_argument(&mut self, payload: &Payload) {
        let elements = payload.json().trim_start().strip_prefix('[').unwrap_or_default();
        let mut elements = serde_json::Deserializer::from_str(elements).into_iter::<&RawValue>();
        match elements.next() {
            Some(Ok(first)) => self.json(first.get(), payload.attachments()),
            _ => self.nil(),
        }
    }

    /// Valid JSON, placeholders of these attachments in it.
    pub(super) fn json(&mut self, json: &str, attachments: &[Bytes]) {
        match self.form {
            Form::Json if attachments.is_empty() || self.keeps_placeholders => {
                self.out.extend_from_slice(json.as_bytes());
            }
            Form::Json => self.json_with_buffers(json, attachments),
            Form::Msgpack | Form::Notepack => {
                msgpack::transcode(&mut self.out, json, attachments, self.form);
            }
        }
    }

    fn json_with_buffers(&mut self, json: &str, attachments: &[Bytes]) {
        let mut rest = json;
        while let Some(start) = memmem::find(rest.as_bytes(), PLACEHOLDER_START.as_bytes()) {
            self.out.extend_from_slice(&rest.as_bytes()[..start]);
            rest = &rest[start..];
            match placeholder(rest, attachments) {
                Some((attachment, len)) => {
                    self.buffer(attachment);
                    rest = &rest[len..];
                }
                None => {
                    self.out.push(b'{');
                    rest = &rest[1..];
                }
            }
        }
        self.out.extend_from_slice(rest.as_bytes());
    }

    fn buffer(&mut self, data: &[u8]) {
        self.out.extend_from_slice(br#"{"type":"Buffer","data":["#);
        for (index, byte) in data.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(byte.to_string().as_bytes());
        }
        self.out.extend_from_slice(b"]}");
    }
}

/// The attachment for which the placeholder stands that this text begins with, and how long that is.
pub(super) fn placeholder<'a>(json: &str, attachments: &'a [Bytes]) -> Option<(&'a Bytes, usize)> {
    let rest = json.strip_prefix(PLACEHOLDER_START)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let attachment = attachments.get(rest[..digits].parse::<usize>().ok()?)?;
    rest[digits..].starts_with('}').then_some((attachment, PLACEHOLDER_START.len() + digits + 1))
}

/// What all that is no payload usually fits into.
const FRAME_LEN: usize = 160;
