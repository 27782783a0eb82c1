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
/// It is as lenient and as strict as Node's, but: a packet nested deeper than 127 is an invalid payload, and an event
/// whose id is no whole number below 2⁶⁴ is refused, because it could not be acknowledged. (Other packets with such an
/// id have none.)
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
        let id = self.id();
        let data = self.data(kind)?;
        let id = match id {
            // No acknowledgement of ours has such an id, and other packets need none.
            Err(DecodeError::IdOutOfRange) if kind != PacketKind::Event => None,
            id => id?,
        };
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
        let run = self.rest.slice_ref(&self.rest[..end]);
        self.skip(end);
        match run.parse() {
            Ok(id) if id <= MAX_SAFE_INTEGER => Ok(Some(id)),
            // As a number of JavaScript, and back: so is it written in the acknowledgement.
            _ => javascript::number_to_string(javascript::number(&run))
                .parse()
                .map(Some)
                .map_err(|_| DecodeError::IdOutOfRange),
        }
    }

    /// No data is accepted for every kind of packet.
    fn data(self, kind: PacketKind) -> Result<Option<Payload>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        Payload::from_json(kind, self.rest).map(Some).ok_or(DecodeError::InvalidPayload)
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
    /// The acknowledgement id of an event is no whole number below 2⁶⁴.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::encoded::{EncodedMessage, Part};
    use crate::proto::socketio::{Args, Map, Value};

    fn decode(text: &str) -> Result<Option<Packet>, DecodeError> {
        Decoder::new(DecoderLimits::default()).text(text.into())
    }

    fn packet(text: &str) -> Packet {
        decode(text).unwrap().unwrap()
    }

    /// Decodes a message that must be packets, the last one complete.
    fn decode_message(message: &EncodedMessage) -> Packet {
        let mut decoder = Decoder::new(DecoderLimits { max_attachments: 1000, ..DecoderLimits::default() });
        let mut last = None;
        for part in message.parts() {
            assert_eq!(last, None);
            last = match part {
                Part::Text(text) => decoder.text(std::str::from_utf8(&text[1..]).unwrap().into()),
                Part::Binary(data) => decoder.binary(Bytes::copy_from_slice(data)),
            }
            .unwrap();
        }
        last.unwrap()
    }

    #[test]
    fn ids_are_read_and_written_as_numbers_of_javascript() {
        let id = |text: &str| decode(&format!("2{text}[\"a\"]")).map(|packet| packet.unwrap().id);
        assert_eq!(id(""), Ok(None));
        assert_eq!(id("0"), Ok(Some(0)));
        assert_eq!(id("\u{feff}\t 1\u{3000}"), Ok(Some(1)));
        assert_eq!(id("9007199254740991"), Ok(Some(9_007_199_254_740_991)));
        assert_eq!(id("9007199254740993"), Ok(Some(9_007_199_254_740_992)));
        assert_eq!(id("12345678901234567890"), Ok(Some(12_345_678_901_234_567_000)));
        assert_eq!(id("99999999999999999999"), Err(DecodeError::IdOutOfRange));
        assert_eq!(id(&"9".repeat(400)), Err(DecodeError::IdOutOfRange));
        assert_eq!(id("1 2"), Err(DecodeError::IdOutOfRange));
        assert_eq!(packet("31 2[]").id, None);
        assert_eq!(decode("21 2{}"), Err(DecodeError::InvalidPayload));
    }

    #[test]
    fn texts_are_slices_of_the_message() {
        let message = ByteString::from("2/ns,7[\"e\",\"text\"]");
        let range = message.as_bytes().as_ptr_range();
        let packet = Decoder::new(DecoderLimits::default()).text(message).unwrap().unwrap();
        let data = packet.data.unwrap();
        for text in [&*packet.namespace, &**data.json(), data.args::<&str>().unwrap()] {
            assert!(range.contains(&text.as_ptr()), "{text}");
        }
    }

    #[test]
    fn a_packet_without_data_waits_for_its_attachments_too() {
        let mut decoder = Decoder::new(DecoderLimits::default());
        assert_eq!(decoder.text("51-/a,3".into()), Ok(None));
        let packet = decoder.binary(Bytes::from_static(b"x")).unwrap().unwrap();
        assert_eq!((packet.kind, packet.id, packet.data), (PacketKind::Event, Some(3), None));
        assert!(!decoder.is_pending());
    }

    #[test]
    fn what_waits_is_bounded() {
        let limits = DecoderLimits { max_attachments: 10, max_pending_bytes: 20 };
        let too_many = Err(DecodeError::TooManyPendingBytes { limit: 20 });
        let mut decoder = Decoder::new(limits);
        assert_eq!(decoder.text("52-[\"this is too much\"]".into()), too_many);
        assert_eq!(decoder.text("52-[\"e\"]".into()), Ok(None));
        assert_eq!(decoder.pending_bytes(), 8);
        assert_eq!(decoder.binary(Bytes::from_static(&[0; 12])), Ok(None));
        assert_eq!(decoder.binary(Bytes::from_static(&[0; 1])), too_many);
        assert_eq!((decoder.is_pending(), decoder.pending_bytes()), (false, 0));
    }

    #[test]
    fn an_attachment_counts_as_often_as_it_is_referred_to() {
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let text = format!("51-[\"e\",{}]", [placeholder; 20].join(","));
        let limits = DecoderLimits { max_attachments: 10, max_pending_bytes: 1000 };
        for (len, accepted) in [(50, true), (51, false)] {
            let mut decoder = Decoder::new(limits.clone());
            decoder.text(text.as_str().into()).unwrap();
            assert_eq!(decoder.binary(vec![0; len].into()).is_ok(), accepted, "{len}");
        }
    }

    #[test]
    fn placeholders_that_javascript_does_not_see_do_not_matter() {
        for data in [
            r#"["e",{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":9}}]"#,
            r#"["e",{"a":{"_placeholder":true,"num":9},"a":1}]"#,
            r#"["e",{"_placeholder":true,"_placeholder":1,"num":9}]"#,
        ] {
            let mut decoder = Decoder::new(DecoderLimits::default());
            decoder.text(format!("51-{data}").into()).unwrap();
            assert!(decoder.binary(Bytes::from_static(b"x")).is_ok(), "{data}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("2[\"e\",{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert!(packet(&nested(126)).data.unwrap().args::<Value>().is_ok());
        assert_eq!(decode(&nested(127)), Err(DecodeError::InvalidPayload));
        assert_eq!(decode(&format!("2[\"e\",{}", "[{".repeat(500_000))), Err(DecodeError::InvalidPayload));
    }

    #[test]
    fn a_reserved_name_is_seen_through_escapes() {
        assert_eq!(decode(r#"2["\u0063onnect"]"#), Err(DecodeError::InvalidPayload));
        assert_eq!(
            packet(r#"2["\u0063onnection"]"#).data.unwrap().event_name().unwrap().into_text(),
            "connection"
        );
        assert_eq!(packet("2[1e3]").data.unwrap().event_name().unwrap().into_text(), "1000");
        assert_eq!(packet("2[1e999]").data.unwrap().event_name().unwrap().into_text(), "Infinity");
    }

    #[test]
    fn an_error_leaves_the_decoder_empty() {
        let mut decoder = Decoder::new(DecoderLimits::default());
        decoder.text("51-[\"e\"]".into()).unwrap();
        assert_eq!(decoder.text("2[\"e\"]".into()), Err(DecodeError::TextUnexpected));
        assert!(decoder.text("2[\"e\"]".into()).unwrap().is_some());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            proptest::num::f64::NORMAL.prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|data| Value::from(Bytes::from(data))),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|members| Value::from(members.into_iter().collect::<Map>())),
            ]
        })
    }

    fn namespace() -> impl Strategy<Value = String> {
        prop_oneof![Just("/".to_owned()), "/[^,]{0,8}"]
    }

    fn safe_id() -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(0..=MAX_SAFE_INTEGER)
    }

    proptest! {
        #[test]
        fn values_come_back(
            namespace in namespace(),
            id in safe_id(),
            name in ".{0,8}",
            args in proptest::collection::vec(value(), 0..4),
        ) {
            let data = Payload::event(&name, &Args(args.clone())).unwrap();
            let packet = Packet { kind: PacketKind::Event, namespace: namespace.into(), id, data: Some(data) };
            let decoded = decode_message(&packet.encode());
            prop_assert_eq!(&decoded, &packet);
            let data = decoded.data.unwrap();
            prop_assert_eq!(data.event_name().unwrap().into_text(), name);
            prop_assert_eq!(data.values().unwrap(), args.clone());
            let echoed = Payload::ack(&data.raw_args()).unwrap();
            prop_assert_eq!(echoed.values().unwrap().len(), args.len());
        }

        #[test]
        fn any_messages_neither_panic_nor_grow_beyond_the_limit(
            messages in proptest::collection::vec(
                prop_oneof![
                    r#"[0-7 \t][0-9]{0,2}-?(/[a-z]{0,2},?)?[0-9 ]{0,3}[\[\]{}",:0-9eE\\u ]{0,12}"#.prop_map(Ok),
                    r#"5[1-3]-\["a"(,\{"_placeholder":true,"num":[0-3.5-]{1,2}\}){0,4}\]"#.prop_map(Ok),
                    ".{0,20}".prop_map(Ok),
                    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Err),
                ],
                0..8,
            ),
        ) {
            let mut decoder = Decoder::new(DecoderLimits { max_attachments: 3, max_pending_bytes: 100 });
            for message in messages {
                let packet = match message {
                    Ok(text) => decoder.text(text.into()),
                    Err(data) => decoder.binary(data.into()),
                };
                prop_assert!(decoder.pending_bytes() <= 100);
                if let Ok(Some(packet)) = packet {
                    let reencoded = decode_message(&packet.encode());
                    prop_assert_eq!(reencoded, packet);
                }
            }
        }
    }
}
