use super::*;
use futures_util::FutureExt;

/// A client with room for three small events in its queue, and its socket.
async fn small(policy: SlowConsumer) -> (Server, Log, Client, Socket) {
    let (io, log) = server_with(|builder| builder.max_send_queue(1700).slow_consumer(policy));
    let (client, socket) = Client::connected(&io).await;
    (io, log, client, socket)
}

#[tokio::test(start_paused = true)]
async fn the_oldest_events_are_dropped() {
    let (io, _, client, socket) = small(SlowConsumer::DropOldest).await;
    for number in 0..10 {
        io.emit("x", &number).unwrap();
    }
    assert!(socket.buffered_bytes() <= 1700 && socket.buffered_bytes() > 1500);
    assert_eq!(client.poll().await, r#"42["x",7]|42["x",8]|42["x",9]"#);
    assert_eq!((io.stats().events_dropped, io.stats().slow_peers), (7, 0));
    assert_eq!(socket.buffered_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_newest_events_are_dropped() {
    let (io, _, client, socket) = small(SlowConsumer::DropNewest).await;
    for number in 0..10 {
        socket.emit("x", &number).unwrap();
    }
    assert_eq!(client.poll().await, r#"42["x",0]|42["x",1]|42["x",2]"#);
    assert_eq!(io.stats().events_dropped, 7);
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_lost_takes_the_place_of_events_and_is_never_dropped() {
    for policy in [SlowConsumer::DropOldest, SlowConsumer::DropNewest] {
        let (io, log, client, socket) = small(policy).await;
        io.on("ask", async |event: Event| event.ack("answer"));
        for number in 0..3 {
            socket.emit("x", &number).unwrap();
        }
        client.post("427[\"ask\"]").await;
        let question = socket.emit_with_ack::<String>("question", &());
        socket.disconnect();
        io.emit("y", &()).unwrap();
        assert_eq!(client.poll().await, r#"437["answer"]|420["question"]|41"#, "{policy:?}");
        assert!(question.await.is_err());
        assert_eq!(io.stats().events_dropped, 3);

        client.post("40").await;
        assert!(client.poll().await.starts_with(r#"40{"sid":""#));
        let socket = io.of("/").sockets().pop().unwrap();
        let _questions: Vec<_> = (0..4).map(|_| socket.emit_with_ack::<String>("question", &())).collect();
        settle().await;
        assert_eq!(log.take(), ["/ server namespace disconnect 0", "/ transport error 0"]);
        assert_eq!(io.stats().slow_peers, 1, "nothing could be dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn of_events_with_the_same_key_the_last_one_is_left_at_the_end() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    client.post("40/admin,").await;
    client.poll().await;
    for number in 0..3 {
        io.to(socket.id()).coalesce("a").emit("a", &number).unwrap();
        socket.emit("plain", &number).unwrap();
        socket.coalesce("b").emit("b", &number).unwrap();
        io.of("/admin").coalesce("a").emit("other", &number).unwrap();
    }
    let packets = r#"42["plain",0]|42["plain",1]|42["a",2]|42["plain",2]|42["b",2]|42/admin,["other",2]"#;
    assert_eq!(client.poll().await, packets);
    assert_eq!((io.stats().events_coalesced, io.stats().events_dropped), (6, 0));
    socket.coalesce("a").emit("a", &3).unwrap();
    assert_eq!(client.poll().await, r#"42["a",3]"#, "what has left is not replaced");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_wants_acknowledgements_is_not_replaced() {
    let (io, _) = server();
    let (client, _socket) = Client::connected(&io).await;
    let _first = io.coalesce("a").emit_with_ack::<u8>("a", &1);
    let _second = io.coalesce("a").emit_with_ack::<u8>("a", &2);
    assert_eq!(client.poll().await, r#"420["a",1]|421["a",2]"#);
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_emitted_before_it_and_no_longer() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    assert_eq!(socket.flushed().now_or_never(), Some(Ok(())), "nothing waits");
    socket.emit("x", &1).unwrap();
    let mut flushed = Box::pin(socket.flushed());
    assert!(flushed.as_mut().now_or_never().is_none());
    client.poll().await;
    socket.emit("x", &2).unwrap();
    assert_eq!(flushed.await, Ok(()));
    let flushed = socket.flushed();
    socket.close_connection();
    client.poll().await;
    client.post("1").await;
    settle().await;
    assert_eq!(flushed.await, Ok(()), "the second event left with the goodbye");
    assert_eq!(socket.flushed().await, Ok(()), "nothing waits");
}

#[tokio::test(start_paused = true)]
async fn a_flush_fails_when_the_connection_closes() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    socket.emit("x", &1).unwrap();
    let flushed = socket.flushed();
    client.post("1").await;
    assert_eq!(flushed.await, Err(FlushError));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lags_and_catches_up_is_told_of_to_each_of_its_sockets() {
    let (io, log) = server_with(|builder| builder.high_water_mark(3000));
    for name in ["/", "/admin"] {
        io.of(name).on_lag(async |socket: Socket, lag: Lag| {
            let name = socket.namespace().name().to_owned();
            socket.state::<Log>().note(match lag {
                Lag::Began(bytes) => format!("{name} lags {}", bytes > 3000),
                Lag::Ended(bytes) => format!("{name} is back {bytes}"),
            });
            // All locks are free.
            socket.join("late");
            socket.to("nobody").emit("x", &()).unwrap();
        });
    }
    let (client, socket) = Client::connected(&io).await;
    client.post("40/admin,").await;
    client.poll().await;
    for _ in 0..5 {
        io.emit("x", &()).unwrap();
    }
    settle().await;
    assert_eq!(log.take(), [""; 0], "not above the mark");
    io.emit("x", &()).unwrap();
    socket.emit("x", &()).unwrap();
    settle().await;
    assert_eq!(log.take(), ["/ lags true", "/admin lags true"]);
    client.poll().await;
    settle().await;
    assert_eq!(log.take(), ["/ is back 0", "/admin is back 0"]);
    assert_eq!(io.stats().lags, 1);
}

#[tokio::test(start_paused = true)]
async fn a_coalesced_event_to_one_socket_is_heard_by_its_outgoing_listeners() {
    let (io, log) = server();
    let (_client, socket) = Client::connected(&io).await;
    socket.on_any_outgoing(|event: &OutgoingEvent| {
        event.socket().state::<Log>().note(format!("{} {:?}", event.name(), event.args::<u8>().unwrap()));
    });
    socket.coalesce("key").emit("x", &1).unwrap();
    io.coalesce("key").emit("x", &2).unwrap();
    assert_eq!(log.take(), ["x 1", "x 2"]);
}
