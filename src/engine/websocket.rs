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
    /// Nothing was read because too many replies wait.
    reading_waits: bool,
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
            reading_waits: false,
            close_after: false,
            form,
            deflater: deflate.map(|negotiated| Box::new(Deflater::new(negotiated))),
        }
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        self.reading_waits = self.reader.replies().len() > MAX_REPLIES;
        if self.reading_waits {
            // A peer that sends pings and reads nothing: it waits until its pongs are written.
            return Poll::Pending;
        }
        self.reader.poll_read(&mut self.io, cx)
    }

    /// Whether reading waited for replies that have been written since: nobody else says that there is more to read.
    /// Says so once.
    pub(crate) fn take_may_read_again(&mut self) -> bool {
        let may = self.reading_waits && self.replied == 0 && self.reader.has_no_replies();
        self.reading_waits &= !may;
        may
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
            let end = self.staged.len().min(self.written.saturating_add(self.max_write()));
            Pin::new(&mut self.io).poll_write(cx, &self.staged[self.written..end])
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
        let (mut count, mut compressed) = (0, 0);
        let replies_wait = !self.reader.replies().is_empty();
        let max_write = self.max_write();
        for (slice, message) in slices.iter_mut().zip(&self.queue) {
            let skip = if count == 0 { self.written } else { 0 };
            let rest = &self.frames(message)[skip..];
            *slice = IoSlice::new(&rest[..rest.len().min(max_write)]);
            count += 1;
            // Compression takes time: what comes behind so much waits for the next write.
            compressed += if self.deflater.is_some() { message.len() } else { 0 };
            if replies_wait || compressed > MAX_STAGED_BYTES {
                break;
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
    }

    /// hyper's HTTP/2 copies each write whole, and takes the next one while the first has not left: what the client does
    /// not read would wait there, uncounted, and as long as its connection lives.
    fn max_write(&self) -> usize {
        if self.io.is_write_vectored() { usize::MAX } else { MAX_STAGED_BYTES }
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
            completed += first.weight();
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
        self.queue.drain(..std::mem::take(&mut self.staged_messages)).map(|message| message.weight()).sum()
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
/// Messages are put together up to this size before compression (a larger one goes alone), and so much is written at once
/// where a write copies.
const MAX_STAGED_BYTES: usize = 16 * 1024;
/// An idle connection does not keep the queue of its busiest moment.
const KEPT_QUEUE_CAPACITY: usize = 16;
/// Pongs of at most 125 bytes each; a peer that reads never comes near it.
const MAX_REPLIES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use flate2::{Decompress, FlushDecompress};
    use hyper::upgrade::Upgraded;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    /// One end of a pipe, as a connection that takes one slice at a time, and counts how often.
    struct Host {
        pipe: DuplexStream,
        is_vectored: bool,
        writes: Arc<std::sync::atomic::AtomicUsize>,
    }

    impl AsyncRead for Host {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.pipe).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Host {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Pin::new(&mut self.pipe).poll_write(cx, bytes)
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let count = if self.is_vectored { slices.len() } else { 1 };
            Pin::new(&mut self.pipe).poll_write_vectored(cx, &slices[..count])
        }

        fn is_write_vectored(&self) -> bool {
            self.is_vectored
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.pipe).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.pipe).poll_shutdown(cx)
        }
    }

    struct Pair {
        socket: WebSocket,
        client: DuplexStream,
        writes: Arc<std::sync::atomic::AtomicUsize>,
    }

    impl Pair {
        /// A WebSocket whose pipe takes this many bytes.
        async fn new(capacity: usize, is_vectored: bool, deflate: Option<Negotiated>) -> Pair {
            let (pipe, mut client) = tokio::io::duplex(capacity);
            let writes = Arc::<std::sync::atomic::AtomicUsize>::default();
            let host = Host { pipe, is_vectored, writes: Arc::clone(&writes) };
            let (sender, receiver) = tokio::sync::oneshot::channel::<Upgraded>();
            let sender = std::sync::Mutex::new(Some(sender));
            let service = hyper::service::service_fn(|request| {
                let sender = sender.lock().unwrap().take().unwrap();
                tokio::spawn(async move { sender.send(hyper::upgrade::on(request).await.unwrap()) });
                let response = http::Response::builder().status(101).header("upgrade", "websocket");
                std::future::ready(response.body(http_body_util::Empty::<Bytes>::new()))
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(host), service);
            let answer = async {
                client
                    .write_all(b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                    .await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                io::Result::Ok(())
            };
            let (served, answered) = tokio::join!(connection.with_upgrades(), answer);
            served.unwrap();
            answered.unwrap();
            let socket = WebSocket::new(TokioIo::new(receiver.await.unwrap()), 1_000_000, Form::Ws4, deflate);
            writes.store(0, std::sync::atomic::Ordering::Relaxed);
            Pair { socket, client, writes }
        }

        fn send(&mut self, messages: &[&str]) {
            self.socket.queue().extend(messages.iter().map(|text| Arc::new(EncodedMessage::text(text))));
        }

        /// Writes all; gives what the client got, and what the socket said that it wrote.
        async fn written(&mut self) -> (Vec<u8>, usize) {
            let (mut bytes, mut written) = (Vec::new(), 0);
            loop {
                let mut cx = Context::from_waker(Waker::noop());
                let done = self.socket.poll_write(&mut cx, &mut written).is_ready();
                let mut buffer = [0; 64 * 1024];
                let mut read = ReadBuf::new(&mut buffer);
                while Pin::new(&mut self.client).poll_read(&mut cx, &mut read).is_ready() {
                    bytes.extend_from_slice(read.filled());
                    read.clear();
                }
                if done {
                    return (bytes, written);
                }
                // A task may only do so much at a time.
                tokio::task::yield_now().await;
            }
        }

        fn writes(&self) -> usize {
            self.writes.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    const TAKEOVER: Negotiated = Negotiated {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        threshold: 1024,
        level: 6,
    };

    fn plain(messages: &[&str]) -> Vec<u8> {
        messages.iter().flat_map(|text| EncodedMessage::text(text).ws4().to_vec()).collect()
    }

    /// The texts that a client hears, with the context taken over.
    fn heard(mut frames: &[u8]) -> Vec<String> {
        let mut decompress = Decompress::new(false);
        let mut texts = Vec::new();
        while !frames.is_empty() {
            assert_eq!(frames[0], 0xC1);
            let mut plain = frames.to_vec();
            plain[0] = 0x81;
            let (_, payload, rest) = frame::split_frame(&plain).unwrap();
            frames = &frames[frames.len() - rest.len()..];
            let mut text = Vec::with_capacity(1 << 17);
            let payload = [payload, &[0, 0, 0xff, 0xff]].concat();
            decompress.decompress_vec(&payload, &mut text, FlushDecompress::Sync).unwrap();
            texts.push(String::from_utf8(text).unwrap());
        }
        texts
    }

    #[tokio::test]
    async fn a_vectored_connection_gets_many_messages_in_one_write() {
        let mut pair = Pair::new(1 << 20, true, None).await;
        let messages = ["4a", "4b", "4c"];
        pair.send(&messages);
        let expected = plain(&messages);
        let counted = expected.len() + messages.len() * EncodedMessage::OVERHEAD;
        assert!(pair.written().await == (expected, counted));
        assert!(pair.socket.staged.is_empty());
        assert_eq!(pair.writes(), 1);
    }

    #[tokio::test]
    async fn messages_are_put_together_where_a_write_takes_one_slice() {
        let mut pair = Pair::new(1 << 20, false, None).await;
        let large = format!("4{}", "x".repeat(MAX_STAGED_BYTES));
        let messages = ["4a", "4b", "4c", &large, "4d"];
        pair.send(&messages);
        let expected = plain(&messages);
        let counted = expected.len() + messages.len() * EncodedMessage::OVERHEAD;
        assert!(pair.written().await == (expected, counted));
        assert_eq!(pair.writes(), 4);
    }

    #[tokio::test]
    async fn a_connection_that_takes_a_byte_at_a_time_gets_the_same() {
        let large = "4".repeat(5000);
        let messages = ["4a", &large, "4b", "4c"];
        let size = plain(&messages).len() + messages.len() * EncodedMessage::OVERHEAD;
        for is_vectored in [true, false] {
            let mut pair = Pair::new(1, is_vectored, None).await;
            pair.send(&messages);
            assert!(pair.written().await == (plain(&messages), size));

            let mut pair = Pair::new(1, is_vectored, Some(TAKEOVER)).await;
            pair.send(&messages);
            let (bytes, written) = pair.written().await;
            assert_eq!((heard(&bytes), written), (messages.map(str::to_owned).to_vec(), size));

            let shared = Negotiated { server_no_context_takeover: true, ..TAKEOVER };
            let mut pair = Pair::new(1, is_vectored, Some(shared)).await;
            pair.send(&messages);
            let (bytes, written) = pair.written().await;
            assert_eq!(written, size);
            assert_eq!(bytes[..plain(&["4a"]).len()], plain(&["4a"]));
            assert_eq!(bytes[plain(&["4a"]).len()], 0xC1);
            assert!(bytes.len() < 100);
        }
    }

    #[tokio::test]
    async fn the_context_goes_on_from_write_to_write_and_the_close_frame_is_never_compressed() {
        let mut pair = Pair::new(1 << 20, true, Some(TAKEOVER)).await;
        let mut bytes = Vec::new();
        for _ in 0..3 {
            pair.send(&["4the same", "4the same"]);
            bytes.extend(pair.written().await.0);
        }
        assert_eq!(heard(&bytes), ["4the same"; 6]);
        pair.socket.queue_close();
        assert_eq!(pair.written().await.0, [0x88, 0]);
    }

    #[tokio::test]
    async fn a_queue_that_compresses_well_is_not_compressed_all_at_once() {
        let mut pair = Pair::new(16, true, Some(TAKEOVER)).await;
        let message = format!("4{}", "x".repeat(10_000));
        pair.send(&[message.as_str(); 100]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pair.socket.poll_write(&mut cx, &mut 0).is_pending());
        assert_eq!(pair.socket.staged_messages, 1);
        assert_eq!(heard(&pair.written().await.0), vec![message; 100]);
    }

    #[tokio::test]
    async fn what_is_cleared_in_the_middle_of_a_message_can_have_no_close_frame() {
        for (capacity, whole) in [(1, false), (1 << 20, true)] {
            let mut pair = Pair::new(capacity, true, Some(TAKEOVER)).await;
            pair.send(&["4a message", "4another"]);
            let mut cx = Context::from_waker(Waker::noop());
            let _ = pair.socket.poll_write(&mut cx, &mut 0);
            assert_eq!(pair.socket.clear(), whole);
            assert!(pair.socket.queue().is_empty() && pair.socket.staged.is_empty());
        }
    }
}
