//! Session: everything Engine.IO decides, nothing the network does.

mod flush;
mod heartbeat;
mod outcome;
mod queue;
mod slow_consumer;
#[cfg(test)]
mod tests;
mod upgrade;
mod via;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Revision;
use super::packet::{Message, Packet};
use crate::proto::EncodedMessage;

pub use flush::FlushMark;
use heartbeat::{Beat, Heartbeat};
pub use outcome::{CloseReason, SendError, Sent, SessionEvent};
use queue::SendQueue;
use slow_consumer::LagMeter;
pub use slow_consumer::{Lag, SlowConsumer};
use upgrade::Upgrade;
pub use via::{Loss, Overlap, PollMethod, ProbeId, TransportKind, UpgradeRefused, Via};

/// The numbers a session needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// From the handshake, or the last pong, to the next ping. Node: 25 s. (Revision 3: see `ping_timeout`.)
    pub ping_interval: Duration,
    /// From a ping to the pong at the latest. Node: 20 s. Revision 3: from one ping of the client to the next, it may
    /// take `ping_interval` and `ping_timeout` together.
    pub ping_timeout: Duration,
    /// From a probe's WebSocket to its `5` at the latest. Node: 10 s.
    pub upgrade_timeout: Duration,
    /// Bound of the send queue in bytes, queued and in flight; a message larger than the bound is accepted into an
    /// empty queue. The session's own packets (open, ping) do not count. 16 MiB.
    pub max_send_queue: usize,
    /// What is done when it is full. Close.
    pub slow_consumer: SlowConsumer,
    /// More bytes than these in the send queue, counted likewise, are a [`Lag`]. 1 MiB.
    pub high_water_mark: usize,
}

/// One Engine.IO session, of either revision: they differ in who pings.
///
/// ```text
///              handle_probe            `5` on the probe, with or without `2probe` before
///   Polling ─────────────────▶ + probe ────────────────────────────────────────────────▶ WebSocket
///      ▲                          │
///      └── lost · anything else ──┘   (polling goes on beside the probe)
///          · upgrade_timeout
///
///   Open ── close(), polling, no GET waits ──▶ Closing ── GET finds the queue empty: `6` `1` · 30 s ──▶ Closed
///    │                                            └────── `5` on the probe ───────────────────────────▶ Closed
///    └─ close() · discard() · `1` by polling · `2` · parse error · ping timeout · transport lost
///       · overlapping requests · slow peer ─────────────────────────────────────────────▶ Closed(CloseReason)
///
///   GET:  none ── handle_request ──▶ waits ── poll_transmit gives something ──▶ answered ── handle_request_end ──▶ none
/// ```
///
/// **The one rule:** whatever the interleaving, every accepted message leaves exactly once and in order, across an
/// upgrade (unless it said that it may be lost, and was: [`SlowConsumer`]); after `Closed` nothing leaves but the goodbye: one packet for a GET that waits, and what was accepted
/// before a graceful [`Session::close`] over WebSocket.
///
/// The goodbye of a GET is the close packet `1`, or the noop `6` if the client itself said `1`.
///
/// The probe that became the session's WebSocket may go on being called [`Via::Probe`]: it means the same.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    transport: TransportKind,
    state: State,
    queue: SendQueue,
    lag: LagMeter,
    heartbeat: Heartbeat,
    upgrade: Upgrade,
    get: Get,
    post: Post,
    /// Packets that came so far.
    received: u64,
    /// Not yet asked for by `poll_event`.
    upgrading_event: bool,
    upgraded_event: bool,
    closed_event: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// `close` was called over polling. `until` is set once the queue is empty: then it is closed at the latest.
    Closing {
        until: Option<Instant>,
    },
    Closed(CloseReason),
}

/// The one GET that a session may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Get {
    None,
    Waits,
    /// It is to be given this packet, which is none of the queue's.
    Owed(Reply),
    /// It has been given something, and takes nothing more.
    Answered,
}

/// The one POST that a session may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Post {
    None,
    /// Its body is coming.
    Receiving,
    /// Its body is there, and waits to be processed.
    Received,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Close,
    Noop,
}

impl Session {
    /// Opens a session; `open` (the open packet) is the first message in its queue.
    pub fn new(
        now: Instant,
        transport: TransportKind,
        revision: Revision,
        config: SessionConfig,
        open: Arc<EncodedMessage>,
    ) -> Session {
        let mut queue = SendQueue::default();
        queue.push_control(open);
        Session {
            config,
            transport,
            state: State::Open,
            queue,
            lag: LagMeter::new(config.high_water_mark),
            heartbeat: Heartbeat::new(now, revision, config.ping_interval, config.ping_timeout),
            upgrade: Upgrade::new(config.upgrade_timeout),
            get: Get::None,
            post: Post::None,
            received: 0,
            upgrading_event: false,
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

    /// Whether a volatile message would leave at once, and so be accepted (Node's `transport.writable`).
    pub fn is_writable(&self) -> bool {
        let transport_is = match self.transport {
            TransportKind::Polling => self.get == Get::Waits,
            TransportKind::WebSocket => self.queue.is_websocket_idle(),
        };
        transport_is && self.state == State::Open && self.queue.is_empty()
    }

    /// Bytes accepted and not yet transmitted.
    pub fn buffered_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Marks the end of the queue as it is.
    pub fn flush_mark(&mut self) -> FlushMark {
        self.queue.mark()
    }

    /// Whether all that was accepted before the mark has been transmitted, as far as it was not dropped. It may be later
    /// than that by what was taken together with it.
    pub fn is_flushed(&self, mark: FlushMark) -> bool {
        self.queue.has_left(mark)
    }

    /// Whether [`Session::poll_event`] would tell of a [`Lag`].
    pub fn has_lag_news(&self) -> bool {
        self.state == State::Open && self.lag.has_news()
    }

    /// Packets that came so far, of every type, by every way.
    pub fn packets_received(&self) -> u64 {
        self.received
    }

    /// Packets accepted for sending so far, the session's open packet and heartbeat included.
    pub fn packets_sent(&self) -> u64 {
        self.queue.packets()
    }

    /// Whether a GET or POST is open.
    pub fn is_open_request(&self, method: PollMethod) -> bool {
        match method {
            PollMethod::Get => self.get != Get::None,
            PollMethod::Post => self.post != Post::None,
        }
    }

    /// Whether [`Session::poll_transmit`] would give something.
    pub fn can_transmit(&self, via: Via) -> bool {
        match self.resolve(via) {
            Via::Polling => match self.get {
                Get::None | Get::Answered => false,
                Get::Owed(_) => true,
                Get::Waits => self.has_for_get(),
            },
            Via::WebSocket => self.transport == TransportKind::WebSocket && !self.queue.is_empty(),
            Via::Probe(id) => self.upgrade.owes_reply(id),
        }
    }

    // B  the world speaks

    /// A packet came; gives the message to hand to the application, if it is one.
    pub fn handle_packet(&mut self, now: Instant, via: Via, packet: Packet) -> Option<Message> {
        if self.is_closed() {
            return None;
        }
        self.received += 1;
        match self.resolve(via) {
            Via::Probe(id) => self.handle_probe_packet(now, id, &packet),
            _ if self.is_closing() => {}
            Via::Polling if self.transport == TransportKind::Polling => {
                return self.handle_polled(now, packet);
            }
            Via::Polling => return self.handle_late_polled(now, packet),
            Via::WebSocket if self.transport == TransportKind::WebSocket => {
                return self.handle_usual(now, packet);
            }
            Via::WebSocket => {}
        }
        None
    }

    /// Something that is no packet came.
    pub fn handle_invalid_packet(&mut self, _now: Instant, via: Via) {
        match self.resolve(via) {
            Via::Probe(id) => self.upgrade.end(id),
            via if self.is_current(via) && self.state == State::Open => self.fail(CloseReason::ParseError),
            Via::Polling | Via::WebSocket => {}
        }
    }

    /// A GET or POST of this session began.
    ///
    /// # Errors
    /// The newcomer is to be refused with 400.
    /// If one is open already ("a client MUST NOT have more than one active `GET` request", Engine.IO protocol), the
    /// session is closed with `transport error`.
    /// If the session has just left polling, nothing happens to it.
    pub fn handle_request(&mut self, now: Instant, method: PollMethod) -> Result<(), Overlap> {
        if self.transport != TransportKind::Polling {
            return Err(Overlap(method));
        }
        if self.is_open_request(method) {
            self.fail(CloseReason::TransportError);
            return Err(Overlap(method));
        }
        match method {
            PollMethod::Get => {
                self.get = Get::Waits;
                self.upgrade.catch_up(now);
            }
            PollMethod::Post => self.post = Post::Receiving,
        }
        Ok(())
    }

    /// It was answered (or, a POST, its body has been taken over whole).
    pub fn handle_request_end(&mut self, _now: Instant, method: PollMethod) {
        match method {
            PollMethod::Get => self.get = Get::None,
            PollMethod::Post => self.post = Post::None,
        }
    }

    /// The body of the open POST is there whole.
    pub fn handle_body(&mut self) {
        if self.post == Post::Receiving {
            self.post = Post::Received;
        }
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
        match self.resolve(via) {
            Via::Polling => self.queue.transmitted(TransportKind::Polling, bytes),
            Via::WebSocket => self.queue.transmitted(TransportKind::WebSocket, bytes),
            Via::Probe(id) => self.upgrade.transmitted(id, bytes),
        }
        self.lag.note(self.queue.bounded_bytes());
    }

    /// The transport is gone (for [`Via::Polling`]: an open request was aborted, whose end was reported before).
    pub fn handle_lost(&mut self, _now: Instant, via: Via, loss: Loss) {
        match (self.resolve(via), loss) {
            (Via::Probe(id), _) => return self.upgrade.end(id),
            (Via::Polling, _) => self.queue.forget_in_flight(TransportKind::Polling),
            (Via::WebSocket, _) if self.is_closed() => self.queue.clear(),
            (Via::WebSocket, _) => {}
        }
        if self.is_current(via) {
            self.fail(match (self.transport, loss) {
                (TransportKind::WebSocket, Loss::Ended) => CloseReason::TransportClose,
                (TransportKind::Polling, _) | (_, Loss::Failed) => CloseReason::TransportError,
            });
        }
    }

    /// A request was so wrong that the session ends with `transport error`: an octet-stream POST.
    pub fn handle_invalid_request(&mut self, _now: Instant) {
        if self.transport == TransportKind::Polling {
            self.fail(CloseReason::TransportError);
        }
    }

    /// The instant of [`Session::poll_timeout`] has come (or not yet: harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_closed() {
            return;
        }
        if let State::Closing { until: Some(until) } = self.state
            && until <= now
        {
            return self.fail(CloseReason::ForcedClose);
        }
        match self.heartbeat.handle_timeout(now) {
            // Node sends nothing any more once it is closing, but awaits the pong nevertheless.
            Beat::Ping if self.state == State::Open => self.queue.push_control(EncodedMessage::ping()),
            Beat::Nothing | Beat::Ping => {}
            Beat::Dead => return self.fail(CloseReason::PingTimeout),
        }
        if self.upgrade.handle_timeout(now) && self.get == Get::Waits {
            self.get = Get::Owed(Reply::Noop);
        }
    }

    /// The driver stops (or resumes) reading by its own choice: meanwhile the ping timeout is suspended; at the end
    /// of the pause a pong that is due may take `ping_timeout` again. A pause that lasts for `ping_interval` and
    /// `ping_timeout` together ends the session as `ping timeout`.
    ///
    /// A session that is closing reads nothing, so that a pause does not keep it.
    pub fn handle_paused(&mut self, now: Instant, paused: bool) {
        if self.state == State::Open {
            self.heartbeat.handle_paused(now, paused);
        }
    }

    // C  the application speaks

    /// Accepts a message only if [`Session::is_writable`]; says whether it did. What a poll's answer still carries
    /// after an upgrade may leave no room within the bound: then it is not accepted either.
    pub fn send_volatile(&mut self, message: Arc<EncodedMessage>) -> bool {
        let queued = self.queue.bounded_bytes();
        let fits = queued == 0 || queued.saturating_add(message.weight()) <= self.config.max_send_queue;
        let accepted = fits && self.is_writable();
        if accepted {
            self.lag.note(queued.saturating_add(message.weight()));
            self.queue.push(message);
        }
        accepted
    }

    /// Closes gracefully (`forced close`): what was accepted still leaves.
    ///
    /// Over WebSocket it is closed at once, and the driver writes what [`Session::poll_transmit`] still gives. Over
    /// polling a GET that waits is told at once; otherwise GETs to come take the queue and then the goodbye, at most
    /// 30 s after the queue became empty.
    pub fn close(&mut self, now: Instant) {
        if self.state != State::Open {
            return;
        }
        match self.transport {
            TransportKind::WebSocket => self.end(CloseReason::ForcedClose),
            // Node destroys a POST whose body is still coming, and that is how the session ends.
            TransportKind::Polling if self.post == Post::Receiving => self.fail(CloseReason::TransportError),
            TransportKind::Polling if self.is_get_unanswered() && self.queue.is_empty() => {
                self.fail(CloseReason::ForcedClose);
            }
            TransportKind::Polling => {
                self.heartbeat.handle_paused(now, false);
                let until = self.queue.is_empty().then(|| now + CLOSE_TIMEOUT);
                self.state = State::Closing { until };
                if self.is_get_unanswered() {
                    self.get = Get::Waits;
                }
            }
        }
    }

    /// Closes at once (`forced close`): what was accepted and not yet taken is dropped.
    pub fn discard(&mut self, _now: Instant) {
        self.fail(CloseReason::ForcedClose);
    }

    // D  what the caller must do now: ask in this order after every B or C

    /// Moves all that may leave by `via` now into `into`; a WebSocket may be given it in portions, one for each call.
    ///
    /// An open GET is given something once: it has then to be answered with it.
    pub fn poll_transmit(&mut self, now: Instant, via: Via, into: &mut VecDeque<Arc<EncodedMessage>>) {
        match self.resolve(via) {
            Via::Polling => self.transmit_by_get(now, into),
            Via::WebSocket if self.transport == TransportKind::WebSocket => match self.portion() {
                Some(bytes) => self.queue.take_some(TransportKind::WebSocket, bytes, into),
                None => self.queue.take_all(TransportKind::WebSocket, into),
            },
            Via::WebSocket => {}
            Via::Probe(id) if self.upgrade.owes_reply(id) => {
                let reply = EncodedMessage::probe_pong();
                let owed = self.upgrade.take_replies(id, reply.weight());
                into.extend(std::iter::repeat_n(reply, owed));
            }
            Via::Probe(_) => {}
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        if std::mem::take(&mut self.upgrading_event) {
            return Some(SessionEvent::Upgrading);
        }
        if std::mem::take(&mut self.upgraded_event) {
            return Some(SessionEvent::Upgraded);
        }
        if self.has_lag_news() {
            return self.lag.take_news(self.queue.bounded_bytes()).map(SessionEvent::Lag);
        }
        match self.state {
            State::Closed(reason) if std::mem::take(&mut self.closed_event) => {
                Some(SessionEvent::Closed(reason))
            }
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
        let upgrade = self.upgrade.poll_timeout(self.get == Get::Waits);
        [closing, self.heartbeat.poll_timeout(), upgrade].into_iter().flatten().min()
    }

    // Private

    /// The session's WebSocket under its own name, also where it is called by that of the probe it once was.
    fn resolve(&self, via: Via) -> Via {
        match via {
            Via::Probe(id) if self.upgrade.winner() == Some(id) => Via::WebSocket,
            other => other,
        }
    }

    fn is_current(&self, via: Via) -> bool {
        match self.resolve(via) {
            Via::Polling => self.transport == TransportKind::Polling,
            Via::WebSocket => self.transport == TransportKind::WebSocket,
            Via::Probe(_) => false,
        }
    }

    fn handle_polled(&mut self, now: Instant, packet: Packet) -> Option<Message> {
        if let Packet::Close(_) = packet {
            self.close_with(Reply::Noop, CloseReason::TransportClose);
            return None;
        }
        self.handle_usual(now, packet)
    }

    /// What means the same on polling and on WebSocket.
    fn handle_usual(&mut self, now: Instant, packet: Packet) -> Option<Message> {
        match packet {
            Packet::Ping(_) if self.heartbeat.handle_ping(now) => {
                // Within the bound of the queue: a client that pings and does not read is a slow peer.
                let _ = self.send(EncodedMessage::pong());
            }
            Packet::Pong(_) if self.heartbeat.handle_pong(now) => {}
            // "invalid heartbeat direction"
            Packet::Ping(_) | Packet::Pong(_) => self.fail(CloseReason::TransportError),
            Packet::Message(message) => {
                self.heartbeat.handle_other(now);
                return Some(message);
            }
            Packet::Close(_) | Packet::Noop(_) | Packet::Open(_) | Packet::Upgrade(_) => {
                self.heartbeat.handle_other(now);
            }
        }
        None
    }

    /// The body of a POST that began before the upgrade: its messages count, but it cannot end a session that has
    /// left polling.
    fn handle_late_polled(&mut self, now: Instant, packet: Packet) -> Option<Message> {
        match packet {
            Packet::Message(_) => self.handle_usual(now, packet),
            Packet::Ping(_) | Packet::Pong(_) if self.heartbeat.expects(&packet) => {
                self.handle_usual(now, packet)
            }
            _ => None,
        }
    }

    fn handle_probe_packet(&mut self, now: Instant, id: ProbeId, packet: &Packet) {
        if self.upgrade.probe() != Some(id) {
            return;
        }
        match packet {
            Packet::Ping(data) if &**data == "probe" => {
                self.upgrade.handle_ping(now);
                self.upgrading_event = true;
            }
            Packet::Upgrade(_) => self.finish_upgrade(now),
            _ => self.upgrade.end(id),
        }
    }

    fn finish_upgrade(&mut self, now: Instant) {
        let replies = self.upgrade.win();
        self.queue.add_in_flight(replies.in_flight);
        for _ in 0..replies.owed {
            self.queue.push_control_front(EncodedMessage::probe_pong());
        }
        self.transport = TransportKind::WebSocket;
        self.upgraded_event = true;
        self.heartbeat.handle_upgrade(now);
        self.owe_to_get(Reply::Close);
        if self.is_closing() {
            // What waited for a GET leaves by the WebSocket instead.
            self.end(CloseReason::ForcedClose);
        }
    }

    fn transmit_by_get(&mut self, now: Instant, into: &mut VecDeque<Arc<EncodedMessage>>) {
        match self.get {
            Get::None | Get::Answered => return,
            Get::Waits if !self.has_for_get() => return,
            // The queue is a better reason than the noop to answer.
            Get::Owed(Reply::Noop) | Get::Waits if self.has_for_get() => {
                self.transmit_queue_by_get(now, into);
            }
            Get::Owed(Reply::Noop) | Get::Waits => into.push_back(EncodedMessage::noop()),
            Get::Owed(Reply::Close) => into.push_back(EncodedMessage::close()),
        }
        self.get = Get::Answered;
    }

    /// Whether the queue, or its emptiness at the end, is something to tell a GET.
    fn has_for_get(&self) -> bool {
        self.transport == TransportKind::Polling
            && match self.state {
                State::Open => !self.queue.is_empty(),
                State::Closing { .. } => true,
                State::Closed(_) => false,
            }
    }

    fn transmit_queue_by_get(&mut self, now: Instant, into: &mut VecDeque<Arc<EncodedMessage>>) {
        match &mut self.state {
            State::Closing { .. } if self.queue.is_empty() => {
                into.extend([EncodedMessage::noop(), EncodedMessage::close()]);
                return self.end(CloseReason::ForcedClose);
            }
            State::Closing { until } => *until = Some(now + CLOSE_TIMEOUT),
            State::Open | State::Closed(_) => {}
        }
        self.queue.take_all(TransportKind::Polling, into);
    }

    /// Closes at once, dropping the queue; a GET that waits is told by a close packet.
    fn fail(&mut self, reason: CloseReason) {
        self.close_with(Reply::Close, reason);
    }

    fn close_with(&mut self, reply: Reply, reason: CloseReason) {
        if !self.is_closed() {
            self.owe_to_get(reply);
            self.queue.clear();
            self.end(reason);
        }
    }

    /// Closes; over WebSocket the queue stays to be taken.
    fn end(&mut self, reason: CloseReason) {
        if self.transport == TransportKind::Polling {
            self.queue.clear();
        }
        self.upgrade.abandon();
        self.state = State::Closed(reason);
        self.closed_event = true;
    }

    fn is_get_unanswered(&self) -> bool {
        matches!(self.get, Get::Owed(_) | Get::Waits)
    }

    fn owe_to_get(&mut self, reply: Reply) {
        if self.is_get_unanswered() {
            self.get = Get::Owed(reply);
        }
    }
}

/// How long a graceful close over polling waits for a GET once the queue is empty: Node's number.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// `now + wait`; for a wait that the clock cannot express, as good as never.
fn later(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + 100 * YEAR)
}
