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
        if negotiated.server_no_context_takeover {
            *context = None;
        }
        if negotiated.server_no_context_takeover && payload.len() < negotiated.threshold {
            frame::push_frame(into, opcode, payload);
        } else {
            let compress = context.get_or_insert_with(|| compressor(negotiated));
            push_compressed(compress, opcode, payload, into);
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
