use super::*;

/// Notes what an event says.
async fn note(event: Event) {
    let values: Vec<String> = event.values().iter().map(|value| format!("{value:?}")).collect();
    event.state::<Log>().note(format!("{} {}", event.name(), values.join(",")));
}

#[tokio::test(start_paused = true)]
async fn a_middleware_sees_events_may_change_them_and_runs_in_order() {
    let (io, log) = server();
    io.on("x", note);
    let (client, socket) = Client::connected(&io).await;
    socket.on("renamed", note);
    socket.use_(async |event: Event| {
        event.state::<Log>().note(format!("first {}", event.name()));
        if event.name() == "x" { Ok(event) } else { event.with_args(&("a", true)) }
    });
    socket.use_(async |event: Event| {
        event.state::<Log>().note("second");
        if event.name() == "x" { Ok(event) } else { event.with_name("renamed") }
    });
    client.post("42[\"x\",1]\x1e42[\"y\",2]").await;
    assert_eq!(
        log.take(),
        ["first x", "second", "x Number(1)", "first y", "second", r#"renamed String("a"),Bool(true)"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_reaches_no_handler_and_is_not_answered_but_observed() {
    let (io, log) = server();
    io.on("x", async |event: Event| event.ack("handled"));
    let seen = log.clone();
    io.on_error(move |error: &SocketError| seen.note(format!("namespace: {error}")));
    let (client, socket) = Client::connected(&io).await;
    let seen = log.clone();
    socket.on_error(move |error: &SocketError| {
        let source = std::error::Error::source(error).unwrap();
        seen.note(format!("socket: {:?} {source}", error.event()));
    });
    socket.use_(async |event: Event| if event.raw_args().len() == 1 { Err("no") } else { Ok(event) });
    client.post("421[\"x\",1]\x1e422[\"x\",1,2]").await;
    assert_eq!(client.poll().await, r#"432["handled"]"#);
    assert_eq!(
        log.take(),
        [r#"socket: Some("x") no"#, r#"namespace: a middleware of the socket refused an event (event "x")"#]
    );
    assert_eq!((io.stats().events_refused, io.stats().handler_errors), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn errors_and_panics_of_handlers_are_observed_and_nothing_is_answered() {
    let (io, log) = server();
    io.on("fails", async |_: Event| Err::<(), _>("wrong"));
    io.on("panics", async |event: Event| assert_eq!(event.name(), "x", "oh"));
    io.on("later", async |_: Event| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err::<(), _>("late")
    });
    io.on("ok", async |event: Event| event.ack(&()));
    io.on_connect(async |_: Socket| Err::<(), _>("at once"));
    io.on_disconnecting(async |_: Socket, _| Err::<(), _>("leaving"));
    let seen = log.clone();
    io.on_error(move |error: &SocketError| {
        let what = match error.cause() {
            SocketErrorCause::Handler(error) => format!("handler {error}"),
            SocketErrorCause::Panic(message) => format!("panic {}", message.contains("oh")),
            SocketErrorCause::Packet(error) => format!("packet {error}"),
            SocketErrorCause::Middleware(error) => format!("middleware {error}"),
        };
        seen.note(format!("{:?} {what}", error.event()));
    });
    io.on_error(|error: &SocketError| assert_eq!(error.event(), Some("never")));
    let (client, _) = Client::connected(&io).await;
    client.post("421[\"fails\"]\x1e422[\"panics\"]\x1e423[\"later\"]\x1e424[\"ok\"]").await;
    assert_eq!(client.poll().await, "434[]");
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.post("42{}").await;
    client.poll().await;
    settle().await;
    let lines = log.take();
    assert_eq!(
        lines[..4],
        [
            "None handler at once",
            r#"Some("fails") handler wrong"#,
            r#"Some("panics") panic true"#,
            r#"Some("later") handler late"#
        ]
    );
    assert!(lines[4].starts_with("None packet "), "{lines:?}");
    assert_eq!(lines[5], "None handler leaving");
    assert_eq!(io.stats().handler_errors, 4);
}

#[tokio::test(start_paused = true)]
async fn a_middleware_may_wait_and_its_event_is_forgotten_when_the_socket_leaves() {
    let (io, log) = server();
    io.on("slow", note);
    io.on("fast", note);
    let (client, socket) = Client::connected(&io).await;
    socket.use_(async |event: Event| {
        if event.name() == "slow" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok::<_, HandlerError>(event)
    });
    client.post("42[\"slow\"]\x1e42[\"fast\"]").await;
    assert_eq!(log.take(), ["fast "]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["slow "]);
    client.post("42[\"slow\"]\x1e41").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["/ client namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_middleware_that_panics_refuses_the_event() {
    let (io, log) = server();
    io.on("x", note);
    let (client, socket) = Client::connected(&io).await;
    socket.use_(async |event: Event| {
        assert_eq!(event.name(), "y");
        Ok::<_, HandlerError>(event)
    });
    client.post("42[\"x\"]").await;
    assert_eq!((log.take(), io.stats().handler_panics), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn a_middleware_may_bring_back_an_event_that_a_handler_has_kept() {
    let (io, log) = server();
    let kept: Arc<Mutex<Option<Event>>> = Arc::default();
    let keeper = Arc::clone(&kept);
    io.on("first", move |event: Event| {
        *keeper.lock() = Some(event);
        std::future::ready(())
    });
    let (client, socket) = Client::connected(&io).await;
    client.post(r#"420["first"]"#).await;
    io.on("first", async |event: Event| event.ack(&event.name()));
    socket.use_(move |event: Event| {
        let earlier = kept.lock().take();
        std::future::ready(Ok::<_, HandlerError>(earlier.unwrap_or(event)))
    });
    client.post(r#"421["second"]"#).await;
    assert_eq!(client.poll().await, r#"430["first"]"#);
    assert_eq!((log.take(), io.stats().handler_panics), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn catch_all_listeners_come_first_and_may_be_removed() {
    let (io, log) = server();
    io.on("x", async |event: Event| event.state::<Log>().note("handler"));
    let said = |line: &'static str| {
        move |event: Event| async move { event.state::<Log>().note(format!("{line} {}", event.name())) }
    };
    let (client, socket) = Client::connected(&io).await;
    socket.use_(async |event: Event| {
        event.state::<Log>().note("middleware");
        Ok::<_, HandlerError>(event)
    });
    let second = socket.on_any(said("second"));
    socket.prepend_any(said("first"));
    let of_namespace = io.of("/").on_any(said("namespace's"));
    io.of("/").prepend_any(said("namespace's first"));
    client.post("42[\"x\",1]").await;
    assert_eq!(
        log.take(),
        ["namespace's first x", "namespace's x", "first x", "second x", "middleware", "handler"]
    );
    socket.off_any(second);
    io.of("/").off_any(of_namespace);
    client.post("42[\"y\"]").await;
    assert_eq!(log.take(), ["namespace's first y", "first y", "middleware"]);
    assert_eq!(io.stats().unhandled_events, 1);
    socket.off_any(None);
    io.of("/").off_any(None);
    client.post("42[\"x\"]").await;
    assert_eq!(log.take(), ["middleware", "handler"]);
}

#[tokio::test(start_paused = true)]
async fn a_catch_all_listener_can_acknowledge_and_is_then_the_only_one() {
    let (io, _) = server();
    io.on("x", async |event: Event| event.ack("handler"));
    let (client, socket) = Client::connected(&io).await;
    socket.on_any(async |event: Event| if event.name() == "x" { event.ack("any") } else { Ok(()) });
    client.post("421[\"x\"]\x1e422[\"y\"]\x1e423[\"x\"]").await;
    assert_eq!(client.poll().await, r#"431["any"]|433["any"]"#);
}

#[tokio::test(start_paused = true)]
async fn once_is_once() {
    let (io, log) = server();
    let chat = io.of("/");
    chat.once("x", async |event: Event| event.state::<Log>().note("namespace's"));
    let (one, socket) = Client::connected(&io).await;
    let (two, _) = Client::connected(&io).await;
    socket.once("x", async |event: Event| event.state::<Log>().note("socket's"));
    let never = socket.once("x", async |event: Event| event.state::<Log>().note("removed"));
    socket.off("x", never);
    two.post("42[\"x\"]").await;
    one.post("42[\"x\"]\x1e42[\"x\"]").await;
    assert_eq!(log.take(), ["namespace's", "socket's"]);
    assert_eq!(io.stats().unhandled_events, 1);
}

#[tokio::test(start_paused = true)]
async fn handlers_are_removed_one_by_one_or_all() {
    let (io, log) = server();
    let said = |line: &'static str| move |event: Event| async move { event.state::<Log>().note(line) };
    let first = io.on("x", said("first"));
    io.on("x", said("second"));
    let (client, socket) = Client::connected(&io).await;
    let own = socket.on("x", said("own"));
    io.off("x", first);
    io.off("x", own);
    io.off("y", None);
    client.post("42[\"x\"]").await;
    assert_eq!(log.take(), ["second", "own"]);
    io.off("x", None);
    socket.off("x", own);
    client.post("42[\"x\"]").await;
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_emitted_is_seen_and_acknowledgements_are_not() {
    let (io, _) = server();
    io.on("ask", async |event: Event| event.ack("answer"));
    let (client, socket) = Client::connected(&io).await;
    let (_other, other) = Client::connected(&io).await;
    let seen = Log::default();
    let notes = |line: &'static str| {
        let seen = seen.clone();
        move |event: &OutgoingEvent| {
            // Not under a lock: rooms and listeners can be used.
            event.socket().join("seen");
            seen.note(format!("{line} {} {}", event.name(), event.raw_args().len()));
        }
    };
    let second = socket.on_any_outgoing(notes("second"));
    socket.prepend_any_outgoing(notes("first"));
    socket.emit("alone", &(1, 2)).unwrap();
    client.post("421[\"ask\"]").await;
    assert_eq!(seen.take(), ["first alone 2", "second alone 2"]);
    socket.off_any_outgoing(second);
    io.emit("all", &()).unwrap();
    other.broadcast().emit("broadcast", &()).unwrap();
    socket.broadcast().emit("to others", &()).unwrap();
    drop(socket.emit_with_ack::<()>("question", &()));
    assert_eq!(seen.take(), ["first all 0", "first broadcast 0", "first question 0"]);
    // No poll waits: it is dropped, but seen, as on Node.
    socket.volatile().emit("volatile", &()).unwrap();
    assert_eq!(seen.take(), ["first volatile 0"]);
    assert_eq!(
        client.poll().await,
        r#"42["alone",1,2]|431["answer"]|42["all"]|42["broadcast"]|420["question"]"#
    );
    socket.on_any_outgoing(|event| {
        let (bytes,): (bytes::Bytes,) = event.args().unwrap();
        assert_eq!((event.name().as_ref(), &bytes[..]), ("picture", &[1, 2][..]));
        event.socket().join("seen a picture");
    });
    io.emit("picture", &bytes::Bytes::from_static(&[1, 2])).unwrap();
    assert!(socket.rooms().contains(&Room::from("seen a picture")));
    assert_eq!(client.poll().await, r#"451-["picture",{"_placeholder":true,"num":0}]|bAQI="#);
    assert!(io.of("/").has_outgoing());
    socket.off_any_outgoing(None);
    assert!(!io.of("/").has_outgoing());
    socket.on_any_outgoing(|event| assert_eq!(event.name(), "never"));
    socket.emit("x", &()).unwrap();
    assert_eq!((client.poll().await.as_str(), io.stats().handler_panics), (r#"42["x"]"#, 1));
    client.post("41").await;
    assert!(!io.of("/").has_outgoing());
}

#[tokio::test(start_paused = true)]
async fn a_volatile_event_is_sent_only_while_a_poll_waits() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    socket.volatile().emit("dropped", &()).unwrap();
    let (polled, ()) = tokio::join!(client.poll(), async {
        settle().await;
        // The first takes the poll, so that the second has none.
        socket.volatile().emit("first", &bytes::Bytes::from_static(&[1])).unwrap();
        socket.volatile().emit("second", &()).unwrap();
        socket.emit("regular", &()).unwrap();
    });
    let rest = if polled.contains("regular") { String::new() } else { format!("|{}", client.poll().await) };
    assert_eq!(
        format!("{polled}{rest}"),
        r#"451-["first",{"_placeholder":true,"num":0}]|bAQ==|42["regular"]"#
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_to_a_dropped_event_never_comes() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    let asked = socket.volatile().timeout(Duration::from_secs(1)).emit_with_ack::<()>("question", &());
    assert!(matches!(asked.await, Err(AckError::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn send_is_the_event_message() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    socket.send("hello").unwrap();
    socket.compress(false).send(&("a", 1)).unwrap();
    io.send("all").unwrap();
    io.of("/").send(&()).unwrap();
    assert_eq!(
        client.poll().await,
        r#"42["message","hello"]|42["message","a",1]|42["message","all"]|42["message"]"#
    );
    assert_eq!(&*socket.request().url, socket.handshake().url());
    assert!(!socket.recovered());
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_in_its_rooms_while_it_leaves_but_hears_nothing_any_more() {
    let (io, log) = server();
    io.on_disconnecting(async |socket: Socket, reason: DisconnectReason| {
        socket.join("never");
        socket.to(socket.rooms()).emit("left", socket.id())?;
        socket.state::<Log>().note(format!("leaving {reason} {}", socket.rooms().len()));
        Ok::<_, EmitError>(())
    });
    let (stays, other) = Client::connected(&io).await;
    other.join("room");
    for end in ["41", "1"] {
        let (client, socket) = Client::connected(&io).await;
        socket.join("room");
        socket.on_disconnecting(async |socket: Socket, _| {
            socket.state::<Log>().note(format!("own {}", socket.is_connected()));
        });
        client.post(end).await;
        settle().await;
        let reason = if end == "1" { "transport close" } else { "client namespace disconnect" };
        assert_eq!(log.take(), [format!("leaving {reason} 2"), "own false".into(), format!("/ {reason} 0")]);
        assert_eq!(stays.poll().await, format!(r#"42["left","{}"]"#, socket.id()));
        assert_eq!(io.of("/").sockets(), vec![other.clone()]);
    }
    let (client, socket) = Client::connected(&io).await;
    socket.join("room");
    socket.disconnect();
    io.emit("not for who has left", &()).unwrap();
    assert_eq!((io.of("/").sockets().len(), socket.rooms().len()), (1, 2));
    settle().await;
    assert_eq!((client.poll().await.as_str(), socket.rooms().len()), ("41", 0));
}

#[tokio::test(start_paused = true)]
async fn listeners_that_hold_their_socket_are_dropped_with_it() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let witness = Arc::new(());
    let (own, held) = (socket.clone(), Arc::clone(&witness));
    socket.on_any(move |_| {
        let (_own, _held) = (own.clone(), held.clone());
        async {}
    });
    let (own, held) = (socket.clone(), Arc::clone(&witness));
    socket.on_any_outgoing(move |_| drop((own.clone(), held.clone())));
    let (own, held) = (socket.clone(), Arc::clone(&witness));
    socket.on_error(move |_| drop((own.clone(), held.clone())));
    let (own, held) = (socket.clone(), Arc::clone(&witness));
    socket.use_(move |event: Event| {
        drop((own.clone(), held.clone()));
        async { Ok::<_, HandlerError>(event) }
    });
    client.post("42[\"x\"]\x1e41").await;
    let held = Arc::clone(&witness);
    socket.on_any_outgoing(move |_| drop(held.clone()));
    drop(socket);
    settle().await;
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[tokio::test(start_paused = true)]
async fn a_catch_all_listener_that_takes_the_socket_out_keeps_the_event_from_its_handlers() {
    let (io, log) = server();
    io.on("bye", note);
    io.on("slow bye", note);
    io.on_any(async |event: Event| {
        if event.name() == "slow bye" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        event.socket().disconnect();
    });
    let (client, socket) = Client::connected(&io).await;
    socket.use_(async |event: Event| {
        event.state::<Log>().note(format!("middleware {}", event.socket().is_connected()));
        Ok::<_, HandlerError>(event)
    });
    client.post("42[\"bye\"]").await;
    assert_eq!(log.take(), ["middleware false", "/ server namespace disconnect 0"]);
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"slow bye\"]").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["slow bye ", "/ server namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_middleware_of_the_namespace_is_observed() {
    let (io, log) = server();
    io.use_(async |socket: Socket| -> Result<(), ConnectError> {
        let seen = socket.state::<Log>().clone();
        socket.on_error(move |error: &SocketError| seen.note(format!("socket: {error}")));
        panic!("oh")
    });
    let seen = log.clone();
    io.on_error(move |error: &SocketError| {
        seen.note(format!("namespace: {error} {}", error.socket().is_connected()));
    });
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(client.poll().await, r#"44{"message":"internal server error"}"#);
    assert_eq!(log.take(), ["socket: a handler panicked: oh", "namespace: a handler panicked: oh false"]);
    assert_eq!(io.stats().handler_panics, 1);
}
