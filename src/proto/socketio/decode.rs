//! Packets in: texts and attachments go in, whole packets come out.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::{Packet, PacketKind, Payload, javascript};

/// What a [`Decoder`] accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Attachments per packet (default: 10, as on Node).
    pub max_attachments: usize,
    /// Bytes that a packet awaiting attachments may keep: its text, and the attachments, each counted as often as the
    /// packet refers to it (default: 11 000 000, ten attachments and a text of Engine.IO's default payload limit).
    pub max_pending_bytes: usize,
}

impl Default for DecoderLimits {
    fn default() -> DecoderLimits {
        DecoderLimits { max_attachments: 10, max_pending_bytes: 11_000_000 }
    }
}

/// Makes packets of messages.
///
/// ```text
///            text of type 0 to 4: packet
///          ┌──┐                         binary, not the last: kept
///          │  ▼                         ┌──┐
///        Empty ── text of type 5, 6 ──▶ Pending
///          ▲                              │
///          └── last binary: packet ───────┘
/// ```
/// Anything else is an error, after which the decoder is empty and the connection should be closed. At most one packet
/// waits, and what it holds is bounded.
///
/// It is as lenient and as strict as Node's, but: a packet nested deeper than 127 is an invalid payload, and an id which
/// is no whole number below 2⁶⁴ is refused, because such an event could not be acknowledged.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    pending: Option<Pending>,
}

/// A packet that waits for attachments.
#[derive(Debug)]
struct Pending {
    packet: Packet,
    attachments: Vec<Bytes>,
    announced: usize,
    bytes: usize,
}

impl Decoder {
    /// Makes an empty one.
    pub fn new(limits: DecoderLimits) -> Decoder {
        Decoder { limits, pending: None }
    }

    /// Takes the text of a message.
    ///
    /// # Errors
    /// If it is no packet, or if attachments should have come first.
    pub fn text(&mut self, text: ByteString) -> Result<Option<Packet>, DecodeError> {
        if self.pending.take().is_some() {
            return Err(DecodeError::TextUnexpected);
        }
        let bytes = text.len();
        let (packet, announced) = Reader { rest: text }.packet(self.limits.max_attachments)?;
        if announced == 0 {
            return Ok(Some(packet));
        }
        self.pending =
            Some(self.within_limit(Pending { packet, attachments: Vec::new(), announced, bytes })?);
        Ok(None)
    }

    /// Takes a binary message: an attachment of the packet that waits.
    ///
    /// # Errors
    /// If no packet waits, or if this is the last attachment and the packet refers to others.
    pub fn binary(&mut self, data: Bytes) -> Result<Option<Packet>, DecodeError> {
        let mut pending = self.pending.take().ok_or(DecodeError::BinaryUnexpected)?;
        pending.bytes = pending.bytes.saturating_add(data.len());
        pending.attachments.push(data);
        let pending = self.within_limit(pending)?;
        if pending.attachments.len() < pending.announced {
            self.pending = Some(pending);
            return Ok(None);
        }
        pending.complete(self.limits.max_pending_bytes).map(Some)
    }

    /// Whether a packet waits for attachments.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// How many bytes the packet keeps that waits for attachments.
    pub fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes)
    }

    fn within_limit(&self, pending: Pending) -> Result<Pending, DecodeError> {
        let limit = self.limits.max_pending_bytes;
        if pending.bytes > limit {
            return Err(DecodeError::TooManyPendingBytes { limit });
        }
        Ok(pending)
    }
}

impl Pending {
    fn complete(self, max_bytes: usize) -> Result<Packet, DecodeError> {
        let Pending { mut packet, attachments, .. } = self;
        packet.data = match packet.data {
            None => None,
            Some(data) => {
                let data = data.with_attachments(attachments, max_bytes);
                Some(data.ok_or(DecodeError::IllegalPlaceholder)?)
            }
        };
        Ok(packet)
    }
}

/// The rest of a text that is being taken apart.
struct Reader {
    rest: ByteString,
}

impl Reader {
    /// `<type>[<attachments>-][<namespace>,][<id>][<json>]`; the packet and how many attachments it announces.
    fn packet(mut self, max_attachments: usize) -> Result<(Packet, usize), DecodeError> {
        let (kind, has_attachments) = self.kind()?;
        let announced = if has_attachments { self.attachments(max_attachments)? } else { 0 };
        let namespace = self.namespace();
        let id = self.id()?;
        let data = self.data(kind)?;
        Ok((Packet { kind, namespace, id, data }, announced))
    }

    /// Node reads the first character with `Number()`, for which nothing and whitespace are 0.
    fn kind(&mut self) -> Result<(PacketKind, bool), DecodeError> {
        let first = self.rest.chars().next();
        self.skip(first.map_or(0, char::len_utf8));
        match first {
            None | Some('0') => Ok((PacketKind::Connect, false)),
            Some('1') => Ok((PacketKind::Disconnect, false)),
            Some('2') => Ok((PacketKind::Event, false)),
            Some('3') => Ok((PacketKind::Ack, false)),
            Some('4') => Ok((PacketKind::ConnectError, false)),
            Some('5') => Ok((PacketKind::Event, true)),
            Some('6') => Ok((PacketKind::Ack, true)),
            Some(c) if javascript::is_whitespace(c) => Ok((PacketKind::Connect, false)),
            Some(c) => Err(DecodeError::UnknownPacketType(c.to_digit(10))),
        }
    }

    /// Up to the `-`, read with `Number()`: `01`, `1e0`, `0x1` and ` 1 ` are 1.
    fn attachments(&mut self, limit: usize) -> Result<usize, DecodeError> {
        let dash = memchr::memchr(b'-', self.rest.as_bytes()).ok_or(DecodeError::IllegalAttachments)?;
        let count = javascript::number(&self.rest[..dash]);
        self.skip(dash + 1);
        if !(count >= 1.0 && count.is_finite() && count.fract() == 0.0) {
            return Err(DecodeError::IllegalAttachments);
        }
        if count > limit as f64 {
            return Err(DecodeError::TooManyAttachments { limit });
        }
        Ok(count as usize)
    }

    /// Without a comma all the rest is the namespace.
    fn namespace(&mut self) -> ByteString {
        if !self.rest.starts_with('/') {
            return ByteString::from_static("/");
        }
        let end = memchr::memchr(b',', self.rest.as_bytes()).unwrap_or(self.rest.len());
        let namespace = match &self.rest[..end] {
            "/" => ByteString::from_static("/"),
            other => self.rest.slice_ref(other),
        };
        self.skip((end + 1).min(self.rest.len()));
        namespace
    }

    /// All digits and whitespace that come now, read with `Number()`: whitespace alone is 0.
    fn id(&mut self) -> Result<Option<u64>, DecodeError> {
        let not_id = |c: char| !c.is_ascii_digit() && !javascript::is_whitespace(c);
        let end = self.rest.find(not_id).unwrap_or(self.rest.len());
        if end == 0 {
            return Ok(None);
        }
        let run = &self.rest[..end];
        let id = match run.parse() {
            Ok(id) if id <= MAX_SAFE_INTEGER => id,
            // As a number of JavaScript, and back: so is it written in the acknowledgement.
            _ => javascript::number_to_string(javascript::number(run))
                .parse()
                .map_err(|_| DecodeError::IdOutOfRange)?,
        };
        self.skip(end);
        Ok(Some(id))
    }

    /// No data is accepted for every kind of packet.
    fn data(self, kind: PacketKind) -> Result<Option<Payload>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let payload = match kind {
            PacketKind::Connect => Payload::object_from_json(self.rest),
            PacketKind::Disconnect => None,
            PacketKind::Event => Payload::event_from_json(self.rest),
            PacketKind::Ack => Payload::ack_from_json(self.rest),
            PacketKind::ConnectError => Payload::object_or_string_from_json(self.rest),
        };
        payload.map(Some).ok_or(DecodeError::InvalidPayload)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.slice_ref(&self.rest[bytes..]);
    }
}

/// `Number.MAX_SAFE_INTEGER`: up to here all integers are numbers of JavaScript.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Says why messages are no packet. The messages are those of Node's parser where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A binary message came while no packet waits for attachments.
    BinaryUnexpected,
    /// The acknowledgement id is no whole number below 2⁶⁴.
    IdOutOfRange,
    /// The number of attachments is none.
    IllegalAttachments,
    /// A placeholder refers to no attachment, or together they refer to more bytes than may wait.
    IllegalPlaceholder,
    /// The data is no JSON, or not what packets of this kind have.
    InvalidPayload,
    /// A text message came while a packet waits for attachments.
    TextUnexpected,
    /// The packet announces more attachments than it may have.
    TooManyAttachments {
        /// [`DecoderLimits::max_attachments`]
        limit: usize,
    },
    /// A packet that waits for attachments is too large.
    TooManyPendingBytes {
        /// [`DecoderLimits::max_pending_bytes`]
        limit: usize,
    },
    /// The first character is no packet type: a digit beyond 6, or no digit at all.
    UnknownPacketType(Option<u32>),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::BinaryUnexpected => f.write_str("got binary data when not reconstructing a packet"),
            DecodeError::IdOutOfRange => f.write_str("the acknowledgement id is out of range"),
            DecodeError::IllegalAttachments => f.write_str("Illegal attachments"),
            DecodeError::IllegalPlaceholder => f.write_str("illegal attachments"),
            DecodeError::InvalidPayload => f.write_str("invalid payload"),
            DecodeError::TextUnexpected => f.write_str("got plaintext data when reconstructing a packet"),
            DecodeError::TooManyAttachments { .. } => f.write_str("too many attachments"),
            DecodeError::TooManyPendingBytes { limit } => {
                write!(f, "a packet that awaits attachments has more than {limit} bytes")
            }
            DecodeError::UnknownPacketType(Some(digit)) => write!(f, "unknown packet type {digit}"),
            DecodeError::UnknownPacketType(None) => f.write_str("unknown packet type NaN"),
        }
    }
}

impl std::error::Error for DecodeError {}
