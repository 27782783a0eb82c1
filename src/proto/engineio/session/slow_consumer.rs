//! SlowConsumer, Lag: what is done about a peer that does not read as fast as it is sent to, and how that is told.

use std::sync::Arc;

use super::queue::SendQueue;
use super::{CloseReason, SendError, Sent, Session, State};
use crate::proto::EncodedMessage;

/// What becomes of a peer whose send queue is full.
///
/// To drop is to drop messages that may be lost ([`EncodedMessage::is_droppable`]) and that still wait: never one that
/// has begun to leave, never one of the session's own packets. In Socket.IO these are events without an acknowledgement; a
/// CONNECT, a DISCONNECT, an acknowledgement, and an event that wants one, are never dropped, and attachments stay with their
/// event. Where that makes no room for a message that must not be lost, the peer is closed all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// The session is closed with `transport error`, and its queue dropped: the client connects anew, and knows that it
    /// missed something.
    #[default]
    Close,
    /// What is new is dropped: for clients that read what happened in order, and from the beginning. A message that
    /// must not be lost takes the place of the last ones that wait.
    DropNewest,
    /// What has waited for longest is dropped: for clients to which only the present matters. Where only one value
    /// of each kind matters, a key is better ([`EncodedMessage::with_key`]), which needs no full queue.
    DropOldest,
}

/// A peer fell behind, or has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// So many bytes wait: more than the high-water mark.
    Began(usize),
    /// So many bytes wait: at most a quarter of the high-water mark.
    Ended(usize),
}

/// Whether a peer lags, and what was told of it.
///
/// ```text
///  ┌────────┐  bytes > mark      ┌──────┐
///  │ in time│ ─────────────────▶ │ lags │     What ended before it was told is not told.
///  └────────┘ ◀───────────────── └──────┘
///              bytes ≤ mark / 4
/// ```
#[derive(Debug)]
pub(super) struct LagMeter {
    mark: usize,
    lags: bool,
    told: bool,
}

impl LagMeter {
    pub(super) fn new(mark: usize) -> LagMeter {
        LagMeter { mark, lags: false, told: false }
    }

    /// So many bytes wait.
    pub(super) fn note(&mut self, bytes: usize) {
        if bytes > self.mark {
            self.lags = true;
        } else if self.lags && bytes <= self.mark / 4 {
            self.lags = false;
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.lags != self.told
    }

    /// What is to be told, once.
    pub(super) fn take_news(&mut self, bytes: usize) -> Option<Lag> {
        if !self.has_news() {
            return None;
        }
        self.told = self.lags;
        Some(if self.lags { Lag::Began(bytes) } else { Lag::Ended(bytes) })
    }
}

impl Session {
    /// Accepts a message.
    ///
    /// # Errors
    /// [`SendError::Closed`]; [`SendError::Dropped`], where only this message was dropped; [`SendError::QueueFull`]
    /// has closed the session with `transport error`.
    pub fn send(&mut self, message: Arc<EncodedMessage>) -> Result<Sent, SendError> {
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        let (mut queued, limit) = (self.queue.bounded_bytes(), self.config.max_send_queue);
        let former = message.key().map_or(0, |key| self.queue.keyed_bytes(key));
        if is_too_much(queued - former, &message, limit) && self.is_dropped(&message) {
            // The former one with its key stays: an old value is better than none.
            return Err(SendError::Dropped);
        }
        let superseded = message.key().is_some_and(|key| self.queue.supersede(key));
        let mut sent = Sent { superseded, dropped: 0 };
        queued -= former;
        if is_too_much(queued, &message, limit) {
            sent.dropped = self.make_room(&message)?;
            queued = self.queue.bounded_bytes();
        }
        self.lag.note(queued.saturating_add(message.weight()));
        self.queue.push(message);
        Ok(sent)
    }

    /// In which portions a WebSocket takes the queue, if not as a whole: so much of what may be dropped or superseded
    /// cannot be any more. What is left at the close leaves whole.
    pub(super) fn portion(&self) -> Option<usize> {
        let losable = self.config.slow_consumer != SlowConsumer::Close || self.queue.has_keys();
        (losable && self.state == State::Open).then(|| MAX_PORTION.min(self.config.max_send_queue / 4).max(1))
    }

    /// Whether it is this message that is dropped, as there is no room for it.
    fn is_dropped(&self, message: &EncodedMessage) -> bool {
        message.is_droppable()
            && match self.config.slow_consumer {
                SlowConsumer::Close => false,
                SlowConsumer::DropNewest => true,
                SlowConsumer::DropOldest => !self.could_fit(message),
            }
    }

    /// Whether there would be room if all were dropped that may be.
    fn could_fit(&self, message: &EncodedMessage) -> bool {
        let kept = self.queue.bounded_bytes() - self.queue.droppable_bytes();
        !is_too_much(kept, message, self.config.max_send_queue)
    }

    /// Drops what may be dropped for this message; says how many that were.
    fn make_room(&mut self, message: &EncodedMessage) -> Result<usize, SendError> {
        let (queued, limit) = (self.queue.bounded_bytes(), self.config.max_send_queue);
        let fits = self.could_fit(message);
        let drop: fn(&mut SendQueue) -> bool = match self.config.slow_consumer {
            SlowConsumer::DropNewest if fits => SendQueue::drop_newest,
            SlowConsumer::DropOldest if fits => SendQueue::drop_oldest,
            _ => {
                self.fail(CloseReason::TransportError);
                return Err(SendError::QueueFull { queued, limit });
            }
        };
        let mut dropped = 0;
        while is_too_much(self.queue.bounded_bytes(), message, limit) && drop(&mut self.queue) {
            dropped += 1;
        }
        Ok(dropped)
    }
}

/// Enough for a system call to be worth its while.
const MAX_PORTION: usize = 64 * 1024;

/// A message larger than the bound is accepted into an empty queue.
fn is_too_much(queued: usize, message: &EncodedMessage, limit: usize) -> bool {
    queued > 0 && queued.saturating_add(message.weight()) > limit
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::proto::encoded::Part;
    use crate::proto::engineio::{
        Packet, PollMethod, Revision, SessionConfig, SessionEvent, TransportKind, Via,
    };

    /// What can happen to the queue.
    #[derive(Clone, Debug)]
    enum Operation {
        Send {
            len: usize,
            kind: Kind,
        },
        /// The transport takes what waits.
        Take,
        /// The WebSocket has written a part of what it took.
        Write(usize),
        Ping,
        Upgrade,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kind {
        /// One of the session's own packets.
        Control,
        Kept,
        Droppable,
        Keyed(u8),
    }

    /// A message as the model knows it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Item {
        text: String,
        weight: usize,
        kind: Kind,
    }

    /// The queue as one would write it if speed did not matter.
    struct Model {
        policy: SlowConsumer,
        limit: usize,
        waiting: Vec<Item>,
        /// Bytes taken by the WebSocket and not yet written; of these, the session's own.
        in_flight: usize,
        control_in_flight: usize,
    }

    impl Model {
        fn bounded(&self) -> usize {
            let own = self.waiting.iter().filter(|item| item.kind == Kind::Control);
            let own: usize = own.map(|item| item.weight).sum();
            self.bytes() - own - self.control_in_flight
        }

        fn bytes(&self) -> usize {
            self.waiting.iter().map(|item| item.weight).sum::<usize>() + self.in_flight
        }

        /// What the session's WebSocket takes at once: all, or about a quarter of the bound.
        fn take(&mut self, websocket: bool) -> Vec<Item> {
            let in_portions = websocket
                && (self.policy != SlowConsumer::Close
                    || self.waiting.iter().any(|item| matches!(item.kind, Kind::Keyed(_))));
            let (mut taken, mut bytes, mut own) = (Vec::new(), 0, 0);
            while !self.waiting.is_empty() && (!in_portions || bytes < MAX_PORTION.min(self.limit / 4).max(1))
            {
                let item = self.waiting.remove(0);
                bytes += item.weight;
                own += if item.kind == Kind::Control { item.weight } else { 0 };
                taken.push(item);
            }
            if websocket {
                self.in_flight += bytes;
                self.control_in_flight += own;
            }
            taken
        }

        fn fits(&self, item: &Item) -> bool {
            self.bounded() == 0 || self.bounded() + item.weight <= self.limit
        }

        /// `None`: the peer is to be closed.
        fn send(&mut self, item: Item) -> Option<Result<Sent, SendError>> {
            let mut sent = Sent::default();
            let saved = self.waiting.clone();
            if let Kind::Keyed(_) = item.kind {
                let former = self.waiting.iter().position(|other| other.kind == item.kind);
                sent.superseded = former.map(|former| self.waiting.remove(former)).is_some();
            }
            let may_be_dropped = |kind| matches!(kind, Kind::Droppable | Kind::Keyed(_));
            while !self.fits(&item) {
                let dropped = match self.policy {
                    SlowConsumer::Close => return None,
                    SlowConsumer::DropNewest if may_be_dropped(item.kind) => None,
                    SlowConsumer::DropNewest => {
                        self.waiting.iter().rposition(|other| may_be_dropped(other.kind))
                    }
                    SlowConsumer::DropOldest => {
                        self.waiting.iter().position(|other| may_be_dropped(other.kind))
                    }
                };
                let Some(dropped) = dropped else {
                    self.waiting = saved;
                    return may_be_dropped(item.kind).then_some(Err(SendError::Dropped));
                };
                self.waiting.remove(dropped);
                sent.dropped += 1;
            }
            self.waiting.push(item);
            Some(Ok(sent))
        }
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let kind = prop_oneof![
            1 => Just(Kind::Kept),
            2 => Just(Kind::Droppable),
            2 => (0..4_u8).prop_map(Kind::Keyed),
        ];
        prop_oneof![
            30 => (0..400_usize, kind).prop_map(|(len, kind)| Operation::Send { len, kind }),
            2 => Just(Operation::Take),
            3 => (1..4000_usize).prop_map(Operation::Write),
            2 => Just(Operation::Ping),
            1 => Just(Operation::Upgrade),
        ]
    }

    fn message(item: &Item) -> Arc<EncodedMessage> {
        let message = EncodedMessage::text(&item.text);
        Arc::new(match item.kind {
            Kind::Control | Kind::Kept => message,
            Kind::Droppable => message.with_droppable(),
            Kind::Keyed(key) => message.with_key(key.to_string().into()),
        })
    }

    fn item(text: String, kind: Kind) -> Item {
        let weight = EncodedMessage::text(&text).weight();
        Item { text, weight, kind }
    }

    fn texts(messages: &VecDeque<Arc<EncodedMessage>>) -> Vec<String> {
        let text = |message: &Arc<EncodedMessage>| match message.parts().next() {
            Some(Part::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("{other:?}"),
        };
        messages.iter().map(text).collect()
    }

    fn config(policy: SlowConsumer, limit: usize) -> SessionConfig {
        SessionConfig {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_send_queue: limit,
            slow_consumer: policy,
            high_water_mark: limit / 2,
        }
    }

    /// Takes all that leaves now. A poll's answer is transmitted with that.
    fn take(session: &mut Session, now: Instant) -> VecDeque<Arc<EncodedMessage>> {
        let mut taken = VecDeque::new();
        match session.transport() {
            TransportKind::WebSocket => session.poll_transmit(now, Via::WebSocket, &mut taken),
            TransportKind::Polling => {
                session.handle_request(now, PollMethod::Get).unwrap();
                session.poll_transmit(now, Via::Polling, &mut taken);
                session.handle_request_end(now, PollMethod::Get);
                let bytes = taken.iter().map(|message| message.weight()).sum();
                session.handle_transmitted(now, Via::Polling, bytes);
            }
        }
        taken
    }

    fn run(policy: SlowConsumer, limit: usize, operations: Vec<Operation>) {
        let mut now = Instant::now();
        let open = Arc::new(EncodedMessage::text("0{}"));
        let mut session =
            Session::new(now, TransportKind::Polling, Revision::V4, config(policy, limit), open);
        let waiting = vec![item("0{}".to_owned(), Kind::Control)];
        let mut model = Model { policy, limit, waiting, in_flight: 0, control_in_flight: 0 };
        let mut marks = Vec::new();
        // Taken by the WebSocket since it last had nothing to write.
        let mut flying: Vec<Item> = Vec::new();
        for (number, operation) in operations.into_iter().chain([Operation::Take]).enumerate() {
            match operation {
                Operation::Send { len, kind } => {
                    let item = item(format!("4{number} {:len$}", ""), kind);
                    let result = session.send(message(&item));
                    let Some(expected) = model.send(item) else {
                        assert!(matches!(result, Err(SendError::QueueFull { .. })), "{result:?}");
                        assert!(session.is_closed() && session.buffered_bytes() == 0);
                        return;
                    };
                    assert_eq!(result, expected);
                    marks.push((session.flush_mark(), number));
                }
                Operation::Take => {
                    let taken = take(&mut session, now);
                    let expected = model.take(session.transport() == TransportKind::WebSocket);
                    assert_eq!(texts(&taken), expected.iter().map(|item| &*item.text).collect::<Vec<_>>());
                    flying.extend(expected);
                }
                Operation::Write(bytes) => {
                    let bytes = bytes.min(model.in_flight);
                    model.in_flight -= bytes;
                    model.control_in_flight = model.control_in_flight.min(model.in_flight);
                    session.handle_transmitted(now, Via::WebSocket, bytes);
                }
                Operation::Ping => {
                    now += Duration::from_secs(25);
                    session.handle_timeout(now);
                    session.handle_packet(now, Via::Polling, Packet::Pong("".into()));
                    session.handle_packet(now, Via::WebSocket, Packet::Pong("".into()));
                    model.waiting.push(item("2".to_owned(), Kind::Control));
                }
                Operation::Upgrade if session.transport() == TransportKind::Polling => {
                    let via = Via::Probe(session.handle_probe(now).unwrap());
                    session.handle_packet(now, via, Packet::Ping("probe".into()));
                    session.handle_packet(now, via, Packet::Upgrade("".into()));
                    model.waiting.insert(0, item("3probe".to_owned(), Kind::Control));
                }
                Operation::Upgrade => {}
            }
            assert!(!session.is_closed());
            assert_eq!(session.buffered_bytes(), model.bytes());
            assert!(model.bounded() <= limit.max(1000));
            if model.in_flight == 0 {
                flying.clear();
            }
            let number = |item: &Item| item.text[1..].split(' ').next().and_then(|text| text.parse().ok());
            for &(mark, sent) in &marks {
                let mut all = model.waiting.iter().chain(&flying).filter_map(number);
                let waits = all.any(|waiting: usize| waiting <= sent);
                assert!(!(session.is_flushed(mark) && waits), "{sent} is said to have left");
                assert!(model.in_flight > 0 || !model.waiting.is_empty() || session.is_flushed(mark));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn only_what_may_be_lost_is_lost_order_and_bound_are_kept(
            policy in prop_oneof![
                1 => Just(SlowConsumer::Close),
                3 => Just(SlowConsumer::DropNewest),
                3 => Just(SlowConsumer::DropOldest),
            ],
            messages in 2..80_usize,
            operations in proptest::collection::vec(operation(), 0..300),
        ) {
            run(policy, messages * EncodedMessage::OVERHEAD, operations);
        }
    }

    #[test]
    fn a_lag_is_told_once_and_so_is_its_end() {
        let now = Instant::now();
        let open = Arc::new(EncodedMessage::text("0{}"));
        let config = config(SlowConsumer::Close, 1_000_000);
        let mut session = Session::new(now, TransportKind::WebSocket, Revision::V4, config, open);
        let events = |session: &mut Session| std::iter::from_fn(|| session.poll_event()).collect::<Vec<_>>();
        let message = Arc::new(EncodedMessage::text(&"4".repeat(250_000)));
        let weight = message.weight();
        for _ in 0..3 {
            session.send(Arc::clone(&message)).unwrap();
        }
        let taken = take(&mut session, now).iter().map(|message| message.weight()).sum::<usize>();
        let began = SessionEvent::Lag(Lag::Began(3 * weight));
        assert_eq!(events(&mut session), [began]);
        session.handle_transmitted(now, Via::WebSocket, taken - weight);
        assert_eq!(events(&mut session), [], "half of the mark is not low enough");
        session.send(Arc::clone(&message)).unwrap();
        assert_eq!(events(&mut session), []);
        session.handle_transmitted(now, Via::WebSocket, weight);
        let more = take(&mut session, now).iter().map(|message| message.weight()).sum::<usize>();
        session.handle_transmitted(now, Via::WebSocket, more);
        assert_eq!(events(&mut session), [SessionEvent::Lag(Lag::Ended(0))]);
    }

    #[test]
    fn a_burst_that_leaves_at_once_is_no_lag() {
        let now = Instant::now();
        let open = Arc::new(EncodedMessage::text("0{}"));
        let config = config(SlowConsumer::Close, 1_000_000);
        let mut session = Session::new(now, TransportKind::WebSocket, Revision::V4, config, open);
        session.send(Arc::new(EncodedMessage::text(&"4".repeat(900_000)))).unwrap();
        assert!(session.has_lag_news());
        let bytes = take(&mut session, now).iter().map(|message| message.weight()).sum();
        session.handle_transmitted(now, Via::WebSocket, bytes);
        assert!(!session.has_lag_news());
        assert_eq!(session.poll_event(), None);
    }
}
