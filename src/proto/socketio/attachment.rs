//! The serde bridge out: values become JSON text, byte leaves become placeholders and attachments.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Serializer as JsonSerializer;
use serde_json::ser::Formatter;

/// Before the index of the attachment in a placeholder as we write it; in JSON text it never occurs by chance, because
/// within a string the quotes would be escaped.
pub(in crate::proto) const PLACEHOLDER_START: &str = r#"{"_placeholder":true,"num":"#;

/// The attachments of a packet in the making, one after the other.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl Attachments {
    pub(super) fn push(&mut self, attachment: &[u8]) {
        self.data.extend_from_slice(attachment);
        self.ends.push(self.data.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.ranges().map(|(start, end)| &self.data[start..end])
    }

    pub(super) fn into_bytes(self) -> Vec<Bytes> {
        if self.ends.is_empty() {
            return Vec::new();
        }
        let Attachments { data, ends } = self;
        let data = Bytes::from(data);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| data.slice(start..end)).collect()
    }

    fn ranges(&self) -> impl Iterator<Item = (usize, usize)> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied())
    }
}

/// Writes JSON as `JSON.stringify` does, and bytes as `bytes` says.
pub(super) struct JavaScriptFormatter<'a> {
    bytes: BytesAs<'a>,
}

/// What becomes of a byte leaf.
enum BytesAs<'a> {
    /// A placeholder and an attachment.
    Attachment(&'a mut Attachments),
    /// Node's JSON form of a `Buffer`.
    BufferObject,
}

/// A JSON serializer as JavaScript's, for one value.
pub(super) type Json<'a> = JsonSerializer<&'a mut Vec<u8>, JavaScriptFormatter<'a>>;

/// Serializes into `out`, byte leaves into `attachments`.
pub(super) fn json_with_attachments<'a>(out: &'a mut Vec<u8>, attachments: &'a mut Attachments) -> Json<'a> {
    JsonSerializer::with_formatter(out, JavaScriptFormatter { bytes: BytesAs::Attachment(attachments) })
}

/// Appends one value without attachments: bytes become `{"type":"Buffer","data":[…]}`.
pub(super) fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    let formatter = JavaScriptFormatter { bytes: BytesAs::BufferObject };
    value.serialize(&mut JsonSerializer::with_formatter(out, formatter))
}

/// Strings are escaped, integers written as serde_json does; that is how JavaScript does both (but an integer beyond
/// 2⁵³ is written exactly, which JavaScript could not).
impl Formatter for JavaScriptFormatter<'_> {
    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        writer.write_all(ryu_js::Buffer::new().format_finite(value).as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(ryu_js::Buffer::new().format_finite(value).as_bytes())
    }

    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: &[u8]) -> io::Result<()> {
        match &mut self.bytes {
            BytesAs::Attachment(attachments) => {
                write!(writer, "{PLACEHOLDER_START}{}}}", attachments.len())?;
                attachments.push(value);
            }
            BytesAs::BufferObject => {
                writer.write_all(br#"{"type":"Buffer","data":["#)?;
                for (i, byte) in value.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(writer, "{comma}{byte}")?;
                }
                writer.write_all(b"]}")?;
            }
        }
        Ok(())
    }
}
