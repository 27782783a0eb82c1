//! Deflater: finished frames in, compressed ones out (RFC 7692).

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};

use super::permessage_deflate::{MAX_WINDOW_BITS, Negotiated};
use crate::proto::EncodedMessage;
use crate::proto::encoded::Form;
use crate::proto::frame::{self, MAX_HEADER_LEN, Opcode};

/// Compresses what is sent on one connection.
pub(crate) struct Deflater {
    negotiated: Negotiated,
    /// What is taken over from message to message, from the first one on.
    context: Option<Compress>,
}

impl Deflater {
    pub(crate) fn new(negotiated: Negotiated) -> Deflater {
        Deflater { negotiated, context: None }
    }

    /// Whether compressed messages are the same for all such connections: then [`Deflater::shared`] gives them, else
    /// [`Deflater::push`].
    pub(crate) fn is_shared(&self) -> bool {
        self.negotiated.server_no_context_takeover
            && self.negotiated.server_max_window_bits == MAX_WINDOW_BITS
    }

    /// The frames of a message, compressed once for all recipients.
    ///
    /// The first recipient's level and threshold decide; to the others, of another server in the same process, that is as
    /// valid as their own.
    pub(crate) fn shared<'m>(&self, message: &'m EncodedMessage, form: Form) -> &'m Bytes {
        let frames = message.frames(form);
        // Below it no frame of it is compressed.
        if frames.len() < self.negotiated.threshold {
            return frames;
        }
        message.deflated(form, || {
            let mut deflated = Vec::new();
            push_frames(&mut None, &self.negotiated, frames, &mut deflated);
            deflated.shrink_to_fit();
            deflated.into()
        })
    }

    /// Appends these frames, compressed, to what this connection is sent next; they must be sent.
    pub(crate) fn push(&mut self, frames: &[u8], into: &mut Vec<u8>) {
        push_frames(&mut self.context, &self.negotiated, frames, into);
    }
}

fn push_frames(
    context: &mut Option<Compress>,
    negotiated: &Negotiated,
    mut frames: &[u8],
    into: &mut Vec<u8>,
) {
    while let Some((opcode, payload, rest)) = frame::split_frame(frames) {
        if negotiated.server_no_context_takeover && payload.len() < negotiated.threshold {
            frame::push_frame(into, opcode, payload);
        } else {
            let compress = context.get_or_insert_with(|| compressor(negotiated));
            push_compressed(compress, opcode, payload, into);
        }
        if negotiated.server_no_context_takeover {
            *context = None;
        }
        frames = rest;
    }
}

fn compressor(negotiated: &Negotiated) -> Compress {
    // zlib has no window of 8 bits without a header; with 9 its distances stay below 2^9 - 262 bytes, which is less than
    // the 256 that such a client can look back.
    let window_bits = negotiated.server_max_window_bits.max(9);
    Compress::new_with_window_bits(Compression::new(negotiated.level.into()), false, window_bits)
}

/// Appends a frame with RSV1 set.
fn push_compressed(compress: &mut Compress, opcode: Opcode, payload: &[u8], into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; MAX_HEADER_LEN]);
    push_payload(compress, payload, into);
    let (room, deflated) =
        into[start..].split_first_chunk_mut().expect("the room for the header was appended above");
    let header = start + frame::write_header_before(room, opcode, deflated.len());
    into[header] |= RSV1;
    into.drain(start..header);
}

fn push_payload(compress: &mut Compress, mut payload: &[u8], into: &mut Vec<u8>) {
    // zlib does not flush twice; what is left of the empty block that it would append, without the tail:
    if payload.is_empty() {
        into.push(0);
        return;
    }
    loop {
        // At once for text, and always more than the tail, which zlib would otherwise begin anew.
        into.reserve((payload.len() / 4).max(64));
        let before = compress.total_in();
        compress.compress_vec(payload, into, FlushCompress::Sync).expect("compression fails on misuse only");
        // A length within the slice.
        payload = &payload[(compress.total_in() - before) as usize..];
        // While it fills its room, zlib has more to say.
        if payload.is_empty() && into.len() < into.capacity() {
            break;
        }
    }
    // "Remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end." (RFC 7692, section 7.2.1)
    debug_assert!(into.ends_with(&[0, 0, 0xff, 0xff]));
    into.truncate(into.len() - 4);
}

const RSV1: u8 = 0x40;

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    const TAKEOVER: Negotiated = Negotiated {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        threshold: 1024,
        level: 6,
    };
    const NO_TAKEOVER: Negotiated = Negotiated { server_no_context_takeover: true, ..TAKEOVER };

    /// What a client makes of frames: first byte and payload of each.
    fn inflate(context: &mut Option<Decompress>, mut frames: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut heard = Vec::new();
        while !frames.is_empty() {
            let first_byte = frames[0];
            let mut plain = frames.to_vec();
            plain[0] &= !RSV1;
            let (_, payload, rest) = frame::split_frame(&plain).unwrap();
            frames = &frames[frames.len() - rest.len()..];
            if first_byte & RSV1 == 0 {
                heard.push((first_byte, payload.to_vec()));
                continue;
            }
            let decompress = context.get_or_insert_with(|| Decompress::new(false));
            let payload = [payload, &[0, 0, 0xff, 0xff]].concat();
            let start = decompress.total_in();
            let mut inflated = Vec::with_capacity(1 << 20);
            decompress.decompress_vec(&payload, &mut inflated, FlushDecompress::Sync).unwrap();
            assert_eq!(decompress.total_in() - start, payload.len() as u64);
            heard.push((first_byte, inflated));
        }
        heard
    }

    fn push(deflater: &mut Deflater, message: &EncodedMessage) -> Vec<u8> {
        let mut frames = Vec::new();
        deflater.push(message.frames(Form::Ws4), &mut frames);
        frames
    }

    #[test]
    fn with_takeover_everything_is_compressed_and_repetitions_are_short() {
        let mut deflater = Deflater::new(TAKEOVER);
        assert!(!deflater.is_shared());
        let message = EncodedMessage::text("4hello hello, how are you");
        let first = push(&mut deflater, &message);
        let second = push(&mut deflater, &message);
        assert!(second.len() < first.len() / 2);
        let mut client = None;
        for frames in [&first, &second] {
            let heard = inflate(&mut client, frames);
            assert_eq!(heard, [(0xC1, b"4hello hello, how are you".to_vec())]);
        }
        assert_eq!(
            inflate(&mut client, &push(&mut deflater, &EncodedMessage::ping())),
            [(0xC1, b"2".to_vec())]
        );
    }

    #[test]
    fn without_takeover_small_packets_stay_as_they_are() {
        let deflater = Deflater::new(NO_TAKEOVER);
        assert!(deflater.is_shared());
        let ping = EncodedMessage::ping();
        assert_eq!(deflater.shared(&ping, Form::Ws4).as_ptr(), ping.ws4().as_ptr());
        for (len, first_byte) in [(1021, 0x81), (1022, 0x81), (1023, 0xC1)] {
            let message = EncodedMessage::text(&format!("4{}", "x".repeat(len)));
            assert_eq!(deflater.shared(&message, Form::Ws4)[0], first_byte, "{len}");
        }
        let binary = EncodedMessage::binary(&[7; 1024]);
        assert_eq!(inflate(&mut None, deflater.shared(&binary, Form::Ws4)), [(0xC2, vec![7; 1024])]);
        assert_eq!(inflate(&mut None, deflater.shared(&binary, Form::Ws4Base64))[0].0, 0xC1);
    }

    #[test]
    fn a_message_is_compressed_once_for_all() {
        let message = EncodedMessage::text(&"4".repeat(2000));
        let [first, second] = [Deflater::new(NO_TAKEOVER), Deflater::new(NO_TAKEOVER)];
        let (first, second) = (first.shared(&message, Form::Ws4), second.shared(&message, Form::Ws4));
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn an_empty_payload_is_one_byte_as_on_node() {
        let empty = EncodedMessage::binary(&[]);
        let mut deflater = Deflater::new(TAKEOVER);
        for _ in 0..2 {
            assert_eq!(push(&mut deflater, &empty), [0xC2, 1, 0]);
        }
        let heard = inflate(&mut None, &push(&mut deflater, &EncodedMessage::text("4x")));
        assert_eq!(heard, [(0xC1, b"4x".to_vec())]);
    }

    #[test]
    fn a_window_of_eight_bits_is_never_exceeded() {
        for level in 1..=9 {
            // Nothing repeats but the whole, and that one byte further than such a client can look back.
            let block: Vec<u8> = (0..=256_usize).map(|index| (index * 167 + 13) as u8).collect();
            let message = EncodedMessage::binary(&block.repeat(40));
            let len = |bits| {
                push(
                    &mut Deflater::new(Negotiated { server_max_window_bits: bits, level, ..TAKEOVER }),
                    &message,
                )
                .len()
            };
            assert!(len(8) > 10_000, "level {level}: {} bytes", len(8));
            assert!(len(10) < 5_000, "level {level}: {} bytes", len(10));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_client_hears_what_was_said(
            parts in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..3000),
                    (0usize..200_000).prop_map(|len| vec![b'a'; len]),
                ],
                1..8,
            ),
            bits in 8u8..=15,
            level in 0u8..=9,
            takeover in any::<bool>(),
            threshold in 0usize..2000,
        ) {
            let negotiated = Negotiated {
                server_no_context_takeover: !takeover,
                server_max_window_bits: bits,
                level,
                threshold,
                ..TAKEOVER
            };
            let mut deflater = Deflater::new(negotiated);
            let mut client = None;
            for part in parts {
                if !takeover {
                    client = None;
                }
                let frames = push(&mut deflater, &EncodedMessage::binary(&part));
                let is_compressed = takeover || part.len() >= threshold;
                prop_assert_eq!(inflate(&mut client, &frames), [(if is_compressed { 0xC2 } else { 0x82 }, part)]);
            }
        }
    }
}
