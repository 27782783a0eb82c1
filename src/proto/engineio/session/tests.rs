//! A client and a session under virtual time; the property over random operations is in `proto::fuzzing::session`.

use super::*;
use crate::proto::encoded::Part;

const WS: Via = Via::WebSocket;
const POLL: Via = Via::Polling;
const OVERHEAD: usize = EncodedMessage::OVERHEAD;
/// The bound of the send queue: a thousand bytes in one message.
const LIMIT: usize = 1000 + OVERHEAD;

/// A session, and the client that talks to it. Packets that come together are written `a␞b`.
struct Pair {
    start: Instant,
    now: Instant,
    session: Session,
}

impl Pair {
    /// After the handshake by polling.
    fn polling() -> Pair {
        let mut pair = Pair::new(TransportKind::Polling, LIMIT);
        assert_eq!(pair.get(), "0{}");
        pair
    }

    /// After the handshake by WebSocket.
    fn websocket() -> Pair {
        let mut pair = Pair::new(TransportKind::WebSocket, LIMIT);
        assert_eq!(pair.read(WS), "0{}");
        pair
    }

    /// After an upgrade.
    fn upgraded() -> Pair {
        let mut pair = Pair::polling();
        let probe = pair.probe();
        pair.say(probe, "5");
        assert_eq!(pair.events(), [SessionEvent::Upgraded]);
        pair
    }

    /// A client of revision 3, after its handshake.
    fn revision_3(transport: TransportKind) -> Pair {
        let mut pair = Pair::of(Revision::V3, transport, LIMIT);
        match transport {
            TransportKind::Polling => assert_eq!(pair.get(), "0{}"),
            TransportKind::WebSocket => assert_eq!(pair.read(WS), "0{}"),
        }
        pair
    }

    fn new(transport: TransportKind, max_send_queue: usize) -> Pair {
        Pair::of(Revision::V4, transport, max_send_queue)
    }

    fn of(revision: Revision, transport: TransportKind, max_send_queue: usize) -> Pair {
        let config = SessionConfig {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_send_queue,
            slow_consumer: SlowConsumer::Close,
            high_water_mark: max_send_queue,
        };
        let start = Instant::now();
        let open = Arc::new(EncodedMessage::text("0{}"));
        Pair { start, now: start, session: Session::new(start, transport, revision, config, open) }
    }

    // The application

    fn send(&mut self, text: &str) -> Result<(), SendError> {
        self.session.send(message(text)).map(drop)
    }

    fn send_volatile(&mut self, text: &str) -> bool {
        self.session.send_volatile(message(text))
    }

    fn close(&mut self) {
        self.session.close(self.now);
    }

    fn all_events(&mut self) -> Vec<SessionEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// What happened, apart from probes.
    fn events(&mut self) -> Vec<SessionEvent> {
        let events = self.all_events();
        events.into_iter().filter(|event| *event != SessionEvent::Upgrading).collect()
    }

    // The client

    /// Polls, and is answered at once with this; with nothing if the GET has to wait.
    fn get(&mut self) -> String {
        self.begin_get();
        self.take_get()
    }

    fn begin_get(&mut self) {
        self.session.handle_request(self.now, PollMethod::Get).unwrap();
    }

    fn begin_post(&mut self) {
        self.session.handle_request(self.now, PollMethod::Post).unwrap();
    }

    fn end_post(&mut self) {
        self.session.handle_request_end(self.now, PollMethod::Post);
    }

    /// What the open GET is answered with.
    fn take_get(&mut self) -> String {
        let (text, bytes) = self.take(POLL);
        if bytes > 0 {
            self.session.handle_request_end(self.now, PollMethod::Get);
            self.session.handle_transmitted(self.now, POLL, bytes);
        }
        text
    }

    /// What comes by a WebSocket.
    fn read(&mut self, via: Via) -> String {
        let (text, bytes) = self.take(via);
        self.session.handle_transmitted(self.now, via, bytes);
        text
    }

    /// What leaves, without its having been written.
    fn take(&mut self, via: Via) -> (String, usize) {
        let mut messages = VecDeque::new();
        let can = self.session.can_transmit(via);
        self.session.poll_transmit(self.now, via, &mut messages);
        assert_eq!(can, !messages.is_empty());
        let bytes = messages.iter().map(|message| message.weight()).sum();
        (messages.iter().map(text).collect::<Vec<_>>().join("␞"), bytes)
    }

    /// Gives the texts that reach the application.
    fn say(&mut self, via: Via, packets: &str) -> Vec<String> {
        let mut messages = Vec::new();
        for packet in packets.split('␞') {
            match Packet::decode(&packet.into()) {
                Ok(packet) => match self.session.handle_packet(self.now, via, packet) {
                    Some(Message::Text(text)) => messages.push(text.to_string()),
                    Some(Message::Binary(data)) => messages.push(format!("{data:?}")),
                    None => {}
                },
                Err(_) => self.session.handle_invalid_packet(self.now, via),
            }
        }
        messages
    }

    fn probe(&mut self) -> Via {
        Via::Probe(self.session.handle_probe(self.now).unwrap())
    }

    fn lose(&mut self, via: Via, loss: Loss) {
        self.session.handle_lost(self.now, via, loss);
    }

    fn abort(&mut self, method: PollMethod) {
        self.session.handle_request_end(self.now, method);
        self.lose(POLL, Loss::Failed);
    }

    // Time

    /// So many milliseconds after the start; the session is called when it asks for it.
    fn at(&mut self, ms: u64) {
        let until = self.start + Duration::from_millis(ms);
        assert!(until >= self.now);
        while let Some(timeout) = self.session.poll_timeout().filter(|timeout| *timeout <= until) {
            self.now = timeout;
            self.session.handle_timeout(timeout);
        }
        self.now = until;
    }

    #[track_caller]
    fn assert_closed(&mut self, reason: CloseReason) {
        assert_eq!(self.events(), [SessionEvent::Closed(reason)]);
        assert!(self.session.is_closed());
        assert_eq!(self.session.poll_timeout(), None);
        assert_eq!(self.send("late"), Err(SendError::Closed));
    }

    #[track_caller]
    fn assert_open(&mut self) {
        assert_eq!(self.events(), []);
        assert!(!self.session.is_closing());
    }
}

fn message(text: &str) -> Arc<EncodedMessage> {
    Arc::new(EncodedMessage::text(&format!("4{text}")))
}

fn text(message: &Arc<EncodedMessage>) -> String {
    let part = |part| match part {
        Part::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Part::Binary(data) => format!("{data:?}"),
    };
    message.parts().map(part).collect::<Vec<_>>().join("␞")
}

// Polling

#[test]
fn a_get_takes_all_that_waits_and_otherwise_waits() {
    let mut pair = Pair::polling();
    pair.send("a").unwrap();
    pair.send("b").unwrap();
    assert_eq!(pair.get(), "4a␞4b");
    assert_eq!(pair.get(), "");
    pair.send("c").unwrap();
    assert_eq!(pair.take_get(), "4c");
}

#[test]
fn a_get_is_given_something_only_once() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send("a").unwrap();
    assert_eq!(pair.take(POLL).0, "4a");
    pair.send("b").unwrap();
    assert!(pair.session.is_open_request(PollMethod::Get));
    assert_eq!(pair.take(POLL).0, "");
    pair.session.handle_request_end(pair.now, PollMethod::Get);
    assert_eq!(pair.get(), "4b");
}

#[test]
fn nothing_leaves_by_polling_without_a_get() {
    let mut pair = Pair::polling();
    pair.send("a").unwrap();
    assert_eq!(pair.take_get(), "");
    assert_eq!(pair.read(WS), "");
}

#[test]
fn a_second_get_ends_the_session_and_the_first_is_told() {
    let mut pair = Pair::polling();
    pair.begin_get();
    let second = pair.session.handle_request(pair.now, PollMethod::Get);
    assert_eq!(second, Err(Overlap(PollMethod::Get)));
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_second_post_ends_the_session() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.begin_post();
    let second = pair.session.handle_request(pair.now, PollMethod::Post);
    assert_eq!(second, Err(Overlap(PollMethod::Post)));
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_get_and_a_post_go_side_by_side_and_one_after_the_other() {
    let mut pair = Pair::polling();
    for _ in 0..2 {
        pair.begin_get();
        pair.begin_post();
        assert_eq!(pair.say(POLL, "4a␞bAQ==␞4"), ["a", "b\"\\x01\"", ""]);
        pair.end_post();
        pair.send("b").unwrap();
        assert_eq!(pair.take_get(), "4b");
    }
    pair.assert_open();
}

#[test]
fn an_aborted_get_or_post_ends_the_session() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.abort(PollMethod::Get);
    assert_eq!(pair.take_get(), "");
    pair.assert_closed(CloseReason::TransportError);

    let mut pair = Pair::polling();
    pair.begin_get();
    pair.begin_post();
    pair.abort(PollMethod::Post);
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn an_invalid_request_ends_the_session() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.session.handle_invalid_request(pair.now);
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_polling_client_says_goodbye_and_its_get_is_answered_with_a_noop() {
    let mut pair = Pair::polling();
    pair.begin_get();
    assert_eq!(pair.say(POLL, "4a␞1␞4b"), ["a"]);
    assert_eq!(pair.take_get(), "6");
    pair.assert_closed(CloseReason::TransportClose);
    assert_eq!(pair.get(), "");
}

#[test]
fn without_a_waiting_get_a_goodbye_leaves_nothing() {
    let mut pair = Pair::polling();
    pair.send("lost").unwrap();
    pair.say(POLL, "1");
    assert_eq!(pair.get(), "");
    pair.assert_closed(CloseReason::TransportClose);
    assert_eq!(pair.session.buffered_bytes(), 0);
}

#[test]
fn packets_that_mean_nothing_from_a_polling_client_have_no_effect() {
    let mut pair = Pair::polling();
    pair.begin_get();
    assert!(pair.say(POLL, "0␞5␞6␞6abc␞3␞3probe").is_empty());
    assert_eq!(pair.take_get(), "");
    pair.assert_open();
}

#[test]
fn a_ping_from_a_polling_client_ends_the_session() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.say(POLL, "2");
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn an_invalid_packet_ends_the_session_behind_those_before_it() {
    let mut pair = Pair::polling();
    pair.begin_get();
    assert_eq!(pair.say(POLL, "4a␞x␞4b"), ["a"]);
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::ParseError);
}

// WebSocket

#[test]
fn over_websocket_messages_go_both_ways_at_once() {
    let mut pair = Pair::websocket();
    assert_eq!(pair.say(WS, "4a␞4b"), ["a", "b"]);
    pair.send("c").unwrap();
    pair.send("d").unwrap();
    assert_eq!(pair.read(WS), "4c␞4d");
    pair.assert_open();
}

#[test]
fn over_websocket_close_open_upgrade_and_noop_are_ignored() {
    let mut pair = Pair::websocket();
    assert!(pair.say(WS, "1␞0␞5␞6␞3").is_empty());
    pair.assert_open();
}

#[test]
fn over_websocket_a_ping_ends_the_session() {
    for ping in ["2", "2probe"] {
        let mut pair = Pair::websocket();
        pair.send("lost").unwrap();
        pair.say(WS, ping);
        assert_eq!(pair.read(WS), "");
        pair.assert_closed(CloseReason::TransportError);
    }
}

#[test]
fn over_websocket_an_invalid_packet_ends_the_session() {
    let mut pair = Pair::websocket();
    pair.say(WS, "");
    pair.assert_closed(CloseReason::ParseError);
}

#[test]
fn the_loss_of_the_websocket_ends_the_session_by_its_kind() {
    for (loss, reason) in
        [(Loss::Ended, CloseReason::TransportClose), (Loss::Failed, CloseReason::TransportError)]
    {
        let mut pair = Pair::websocket();
        pair.send("lost").unwrap();
        pair.lose(WS, loss);
        pair.assert_closed(reason);
        assert_eq!((pair.read(WS).as_str(), pair.session.buffered_bytes()), ("", 0));
    }
}

#[test]
fn polling_has_no_say_in_a_websocket_session() {
    let mut pair = Pair::websocket();
    for method in [PollMethod::Get, PollMethod::Post] {
        assert_eq!(pair.session.handle_request(pair.now, method), Err(Overlap(method)));
    }
    assert_eq!(pair.session.handle_probe(pair.now), Err(UpgradeRefused));
    pair.session.handle_invalid_request(pair.now);
    pair.lose(POLL, Loss::Failed);
    pair.say(POLL, "x␞1␞2");
    pair.assert_open();
}

// Close

#[test]
fn a_graceful_close_over_websocket_lets_all_leave_and_nothing_more() {
    let mut pair = Pair::websocket();
    pair.send("a").unwrap();
    pair.send("b").unwrap();
    pair.close();
    pair.assert_closed(CloseReason::ForcedClose);
    assert!(pair.say(WS, "4late").is_empty());
    assert_eq!(pair.read(WS), "4a␞4b");
    assert_eq!((pair.read(WS).as_str(), pair.session.buffered_bytes()), ("", 0));
}

#[test]
fn a_websocket_lost_after_a_graceful_close_frees_what_waited() {
    let mut pair = Pair::websocket();
    pair.send("a").unwrap();
    pair.close();
    pair.lose(WS, Loss::Ended);
    pair.assert_closed(CloseReason::ForcedClose);
    assert_eq!((pair.read(WS).as_str(), pair.session.buffered_bytes()), ("", 0));
}

#[test]
fn a_graceful_close_answers_a_waiting_get() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.close();
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn a_graceful_close_waits_for_gets_to_take_the_queue_and_the_goodbye() {
    let mut pair = Pair::polling();
    pair.send("a").unwrap();
    pair.close();
    assert_eq!(pair.send("b"), Err(SendError::Closed));
    assert!(pair.say(POLL, "4ignored␞x␞2␞1").is_empty());
    assert!(pair.session.is_closing() && !pair.session.is_closed());
    assert_eq!(pair.get(), "4a");
    assert_eq!(pair.events(), []);
    assert_eq!(pair.get(), "6␞1");
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn a_graceful_close_beside_a_get_that_has_not_taken_the_queue_yet_loses_nothing() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send("a").unwrap();
    pair.close();
    assert_eq!(pair.take_get(), "4a");
    assert_eq!(pair.get(), "6␞1");
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn a_graceful_close_waits_thirty_seconds_for_a_get() {
    let mut pair = Pair::polling();
    pair.close();
    pair.at(29_999);
    assert!(!pair.session.is_closed());
    pair.at(30_000);
    pair.assert_closed(CloseReason::ForcedClose);
    assert_eq!(pair.get(), "");
}

#[test]
fn the_thirty_seconds_begin_when_the_queue_is_empty() {
    let mut pair = Pair::polling();
    pair.send("a").unwrap();
    pair.close();
    pair.at(10_000);
    assert_eq!(pair.get(), "4a");
    pair.at(39_999);
    assert!(!pair.session.is_closed());
    pair.at(40_000);
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn while_closing_the_heartbeat_goes_on_and_may_win() {
    let mut pair = Pair::polling();
    pair.at(20_000);
    pair.send("a").unwrap();
    pair.close();
    pair.at(25_000);
    pair.say(POLL, "3");
    pair.at(44_999);
    assert!(!pair.session.is_closed());
    pair.at(45_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn while_closing_no_ping_delays_the_goodbye() {
    let mut pair = Pair::polling();
    pair.at(20_000);
    pair.close();
    pair.at(26_000);
    assert_eq!(pair.get(), "6␞1");
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn while_closing_no_pause_keeps_the_session() {
    let mut pair = Pair::polling();
    pair.session.handle_paused(pair.now, true);
    pair.send("a").unwrap();
    pair.close();
    pair.session.handle_paused(pair.now, true);
    pair.at(45_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn a_graceful_close_beside_a_post_that_is_there_whole_is_graceful() {
    let mut pair = Pair::polling();
    pair.begin_post();
    pair.send("a").unwrap();
    pair.session.handle_body();
    pair.close();
    assert_eq!(pair.session.handle_request(pair.now, PollMethod::Post), Err(Overlap(PollMethod::Post)));
    let mut pair = Pair::polling();
    pair.begin_post();
    pair.send("a").unwrap();
    pair.session.handle_body();
    pair.close();
    pair.end_post();
    assert_eq!((pair.get().as_str(), pair.get().as_str()), ("4a", "6␞1"));
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn a_graceful_close_while_a_post_is_received_is_a_transport_error() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.begin_post();
    pair.close();
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn discarding_drops_the_queue_and_answers_a_waiting_get() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send("lost").unwrap();
    pair.session.discard(pair.now);
    assert_eq!((pair.take_get().as_str(), pair.session.buffered_bytes()), ("1", 0));
    pair.assert_closed(CloseReason::ForcedClose);

    let mut pair = Pair::websocket();
    pair.send("lost").unwrap();
    pair.session.discard(pair.now);
    assert_eq!((pair.read(WS).as_str(), pair.session.buffered_bytes()), ("", 0));
    pair.assert_closed(CloseReason::ForcedClose);
}

#[test]
fn a_session_closes_once() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.close();
    pair.session.discard(pair.now);
    pair.abort(PollMethod::Get);
    pair.session.handle_timeout(pair.now + Duration::from_secs(100));
    pair.assert_closed(CloseReason::ForcedClose);
    assert_eq!(pair.events(), []);
    assert_eq!(pair.get(), "", "the goodbye of an aborted GET is not given to the next one");
}

// Heartbeat

#[test]
fn a_ping_is_sent_an_interval_after_the_handshake_and_after_each_pong() {
    let mut pair = Pair::websocket();
    pair.at(24_999);
    assert_eq!(pair.read(WS), "");
    pair.at(25_000);
    assert_eq!(pair.read(WS), "2");
    pair.at(26_000);
    pair.say(WS, "3anything");
    pair.at(50_999);
    assert_eq!(pair.read(WS), "");
    pair.at(51_000);
    assert_eq!(pair.read(WS), "2");
}

#[test]
fn a_pong_nobody_asked_for_restarts_the_interval_and_messages_do_not() {
    let mut pair = Pair::websocket();
    pair.at(10_000);
    pair.say(WS, "3");
    pair.at(20_000);
    pair.say(WS, "4a");
    pair.at(34_999);
    assert_eq!(pair.read(WS), "");
    pair.at(35_000);
    assert_eq!(pair.read(WS), "2");
}

#[test]
fn without_a_pong_the_session_ends_and_a_waiting_get_is_told() {
    let mut pair = Pair::polling();
    pair.at(25_000);
    assert_eq!(pair.get(), "2");
    pair.begin_get();
    pair.at(44_999);
    pair.assert_open();
    pair.at(45_000);
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn a_ping_that_no_get_takes_still_counts() {
    let mut pair = Pair::polling();
    pair.at(45_000);
    pair.assert_closed(CloseReason::PingTimeout);
    assert_eq!(pair.session.buffered_bytes(), 0);
}

#[test]
fn a_packet_that_is_no_pong_prolongs_the_wait_once_a_ping() {
    let mut pair = Pair::websocket();
    pair.at(40_000);
    pair.say(WS, "4a");
    pair.at(50_000);
    pair.say(WS, "4b");
    pair.at(59_999);
    pair.assert_open();
    pair.at(60_000);
    pair.assert_closed(CloseReason::PingTimeout);

    let mut pair = Pair::websocket();
    pair.at(40_000);
    pair.say(WS, "4a␞3");
    pair.at(70_000);
    pair.say(WS, "4b");
    pair.at(89_999);
    pair.assert_open();
}

#[test]
fn a_pong_awaited_at_the_upgrade_may_take_the_whole_timeout_again_but_not_for_ever() {
    let mut pair = Pair::polling();
    pair.at(25_000);
    assert_eq!(pair.get(), "2");
    pair.at(30_000);
    let probe = pair.probe();
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
    pair.at(49_999);
    pair.assert_open();
    pair.at(50_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn while_reading_pauses_no_pong_is_missed() {
    let mut pair = Pair::websocket();
    pair.at(20_000);
    pair.session.handle_paused(pair.now, true);
    pair.at(25_000);
    assert_eq!(pair.read(WS), "2");
    pair.at(60_000);
    pair.assert_open();
    pair.session.handle_paused(pair.now, false);
    pair.at(79_999);
    pair.assert_open();
    pair.at(80_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn a_pause_without_end_ends_the_session() {
    let mut pair = Pair::websocket();
    pair.at(20_000);
    pair.session.handle_paused(pair.now, true);
    pair.at(40_000);
    pair.session.handle_paused(pair.now, true);
    pair.at(64_999);
    pair.assert_open();
    pair.at(65_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn timeouts_beyond_the_clock_are_never() {
    let mut config = Pair::polling().session.config;
    (config.ping_interval, config.upgrade_timeout) = (Duration::MAX, Duration::MAX);
    let now = Instant::now();
    let mut session = Session::new(now, TransportKind::Polling, Revision::V4, config, message(""));
    session.handle_probe(now).unwrap();
    session.handle_timeout(now + Duration::from_secs(1_000_000));
    assert!(!session.is_closed() && session.probe().is_some());
}

// Revision 3

#[test]
fn a_client_of_revision_3_pings_and_is_answered_without_its_data() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut pair = Pair::revision_3(transport);
        let via = if transport == TransportKind::Polling { POLL } else { WS };
        assert_eq!(pair.say(via, "2probe"), [""; 0]);
        let pong = if transport == TransportKind::Polling { pair.get() } else { pair.read(WS) };
        assert_eq!(pong, "3");
        pair.assert_open();
    }
}

#[test]
fn a_client_of_revision_3_that_does_not_ping_is_given_up_and_messages_do_not_help() {
    let mut pair = Pair::revision_3(TransportKind::WebSocket);
    pair.at(44_000);
    pair.say(WS, "2");
    assert_eq!(pair.read(WS), "3");
    pair.at(60_000);
    assert_eq!(pair.say(WS, "4a"), ["a"]);
    pair.at(88_999);
    pair.assert_open();
    assert_eq!(pair.read(WS), "", "the server never pings");
    pair.at(89_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn a_pong_of_a_client_of_revision_3_ends_the_session() {
    for (transport, via) in [(TransportKind::Polling, POLL), (TransportKind::WebSocket, WS)] {
        let mut pair = Pair::revision_3(transport);
        pair.say(via, "3");
        pair.assert_closed(CloseReason::TransportError);
    }
}

#[test]
fn a_silent_client_of_revision_3_is_given_up_after_an_upgrade_too() {
    let mut pair = Pair::revision_3(TransportKind::Polling);
    pair.at(40_000);
    let probe = pair.probe();
    pair.say(probe, "2probe");
    assert_eq!(pair.read(probe), "3probe");
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
    pair.at(84_999);
    pair.assert_open();
    pair.at(85_000);
    pair.assert_closed(CloseReason::PingTimeout);
}

#[test]
fn a_client_of_revision_3_that_pings_and_does_not_read_is_a_slow_peer() {
    let mut pair = Pair::revision_3(TransportKind::WebSocket);
    for _ in 0..1000 {
        pair.say(WS, "2");
    }
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_ping_in_a_body_that_began_before_the_upgrade_is_answered_by_websocket() {
    let mut pair = Pair::revision_3(TransportKind::Polling);
    pair.begin_post();
    let probe = pair.probe();
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
    pair.say(POLL, "2");
    pair.say(POLL, "3");
    assert_eq!(pair.read(WS), "3");
    pair.assert_open();
}

// Upgrade

#[test]
fn a_probe_is_told_of_before_the_upgrade() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    assert_eq!(pair.all_events(), []);
    pair.say(probe, "2probe␞5");
    assert_eq!(pair.all_events(), [SessionEvent::Upgrading, SessionEvent::Upgraded]);
}

#[test]
fn a_probe_is_answered_and_takes_over() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    assert_eq!(pair.read(probe), "");
    pair.say(probe, "2probe");
    assert_eq!(pair.read(probe), "3probe");
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
    assert_eq!((pair.session.transport(), pair.session.probe()), (TransportKind::WebSocket, None));
    pair.send("a").unwrap();
    assert_eq!(pair.read(WS), "4a");
}

#[test]
fn between_probe_and_upgrade_messages_go_by_polling() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "2probe");
    pair.send("a").unwrap();
    assert_eq!(pair.read(probe), "3probe");
    assert_eq!(pair.get(), "4a");
    assert_eq!(pair.say(POLL, "4b"), ["b"]);
    pair.send("c").unwrap();
    pair.say(probe, "5");
    assert_eq!(pair.session.handle_request(pair.now, PollMethod::Get), Err(Overlap(PollMethod::Get)));
    assert_eq!(pair.read(WS), "4c");
}

#[test]
fn a_waiting_get_gets_its_noop_a_hundred_milliseconds_after_the_probe() {
    let mut pair = Pair::polling();
    pair.begin_get();
    let probe = pair.probe();
    pair.at(50);
    pair.say(probe, "2probe");
    pair.at(149);
    assert_eq!(pair.take_get(), "");
    pair.at(150);
    assert_eq!(pair.take_get(), "6");
}

#[test]
fn a_later_get_gets_its_noop_at_the_next_tick() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "2probe");
    for (begins, noop) in [(340, 400), (400, 500), (505, 600)] {
        pair.at(begins);
        pair.begin_get();
        pair.at(noop - 1);
        assert_eq!(pair.take_get(), "");
        pair.at(noop);
        assert_eq!(pair.take_get(), "6");
    }
}

#[test]
fn a_get_that_takes_a_message_needs_no_noop() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "2probe");
    pair.begin_get();
    pair.at(100);
    pair.send("a").unwrap();
    assert_eq!(pair.take_get(), "4a");
    assert_eq!(pair.get(), "");
}

#[test]
fn no_timer_runs_for_a_noop_that_nobody_waits_for() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "2probe");
    assert_eq!(pair.session.poll_timeout(), Some(pair.start + Duration::from_secs(10)));
    pair.begin_get();
    assert_eq!(pair.session.poll_timeout(), Some(pair.start + Duration::from_millis(100)));
}

#[test]
fn a_get_that_waits_at_the_upgrade_is_closed() {
    let mut pair = Pair::polling();
    pair.begin_get();
    let probe = pair.probe();
    pair.say(probe, "5");
    assert_eq!(pair.take_get(), "1");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
}

#[test]
fn what_the_get_has_not_taken_at_the_upgrade_leaves_by_websocket() {
    let mut pair = Pair::polling();
    pair.begin_get();
    let probe = pair.probe();
    pair.send("a").unwrap();
    pair.say(probe, "5");
    assert_eq!(pair.take_get(), "1");
    assert_eq!(pair.read(WS), "4a");
}

#[test]
fn an_upgrade_needs_no_probe_before_and_takes_any_data() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "5anything");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
}

#[test]
fn probe_and_upgrade_that_come_together_are_answered_as_if_apart() {
    let mut pair = Pair::polling();
    pair.send("a").unwrap();
    let probe = pair.probe();
    assert_eq!(pair.say(probe, "2probe␞2probe␞5␞4b"), ["b"]);
    assert_eq!(pair.read(probe), "3probe␞3probe␞4a");
    assert_eq!(pair.session.buffered_bytes(), 0);
}

#[test]
fn the_answers_to_a_probe_do_not_pile_up() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    for _ in 0..100 {
        pair.say(probe, "2probe");
    }
    assert_eq!(pair.read(probe).split('␞').count(), 16);
}

#[test]
fn an_answer_being_written_at_the_upgrade_leaves_the_account_in_order() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.say(probe, "2probe");
    let (_, reply) = pair.take(probe);
    pair.say(probe, "5");
    pair.send("a").unwrap();
    let (_, message) = pair.take(WS);
    pair.session.handle_transmitted(pair.now, WS, reply);
    assert_eq!(pair.session.buffered_bytes(), message);
    assert!(!pair.session.is_writable());
    pair.session.handle_transmitted(pair.now, WS, message);
    assert_eq!(pair.session.buffered_bytes(), 0);
}

#[test]
fn what_a_poll_carries_at_the_upgrade_stays_in_the_account_until_it_is_transmitted() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send("a").unwrap();
    let (_, bytes) = pair.take(POLL);
    let probe = pair.probe();
    pair.say(probe, "5");
    assert_eq!(pair.session.buffered_bytes(), bytes);
    pair.send("b").unwrap();
    assert_eq!(pair.read(WS), "4b");
    assert_eq!(pair.session.buffered_bytes(), bytes);
    pair.session.handle_transmitted(pair.now, POLL, bytes);
    assert_eq!(pair.session.buffered_bytes(), 0);

    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send("a").unwrap();
    let _ = pair.take(POLL);
    let probe = pair.probe();
    pair.say(probe, "5");
    pair.lose(POLL, Loss::Failed);
    assert_eq!(pair.session.buffered_bytes(), 0);
}

#[test]
fn a_probe_that_misbehaves_is_over_and_the_session_lives_on() {
    for packet in ["4a", "2", "2probe ", "3probe", "1", "6", "0", "x", "", "bAQ=="] {
        let mut pair = Pair::polling();
        let probe = pair.probe();
        pair.say(probe, "2probe");
        assert!(pair.say(probe, packet).is_empty());
        assert_eq!(pair.session.probe(), None, "{packet}");
        assert_eq!(pair.read(probe), "");
        pair.say(probe, "5");
        pair.assert_open();
        pair.send("a").unwrap();
        assert_eq!(pair.get(), "4a");
        pair.probe();
    }
}

#[test]
fn a_probe_is_over_when_it_is_lost_or_late() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.lose(probe, Loss::Failed);
    assert_eq!(pair.session.probe(), None);

    pair.probe();
    pair.at(9_999);
    assert!(pair.session.probe().is_some());
    pair.at(10_000);
    assert_eq!(pair.session.probe(), None);
    pair.assert_open();
}

#[test]
fn a_probe_is_over_when_the_session_closes() {
    let mut pair = Pair::polling();
    pair.probe();
    pair.session.discard(pair.now);
    assert_eq!(pair.session.probe(), None);
    pair.assert_closed(CloseReason::ForcedClose);
    assert_eq!(pair.session.handle_probe(pair.now), Err(UpgradeRefused));
}

#[test]
fn a_second_probe_is_refused_and_the_first_goes_on() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    assert_eq!(pair.session.handle_probe(pair.now), Err(UpgradeRefused));
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
    assert_eq!(pair.session.handle_probe(pair.now), Err(UpgradeRefused));
}

#[test]
fn the_late_loss_of_one_probe_does_not_concern_the_next() {
    let mut pair = Pair::polling();
    let first = pair.probe();
    pair.lose(first, Loss::Ended);
    let second = pair.probe();
    pair.lose(first, Loss::Failed);
    pair.say(first, "x␞5");
    pair.say(second, "2probe");
    assert_eq!((pair.read(first).as_str(), pair.read(second).as_str()), ("", "3probe"));
    pair.say(second, "5");
    pair.lose(first, Loss::Failed);
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
}

#[test]
fn the_probe_that_took_over_may_keep_its_name() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    assert_eq!(pair.say(probe, "5␞4a"), ["a"]);
    pair.send("b").unwrap();
    assert_eq!(pair.read(probe), "4b");
    pair.lose(probe, Loss::Ended);
    assert_eq!(pair.events(), [SessionEvent::Upgraded, SessionEvent::Closed(CloseReason::TransportClose)]);
}

#[test]
fn a_body_that_began_before_the_upgrade_still_counts_but_ends_nothing() {
    let mut pair = Pair::polling();
    pair.begin_post();
    let probe = pair.probe();
    pair.say(probe, "5");
    assert_eq!(pair.say(POLL, "4a␞1␞2␞5␞4b␞x"), ["a", "b"]);
    pair.end_post();
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
}

#[test]
fn a_poll_aborted_after_the_upgrade_ends_nothing() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.begin_post();
    let probe = pair.probe();
    pair.say(probe, "5");
    pair.abort(PollMethod::Get);
    pair.abort(PollMethod::Post);
    pair.session.handle_invalid_request(pair.now);
    assert_eq!(pair.events(), [SessionEvent::Upgraded]);
}

#[test]
fn an_upgrade_while_closing_carries_the_queue_and_ends_the_session() {
    let mut pair = Pair::polling();
    let probe = pair.probe();
    pair.send("a").unwrap();
    pair.close();
    pair.say(probe, "2probe");
    assert_eq!(pair.read(probe), "3probe");
    pair.say(probe, "5");
    assert_eq!(pair.events(), [SessionEvent::Upgraded, SessionEvent::Closed(CloseReason::ForcedClose)]);
    assert_eq!((pair.read(WS).as_str(), pair.read(WS).as_str()), ("4a", ""));
}

// Queue

#[test]
fn a_volatile_message_goes_only_where_it_can_leave_at_once() {
    let mut pair = Pair::polling();
    assert!(!pair.send_volatile("a"));
    pair.begin_get();
    assert!(pair.session.is_writable());
    assert!(pair.send_volatile("b") && !pair.send_volatile("c"));
    assert_eq!(pair.take_get(), "4b");
    assert!(!pair.send_volatile("d"));

    let mut pair = Pair::upgraded();
    assert!(pair.send_volatile("a") && !pair.send_volatile("b"));
    let (_, bytes) = pair.take(WS);
    pair.session.handle_transmitted(pair.now, WS, bytes - 1);
    assert!(!pair.send_volatile("c"));
    pair.session.handle_transmitted(pair.now, WS, 1);
    assert!(pair.send_volatile("d"));
    pair.close();
    assert!(!pair.send_volatile("e"));
}

#[test]
fn bytes_count_until_they_are_transmitted() {
    let mut pair = Pair::websocket();
    pair.send(&"x".repeat(497)).unwrap(); // 502 bytes as a frame
    let (_, bytes) = pair.take(WS);
    assert_eq!((bytes, pair.session.buffered_bytes()), (502 + OVERHEAD, 502 + OVERHEAD));
    pair.session.handle_transmitted(pair.now, WS, 5 + OVERHEAD);
    pair.send(&"x".repeat(498)).unwrap();
    assert_eq!(pair.session.buffered_bytes(), LIMIT);
    assert_eq!(pair.send(""), Err(SendError::QueueFull { queued: LIMIT, limit: LIMIT }));
    assert_eq!((pair.read(WS).as_str(), pair.session.buffered_bytes()), ("", 0));
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_slow_poller_is_told_goodbye() {
    let mut pair = Pair::polling();
    pair.begin_get();
    pair.send(&"x".repeat(900)).unwrap();
    assert!(matches!(pair.send(&"x".repeat(900)), Err(SendError::QueueFull { .. })));
    assert_eq!(pair.take_get(), "1");
    pair.assert_closed(CloseReason::TransportError);
}

#[test]
fn a_message_beyond_the_bound_is_accepted_into_an_empty_queue() {
    let mut pair = Pair::new(TransportKind::WebSocket, LIMIT);
    pair.at(25_000);
    assert!(pair.session.buffered_bytes() > 0, "open packet and ping wait, which do not count");
    pair.send(&"x".repeat(5000)).unwrap();
    assert!(pair.read(WS).starts_with("0{}␞2␞4x"));
    pair.send(&"x".repeat(5000)).unwrap();
    assert_eq!(pair.send("y"), Err(SendError::QueueFull { queued: 5005 + OVERHEAD, limit: LIMIT }));
}

#[test]
fn a_full_queue_takes_a_ping() {
    let mut pair = Pair::websocket();
    pair.send(&"x".repeat(995)).unwrap();
    pair.at(25_000);
    pair.assert_open();
    assert!(pair.read(WS).ends_with("x␞2"));
}
