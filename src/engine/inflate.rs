//! Inflater: compressed WebSocket messages in, plain ones out, beneath the reader that knows nothing of compression.

use std::fmt;
use std::io;
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use super::permessage_deflate::Negotiated;

/// Turns the frames of a client that may compress its messages (RFC 7692) into frames without compression.
///
/// ```text
///           ┌─ Header ◀──────────────┐
///  RSV1 on a│ message's              │ the frame's end;
///  first    │ first frame, and       │ a message's last one also feeds TAIL
///  its other│ frames                 │
///           ├────────▶ Compressed ───┤──▶ chunks: frames of at most 4 KiB, masked with 0
///           └────────▶ Plain ────────┘──▶ byte for byte, errors included: refusing is the reader's
/// ```
///
/// A message leaves in fragments as it is inflated, so that the reader's limit stops one that is too large after a chunk
/// more than the limit, whatever it would have become.
pub(crate) struct Inflater {
    window_bits: u8,
    no_context_takeover: bool,
    /// The most compressed bytes a message may have; the reader limits the inflated ones.
    max_message_size: u64,
    input: Box<[u8; INPUT_LEN]>,
    /// What of `input` is filled and not used.
    pending: Range<usize>,
    frame: Frame,
    message: Option<Message>,
    codec: Option<Codec>,
}

/// The frame whose bytes come next.
#[derive(Clone, Copy)]
enum Frame {
    Header,
    /// So many bytes are handed on.
    Plain {
        left: u64,
    },
    Compressed {
        left: u64,
        /// Begins with the byte for the next payload byte.
        mask: [u8; 4],
        /// Payload bytes at the front of `pending` from which the mask is taken off.
        unmasked: usize,
        last: bool,
    },
}

/// The data message that has begun.
#[derive(Clone, Copy)]
enum Message {
    Plain,
    Compressed(CompressedMessage),
}

#[derive(Clone, Copy)]
struct CompressedMessage {
    /// Of the next frame to hand on: text or binary, then continuation.
    opcode: u8,
    /// Payload bytes, those of the frame that has begun included.
    size: u64,
    /// Bytes of [`TAIL`] already inflated.
    tail: usize,
    /// The stream's last block was read. What may follow in the message is ignored, as on Node; the next message begins a
    /// new stream.
    ended: bool,
}

/// Made by the first compressed message.
struct Codec {
    decompress: Decompress,
    /// Room for a frame's header, then what is inflated.
    chunk: Box<[u8; HEADER_ROOM + CHUNK_LEN]>,
    filled: usize,
    /// What of `chunk` is to be handed on.
    ready: Range<usize>,
    /// The next message is to find a new one.
    spent: bool,
}

/// What is wrong with a client's compressed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// No valid DEFLATE stream.
    Corrupt,
    /// A message begins before the compressed one has ended.
    Nested,
    /// More compressed bytes than a message may have bytes.
    TooLarge,
}

impl InflateError {
    /// The code of the close frame, as on Node.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            InflateError::Corrupt => 1007,
            InflateError::Nested => 1002,
            InflateError::TooLarge => 1009,
        }
    }

    /// Finds one again that went through the reader.
    pub(crate) fn of(error: &io::Error) -> Option<InflateError> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InflateError::Corrupt => "invalid compressed data",
            InflateError::Nested => "a message within a compressed one",
            InflateError::TooLarge => "too many compressed bytes",
        })
    }
}

impl std::error::Error for InflateError {}

impl From<InflateError> for io::Error {
    fn from(error: InflateError) -> io::Error {
        io::Error::other(error)
    }
}

impl Inflater {
    pub(crate) fn new(negotiated: &Negotiated, max_message_size: usize) -> Inflater {
        Inflater {
            // A larger window than the client's does no harm, and zlib knows no window of 8 bits without a header.
            window_bits: negotiated.client_max_window_bits.max(9),
            no_context_takeover: negotiated.client_no_context_takeover,
            max_message_size: u64::try_from(max_message_size).unwrap_or(u64::MAX),
            input: Box::new([0; INPUT_LEN]),
            pending: 0..0,
            frame: Frame::Header,
            message: None,
            codec: None,
        }
    }

    /// Reads frames without compression into `buffer`, as [`io::Read::read`] would; `source` reads what the client sent.
    /// An error of `source` changes nothing: reading can go on later.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        mut source: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if let Some(count) = self.hand_on_chunk(buffer) {
                return Ok(count);
            }
            let waits = match self.frame {
                Frame::Header => match Header::parse(&self.input[self.pending.clone()]) {
                    Some(header) => {
                        self.begin_frame(header)?;
                        false
                    }
                    None => true,
                },
                Frame::Plain { left: 0 } => {
                    self.frame = Frame::Header;
                    false
                }
                Frame::Plain { left } if !self.pending.is_empty() => {
                    let count = clamp(left, self.pending.len()).min(buffer.len());
                    buffer[..count].copy_from_slice(&self.input[self.pending.start..][..count]);
                    self.pending.start += count;
                    self.frame = Frame::Plain { left: left - count as u64 };
                    return Ok(count);
                }
                Frame::Compressed { left: 0, unmasked: 0, last, .. } => {
                    if last {
                        self.end_message()?;
                    } else {
                        self.frame = Frame::Header;
                    }
                    false
                }
                Frame::Compressed { unmasked, .. } if unmasked > 0 || !self.pending.is_empty() => {
                    self.inflate_payload()?;
                    false
                }
                Frame::Plain { .. } | Frame::Compressed { .. } => true,
            };
            if waits && self.fill(&mut source)? == 0 {
                return Ok(0);
            }
        }
    }

    fn fill(&mut self, source: &mut impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.input.copy_within(self.pending.clone(), 0);
        self.pending = 0..self.pending.len();
        let count = source(&mut self.input[self.pending.end..])?;
        self.pending.end += count;
        Ok(count)
    }

    fn hand_on_chunk(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let codec = self.codec.as_mut()?;
        if codec.ready.is_empty() {
            return None;
        }
        let count = codec.ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&codec.chunk[codec.ready.start..][..count]);
        codec.ready.start += count;
        if codec.ready.is_empty() && codec.spent {
            self.codec = None;
        }
        Some(count)
    }

    fn begin_frame(&mut self, header: Header) -> Result<(), InflateError> {
        let begins_message = matches!(header.opcode(), TEXT | BINARY);
        let continues = header.opcode() == CONTINUATION;
        let is_compressed = match self.message {
            None => begins_message && header.reserved_bits() == RSV1,
            Some(Message::Plain) => false,
            // The reader, which may not know of the message yet, would not refuse it.
            Some(Message::Compressed(_)) if begins_message => return Err(InflateError::Nested),
            Some(Message::Compressed(_)) => continues && header.reserved_bits() == 0,
        };
        match header.mask {
            Some(mask) if is_compressed => self.begin_compressed(header, mask),
            _ => {
                if begins_message && !header.is_final() {
                    self.message = Some(Message::Plain);
                } else if continues && header.is_final() {
                    self.message = None;
                }
                // The header, too, is still in `pending`.
                self.frame = Frame::Plain { left: header.payload_len.saturating_add(header.len as u64) };
                Ok(())
            }
        }
    }

    fn begin_compressed(&mut self, header: Header, mask: [u8; 4]) -> Result<(), InflateError> {
        let mut message = match self.message {
            Some(Message::Compressed(message)) => message,
            _ => CompressedMessage { opcode: header.opcode(), size: 0, tail: 0, ended: false },
        };
        message.size = message.size.saturating_add(header.payload_len);
        if message.size > self.max_message_size {
            return Err(InflateError::TooLarge);
        }
        self.message = Some(Message::Compressed(message));
        self.pending.start += header.len;
        self.frame =
            Frame::Compressed { left: header.payload_len, mask, unmasked: 0, last: header.is_final() };
        Ok(())
    }

    /// Inflates what is here of the frame's payload, until it is used up or the chunk is full.
    fn inflate_payload(&mut self) -> Result<(), InflateError> {
        let Frame::Compressed { left, mask, unmasked, .. } = &mut self.frame else { return Ok(()) };
        if *unmasked == 0 {
            let count = clamp(*left, self.pending.len());
            for (byte, mask) in self.input[self.pending.start..][..count].iter_mut().zip(mask.iter().cycle())
            {
                *byte ^= mask;
            }
            mask.rotate_left(count % 4);
            *left -= count as u64;
            *unmasked = count;
        }
        let payload = &self.input[self.pending.start..][..*unmasked];
        let codec = self.codec.get_or_insert_with(|| Codec::new(self.window_bits));
        let Some(Message::Compressed(message)) = &mut self.message else { return Ok(()) };
        let used = if message.ended { payload.len() } else { codec.inflate(payload, &mut message.ended)? };
        self.pending.start += used;
        *unmasked -= used;
        if codec.filled == CHUNK_LEN {
            codec.finish_chunk(&mut message.opcode, false);
        }
        Ok(())
    }

    /// Inflates what the client left out at the message's end, and finishes its last chunk.
    fn end_message(&mut self) -> Result<(), InflateError> {
        let codec = self.codec.get_or_insert_with(|| Codec::new(self.window_bits));
        let Some(Message::Compressed(message)) = &mut self.message else { return Ok(()) };
        // Without any byte, not even the block that the tail completes has begun.
        if message.size > 0 && !message.ended {
            message.tail += codec.inflate(&TAIL[message.tail..], &mut message.ended)?;
            if codec.filled == CHUNK_LEN && !message.ended {
                codec.finish_chunk(&mut message.opcode, false);
                return Ok(());
            }
        }
        codec.spent = self.no_context_takeover || message.ended;
        codec.finish_chunk(&mut message.opcode, true);
        self.message = None;
        self.frame = Frame::Header;
        Ok(())
    }
}

impl Codec {
    fn new(window_bits: u8) -> Codec {
        Codec {
            decompress: Decompress::new_with_window_bits(false, window_bits),
            chunk: Box::new([0; HEADER_ROOM + CHUNK_LEN]),
            filled: 0,
            ready: 0..0,
            spent: false,
        }
    }

    /// Inflates until `payload` is used up, the chunk is full or the stream has `ended`; gives how much was used.
    fn inflate(&mut self, payload: &[u8], ended: &mut bool) -> Result<usize, InflateError> {
        let mut used = 0;
        loop {
            let (total_in, total_out) = (self.decompress.total_in(), self.decompress.total_out());
            let room = &mut self.chunk[HEADER_ROOM + self.filled..];
            let status = self
                .decompress
                .decompress(&payload[used..], room, FlushDecompress::None)
                .map_err(|_| InflateError::Corrupt)?;
            let (taken, given) =
                (self.decompress.total_in() - total_in, self.decompress.total_out() - total_out);
            // Both are lengths within slices.
            used += taken as usize;
            self.filled += given as usize;
            *ended = status == Status::StreamEnd;
            if *ended || self.filled == CHUNK_LEN || used == payload.len() {
                return Ok(used);
            }
            if taken + given == 0 {
                return Err(InflateError::Corrupt);
            }
        }
    }

    /// Makes a frame of what is inflated.
    fn finish_chunk(&mut self, opcode: &mut u8, last: bool) {
        let mut header = [0; HEADER_ROOM];
        header[0] = *opcode | if last { FIN } else { 0 };
        // After the length comes a masking key of zeros.
        let header_len = if self.filled <= 125 {
            header[1] = MASKED | self.filled as u8;
            6
        } else {
            header[1] = MASKED | 126;
            header[2..4].copy_from_slice(&(self.filled as u16).to_be_bytes());
            8
        };
        let start = HEADER_ROOM - header_len;
        self.chunk[start..HEADER_ROOM].copy_from_slice(&header[..header_len]);
        self.ready = start..HEADER_ROOM + self.filled;
        self.filled = 0;
        *opcode = CONTINUATION;
    }
}

/// The header of a client's frame (RFC 6455, section 5.2).
#[derive(Clone, Copy)]
struct Header {
    first_byte: u8,
    mask: Option<[u8; 4]>,
    payload_len: u64,
    len: usize,
}

impl Header {
    /// `None` while bytes are missing.
    fn parse(bytes: &[u8]) -> Option<Header> {
        let (&[first_byte, second_byte], rest) = bytes.split_first_chunk()?;
        let (payload_len, rest) = match second_byte & !MASKED {
            126 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            127 => {
                let (len, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*len), rest)
            }
            len => (u64::from(len), rest),
        };
        let (mask, rest) = if second_byte & MASKED == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        Some(Header { first_byte, mask, payload_len, len: bytes.len() - rest.len() })
    }

    fn is_final(&self) -> bool {
        self.first_byte & FIN != 0
    }

    fn reserved_bits(&self) -> u8 {
        self.first_byte & 0x70
    }

    fn opcode(&self) -> u8 {
        self.first_byte & 0x0F
    }
}

fn clamp(count: u64, most: usize) -> usize {
    usize::try_from(count).unwrap_or(most).min(most)
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// "Append 4 octets of 0x00 0x00 0xff 0xff to the tail end of the payload of the message." (RFC 7692, section 7.2.2)
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes asked of the system at once.
const INPUT_LEN: usize = 2048;
/// How much is inflated before it is handed on; its length fits two bytes of a header.
const CHUNK_LEN: usize = 4096;
/// A header with two bytes of length, and a masking key.
const HEADER_ROOM: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;
    use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
    use tungstenite::{Error, Message as Heard};

    use super::*;

    const LIMIT: usize = 100_000;

    const NEGOTIATED: Negotiated = Negotiated {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        threshold: 1024,
        level: 6,
    };

    /// A client's stream that comes in pieces, with nothing to read between them.
    struct Wire<'a> {
        inflater: Option<Inflater>,
        bytes: &'a [u8],
        pieces: Box<dyn Iterator<Item = usize> + 'a>,
        dry: bool,
        /// The most that was handed on in one read.
        handed_on: usize,
    }

    impl Read for Wire<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let (bytes, pieces, dry) = (&mut self.bytes, &mut self.pieces, &mut self.dry);
            let mut source = |buffer: &mut [u8]| {
                *dry = !*dry;
                if *dry {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = pieces.next().unwrap().clamp(1, buffer.len()).min(bytes.len());
                let (piece, rest) = bytes.split_at(count);
                buffer[..count].copy_from_slice(piece);
                *bytes = rest;
                Ok(count)
            };
            let count = match &mut self.inflater {
                Some(inflater) => inflater.read(buffer, source),
                None => source(buffer),
            }?;
            self.handed_on += count;
            Ok(count)
        }
    }

    impl Write for Wire<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, PartialEq)]
    enum End {
        OfStream,
        Inflating(InflateError),
        TooLong,
        Protocol,
        Utf8,
    }

    struct Conversation {
        messages: Vec<Heard>,
        end: End,
        handed_on: usize,
    }

    fn listen<'a>(
        inflater: Option<Inflater>,
        bytes: &'a [u8],
        pieces: impl Iterator<Item = usize> + 'a,
    ) -> Conversation {
        let mut wire = Wire { inflater, bytes, pieces: Box::new(pieces), dry: false, handed_on: 0 };
        let config = WebSocketConfig::default()
            .read_buffer_size(2048)
            .write_buffer_size(0)
            .max_message_size(Some(LIMIT))
            .max_frame_size(Some(LIMIT));
        let mut context = WebSocketContext::new(Role::Server, Some(config));
        let mut messages = Vec::new();
        let end = loop {
            match context.read(&mut wire) {
                Ok(message) => messages.push(message),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(Error::Io(error)) => break End::Inflating(InflateError::of(&error).unwrap()),
                Err(Error::Capacity(_)) => break End::TooLong,
                Err(Error::Utf8(_)) => break End::Utf8,
                Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                    break End::OfStream;
                }
                Err(Error::Protocol(_)) => break End::Protocol,
                Err(other) => panic!("{other}"),
            }
        };
        Conversation { messages, end, handed_on: wire.handed_on }
    }

    fn hear(bytes: &[u8]) -> (Vec<Heard>, End) {
        let inflater = Inflater::new(&NEGOTIATED, LIMIT);
        let heard = listen(Some(inflater), bytes, std::iter::repeat(usize::MAX));
        (heard.messages, heard.end)
    }

    fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = header(first_byte, payload.len() as u64);
        frame.extend(payload.iter().zip([7, 1, 2, 3].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn header(first_byte: u8, payload_len: u64) -> Vec<u8> {
        let mut header = vec![first_byte];
        match payload_len {
            0..=125 => header.push(MASKED | payload_len as u8),
            126..=0xFFFF => {
                header.push(MASKED | 126);
                header.extend((payload_len as u16).to_be_bytes());
            }
            _ => {
                header.push(MASKED | 127);
                header.extend(payload_len.to_be_bytes());
            }
        }
        header.extend([7, 1, 2, 3]);
        header
    }

    fn compress(compressor: &mut Compress, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut deflated = Vec::with_capacity(payload.len() + 1000);
        compressor.compress_vec(payload, &mut deflated, flush).unwrap();
        assert!(deflated.len() < deflated.capacity());
        deflated
    }

    /// A message's payload without context.
    fn deflate(payload: &[u8]) -> Vec<u8> {
        let mut compressor = Compress::new(Compression::default(), false);
        let mut deflated = compress(&mut compressor, payload, FlushCompress::Sync);
        deflated.truncate(deflated.len() - 4);
        deflated
    }

    /// The same with a last block.
    fn deflate_finally(payload: &[u8]) -> Vec<u8> {
        compress(&mut Compress::new(Compression::default(), false), payload, FlushCompress::Finish)
    }

    fn texts(texts: &[&str]) -> Vec<Heard> {
        texts.iter().map(|text| Heard::text(*text)).collect()
    }

    const TEXT_FRAME: u8 = FIN | RSV1 | TEXT;
    const FIRST_OF_TEXT: u8 = RSV1 | TEXT;
    const LAST: u8 = FIN | CONTINUATION;

    #[test]
    fn a_compressed_message_is_heard_and_others_pass() {
        let wire = [
            frame(TEXT_FRAME, &deflate(b"hello")),
            frame(FIN | TEXT, b"plain"),
            frame(FIN | 9, b"ping"),
            frame(TEXT, b"in "),
            frame(FIN | RSV1 | 9, b""),
        ];
        let (messages, end) = hear(&wire[..4].concat());
        assert_eq!(messages[..2], texts(&["hello", "plain"]));
        assert_eq!((messages.len(), end), (3, End::OfStream));
        assert_eq!(hear(&wire.concat()).1, End::Protocol);
    }

    #[test]
    fn a_compressed_message_may_be_fragmented_with_pings_between() {
        let deflated = deflate(b"hello world");
        let wire = [
            frame(FIRST_OF_TEXT, &deflated[..3]),
            frame(FIN | 9, b"ping"),
            frame(CONTINUATION, &[]),
            frame(CONTINUATION, &deflated[3..5]),
            frame(LAST, &deflated[5..]),
            frame(RSV1 | TEXT, &[]),
            frame(LAST, &deflate(b"empty first")),
        ];
        let expected = [Heard::Ping("ping".into()), Heard::text("hello world"), Heard::text("empty first")];
        assert_eq!(hear(&wire.concat()), (expected.to_vec(), End::OfStream));
    }

    #[test]
    fn an_empty_payload_is_an_empty_message() {
        let wire = [
            frame(FIN | RSV1 | BINARY, &[]),
            frame(FIN | RSV1 | BINARY, &[0]),
            frame(TEXT_FRAME, &deflate(b"x")),
        ];
        let expected = [Heard::binary(vec![]), Heard::binary(vec![]), Heard::text("x")];
        assert_eq!(hear(&wire.concat()), (expected.to_vec(), End::OfStream));
    }

    #[test]
    fn a_final_block_ends_the_stream_of_its_message_only() {
        let last = deflate_finally(b"final");
        for more in [&b""[..], &[0], &deflate(b"ignored"), &deflate_finally(b"ignored")] {
            let wire = [frame(TEXT_FRAME, &[&last, more].concat()), frame(TEXT_FRAME, &deflate(b"next"))];
            assert_eq!(hear(&wire.concat()), (texts(&["final", "next"]), End::OfStream));
        }
        let wire = [
            frame(FIRST_OF_TEXT, &last),
            frame(LAST, &deflate(b"ignored")),
            frame(TEXT_FRAME, &deflate(b"next")),
        ];
        assert_eq!(hear(&wire.concat()), (texts(&["final", "next"]), End::OfStream));
    }

    #[test]
    fn the_context_is_taken_over_unless_agreed_otherwise() {
        let mut compressor = Compress::new(Compression::default(), false);
        let message = b"a message that is not short";
        let mut wire = Vec::new();
        for _ in 0..2 {
            let deflated = compress(&mut compressor, message, FlushCompress::Sync);
            wire.extend(frame(TEXT_FRAME, &deflated[..deflated.len() - 4]));
        }
        let text = "a message that is not short";
        assert_eq!(hear(&wire), (texts(&[text, text]), End::OfStream));

        let negotiated = Negotiated { client_no_context_takeover: true, ..NEGOTIATED };
        let heard = listen(Some(Inflater::new(&negotiated, LIMIT)), &wire, std::iter::repeat(9));
        assert_eq!(heard.messages, texts(&[text]));
        assert_eq!(heard.end, End::Inflating(InflateError::Corrupt));
    }

    #[test]
    fn what_breaks_the_rules_is_refused_as_by_node() {
        let good = deflate(b"x");
        let corrupt = End::Inflating(InflateError::Corrupt);
        let nested = End::Inflating(InflateError::Nested);
        let rows = [
            (frame(TEXT_FRAME, &[0xff; 4]), corrupt),
            (frame(TEXT_FRAME, &deflate(&[b'4', 0xff])), End::Utf8),
            ([frame(FIRST_OF_TEXT, &good), frame(LAST | RSV1, &good)].concat(), End::Protocol),
            ([frame(TEXT, b"a"), frame(LAST | RSV1, &good)].concat(), End::Protocol),
            ([frame(FIRST_OF_TEXT, &good), frame(TEXT_FRAME, &good)].concat(), nested),
            (
                [frame(FIRST_OF_TEXT, &good), frame(FIN | TEXT, b"x")].concat(),
                End::Inflating(InflateError::Nested),
            ),
            ([frame(TEXT, b"a"), frame(TEXT_FRAME, &good)].concat(), End::Protocol),
            (frame(LAST, b"a"), End::Protocol),
            (frame(FIN | RSV1 | 8, b""), End::Protocol),
            (frame(FIN | 0x20 | TEXT, b"x"), End::Protocol),
            (frame(TEXT_FRAME | 0x20, &good), End::Protocol),
            (frame(FIN | RSV1 | 3, &good), End::Protocol),
            ([&[TEXT_FRAME, 1][..], &good].concat(), End::Protocol),
        ];
        for (wire, expected) in rows {
            assert_eq!(hear(&wire), (Vec::new(), expected), "{wire:x?}");
        }
    }

    #[test]
    fn the_limit_is_one_of_inflated_bytes() {
        let exact = frame(TEXT_FRAME, &deflate(&vec![b'a'; LIMIT]));
        assert_eq!(hear(&exact), (vec![Heard::text("a".repeat(LIMIT))], End::OfStream));
        let more = frame(TEXT_FRAME, &deflate(&vec![b'a'; LIMIT + 1]));
        assert_eq!(hear(&more), (Vec::new(), End::TooLong));
    }

    #[test]
    fn a_bomb_is_stopped_before_it_is_inflated() {
        let bomb = frame(TEXT_FRAME, &deflate(&vec![b'a'; 1000 * LIMIT]));
        assert!(bomb.len() < 1100 * LIMIT / 1000 * 10);
        let heard =
            listen(Some(Inflater::new(&NEGOTIATED, 10 * LIMIT)), &bomb, std::iter::repeat(usize::MAX));
        assert_eq!(heard.end, End::TooLong);
        // All that was inflated was handed on, but for less than a chunk.
        assert!(heard.handed_on < LIMIT + 2 * (CHUNK_LEN + HEADER_ROOM), "{}", heard.handed_on);
    }

    #[test]
    fn the_compressed_bytes_have_the_same_limit() {
        let too_large = End::Inflating(InflateError::TooLarge);
        assert_eq!(hear(&header(TEXT_FRAME, LIMIT as u64 + 1)), (Vec::new(), too_large));
        assert_eq!(hear(&header(FIN | TEXT, LIMIT as u64 + 1)), (Vec::new(), End::TooLong));
        assert_eq!(hear(&header(FIN | TEXT, u64::MAX)), (Vec::new(), End::TooLong));
        // Blocks without content.
        let blocks = [0, 0, 0, 0xff, 0xff].repeat(LIMIT / 10);
        let mut wire = frame(FIRST_OF_TEXT, &blocks);
        wire.extend(frame(CONTINUATION, &blocks));
        assert_eq!(hear(&wire).1, End::OfStream);
        wire.extend(frame(LAST, &[0]));
        assert_eq!(hear(&wire).1, End::Inflating(InflateError::TooLarge));
    }

    #[test]
    fn nothing_is_allocated_before_the_first_compressed_message_nor_kept_without_takeover() {
        let negotiated = Negotiated { client_no_context_takeover: true, ..NEGOTIATED };
        let mut inflater = Inflater::new(&negotiated, LIMIT);
        let wire = [frame(FIN | TEXT, b"x"), frame(TEXT_FRAME, &deflate(b"y"))].concat();
        let mut wire = &wire[..];
        let mut had_codec = Vec::new();
        let mut buffer = [0; 1];
        while inflater.read(&mut buffer, |input| wire.read(input)).unwrap() > 0 {
            had_codec.push(inflater.codec.is_some());
        }
        let (plain, compressed) = had_codec.split_at(frame(FIN | TEXT, b"x").len());
        assert!(plain.iter().all(|had| !had));
        let (last, before) = compressed.split_last().unwrap();
        assert!(before.iter().all(|had| *had) && !last);
    }

    /// A message, the form it is sent in, and where it is cut into frames.
    #[derive(Clone, Debug)]
    struct Sent {
        text: bool,
        payload: Vec<u8>,
        compressed: bool,
        cuts: Vec<u16>,
        ping: bool,
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let payload = prop_oneof![
            proptest::collection::vec(97u8..101, 0..300),
            proptest::collection::vec(0u8..128, 0..300),
            (0usize..20_000, any::<u8>()).prop_map(|(len, seed)| (0..len)
                .map(|index| (index * usize::from(seed) % 127) as u8)
                .collect()),
        ];
        let cuts = proptest::collection::vec(any::<u16>(), 0..4);
        (any::<bool>(), payload, any::<bool>(), cuts, any::<bool>()).prop_map(
            |(text, payload, compressed, cuts, ping)| Sent { text, payload, compressed, cuts, ping },
        )
    }

    fn write(sent: &Sent, payload: &[u8], reserved: u8, wire: &mut Vec<u8>) {
        let mut cuts: Vec<usize> =
            sent.cuts.iter().map(|cut| usize::from(*cut) % (payload.len() + 1)).collect();
        cuts.extend([0, payload.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        for (index, cut) in cuts.windows(2).enumerate() {
            let opcode = if sent.text { TEXT } else { BINARY };
            let mut first_byte = if index == 0 { opcode | reserved } else { CONTINUATION };
            if index == last {
                first_byte |= FIN;
            }
            wire.extend(frame(first_byte, &payload[cut[0]..cut[1]]));
            if sent.ping {
                wire.extend(frame(FIN | 9, b"between"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_stream_in_any_pieces_is_heard_as_if_it_were_not_compressed(
            messages in proptest::collection::vec(sent(), 1..6),
            pieces in proptest::collection::vec(1usize..3000, 1..50),
            single in any::<bool>(),
            bits in 9u8..=15,
            takeover in any::<bool>(),
        ) {
            let new = || Compress::new_with_window_bits(Compression::default(), false, bits);
            let mut compressor = new();
            let (mut plain, mut compressed) = (Vec::new(), Vec::new());
            for message in &messages {
                write(message, &message.payload, 0, &mut plain);
                if !message.compressed {
                    write(message, &message.payload, 0, &mut compressed);
                    continue;
                }
                if !takeover {
                    compressor = new();
                }
                let deflated = if message.payload.is_empty() {
                    vec![0]
                } else {
                    let mut deflated = compress(&mut compressor, &message.payload, FlushCompress::Sync);
                    deflated.truncate(deflated.len() - 4);
                    deflated
                };
                write(message, &deflated, RSV1, &mut compressed);
            }
            let pieces = pieces.into_iter().map(|piece| if single { 1 } else { piece }).cycle();
            let negotiated = Negotiated {
                client_no_context_takeover: !takeover,
                client_max_window_bits: bits,
                ..NEGOTIATED
            };
            let expected = listen(None, &plain, std::iter::repeat(usize::MAX));
            let heard = listen(Some(Inflater::new(&negotiated, LIMIT)), &compressed, pieces);
            prop_assert_eq!(heard.messages, expected.messages);
            prop_assert_eq!(heard.end, End::OfStream);
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            wire in proptest::collection::vec(prop_oneof![Just(TEXT_FRAME), Just(MASKED | 20), any::<u8>()], 0..300),
        ) {
            hear(&wire);
        }
    }
}
