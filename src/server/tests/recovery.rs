//! Connection state recovery: what is missed, what is kept, and for how long.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn recovering(options: ConnectionStateRecovery) -> (Server, Log) {
    server_with(|builder| builder.connection_state_recovery(options))
}

/// What a client knows of its session.
#[derive(Clone, Debug, Default)]
struct Known {
    pid: String,
    offset: String,
}

/// A client with its session: connects, reads, breaks off, comes back.
struct Returner {
    client: Client,
    known: Known,
    sid: String,
    /// The numbers of the events `n` it has got.
    got: Vec<u64>,
}

impl Returner {
    async fn connect(io: &Server) -> Returner {
        let mut returner = Returner {
            client: Client::open(io).await,
            known: Known::default(),
            sid: String::new(),
            got: Vec::new(),
        };
        returner.client.post("40").await;
        returner.read().await;
        returner
    }

    /// Reads what one poll gives.
    async fn read(&mut self) {
        let packets = self.client.poll().await;
        for packet in packets.split('|') {
            if let Some(answer) = packet.strip_prefix("40") {
                let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
                self.known.pid = answer["pid"].as_str().unwrap().to_owned();
                self.sid = answer["sid"].as_str().unwrap().to_owned();
            } else if let Some(event) = packet.strip_prefix("42") {
                let event: Vec<serde_json::Value> = serde_json::from_str(event).unwrap();
                self.known.offset = event.last().unwrap().as_str().unwrap().to_owned();
                if event[0] == "n" {
                    self.got.push(event[1].as_u64().unwrap());
                }
            }
        }
    }

    /// The connection ends, as one that is lost.
    async fn lose(&self) {
        self.client.post("1").await;
        settle().await;
    }

    /// Comes back, on a new connection; says whether it is who it was.
    async fn come_back(&mut self, io: &Server) -> bool {
        let before = self.sid.clone();
        self.client = Client::open(io).await;
        let Known { pid, offset } = &self.known;
        self.client.post(&format!(r#"40{{"pid":"{pid}","offset":"{offset}"}}"#)).await;
        self.read().await;
        self.sid == before
    }

    fn socket(&self, io: &Server) -> Socket {
        io.of("/").socket(&self.sid).unwrap()
    }
}

fn recovery_of(io: &Server) -> Recovery {
    let sockets = io.of("/").sockets();
    sockets.last().unwrap().recovery()
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_is_who_it_was_and_gets_what_it_missed_before_the_answer() {
    let (io, _) = recovering(ConnectionStateRecovery::default());
    let mut ada = Returner::connect(&io).await;
    let socket = ada.socket(&io);
    socket.join(["a", "b"]);
    socket.data().insert("user", "ada").unwrap();
    io.emit("n", &0).unwrap();
    ada.read().await;
    ada.lose().await;
    assert!(!socket.is_connected());
    io.to("a").emit("n", &1).unwrap();
    io.except("b").emit("n", &2).unwrap();
    io.volatile().emit("n", &3).unwrap();
    socket.emit("n", &4).unwrap();
    io.to("a").timeout(Duration::from_millis(1)).emit_with_ack::<u8>("n", &5).await.unwrap();

    let client = Client::open(&io).await;
    let Known { pid, offset } = ada.known.clone();
    client.post(&format!(r#"40{{"pid":"{pid}","offset":"{offset}"}}"#)).await;
    let packets = client.poll().await;
    let packets: Vec<&str> = packets.split('|').collect();
    assert!(packets[0].starts_with(r#"42["n",1,""#), "{packets:?}");
    assert!(packets[1].starts_with(r#"42["n",4,""#), "{packets:?}");
    assert_eq!(packets[2..], [format!(r#"40{{"sid":"{}","pid":"{pid}"}}"#, ada.sid)]);

    let back = ada.socket(&io);
    assert!(back.recovered());
    assert_ne!(back, socket);
    assert_eq!(back.data().get::<String>("user").unwrap(), "ada");
    assert_eq!(back.rooms(), [Room::from(back.id()), "a".into(), "b".into()]);
    assert_eq!(io.stats().recovered, 1);
}

#[tokio::test(start_paused = true)]
async fn why_a_recovery_failed_is_told_and_counted() {
    let options = ConnectionStateRecovery { max_bytes: 8_000, ..ConnectionStateRecovery::default() };
    let (io, _) = recovering(options);
    let connect = async |payload: String| {
        let client = Client::open(&io).await;
        client.post(&format!("40{payload}")).await;
        client.poll().await;
        let recovery = recovery_of(&io);
        io.disconnect_sockets(true);
        settle().await;
        recovery
    };
    assert_eq!(connect(String::new()).await, Recovery::NotRequested);

    let mut ada = Returner::connect(&io).await;
    io.emit("n", &0).unwrap();
    ada.read().await;
    ada.lose().await;
    let Known { pid, offset } = ada.known.clone();
    let failed = |error| Recovery::Failed(error);
    assert_eq!(connect(format!(r#"{{"pid":"{pid}"}}"#)).await, failed(RecoveryError::NoOffset));
    assert_eq!(
        connect(format!(r#"{{"pid":"nobody","offset":"{offset}"}}"#)).await,
        failed(RecoveryError::Unknown)
    );
    assert_eq!(connect(format!(r#"{{"pid":"{pid}","offset":"?"}}"#)).await, failed(RecoveryError::Unknown));
    for _ in 0..100 {
        io.emit("n", &"x".repeat(100)).unwrap();
    }
    assert!(io.stats().recovery_bytes <= 8_000);
    assert_eq!(
        connect(format!(r#"{{"pid":"{pid}","offset":"{offset}"}}"#)).await,
        failed(RecoveryError::Trimmed)
    );
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(
        connect(format!(r#"{{"pid":"{pid}","offset":"{offset}"}}"#)).await,
        failed(RecoveryError::Expired)
    );
    let stats = io.stats();
    assert_eq!((stats.recovered, stats.recovery_no_offset, stats.recovery_unknown), (0, 1, 2));
    assert_eq!((stats.recovery_trimmed, stats.recovery_expired), (1, 1));
    // The sweep has been.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(io.stats().recovery_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_kept_where_its_client_is_refused_and_taken_once() {
    let options = ConnectionStateRecovery { skip_middlewares: false, ..ConnectionStateRecovery::default() };
    let (io, _) = recovering(options);
    let open = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = Arc::clone(&open);
    io.use_(move |_| {
        let open = asked.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if open { Ok(()) } else { Err("closed") }
        }
    });
    let mut ada = Returner::connect(&io).await;
    io.emit("n", &0).unwrap();
    ada.read().await;
    ada.lose().await;
    let payload = format!(r#"40{{"pid":"{}","offset":"{}"}}"#, ada.known.pid, ada.known.offset);
    open.store(false, std::sync::atomic::Ordering::SeqCst);
    let client = Client::open(&io).await;
    client.post(&payload).await;
    assert_eq!(client.poll().await, r#"44{"message":"closed"}"#);
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    let other = Client::open(&io).await;
    // Both ask for it at the same time: one is new.
    client.post(&payload).await;
    other.post(&payload).await;
    io.emit("n", &1).unwrap();
    let first = client.poll().await;
    assert!(first.starts_with(r#"42["n",1,""#) && first.contains(&ada.sid), "{first}");
    assert!(!other.poll().await.contains(&ada.sid));
    assert_eq!(io.of("/").sockets().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn rooms_that_a_handler_leaves_as_its_socket_disconnects_are_not_kept() {
    let (io, _) = recovering(ConnectionStateRecovery::default());
    io.on_disconnecting(async |socket: Socket, _| socket.leave("left"));
    let mut ada = Returner::connect(&io).await;
    ada.socket(&io).join(["left", "kept"]);
    io.emit("n", &0).unwrap();
    ada.read().await;
    ada.lose().await;
    assert!(ada.come_back(&io).await);
    assert_eq!(ada.socket(&io).rooms()[1..], [Room::from("kept")]);
}

#[tokio::test(start_paused = true)]
async fn data_that_handlers_set_as_its_socket_leaves_is_kept_and_so_is_what_they_emit() {
    let (io, _) = recovering(ConnectionStateRecovery::default());
    for disconnecting in [false, true] {
        if disconnecting {
            io.on_disconnecting(async |socket: Socket, _| {
                socket.data().insert("leaving", &1)?;
                socket.namespace().emit("n", &1)
            });
        }
        io.on_disconnect(async |socket: Socket, _| {
            socket.data().insert("left", &2)?;
            tokio::task::yield_now().await;
            socket.data().insert("too late", &3)
        });
        let mut ada = Returner::connect(&io).await;
        io.emit("n", &0).unwrap();
        ada.read().await;
        ada.socket(&io).on_disconnect(async |socket: Socket, _| socket.data().insert("own", &4));
        ada.lose().await;
        assert!(ada.come_back(&io).await);
        let data = serde_json::to_value(ada.socket(&io).data().values()).unwrap();
        let (kept, got) = match disconnecting {
            true => (serde_json::json!({ "leaving": 1, "left": 2, "own": 4 }), vec![0, 1]),
            false => (serde_json::json!({ "left": 2, "own": 4 }), vec![0]),
        };
        assert_eq!((data, ada.got), (kept, got));
    }
}

#[tokio::test(start_paused = true)]
async fn a_coalesced_event_to_one_socket_is_kept() {
    let (io, _) = recovering(ConnectionStateRecovery::default());
    let mut ada = Returner::connect(&io).await;
    let socket = ada.socket(&io);
    io.emit("n", &0).unwrap();
    ada.read().await;
    ada.lose().await;
    socket.coalesce("key").emit("n", &1).unwrap();
    assert!(ada.come_back(&io).await);
    assert_eq!(ada.got, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_missed_more_than_a_send_queue_holds_is_somebody_new() {
    for policy in [SlowConsumer::Close, SlowConsumer::DropOldest] {
        let (io, _) = server_with(|builder| {
            let recovery = ConnectionStateRecovery::default();
            builder.connection_state_recovery(recovery).max_send_queue(4_000).slow_consumer(policy)
        });
        let mut ada = Returner::connect(&io).await;
        io.emit("n", &0).unwrap();
        ada.read().await;
        ada.lose().await;
        for number in 1..=10 {
            io.emit("n", &number).unwrap();
        }
        assert!(!ada.come_back(&io).await);
        assert_eq!(recovery_of(&io), Recovery::Failed(RecoveryError::Trimmed));
        assert_eq!(ada.got, [0]);
        assert_eq!((io.stats().slow_peers, io.stats().events_dropped), (0, 0));
    }
}

/// What may happen between a client and a server.
#[derive(Clone, Debug)]
enum Step {
    ToAll,
    ToRoom(u8),
    Except(u8),
    ToItself,
    Join(u8),
    Leave(u8),
    Read,
    Lose,
    ComeBack,
    Disappear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::ToAll),
        (0..3_u8).prop_map(Step::ToRoom),
        (0..3_u8).prop_map(Step::Except),
        Just(Step::ToItself),
        (0..3_u8).prop_map(Step::Join),
        (0..3_u8).prop_map(Step::Leave),
        Just(Step::Read),
        Just(Step::Lose),
        Just(Step::ComeBack),
        Just(Step::Disappear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often a client goes and comes back, whether or not it had read what was sent before: it gets all that was
    /// meant for it, in order, once.
    #[test]
    fn across_reconnects_nothing_is_missed_and_nothing_comes_twice(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (io, _) = recovering(ConnectionStateRecovery::default());
            let mut ada = Returner::connect(&io).await;
            io.emit("first", &()).unwrap();
            ada.read().await;
            let (mut connected, mut next) = (true, 0);
            let mut rooms = std::collections::BTreeSet::new();
            let mut expected = VecDeque::new();
            let name = |room: u8| format!("room {room}");
            for step in steps {
                next += 1;
                // As on Node, the rooms at the time of the loss count, also for what was sent before they were joined.
                if connected && matches!(step, Step::Join(_) | Step::Leave(_)) {
                    io.to(ada.sid.as_str()).emit("n", &next).unwrap();
                    expected.push_back(next);
                    while ada.got.len() < expected.len() { ada.read().await; }
                    next += 1;
                }
                match step {
                    Step::ToAll => { io.emit("n", &next).unwrap(); expected.push_back(next); }
                    Step::ToRoom(room) => {
                        io.to(name(room)).emit("n", &next).unwrap();
                        if rooms.contains(&room) { expected.push_back(next); }
                    }
                    Step::Except(room) => {
                        io.except(name(room)).emit("n", &next).unwrap();
                        if !rooms.contains(&room) { expected.push_back(next); }
                    }
                    Step::ToItself => { io.to(ada.sid.as_str()).emit("n", &next).unwrap(); expected.push_back(next); }
                    Step::Join(room) if connected => { ada.socket(&io).join(name(room)); rooms.insert(room); }
                    Step::Leave(room) if connected => { ada.socket(&io).leave(name(room)); rooms.remove(&room); }
                    Step::Read if connected && expected.len() > ada.got.len() => ada.read().await,
                    Step::Lose if connected => { ada.lose().await; connected = false; }
                    // It does not say so: the server finds out later.
                    Step::Disappear if connected => {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                        connected = false;
                    }
                    Step::ComeBack if !connected => {
                        // An event may have expired, which is long after.
                        prop_assert!(ada.come_back(&io).await || recovery_of(&io) == Recovery::Failed(RecoveryError::Expired));
                        if recovery_of(&io) != Recovery::Recovered { return Ok(()); }
                        connected = true;
                    }
                    _ => {}
                }
            }
            if !connected && !ada.come_back(&io).await { return Ok(()); }
            io.emit("n", &u64::MAX).unwrap();
            while ada.got.last() != Some(&u64::MAX) { ada.read().await; }
            ada.got.pop();
            prop_assert_eq!(ada.got, Vec::from(expected));
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_many_threads_emit_nothing_is_missed_and_nothing_comes_twice() {
    const EMITTERS: u64 = 3;
    const EVENTS: u64 = 2_000;
    let (io, _) = recovering(ConnectionStateRecovery::default());
    let mut ada = Returner::connect(&io).await;
    io.emit("first", &()).unwrap();
    ada.read().await;
    let emitters: Vec<_> = (0..EMITTERS)
        .map(|emitter| {
            let io = io.clone();
            std::thread::spawn(move || {
                for number in 0..EVENTS {
                    io.emit("n", &(emitter * EVENTS + number)).unwrap();
                    if number % 16 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut lost = 0;
    while ada.got.len() < (EMITTERS * EVENTS) as usize {
        ada.read().await;
        // Something may be on its way that it will never read.
        if ada.got.len() % 7 == 0 && lost < 50 {
            lost += 1;
            ada.lose().await;
            assert!(ada.come_back(&io).await);
        }
    }
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    for emitter in 0..EMITTERS {
        let mine = emitter * EVENTS..(emitter + 1) * EVENTS;
        let got: Vec<u64> = ada.got.iter().copied().filter(|number| mine.contains(number)).collect();
        assert_eq!(got, mine.collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_namespace_leaves_the_others_their_share() {
    let options = ConnectionStateRecovery { max_bytes: 20_000, ..ConnectionStateRecovery::default() };
    let (io, _) = recovering(options);
    let mut ada = Returner::connect(&io).await;
    let flood = || (0..100).for_each(|_| io.of("/admin").emit("n", &"x".repeat(300)).unwrap());
    flood();
    assert!(io.stats().recovery_bytes <= 20_000);
    io.emit("n", &1).unwrap();
    ada.read().await;
    ada.lose().await;
    io.emit("n", &2).unwrap();
    flood();
    assert!(ada.come_back(&io).await);
    assert_eq!(ada.got, [1, 2]);
    assert!(io.stats().recovery_bytes <= 20_000);
    // Who has kept its share before others came gives it back.
    for name in ["/b", "/c", "/d"] {
        io.of(name);
    }
    io.emit("n", &"x".repeat(3_000)).unwrap();
    assert!(io.stats().recovery_bytes > 20_000);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(io.stats().recovery_bytes <= 20_000);
}
