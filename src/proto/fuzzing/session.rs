//! Any operations on a session: its one rule holds, its bound too, and time never stands still.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::EncodedMessage;
use crate::proto::encoded::Part;
use crate::proto::engineio::{
    CloseReason, Lag, Loss, Message, Packet, PollMethod, ProbeId, Revision, SendError, Sent, Session,
    SessionConfig, SessionEvent, SlowConsumer, TransportKind, Via,
};

/// Runs the operations that `data` spells: the first byte says on which transport the session opens and whether
/// silence ends it, then two bytes an operation. `now` is when it all begins; which instant that is does not matter.
///
/// # Panics
/// If an invariant is broken.
pub fn session(now: Instant, data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let transport = if first & 1 == 0 { TransportKind::Polling } else { TransportKind::WebSocket };
    let operations = rest.as_chunks::<2>().0.iter().map(|&[code, argument]| Operation::new(code, argument));
    run(now, transport, first & 2 != 0, operations);
}

/// Runs operations on a new session, checks the invariants after each, and in the end lets the client take all there
/// is, or (`silence`) lets it say nothing any more.
fn run(
    now: Instant,
    transport: TransportKind,
    silence: bool,
    operations: impl IntoIterator<Item = Operation>,
) {
    let mut world = World::new(now, transport);
    for operation in operations {
        world.apply(operation);
        world.check();
    }
    if silence {
        world.fall_silent();
    }
    world.settle();
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Advance(Duration),
    Close,
    Discard,
    GetAborted,
    GetBegins,
    /// The GET takes what there is; `true`: and is answered at once.
    GetTakes(bool),
    GetAnswered,
    Invalid(Way),
    InvalidRequest,
    Lost(Way, Loss),
    PacketBy(Way, Kind),
    Pause(bool),
    PostAborted,
    PostBegins,
    PostEnds,
    ProbeBegins,
    Send(usize),
    SendVolatile(usize),
    Timeout,
    /// The way's WebSocket takes what there is.
    Takes(Way),
    /// The way's WebSocket writes so many bytes of what it took.
    Writes(Way, usize),
}

/// A way as the driver would name it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Polling,
    /// The last probe that began, also when it has become the session's WebSocket.
    Probe,
    /// The probe before the last.
    StaleProbe,
    WebSocket,
}

/// A packet as a client may send it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Close,
    Message,
    Noop,
    Ping,
    Pong,
    ProbePing,
    Upgrade,
}

impl Operation {
    fn new(code: u8, argument: u8) -> Operation {
        let way = [Way::Polling, Way::Probe, Way::StaleProbe, Way::WebSocket][usize::from(argument & 3)];
        let loss = if argument & 4 == 0 { Loss::Ended } else { Loss::Failed };
        let size = usize::from(argument);
        match code % 32 {
            0 | 1 => Operation::Send(size),
            2 => Operation::Send(size * 16),
            3 => Operation::SendVolatile(size),
            4..=6 => Operation::GetBegins,
            7..=9 => Operation::GetTakes(true),
            10 => Operation::GetTakes(false),
            11 => Operation::GetAnswered,
            12 => Operation::GetAborted,
            13 => Operation::PostBegins,
            14 => Operation::PostEnds,
            15 => Operation::PostAborted,
            16 => Operation::ProbeBegins,
            17 => Operation::PacketBy(Way::Probe, Kind::ProbePing),
            18 => Operation::PacketBy(Way::Probe, Kind::Upgrade),
            19 | 20 => Operation::Takes(way),
            21 | 22 => Operation::Writes(way, size >> 2),
            23 => Operation::PacketBy(way, Kind::new(argument >> 2)),
            24 => Operation::PacketBy(way, Kind::Pong),
            25 => Operation::Advance(Duration::from_millis(u64::from(argument))),
            26 => Operation::Advance(Duration::from_millis(u64::from(argument) * 100)),
            27 | 28 => Operation::Timeout,
            29 => Operation::Pause(argument & 1 == 0),
            30 => Operation::Lost(way, loss),
            _ => match argument % 8 {
                0..=3 => Operation::Close,
                4 => Operation::Discard,
                5 => Operation::InvalidRequest,
                _ => Operation::Invalid(way),
            },
        }
    }
}

impl Kind {
    fn new(code: u8) -> Kind {
        [
            Kind::Message,
            Kind::Message,
            Kind::Pong,
            Kind::Noop,
            Kind::ProbePing,
            Kind::Upgrade,
            Kind::Ping,
            Kind::Close,
        ][usize::from(code % 8)]
    }

    fn packet(self) -> Packet {
        match self {
            Kind::Close => Packet::Close("".into()),
            Kind::Message => Packet::Message(Message::Text("hello".into())),
            Kind::Noop => Packet::Noop("".into()),
            Kind::Ping => Packet::Ping("".into()),
            Kind::Pong => Packet::Pong("".into()),
            Kind::ProbePing => Packet::Ping("probe".into()),
            Kind::Upgrade => Packet::Upgrade("".into()),
        }
    }
}

/// The bound of the send queue.
const LIMIT: usize = 2000 + 8 * EncodedMessage::OVERHEAD;
/// The longest message.
const LONGEST: usize = 255 * 16 + 20 + EncodedMessage::OVERHEAD;
/// Open packet, pings and replies to probes, which may come on top.
const CONTROL: usize = 300 + 100 * EncodedMessage::OVERHEAD;
const CONFIG: SessionConfig = SessionConfig {
    ping_interval: Duration::from_secs(25),
    ping_timeout: Duration::from_secs(20),
    upgrade_timeout: Duration::from_secs(10),
    max_send_queue: LIMIT,
    slow_consumer: SlowConsumer::Close,
    high_water_mark: LIMIT / 2,
};

/// The session, and what those around it know.
struct World {
    now: Instant,
    session: Session,
    transport: TransportKind,
    get: Get,
    post_open: bool,
    probes: Vec<ProbeId>,
    /// Bytes taken and not yet written, by a GET and by the last WebSocket.
    polling_bytes: usize,
    websocket_bytes: usize,
    /// Pings of the last probe that are to be answered.
    pings: usize,
    /// Messages are numbered in order of acceptance.
    accepted: u32,
    received: u32,
    closed: Option<CloseReason>,
    discarded: bool,
    paused: bool,
    /// What was told last.
    lags: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Get {
    None,
    Open,
    /// It has taken something.
    Taken,
}

impl World {
    fn new(now: Instant, transport: TransportKind) -> World {
        let open = Arc::new(EncodedMessage::text("0{}"));
        World {
            now,
            session: Session::new(now, transport, Revision::V4, CONFIG, open),
            transport,
            get: Get::None,
            post_open: false,
            probes: Vec::new(),
            polling_bytes: 0,
            websocket_bytes: 0,
            pings: 0,
            accepted: 0,
            received: 0,
            closed: None,
            discarded: false,
            paused: false,
            lags: false,
        }
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Advance(time) => self.advance(now + time),
            Operation::Close => self.session.close(now),
            Operation::Discard => {
                self.discarded |= !self.session.is_closed();
                self.session.discard(now);
            }
            Operation::GetAborted if self.get == Get::Open => {
                self.get = Get::None;
                self.session.handle_request_end(now, PollMethod::Get);
                self.session.handle_lost(now, Via::Polling, Loss::Failed);
                self.polling_bytes = 0;
            }
            Operation::GetBegins => self.begin(PollMethod::Get),
            Operation::GetTakes(at_once) => {
                self.take_by_get();
                if at_once {
                    self.answer_get();
                }
            }
            Operation::GetAnswered => self.answer_get(),
            Operation::Invalid(way) => {
                if let Some(via) = self.via(way) {
                    self.session.handle_invalid_packet(now, via);
                }
            }
            Operation::InvalidRequest => self.session.handle_invalid_request(now),
            Operation::Lost(way, loss) => self.lose(way, loss),
            Operation::PacketBy(way, kind) => self.packet(way, kind),
            Operation::Pause(paused) => {
                self.paused = paused;
                self.session.handle_paused(now, paused);
            }
            Operation::PostAborted if self.post_open => {
                self.post_open = false;
                self.session.handle_request_end(now, PollMethod::Post);
                self.session.handle_lost(now, Via::Polling, Loss::Failed);
                self.polling_bytes = 0;
            }
            Operation::PostBegins => self.begin(PollMethod::Post),
            Operation::PostEnds => {
                self.post_open = false;
                self.session.handle_request_end(now, PollMethod::Post);
            }
            Operation::ProbeBegins => self.begin_probe(),
            Operation::Send(len) => self.send(len),
            Operation::SendVolatile(len) => {
                let writable = self.session.is_writable();
                let message = self.message(len);
                let full = self.session.buffered_bytes() + message.weight() > LIMIT;
                let accepted = self.session.send_volatile(message);
                assert!(accepted == writable || (full && !accepted));
                self.accepted += u32::from(accepted);
            }
            Operation::Timeout => {
                if let Some(timeout) = self.session.poll_timeout() {
                    self.advance(timeout.max(now));
                }
            }
            Operation::Takes(way) => self.take_by_websocket(way),
            Operation::Writes(way, bytes) => self.write(way, bytes),
            Operation::GetAborted | Operation::PostAborted => {}
        }
    }

    fn via(&self, way: Way) -> Option<Via> {
        match way {
            Way::Polling => Some(Via::Polling),
            Way::Probe => self.probes.last().copied().map(Via::Probe),
            Way::StaleProbe => self.probes.iter().rev().nth(1).copied().map(Via::Probe),
            Way::WebSocket => Some(Via::WebSocket),
        }
    }

    fn message(&self, len: usize) -> Arc<EncodedMessage> {
        Arc::new(EncodedMessage::text(&format!("4{} {:len$}", self.accepted, "")))
    }

    /// Time passes, and the session is told when it asked to be.
    fn advance(&mut self, until: Instant) {
        while let Some(timeout) = self.session.poll_timeout().filter(|timeout| *timeout <= until) {
            assert!(timeout >= self.now, "a deadline was missed");
            self.now = timeout;
            self.session.handle_timeout(timeout);
            let next = self.session.poll_timeout();
            assert!(next.is_none_or(|next| next > timeout), "time stands still");
            self.check();
        }
        self.now = until;
        self.session.handle_timeout(until);
    }

    fn begin(&mut self, method: PollMethod) {
        let open = match method {
            PollMethod::Get => self.get != Get::None,
            PollMethod::Post => self.post_open,
        };
        assert_eq!(self.session.is_open_request(method), open);
        let was_closed = self.session.is_closed();
        let refused = self.session.handle_request(self.now, method).is_err();
        assert_eq!(refused, open || self.transport == TransportKind::WebSocket);
        if refused {
            let closes = self.transport == TransportKind::Polling;
            assert_eq!(self.session.is_closed(), was_closed || closes);
            return;
        }
        match method {
            PollMethod::Get => self.get = Get::Open,
            PollMethod::Post => self.post_open = true,
        }
    }

    fn begin_probe(&mut self) {
        let may = self.session.probe().is_none()
            && self.closed.is_none()
            && self.transport == TransportKind::Polling;
        match self.session.handle_probe(self.now) {
            Ok(id) => {
                assert!(may && !self.probes.contains(&id));
                assert_eq!(self.session.probe(), Some(id));
                self.probes.push(id);
                (self.websocket_bytes, self.pings) = (0, 0);
            }
            Err(_) => assert!(!may),
        }
    }

    fn send(&mut self, len: usize) {
        let message = self.message(len);
        let len = message.weight();
        let closing = self.session.is_closing();
        match self.session.send(message) {
            Ok(sent) => {
                assert!(!closing && sent == Sent::default());
                self.accepted += 1;
            }
            Err(SendError::Closed) => assert!(closing),
            Err(SendError::Dropped) => panic!("nothing may be dropped"),
            Err(SendError::QueueFull { queued, limit }) => {
                assert!(queued > 0 && queued + len > limit);
                assert!(self.session.is_closed());
            }
        }
    }

    fn packet(&mut self, way: Way, kind: Kind) {
        let Some(via) = self.via(way) else { return };
        let is_current_probe = matches!(via, Via::Probe(id) if self.session.probe() == Some(id));
        if is_current_probe && matches!(kind, Kind::ProbePing) {
            self.pings += 1;
        }
        let counts = match via {
            Via::Polling => true,
            _ => self.is_websocket(via),
        };
        let accepts = counts && !self.session.is_closing() && matches!(kind, Kind::Message);
        let message = self.session.handle_packet(self.now, via, kind.packet());
        assert_eq!(message.is_some(), accepts, "{kind:?} by {via:?}");
    }

    /// Whether the session runs over this WebSocket.
    fn is_websocket(&self, via: Via) -> bool {
        self.transport == TransportKind::WebSocket
            && match via {
                Via::Polling => false,
                Via::Probe(id) => self.probes.last() == Some(&id),
                Via::WebSocket => true,
            }
    }

    fn lose(&mut self, way: Way, loss: Loss) {
        let Some(via) = self.via(way).filter(|via| *via != Via::Polling) else { return };
        let (was_websocket, was_closed) = (self.is_websocket(via), self.session.is_closed());
        self.session.handle_lost(self.now, via, loss);
        if was_websocket {
            // What a closed session still had to say cannot be said any more.
            (self.discarded, self.websocket_bytes) = (true, 0);
        }
        assert_eq!(self.session.is_closed(), was_closed || was_websocket);
    }

    fn take_by_get(&mut self) {
        let can = self.session.can_transmit(Via::Polling);
        let closed = self.closed;
        let mut taken = VecDeque::new();
        self.session.poll_transmit(self.now, Via::Polling, &mut taken);
        assert_eq!(!taken.is_empty(), can);
        assert!(!self.session.can_transmit(Via::Polling));
        if taken.is_empty() {
            return;
        }
        assert!(self.get == Get::Open, "only a GET that waits is given something, once");
        self.get = Get::Taken;
        let texts: Vec<String> = taken.iter().map(text).collect();
        let is_goodbye = match closed {
            Some(CloseReason::TransportClose) => texts == ["6"] || texts == ["1"],
            Some(_) => texts == ["1"],
            None if self.transport == TransportKind::WebSocket => texts == ["1"],
            None => texts == ["6"] || texts == ["6", "1"],
        };
        assert_eq!(texts.contains(&"1".to_owned()), is_goodbye && texts != ["6"], "{texts:?}");
        if is_goodbye {
            return;
        }
        assert!(closed.is_none(), "{texts:?} left after the close");
        self.polling_bytes += taken.iter().map(|message| message.weight()).sum::<usize>();
        texts.iter().for_each(|text| self.receive(text));
    }

    fn answer_get(&mut self) {
        if self.get == Get::Taken {
            self.get = Get::None;
            self.session.handle_request_end(self.now, PollMethod::Get);
            let bytes = std::mem::take(&mut self.polling_bytes);
            self.session.handle_transmitted(self.now, Via::Polling, bytes);
        }
    }

    fn take_by_websocket(&mut self, way: Way) {
        let Some(via) = self.via(way).filter(|via| *via != Via::Polling) else { return };
        let can = self.session.can_transmit(via);
        let mut taken = VecDeque::new();
        self.session.poll_transmit(self.now, via, &mut taken);
        assert_eq!(!taken.is_empty(), can);
        assert!(!self.session.can_transmit(via));
        if taken.is_empty() {
            return;
        }
        let is_websocket = self.is_websocket(via);
        assert!(is_websocket || self.session.probe().map(Via::Probe) == Some(via));
        assert!(self.closed.is_none_or(|reason| reason == CloseReason::ForcedClose) && !self.discarded);
        self.websocket_bytes += taken.iter().map(|message| message.weight()).sum::<usize>();
        for text in taken.iter().map(text) {
            if text == "3probe" {
                self.pings = self.pings.checked_sub(1).expect("only a probe's pings are answered");
                continue;
            }
            assert!(is_websocket, "{text:?} left by a probe");
            self.receive(&text);
        }
    }

    fn write(&mut self, way: Way, bytes: usize) {
        let Some(via) = self.via(way) else { return };
        if self.is_websocket(via) || self.session.probe().map(Via::Probe) == Some(via) {
            let bytes = bytes.min(self.websocket_bytes);
            self.websocket_bytes -= bytes;
            self.session.handle_transmitted(self.now, via, bytes);
        }
    }

    /// The client reads a packet: messages come in order, none is missing, none comes twice.
    fn receive(&mut self, text: &str) {
        let Some(data) = text.strip_prefix('4') else {
            assert!(["0{}", "2", "6"].contains(&text), "{text:?}");
            return;
        };
        let number = data.split(' ').next().and_then(|number| number.parse().ok());
        assert_eq!(number, Some(self.received), "messages come in order");
        self.received += 1;
        assert!(self.received <= self.accepted);
    }

    fn check(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert_eq!(self.closed, None, "nothing happens after the close");
            match event {
                SessionEvent::Upgrading => {}
                SessionEvent::Lag(lag) => self.note(lag),
                SessionEvent::Upgraded => {
                    assert_eq!(self.transport, TransportKind::Polling);
                    self.transport = TransportKind::WebSocket;
                }
                SessionEvent::Closed(reason) => self.closed = Some(reason),
            }
        }
        let session = &self.session;
        assert_eq!(session.transport(), self.transport);
        assert_eq!(session.is_closed(), self.closed.is_some());
        assert!(session.buffered_bytes() <= LIMIT.max(LONGEST) + CONTROL);
        let in_flight = match self.transport {
            TransportKind::Polling => self.polling_bytes,
            TransportKind::WebSocket => self.polling_bytes + self.websocket_bytes,
        };
        assert!(self.closed.is_some() || session.buffered_bytes() >= in_flight);
        if self.closed.is_some() {
            assert!(session.poll_timeout().is_none() && session.probe().is_none());
            assert!(session.is_closing() && !session.is_writable());
        }
        if self.transport == TransportKind::WebSocket {
            assert!(session.probe().is_none());
        }
    }

    /// Lags begin and end in turn.
    fn note(&mut self, lag: Lag) {
        let (lags, plausible) = match lag {
            Lag::Began(bytes) => (true, bytes > CONFIG.high_water_mark / 4),
            Lag::Ended(bytes) => (false, bytes <= CONFIG.high_water_mark),
        };
        assert!(plausible && lags != self.lags, "{lag:?}");
        self.lags = lags;
    }

    /// Nobody says anything any more: the session ends all the same.
    fn fall_silent(&mut self) {
        self.apply(Operation::Pause(false));
        let end = self.now + CONFIG.ping_interval + CONFIG.ping_timeout;
        self.advance(end);
        self.check();
        assert!(self.closed.is_some(), "an immortal session");
    }

    /// The client takes all there is, whereupon it has all that was accepted, unless the session ended badly.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.answer_get();
            if self.transport == TransportKind::Polling && self.get == Get::None && !self.session.is_closed()
            {
                self.begin(PollMethod::Get);
            }
            self.take_by_get();
            self.answer_get();
            self.take_by_websocket(Way::WebSocket);
            self.write(Way::WebSocket, usize::MAX);
            self.check();
        }
        assert!(!self.session.can_transmit(Via::Polling) && !self.session.can_transmit(Via::WebSocket));
        assert_eq!(self.session.buffered_bytes(), 0);
        if self.closed.is_none_or(|reason| reason == CloseReason::ForcedClose) && !self.discarded {
            assert_eq!(self.received, self.accepted, "an accepted message was lost");
        }
    }
}

fn text(message: &Arc<EncodedMessage>) -> String {
    let text = |part| match part {
        Part::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Part::Binary(_) => panic!("nobody sent binary"),
    };
    message.parts().map(text).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Operations that let a session live mostly, so that much happens to it.
    fn operation() -> impl Strategy<Value = Operation> {
        let deadly = |code: &u8| matches!(code, 12 | 15 | 29..);
        let (deadly, harmless): (Vec<u8>, Vec<u8>) = (0..32).partition(deadly);
        let code =
            prop_oneof![20 => proptest::sample::select(harmless), 1 => proptest::sample::select(deadly)];
        (code, any::<u8>()).prop_map(|(code, argument)| Operation::new(code, argument))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_accepted_message_leaves_once_and_in_order_and_nothing_after_the_close(
            polling in prop::bool::weighted(0.9),
            silence: bool,
            operations in proptest::collection::vec(operation(), 0..80),
        ) {
            let transport = if polling { TransportKind::Polling } else { TransportKind::WebSocket };
            run(Instant::now(), transport, silence, operations);
        }

        #[test]
        fn any_bytes_keep_the_invariants(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            session(Instant::now(), &data);
        }
    }
}
