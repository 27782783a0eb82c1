//! The sieve: messages that nobody here wants are dropped while a subscribing connection is read, before the client library
//! makes anything of them.
//!
//! It looks at what a pattern brings alone. All else passes, and so does everything from where it understands no more: then
//! the client library says what is wrong.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::connect::Io;

/// A connection of which only what is wanted can be read. `wants` is asked with the pattern and the channel.
pub(super) struct Sieve<S, W> {
    stream: S,
    wants: W,
    /// What is read and has neither passed nor been dropped.
    buffer: BytesMut,
    /// So many bytes of it, and of what is read next, are dropped; after these so many pass.
    skip: usize,
    pass: usize,
}

impl<S, W: FnMut(&[u8], &[u8]) -> bool> Sieve<S, W> {
    pub(super) fn new(stream: S, wants: W) -> Sieve<S, W> {
        Sieve { stream, wants, buffer: BytesMut::new(), skip: 0, pass: 0 }
    }

    /// Goes on until there is no more room, or more has to be read.
    fn sift(&mut self, out: &mut ReadBuf<'_>) {
        loop {
            let skipped = self.skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip -= skipped;
            let passed = self.pass.min(self.buffer.len()).min(out.remaining());
            out.put_slice(&self.buffer[..passed]);
            self.buffer.advance(passed);
            self.pass -= passed;
            if self.buffer.is_empty() || self.pass > 0 {
                return;
            }
            match Frame::read(&self.buffer) {
                Ok(Frame { len, message: Some((pattern, channel)) }) if !(self.wants)(pattern, channel) => {
                    self.skip = len;
                }
                Ok(frame) => self.pass = frame.len,
                Err(Unread::Incomplete) if self.buffer.len() < MAX_HEAD => return,
                Err(_) => self.pass = usize::MAX,
            }
        }
    }
}

impl<S: Io, W: FnMut(&[u8], &[u8]) -> bool + Unpin> AsyncRead for Sieve<S, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        loop {
            this.sift(out);
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.buffer.reserve(READ);
            if ready!(pin!(this.stream.read_buf(&mut this.buffer)).poll(cx))? == 0 {
                // It ends in the middle of something, or there is nothing.
                (this.skip, this.pass) = (0, usize::MAX);
                this.sift(out);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: Io, W: Unpin> AsyncWrite for Sieve<S, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Something that Redis has sent: an answer, a message, an error.
struct Frame<'a> {
    /// All its bytes, those that are not there yet included.
    len: usize,
    /// The pattern and the channel, if it is a message that a pattern brings.
    message: Option<(&'a [u8], &'a [u8])>,
}

enum Unread {
    /// The next bytes are needed.
    Incomplete,
    Garbage,
}

impl<'a> Frame<'a> {
    /// Reads what is needed of the frame at the beginning: of a message all but its payload.
    fn read(bytes: &'a [u8]) -> Result<Frame<'a>, Unread> {
        let mut reader = Reader { bytes, at: 0 };
        // `*` in RESP2, `>` in RESP3.
        if let (b'*' | b'>', Some(4)) = reader.header()?
            && reader.bytes[reader.at..].starts_with(b"$8\r\npmessage\r\n")
        {
            reader.skip()?;
            let message = Some((reader.text()?, reader.text()?));
            reader.skip()?;
            return Ok(Frame { len: reader.at, message });
        }
        let mut reader = Reader { bytes, at: 0 };
        reader.skip()?;
        Ok(Frame { len: reader.at, message: None })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Passes over one value, and all that is in it.
    fn skip(&mut self) -> Result<(), Unread> {
        let mut left = 1_usize;
        while left > 0 {
            let (kind, number) = self.header()?;
            left -= 1;
            match (kind, number) {
                (b'$' | b'=' | b'!', Some(len)) => self.at += len + 2,
                (b'*' | b'~' | b'>', Some(count)) => left = left.saturating_add(count),
                (b'%', Some(pairs)) => left = left.saturating_add(2 * pairs),
                // Attributes, and the value that they belong to.
                (b'|', Some(pairs)) => left = left.saturating_add(2 * pairs + 1),
                _ => {}
            }
        }
        Ok(())
    }

    /// A value that is bytes.
    fn text(&mut self) -> Result<&'a [u8], Unread> {
        let (b'$', Some(len)) = self.header()? else { return Err(Unread::Garbage) };
        let text = self.bytes.get(self.at..self.at + len).ok_or(Unread::Incomplete)?;
        self.at += len + 2;
        Ok(text)
    }

    /// What kind of value comes, and its number, if it has one: how long it is, or how many values are in it.
    fn header(&mut self) -> Result<(u8, Option<usize>), Unread> {
        let rest = self.bytes.get(self.at..).ok_or(Unread::Incomplete)?;
        let end = memchr::memchr(b'\n', rest).ok_or(Unread::Incomplete)?;
        self.at += end + 1;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Unread::Garbage)?;
        let (&kind, number) = line.split_first().ok_or(Unread::Garbage)?;
        if !b"*~>%|$=!".contains(&kind) {
            return if b"+-:_#,(".contains(&kind) { Ok((kind, None)) } else { Err(Unread::Garbage) };
        }
        if number == b"-1" {
            // RESP2's null.
            return Ok((kind, None));
        }
        let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        let number = number.filter(|&number| number <= MAX_NUMBER).ok_or(Unread::Garbage)?;
        Ok((kind, Some(number)))
    }
}

/// Read at once: many messages in one system call.
const READ: usize = 16 * 1024;
/// Of something of which so much does not tell where it ends, nothing is looked at.
const MAX_HEAD: usize = 1024 * 1024;
/// Twice what Redis lets a value have by default.
const MAX_NUMBER: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn array(kind: char, values: &[&str]) -> String {
        let values = values.iter().map(|value| format!("${}\r\n{value}\r\n", value.len()));
        format!("{kind}{}\r\n{}", values.len(), values.collect::<String>())
    }

    fn wants(pattern: &[u8], channel: &[u8]) -> bool {
        assert_eq!(pattern, b"a#*");
        channel == b"a#here"
    }

    /// What passes when it comes in pieces of one size, and is read in pieces of another.
    async fn sifted(sent: &str, piece: usize, room: usize) -> String {
        let (mut redis, stream) = tokio::io::duplex(piece);
        let mut sieve = Sieve::new(stream, wants);
        let send = async {
            redis.write_all(sent.as_bytes()).await.unwrap();
            drop(redis);
        };
        let receive = async {
            let mut passed = Vec::new();
            let mut buffer = vec![0; room];
            loop {
                match sieve.read(&mut buffer).await.unwrap() {
                    0 => return String::from_utf8(passed).unwrap(),
                    len => passed.extend_from_slice(&buffer[..len]),
                }
            }
        };
        tokio::join!(send, receive).1
    }

    async fn assert_passes(sent: &str, expected: &str) {
        for (piece, room) in [(1, 1), (1, 4096), (7, 3), (100, 8), (4096, 1), (65536, 65536)] {
            assert_eq!(sifted(sent, piece, room).await, expected, "in pieces of {piece} into {room}");
        }
    }

    #[tokio::test]
    async fn what_a_pattern_brings_passes_if_it_is_wanted() {
        for kind in ['*', '>'] {
            let message = |channel: &str, payload: &str| array(kind, &["pmessage", "a#*", channel, payload]);
            let unwanted =
                [message("a#there", "1"), message("a#there", ""), message("a#", &"x".repeat(20_000))]
                    .concat();
            let wanted = [
                message("a#here", "2"),
                message("a#here", "\r\n$1\r\n"),
                message("a#here", &"y".repeat(20_000)),
            ]
            .concat();
            assert_passes(&[&*unwanted, &wanted, &unwanted, &unwanted, &wanted].concat(), &wanted.repeat(2))
                .await;
            assert_passes(&unwanted, "").await;
        }
    }

    #[tokio::test]
    async fn all_else_passes() {
        let unwanted = array('*', &["pmessage", "a#*", "a#there", "1"]);
        let others = [
            array('*', &["message", "there", "x"]),
            array('*', &["message", "there", "x", "pmessage"]),
            array('>', &["smessage", "there", &"z".repeat(20_000)]),
            "*3\r\n$10\r\npsubscribe\r\n$3\r\na#*\r\n:1\r\n".to_owned(),
            "+OK\r\n-ERR pmessage\r\n$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n".to_owned(),
            "%2\r\n+a\r\n*2\r\n:1\r\n_\r\n$1\r\nb\r\n~1\r\n#t\r\n|1\r\n+k\r\n,1.5\r\n(12\r\n=5\r\ntxt:x\r\n"
                .to_owned(),
        ]
        .concat();
        assert_passes(&[&*unwanted, &others, &unwanted, &others].concat(), &others.repeat(2)).await;
    }

    #[tokio::test]
    async fn what_is_not_understood_passes_with_all_that_follows() {
        let unwanted = array('*', &["pmessage", "a#*", "a#there", "1"]);
        for garbage in
            ["HTTP/1.1 400\r\n", "$x\r\n", "*4\r\n$8\r\npmessage\r\n:1\r\n", "$99999999999\r\n", "+\n"]
        {
            let rest = format!("{garbage}{unwanted}");
            assert_passes(&format!("{unwanted}{rest}"), &rest).await;
        }
        let endless = format!("+{}", "x".repeat(2 * MAX_HEAD));
        assert_eq!(sifted(&format!("{unwanted}{endless}"), 65536, 65536).await, endless);
    }

    #[tokio::test]
    async fn what_is_cut_off_passes() {
        let unwanted = array('*', &["pmessage", "a#*", "a#there", "1"]);
        for cut in ["*", "*4\r\n$8\r\npmess", "*4\r\n$8\r\npmessage\r\n$3\r\na#*\r\n$6\r\na#", "+OK\r"] {
            assert_passes(&format!("{unwanted}{cut}"), cut).await;
        }
        // Its payload is not needed to drop it.
        assert_passes(&unwanted[..unwanted.len() - 2], "").await;
    }
}
