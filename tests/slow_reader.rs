//! A client that does not read, over TCP: what waits for it is bounded, and what it gets in the end.

#![allow(clippy::unwrap_used)] // a test fails by it

#[path = "common/raw_client.rs"]
mod raw_client;

use bytes::Bytes;
use ferrio::{DisconnectReason, Lag, Listening, Server, ServerBuilder, SlowConsumer, Socket};
use raw_client::{RawClient, soon};
use tokio::sync::mpsc;

/// What became of the client.
#[derive(Debug, PartialEq, Eq)]
enum Happening {
    Lags(bool),
    Left(DisconnectReason),
}

struct Setting {
    io: Server,
    _listening: Listening,
    client: RawClient,
    socket: Socket,
    happenings: mpsc::UnboundedReceiver<Happening>,
}

/// A client over WebSocket that has joined, and now reads nothing until it is told to.
async fn setting(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Setting {
    let builder = Server::builder().max_send_queue(QUEUE).high_water_mark(QUEUE / 4);
    let io = configure(builder).build().unwrap();
    let (sender, happenings) = mpsc::unbounded_channel();
    let (lags, leaves) = (sender.clone(), sender);
    io.on_lag(move |_: Socket, lag: Lag| {
        lags.send(Happening::Lags(matches!(lag, Lag::Began(_)))).unwrap();
        async {}
    });
    io.on_disconnect(move |_: Socket, reason: DisconnectReason| {
        leaves.send(Happening::Left(reason)).unwrap();
        async {}
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let mut client = RawClient::connect(listening.local_addr()).await;
    assert_eq!(client.upgrade("/socket.io/?EIO=4&transport=websocket").await.status, 101);
    client.next_text().await;
    client.text("40").await;
    client.next_text().await;
    let socket = io.of("/").sockets().pop().unwrap();
    Setting { io, _listening: listening, client, socket, happenings }
}

/// The bound of the send queue, in bytes.
const QUEUE: usize = 1024 * 1024;
/// One event; a few hundred of them are more than the operating system takes.
const EVENT: usize = 64 * 1024;

impl Setting {
    /// Emits numbered events until so much of the kind was counted; gives their number.
    async fn flood(&self, counted: impl Fn(&Server) -> u64, emit: impl Fn(&Setting, u32)) -> u32 {
        for number in 0..100_000 {
            if counted(&self.io) >= 50 {
                return number;
            }
            emit(self, number);
            assert!(self.socket.buffered_bytes() <= QUEUE + 4 * 1024, "the bound is kept");
            // The connection's task writes as much as it can.
            tokio::task::yield_now().await;
        }
        panic!("the client reads, or nobody counts")
    }

    /// Reads events with one attachment each until one has no attachment; gives the numbers, and that one.
    async fn read(&mut self) -> (Vec<u32>, String) {
        let mut numbers = Vec::new();
        loop {
            let text = self.client.next_text().await;
            if !text.starts_with("451-") {
                return (numbers, text);
            }
            let (_, number) = text.split_once("\"x\",").unwrap();
            let number: u32 = number.split(',').next().unwrap().parse().unwrap();
            let (opcode, data) = self.client.next_frame().await.unwrap();
            assert_eq!((opcode, &data[..4]), (2, &number.to_be_bytes()[..]), "its attachment follows");
            numbers.push(number);
        }
    }
}

fn attachment(number: u32) -> Bytes {
    let mut data = vec![0; EVENT];
    data[..4].copy_from_slice(&number.to_be_bytes());
    data.into()
}

fn is_increasing(numbers: &[u32]) -> bool {
    numbers.is_sorted_by(|a, b| a < b)
}

#[tokio::test]
async fn it_is_closed_by_default() {
    let mut setting = setting(|builder| builder).await;
    for number in 0..100_000 {
        setting.io.emit("x", &(number, attachment(number))).unwrap();
        if setting.io.stats().slow_peers == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    while let Some(happening) = soon(setting.happenings.recv()).await {
        if happening != Happening::Lags(true) {
            assert_eq!(happening, Happening::Left(DisconnectReason::TransportError));
            break;
        }
    }
    assert_eq!(setting.socket.buffered_bytes(), 0);
    assert!(setting.socket.flushed().await.is_ok(), "nothing waits");
}

#[tokio::test]
async fn the_oldest_are_dropped_the_last_ones_come_and_so_does_all_that_must_not_be_lost() {
    let mut setting = setting(|builder| builder.slow_consumer(SlowConsumer::DropOldest)).await;
    let question = setting.socket.emit_with_ack::<String>("question", &());
    let count = |io: &Server| io.stats().events_dropped;
    let emitted = setting.flood(count, |setting, number| {
        setting.io.emit("x", &(number, attachment(number))).unwrap();
    });
    let emitted = emitted.await;
    assert_eq!(soon(setting.happenings.recv()).await, Some(Happening::Lags(true)));
    let last = setting.socket.emit_with_ack::<String>("last question", &());

    let flushed = setting.socket.flushed();
    assert_eq!(setting.read().await, (vec![], r#"420["question"]"#.to_owned()));
    let (numbers, text) = setting.read().await;
    assert_eq!(text, r#"421["last question"]"#);
    assert!(is_increasing(&numbers));
    assert_eq!(numbers.last(), Some(&(emitted - 1)), "the newest is there");
    assert_eq!(numbers.len() as u64 + setting.io.stats().events_dropped, u64::from(emitted));
    soon(flushed).await.unwrap();
    for id in 0..2 {
        setting.client.text(&format!("43{id}[\"here\"]")).await;
    }
    assert_eq!(soon(question).await.unwrap(), "here");
    assert_eq!(soon(last).await.unwrap(), "here");
    assert_eq!(soon(setting.happenings.recv()).await, Some(Happening::Lags(false)));
    assert_eq!(setting.io.stats().slow_peers, 0);
}

#[tokio::test]
async fn the_newest_are_dropped_and_the_first_ones_come_without_a_gap() {
    let mut setting = setting(|builder| builder.slow_consumer(SlowConsumer::DropNewest)).await;
    let count = |io: &Server| io.stats().events_dropped;
    let emitted = setting.flood(count, |setting, number| {
        setting.socket.emit("x", &(number, attachment(number))).unwrap();
    });
    let emitted = emitted.await;
    let dropped = setting.io.stats().events_dropped;
    let flushed = setting.socket.flushed();
    let reader = async {
        let mut numbers = Vec::new();
        while numbers.len() as u64 + dropped < u64::from(emitted) {
            let text = setting.client.next_text().await;
            numbers.push(text.split(',').nth(1).unwrap().parse::<u32>().unwrap());
            setting.client.next_frame().await.unwrap();
        }
        numbers
    };
    let (numbers, flushed) = tokio::join!(reader, soon(flushed));
    flushed.unwrap();
    assert!(is_increasing(&numbers));
    let first = numbers.iter().zip(0..).take_while(|(number, expected)| **number == *expected).count();
    assert!(first >= QUEUE / EVENT - 2, "{numbers:?}");
}

#[tokio::test]
async fn of_events_with_one_key_it_gets_the_last_and_never_runs_full() {
    let mut setting = setting(|builder| builder).await;
    let count = |io: &Server| io.stats().events_coalesced;
    let emitted = setting.flood(count, |setting, number| {
        setting.io.coalesce("x").emit("x", &(number, attachment(number))).unwrap();
        assert!(setting.socket.buffered_bytes() < QUEUE / 4, "a portion at most, and one event");
    });
    let emitted = emitted.await;
    setting.socket.emit("end", &()).unwrap();
    let (numbers, text) = setting.read().await;
    assert_eq!(text, r#"42["end"]"#);
    assert!(is_increasing(&numbers));
    assert_eq!(numbers.last(), Some(&(emitted - 1)));
    assert_eq!(numbers.len() as u64 + setting.io.stats().events_coalesced, u64::from(emitted));
}

#[tokio::test]
async fn a_flush_fails_when_it_is_closed_for_not_reading() {
    let setting = setting(|builder| builder).await;
    let mut flushed = None;
    for number in 0..100_000 {
        setting.io.emit("x", &(number, attachment(number))).unwrap();
        if setting.socket.buffered_bytes() > QUEUE / 2 && flushed.is_none() {
            flushed = Some(setting.socket.flushed());
        }
        if setting.io.stats().slow_peers == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(soon(flushed.unwrap()).await.is_err());
}
