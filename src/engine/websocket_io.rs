//! WebSocketReader: lets tungstenite read our IO and keeps its replies.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use bytestring::ByteString;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

use super::inflate::{InflateError, Inflater};
use crate::proto::frame::{self, Opcode};

/// What a hijacked HTTP connection is.
pub(crate) type Io = TokioIo<Upgraded>;

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A whole text message.
    Text(ByteString),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping or pong; its reply, if any, is in [`WebSocketReader::replies`].
    Control,
    /// The peer's close frame; its echo is in the replies.
    Close,
    /// The stream has ended without one, or the connection is broken.
    Ended,
    /// The peer broke the rules; the close frame that says how is in the replies.
    Failed,
}

/// Reads messages off a WebSocket; masking, fragments, UTF-8 and close rules are tungstenite's. Replies (pongs,
/// close frames) are kept as bytes for the writer, which owns the order of what leaves.
pub(crate) struct WebSocketReader {
    context: WebSocketContext,
    replies: Vec<u8>,
    /// For a client that may compress its messages.
    inflater: Option<Box<Inflater>>,
}

impl WebSocketReader {
    pub(crate) fn new(max_message_size: usize, inflater: Option<Box<Inflater>>) -> WebSocketReader {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(max_message_size))
            .max_frame_size(Some(max_message_size));
        let context = WebSocketContext::new(Role::Server, Some(config));
        WebSocketReader { context, replies: Vec::new(), inflater }
    }

    /// The next message, or what ended the stream. After `Close`, `Ended` or `Failed` nothing more comes.
    pub(crate) fn poll_read(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Incoming> {
        let replied = self.replies.len();
        let inflater = self.inflater.as_deref_mut();
        let mut shim = Shim { io, cx, replies: &mut self.replies, inflater };
        match self.context.read(&mut shim) {
            Ok(tungstenite::Message::Text(text)) => Poll::Ready(text_message(text.into())),
            Ok(tungstenite::Message::Binary(data)) => Poll::Ready(Incoming::Binary(data)),
            Ok(tungstenite::Message::Close(close)) => Poll::Ready(self.closed(close.as_ref(), replied)),
            Ok(_) => {
                self.flush_reply(io, cx);
                Poll::Ready(Incoming::Control)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(self.failed(&error)),
        }
    }

    pub(crate) fn has_no_replies(&self) -> bool {
        self.replies.is_empty()
    }

    /// Bytes that must leave between two messages: pongs, or the close frame that answers the peer's.
    pub(crate) fn replies(&mut self) -> &mut Vec<u8> {
        &mut self.replies
    }

    /// tungstenite hands out its pong with the next read or flush; waiting for the next read would delay it.
    fn flush_reply(&mut self, io: &mut Io, cx: &mut Context<'_>) {
        let inflater = self.inflater.as_deref_mut();
        let mut shim = Shim { io, cx, replies: &mut self.replies, inflater };
        // The shim's writes cannot fail.
        let _ = self.context.flush(&mut shim);
    }

    fn closed(&mut self, close: Option<&CloseFrame>, replied: usize) -> Incoming {
        self.replies.truncate(replied);
        match close {
            None => self.replies.extend_from_slice(&frame::close_frame(None)),
            // How tungstenite reports a code that a peer must not send; Node answers 1002 without a reason.
            Some(CloseFrame { code: CloseCode::Protocol, reason })
                if reason.as_str() == "Protocol violation" =>
            {
                self.replies.extend_from_slice(&frame::close_frame(Some(1002)));
                return Incoming::Failed;
            }
            Some(CloseFrame { code, reason }) => {
                let mut payload = u16::from(*code).to_be_bytes().to_vec();
                payload.extend_from_slice(reason.as_bytes());
                frame::push_frame(&mut self.replies, Opcode::Close, &payload);
            }
        }
        Incoming::Close
    }

    fn failed(&mut self, error: &Error) -> Incoming {
        let code = match error {
            Error::Io(error) => match InflateError::of(error) {
                Some(error) => error.close_code(),
                None => return Incoming::Ended,
            },
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => return Incoming::Ended,
            Error::Capacity(CapacityError::MessageTooLong { .. }) => 1009,
            Error::Utf8(_) => 1007,
            _ => 1002,
        };
        self.replies.extend_from_slice(&frame::close_frame(Some(code)));
        Incoming::Failed
    }
}

fn text_message(text: Bytes) -> Incoming {
    match ByteString::try_from(text) {
        Ok(text) => Incoming::Text(text),
        // tungstenite has checked it.
        Err(_) => Incoming::Failed,
    }
}

/// Bytes asked of the system at once, and what an idle connection keeps as its buffer.
const READ_BUFFER: usize = 2048;

/// Our IO as the blocking stream tungstenite wants: `read` is one poll, `write` keeps the bytes.
struct Shim<'a, 'cx, 'w> {
    io: &'a mut Io,
    cx: &'cx mut Context<'w>,
    replies: &'a mut Vec<u8>,
    inflater: Option<&'a mut Inflater>,
}

impl Read for Shim<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inflater {
            None => read_now(self.io, self.cx, buffer),
            Some(inflater) => inflater.read(buffer, |input| read_now(self.io, self.cx, input)),
        }
    }
}

fn read_now(io: &mut Io, cx: &mut Context<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(buffer);
    match Pin::new(io).poll_read(cx, &mut buffer) {
        Poll::Ready(result) => result.map(|()| buffer.filled().len()),
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Shim<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
