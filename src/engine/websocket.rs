//! WebSocket: one hijacked connection: messages in, finished frames out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deflate::Deflater;
use super::inflate::Inflater;
use super::permessage_deflate::Negotiated;
use super::websocket_io::{Incoming, Io, WebSocketReader};
use crate::proto::EncodedMessage;
use crate::proto::encoded::Form;
use crate::proto::frame;

/// A WebSocket: reads through tungstenite, writes messages that are finished frames already.
pub(crate) struct WebSocket {
    io: Io,
    reader: WebSocketReader,
    /// Messages to write; the first may be written in part.
    queue: VecDeque<Arc<EncodedMessage>>,
    /// Bytes of what is staged, or else of the first message, already written.
    written: usize,
    /// The bytes of the queue's first messages where they cannot be written from where they are.
    staged: Vec<u8>,
    /// How many messages are staged; they leave the queue when all of it is written.
    staged_messages: usize,
    /// Bytes of the replies already written; while not 0, nothing else may leave.
    replied: usize,
    /// A close frame is to follow what is queued.
    close_after: bool,
    /// The form this client wants.
    form: Form,
    /// Compresses what is sent, if that was agreed upon.
    deflater: Option<Box<Deflater>>,
}

impl WebSocket {
    pub(crate) fn new(io: Io, max_message_size: usize, form: Form, deflate: Option<Negotiated>) -> WebSocket {
        let inflater = deflate.map(|negotiated| Box::new(Inflater::new(&negotiated, max_message_size)));
        WebSocket {
            io,
            reader: WebSocketReader::new(max_message_size, inflater),
            queue: VecDeque::new(),
            written: 0,
            staged: Vec::new(),
            staged_messages: 0,
            replied: 0,
            close_after: false,
            form,
            deflater: deflate.map(|negotiated| Box::new(Deflater::new(negotiated))),
        }
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
        self.staged = Vec::new();
        self.staged_messages = 0;
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

    /// One write; gives the sizes of the messages it completed.
    fn poll_write_messages(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stage();
        let bytes = ready!(if self.staged.is_empty() {
            self.poll_write_queue(cx)
        } else {
            Pin::new(&mut self.io).poll_write(cx, &self.staged[self.written..])
        })?;
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let completed = if self.staged.is_empty() { self.advance(bytes) } else { self.advance_staged(bytes) };
        if self.queue.is_empty() && self.queue.capacity() > KEPT_QUEUE_CAPACITY {
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(completed))
    }

    fn poll_write_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_MESSAGES_PER_WRITE];
        let mut count = 0;
        let replies_wait = !self.reader.replies().is_empty();
        for (slice, message) in slices.iter_mut().zip(&self.queue) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&self.frames(message)[skip..]);
            count += 1;
            if replies_wait {
                break;
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut bytes: usize) -> usize {
        let mut completed = 0;
        while let Some(first) = self.queue.front() {
            let left = self.frames(first).len() - self.written;
            if bytes < left {
                self.written += bytes;
                break;
            }
            bytes -= left;
            completed += first.len();
            self.written = 0;
            self.queue.pop_front();
        }
        completed
    }

    /// Puts messages together where they are this connection's own, compressed with what went before, or where the
    /// connection writes one slice at a time.
    fn stage(&mut self) {
        let is_own = self.deflater.as_ref().is_some_and(|deflater| !deflater.is_shared());
        let between_messages = self.staged.is_empty() && self.written == 0;
        if !between_messages || (!is_own && self.io.is_write_vectored()) {
            return;
        }
        let mut bytes = 0;
        let fits = |message: &&Arc<EncodedMessage>| {
            bytes += message.frames(self.form).len();
            bytes <= MAX_STAGED_BYTES
        };
        let fitting = self.queue.iter().take_while(fits).count();
        let count = if self.reader.replies().is_empty() { fitting.max(1) } else { 1 };
        if !is_own && count == 1 {
            return;
        }
        for message in self.queue.iter().take(count) {
            match &mut self.deflater {
                Some(deflater) if is_own => deflater.push(message.frames(self.form), &mut self.staged),
                Some(deflater) => self.staged.extend_from_slice(deflater.shared(message, self.form)),
                None => self.staged.extend_from_slice(message.frames(self.form)),
            }
        }
        self.staged_messages = count;
    }

    fn advance_staged(&mut self, bytes: usize) -> usize {
        self.written += bytes;
        if self.written < self.staged.len() {
            return 0;
        }
        self.written = 0;
        self.staged = Vec::new();
        self.queue.drain(..std::mem::take(&mut self.staged_messages)).map(|message| message.len()).sum()
    }

    /// The bytes of a message that are the same for all who have agreed upon the same.
    fn frames<'m>(&self, message: &'m EncodedMessage) -> &'m Bytes {
        match &self.deflater {
            None => message.frames(self.form),
            Some(deflater) => deflater.shared(message, self.form),
        }
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

/// More slices a call did not pay in the design's measurements, and the array lives on the stack.
const MAX_MESSAGES_PER_WRITE: usize = 64;
/// Messages are put together up to this size before compression; a larger one goes alone.
const MAX_STAGED_BYTES: usize = 16 * 1024;
/// An idle connection does not keep the queue of its busiest moment.
const KEPT_QUEUE_CAPACITY: usize = 16;
/// Pongs of at most 125 bytes each; a peer that reads never comes near it.
const MAX_REPLIES: usize = 16 * 1024;
