//! Packets in. Nothing is allocated for a length that is only announced: what is announced has to be there.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use rmp::Marker;

use super::date;
use crate::proto::socketio::attachment::{PLACEHOLDER_START, write_value};
use crate::proto::socketio::javascript::number_to_string;
use crate::proto::socketio::json::MAX_DEPTH;
use crate::proto::socketio::{Number, Packet, PacketKind, Payload};

/// The packet that is the whole of this message; its text, and its binary values with what it takes to keep them, are at
/// most `max_bytes`.
pub(super) fn packet(message: &Bytes, max_bytes: usize) -> Result<Packet, MsgpackError> {
    let mut reader = Reader { message, rest: message, timestamps: false };
    let Head::Map(len) = reader.head()? else { return Err(MsgpackError::InvalidPacketType) };
    let mut fields = Fields::default();
    for _ in 0..len {
        // As in JavaScript, of keys that are repeated the last one counts, and others do not matter.
        match &*reader.key()? {
            "type" => fields.kind = Some(reader.scalar()?),
            "nsp" => fields.namespace = Some(reader.scalar()?),
            "id" => fields.id = Some(reader.scalar()?),
            "data" => fields.data = Some(reader.data(max_bytes)?),
            _ => drop(reader.scalar()?),
        }
    }
    if !reader.rest.is_empty() {
        return Err(MsgpackError::TrailingBytes(reader.rest.len()));
    }
    fields.packet()
}

/// The value that is the whole of this message: its JSON text, and the binary values that placeholders in it stand for,
/// which are at most `max_bytes`. MessagePack's own timestamps are dates here, which the parser's clients do not know.
#[cfg(feature = "redis")]
pub(in crate::proto) fn json_of(
    message: &Bytes,
    max_bytes: usize,
) -> Result<(ByteString, Vec<Bytes>), MsgpackError> {
    let mut reader = Reader { message, rest: message, timestamps: true };
    let data = reader.data(max_bytes)?;
    if !reader.rest.is_empty() {
        return Err(MsgpackError::TrailingBytes(reader.rest.len()));
    }
    if data.has_placeholder && !data.attachments.is_empty() {
        return Err(MsgpackError::IllegalPlaceholder);
    }
    Ok((data.json.into(), data.attachments))
}

/// What a packet was found to have.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<Head<'a>>,
    namespace: Option<Head<'a>>,
    id: Option<Head<'a>>,
    data: Option<Data>,
}

impl Fields<'_> {
    fn packet(self) -> Result<Packet, MsgpackError> {
        let number = self.kind.as_ref().and_then(Head::number);
        let kind = number.and_then(Number::as_u64).and_then(|number| u8::try_from(number).ok());
        let kind = kind.and_then(PacketKind::from_number).ok_or(MsgpackError::InvalidPacketType)?;
        let Some(Head::Text(namespace)) = self.namespace else { return Err(MsgpackError::InvalidNamespace) };
        let namespace = match String::from_utf8_lossy(namespace) {
            Cow::Borrowed("/") => ByteString::from_static("/"),
            namespace => namespace.into_owned().into(),
        };
        let data = match self.data {
            None | Some(Data { kind: DataKind::Undefined, .. }) if kind.needs_no_data() => None,
            None => return Err(MsgpackError::InvalidPayload),
            Some(data) => Some(data.payload(kind)?),
        };
        let id = match self.id {
            None | Some(Head::Undefined) => None,
            Some(id) => match id.number().ok_or(MsgpackError::InvalidPacketId)? {
                number if number.as_f64().fract() != 0.0 => return Err(MsgpackError::InvalidPacketId),
                // As a number of JavaScript, and back: so is it written in the acknowledgement.
                number => match Number::from(number.as_f64()).as_u64() {
                    // No acknowledgement of ours has such an id, and other packets need none.
                    None if kind == PacketKind::Event => return Err(MsgpackError::IdOutOfRange),
                    id => id,
                },
            },
        };
        Ok(Packet { kind, namespace, id, data })
    }
}

impl PacketKind {
    fn needs_no_data(self) -> bool {
        matches!(self, PacketKind::Connect | PacketKind::Disconnect)
    }
}

/// The data of a packet in its canonical form.
struct Data {
    kind: DataKind,
    json: String,
    attachments: Vec<Bytes>,
    /// Whether an object looks like a placeholder that we did not write.
    has_placeholder: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum DataKind {
    Array,
    Map,
    Other,
    Text,
    Undefined,
}

impl Data {
    fn payload(self, kind: PacketKind) -> Result<Payload, MsgpackError> {
        let json = ByteString::from(self.json);
        let payload = match (kind, self.kind) {
            (PacketKind::Event, DataKind::Array) => Payload::event_of_any_name(json),
            (PacketKind::Ack, DataKind::Array)
            | (PacketKind::Connect | PacketKind::ConnectError, DataKind::Map)
            | (PacketKind::ConnectError, DataKind::Text) => Payload::from_json(kind, json),
            _ => None,
        };
        let payload = payload.ok_or(MsgpackError::InvalidPayload)?;
        if self.has_placeholder && !self.attachments.is_empty() {
            return Err(MsgpackError::IllegalPlaceholder);
        }
        Ok(payload.attach(self.attachments))
    }
}

/// A value without what it contains.
#[derive(Clone, Copy, Debug)]
enum Head<'a> {
    /// How many elements follow.
    Array(u32),
    Binary(&'a [u8]),
    Bool(bool),
    /// Milliseconds since 1970.
    Date(i64),
    Extension(i8, &'a [u8]),
    /// How many keys with their values follow.
    Map(u32),
    Nil,
    Number(Number),
    Text(&'a [u8]),
    Undefined,
}

impl Head<'_> {
    /// A number of JavaScript, unlike `NaN`.
    fn number(&self) -> Option<Number> {
        match self {
            Head::Number(number) if number.as_f64().is_finite() => Some(*number),
            _ => None,
        }
    }

    /// How many values follow that belong to this one.
    fn children(&self) -> u64 {
        match self {
            Head::Array(len) => u64::from(*len),
            Head::Map(len) => 2 * u64::from(*len),
            _ => 0,
        }
    }
}

/// A message that is being taken apart.
struct Reader<'a> {
    message: &'a Bytes,
    rest: &'a [u8],
    /// Whether extension -1 is a date.
    timestamps: bool,
}

impl<'a> Reader<'a> {
    /// Reads a value up to what it contains.
    fn head(&mut self) -> Result<Head<'a>, MsgpackError> {
        let marker = Marker::from_u8(u8::from_be_bytes(self.array()?));
        Ok(match marker {
            Marker::Null => Head::Nil,
            Marker::True => Head::Bool(true),
            Marker::False => Head::Bool(false),
            Marker::FixPos(value) => Head::Number(u64::from(value).into()),
            Marker::FixNeg(value) => Head::Number(i64::from(value).into()),
            Marker::U8 => Head::Number(u64::from(self.u8()?).into()),
            Marker::U16 => Head::Number(u64::from(self.u16()?).into()),
            Marker::U32 => Head::Number(u64::from(self.u32()?).into()),
            Marker::U64 => Head::Number(u64::from_be_bytes(self.array()?).into()),
            Marker::I8 => Head::Number(i64::from(i8::from_be_bytes(self.array()?)).into()),
            Marker::I16 => Head::Number(i64::from(i16::from_be_bytes(self.array()?)).into()),
            Marker::I32 => Head::Number(i64::from(i32::from_be_bytes(self.array()?)).into()),
            Marker::I64 => Head::Number(i64::from_be_bytes(self.array()?).into()),
            Marker::F32 => Head::Number(f64::from(f32::from_be_bytes(self.array()?)).into()),
            Marker::F64 => Head::Number(f64::from_be_bytes(self.array()?).into()),
            Marker::FixStr(len) => Head::Text(self.take(len.into())?),
            Marker::Str8 => self.u8().and_then(|len| self.take(len.into())).map(Head::Text)?,
            Marker::Str16 => self.u16().and_then(|len| self.take(len.into())).map(Head::Text)?,
            Marker::Str32 => self.u32().and_then(|len| self.take(len)).map(Head::Text)?,
            Marker::Bin8 => self.u8().and_then(|len| self.take(len.into())).map(Head::Binary)?,
            Marker::Bin16 => self.u16().and_then(|len| self.take(len.into())).map(Head::Binary)?,
            Marker::Bin32 => self.u32().and_then(|len| self.take(len)).map(Head::Binary)?,
            Marker::FixArray(len) => Head::Array(len.into()),
            Marker::Array16 => Head::Array(self.u16()?.into()),
            Marker::Array32 => Head::Array(self.u32()?),
            Marker::FixMap(len) => Head::Map(len.into()),
            Marker::Map16 => Head::Map(self.u16()?.into()),
            Marker::Map32 => Head::Map(self.u32()?),
            Marker::FixExt1 => match self.extension(1)? {
                (0, _) => Head::Undefined,
                (kind, data) => Head::Extension(kind, data),
            },
            Marker::FixExt2 => self.extension(2).map(|(kind, data)| Head::Extension(kind, data))?,
            Marker::FixExt4 => self.extension(4).map(|(kind, data)| self.extended(kind, data))?,
            Marker::FixExt8 => match self.extension(8)? {
                (0, data) => Head::Date(data.try_into().map_or(i64::MAX, i64::from_be_bytes)),
                (kind, data) => self.extended(kind, data),
            },
            Marker::FixExt16 => self.extension(16).map(|(kind, data)| Head::Extension(kind, data))?,
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => {
                let len = match marker {
                    Marker::Ext8 => self.u8()?.into(),
                    Marker::Ext16 => self.u16()?.into(),
                    _ => self.u32()?,
                };
                match self.extension(len)? {
                    (0, data) => Head::Binary(data), // an ArrayBuffer
                    (kind, data) => self.extended(kind, data),
                }
            }
            Marker::Reserved => return Err(MsgpackError::Malformed),
        })
    }

    fn extension(&mut self, len: u32) -> Result<(i8, &'a [u8]), MsgpackError> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok((kind, self.take(len)?))
    }

    fn extended(&self, kind: i8, data: &'a [u8]) -> Head<'a> {
        match timestamp(data).filter(|_| self.timestamps && kind == -1) {
            Some(milliseconds) => Head::Date(milliseconds),
            None => Head::Extension(kind, data),
        }
    }

    fn u8(&mut self) -> Result<u8, MsgpackError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, MsgpackError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, MsgpackError> {
        self.array().map(u32::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(MsgpackError::Malformed)?;
        self.rest = rest;
        Ok(*array)
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], MsgpackError> {
        let (data, rest) = self.rest.split_at_checked(len as usize).ok_or(MsgpackError::Malformed)?;
        self.rest = rest;
        Ok(data)
    }

    /// Goes past a value; gives it, whole if it contains nothing.
    fn scalar(&mut self) -> Result<Head<'a>, MsgpackError> {
        let head = self.head()?;
        let mut left = head.children();
        while left > 0 {
            left = (left - 1).saturating_add(self.head()?.children());
        }
        Ok(head)
    }

    /// A key as JavaScript makes a string of it.
    fn key(&mut self) -> Result<Cow<'a, str>, MsgpackError> {
        Ok(match self.head()? {
            Head::Text(text) | Head::Binary(text) => String::from_utf8_lossy(text),
            Head::Number(number) => number_to_string(number.as_f64()).into(),
            Head::Bool(true) => "true".into(),
            Head::Bool(false) => "false".into(),
            Head::Nil => "null".into(),
            Head::Undefined => "undefined".into(),
            Head::Array(_) | Head::Date(_) | Head::Extension(..) | Head::Map(_) => {
                return Err(MsgpackError::InvalidKey);
            }
        })
    }

    /// The data of a packet.
    fn data(&mut self, max_bytes: usize) -> Result<Data, MsgpackError> {
        let head = self.head()?;
        let kind = match head {
            Head::Array(_) => DataKind::Array,
            Head::Map(_) => DataKind::Map,
            Head::Text(_) => DataKind::Text,
            Head::Undefined => DataKind::Undefined,
            _ => DataKind::Other,
        };
        let mut writer = Writer {
            reader: self,
            json: Vec::new(),
            attachments: Vec::new(),
            attached: 0,
            has_placeholder: false,
            max_bytes,
        };
        writer.value(head, MAX_DEPTH)?;
        let Writer { json, attachments, has_placeholder, .. } = writer;
        let json = String::from_utf8(json).expect("only texts are written");
        Ok(Data { kind, json, attachments, has_placeholder })
    }
}

/// The milliseconds since 1970 of a timestamp in one of its three widths.
fn timestamp(data: &[u8]) -> Option<i64> {
    let (seconds, nanoseconds) = match data.len() {
        4 => (i64::from(u32::from_be_bytes(data.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(data.try_into().ok()?);
            ((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32)
        }
        12 => {
            let (nanoseconds, seconds) = data.split_first_chunk()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    Some(seconds.saturating_mul(1000).saturating_add((nanoseconds / 1_000_000).into()))
}

/// Makes JSON text and attachments of what it reads.
struct Writer<'r, 'a> {
    reader: &'r mut Reader<'a>,
    json: Vec<u8>,
    attachments: Vec<Bytes>,
    /// What it takes to keep the attachments.
    attached: usize,
    has_placeholder: bool,
    max_bytes: usize,
}

impl Writer<'_, '_> {
    /// Writes a value that was begun.
    fn value(&mut self, head: Head<'_>, depth: u32) -> Result<(), MsgpackError> {
        match head {
            Head::Nil | Head::Undefined => self.json.extend_from_slice(b"null"),
            Head::Bool(value) => self.json.extend_from_slice(if value { b"true" } else { b"false" }),
            Head::Number(number) => self.scalar(&number),
            Head::Text(text) => self.scalar(&*String::from_utf8_lossy(text)),
            Head::Date(milliseconds) => self.scalar(&date::iso_text(milliseconds)),
            Head::Binary(data) => self.binary(data),
            Head::Extension(kind, data) => {
                self.json.push(b'[');
                self.scalar(&kind);
                self.json.push(b',');
                self.binary(data);
                self.json.push(b']');
            }
            Head::Array(len) => self.elements(len, depth.checked_sub(1).ok_or(MsgpackError::TooDeep)?)?,
            Head::Map(len) => self.members(len, depth.checked_sub(1).ok_or(MsgpackError::TooDeep)?)?,
        }
        if self.json.len().saturating_add(self.attached) > self.max_bytes {
            return Err(MsgpackError::TooManyBytes { limit: self.max_bytes });
        }
        Ok(())
    }

    fn elements(&mut self, len: u32, depth: u32) -> Result<(), MsgpackError> {
        self.json.push(b'[');
        for index in 0..len {
            if index > 0 {
                self.json.push(b',');
            }
            let element = self.reader.head()?;
            self.value(element, depth)?;
        }
        self.json.push(b']');
        Ok(())
    }

    fn members(&mut self, len: u32, depth: u32) -> Result<(), MsgpackError> {
        self.json.push(b'{');
        let mut first = true;
        for _ in 0..len {
            let key = self.reader.key()?;
            let value = self.reader.head()?;
            if matches!(value, Head::Undefined) {
                continue;
            }
            self.has_placeholder |= key == "_placeholder" && matches!(value, Head::Bool(true));
            if !std::mem::take(&mut first) {
                self.json.push(b',');
            }
            self.scalar(&*key);
            self.json.push(b':');
            self.value(value, depth)?;
        }
        self.json.push(b'}');
        Ok(())
    }

    /// A slice of the message, which is of about the size of what is read from it.
    fn binary(&mut self, data: &[u8]) {
        self.json.extend_from_slice(PLACEHOLDER_START.as_bytes());
        self.scalar(&self.attachments.len());
        self.json.push(b'}');
        self.attachments.push(self.reader.message.slice_ref(data));
        self.attached = self.attached.saturating_add(size_of::<Bytes>() + data.len());
    }

    fn scalar<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        write_value(&mut self.json, value).expect("texts and numbers have a JSON form");
    }
}

/// Says why a message is no packet. The messages are those of Node's parser where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum MsgpackError {
    /// The acknowledgement id of an event is no whole number below 2⁶⁴.
    IdOutOfRange,
    /// An object looks like what stands for a binary value, and there are some.
    IllegalPlaceholder,
    /// A key that has no text.
    InvalidKey,
    /// There is no namespace, or it is no text.
    InvalidNamespace,
    /// The id is no whole number.
    InvalidPacketId,
    /// There is no type, or it is none from 0 to 4.
    InvalidPacketType,
    /// The data is not what packets of this type have.
    InvalidPayload,
    /// The message is no MessagePack, or ends too early.
    Malformed,
    /// Arrays and objects are nested too deep.
    TooDeep,
    /// The text and the binary values are too large.
    TooManyBytes { limit: usize },
    /// The packet ends before the message does.
    TrailingBytes(usize),
}

impl fmt::Display for MsgpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MsgpackError::IdOutOfRange => f.write_str("the acknowledgement id is out of range"),
            MsgpackError::IllegalPlaceholder => f.write_str("illegal attachments"),
            MsgpackError::InvalidKey => f.write_str("a key is no text and no number"),
            MsgpackError::InvalidNamespace => f.write_str("invalid namespace"),
            MsgpackError::InvalidPacketId => f.write_str("invalid packet id"),
            MsgpackError::InvalidPacketType => f.write_str("invalid packet type"),
            MsgpackError::InvalidPayload => f.write_str("invalid payload"),
            MsgpackError::Malformed => f.write_str("Could not parse"),
            MsgpackError::TooDeep => write!(f, "the data is nested deeper than {MAX_DEPTH}"),
            MsgpackError::TooManyBytes { limit } => {
                write!(f, "a packet becomes more than {limit} bytes (raise max_http_buffer_size)")
            }
            MsgpackError::TrailingBytes(bytes) => write!(f, "{bytes} trailing bytes"),
        }
    }
}

impl std::error::Error for MsgpackError {}
