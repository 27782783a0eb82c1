//! Session: everything Engine.IO decides, nothing the network does.

mod heartbeat;
mod queue;
mod upgrade;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::{Message, Packet};
use crate::proto::EncodedMessage;

use heartbeat::Heartbeat;
use queue::SendQueue;
use upgrade::Upgrade;

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

/// One Engine.IO session (Engine.IO 4).
///
/// ```text
///              handle_probe              `5` on the probe
///   Polling ───────────────▶ + probe ───────────────────▶ WebSocket
///      ▲                        │
///      └── probe lost, late or ─┘
///          misbehaving
///
///   Open ── close(), polling without a GET ──▶ Closing ── GET takes `6` `1`, 30 s ──▶ Closed
///     └──── close · `1` · ping timeout · transport lost · parse error · slow peer ──▶ Closed(CloseReason)
/// ```
///
/// **The one rule:** whatever the interleaving, every accepted message leaves exactly once and in order, across an
/// upgrade; after `Closed` nothing leaves but the goodbye (the close packet of an open GET, or what was accepted
/// before a graceful [`Session::close`] over WebSocket).
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    transport: TransportKind,
    state: State,
    queue: SendQueue,
    heartbeat: Heartbeat,
    upgrade: Upgrade,
    get_open: bool,
    post_open: bool,
    /// What the open GET is given although the queue does not hold it: the goodbye, or the noop of an upgrade.
    extra: Vec<Arc<EncodedMessage>>,
    /// Not yet asked for by `poll_event`.
    upgraded_event: bool,
    closed_event: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// `close` was called over polling; once the queue is empty, at `until` at the latest it is closed.
    Closing {
        until: Option<Instant>,
    },
    Closed(CloseReason),
}

impl Session {
    /// Opens a session; `open` (the open packet) is the first message in its queue.
    pub fn new(now: Instant, transport: TransportKind, config: SessionConfig, open: Arc<EncodedMessage>) -> Session {
        let mut queue = SendQueue::default();
        queue.push(open);
        Session {
            config,
            transport,
            state: State::Open,
            queue,
            heartbeat: Heartbeat::new(now, config.ping_interval, config.ping_timeout),
            upgrade: Upgrade::new(config.upgrade_timeout),
            get_open: false,
            post_open: false,
            extra: Vec::new(),
            upgraded_event: false,
            closed_event: false,
        }
    }

    // A  getters

    /// The transport used at present.
    pub fn transport(&self) -> TransportKind {
        self.transport
    }

    /// Whether the session is closed; one that is closing is not.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether it is closed, or closes with the next poll.
    pub fn is_closing(&self) -> bool {
        self.state != State::Open
    }

    /// The probe that is under way, if any. A driver whose probe is no longer this one (and has not become the
    /// session's WebSocket) closes it with an empty close frame.
    pub fn probe(&self) -> Option<ProbeId> {
        self.upgrade.probe()
    }

    /// Whether a volatile message would be accepted now (Node's `transport.writable`).
    pub fn is_writable(&self) -> bool {
        self.state == State::Open
            && self.queue.is_idle()
            && (self.transport == TransportKind::WebSocket || self.get_open)
    }

    /// Bytes accepted and not yet transmitted.
    pub fn buffered_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Whether a GET or POST is open.
    pub fn is_open_request(&self, method: PollMethod) -> bool {
        match method {
            PollMethod::Get => self.get_open,
            PollMethod::Post => self.post_open,
        }
    }

    /// Whether [`Session::poll_transmit`] would give something.
    pub fn can_transmit(&self, via: Via) -> bool {
        match via {
            Via::Polling => {
                let closing = matches!(self.state, State::Closing { .. });
                let queued = self.transport == TransportKind::Polling && !self.queue.is_empty();
                self.get_open && (closing || queued || !self.extra.is_empty())
            }
            Via::WebSocket => self.transport == TransportKind::WebSocket && !self.queue.is_empty(),
            Via::Probe(id) => self.upgrade.owes_pong(id),
        }
    }

    // B  the world speaks

    /// A packet came; gives the message to hand to the application, if it is one.
    pub fn handle_packet(&mut self, now: Instant, via: Via, packet: Packet) -> Option<Message> {
        if self.is_closed() {
            return None;
        }
        if let Via::Probe(id) = via {
            self.handle_probe_packet(now, id, &packet);
            return None;
        }
        if self.is_closing() {
            return None;
        }
        match packet {
            Packet::Pong(_) => self.heartbeat.handle_pong(now),
            _ => self.heartbeat.handle_other(now),
        }
        match packet {
            Packet::Message(message) => return Some(message),
            Packet::Ping(_) => self.fail(CloseReason::TransportError),
            Packet::Close(_) if via == Via::Polling => {
                self.extra.push(EncodedMessage::noop());
                self.end(CloseReason::TransportClose);
            }
            Packet::Close(_) | Packet::Noop(_) | Packet::Open(_) | Packet::Pong(_) | Packet::Upgrade(_) => {}
        }
        None
    }

    /// Something that is no packet came.
    pub fn handle_invalid_packet(&mut self, now: Instant, via: Via) {
        match via {
            Via::Probe(_) => self.handle_lost(now, via, Loss::Failed),
            _ if self.state == State::Open => self.fail(CloseReason::ParseError),
            _ => {}
        }
    }

    /// A GET or POST of this session began.
    ///
    /// # Errors
    /// One is open already: "a client MUST NOT have more than one active `GET` request" (Engine.IO protocol); the
    /// session is closed with `transport error`.
    pub fn handle_request(&mut self, now: Instant, method: PollMethod) -> Result<(), Overlap> {
        if self.is_open_request(method) {
            self.fail(CloseReason::TransportError);
            return Err(Overlap(method));
        }
        self.set_open_request(method, true);
        self.upgrade.catch_up(now);
        Ok(())
    }

    /// It was answered (or, a POST, its body has been taken over whole).
    pub fn handle_request_end(&mut self, _now: Instant, method: PollMethod) {
        self.set_open_request(method, false);
    }

    /// A WebSocket with this session's id arrived.
    ///
    /// # Errors
    /// It must be closed: the session is upgrading or upgraded already, or closed.
    pub fn handle_probe(&mut self, now: Instant) -> Result<ProbeId, UpgradeRefused> {
        if self.is_closed() || self.transport == TransportKind::WebSocket {
            return Err(UpgradeRefused);
        }
        self.upgrade.begin(now)
    }

    /// `bytes` of what [`Session::poll_transmit`] gave for `via` have been written.
    pub fn handle_transmitted(&mut self, _now: Instant, via: Via, bytes: usize) {
        if !matches!(via, Via::Probe(_)) {
            self.queue.transmitted(bytes);
        }
    }

    /// The transport is gone (for [`Via::Polling`]: an open request was aborted, whose end was reported before).
    pub fn handle_lost(&mut self, _now: Instant, via: Via, loss: Loss) {
        match via {
            Via::Probe(id) => self.upgrade.end(id),
            Via::Polling => self.fail(CloseReason::TransportError),
            Via::WebSocket => self.fail(match loss {
                Loss::Ended => CloseReason::TransportClose,
                Loss::Failed => CloseReason::TransportError,
            }),
        }
    }

    /// A request was so wrong that the session ends with `transport error`: an octet-stream POST.
    pub fn handle_invalid_request(&mut self, _now: Instant) {
        self.fail(CloseReason::TransportError);
    }

    /// The instant of [`Session::poll_timeout`] has come (or not yet: harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        if let State::Closing { until: Some(until) } = self.state
            && until <= now
        {
            return self.end(CloseReason::ForcedClose);
        }
        match self.heartbeat.handle_timeout(now) {
            heartbeat::Beat::Nothing => {}
            heartbeat::Beat::Ping => self.queue.push_control(EncodedMessage::ping()),
            heartbeat::Beat::Dead => return self.fail(CloseReason::PingTimeout),
        }
        if self.upgrade.handle_timeout(now, self.get_open) {
            self.extra.push(EncodedMessage::noop());
        }
    }

    /// The driver stops (or resumes) reading by its own choice: meanwhile the ping timeout is suspended; at the end
    /// of the pause a pong that is due may take `ping_timeout` again.
    pub fn handle_paused(&mut self, now: Instant, paused: bool) {
        self.heartbeat.handle_paused(now, paused);
    }

    // C  the application speaks

    /// Accepts a message.
    ///
    /// # Errors
    /// [`SendError::Closed`]; [`SendError::QueueFull`] has closed the session.
    pub fn send(&mut self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        let queued = self.queue.bytes();
        if queued > 0 && queued + message.len() > self.config.max_send_queue {
            self.fail(CloseReason::TransportError);
            return Err(SendError::QueueFull { queued, limit: self.config.max_send_queue });
        }
        self.queue.push(message);
        Ok(())
    }

    /// Accepts a message only if [`Session::is_writable`]; says whether it did.
    pub fn send_volatile(&mut self, message: Arc<EncodedMessage>) -> bool {
        let writable = self.is_writable();
        if writable {
            self.queue.push(message);
        }
        writable
    }

    /// Closes gracefully: what was accepted still leaves.
    pub fn close(&mut self, now: Instant) {
        if self.state != State::Open {
            return;
        }
        match self.transport {
            // Node destroys a POST whose body is still coming, and that is how the session ends.
            TransportKind::Polling if self.post_open => self.fail(CloseReason::TransportError),
            TransportKind::Polling if self.get_open && self.queue.is_empty() => self.fail(CloseReason::ForcedClose),
            TransportKind::Polling => {
                let until = self.queue.is_empty().then(|| now + CLOSE_TIMEOUT);
                self.state = State::Closing { until };
            }
            TransportKind::WebSocket => self.end(CloseReason::ForcedClose),
        }
    }

    /// Closes at once (`forced close`): what was accepted and not yet taken is dropped.
    pub fn discard(&mut self, _now: Instant) {
        self.fail(CloseReason::ForcedClose);
    }

    // D  what the caller must do now: ask in this order after every B or C

    /// Moves all that may leave by `via` now into `into`.
    pub fn poll_transmit(&mut self, now: Instant, via: Via, into: &mut VecDeque<Arc<EncodedMessage>>) {
        match via {
            Via::Polling if self.get_open => self.transmit_by_get(now, into),
            Via::Polling => {}
            Via::WebSocket if self.transport == TransportKind::WebSocket => self.queue.take_all(into),
            Via::WebSocket => {}
            Via::Probe(id) => {
                if self.upgrade.take_pong(id) {
                    into.push_back(EncodedMessage::probe_pong());
                }
            }
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        if std::mem::take(&mut self.upgraded_event) {
            return Some(SessionEvent::Upgraded);
        }
        match self.state {
            State::Closed(reason) if std::mem::take(&mut self.closed_event) => Some(SessionEvent::Closed(reason)),
            _ => None,
        }
    }

    /// When [`Session::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let closing = match self.state {
            State::Closed(_) => return None,
            State::Closing { until } => until,
            State::Open => None,
        };
        [closing, self.heartbeat.poll_timeout(), self.upgrade.poll_timeout(self.get_open)].into_iter().flatten().min()
    }

    // Private

    fn transmit_by_get(&mut self, now: Instant, into: &mut VecDeque<Arc<EncodedMessage>>) {
        if self.is_closed() || self.transport == TransportKind::WebSocket {
            into.extend(self.extra.drain(..));
            return;
        }
        if let State::Closing { until } = self.state {
            if self.queue.is_empty() {
                into.extend([EncodedMessage::noop(), EncodedMessage::close()]);
                return self.end(CloseReason::ForcedClose);
            }
            self.queue.take_all(into);
            self.state = State::Closing { until: until.or(Some(now + CLOSE_TIMEOUT)) };
            return;
        }
        into.extend(self.extra.drain(..));
        self.queue.take_all(into);
    }

    fn handle_probe_packet(&mut self, now: Instant, id: ProbeId, packet: &Packet) {
        if self.upgrade.probe() != Some(id) {
            return;
        }
        match packet {
            Packet::Ping(data) if &**data == "probe" => self.upgrade.handle_ping(now),
            Packet::Upgrade(_) => self.finish_upgrade(now),
            _ => self.upgrade.end(id),
        }
    }

    fn finish_upgrade(&mut self, now: Instant) {
        self.upgrade.finish();
        self.transport = TransportKind::WebSocket;
        self.upgraded_event = true;
        self.heartbeat.handle_upgrade(now);
        self.extra.clear();
        if self.get_open {
            self.extra.push(EncodedMessage::close());
        }
        if self.is_closing() {
            // What was accepted before the close leaves by the WebSocket, then its close frame.
            self.end(CloseReason::ForcedClose);
        }
    }

    /// Closes at once, dropping the queue; an open GET is told by a close packet.
    fn fail(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        self.extra.clear();
        if self.get_open {
            self.extra.push(EncodedMessage::close());
        }
        self.queue.clear();
        self.end(reason);
    }

    /// Closes; what is to be said to an open GET is in `extra` already.
    fn end(&mut self, reason: CloseReason) {
        if self.is_closed() {
            return;
        }
        if self.transport == TransportKind::Polling {
            self.queue.clear();
        }
        self.upgrade.finish();
        self.state = State::Closed(reason);
        self.closed_event = true;
    }

    fn set_open_request(&mut self, method: PollMethod, open: bool) {
        match method {
            PollMethod::Get => self.get_open = open,
            PollMethod::Post => self.post_open = open,
        }
    }
}

/// How long a graceful close over polling waits for a GET: Node's number.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

impl CloseReason {
    /// Node's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::ForcedClose => "forced close",
            CloseReason::ParseError => "parse error",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::TransportClose => "transport close",
            CloseReason::TransportError => "transport error",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed => f.write_str("the session is closed"),
            SendError::QueueFull { queued, limit } => {
                write!(f, "{queued} bytes wait for a slow peer, the limit is {limit} (raise max_send_queue)")
            }
        }
    }
}

impl std::error::Error for SendError {}
