//! Engine.IO at run time: the races that a single-threaded server cannot have, back-pressure, slow peers, the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/raw_client.rs"]
mod raw_client;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ferrio::Listening;
use ferrio::engine::{
    CloseReason, Connection, Engine, EngineConfig, EngineHandler, HeadersHook, Hook, Message, Next,
    RequestHead,
};
use ferrio::proto::EncodedMessage;
use raw_client::{RawClient, sid, soon};
use tokio::sync::mpsc;

/// What happened, in order.
#[derive(Debug, PartialEq, Eq)]
enum Happening {
    Open,
    Message(String),
    Close(CloseReason),
}

struct Recorder {
    happenings: mpsc::UnboundedSender<Happening>,
    connections: Mutex<Vec<Arc<Connection>>>,
    busy: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl EngineHandler for Recorder {
    type Client = Arc<Connection>;

    fn on_open(&self, connection: &Arc<Connection>, _cx: &mut Context<'_>) -> Arc<Connection> {
        self.connections.lock().unwrap().push(Arc::clone(connection));
        self.happenings.send(Happening::Open).unwrap();
        Arc::clone(connection)
    }

    fn on_message(&self, client: &mut Arc<Connection>, message: Message, _cx: &mut Context<'_>) {
        let Message::Text(text) = message else { return };
        if &*text == "echo" {
            client.send(Arc::new(EncodedMessage::text("4echoed"))).unwrap();
        }
        self.happenings.send(Happening::Message(text.to_string())).unwrap();
    }

    fn poll_ready(&self, _client: &mut Arc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.busy.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        *self.waiting.lock().unwrap() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_close(&self, _client: Arc<Connection>, reason: CloseReason) {
        // A test that has ended does not listen any more.
        let _ = self.happenings.send(Happening::Close(reason));
    }
}

struct App {
    recorder: Arc<Recorder>,
    engine: Engine<Recorder>,
    listening: Listening,
    happenings: mpsc::UnboundedReceiver<Happening>,
}

impl App {
    async fn start(config: EngineConfig) -> App {
        let (sender, happenings) = mpsc::unbounded_channel();
        let recorder = Arc::new(Recorder {
            happenings: sender,
            connections: Mutex::default(),
            busy: AtomicBool::new(false),
            waiting: Mutex::default(),
        });
        let engine = Engine::new(config, Arc::clone(&recorder)).unwrap();
        let listening = engine.listen("127.0.0.1:0").await.unwrap();
        App { recorder, engine, listening, happenings }
    }

    async fn client(&self) -> RawClient {
        RawClient::connect(self.listening.local_addr()).await
    }

    async fn next(&mut self) -> Happening {
        soon(self.happenings.recv()).await.unwrap()
    }

    /// Opens a session over polling; gives its target.
    async fn open_polling(&mut self) -> String {
        let open = self.client().await.get("/engine.io/?EIO=4&transport=polling").await;
        assert_eq!(self.next().await, Happening::Open);
        format!("/engine.io/?EIO=4&transport=polling&sid={}", sid(&open.body))
    }

    /// Over polling, writable means that a GET waits.
    async fn get_is_open(&self) {
        let connection = self.connection();
        soon(async {
            while !connection.is_writable() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn connection(&self) -> Arc<Connection> {
        self.recorder.connections.lock().unwrap().last().unwrap().clone()
    }
}

fn websocket_target(polling: &str) -> String {
    polling.replace("polling", "websocket")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_right_after_an_aborted_get_finds_no_session() {
    let mut app = App::start(EngineConfig::default()).await;
    for _ in 0..50 {
        let target = app.open_polling().await;
        let (mut first, mut second) = (app.client().await, app.client().await);
        first.request("GET", &target, "").await;
        app.get_is_open().await;
        drop(first);
        let answer = second.get(&target).await;
        assert_eq!((answer.status, &*answer.body), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
        assert_eq!(app.next().await, Happening::Close(CloseReason::TransportError));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_right_after_the_upgrade_is_refused() {
    let mut app = App::start(EngineConfig::default()).await;
    for _ in 0..50 {
        let target = app.open_polling().await;
        let (mut websocket, mut poll) = (app.client().await, app.client().await);
        assert_eq!(websocket.upgrade(&websocket_target(&target)).await.status, 101);
        websocket.text("2probe").await;
        assert_eq!(websocket.next_text().await, "3probe");
        websocket.text("5").await;
        let answer = poll.get(&target).await;
        assert_eq!((answer.status, &*answer.body), (400, r#"{"code":3,"message":"Bad request"}"#));
        app.connection().discard();
        assert_eq!(app.next().await, Happening::Close(CloseReason::ForcedClose));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_packet_beside_a_waiting_get_answers_it_with_a_noop() {
    let mut app = App::start(EngineConfig::default()).await;
    for _ in 0..50 {
        let target = app.open_polling().await;
        let (mut poll, mut post) = (app.client().await, app.client().await);
        poll.request("GET", &target, "").await;
        app.get_is_open().await;
        assert_eq!(post.post(&target, "1").await.body, "ok");
        assert_eq!(poll.answer().await.body, "6");
        assert_eq!(post.get(&target).await.status, 400);
        assert_eq!(app.next().await, Happening::Close(CloseReason::TransportClose));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hears_from_a_handler_may_post_again_before_its_post_is_answered() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    let (mut poll, mut first, mut second) = (app.client().await, app.client().await, app.client().await);
    for _ in 0..50 {
        poll.request("GET", &target, "").await;
        first.request("POST", &target, "4echo").await;
        assert_eq!(poll.answer().await.body, "4echoed");
        assert_eq!(second.post(&target, "4next").await.body, "ok");
        assert_eq!(first.answer().await.body, "ok");
        assert_eq!(app.next().await, Happening::Message("echo".to_owned()));
        assert_eq!(app.next().await, Happening::Message("next".to_owned()));
    }
}

#[tokio::test]
async fn a_handler_that_has_enough_withholds_the_ok_and_loses_nothing() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    let mut post = app.client().await;
    app.recorder.busy.store(true, Ordering::SeqCst);
    post.request("POST", &target, "4a\u{1e}4b").await;
    let early = tokio::time::timeout(Duration::from_millis(50), post.answer()).await;
    assert!(early.is_err(), "{early:?}");
    app.recorder.busy.store(false, Ordering::SeqCst);
    app.recorder.waiting.lock().unwrap().take().expect("the connection waits for the handler").wake();
    assert_eq!(post.answer().await.body, "ok");
    assert_eq!(app.next().await, Happening::Message("a".to_owned()));
    assert_eq!(app.next().await, Happening::Message("b".to_owned()));
}

#[tokio::test]
async fn a_pause_of_our_own_suspends_the_ping_timeout() {
    let mut config = EngineConfig::default();
    config.ping_interval = Duration::from_millis(300);
    config.ping_timeout = Duration::from_millis(100);
    let mut app = App::start(config).await;
    let mut client = app.client().await;
    client.upgrade("/engine.io/?EIO=4&transport=websocket").await;
    client.next_text().await;
    assert_eq!(app.next().await, Happening::Open);
    assert_eq!(client.next_text().await, "2");
    app.recorder.busy.store(true, Ordering::SeqCst);
    app.connection().wake();
    // Longer than the timeout, and shorter than a pause may last.
    let closed = tokio::time::timeout(Duration::from_millis(250), app.happenings.recv()).await;
    assert!(closed.is_err(), "{closed:?}");
    app.recorder.busy.store(false, Ordering::SeqCst);
    app.connection().wake();
    assert_eq!(app.next().await, Happening::Close(CloseReason::PingTimeout));
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_and_its_queue_dropped() {
    let mut config = EngineConfig::default();
    config.max_send_queue = 1024 * 1024;
    let mut app = App::start(config).await;
    let mut client = app.client().await;
    client.upgrade("/engine.io/?EIO=4&transport=websocket").await;
    assert_eq!(app.next().await, Happening::Open);
    let connection = app.connection();
    let message = Arc::new(EncodedMessage::text(&"4".repeat(64 * 1024)));
    let refused = (0..10_000).find_map(|_| connection.send(Arc::clone(&message)).err());
    assert!(refused.is_some(), "ten thousand messages of 64 KiB are more than the limit");
    assert_eq!(app.next().await, Happening::Close(CloseReason::TransportError));
    assert_eq!(connection.buffered_bytes(), 0);
    assert_eq!(Arc::strong_count(&message), 1);
    while client.next_frame().await.expect("a close frame before the end").0 != 8 {}
    client.frame(8, b"").await;
    client.ended().await;
}

#[tokio::test]
async fn closing_the_engine_ends_every_session_and_every_task() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    let mut poll = app.client().await;
    poll.request("GET", &target, "").await;
    let mut websocket = app.client().await;
    websocket.upgrade("/engine.io/?EIO=4&transport=websocket").await;
    websocket.next_text().await;
    assert_eq!(app.next().await, Happening::Open);
    let engine = app.engine.clone();
    assert_eq!(engine.clients_count(), 2);
    let closing = tokio::spawn(app.listening.shutdown());
    assert_eq!(poll.answer().await.body, "1");
    assert_eq!(websocket.next_frame().await, Some((8, Vec::new())));
    websocket.frame(8, b"").await;
    websocket.ended().await;
    soon(closing).await.unwrap();
    assert_eq!(engine.clients_count(), 0);
}

#[tokio::test]
async fn what_a_middleware_finds_stays_with_the_session() {
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct User(String);

    let mut config = EngineConfig::default();
    config.middlewares.push(Hook::new(async |request: RequestHead| match request.query("user") {
        Some(user) => Ok(Next::pass().with_extension(User(user))),
        None => Ok(Next::pass()),
    }));
    let mut app = App::start(config).await;
    app.client().await.get("/engine.io/?EIO=4&transport=polling&user=ada").await;
    assert_eq!(app.next().await, Happening::Open);
    assert_eq!(app.connection().request().extension::<User>(), Some(&User("ada".to_owned())));
    app.open_polling().await;
    assert_eq!(app.connection().request().extension::<User>(), None);
}

#[tokio::test]
async fn a_hook_that_panics_refuses_one_request_and_no_more() {
    let mut config = EngineConfig::default();
    config.middlewares.push(Hook::new(async |request: RequestHead| match request.query("panic") {
        Some(_) => panic!("on demand"),
        None => Ok(Next::pass()),
    }));
    let mut app = App::start(config).await;
    let mut client = app.client().await;
    let answer = client.get("/engine.io/?EIO=4&transport=polling&panic=1").await;
    assert_eq!(answer.status, 400);
    assert_eq!(client.get("/engine.io/?EIO=4&transport=polling").await.status, 200);
    assert_eq!(app.next().await, Happening::Open);
}

#[tokio::test]
async fn an_id_that_is_taken_or_empty_is_refused_and_the_first_session_lives_on() {
    let mut config = EngineConfig::default();
    config.generate_id =
        Some(Hook::new(async |request: RequestHead| Ok(request.query("id").unwrap_or_default())));
    let mut app = App::start(config).await;
    let mut client = app.client().await;
    assert_eq!(client.get("/engine.io/?EIO=4&transport=polling&id=a").await.status, 200);
    assert_eq!(app.next().await, Happening::Open);
    for taken in ["a", ""] {
        let target = format!("/engine.io/?EIO=4&transport=polling&id={taken}");
        assert_eq!(client.get(&target).await.status, 400);
    }
    assert_eq!(client.post("/engine.io/?EIO=4&transport=polling&sid=a", "4hi").await.body, "ok");
    assert_eq!(app.next().await, Happening::Message("hi".to_owned()));
    assert_eq!(app.engine.clients_count(), 1);
}

#[tokio::test]
async fn a_sender_waits_for_the_drain_and_counts_packets() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    let connection = app.connection();
    soon(connection.drained()).await;
    connection.send(Arc::new(EncodedMessage::text("4hello"))).unwrap();
    assert_eq!((connection.packets_sent(), connection.packets_received()), (2, 0));
    let drained = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { connection.drained().await }
    });
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    let mut client = app.client().await;
    assert_eq!(client.get(&target).await.body, "4hello");
    soon(drained).await.unwrap();
    assert_eq!(client.post(&target, "4a\u{1e}3").await.body, "ok");
    assert_eq!(connection.packets_received(), 2);
    connection.send(Arc::new(EncodedMessage::text("4never taken"))).unwrap();
    let drained = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { connection.drained().await }
    });
    connection.discard();
    soon(drained).await.unwrap();
}

#[tokio::test]
async fn a_header_hook_sees_every_answer_and_the_first_of_each_session() {
    let mut config = EngineConfig::default();
    let name = |name| http::HeaderName::from_static(name);
    config.initial_headers = Some(HeadersHook::new(move |headers, _request| {
        headers.insert(name("x-first"), http::HeaderValue::from_static("1"));
    }));
    config.headers = Some(HeadersHook::new(move |headers, request| {
        let value = http::HeaderValue::from_str(request.method().as_str()).unwrap();
        headers.insert(name("x-every"), value);
    }));
    let mut app = App::start(config).await;
    let mut client = app.client().await;
    let open = client.get("/engine.io/?EIO=4&transport=polling").await;
    assert_eq!(app.next().await, Happening::Open);
    assert!(open.head.contains("x-first: 1") && open.head.contains("x-every: GET"), "{}", open.head);
    let target = format!("/engine.io/?EIO=4&transport=polling&sid={}", sid(&open.body));
    let post = client.post(&target, "4a").await;
    assert!(!post.head.contains("x-first") && post.head.contains("x-every: POST"), "{}", post.head);
    let refused = client.get("/engine.io/?EIO=4&transport=none").await;
    assert!(!refused.head.contains("x-every"), "{}", refused.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_engine_opens_no_session() {
    let app = App::start(EngineConfig::default()).await;
    app.engine.close(Duration::ZERO).await;
    assert_eq!(app.client().await.get("/engine.io/?EIO=4&transport=polling").await.status, 503);
    let mut client = app.client().await;
    assert_eq!(client.upgrade("/engine.io/?EIO=4&transport=websocket").await.status, 503);
    assert_eq!(app.engine.clients_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_is_there_whole_is_processed_before_the_abort_of_a_poll_beside_it() {
    for _ in 0..20 {
        let mut app = App::start(EngineConfig::default()).await;
        let target = app.open_polling().await;
        let mut poller = app.client().await;
        poller.request("GET", &target, "").await;
        app.get_is_open().await;
        let body = (0..200).map(|number| format!("4{number}")).collect::<Vec<_>>().join("\u{1e}");
        let mut poster = app.client().await;
        poster.request("POST", &target, &body).await;
        assert_eq!(app.next().await, Happening::Message("0".to_owned()));
        drop(poller);
        for number in 1..200 {
            assert_eq!(app.next().await, Happening::Message(number.to_string()));
        }
        assert_eq!(poster.answer().await.body, "ok");
        assert_eq!(app.next().await, Happening::Close(CloseReason::TransportError));
    }
}

#[tokio::test]
async fn a_handler_that_panics_ends_its_connection_and_nothing_else() {
    struct Panics(mpsc::UnboundedSender<CloseReason>);
    impl EngineHandler for Panics {
        type Client = ();
        fn on_open(&self, _connection: &Arc<Connection>, _cx: &mut Context<'_>) {}
        fn on_message(&self, _client: &mut (), message: Message, _cx: &mut Context<'_>) {
            assert_eq!(message, Message::Text("fine".into()));
        }
        fn on_close(&self, _client: (), reason: CloseReason) {
            self.0.send(reason).unwrap();
        }
    }
    let (sender, mut closed) = mpsc::unbounded_channel();
    let engine = Engine::new(EngineConfig::default(), Arc::new(Panics(sender))).unwrap();
    let listening = engine.listen("127.0.0.1:0").await.unwrap();
    let mut targets = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(listening.local_addr()).await;
        let open = client.get("/engine.io/?EIO=4&transport=polling").await;
        targets.push(format!("/engine.io/?EIO=4&transport=polling&sid={}", sid(&open.body)));
    }
    let mut client = RawClient::connect(listening.local_addr()).await;
    let mut poller = RawClient::connect(listening.local_addr()).await;
    poller.request("GET", &targets[0], "").await;
    assert_eq!(client.post(&targets[0], "4bad").await.status, 200);
    assert_eq!(soon(closed.recv()).await, Some(CloseReason::ForcedClose));
    assert_eq!(poller.answer().await.body, "1");
    assert_eq!(client.get(&targets[0]).await.status, 400);
    assert_eq!(client.post(&targets[1], "4fine").await.body, "ok");
    assert_eq!(engine.clients_count(), 1);
}

#[tokio::test]
async fn a_close_frame_on_a_probe_is_echoed_and_the_session_lives_on() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    let mut probe = app.client().await;
    probe.upgrade(&websocket_target(&target)).await;
    probe.frame(0x8, &1000u16.to_be_bytes()).await;
    assert_eq!(probe.next_frame().await, Some((0x8, 1000u16.to_be_bytes().to_vec())));
    assert_eq!(app.client().await.post(&target, "4a").await.body, "ok");
    assert_eq!(app.next().await, Happening::Message("a".to_owned()));
}

#[tokio::test]
async fn wake_is_never_lost_even_while_the_task_runs() {
    struct Wakes(mpsc::UnboundedSender<&'static str>);
    impl EngineHandler for Wakes {
        type Client = Arc<Connection>;
        fn on_open(&self, connection: &Arc<Connection>, _cx: &mut Context<'_>) -> Arc<Connection> {
            Arc::clone(connection)
        }
        fn on_message(&self, client: &mut Arc<Connection>, _message: Message, _cx: &mut Context<'_>) {
            self.0.send("message").unwrap();
            client.wake();
        }
        fn poll(&self, _client: &mut Arc<Connection>, _cx: &mut Context<'_>) {
            let _ = self.0.send("poll");
        }
        fn on_close(&self, _client: Arc<Connection>, _reason: CloseReason) {}
    }
    let (sender, mut happenings) = mpsc::unbounded_channel();
    let engine = Engine::new(EngineConfig::default(), Arc::new(Wakes(sender))).unwrap();
    let listening = engine.listen("127.0.0.1:0").await.unwrap();
    let mut client = RawClient::connect(listening.local_addr()).await;
    let open = client.get("/engine.io/?EIO=4&transport=polling").await;
    let target = format!("/engine.io/?EIO=4&transport=polling&sid={}", sid(&open.body));
    client.post(&target, "4a").await;
    while soon(happenings.recv()).await != Some("message") {}
    assert_eq!(soon(happenings.recv()).await, Some("poll"));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let app = App::start(EngineConfig::default()).await;
    let target = format!("/engine.io/?EIO=4&transport=polling&x={}", "x".repeat(100_000));
    assert_eq!(app.client().await.get(&target).await.status, 431);
    assert_eq!(app.engine.clients_count(), 0);
}

#[tokio::test]
async fn an_engine_is_mounted_in_axum() {
    let app = App::start(EngineConfig::default()).await;
    let routes = axum::Router::new().route_service("/engine.io/", app.engine.service());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut client = RawClient::connect(address).await;
    let open = client.get("/engine.io/?EIO=4&transport=polling").await;
    assert!(open.body.starts_with("0{"), "{}", open.body);
    assert_eq!(client.get("/elsewhere").await.status, 404);
    assert_eq!(app.engine.clients_count(), 1);
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_is_noticed_by_the_heartbeats_it_delays() {
    struct Blocks(mpsc::UnboundedSender<Duration>);
    impl EngineHandler for Blocks {
        type Client = ();
        fn on_open(&self, _connection: &Arc<Connection>, _cx: &mut Context<'_>) {}
        fn on_message(&self, _client: &mut (), _message: Message, _cx: &mut Context<'_>) {
            std::thread::sleep(Duration::from_millis(800));
        }
        fn on_late(&self, late: Duration) {
            self.0.send(late).unwrap();
        }
        fn on_close(&self, _client: (), _reason: CloseReason) {}
    }
    let mut config = EngineConfig::default();
    config.ping_interval = Duration::from_millis(100);
    let (sender, mut late) = mpsc::unbounded_channel();
    let engine = Engine::new(config, Arc::new(Blocks(sender))).unwrap();
    let listening = engine.listen("127.0.0.1:0").await.unwrap();
    let mut client = RawClient::connect(listening.local_addr()).await;
    client.upgrade("/engine.io/?EIO=4&transport=websocket").await;
    client.next_text().await;
    client.text("4block").await;
    assert!(soon(late.recv()).await.unwrap() >= Duration::from_millis(500));
    assert_eq!(client.next_text().await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_aborted_while_its_answer_is_compressed_ends_the_session() {
    let mut app = App::start(EngineConfig::default()).await;
    let target = app.open_polling().await;
    // Pseudo-random text, which takes a while.
    let text: String = (0..6_000_000u64)
        .map(|number| char::from(b'a' + (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 59) as u8 % 26))
        .collect();
    let connection = app.connection();
    connection.send(Arc::new(EncodedMessage::text(&format!("4{text}")))).unwrap();
    let mut client = app.client().await;
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut client.stream, head.as_bytes()).await.unwrap();
    // It has been taken for the answer.
    soon(connection.drained()).await;
    drop(client);
    assert_eq!(app.next().await, Happening::Close(CloseReason::TransportError));
}

#[tokio::test]
async fn a_headers_hook_that_panics_costs_its_headers_and_nothing_else() {
    let mut config = EngineConfig::default();
    config.headers = Some(HeadersHook::new(|_headers, _request| panic!("on demand")));
    let mut app = App::start(config).await;
    let target = app.open_polling().await;
    assert_eq!(app.client().await.post(&target, "4a").await.body, "ok");
    assert_eq!(app.next().await, Happening::Message("a".to_owned()));
}
