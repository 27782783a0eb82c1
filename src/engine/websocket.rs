//! WebSocket: one hijacked connection: messages in, finished frames out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::websocket_io::{Incoming, Io, WebSocketReader};
use crate::proto::EncodedMessage;
use crate::proto::frame;

/// A WebSocket: reads through tungstenite, writes messages that are finished frames already.
pub(crate) struct WebSocket {
    io: Io,
    reader: WebSocketReader,
    /// Messages to write; the first may be written in part.
    queue: VecDeque<Arc<EncodedMessage>>,
    /// Bytes of the first message already written.
    written: usize,
    /// Bytes of the replies already written; while not 0, nothing else may leave.
    replied: usize,
    /// A close frame is to follow what is queued.
    close_after: bool,
    /// The client asked for binary packets as base64 text (`b64` in the query).
    base64: bool,
}

impl WebSocket {
    pub(crate) fn new(io: Io, max_message_size: usize, base64: bool) -> WebSocket {
        let reader = WebSocketReader::new(max_message_size);
        WebSocket { io, reader, queue: VecDeque::new(), written: 0, replied: 0, close_after: false, base64 }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if self.reader.replies().len() > MAX_REPLIES {
            // A peer that sends pings and reads nothing: it waits until its pongs are written.
            return Poll::Pending;
        }
        self.reader.poll_read(&mut self.io, cx)
    }

    /// Where messages to write are put.
    pub(crate) fn queue(&mut self) -> &mut VecDeque<Arc<EncodedMessage>> {
        &mut self.queue
    }

    /// Puts a close frame (empty, as all of Node's) behind what is queued.
    pub(crate) fn queue_close(&mut self) {
        self.close_after = true;
    }

    /// Drops what is queued; `false` when a message was written in part, so that no frame can follow any more.
    pub(crate) fn clear(&mut self) -> bool {
        let whole = self.written == 0;
        self.queue = VecDeque::new();
        self.written = 0;
        whole
    }

    /// Writes all that is queued; `written` grows by the sizes of the messages that are written whole, also when the
    /// rest has to wait.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, written: &mut usize) -> Poll<io::Result<()>> {
        loop {
            if self.written == 0 && !self.reader.replies().is_empty() {
                ready!(self.poll_write_replies(cx))?;
            }
            if self.queue.is_empty() {
                if !std::mem::take(&mut self.close_after) {
                    return Pin::new(&mut self.io).poll_flush(cx);
                }
                self.reader.replies().extend_from_slice(&frame::close_frame(None));
                continue;
            }
            *written += ready!(self.poll_write_messages(cx))?;
        }
    }

    fn poll_write_replies(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.replied < self.reader.replies().len() {
            let bytes = &self.reader.replies()[self.replied..];
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replied += count;
        }
        self.replied = 0;
        *self.reader.replies() = Vec::new();
        Poll::Ready(Ok(()))
    }

    /// One vectored write; gives the sizes of the messages it completed.
    fn poll_write_messages(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_MESSAGES_PER_WRITE];
        let mut count = 0;
        let replies_wait = !self.reader.replies().is_empty();
        for (slice, message) in slices.iter_mut().zip(&self.queue) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&frames(message, self.base64)[skip..]);
            count += 1;
            if replies_wait {
                break;
            }
        }
        let bytes = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count]))?;
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        Poll::Ready(Ok(self.advance(bytes)))
    }

    fn advance(&mut self, mut bytes: usize) -> usize {
        let mut completed = 0;
        while let Some(first) = self.queue.front() {
            let left = frames(first, self.base64).len() - self.written;
            if bytes < left {
                self.written += bytes;
                break;
            }
            bytes -= left;
            completed += first.weight();
            self.written = 0;
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT_QUEUE_CAPACITY {
            self.queue = VecDeque::new();
        }
        completed
    }

    /// Reads and drops a portion of what still comes; `false` at the end of the stream.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [0; 2048];
        let mut buffer = ReadBuf::new(&mut scratch);
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        Poll::Ready(result.is_ok() && !buffer.filled().is_empty())
    }

    /// Ends our side of the stream.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The bytes of a message in the form this client wants.
fn frames(message: &EncodedMessage, base64: bool) -> &Bytes {
    if base64 { message.ws4_base64() } else { message.ws4() }
}

/// More slices a call did not pay in the design's measurements, and the array lives on the stack.
const MAX_MESSAGES_PER_WRITE: usize = 64;
/// An idle connection does not keep the queue of its busiest moment.
const KEPT_QUEUE_CAPACITY: usize = 16;
/// Pongs of at most 125 bytes each; a peer that reads never comes near it.
const MAX_REPLIES: usize = 16 * 1024;
