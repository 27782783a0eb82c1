//! `EncodedMessage`: one message made ready for every transport, once.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, Bytes};

use crate::proto::engineio::{Message, Revision};
use crate::proto::frame::{self, MAX_HEADER_LEN, Opcode};
use crate::proto::javascript;

/// One message, encoded once and shared by all its recipients: a text packet, a binary packet, or a text packet
/// followed by its attachments.
///
/// ```text
/// ws4       82 0d "42["hello"]…"        one text frame
///           82 03 01 02 03              one binary frame per attachment
/// polling4  42["hello"]… ␞ bAQID        made from it: text is a slice, base64 is computed once
/// ws3       82 04 04 01 02 03           text as in ws4, binary with its type
/// polling3  15:42["hello"]…8:b4AQID     written into the body, where each packet has its length
/// ```
pub struct EncodedMessage {
    ws4: Bytes,
    packets: usize,
    compress: bool,
    loss: Loss,
    /// The polling form where it is no slice of `ws4`: a broadcast to many pollers encodes base64 once.
    polling4: OnceLock<Bytes>,
    /// Boxed, so that a message does not pay for what few clients ask for.
    rare: OnceLock<Box<RareForms>>,
}

/// What may become of a message before it leaves.
#[derive(Debug, Default)]
enum Loss {
    #[default]
    Never,
    /// It may be dropped if the peer is too slow.
    Droppable,
    /// The same; and the next one with this key takes its place.
    Superseded(Arc<str>),
}

/// Further WebSocket forms, each where it is not `ws4`: that is where something is binary.
#[derive(Debug, Default)]
struct RareForms {
    /// Binary packets as base64 text.
    ws4_base64: OnceLock<Bytes>,
    /// Binary packets with their type.
    ws3: OnceLock<Bytes>,
    /// Binary packets as base64 text with their type.
    ws3_base64: OnceLock<Bytes>,
    /// The compressed forms, by [`Form`].
    deflated: [OnceLock<Bytes>; Form::COUNT],
}

/// How a client wants its WebSocket frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// [`EncodedMessage::ws4`]
    Ws4,
    /// [`EncodedMessage::ws4_base64`]
    Ws4Base64,
    /// [`EncodedMessage::ws3`]
    Ws3,
    /// [`EncodedMessage::ws3_base64`]
    Ws3Base64,
}

impl Form {
    /// How many there are.
    const COUNT: usize = Form::Ws3Base64 as usize + 1;

    /// What a client of this revision wants; `base64`: it has `b64` in its query.
    pub(crate) fn new(revision: Revision, base64: bool) -> Form {
        match (revision, base64) {
            (Revision::V4, false) => Form::Ws4,
            (Revision::V4, true) => Form::Ws4Base64,
            (Revision::V3, false) => Form::Ws3,
            (Revision::V3, true) => Form::Ws3Base64,
        }
    }
}

impl fmt::Debug for EncodedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says is nobody's who logs it; the open packet holds a credential.
        f.debug_struct("EncodedMessage").field("len", &self.len()).field("packets", &self.packets).finish()
    }
}

/// Between two packets of a polling body (Engine.IO 4).
const SEPARATOR: u8 = 0x1e;

/// The type of a message, where a byte says it (Engine.IO 3).
const MESSAGE: u8 = 4;

impl EncodedMessage {
    /// Makes one from a whole Engine.IO text packet, its type character included (`4hello`, `2`, `0{…}`).
    pub fn text(packet: &str) -> EncodedMessage {
        let mut text = TextInPlace::with_capacity(packet.len());
        text.buffer().extend_from_slice(packet.as_bytes());
        text.finish(b"", std::iter::empty())
    }

    /// Makes one from a message.
    pub fn message(message: &Message) -> EncodedMessage {
        match message {
            Message::Text(text) => EncodedMessage::text(&format!("4{text}")),
            Message::Binary(data) => EncodedMessage::binary(data),
        }
    }

    /// Makes one from several messages, which stay together.
    pub fn messages(messages: &[Message]) -> EncodedMessage {
        if let [message] = messages {
            return EncodedMessage::message(message);
        }
        let mut frames = Vec::new();
        for message in messages {
            match message {
                Message::Text(text) => {
                    frame::push_frame(&mut frames, Opcode::Text, format!("4{text}").as_bytes());
                }
                Message::Binary(data) => frame::push_frame(&mut frames, Opcode::Binary, data),
            }
        }
        EncodedMessage::from_frames(frames.into(), messages.len())
    }

    /// Makes one from the data of a binary message packet.
    pub fn binary(data: &[u8]) -> EncodedMessage {
        let mut ws4 = Vec::with_capacity(frame::header_len(data.len()) + data.len());
        frame::push_frame(&mut ws4, Opcode::Binary, data);
        EncodedMessage::from_frames(ws4.into(), 1)
    }

    /// The packet `2`, made once and shared by all.
    pub fn ping() -> Arc<EncodedMessage> {
        static PING: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&PING, b"\x81\x012")
    }

    /// The packet `3`, made once and shared by all.
    pub fn pong() -> Arc<EncodedMessage> {
        static PONG: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&PONG, b"\x81\x013")
    }

    /// The packet `3probe`, the answer to a probe, made once and shared by all.
    pub fn probe_pong() -> Arc<EncodedMessage> {
        static PROBE_PONG: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&PROBE_PONG, b"\x81\x063probe")
    }

    /// The packet `6`, made once and shared by all.
    pub fn noop() -> Arc<EncodedMessage> {
        static NOOP: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&NOOP, b"\x81\x016")
    }

    /// The packet `1`, made once and shared by all.
    pub fn close() -> Arc<EncodedMessage> {
        static CLOSE: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&CLOSE, b"\x81\x011")
    }

    /// Says whether a transport may compress this message (default: it may).
    #[must_use]
    pub fn with_compress(mut self, compress: bool) -> EncodedMessage {
        self.compress = compress;
        self
    }

    /// Whether a transport may compress this message.
    pub fn compress(&self) -> bool {
        self.compress
    }

    /// Says that the message may be lost where the peer does not keep up and
    /// [`SlowConsumer`](crate::proto::engineio::SlowConsumer) says so (default: it is never lost).
    #[must_use]
    pub fn with_droppable(mut self) -> EncodedMessage {
        self.loss = Loss::Droppable;
        self
    }

    /// The same; and as long as it waits in a send queue, the next message with the same key takes its place.
    #[must_use]
    pub fn with_key(mut self, key: Arc<str>) -> EncodedMessage {
        self.loss = Loss::Superseded(key);
        self
    }

    /// Whether the message may be lost for a peer that does not keep up.
    pub fn is_droppable(&self) -> bool {
        !matches!(self.loss, Loss::Never)
    }

    /// The key under which the next message takes its place.
    pub fn key(&self) -> Option<&Arc<str>> {
        match &self.loss {
            Loss::Superseded(key) => Some(key),
            Loss::Droppable | Loss::Never => None,
        }
    }

    /// Nothing at all, made once: it marks in a send queue the place of what was taken out.
    pub(crate) fn nothing() -> Arc<EncodedMessage> {
        static NOTHING: OnceLock<Arc<EncodedMessage>> = OnceLock::new();
        control(&NOTHING, b"")
    }

    /// The finished WebSocket frames, one after the other: the text frame, then one binary frame per attachment.
    pub fn ws4(&self) -> &Bytes {
        &self.ws4
    }

    /// The same for a client that wants binary packets as text frames, `b` and base64 (`b64` in its query).
    pub fn ws4_base64(&self) -> &Bytes {
        self.rare_form(|rare| &rare.ws4_base64, |data| (Opcode::Text, base64_packet("b", data)))
    }

    /// The finished WebSocket frames for a client of Engine.IO 3: the type of a binary packet is its first byte.
    pub fn ws3(&self) -> &Bytes {
        self.rare_form(|rare| &rare.ws3, |data| (Opcode::Binary, [&[MESSAGE], data].concat()))
    }

    /// The same for a client that wants binary packets as text frames, `b4` and base64 (`b64` in its query).
    pub fn ws3_base64(&self) -> &Bytes {
        self.rare_form(|rare| &rare.ws3_base64, |data| (Opcode::Text, base64_packet("b4", data)))
    }

    /// The finished WebSocket frames in this form.
    pub(crate) fn frames(&self, form: Form) -> &Bytes {
        match form {
            Form::Ws4 => self.ws4(),
            Form::Ws4Base64 => self.ws4_base64(),
            Form::Ws3 => self.ws3(),
            Form::Ws3Base64 => self.ws3_base64(),
        }
    }

    /// The same compressed by `deflate`, which the first recipient calls for all.
    pub(crate) fn deflated(&self, form: Form, deflate: impl FnOnce() -> Bytes) -> &Bytes {
        self.rare.get_or_init(Box::default).deflated[form as usize].get_or_init(deflate)
    }

    /// The length of [`EncodedMessage::ws4`].
    pub fn len(&self) -> usize {
        self.ws4.len()
    }

    /// How many bytes this message counts for in a send queue: its length, and what it takes to keep it. Otherwise a
    /// queue of messages of a few bytes would hold many times its bound.
    pub fn weight(&self) -> usize {
        self.len() + EncodedMessage::OVERHEAD
    }

    /// What a message of a few bytes takes in memory, measured on 64-bit Linux.
    pub const OVERHEAD: usize = 512;

    /// Whether there is nothing to send (never the case for a message that can be made).
    pub fn is_empty(&self) -> bool {
        self.ws4.is_empty()
    }

    /// Engine.IO packets in this message (one plus the attachments).
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// The Engine.IO packets in order, as a transport that makes its own frames needs them.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        parts(&self.ws4)
    }

    /// Whether one of the packets is binary.
    pub fn has_binary(&self) -> bool {
        self.only_text().is_none()
    }

    /// The packets as a polling body of their own (Engine.IO 4); for text this is a slice of
    /// [`EncodedMessage::ws4`].
    pub fn polling4(&self) -> Bytes {
        match self.only_text() {
            Some(text) => self.ws4.slice_ref(text),
            None => self.polling4_with_binary().clone(),
        }
    }

    /// Appends the packets as a part of a polling body (Engine.IO 4): packets separated by U+001E, binary as `b`
    /// and base64. `body` is empty or ends with a whole packet: a separator is written before the first packet if
    /// `body` is not empty.
    pub fn append_polling4(&self, body: &mut Vec<u8>) {
        let packets = match self.only_text() {
            Some(text) => text,
            None => self.polling4_with_binary(),
        };
        body.reserve(1 + packets.len());
        if !body.is_empty() {
            body.push(SEPARATOR);
        }
        body.extend_from_slice(packets);
    }

    /// Appends the packets as a part of a polling body in the string form of Engine.IO 3: each after its length in
    /// UTF-16 units, binary as `b4` and base64.
    pub fn append_polling3(&self, body: &mut Vec<u8>) {
        for part in parts(self.ws3_base64()) {
            let (Part::Text(packet) | Part::Binary(packet)) = part; // base64 is text: all are
            body.extend_from_slice(javascript::utf16_len(packet).to_string().as_bytes());
            body.push(b':');
            body.extend_from_slice(packet);
        }
    }

    /// Appends the packets as a part of a polling body in the binary form of Engine.IO 3: each after a marker (text or
    /// binary), the decimal digits of its length in bytes, and `ff`.
    pub fn append_polling3_binary(&self, body: &mut Vec<u8>) {
        for part in self.parts() {
            let (marker, kind, content) = match part {
                Part::Text(packet) => (0, &[][..], packet),
                Part::Binary(data) => (1, &[MESSAGE][..], data),
            };
            body.push(marker);
            body.extend((kind.len() + content.len()).to_string().bytes().map(|digit| digit - b'0'));
            body.push(0xff);
            body.extend_from_slice(kind);
            body.extend_from_slice(content);
        }
    }

    const fn from_frames(ws4: Bytes, packets: usize) -> EncodedMessage {
        EncodedMessage {
            ws4,
            packets,
            compress: true,
            loss: Loss::Never,
            polling4: OnceLock::new(),
            rare: OnceLock::new(),
        }
    }

    /// A form that differs from [`EncodedMessage::ws4`] in its binary packets only, made once.
    fn rare_form(
        &self,
        form: impl FnOnce(&RareForms) -> &OnceLock<Bytes>,
        binary: impl Fn(&[u8]) -> (Opcode, Vec<u8>),
    ) -> &Bytes {
        if !self.has_binary() {
            return &self.ws4;
        }
        form(self.rare.get_or_init(Box::default)).get_or_init(|| {
            let mut frames = Vec::with_capacity(self.len() / 3 * 4 + MAX_HEADER_LEN * self.packets);
            for part in self.parts() {
                match part {
                    Part::Text(packet) => frame::push_frame(&mut frames, Opcode::Text, packet),
                    Part::Binary(data) => {
                        let (opcode, packet) = binary(data);
                        frame::push_frame(&mut frames, opcode, &packet);
                    }
                }
            }
            frames.into()
        })
    }

    fn only_text(&self) -> Option<&[u8]> {
        match frame::split_frame(&self.ws4)? {
            (Opcode::Text, text, []) => Some(text),
            _ => None,
        }
    }

    fn polling4_with_binary(&self) -> &Bytes {
        self.polling4.get_or_init(|| {
            let mut body = String::with_capacity(self.len() / 3 * 4 + 4 * self.packets);
            for part in self.parts() {
                if !body.is_empty() {
                    body.push(char::from(SEPARATOR));
                }
                match part {
                    Part::Text(text) => body.push_str(&String::from_utf8_lossy(text)),
                    Part::Binary(data) => {
                        body.push('b');
                        BASE64.encode_string(data, &mut body);
                    }
                }
            }
            body.into()
        })
    }
}

/// One Engine.IO packet of an [`EncodedMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A text packet with its type character; always UTF-8.
    Text(&'a [u8]),
    /// The data of a binary message packet.
    Binary(&'a [u8]),
}

/// A text packet written where it will stay: the buffer begins with room for what is known only at the end (a prefix
/// and the frame header), which is then written backwards into that room. So a message costs no copy, and one
/// allocation while it fits its capacity.
#[derive(Debug)]
pub(crate) struct TextInPlace {
    buffer: Vec<u8>,
}

impl TextInPlace {
    /// The longest prefix: `45`, the digits of a `u64`, `-`.
    pub(crate) const MAX_PREFIX_LEN: usize = 23;

    const ROOM: usize = MAX_HEADER_LEN + TextInPlace::MAX_PREFIX_LEN;

    /// Starts an empty text for which `capacity` bytes after the prefix are enough.
    pub(crate) fn with_capacity(capacity: usize) -> TextInPlace {
        let mut buffer = Vec::with_capacity(TextInPlace::ROOM + capacity);
        buffer.extend_from_slice(&[0; TextInPlace::ROOM]);
        TextInPlace { buffer }
    }

    /// The buffer, to which only UTF-8 may be appended; what it holds already stays as it is.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the prefix (UTF-8, at most [`TextInPlace::MAX_PREFIX_LEN`] bytes) and the frame header before the
    /// text, and appends the attachments as binary frames.
    pub(crate) fn finish<'a>(
        mut self,
        prefix: &[u8],
        attachments: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> EncodedMessage {
        let text_start = TextInPlace::ROOM - prefix.len();
        let text_len = self.buffer.len() - text_start;
        self.buffer[text_start..TextInPlace::ROOM].copy_from_slice(prefix);

        let room = self.buffer[..text_start].last_chunk_mut().expect("a header fits before the prefix: ROOM");
        let frame_start =
            text_start - MAX_HEADER_LEN + frame::write_header_before(room, Opcode::Text, text_len);

        let frames = attachments.clone().map(|data| frame::header_len(data.len()) + data.len());
        self.buffer.reserve_exact(frames.sum());
        let mut packets = 1;
        for data in attachments {
            frame::push_frame(&mut self.buffer, Opcode::Binary, data);
            packets += 1;
        }

        let mut ws4 = Bytes::from(self.buffer);
        ws4.advance(frame_start);
        EncodedMessage::from_frames(ws4, packets)
    }
}

/// The packets in finished frames.
fn parts(frames: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (opcode, payload, after) = frame::split_frame(rest)?;
        rest = after;
        Some(match opcode {
            Opcode::Text => Part::Text(payload),
            _ => Part::Binary(payload),
        })
    })
}

fn base64_packet(prefix: &str, data: &[u8]) -> Vec<u8> {
    let mut packet = prefix.to_owned();
    BASE64.encode_string(data, &mut packet);
    packet.into_bytes()
}

fn control(cell: &OnceLock<Arc<EncodedMessage>>, frame: &'static [u8]) -> Arc<EncodedMessage> {
    cell.get_or_init(|| Arc::new(EncodedMessage::from_frames(Bytes::from_static(frame), 1))).clone()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_attachments(text: &str, attachments: &[Bytes]) -> EncodedMessage {
        let mut builder = TextInPlace::with_capacity(0);
        builder.buffer().extend_from_slice(text.as_bytes());
        builder.finish(b"", attachments.iter().map(|data| &data[..]))
    }

    fn polling(message: &EncodedMessage, before: &str) -> String {
        let mut body = before.as_bytes().to_vec();
        message.append_polling4(&mut body);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn text_is_one_frame_and_its_polling_form_a_slice_of_it() {
        let message = EncodedMessage::text("4hello");
        assert_eq!(message.ws4(), &b"\x81\x064hello"[..]);
        assert_eq!((message.len(), message.packets(), message.compress()), (8, 1, true));
        assert_eq!(message.polling4().as_ptr(), message.ws4()[2..].as_ptr());
        assert_eq!(polling(&message, ""), "4hello");
        assert_eq!(polling(&message, "2"), "2\u{1e}4hello");
    }

    #[test]
    fn binary_is_base64_for_pollers_computed_once() {
        let message = EncodedMessage::binary(&[1, 2, 3]);
        assert_eq!(message.ws4(), &b"\x82\x03\x01\x02\x03"[..]);
        assert_eq!(polling(&message, ""), "bAQID");
        assert_eq!(message.polling4().as_ptr(), message.polling4().as_ptr());
        assert_eq!(polling(&EncodedMessage::binary(&[]), "x"), "x\u{1e}b");
    }

    #[test]
    fn attachments_follow_their_text() {
        let attachments = [Bytes::from_static(&[1]), Bytes::from_static(&[])];
        let message = with_attachments("452-[]", &attachments).with_compress(false);
        assert_eq!(message.ws4(), &b"\x81\x06452-[]\x82\x01\x01\x82\x00"[..]);
        assert_eq!((message.packets(), message.compress()), (3, false));
        assert_eq!(polling(&message, "6"), "6\u{1e}452-[]\u{1e}bAQ==\u{1e}b");
    }

    #[test]
    fn several_messages_stay_together_in_their_order() {
        let messages = [Message::Binary(Bytes::from_static(&[1])), Message::Text("a".into())];
        let message = EncodedMessage::messages(&messages);
        assert_eq!(message.ws4(), &b"\x82\x01\x01\x81\x024a"[..]);
        assert_eq!((message.packets(), polling(&message, "6").as_str()), (2, "6\u{1e}bAQ==\u{1e}4a"));
        assert_eq!(EncodedMessage::messages(&messages[1..]).ws4(), EncodedMessage::text("4a").ws4());
    }

    #[test]
    fn binary_has_a_type_in_revision_3() {
        let attachments = [Bytes::from_static(&[1]), Bytes::from_static(&[])];
        let message = with_attachments("452-[]", &attachments);
        assert_eq!(message.ws4_base64(), &b"\x81\x06452-[]\x81\x05bAQ==\x81\x01b"[..]);
        assert_eq!(message.ws3(), &b"\x81\x06452-[]\x82\x02\x04\x01\x82\x01\x04"[..]);
        assert_eq!(message.ws3_base64(), &b"\x81\x06452-[]\x81\x06b4AQ==\x81\x02b4"[..]);
        assert!(message.has_binary());

        let (mut text, mut binary) = (b"1:6".to_vec(), b"\0\x01\xff6".to_vec());
        message.append_polling3(&mut text);
        message.append_polling3_binary(&mut binary);
        assert_eq!(text, b"1:66:452-[]6:b4AQ==2:b4");
        assert_eq!(binary, b"\0\x01\xff6\0\x06\xff452-[]\x01\x02\xff\x04\x01\x01\x01\xff\x04");
    }

    #[test]
    fn further_forms_are_made_once_and_only_where_something_is_binary() {
        let text = EncodedMessage::text("4€");
        let binary = EncodedMessage::binary(&[1]);
        for form in [EncodedMessage::ws4_base64, EncodedMessage::ws3, EncodedMessage::ws3_base64] {
            assert_eq!(form(&text).as_ptr(), text.ws4().as_ptr());
            assert_ne!(form(&binary), binary.ws4());
            assert_eq!(form(&binary).as_ptr(), form(&binary).as_ptr());
        }
        assert!(!text.has_binary());
        let mut body = Vec::new();
        text.append_polling3(&mut body);
        assert_eq!(body, "2:4€".as_bytes());
    }

    #[test]
    fn a_prefix_is_written_before_the_text() {
        for len in [0, 200, 70_000] {
            let text = "x".repeat(len);
            let mut builder = TextInPlace::with_capacity(0);
            builder.buffer().extend_from_slice(text.as_bytes());
            let message = builder.finish(b"4512-", std::iter::empty());
            assert_eq!(message.ws4(), EncodedMessage::text(&format!("4512-{text}")).ws4());
        }
    }

    #[test]
    fn a_message_is_lost_only_where_it_says_so() {
        let message = || EncodedMessage::text("4a");
        assert!(!message().is_droppable() && message().key().is_none());
        assert!(message().with_droppable().is_droppable());
        let keyed = message().with_droppable().with_key("k".into());
        assert!(keyed.is_droppable());
        assert_eq!(keyed.key().map(|key| &**key), Some("k"));
    }

    #[test]
    fn control_messages_are_made_once() {
        for (message, text) in [
            (EncodedMessage::ping(), "2"),
            (EncodedMessage::pong(), "3"),
            (EncodedMessage::probe_pong(), "3probe"),
            (EncodedMessage::noop(), "6"),
            (EncodedMessage::close(), "1"),
        ] {
            assert_eq!(message.ws4(), EncodedMessage::text(text).ws4());
            assert_eq!(message.packets(), 1);
        }
        assert!(Arc::ptr_eq(&EncodedMessage::ping(), &EncodedMessage::ping()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_parts_are_what_went_in(
            text in ".*",
            lengths in proptest::collection::vec(0usize..70_000, 0..3),
        ) {
            let attachments: Vec<Bytes> = lengths.into_iter().map(|len| vec![7; len].into()).collect();
            let message = with_attachments(&text, &attachments);
            let mut expected = vec![Part::Text(text.as_bytes())];
            expected.extend(attachments.iter().map(|data| Part::Binary(data)));
            prop_assert_eq!(message.parts().collect::<Vec<_>>(), expected);
        }
    }
}
