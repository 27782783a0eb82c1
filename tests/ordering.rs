//! The promises of docs/ordering.md over real connections: events, acknowledgements, joins, attachments, upgrades.

#![allow(clippy::unwrap_used)] // a test fails by it

#[path = "common/raw_client.rs"]
mod raw_client;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use ferrio::{Event, HandlerError, Listening, Server, Socket};
use raw_client::{RawClient, sid, soon};
use tokio::sync::mpsc;

const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=";

/// A server, and the sockets that connect to it.
async fn server() -> (Server, Listening, mpsc::UnboundedReceiver<Socket>) {
    let io = Server::new();
    let (sender, sockets) = mpsc::unbounded_channel();
    io.on_connect(move |socket: Socket| {
        sender.send(socket).unwrap();
        async {}
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    (io, listening, sockets)
}

/// A client over WebSocket that has joined the main namespace.
async fn websocket(listening: &Listening) -> RawClient {
    let mut client = RawClient::connect(listening.local_addr()).await;
    assert_eq!(client.upgrade(&format!("{SOCKET_IO}websocket")).await.status, 101);
    assert!(client.next_text().await.starts_with("0{"));
    client.text("40").await;
    assert!(client.next_text().await.starts_with("40{"));
    client
}

/// The two numbers of an event `42["x",a,b]` (or one with attachments).
fn numbers(text: &str) -> (usize, usize) {
    let arguments = text.split_once("\"x\",").unwrap().1;
    let mut numbers = arguments.trim_end_matches(']').split(',').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Lets threads emit at the same time; each call is given its thread and its number.
fn from_threads(numbers: Range<usize>, emit: impl Fn(usize, usize) + Send + Sync + 'static) -> Threads {
    let emit = Arc::new(emit);
    let spawn = |thread| {
        let (emit, numbers) = (Arc::clone(&emit), numbers.clone());
        std::thread::spawn(move || numbers.for_each(|number| emit(thread, number)))
    };
    (0..THREADS).map(spawn).collect()
}

type Threads = Vec<std::thread::JoinHandle<()>>;

const THREADS: usize = 4;
const EVENTS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_follow_their_event_and_each_threads_events_come_in_order() {
    let (io, listening, _sockets) = server().await;
    let mut clients = vec![websocket(&listening).await, websocket(&listening).await];
    from_threads(0..EVENTS, move |thread, number| {
        let tag = |part: u8| bytes::Bytes::from(format!("{thread} {number} {part}"));
        io.emit("x", &(thread, number, tag(0), tag(1))).unwrap();
        io.emit("plain", &()).unwrap();
    });
    for client in &mut clients {
        let mut next = [0; THREADS];
        while next != [EVENTS; THREADS] {
            let text = client.next_text().await;
            if text.contains("plain") {
                continue;
            }
            let text = text.split(",{").next().unwrap();
            let (thread, number) = numbers(text);
            assert_eq!(number, next[thread]);
            next[thread] += 1;
            for part in 0..2 {
                let (opcode, data) = client.next_frame().await.unwrap();
                assert_eq!((opcode, data), (2, format!("{thread} {number} {part}").into_bytes()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_and_events_of_one_handler_keep_their_order() {
    let (io, listening, _sockets) = server().await;
    io.on("x", async |event: Event| {
        event.socket().emit("before", &())?;
        event.ack(&())?;
        event.server().unwrap().emit("after", &())?;
        Ok::<_, HandlerError>(())
    });
    let mut client = websocket(&listening).await;
    for number in 0..200 {
        client.text(&format!("42{number}[\"x\"]")).await;
    }
    for number in 0..200 {
        assert_eq!(client.next_text().await, r#"42["before"]"#);
        assert_eq!(client.next_text().await, format!("43{number}[]"));
        assert_eq!(client.next_text().await, r#"42["after"]"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_started_in_order_while_their_handlers_wait() {
    let (io, listening, _sockets) = server().await;
    let started = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&started);
    io.on("x", move |event: Event| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(event.args::<u32>()?);
            tokio::task::yield_now().await;
            Ok::<_, HandlerError>(event.ack(&())?)
        }
    });
    let mut client = websocket(&listening).await;
    for number in 0..500 {
        client.text(&format!("42{number}[\"x\",{number}]")).await;
    }
    for _ in 0..500 {
        assert!(client.next_text().await.starts_with("43"));
    }
    assert_eq!(*started.lock().unwrap(), (0..500).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial_handlers_end_in_order_though_they_wait() {
    let (io, listening, _sockets) = server().await;
    io.on_serial("x", async |event: Event| {
        let number: u32 = event.args()?;
        for _ in 0..number % 4 {
            tokio::task::yield_now().await;
        }
        Ok::<_, HandlerError>(event.ack(&number)?)
    });
    let mut client = websocket(&listening).await;
    for number in 0..500 {
        client.text(&format!("42{number}[\"x\",{number}]")).await;
    }
    for number in 0..500 {
        assert_eq!(client.next_text().await, format!("43{number}[{number}]"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_joined_is_reached_and_who_has_left_is_not() {
    let (io, listening, mut sockets) = server().await;
    let mut client = websocket(&listening).await;
    let socket = soon(sockets.recv()).await.unwrap();
    // Others broadcast to other rooms, and join them, all the time.
    let others = io.clone();
    from_threads(0..EVENTS, move |thread, number| {
        let room = format!("other {thread}");
        others.in_(socket.id().clone()).sockets_join(room.as_str());
        others.to("room").except("room").emit("never", &number).unwrap();
        others.in_(socket.id().clone()).sockets_leave(room.as_str());
    });
    let socket = io.of("/").sockets().pop().unwrap();
    for number in 0..EVENTS {
        socket.join("room");
        io.to("room").emit("joined", &number).unwrap();
        socket.leave("room");
        io.to("room").emit("left", &number).unwrap();
    }
    for number in 0..EVENTS {
        assert_eq!(client.next_text().await, format!("42[\"joined\",{number}]"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let (io, listening, mut sockets) = server().await;
    let mut poll = RawClient::connect(listening.local_addr()).await;
    let id = sid(&poll.get(&format!("{SOCKET_IO}polling")).await.body);
    let polling = format!("{SOCKET_IO}polling&sid={id}");
    poll.post(&polling, "40").await;
    let mut received: Vec<String> = Vec::new();
    let body = poll.get(&polling).await.body;
    received.extend(body.split('\x1e').map(str::to_owned));
    soon(sockets.recv()).await.unwrap();
    let emitter = io.clone();
    let emit = move |thread: usize, number: usize| emitter.emit("x", &(thread, number)).unwrap();
    let before = from_threads(0..EVENTS / 2, emit.clone());

    // Polling goes on until the upgrade is done.
    let mut websocket = RawClient::connect(listening.local_addr()).await;
    websocket.upgrade(&format!("{SOCKET_IO}websocket&sid={id}")).await;
    websocket.text("2probe").await;
    poll.request("GET", &polling, "").await;
    assert_eq!(websocket.next_text().await, "3probe");
    received.extend(poll.answer().await.body.split('\x1e').map(str::to_owned));
    // Half of the events race with the probe, the others with the upgrade.
    before.into_iter().for_each(|thread| thread.join().unwrap());
    from_threads(EVENTS / 2..EVENTS, emit);
    websocket.text("5").await;

    let mut next = [0; THREADS];
    let mut count = |text: &str| {
        if text.starts_with("42") {
            let (thread, number) = numbers(text);
            assert_eq!(number, next[thread]);
            next[thread] += 1;
        }
        next != [EVENTS; THREADS]
    };
    for text in &received {
        assert!(count(text), "the last ones come by WebSocket");
    }
    while count(&websocket.next_text().await) {}
}
