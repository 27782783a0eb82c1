//! Events that an adapter keeps: what waits for their places, and sessions that come back through an adapter.

use std::collections::HashMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;
use crate::engine::Message;
use crate::proto::socketio::{DecoderLimits, Packet, PacketKind, Payload};

/// Keeps what a test lets it keep: events until they are given a place, sessions until they are asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    node: Option<LocalNode>,
    events: std::collections::VecDeque<KeptEvent>,
    last: u64,
    sessions: HashMap<String, KeptSession>,
    missed: Vec<Payload>,
    /// Whoever comes back waits for this.
    gate: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Keeper {
    /// The events that wait get places.
    fn deliver(&self, count: usize) {
        for _ in 0..count {
            let (event, place) = {
                let mut kept = self.0.lock();
                kept.last += 1;
                (kept.events.pop_front().unwrap(), kept.last)
            };
            event.deliver(&format!("at-{place}"), (place, 0));
        }
    }

    /// Gives the first one away.
    pub(crate) fn take_event(&self) -> KeptEvent {
        self.0.lock().events.pop_front().unwrap()
    }

    /// They get none.
    fn give_up(&self) {
        let events = std::mem::take(&mut self.0.lock().events);
        drop(events);
    }
}

impl AdapterFactory for Keeper {
    fn create(&self, node: LocalNode) -> Arc<dyn Adapter> {
        if node.namespace() == "/" {
            self.0.lock().node = Some(node);
        }
        Arc::new(self.clone())
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

impl Adapter for Keeper {
    fn broadcast(&self, _: &Payload, _: &BroadcastOptions) {}

    fn broadcast_with_ack(&self, _: &Payload, _: &BroadcastOptions) -> RemoteAnswers {
        mpsc::unbounded_channel().1
    }

    fn sockets_join(&self, _: &BroadcastOptions, _: &[Room]) {}

    fn sockets_leave(&self, _: &BroadcastOptions, _: &[Room]) {}

    fn disconnect_sockets(&self, _: &BroadcastOptions, _: bool) {}

    fn fetch_sockets(&self, _: &BroadcastOptions) -> BoxFuture<'static, Gathered<RemoteSocket>> {
        std::future::ready(Gathered::nothing()).boxed()
    }

    fn server_side_emit(&self, _: &Payload) {}

    fn server_side_emit_with_ack(&self, _: &Payload) -> RemoteAnswers {
        mpsc::unbounded_channel().1
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, AdapterError>> {
        std::future::ready(Ok(1)).boxed()
    }

    fn broadcast_kept(&self, _: &Payload, _: &BroadcastOptions, kept: KeptEvent) {
        self.0.lock().events.push_back(kept);
    }

    fn keep_session(&self, session: KeptSession) {
        self.0.lock().sessions.insert(session.pid.clone(), session);
    }

    fn restore_session(
        &self,
        pid: &str,
        _: &str,
    ) -> BoxFuture<'static, Result<RestoredSession, RecoveryError>> {
        let mut kept = self.0.lock();
        let session = kept.sessions.remove(pid).ok_or(RecoveryError::Unknown);
        let (missed, last, gate) = (kept.missed.clone(), (kept.last, 0), kept.gate.take());
        async move {
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            session.map(|session| RestoredSession { session, missed, last })
        }
        .boxed()
    }

    fn close(&self) {}
}

pub(crate) fn keeping(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Keeper, Server) {
    let keeper = Keeper::default();
    let recovery = ConnectionStateRecovery::default();
    let adapter = keeper.clone();
    let (io, _) =
        server_with(|builder| configure(builder.adapter(adapter).connection_state_recovery(recovery)));
    (keeper, io)
}

#[tokio::test(start_paused = true)]
async fn what_one_task_sends_a_socket_comes_in_the_order_of_the_calls() {
    let (keeper, io) = keeping(|builder| builder);
    io.on("ask", async |event: Event| {
        event.socket().emit("first", &1)?;
        event.ack(&"answer")?;
        let confirmed = event.socket().emit_with_ack::<()>("confirm", &());
        event.socket().emit("second", &2)?;
        drop(confirmed);
        Ok::<_, HandlerError>(())
    });
    let (client, socket) = Client::connected(&io).await;
    let (other, _) = Client::connected(&io).await;
    client.post(r#"420["ask"]"#).await;
    let votes = io.emit_with_ack::<()>("vote", &());
    io.local().emit("here", &3).unwrap();
    // Volatile events need not wait, nor what is for somebody else.
    let (heard, ()) = tokio::join!(client.poll(), async {
        settle().await;
        socket.volatile().emit("volatile", &()).unwrap();
    });
    assert_eq!(heard, r#"42["volatile"]"#);
    other.post(r#"427["unknown"]"#).await;
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["first",1,"at-1"]|430["answer"]|420["confirm"]"#);
    assert!(io.of("/").has_waiting_events());
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["second",2,"at-2"]|421["vote"]|42["here",3]"#);
    assert_eq!(other.poll().await, r#"421["vote"]|42["here",3]"#);
    drop(votes);
    assert!(!io.of("/").has_waiting_events());
    // Nothing waits now.
    io.local().emit("here", &4).unwrap();
    assert_eq!(client.poll().await, r#"42["here",4]"#);
}

#[tokio::test(start_paused = true)]
async fn who_is_sent_away_hears_first_what_waits_and_nothing_afterwards() {
    let (keeper, io) = keeping(|builder| builder);
    io.on("bye", async |event: Event| {
        event.socket().emit("last", &1)?;
        event.ack(&())?;
        event.socket().disconnect();
        Ok::<_, HandlerError>(())
    });
    let (client, _) = Client::connected(&io).await;
    let (other, socket) = Client::connected(&io).await;
    io.emit("all", &0).unwrap();
    io.to("elsewhere").emit("elsewhere", &0).unwrap();
    client.post(r#"425["bye"]"#).await;
    assert_eq!(client.poll().await, r#"42["all",0]|42["last",1]|435[]|41"#);
    keeper.deliver(3);
    assert_eq!(other.poll().await, r#"42["all",0,"at-1"]"#);

    io.emit("all", &1).unwrap();
    io.of("/").close();
    assert_eq!(other.poll().await, r#"42["all",1]|41"#);
    keeper.give_up();
    drop(socket);

    let (client, socket) = Client::connected(&io).await;
    socket.emit("last", &2).unwrap();
    socket.close_connection();
    assert_eq!(client.poll().await, r#"42["last",2]|41"#);
    keeper.give_up();
}

#[tokio::test(start_paused = true)]
async fn what_gets_no_place_is_delivered_once_without_an_offset() {
    let (keeper, io) = keeping(|builder| builder);
    let (client, _) = Client::connected(&io).await;
    io.emit("n", &1).unwrap();
    io.emit("n", &2).unwrap();
    keeper.give_up();
    assert_eq!(client.poll().await, r#"42["n",1]|42["n",2]"#);
}

#[tokio::test(start_paused = true)]
async fn listeners_of_what_is_emitted_see_each_event_once_wherever_it_comes_from() {
    let (keeper, io) = keeping(|builder| builder);
    let log = Log::default();
    let noted = log.clone();
    // An offset is for clients alone.
    io.on_any_outgoing(move |event: &OutgoingEvent| {
        noted.note(format!("{} {}", event.name(), event.values().len()));
    });
    let (client, _) = Client::connected(&io).await;
    io.emit("own", &()).unwrap();
    io.emit("late", &()).unwrap();
    keeper.deliver(1);
    keeper.give_up();
    let node = keeper.0.lock().node.clone().unwrap();
    let event = Payload::event("foreign", &()).unwrap();
    node.broadcast_at(&event, &BroadcastOptions::default(), "at-2", (2, 0));
    assert_eq!(client.poll().await, r#"42["own","at-1"]|42["late"]|42["foreign","at-2"]"#);
    assert_eq!(log.take(), ["own 0", "late 0", "foreign 0"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_last_event_with_a_key_waits_in_the_queue() {
    let (keeper, io) = keeping(|builder| builder);
    let (client, _) = Client::connected(&io).await;
    for price in 1..=3 {
        io.coalesce("price").emit("price", &price).unwrap();
    }
    keeper.deliver(3);
    assert_eq!(client.poll().await, r#"42["price",3,"at-3"]"#);
}

#[tokio::test(start_paused = true)]
async fn what_follows_an_event_follows_it_also_if_the_adapter_got_another_one_first() {
    let (keeper, io) = keeping(|builder| builder);
    let (client, socket) = Client::connected(&io).await;
    io.emit("first", &()).unwrap();
    io.emit("second", &()).unwrap();
    let confirmed = socket.emit_with_ack::<()>("confirm", &());
    let confirmed = tokio::spawn(confirmed);
    settle().await;
    // As if another thread had emitted the second one.
    keeper.0.lock().events.swap(0, 1);
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["second","at-1"]"#);
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["first","at-2"]|420["confirm"]"#);
    confirmed.abort();
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_delivered_in_order_when_too_much_is_behind_it_and_not_once_more() {
    let (keeper, io) = keeping(|builder| builder.max_send_queue(1 << 30));
    let pid = lost(&io).await;
    let (client, _) = Client::connected(&io).await;
    let big = "x".repeat(12 * 1024 * 1024);
    io.emit("n", &1).unwrap();
    io.local().emit("big", &big).unwrap();
    io.emit("n", &2).unwrap();
    for _ in 0..5 {
        io.local().emit("big", &big).unwrap();
    }
    assert!(!io.of("/").has_waiting_events());
    io.local().emit("end", &()).unwrap();
    let heard = client.poll().await.replace(&big, "");
    let bigs = [r#"42["big",""]"#; 5].join("|");
    assert_eq!(heard, format!(r#"42["n",1]|42["big",""]|42["n",2]|{bigs}|42["end"]"#));

    // Whether they are in what the adapter gives, nobody knows.
    let returning = come_back(&io, &pid).await;
    assert!(!returning.poll().await.contains(&pid));
    keeper.deliver(2);
    io.emit("n", &3).unwrap();
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["n",3,"at-3"]"#);
    let pid = lost(&io).await;
    assert!(come_back(&io, &pid).await.poll().await.contains(&pid));
}

/// JSON, as by default, but for events with this name that have an offset, and for those that have no form.
#[derive(Debug)]
struct Panics;

impl Parser for Panics {
    fn encode(&self, packet: &Packet) -> Result<Vec<Message>, ParserError> {
        let text = packet.data.as_ref().map(|data| data.json().to_string()).unwrap_or_default();
        assert!(!text.starts_with(r#"["unwritable","at-"#), "the parser's mistake");
        if text.starts_with(r#"["formless""#) {
            return Err(ParserError::new("no form"));
        }
        Ok(vec![Message::Text(format!("{:?}{text}", packet.kind).into())])
    }

    fn decoder(&self, _: &DecoderLimits) -> Box<dyn PacketDecoder> {
        Box::new(Panics)
    }
}

impl PacketDecoder for Panics {
    fn decode(&mut self, message: Message) -> Result<Option<Packet>, ParserError> {
        let mut packet = Packet::new(PacketKind::Connect, "/");
        if let Message::Text(text) = message {
            packet.data = Payload::from_json(PacketKind::Connect, text[1..].into());
        }
        Ok(Some(packet))
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_ever_behind_an_event_that_makes_the_parser_panic() {
    let (keeper, io) = keeping(|builder| builder.parser(Panics));
    let client = Client::open(&io).await;
    client.post("40").await;
    client.poll().await;
    io.emit("unwritable", &()).unwrap();
    io.local().emit("behind", &()).unwrap();
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"4Event["behind"]"#);
    assert!(!io.of("/").has_waiting_events());
}

#[tokio::test(start_paused = true)]
async fn who_emits_is_told_that_the_parser_has_no_form_for_it() {
    let (keeper, io) = keeping(|builder| builder.parser(Panics));
    let log = Log::default();
    let noted = log.clone();
    io.on_any_outgoing(move |event: &OutgoingEvent| noted.note(event.name()));
    let client = Client::open(&io).await;
    client.post("40").await;
    client.poll().await;
    assert!(io.emit("formless", &1).is_err());
    assert!(keeper.0.lock().events.is_empty() && !io.of("/").has_waiting_events());
    io.emit("n", &1).unwrap();
    io.emit("n", &2).unwrap();
    keeper.deliver(1);
    keeper.give_up();
    assert_eq!(client.poll().await, r#"4Event["n",1,"at-1"]|4Event["n",2]"#);
    assert_eq!(log.take(), ["n", "n"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_leaves_at_its_turn_also_where_somebody_always_emits() {
    let (keeper, io) = keeping(|builder| builder);
    let (client, socket) = Client::connected(&io).await;
    socket.emit("last", &1).unwrap();
    let ticking = io.clone();
    let ticks = tokio::spawn(async move {
        loop {
            ticking.emit("tick", &()).unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            // Another one always waits.
            while keeper.0.lock().events.len() > 1 {
                keeper.deliver(1);
            }
        }
    });
    let (deadline, begin) = (Duration::from_secs(10), tokio::time::Instant::now());
    let heard = tokio::spawn(async move {
        let mut heard = String::new();
        while heard != "1" && !heard.ends_with("|1") {
            heard = client.poll().await;
        }
    });
    io.drain(deadline).await;
    assert!(begin.elapsed() < deadline);
    ticks.abort();
    heard.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_to_leave_waits_for_what_is_on_its_way() {
    let (keeper, io) = keeping(|builder| builder);
    io.on("ask", async |event: Event| {
        event.socket().emit("first", &1)?;
        event.ack(&"answer")
    });
    let (client, _) = Client::connected(&io).await;
    client.post(r#"420["ask"]"#).await;
    let deadline = Duration::from_secs(10);
    let draining = io.clone();
    let drained = tokio::spawn(async move { draining.drain(deadline).await });
    // Everybody's turn has come by then.
    tokio::time::sleep(deadline.mul_f64(0.9)).await;
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["first",1,"at-1"]|430["answer"]"#);
    drained.await.unwrap();
}

/// A client whose session is kept; gives its private id.
async fn lost(io: &Server) -> String {
    let client = Client::open(io).await;
    client.post("40").await;
    let welcome = client.poll().await;
    let welcome: serde_json::Value = serde_json::from_str(welcome.strip_prefix("40").unwrap()).unwrap();
    client.post("1").await;
    settle().await;
    welcome["pid"].as_str().unwrap().to_owned()
}

async fn come_back(io: &Server, pid: &str) -> Client {
    let client = Client::open(io).await;
    client.post(&format!(r#"40{{"pid":"{pid}","offset":"at-0"}}"#)).await;
    client
}

#[tokio::test(start_paused = true)]
async fn who_missed_more_than_a_queue_holds_is_somebody_new() {
    let (keeper, io) = keeping(|builder| builder.max_send_queue(8 * 1024));
    let pid = lost(&io).await;
    keeper.0.lock().missed = (0..20).map(|n| Payload::event("n", &(n, "at")).unwrap()).collect();
    let client = come_back(&io, &pid).await;
    let welcome = client.poll().await;
    assert!(welcome.starts_with(r#"40{"sid":"#) && !welcome.contains(&pid), "{welcome}");
    let socket = io.of("/").sockets().pop().unwrap();
    assert_eq!(socket.recovery(), Recovery::Failed(RecoveryError::Trimmed));
    assert!(keeper.0.lock().sessions.is_empty());
    assert_eq!(io.stats().recovery_trimmed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_client_goes_while_it_is_restored_is_kept() {
    let (keeper, io) = keeping(|builder| builder);
    let pid = lost(&io).await;
    keeper.0.lock().missed = vec![Payload::event("n", &(1, "at-1")).unwrap()];
    let (open, gate) = tokio::sync::oneshot::channel();
    keeper.0.lock().gate = Some(gate);
    let client = come_back(&io, &pid).await;
    assert!(keeper.0.lock().sessions.is_empty());
    client.post("1").await;
    settle().await;
    open.send(()).unwrap();
    settle().await;
    assert!(keeper.0.lock().sessions.contains_key(&pid));
    let client = come_back(&io, &pid).await;
    let answer = client.poll().await;
    assert!(answer.starts_with(r#"42["n",1,"at-1"]|40{"#) && answer.contains(&pid), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_is_on_the_way_back_gets_what_is_delivered_late_meanwhile_once() {
    let (keeper, io) = keeping(|builder| builder);
    let pid = lost(&io).await;
    keeper.0.lock().last = 5;
    keeper.0.lock().missed = vec![Payload::event("n", &(5, "at-5")).unwrap()];
    let (open, gate) = tokio::sync::oneshot::channel();
    keeper.0.lock().gate = Some(gate);
    let client = come_back(&io, &pid).await;
    for number in 5..=7 {
        io.emit("n", &number).unwrap();
    }
    let late = |position| {
        let event = keeper.0.lock().events.pop_front().unwrap();
        event.deliver_late((position, 0));
    };
    // The first one it has from the adapter.
    late(5);
    late(6);
    open.send(()).unwrap();
    let heard = client.poll().await;
    assert!(heard.starts_with(r#"42["n",5,"at-5"]|42["n",6]|40{"#) && heard.contains(&pid), "{heard}");
    late(7);
    assert_eq!(client.poll().await, r#"42["n",7]"#);

    // It has up to 5: another one with this place is not for it.
    io.emit("n", &5).unwrap();
    late(5);
    io.emit("n", &8).unwrap();
    keeper.0.lock().last = 7;
    keeper.deliver(1);
    assert_eq!(client.poll().await, r#"42["n",8,"at-8"]"#);
}

#[tokio::test(start_paused = true)]
async fn who_may_have_missed_an_event_without_a_place_is_somebody_new() {
    let (keeper, io) = keeping(|builder| builder);
    let pid = lost(&io).await;
    let (open, gate) = tokio::sync::oneshot::channel();
    keeper.0.lock().gate = Some(gate);
    let client = come_back(&io, &pid).await;
    io.emit("n", &1).unwrap();
    keeper.give_up();
    open.send(()).unwrap();
    let welcome = client.poll().await;
    assert!(welcome.starts_with(r#"40{"sid":"#) && !welcome.contains(&pid), "{welcome}");
    let socket = io.of("/").sockets().pop().unwrap();
    assert_eq!(socket.recovery(), Recovery::Failed(RecoveryError::Unknown));
    assert!(keeper.0.lock().sessions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_may_have_missed_one_while_a_middleware_ran_comes_once_more_and_no_oftener() {
    let recovery = ConnectionStateRecovery { skip_middlewares: false, ..ConnectionStateRecovery::default() };
    let (keeper, io) = keeping(|builder| builder.connection_state_recovery(recovery));
    let pid = lost(&io).await;
    io.use_(async |_: Socket| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, ConnectError>(())
    });
    let client = come_back(&io, &pid).await;
    settle().await;
    io.emit("n", &1).unwrap();
    keeper.give_up();
    assert!(client.poll().await.ends_with('1'));
    assert!(keeper.0.lock().sessions.is_empty());
    // It gets in, although each time something is delivered without a place.
    let client = come_back(&io, &pid).await;
    settle().await;
    io.emit("n", &2).unwrap();
    keeper.give_up();
    let welcome = client.poll().await;
    assert!(welcome.starts_with(r#"40{"sid":"#) && !welcome.contains(&pid), "{welcome}");
}

#[tokio::test(start_paused = true)]
async fn a_session_comes_back_although_the_parser_panics_at_what_it_missed() {
    let (keeper, io) = keeping(|builder| builder.parser(Panics));
    let client = Client::open(&io).await;
    client.post("40").await;
    let welcome = client.poll().await;
    let welcome: serde_json::Value = serde_json::from_str(welcome.strip_prefix("4Connect").unwrap()).unwrap();
    client.post("1").await;
    settle().await;
    let pid = welcome["pid"].as_str().unwrap();
    keeper.0.lock().missed = ["unwritable", "n"].map(|name| Payload::event(name, &"at-1").unwrap()).to_vec();
    let client = come_back(&io, pid).await;
    let heard = client.poll().await;
    assert!(heard.starts_with(r#"4Event["n","at-1"]|4Connect{"#) && heard.contains(pid), "{heard}");
}
