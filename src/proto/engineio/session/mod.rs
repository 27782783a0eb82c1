//! Session: everything Engine.IO decides, nothing the network does.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::{Message, Packet};
use crate::proto::EncodedMessage;

/// The transport a session runs over at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl TransportKind {
    /// The transport's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportKind::Polling => "polling",
            TransportKind::WebSocket => "websocket",
        }
    }

    /// The transport with this name, exactly as written on the wire.
    pub fn from_name(name: &str) -> Option<TransportKind> {
        match name {
            "polling" => Some(TransportKind::Polling),
            "websocket" => Some(TransportKind::WebSocket),
            _ => None,
        }
    }
}

/// The two kinds of requests of HTTP long-polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollMethod {
    /// Waits for packets.
    Get,
    /// Brings packets.
    Post,
}

/// Names one attempt to upgrade: a late loss of probe A must not end probe B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeId(pub(crate) u32);

/// The way by which something came, or may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// HTTP long-polling.
    Polling,
    /// The session's WebSocket.
    WebSocket,
    /// A WebSocket that wants to become the session's.
    Probe(ProbeId),
}

/// Why a session closed; `Display` gives Node's strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// `forced close`: this side closed it.
    ForcedClose,
    /// `parse error`: an invalid Engine.IO packet came.
    ParseError,
    /// `ping timeout`: no pong in time.
    PingTimeout,
    /// `transport close`: the client closed, or its connection ended.
    TransportClose,
    /// `transport error`: overlapping requests, protocol violations of the transport, a failed write, a peer too
    /// slow for its send queue.
    TransportError,
}

/// How a transport was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It ended: a close frame, or the end of the TCP stream (for a WebSocket); `transport close`.
    Ended,
    /// It failed: a WebSocket protocol error, a write error, an aborted poll or POST; `transport error`.
    Failed,
}

/// A second GET (or POST) came while one was open: the session is closed, the newcomer is to be answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub PollMethod);

/// A WebSocket claims a session that is upgrading, upgraded, not on polling, or closed: to be closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeRefused;

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session is closed, or closing.
    Closed,
    /// The send queue holds `queued` bytes, its bound is `limit`: the session has been closed as a slow peer.
    QueueFull {
        /// Bytes that waited.
        queued: usize,
        /// The bound, in bytes.
        limit: usize,
    },
}

/// What happened to the session, for the layer above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// It now runs over WebSocket.
    Upgraded,
    /// It is closed; comes exactly once, last.
    Closed(CloseReason),
}

/// The numbers a session needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// From the handshake, or the last pong, to the next ping. Node: 25 s.
    pub ping_interval: Duration,
    /// From a ping to the pong at the latest. Node: 20 s.
    pub ping_timeout: Duration,
    /// From a probe's WebSocket to its `5` at the latest. Node: 10 s.
    pub upgrade_timeout: Duration,
    /// Bound of the send queue in bytes, queued and in flight; a message larger than the bound is accepted into an
    /// empty queue. 16 MiB.
    pub max_send_queue: usize,
}

/// One Engine.IO session.
#[derive(Debug)]
pub struct Session {
    transport: TransportKind,
}

#[allow(unused_variables, missing_docs, clippy::todo)]
impl Session {
    /// Opens a session; `open` (the open packet) is the first message in its queue.
    pub fn new(now: Instant, transport: TransportKind, config: SessionConfig, open: Arc<EncodedMessage>) -> Session {
        todo!()
    }

    // A  getters
    pub fn transport(&self) -> TransportKind {
        self.transport
    }
    /// Open or closing, not closed.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
    /// Closed, or `close` was called and waits for the next poll.
    pub fn is_closing(&self) -> bool {
        todo!()
    }
    /// The probe that is under way, if any. A driver whose probe is no longer this one (and has not become the
    /// session's WebSocket) closes it with an empty close frame.
    pub fn probe(&self) -> Option<ProbeId> {
        todo!()
    }
    /// Node's `transport.writable`: a volatile message would be accepted now.
    pub fn is_writable(&self) -> bool {
        todo!()
    }
    /// Bytes accepted and not yet transmitted.
    pub fn buffered_bytes(&self) -> usize {
        todo!()
    }

    /// Whether a GET or POST is open.
    pub fn is_open_request(&self, method: PollMethod) -> bool {
        todo!()
    }
    /// Whether `poll_transmit` would give something.
    pub fn can_transmit(&self, via: Via) -> bool {
        todo!()
    }

    // B  the world speaks
    /// A packet came; gives the message to hand to the application, if it is one.
    pub fn handle_packet(&mut self, now: Instant, via: Via, packet: Packet) -> Option<Message> {
        todo!()
    }
    /// Something that is no packet came.
    pub fn handle_invalid_packet(&mut self, now: Instant, via: Via) {
        todo!()
    }
    /// A GET or POST of this session began.
    pub fn handle_request(&mut self, now: Instant, method: PollMethod) -> Result<(), Overlap> {
        todo!()
    }
    /// It was answered (or, a POST, its body has been taken over whole).
    pub fn handle_request_end(&mut self, now: Instant, method: PollMethod) {
        todo!()
    }
    /// A WebSocket with this session's id arrived.
    pub fn handle_probe(&mut self, now: Instant) -> Result<ProbeId, UpgradeRefused> {
        todo!()
    }
    /// `bytes` of what `poll_transmit` gave for `via` have been written.
    pub fn handle_transmitted(&mut self, now: Instant, via: Via, bytes: usize) {
        todo!()
    }
    /// The transport is gone (for `Via::Polling`: an open request was aborted).
    pub fn handle_lost(&mut self, now: Instant, via: Via, loss: Loss) {
        todo!()
    }
    /// A request was so wrong that the session ends (`transport error`): octet-stream POST of a v4 client.
    pub fn handle_invalid_request(&mut self, now: Instant) {
        todo!()
    }
    /// The instant of `poll_timeout` has come (or not yet: harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
    /// The driver stops (or resumes) reading by its own choice: while paused the ping timeout is suspended; at the
    /// end of the pause a pong that is due may take `ping_timeout` again.
    pub fn handle_paused(&mut self, now: Instant, paused: bool) {
        todo!()
    }

    // C  the application speaks
    pub fn send(&mut self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        todo!()
    }
    /// Accepts only if `is_writable`; says whether it did.
    pub fn send_volatile(&mut self, message: Arc<EncodedMessage>) -> bool {
        todo!()
    }
    /// Closes gracefully: what was accepted still leaves.
    pub fn close(&mut self, now: Instant) {
        todo!()
    }
    /// Closes at once (`forced close`): what was accepted and not yet taken is dropped.
    pub fn discard(&mut self, now: Instant) {
        todo!()
    }

    // D  what the caller must do now: ask in this order after every B or C
    /// Moves all that may leave by `via` now into `into`.
    pub fn poll_transmit(&mut self, via: Via, into: &mut VecDeque<Arc<EncodedMessage>>) {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
}
