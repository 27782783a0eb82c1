use super::*;

#[tokio::test(start_paused = true)]
async fn the_answer_has_the_socket_id_and_nothing_else() {
    let (io, _) = server();
    let client = Client::open(&io).await;
    client.post("40").await;
    let answer = client.poll().await;
    let id = answer.strip_prefix(r#"40{"sid":""#).and_then(|rest| rest.strip_suffix(r#""}"#)).unwrap();
    assert_eq!(id.len(), 20);
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert!(!client.session.contains(id));
    assert_eq!(io.of("/").sockets()[0].id().as_str(), id);
}

#[tokio::test(start_paused = true)]
async fn what_connect_handlers_emit_follows_the_answer() {
    let (io, _) = server();
    io.on_connect(async |socket: Socket| socket.emit("first", &1));
    io.on_connect(async |socket: Socket| socket.emit("second", &()));
    let client = Client::open(&io).await;
    client.post("40").await;
    let packets = client.poll().await;
    let (answer, rest) = packets.split_once('|').unwrap();
    assert!(answer.starts_with("40{"));
    assert_eq!(rest, r#"42["first",1]|42["second"]"#);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_refused_and_the_connection_stays() {
    let (io, _) = server();
    let client = Client::open(&io).await;
    client.post("40/random").await;
    assert_eq!(client.poll().await, r#"44/random,{"message":"Invalid namespace"}"#);
    client.post("40/admin?x=1,").await;
    assert_eq!(client.poll().await, r#"44/admin?x=1,{"message":"Invalid namespace"}"#);
    client.post("40/admin,").await;
    assert!(client.poll().await.starts_with(r#"40/admin,{"sid":""#));
}

#[tokio::test(start_paused = true)]
async fn names_without_a_slash_get_one() {
    let (io, _) = server();
    assert_eq!(io.of(""), io.of("/"));
    assert_eq!(io.of("abc"), io.of("/abc"));
    assert_eq!(io.of("abc").name(), "/abc");
}

#[tokio::test(start_paused = true)]
async fn middlewares_run_in_order_until_one_refuses() {
    let (io, log) = server();
    io.use_(async |socket: Socket| {
        socket.state::<Log>().note("first");
        tokio::task::yield_now().await;
        Ok::<_, ConnectError>(())
    });
    io.use_(async |socket: Socket| {
        socket.state::<Log>().note("second");
        Err::<(), _>(ConnectError::new("no").with_data(&[1]))
    });
    io.use_(async |socket: Socket| {
        socket.state::<Log>().note("third");
        Ok::<_, ConnectError>(())
    });
    io.of("/admin").use_(async |socket: Socket| {
        socket.state::<Log>().note("another namespace's");
        Ok::<_, ConnectError>(())
    });
    io.on_connect(async |socket: Socket| socket.state::<Log>().note("connected"));
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(client.poll().await, r#"44{"message":"no","data":[1]}"#);
    assert_eq!(log.take(), ["first", "second"]);
    assert_eq!(io.stats().sockets, 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_middleware_emits_precedes_the_answer() {
    let (io, _) = server();
    io.use_(async |socket: Socket| {
        socket.emit("early", &()).map_err(|error| error.to_string())?;
        assert!(!socket.is_connected());
        Ok::<_, ConnectError>(())
    });
    let client = Client::open(&io).await;
    client.post("40").await;
    assert!(client.poll().await.starts_with(r#"42["early"]|40{"#));
}

#[tokio::test(start_paused = true)]
async fn a_middleware_that_panics_refuses() {
    let (io, _) = server();
    io.use_(async |socket: Socket| {
        assert!(socket.is_connected(), "it is not, before its middlewares have run");
        Ok::<_, ConnectError>(())
    });
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(client.poll().await, r#"44{"message":"internal server error"}"#);
    assert_eq!(io.stats().handler_panics, 1);
}

fn slow(io: &Server) {
    io.use_(async |socket: Socket| {
        socket.join("waiting");
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, ConnectError>(())
    });
    io.on_connect(async |socket: Socket| socket.state::<Log>().note("connected"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_middleware_delays_the_answer_and_keeps_its_rooms() {
    let (io, log) = server();
    slow(&io);
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(log.take(), [""; 0]);
    io.to("waiting").emit("too early", &()).unwrap();
    assert!(client.poll().await.starts_with("40{"));
    assert_eq!(log.take(), ["connected"]);
    io.to("waiting").emit("now", &()).unwrap();
    assert_eq!(client.poll().await, r#"42["now"]"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_while_a_middleware_waits_closes_the_connection() {
    let (io, log) = server();
    slow(&io);
    let client = Client::open(&io).await;
    client.post("40\x1e42[\"x\"]").await;
    assert_eq!(client.poll().await, "6|1");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), [""; 0]);
    assert_eq!(io.of("/").rooms().read().rooms_of(&SocketId::new("none")).count(), 0);
    assert_eq!(io.stats().protocol_violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_while_a_middleware_waits_is_never_connected() {
    let (io, log) = server();
    slow(&io);
    let client = Client::open(&io).await;
    client.post("40").await;
    client.post("1").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), [""; 0]);
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_connects_during_a_slow_middleware_both_succeed() {
    let (io, log) = server();
    slow(&io);
    io.on("who", async |event: Event| {
        let id = event.socket().id().to_string();
        event.ack(&id)
    });
    let client = Client::open(&io).await;
    client.post("40\x1e40").await;
    let mut packets = client.poll().await;
    if !packets.contains('|') {
        packets = format!("{packets}|{}", client.poll().await);
    }
    let (_, second) = packets.split_once('|').unwrap();
    let id = second.strip_prefix(r#"40{"sid":""#).and_then(|rest| rest.strip_suffix(r#""}"#)).unwrap();
    assert_eq!(log.take(), ["connected", "connected"]);
    client.post("420[\"who\"]").await;
    assert_eq!(client.poll().await, format!(r#"430["{id}"]"#));
    // Once the later one has left, the namespace counts as not joined.
    client.post("41").await;
    assert_eq!(log.take(), ["/ client namespace disconnect 0"]);
    client.post("42[\"who\"]").await;
    assert_eq!(log.take(), ["/ forced server close 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_joins_nothing_is_closed() {
    let (io, _) = server_with(|builder| builder.connect_timeout(Duration::from_millis(300)));
    let client = Client::open(&io).await;
    client.post("40/unknown,").await;
    assert!(client.poll().await.starts_with("44/unknown,"));
    assert_eq!(client.poll().await, "1");
    assert!(client.is_closed().await);
    assert_eq!(io.stats().connect_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn the_connect_timeout_ends_with_the_first_namespace() {
    let (io, _) = server_with(|builder| builder.connect_timeout(Duration::from_millis(300)));
    let (client, _) = Client::connected(&io).await;
    client.post("41").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_connection_cannot_join_without_end() {
    let (io, _) = server_with(|builder| builder.max_namespaces_per_connection(1));
    let (client, _) = Client::connected(&io).await;
    client.post("40/admin,").await;
    assert_eq!(client.poll().await, r#"44/admin,{"message":"Too many namespaces"}"#);
    assert_eq!(io.stats().namespaces_refused, 1);
    client.post("41\x1e40/admin,").await;
    assert!(client.poll().await.starts_with("40/admin,"));
}

#[tokio::test(start_paused = true)]
async fn the_handshake_tells_what_the_socket_came_with() {
    let (io, _) = server();
    io.on("handshake", async |event: Event| {
        let socket = event.socket().clone();
        event.ack(socket.handshake())
    });
    let client = Client::open(&io).await;
    client.post(r#"40{"token":"abc"}"#).await;
    client.poll().await;
    client.post(r#"420["handshake"]"#).await;
    let answer = client.poll().await;
    let [handshake]: [serde_json::Value; 1] =
        serde_json::from_str(answer.strip_prefix("430").unwrap()).unwrap();
    assert_eq!(handshake["auth"], serde_json::json!({"token": "abc"}));
    assert_eq!(
        handshake["query"],
        serde_json::json!({"EIO": "4", "transport": "polling", "flavour": "plain"})
    );
    assert_eq!(handshake["headers"], serde_json::json!({"x-test": "yes"}));
    assert_eq!(handshake["xdomain"], false);
    assert_eq!(handshake["url"], "/socket.io/?EIO=4&transport=polling&flavour=plain");
    assert!(handshake["time"].as_str().unwrap().ends_with(" GMT+0000 (Coordinated Universal Time)"));
    assert!(handshake["issued"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn auth_is_an_empty_object_where_there_is_none() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    assert!(socket.handshake().auth_value().as_object().unwrap().is_empty());
    assert!(socket.handshake().auth::<std::collections::HashMap<String, String>>().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_middleware_refuses_an_auth_that_it_cannot_read() {
    #[derive(serde::Deserialize)]
    struct Auth {
        token: String,
    }
    let (io, _) = server();
    io.use_(async |socket: Socket| {
        let auth: Auth = socket.handshake().auth()?;
        if auth.token == "secret" { Ok(()) } else { Err(ConnectError::new("bad token")) }
    });
    for (connect, answer) in [
        ("40", "auth: missing field `token`"),
        (r#"40{"token":1}"#, "auth: invalid type: integer `1`, expected a string"),
        (r#"40{"token":"guess"}"#, "bad token"),
    ] {
        let client = Client::open(&io).await;
        client.post(connect).await;
        assert_eq!(client.poll().await, format!(r#"44{{"message":"{answer}"}}"#));
    }
    let client = Client::open(&io).await;
    client.post(r#"40{"token":"secret"}"#).await;
    assert!(client.poll().await.starts_with(r#"40{"sid":"#));
}

#[tokio::test(start_paused = true)]
async fn middlewares_guard_their_own_namespace_and_what_they_change_is_seen() {
    let (io, log) = server();
    io.use_(async |socket: Socket| {
        socket.data().insert("from", "main").map_err(|_| "data")?;
        let known = socket.namespace().socket(socket.id().as_str()).is_some();
        socket.state::<Log>().note(format!("main {} {known}", socket.is_connected()));
        Ok::<_, &str>(())
    });
    io.of("/admin").use_(async |socket: Socket| {
        socket.state::<Log>().note("admin");
        Ok::<_, &str>(())
    });
    io.on_connect(async |socket: Socket| {
        let from: String = socket.data().get("from").unwrap();
        socket.state::<Log>().note(format!("connected {from} {}", socket.is_connected()));
    });
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(log.take(), ["main false false", "connected main true"]);
    client.post("40/admin,").await;
    assert_eq!(log.take(), ["admin"]);
}
