//! Unmasked WebSocket frames as a server writes them (RFC 6455, section 5.2): headers and ready-made control frames.

use bytes::Bytes;

/// The longest header of an unmasked frame: two bytes and a length of eight.
pub const MAX_HEADER_LEN: usize = 10;

/// The longest payload of a control frame.
///
/// "All control frames MUST have a payload length of 125 bytes or less" (RFC 6455, section 5.5)
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame carries: the opcodes that a server of Socket.IO writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// `0x1`, a whole text message.
    Text,
    /// `0x2`, a whole binary message.
    Binary,
    /// `0x8`
    Close,
    /// `0xA`, the answer to a ping.
    Pong,
}

impl Opcode {
    fn from_first_byte(byte: u8) -> Option<Opcode> {
        [Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Pong].into_iter().find(|opcode| {
            let first = opcode.first_byte();
            first == byte
        })
    }

    /// The first byte of an unfragmented frame: FIN is set, the reserved bits are not.
    const fn first_byte(self) -> u8 {
        0x80 | match self {
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Pong => 0xA,
        }
    }
}

/// Returns how long the header of a frame with a payload of `len` bytes is.
pub const fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Writes the header of a frame with a payload of `len` bytes so that it ends where `room` ends, and returns where
/// it begins. The payload follows `room`: that is how a message gets its header without being moved.
pub fn write_header_before(room: &mut [u8; MAX_HEADER_LEN], opcode: Opcode, len: usize) -> usize {
    let start = MAX_HEADER_LEN - header_len(len);
    write_header(&mut room[start..], opcode, len);
    start
}

/// Appends a whole frame.
pub fn push_frame(into: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let mut header = [0; MAX_HEADER_LEN];
    let start = write_header_before(&mut header, opcode, payload.len());
    into.extend_from_slice(&header[start..]);
    into.extend_from_slice(payload);
}

/// Takes the first frame off bytes which this module wrote: opcode, payload, rest. `None` at the end.
pub fn split_frame(bytes: &[u8]) -> Option<(Opcode, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let opcode = Opcode::from_first_byte(first)?;
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk::<8>()?;
            (usize::try_from(u64::from_be_bytes(*len)).ok()?, rest)
        }
        len => (usize::from(len), rest),
    };
    let (payload, rest) = rest.split_at_checked(len)?;
    Some((opcode, payload, rest))
}

/// Makes a close frame, with a status code or empty.
pub fn close_frame(code: Option<u16>) -> Bytes {
    let Some(code) = code else {
        return Bytes::from_static(b"\x88\x00");
    };
    let mut frame = Vec::with_capacity(4);
    push_frame(&mut frame, Opcode::Close, &code.to_be_bytes());
    frame.into()
}

/// Makes the answer to a ping with this payload. A payload longer than [`MAX_CONTROL_PAYLOAD`], which no reader lets
/// through, is cut.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(MAX_CONTROL_PAYLOAD)];
    let mut frame = Vec::with_capacity(2 + payload.len());
    push_frame(&mut frame, Opcode::Pong, payload);
    frame.into()
}

/// `header` is exactly as long as [`header_len`] says.
fn write_header(header: &mut [u8], opcode: Opcode, len: usize) {
    header[0] = opcode.first_byte();
    match header.len() {
        2 => header[1] = len as u8,
        4 => {
            header[1] = 126;
            header[2..].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Write};

    use proptest::prelude::*;
    use tungstenite::protocol::{Message, Role, WebSocket};

    use super::*;

    /// What a foreign reader makes of the bytes.
    fn read_back(bytes: &[u8]) -> Message {
        struct ReadOnly<'a>(Cursor<&'a [u8]>);
        impl Read for ReadOnly<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(into)
            }
        }
        impl Write for ReadOnly<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        WebSocket::from_raw_socket(ReadOnly(Cursor::new(bytes)), Role::Client, None).read().unwrap()
    }

    fn frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame(&mut frame, opcode, payload);
        frame
    }

    fn check_length(len: usize) {
        let payload = vec![b'x'; len];
        let text = frame(Opcode::Text, &payload);
        assert_eq!(text.len(), header_len(len) + len);
        assert_eq!(read_back(&text).into_text().unwrap().as_str().as_bytes(), payload);
        let binary = frame(Opcode::Binary, &payload);
        assert!(read_back(&binary).is_binary());
        assert_eq!(split_frame(&binary), Some((Opcode::Binary, &payload[..], &[][..])));
    }

    #[test]
    fn a_header_has_the_shortest_length_form() {
        for len in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, 70_000] {
            check_length(len);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_foreign_reader_reads_every_frame_back(len in 0usize..70_000) {
            check_length(len);
        }

        #[test]
        fn any_bytes_split_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = split_frame(&bytes);
        }
    }

    #[test]
    fn close_frames_carry_a_code_or_nothing() {
        assert_eq!(close_frame(None), &[0x88, 0][..]);
        assert_eq!(close_frame(Some(1000)), &[0x88, 2, 0x03, 0xE8][..]);
        let Message::Close(Some(close)) = read_back(&close_frame(Some(1009))) else { panic!("no close") };
        assert_eq!(u16::from(close.code), 1009);
    }

    #[test]
    fn a_pong_repeats_the_payload_and_never_exceeds_a_control_frame() {
        assert_eq!(read_back(&pong_frame(b"ab")), Message::Pong(Bytes::from_static(b"ab")));
        assert_eq!(pong_frame(&[7; 200]).len(), 127);
    }
}
