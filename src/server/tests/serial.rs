use super::*;

/// Registers serial handlers that note their beginning, wait for as many milliseconds as they are told, and note their end.
fn with_steps(io: &Server, events: &[&str]) {
    for event in events {
        io.on_serial(event, async |event: Event| {
            let (name, wait): (String, u64) = event.args()?;
            event.state::<Log>().note(format!("{name} begins"));
            if wait > 0 {
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            event.state::<Log>().note(format!("{name} ends"));
            event.ack(&name)?;
            Ok::<_, HandlerError>(())
        });
    }
}

#[tokio::test(start_paused = true)]
async fn serial_handlers_of_a_socket_run_one_after_the_other_whatever_their_events() {
    let (io, log) = server();
    with_steps(&io, &["a", "b"]);
    io.on("c", async |event: Event| event.state::<Log>().note("c"));
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"a\",\"1\",50]\x1e42[\"b\",\"2\",10]\x1e42[\"a\",\"3\",0]\x1e42[\"c\"]").await;
    assert_eq!(log.take(), ["1 begins", "c"], "an ordinary handler does not stand in the row");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(log.take(), ["1 ends", "2 begins", "2 ends", "3 begins", "3 ends"]);
    client.post("42[\"b\",\"4\",0]").await;
    assert_eq!(log.take(), ["4 begins", "4 ends"], "nobody is before it: it runs in place");
}

#[tokio::test(start_paused = true)]
async fn each_socket_has_a_row_of_its_own() {
    let (io, log) = server();
    with_steps(&io, &["a"]);
    let (first, _) = Client::connected(&io).await;
    let (second, _) = Client::connected(&io).await;
    first.post("42[\"a\",\"first\",50]").await;
    second.post("42[\"a\",\"second\",0]").await;
    assert_eq!(log.take(), ["first begins", "second begins", "second ends"]);
}

#[tokio::test(start_paused = true)]
async fn handlers_of_the_socket_and_several_of_one_event_stand_in_the_same_row() {
    let (io, log) = server();
    with_steps(&io, &["a", "a"]);
    let (client, socket) = Client::connected(&io).await;
    socket.on_serial("a", async |event: Event| event.state::<Log>().note("own"));
    client.post("42[\"a\",\"1\",5]").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(log.take(), ["1 begins", "1 ends", "1 begins", "1 ends", "own"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_error_let_the_next_one_run() {
    let (io, log) = server();
    io.on_serial("panic", async |event: Event| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(event.name(), "y");
    });
    io.on_serial("error", async |_: Event| Err::<(), _>("on demand"));
    with_steps(&io, &["a"]);
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"panic\"]\x1e42[\"error\"]\x1e42[\"a\",\"1\",0]").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(log.take(), ["1 begins", "1 ends"]);
    assert_eq!((io.stats().handler_panics, io.stats().handler_errors), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_and_the_disconnect_do_not_stand_in_the_row_and_what_waits_is_handled_after_it() {
    let (io, log) = server();
    io.on_serial("ask", async |event: Event| {
        let answer: String = event.socket().emit_with_ack("question", &()).await?;
        event.state::<Log>().note(format!("{answer} {}", event.socket().is_connected()));
        Ok::<_, HandlerError>(())
    });
    with_steps(&io, &["a"]);
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"ask\"]\x1e42[\"a\",\"1\",5]\x1e42[\"a\",\"2\",0]").await;
    assert_eq!(client.poll().await, r#"420["question"]"#);
    client.post("430[\"yes\"]\x1e41").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let handled =
        ["/ client namespace disconnect 0", "yes false", "1 begins", "1 ends", "2 begins", "2 ends"];
    assert_eq!(log.take(), handled);
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_while_too_many_bytes_stand_in_the_row() {
    let (io, log) = server_with(|builder| builder.max_parked_bytes(4000));
    with_steps(&io, &["a"]);
    let (client, _) = Client::connected(&io).await;
    let name = "x".repeat(3000);
    client.post(&format!("42[\"a\",\"1\",40000]\x1e42[\"a\",\"{name}\",0]")).await;
    assert_eq!(io.stats().inbound_paused, 0);
    let more = format!("42[\"a\",\"{name}\",0]\x1e42[\"nobody\"]");
    tokio::join!(client.post(&more), async {
        settle().await;
        assert_eq!(log.take(), ["1 begins"]);
        assert_eq!((io.stats().inbound_paused, io.stats().unhandled_events), (1, 0));
    });
    assert_eq!(io.stats().unhandled_events, 1, "the POST was answered when there was room again");
    assert_eq!(log.take().len(), 5);
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_is_a_waiting_handler() {
    let (io, log) = server_with(|builder| builder.max_waiting_handlers(2));
    with_steps(&io, &["a"]);
    io.on("plain", async |event: Event| event.state::<Log>().note("plain"));
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"a\",\"1\",5]\x1e42[\"a\",\"2\",5]\x1e42[\"plain\"]").await;
    assert_eq!(log.take(), ["1 begins"], "what comes behind two that wait is parked");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(log.take(), ["1 ends", "2 begins", "plain", "2 ends"]);
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_parent_have_its_serial_handlers() {
    let (io, log) = server();
    io.of_pattern("^/room-\\d+$").unwrap().on_serial("a", async |event: Event| {
        event.state::<Log>().note("begins");
        tokio::time::sleep(Duration::from_millis(5)).await;
        event.state::<Log>().note("ends");
    });
    let client = Client::open(&io).await;
    client.post("40/room-1,\x1e42/room-1,[\"a\"]\x1e42/room-1,[\"a\"]").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(log.take(), ["begins", "ends", "begins", "ends"]);
}
