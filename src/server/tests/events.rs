use super::*;

#[tokio::test(start_paused = true)]
async fn packets_that_arrive_together_are_handled_as_if_they_came_apart() {
    let (io, log) = server();
    io.on("note", async |event: Event| {
        let line: String = event.args()?;
        event.state::<Log>().note(line);
        Ok::<_, ArgsError>(())
    });
    let client = Client::open(&io).await;
    client.post("40\x1e42[\"note\",\"a\"]\x1e42[\"note\",\"b\"]\x1e41").await;
    assert_eq!(log.take(), ["a", "b", "/ client namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn handlers_of_one_event_are_started_in_order_those_of_the_socket_last() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    socket.on("x", async |event: Event| event.state::<Log>().note("own"));
    io.on("x", async |event: Event| {
        event.state::<Log>().note("first");
        tokio::task::yield_now().await;
        event.state::<Log>().note("first, later");
    });
    io.on("x", async |event: Event| event.state::<Log>().note("second"));
    client.post("42[\"x\"]").await;
    settle().await;
    assert_eq!(log.take(), ["first", "second", "own", "first, later"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_first_of_several_handlers_acknowledges() {
    let (io, _) = server();
    for answer in ["one", "two"] {
        io.on("x", move |event: Event| async move { event.ack(answer) });
    }
    let (client, _) = Client::connected(&io).await;
    client.post("427[\"x\"]\x1e428[\"x\"]").await;
    assert_eq!(client.poll().await, r#"437["one"]|438["one"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_panic_stops_its_handler_and_nothing_else() {
    let (io, log) = server();
    io.on("x", async |event: Event| assert_eq!(event.name(), "y"));
    io.on("x", async |event: Event| {
        tokio::task::yield_now().await;
        assert_eq!(event.name(), "y");
    });
    io.on("x", async |event: Event| event.state::<Log>().note("third"));
    io.on("x", |event: Event| {
        assert_eq!(event.name(), "y");
        async {}
    });
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"x\"]").await;
    settle().await;
    assert_eq!(log.take(), ["third"]);
    assert_eq!(io.stats().handler_panics, 3);
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_handler_is_counted() {
    let (io, _) = server();
    io.on("number", async |event: Event| {
        let _: u64 = event.args()?;
        Ok::<_, HandlerError>(())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"number\",1]\x1e42[\"number\",\"one\"]\x1e42[\"number\"]").await;
    assert_eq!(io.stats().handler_errors, 2);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_handler_or_data_is_ignored() {
    let (io, _) = server();
    let (client, _) = Client::connected(&io).await;
    client.post("420[\"nobody\"]\x1e42").await;
    assert_eq!(io.stats().unhandled_events, 2);
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_number_names_an_event_too() {
    let (io, log) = server();
    io.on("1", async |event: Event| event.state::<Log>().note(event.name()));
    let (client, _) = Client::connected(&io).await;
    client.post("42[1]\x1e42[1.0]").await;
    assert_eq!(log.take(), ["1", "1"]);
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_while_too_many_handlers_wait_and_too_much_is_parked() {
    let (io, log) = server_with(|builder| builder.max_waiting_handlers(2).max_parked_bytes(0));
    io.on("wait", async |event: Event| {
        event.state::<Log>().note("begin");
        tokio::time::sleep(Duration::from_secs(40)).await;
        event.state::<Log>().note("end");
    });
    let (client, _) = Client::connected(&io).await;
    let post = client.post("42[\"wait\"]\x1e42[\"wait\"]\x1e42[\"wait\"]\x1e42[\"nobody\"]");
    // The ping timeout is suspended meanwhile: a client whose POST is withheld may be unable to pong.
    tokio::join!(post, async {
        settle().await;
        assert_eq!(log.take(), ["begin", "begin"]);
        assert_eq!(io.stats().inbound_paused, 1);
    });
    assert_eq!(log.take(), ["end", "end", "begin"]);
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn packets_are_parked_while_the_events_of_waiting_handlers_hold_too_many_bytes() {
    let (io, log) = server_with(|builder| builder.max_waiting_bytes(100));
    io.on("wait", async |event: Event| {
        event.state::<Log>().note("begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
    let (client, _) = Client::connected(&io).await;
    let large = format!("42[\"wait\",\"{}\"]", "x".repeat(100));
    client.post(&format!("42[\"wait\"]\x1e{large}\x1e42[\"wait\"]\x1e{large}")).await;
    assert_eq!(log.take(), ["begin"; 2], "one more than there is room for, and no further");
    tokio::time::sleep(Duration::from_millis(15)).await;
    assert_eq!(log.take(), ["begin"; 2]);
    assert_eq!(io.stats().inbound_paused, 0);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_overtake_what_is_parked_and_the_rest_keeps_its_order() {
    let (io, log) = server_with(|builder| builder.max_waiting_handlers(1));
    io.on("ask", async |event: Event| {
        let number: u32 = event.args()?;
        event.state::<Log>().note(format!("ask {number}"));
        let answer: String = event.socket().emit_with_ack("question", &number).await?;
        event.state::<Log>().note(answer);
        Ok::<_, HandlerError>(())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"ask\",1]\x1e42[\"ask\",2]\x1e41").await;
    assert_eq!(log.take(), ["ask 1"]);
    assert_eq!(client.poll().await, r#"420["question",1]"#);
    client.post("430[\"one\"]").await;
    settle().await;
    assert_eq!(log.take(), ["one", "ask 2"]);
    assert_eq!(client.poll().await, r#"421["question",2]"#);
    client.post("431[\"two\"]").await;
    settle().await;
    assert_eq!(log.take(), ["two", "/ client namespace disconnect 0"]);
    assert_eq!(io.stats().inbound_paused, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_handled_even_if_the_client_leaves_or_breaks_the_protocol() {
    for end in ["1", "4garbage"] {
        let (io, log) = server_with(|builder| builder.max_waiting_handlers(1));
        io.on("save", async |event: Event| {
            event.state::<Log>().note(format!("save {}", event.args::<u32>()?));
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, HandlerError>(())
        });
        let (client, _) = Client::connected(&io).await;
        client.post("42[\"save\",1]\x1e42[\"save\",2]\x1e42[\"save\",3]").await;
        assert_eq!(log.take(), ["save 1"]);
        client.post(end).await;
        settle().await;
        assert_eq!(log.take()[..2], ["save 2", "save 3"], "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_farewell_is_told_before_a_parked_return() {
    let (io, log) = server_with(|builder| builder.max_waiting_handlers(1));
    io.on_connect(async |socket: Socket| socket.state::<Log>().note("connect"));
    io.on("wait", async |_event: Event| tokio::time::sleep(Duration::from_secs(1)).await);
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"wait\"]\x1e41\x1e40").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["connect", "/ client namespace disconnect 0", "connect"]);
}

#[tokio::test(start_paused = true)]
async fn handlers_that_wait_for_what_is_not_read_do_not_keep_a_connection_for_ever() {
    let (io, log) = server_with(|builder| builder.max_waiting_handlers(1).max_parked_bytes(0));
    io.on("ask", async |event: Event| {
        let _answer: () = event.socket().emit_with_ack("question", &()).await?;
        Ok::<_, HandlerError>(())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"ask\"]").await;
    let post = client.post("42[\"ask\"]\x1e430[]");
    tokio::join!(post, async {
        tokio::time::sleep(Duration::from_secs(46)).await;
        assert_eq!(log.take(), ["/ ping timeout 0"]);
    });
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
    assert!(client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_delays_no_ping() {
    let (io, _) = server();
    io.on("wait", async |_event: Event| tokio::time::sleep(Duration::from_secs(60)).await);
    let (client, _) = Client::connected(&io).await;
    let began = tokio::time::Instant::now();
    client.post("42[\"wait\"]").await;
    assert_eq!(client.poll().await, "2");
    assert_eq!((began.elapsed().as_secs(), io.stats().late_timers), (25, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_outlives_the_connection() {
    let (io, log) = server();
    io.on("wait", async |event: Event| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        event.socket().emit("gone", &()).unwrap();
        event.state::<Log>().note("end");
    });
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"wait\"]\x1e41").await;
    client.post("1").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["/ client namespace disconnect 0", "end"]);
}

async fn plain(event: Event) -> Result<(), HandlerError> {
    let (a, b): (i64, Option<i64>) = event.args()?;
    Ok(event.ack(&(a + b.unwrap_or(0)))?)
}

#[tokio::test(start_paused = true)]
async fn handlers_of_every_form_work() {
    let (io, _) = server();
    let captured = Arc::new("captured".to_owned());
    io.on("plain", plain);
    io.on("closure", async |event: Event| event.ack("closure"));
    io.on("capturing", move |event: Event| {
        let captured = Arc::clone(&captured);
        async move { event.ack(&*captured) }
    });
    let (client, _) = Client::connected(&io).await;
    client.post("420[\"plain\",1,2]\x1e421[\"plain\",1]\x1e422[\"closure\"]\x1e423[\"capturing\"]").await;
    assert_eq!(client.poll().await, r#"430[3]|431[1]|432["closure"]|433["captured"]"#);
}

#[tokio::test(start_paused = true)]
async fn binary_arguments_go_both_ways() {
    let (io, _) = server();
    io.on("echo", async |event: Event| event.socket().emit("echo", &event.raw_args()));
    let (client, _) = Client::connected(&io).await;
    client.post("451-[\"echo\",{\"a\":{\"_placeholder\":true,\"num\":0}}]\x1ebAQID").await;
    assert_eq!(client.poll().await, r#"451-["echo",{"a":{"_placeholder":true,"num":0}}]|bAQID"#);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_was_not_set_is_named() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        socket.state::<u128>();
    }));
    let panic = panic.unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("u128"));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_acknowledgement_is_sent() {
    let (io, _) = server();
    io.on("twice", async |event: Event| {
        event.ack("first")?;
        event.ack(event.name())?;
        event.socket().emit("after", &event.wants_ack())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("427[\"twice\"]\x1e42[\"twice\"]").await;
    assert_eq!(client.poll().await, r#"437["first"]|42["after",true]|42["after",false]"#);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_numbers_is_no_binary() {
    let (io, _) = server();
    io.on("read", async |event: Event| {
        let text = event.args::<Vec<u8>>().map_or_else(|error| error.to_string(), |list| format!("{list:?}"));
        event.ack(&(text, event.args::<bytes::Bytes>().is_ok()))
    });
    let (client, _) = Client::connected(&io).await;
    client.post("451-0[\"read\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID").await;
    let error = "argument 0: invalid type: byte array, expected a sequence";
    assert_eq!(client.poll().await, format!(r#"430["{error}",true]"#));
    client.post("421[\"read\",[1,2]]\x1e422[\"read\",\"text\"]").await;
    let error = r#"argument 0: invalid type: string \"text\", expected a sequence"#;
    assert_eq!(client.poll().await, format!(r#"431["[1, 2]",true]|432["{error}",true]"#));
}

#[tokio::test(start_paused = true)]
async fn a_handler_reaches_other_namespaces_through_the_server() {
    let (io, _) = server();
    io.of("/admin").on("announce", async |event: Event| {
        let text: String = event.args()?;
        event.server().ok_or("the server is gone")?.emit("announcement", &text)?;
        Ok::<_, HandlerError>(())
    });
    let (client, _) = Client::connected(&io).await;
    client.post("40/admin,\x1e42/admin,[\"announce\",\"hello\"]").await;
    let packets = client.poll().await;
    assert!(packets.ends_with(r#"|42["announcement","hello"]"#), "{packets}");
    assert_eq!(io.stats().handler_errors, 0);
}

#[tokio::test(start_paused = true)]
async fn a_socket_does_not_keep_its_server_alive() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    let engine = io.engine().clone();
    drop(io);
    assert_eq!(socket.server().map(|io| io.clients_count()), Some(1), "a service is left");
    engine.close(Duration::from_secs(1)).await;
    drop((client, engine));
    settle().await;
    assert_eq!(log.take(), ["/ forced close 0"]);
    assert!(socket.server().is_none());
}
