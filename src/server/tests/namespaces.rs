use super::*;

/// Joins a namespace; gives what the server answers.
async fn join(client: &Client, name: &str) -> String {
    client.post(&format!("40{name},")).await;
    client.poll().await
}

async fn joined(io: &Server, name: &str) -> Client {
    let client = Client::open(io).await;
    let answer = join(&client, name).await;
    assert!(answer.starts_with(&format!(r#"40{name},{{"sid":""#)), "{answer}");
    client
}

fn names(namespaces: &[Namespace]) -> Vec<String> {
    let mut names: Vec<String> = namespaces.iter().map(|namespace| namespace.name().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn a_name_that_matches_a_pattern_becomes_a_namespace_with_what_its_parent_has() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-[0-9]+$").unwrap();
    assert_eq!(parent.name(), "/_0");
    parent.use_(async |socket: Socket| {
        socket.state::<Log>().note(format!("use {}", socket.namespace().name()));
        Ok::<_, ConnectError>(())
    });
    parent.on_connect(async |socket: Socket| socket.emit("hello", &socket.namespace().name()));
    parent.on("echo", async |event: Event| event.ack(&event.raw_args()));
    parent.on_disconnect(async |socket: Socket, _| socket.state::<Log>().note("left"));
    let client = Client::open(&io).await;
    client.post("40/dyn-101,").await;
    let answer = client.poll().await;
    assert!(answer.ends_with(r#"42/dyn-101,["hello","/dyn-101"]"#), "{answer}");
    client.post("42/dyn-101,7[\"echo\",1]\x1e41/dyn-101,").await;
    assert_eq!(client.poll().await, r#"43/dyn-101,7[1]"#);
    assert_eq!(log.take(), ["use /dyn-101", "left"]);
    assert_eq!(io.of("/dyn-101"), parent.children()[0]);
    assert_eq!(join(&client, "/dyn-x").await, r#"44/dyn-x,{"message":"Invalid namespace"}"#);
}

#[tokio::test(start_paused = true)]
async fn what_is_added_to_a_parent_later_reaches_only_later_children() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    let _first = joined(&io, "/dyn-1").await;
    parent.on_connect(async |socket: Socket| socket.state::<Log>().note(socket.namespace().name()));
    let _again = joined(&io, "/dyn-1").await;
    let _second = joined(&io, "/dyn-2").await;
    assert_eq!(log.take(), ["/dyn-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_parent_emits_to_all_its_children_and_to_rooms_in_them() {
    let (io, _) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    let other = io.of_pattern("^/other-").unwrap();
    parent.on_connect(async |socket: Socket| {
        if socket.namespace().name() != "/dyn-3" {
            socket.join("room");
        }
    });
    let mut clients = Vec::new();
    for name in ["/dyn-1", "/dyn-2", "/dyn-3", "/other-1"] {
        clients.push(joined(&io, name).await);
    }
    let muted = io.of("/dyn-1").sockets()[0].id().clone();
    parent.emit("all", &1).unwrap();
    parent.to("room").emit("room", &2).unwrap();
    parent.in_("room").except(&muted).emit("some", &3).unwrap();
    parent.except("room").emit("rest", &()).unwrap();
    other.emit("other", &()).unwrap();
    assert_eq!(clients[0].poll().await, r#"42/dyn-1,["all",1]|42/dyn-1,["room",2]"#);
    assert_eq!(clients[1].poll().await, r#"42/dyn-2,["all",1]|42/dyn-2,["room",2]|42/dyn-2,["some",3]"#);
    assert_eq!(clients[2].poll().await, r#"42/dyn-3,["all",1]|42/dyn-3,["rest"]"#);
    assert_eq!(clients[3].poll().await, r#"42/other-1,["other"]"#);
    assert!(parent.emit("connect", &()).is_err());
}

#[tokio::test(start_paused = true)]
async fn parents_are_asked_in_order_until_one_accepts() {
    #[derive(serde::Deserialize)]
    struct Auth {
        token: String,
    }
    let (io, log) = server();
    let asked = log.clone();
    let first = io.of_predicate(move |request: NamespaceRequest| {
        let asked = asked.clone();
        async move {
            asked.note(format!("first {}", request.name()));
            Ok::<_, AuthError>(request.auth::<Auth>()?.token == "first")
        }
    });
    let asked = log.clone();
    let second = io.of_predicate(move |request: NamespaceRequest| {
        asked.note("second");
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            request.name() == "/x"
        }
    });
    let third = io.of_predicate(async |_: NamespaceRequest| Err::<(), _>("never"));
    let client = Client::open(&io).await;
    client.post("40/x,{\"token\":\"first\"}\x1e40/y,").await;
    assert!(client.poll().await.starts_with("40/x,{"));
    assert_eq!(client.poll().await, r#"44/y,{"message":"Invalid namespace"}"#);
    assert_eq!(log.take(), ["first /x", "first /y", "second"]);
    io.of("/x").close();
    assert_eq!(client.poll().await, "41/x,");
    assert!(join(&client, "/x").await.starts_with("40/x,"));
    assert_eq!((first.children().len(), third.children().len()), (0, 0));
    assert_eq!(names(&second.children()), ["/x"]);
    assert_eq!([first.name(), second.name(), third.name()], ["/_0", "/_1", "/_2"]);
}

#[tokio::test(start_paused = true)]
async fn two_clients_that_ask_for_one_name_at_once_get_one_namespace() {
    let (io, log) = server();
    let seen = log.clone();
    io.on_new_namespace(move |namespace| seen.note(format!("new {}", namespace.name())));
    let parent = io.of_predicate(async |_: NamespaceRequest| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        true
    });
    let (one, two) = tokio::join!(joined(&io, "/x"), joined(&io, "/x"));
    assert_eq!(log.take(), ["new /x"]);
    parent.emit("both", &()).unwrap();
    assert_eq!(one.poll().await, r#"42/x,["both"]"#);
    assert_eq!(two.poll().await, r#"42/x,["both"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_predicate_that_panics_refuses() {
    let (io, _) = server();
    io.of_predicate(async |request: NamespaceRequest| -> bool { panic!("{}", request.name()) });
    let client = Client::open(&io).await;
    assert_eq!(join(&client, "/x").await, r#"44/x,{"message":"internal server error"}"#);
    assert_eq!(io.stats().handler_panics, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_while_a_parent_is_asked_makes_nothing() {
    let (io, _) = server();
    let parent = io.of_predicate(async |_: NamespaceRequest| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        true
    });
    let client = Client::open(&io).await;
    client.post("40/x,").await;
    client.post("1").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(names(&parent.children()), [""; 0]);
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_of_the_application_that_matches_is_a_child() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    io.of_predicate(async |_: NamespaceRequest| true);
    parent.on_connect(async |socket: Socket| socket.state::<Log>().note("parent's"));
    io.of("/dyn-1").on_connect(async |socket: Socket| socket.state::<Log>().note("its own"));
    io.of("/else");
    let _client = joined(&io, "/dyn-1").await;
    assert_eq!(log.take(), ["parent's", "its own"]);
    assert_eq!(names(&parent.children()), ["/dyn-1"]);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_pattern_is_named() {
    let error = Server::new().of_pattern("^/(").unwrap_err();
    assert!(error.to_string().contains(r#""^/(""#), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_child_is_cleaned_up_and_comes_again_and_what_is_no_child_stays() {
    let (io, log) = server_with(|builder| builder.cleanup_empty_child_namespaces(true));
    let seen = log.clone();
    io.on_new_namespace(move |namespace| seen.note(namespace.name()));
    let parent = io.of_pattern("^/dyn-").unwrap();
    let fixed = io.of("/fixed");
    let one = joined(&io, "/dyn-1").await;
    let two = joined(&io, "/dyn-1").await;
    one.post("41/dyn-1,").await;
    assert_eq!(names(&parent.children()), ["/dyn-1"]);
    let before = io.of("/dyn-1");
    two.post("41/dyn-1,").await;
    assert_eq!(names(&parent.children()), [""; 0]);
    assert!(join(&two, "/dyn-1").await.starts_with("40/dyn-1,"));
    assert_ne!(io.of("/dyn-1"), before);
    // The end of the connection is the end of the visit, too.
    two.post("1").await;
    settle().await;
    assert_eq!(names(&parent.children()), [""; 0]);
    joined(&io, "/fixed").await.post("41/fixed,").await;
    assert_eq!(io.of("/fixed"), fixed);
    assert_eq!(log.take(), ["/fixed", "/dyn-1", "/dyn-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_only_client_is_refused_is_cleaned_up() {
    let (io, _) = server_with(|builder| builder.cleanup_empty_child_namespaces(true));
    let parent = io.of_pattern("^/dyn-").unwrap();
    parent.use_(async |socket: Socket| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        socket.state::<Log>().note("refused");
        Err::<(), _>(ConnectError::new("no"))
    });
    let client = Client::open(&io).await;
    client.post("40/dyn-1,").await;
    assert_eq!(names(&parent.children()), ["/dyn-1"]);
    assert_eq!(client.poll().await, r#"44/dyn-1,{"message":"no"}"#);
    assert_eq!(names(&parent.children()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_somebody_is_about_to_enter_is_not_cleaned_up() {
    let (io, _) = server_with(|builder| builder.cleanup_empty_child_namespaces(true));
    let parent = io.of_pattern("^/dyn-").unwrap();
    parent.use_(async |_: Socket| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, ConnectError>(())
    });
    let first = joined(&io, "/dyn-1").await;
    let second = Client::open(&io).await;
    second.post("40/dyn-1,").await;
    first.post("41/dyn-1,").await;
    assert!(second.poll().await.starts_with("40/dyn-1,"));
    parent.emit("still", &()).unwrap();
    assert_eq!(second.poll().await, r#"42/dyn-1,["still"]"#);
}

#[tokio::test(start_paused = true)]
async fn clients_cannot_invent_names_without_end() {
    let (io, _) = server_with(|builder| builder.max_dynamic_namespaces(2));
    let parent = io.of_pattern("^/dyn-").unwrap();
    let client = Client::open(&io).await;
    for name in ["/dyn-1", "/dyn-2", "/dyn-1"] {
        assert!(join(&client, name).await.starts_with("40"), "{name}");
        client.post(&format!("41{name},")).await;
    }
    assert_eq!(join(&client, "/dyn-3").await, r#"44/dyn-3,{"message":"Too many namespaces"}"#);
    assert_eq!(io.stats().namespaces_refused, 1);
    io.of("/dyn-1").close();
    assert!(join(&client, "/dyn-3").await.starts_with("40"));
    assert_eq!(names(&parent.children()), ["/dyn-2", "/dyn-3"]);
    let long = format!("/dyn-{}", "x".repeat(1020));
    assert!(join(&client, &long).await.ends_with(r#"{"message":"Invalid namespace"}"#));
    assert!(Server::builder().max_dynamic_namespaces(0).build().is_err());
}

#[tokio::test(start_paused = true)]
async fn new_namespaces_are_told_of_but_for_the_main_one() {
    let (io, log) = server();
    let seen = log.clone();
    io.on_new_namespace(move |namespace| seen.note(namespace.name()));
    io.of("/");
    io.of("/admin");
    io.of("a");
    io.of("/a");
    assert_eq!(log.take(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn what_an_observer_adds_guards_the_namespace_from_the_first_client_on() {
    let (io, _) = server();
    io.of_pattern("^/dyn-").unwrap();
    // While the observer runs, another client asks for the same name.
    let (begin, began) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel();
    let once = Mutex::new(Some((begin, ends)));
    io.on_new_namespace(move |namespace: Namespace| {
        let taken = once.lock().take();
        let (begin, ends) = taken.unwrap();
        begin.send(()).unwrap();
        ends.recv().unwrap();
        namespace.use_(async |_: Socket| Err::<(), _>(ConnectError::new("guarded")));
    });
    let made = std::thread::spawn({
        let io = io.clone();
        move || drop(io.of("/dyn-1"))
    });
    began.await.unwrap();
    let client = Client::open(&io).await;
    client.post("40/dyn-1,").await;
    end.send(()).unwrap();
    made.join().unwrap();
    assert_eq!(client.poll().await, r#"44/dyn-1,{"message":"guarded"}"#);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_leaves_the_namespace_closed_to_clients() {
    let (io, _) = server();
    io.of_pattern("^/dyn-").unwrap();
    io.on_new_namespace(|namespace| assert_eq!(namespace.name(), "/"));
    let client = Client::open(&io).await;
    assert_eq!(join(&client, "/dyn-1").await, r#"44/dyn-1,{"message":"internal server error"}"#);
    assert_eq!(io.stats().handler_panics, 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_made_and_closed_while_clients_are_there() {
    let (io, log) = server();
    let client = Client::open(&io).await;
    assert_eq!(join(&client, "/game").await, r#"44/game,{"message":"Invalid namespace"}"#);
    let game = io.of("/game");
    game.on_disconnect(async |socket: Socket, reason| socket.state::<Log>().note(format!("{reason}")));
    assert!(join(&client, "/game").await.starts_with("40/game,"));
    game.close();
    assert_eq!(client.poll().await, "41/game,");
    settle().await;
    assert_eq!(log.take(), ["server namespace disconnect"]);
    assert_eq!(join(&client, "/game").await, r#"44/game,{"message":"Invalid namespace"}"#);
    assert_ne!(io.of("/game"), game);
    assert!(join(&client, "/game").await.starts_with("40/game,"));
    assert_eq!(io.stats().sockets, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_into_a_namespace_that_was_closed_while_a_middleware_ran() {
    let (io, _) = server();
    let game = io.of("/game");
    game.use_(async |_: Socket| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, ConnectError>(())
    });
    let client = Client::open(&io).await;
    client.post("40/game,").await;
    game.close();
    assert_eq!(client.poll().await, r#"44/game,{"message":"Invalid namespace"}"#);
    assert_eq!((game.sockets(), io.stats().sockets), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn the_main_namespace_stays_when_it_is_closed() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    io.of("/").close();
    assert!(!socket.is_connected());
    assert_eq!(client.poll().await, "41");
    client.post("40").await;
    assert!(client.poll().await.starts_with("40{"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_removes_no_child_that_is_to_stay() {
    for cleanup in [false, true] {
        let (io, _) = server_with(|builder| builder.cleanup_empty_child_namespaces(cleanup));
        let parent = io.of_pattern("^/dyn-").unwrap();
        let refuse = Arc::new(std::sync::atomic::AtomicBool::new(!cleanup));
        let refused = Arc::clone(&refuse);
        parent.use_(move |_: Socket| {
            let refuse = refused.load(std::sync::atomic::Ordering::SeqCst);
            async move { if refuse { Err("no") } else { Ok(()) } }
        });
        let _first = if cleanup { Some(joined(&io, "/dyn-1").await) } else { None };
        refuse.store(true, std::sync::atomic::Ordering::SeqCst);
        let second = Client::open(&io).await;
        second.post("40/dyn-1,").await;
        assert_eq!(second.poll().await, r#"44/dyn-1,{"message":"no"}"#);
        assert_eq!(names(&parent.children()), ["/dyn-1"], "cleanup {cleanup}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_emits_may_be_volatile_and_its_handlers_can_be_removed_from_a_child() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    let id = parent.on("x", async |event: Event| event.socket().state::<Log>().note("x"));
    let client = Client::open(&io).await;
    client.post("40/dyn-1,").await;
    assert!(client.poll().await.starts_with("40/dyn-1,"));
    parent.volatile().emit("lost", &()).unwrap();
    parent.local().compress(false).emit("kept", &()).unwrap();
    assert_eq!(client.poll().await, r#"42/dyn-1,["kept"]"#);
    client.post(r#"42/dyn-1,["x"]"#).await;
    assert_eq!(log.take(), ["x"]);
    io.of("/dyn-1").off("x", id);
    client.post(r#"42/dyn-1,["x"]"#).await;
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_once_is_so_in_each_child() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    parent.once("x", async |event: Event| {
        event.socket().state::<Log>().note(event.socket().namespace().name());
    });
    let client = Client::open(&io).await;
    for name in ["/dyn-1", "/dyn-2"] {
        join(&client, name).await;
    }
    for _ in 0..2 {
        client.post("42/dyn-1,[\"x\"]\x1e42/dyn-2,[\"x\"]").await;
    }
    assert_eq!(log.take(), ["/dyn-1", "/dyn-2"]);
    assert_eq!(io.stats().unhandled_events, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_from_a_parent_later_children_do_not_have() {
    let (io, log) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    let note =
        |line: &'static str| move |event: Event| async move { event.socket().state::<Log>().note(line) };
    let first = parent.on("x", note("first"));
    parent.on("x", note("second"));
    parent.once("y", note("once"));
    let any = parent.on_any(note("any"));
    parent.prepend_any(note("any before"));
    let out = parent.on_any_outgoing(move |_: &OutgoingEvent| {});
    let noted = log.clone();
    parent.prepend_any_outgoing(move |_: &OutgoingEvent| noted.note("out"));
    let client = Client::open(&io).await;
    join(&client, "/dyn-1").await;
    parent.off("x", first);
    parent.off("y", None);
    parent.off_any(any);
    parent.off_any_outgoing(out);
    join(&client, "/dyn-2").await;
    client.post(r#"42/dyn-1,["x"]"#).await;
    assert_eq!(log.take(), ["any before", "any", "first", "second"]);
    client.post("42/dyn-2,[\"x\"]\x1e42/dyn-2,[\"y\"]").await;
    assert_eq!(log.take(), ["any before", "second", "any before"]);
    parent.emit("n", &()).unwrap();
    assert_eq!(log.take(), ["out", "out"]);
    parent.off_any(None);
    parent.off_any_outgoing(None);
    join(&client, "/dyn-3").await;
    client.post(r#"42/dyn-3,["x"]"#).await;
    assert_eq!(log.take(), ["second"]);
    assert!(!io.of("/dyn-3").has_outgoing());
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_emits_may_take_the_place_of_what_waits_in_each_child() {
    let (io, _) = server();
    let parent = io.of_pattern("^/dyn-").unwrap();
    let client = joined(&io, "/dyn-1").await;
    join(&client, "/dyn-2").await;
    parent.coalesce("price").emit("price", &1).unwrap();
    parent.send("between").unwrap();
    parent.coalesce("price").to(["nobody"]).emit("price", &2).unwrap();
    parent.coalesce("price").emit("price", &3).unwrap();
    let heard = client.poll().await;
    let mut heard: Vec<&str> = heard.split('|').collect();
    heard.sort_unstable();
    assert_eq!(
        heard,
        [
            r#"42/dyn-1,["message","between"]"#,
            r#"42/dyn-1,["price",3]"#,
            r#"42/dyn-2,["message","between"]"#,
            r#"42/dyn-2,["price",3]"#,
        ]
    );
}
