use super::*;

/// Two clients in the room `room`, whose sockets' ids are `0` and `1` of the list.
async fn two_members(io: &Server) -> [(Client, Socket); 2] {
    let members = [Client::connected(io).await, Client::connected(io).await];
    for (_, socket) in &members {
        socket.join("room");
    }
    members
}

fn pending(io: &Server) -> Vec<usize> {
    io.of("/").pending_broadcasts().missing()
}

#[tokio::test(start_paused = true)]
async fn one_id_goes_to_all_and_the_first_arguments_come_in_order_of_arrival() {
    let (io, _) = server();
    let [(ada, _), (bob, _)] = two_members(&io).await;
    let votes = io.to("room").emit_with_ack::<String>("vote", &7);
    assert_eq!(ada.poll().await, r#"420["vote",7]"#);
    assert_eq!(bob.poll().await, r#"420["vote",7]"#);
    bob.post(r#"430["b","surplus"]"#).await;
    bob.post(r#"430["again"]"#).await;
    ada.post(r#"430["a"]"#).await;
    assert_eq!(votes.await.unwrap(), ["b", "a"]);
    assert_eq!(pending(&io), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn answers_are_read_as_they_come_and_the_rest_as_a_whole() {
    let (io, _) = server();
    let [(ada, _), (bob, _)] = two_members(&io).await;
    let mut votes = io.to("room").emit_with_ack::<u8>("vote", &());
    bob.post("430[1]").await;
    assert_eq!(votes.next().await.unwrap().unwrap(), 1);
    ada.post("430[2]").await;
    assert_eq!((&mut votes).await.unwrap(), [2]);
    assert!(votes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_in_time_leaves_the_answers_of_the_others() {
    let (io, _) = server();
    let [(ada, _), (bob, _)] = two_members(&io).await;
    let began = tokio::time::Instant::now();
    let votes = io.timeout(Duration::from_secs(2)).to("room").emit_with_ack::<u8>("vote", &());
    bob.post("430[1]").await;
    let error = votes.await.unwrap_err();
    assert!(matches!(error.reason, AckError::Timeout));
    assert_eq!(error.to_string(), "operation has timed out");
    assert_eq!(error.responses, [1]);
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(pending(&io), [0; 0]);
    ada.post("430[2]").await;
    assert!(!ada.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_it_is_five_seconds() {
    let (io, _) = server();
    let _members = two_members(&io).await;
    let began = tokio::time::Instant::now();
    let mut votes = io.emit_with_ack::<u8>("vote", &());
    assert!(matches!(votes.next().await, Some(Err(AckError::Timeout))));
    assert!(votes.next().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_the_emit() {
    let (io, _) = server();
    let _members = two_members(&io).await;
    let began = tokio::time::Instant::now();
    let votes = io.emit_with_ack::<u8>("vote", &());
    tokio::time::sleep(Duration::from_secs(3)).await;
    votes.await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn nobody_addressed_is_no_answer_at_once() {
    let (io, _) = server();
    let began = tokio::time::Instant::now();
    assert_eq!(io.to("nobody").emit_with_ack::<u8>("vote", &()).await.unwrap(), [0; 0]);
    assert_eq!(io.emit_with_ack::<u8>("vote", &()).await.unwrap(), [0; 0]);
    assert!(io.emit_with_ack::<u8>("vote", &()).next().await.is_none());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_without_an_answer_is_forgotten_and_waited_for() {
    let (io, _) = server();
    let [(ada, _), (bob, _)] = two_members(&io).await;
    let began = tokio::time::Instant::now();
    let votes = io.to("room").emit_with_ack::<u8>("vote", &());
    assert_eq!(pending(&io), [2]);
    bob.post("41").await;
    assert_eq!(pending(&io), [1]);
    ada.post("430[1]").await;
    assert_eq!(pending(&io), [0]);
    assert_eq!(votes.await.unwrap_err().responses, [1]);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(pending(&io), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_waits_for_are_forgotten() {
    let (io, _) = server();
    let _members = two_members(&io).await;
    let votes = io.emit_with_ack::<u8>("vote", &());
    assert_eq!(pending(&io), [2]);
    drop(votes);
    assert_eq!(pending(&io), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn only_those_who_were_asked_answer() {
    let (io, _) = server();
    let [(ada, socket), (bob, _)] = two_members(&io).await;
    let votes = io.to(socket.id()).emit_with_ack::<u8>("vote", &());
    bob.post("430[6]").await;
    ada.post("430[7]").await;
    assert_eq!(votes.await.unwrap(), [7]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_type_does_not_hide_the_others() {
    let (io, _) = server();
    let [(ada, _), (bob, _)] = two_members(&io).await;
    let votes = io.emit_with_ack::<u8>("vote", &());
    ada.post(r#"430["text"]"#).await;
    bob.post("430[2]").await;
    let error = votes.await.unwrap_err();
    assert!(matches!(error.reason, AckError::Args(_)));
    assert_eq!(error.responses, [2]);
    let votes = io.emit_with_ack::<Option<u8>>("vote", &());
    ada.post("431[]").await;
    bob.post("431[3]").await;
    assert_eq!(votes.await.unwrap(), [None, Some(3)]);
    let lists = io.emit_with_ack::<(u8, u8)>("vote", &());
    ada.post("432[[1,2],9]").await;
    bob.post("432[[3,4]]").await;
    assert_eq!(lists.await.unwrap(), [(1, 2), (3, 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_reserved_name_is_not_broadcast() {
    let (io, _) = server();
    let _members = two_members(&io).await;
    let error = io.emit_with_ack::<u8>("connect", &()).await.unwrap_err();
    assert!(matches!(error.reason, AckError::Emit(_)));
    assert_eq!(pending(&io), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn single_emits_and_broadcasts_share_the_counter() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let (_a, _b) = (socket.emit_with_ack::<u8>("a", &()), io.emit_with_ack::<u8>("b", &()));
    let _c = socket.emit_with_ack::<u8>("c", &());
    assert_eq!(client.poll().await, r#"420["a"]|421["b"]|422["c"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_a_broadcast_beyond_all_time_is_none() {
    let (io, _) = server();
    let (client, _) = Client::connected(&io).await;
    let votes = io.timeout(Duration::MAX).emit_with_ack::<u8>("vote", &());
    client.post("430[1]").await;
    assert_eq!(votes.await.unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_volatile_reaches_only_who_can_be_written_to() {
    let (io, _) = server();
    let [(waiting, _), (absent, _)] = two_members(&io).await;
    let poll = tokio::spawn(async move { (waiting.poll().await, waiting) });
    settle().await;
    io.volatile().emit("position", &1).unwrap();
    io.to("room").volatile().emit("position", &2).unwrap();
    let (heard, waiting) = poll.await.unwrap();
    assert_eq!(heard, r#"42["position",1]"#);
    io.emit("end", &()).unwrap();
    assert_eq!(waiting.poll().await, r#"42["end"]"#);
    assert_eq!(absent.poll().await, r#"42["end"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_volatile_event_that_was_lost_is_waited_for() {
    let (io, _) = server();
    let (client, _) = Client::connected(&io).await;
    let votes = io.volatile().emit_with_ack::<u8>("vote", &());
    assert!(matches!(votes.await.unwrap_err().reason, AckError::Timeout));
    io.emit("end", &()).unwrap();
    assert_eq!(client.poll().await, r#"42["end"]"#);
}

#[tokio::test(start_paused = true)]
async fn what_shall_not_be_compressed_is_not() {
    async fn is_compressed(io: &Server, emit: impl FnOnce(&Socket)) -> bool {
        let (client, socket) = Client::connected(io).await;
        emit(&socket);
        let uri = format!("/socket.io/?EIO=4&transport=polling{}", client.session);
        let request = Request::builder().uri(uri).header("accept-encoding", "gzip");
        let request = request.body(Full::new(bytes::Bytes::new())).unwrap();
        io.engine().handle(request, PeerInfo::default()).await.headers().contains_key("content-encoding")
    }
    let (io, _) = server();
    let text = "x".repeat(5000);
    for compress in [true, false] {
        let to_all = is_compressed(&io, |_| io.compress(compress).emit("news", &text).unwrap());
        assert_eq!(to_all.await, compress);
        let to_one = is_compressed(&io, |socket| socket.compress(compress).emit("news", &text).unwrap());
        assert_eq!(to_one.await, compress);
    }
    assert!(is_compressed(&io, |socket| socket.emit("news", &text).unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn a_socket_addresses_the_others_by_every_way() {
    let (io, _) = server();
    let [(ada, sender), (bob, _)] = two_members(&io).await;
    sender.in_("room").emit("1", &()).unwrap();
    sender.local().emit("2", &()).unwrap();
    io.local().emit("3", &()).unwrap();
    assert_eq!(ada.poll().await, r#"42["3"]"#);
    assert_eq!(bob.poll().await, r#"42["1"]|42["2"]|42["3"]"#);
}

#[tokio::test(start_paused = true)]
async fn those_addressed_join_and_leave_rooms() {
    let (io, _) = server();
    let [(_ada, a), (_bob, b)] = two_members(&io).await;
    io.in_(a.id()).sockets_join(["x", "y"]);
    assert_eq!(io.in_("x").sockets(), vec![a.clone()]);
    io.sockets_join("x");
    assert_eq!(io.in_("x").sockets().len(), 2);
    io.in_("y").sockets_leave(vec!["x", "y"]);
    assert_eq!(io.in_("x").sockets(), vec![b.clone()]);
    assert_eq!(a.rooms(), [Room::from(a.id()), Room::from("room")]);
    io.sockets_leave("room");
    assert_eq!(io.in_("room").sockets(), []);
}

#[tokio::test(start_paused = true)]
async fn those_addressed_are_disconnected() {
    let (io, log) = server();
    let [(ada, a), (bob, _)] = two_members(&io).await;
    io.in_(a.id()).disconnect_sockets(false);
    assert_eq!(ada.poll().await, "41");
    assert!(!ada.is_closed().await);
    io.disconnect_sockets(true);
    assert_eq!((bob.poll().await, bob.poll().await), ("41".to_owned(), "6|1".to_owned()));
    settle().await;
    assert!(bob.is_closed().await);
    assert_eq!(log.take(), ["/ server namespace disconnect 0", "/ server namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn sockets_are_fetched_with_what_is_known_of_them() {
    let (io, _) = server();
    let [(ada, a), (_bob, _)] = two_members(&io).await;
    a.join("x");
    a.data().insert("user", "ada").unwrap();
    assert_eq!(io.fetch_sockets().await.unwrap().len(), 2);
    let found = io.in_("x").fetch_sockets().await.unwrap();
    let [found] = found.as_slice() else { panic!("one socket is in the room") };
    assert_eq!(found.id(), a.id());
    assert_eq!(found.rooms(), a.rooms());
    assert_eq!(found.data().get("user").and_then(Value::as_str), Some("ada"));
    assert_eq!(found.get_data::<String>("user").unwrap(), "ada");
    assert!(matches!(found.get_data::<u8>("age"), Err(DataError::Missing { .. })));
    let handshake = found.handshake();
    assert_eq!(handshake.get("headers").and_then(|headers| headers.get("x-test")), Some(&"yes".into()));
    let json = serde_json::to_value(found).unwrap();
    assert_eq!(json["rooms"], serde_json::json!([a.id().as_str(), "room", "x"]));
    assert_eq!(json["handshake"]["url"].as_str(), handshake.get("url").and_then(Value::as_str));

    found.emit("hello", &1).unwrap();
    let answer = found.emit_with_ack::<u8>("question", &());
    assert_eq!(ada.poll().await, r#"42["hello",1]|420["question"]"#);
    ada.post("430[7,8]").await;
    assert_eq!(answer.await.unwrap(), 7);
    let answer = found.timeout(Duration::from_secs(1)).emit_with_ack::<u8>("question", &());
    assert!(matches!(answer.await, Err(AckError::Timeout)));
    found.join(["y", "z"]);
    found.leave("x");
    assert_eq!(a.rooms()[1..], ["room", "y", "z"].map(Room::from));
    found.disconnect();
    assert!(!a.is_connected());
    let answer = found.emit_with_ack::<u8>("question", &());
    assert!(matches!(answer.await, Err(AckError::Disconnected)));
}

#[tokio::test(start_paused = true)]
async fn a_handle_closes_the_connection() {
    let (io, _) = server();
    let (client, _) = Client::connected(&io).await;
    io.fetch_sockets().await.unwrap()[0].close_connection();
    assert_eq!((client.poll().await, client.poll().await), ("41".to_owned(), "6|1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_volatile_broadcast_with_attachments_is_sent_whole_or_not_at_all() {
    let (io, _) = server();
    let [(waiting, _), (absent, _)] = two_members(&io).await;
    let poll = tokio::spawn(async move { (waiting.poll().await, waiting) });
    settle().await;
    let picture = (bytes::Bytes::from_static(&[1]), bytes::Bytes::from_static(&[2]));
    io.to("room").volatile().emit("picture", &picture).unwrap();
    io.volatile().emit("picture", &picture).unwrap();
    io.emit("end", &()).unwrap();
    let (heard, waiting) = poll.await.unwrap();
    let rest = if heard.contains("end") { String::new() } else { format!("|{}", waiting.poll().await) };
    assert_eq!(
        format!("{heard}{rest}"),
        r#"452-["picture",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]|bAQ==|bAg==|42["end"]"#
    );
    assert_eq!(absent.poll().await, r#"42["end"]"#);
}

#[tokio::test(start_paused = true)]
async fn operators_stay_as_they_are() {
    let (io, _) = server();
    let [(ada, first), (bob, second)] = two_members(&io).await;
    let all = io.local();
    let room = all.to("room");
    drop(room.except(second.id()));
    drop(room.to("other").volatile().compress(false).timeout(Duration::ZERO));
    all.to(first.id()).emit("first", &()).unwrap();
    room.emit("room", &()).unwrap();
    all.emit("all", &()).unwrap();
    // What a socket's own operator says is nobody else's.
    drop(first.volatile().compress(false));
    first.to("room").emit("others", &()).unwrap();
    first.emit("own", &()).unwrap();
    assert_eq!(ada.poll().await, r#"42["first"]|42["room"]|42["all"]|42["own"]"#);
    assert_eq!(bob.poll().await, r#"42["room"]|42["all"]|42["others"]"#);
}

#[tokio::test(start_paused = true)]
async fn how_a_socket_sends_is_how_it_sends_to_the_others() {
    let (io, _) = server();
    let (_sender, socket) = Client::connected(&io).await;
    let (other, _) = Client::connected(&io).await;
    // Nobody polls.
    socket.volatile().broadcast().emit("lost", &()).unwrap();
    socket.volatile().compress(false).except("room").emit("lost", &()).unwrap();
    socket.compress(false).local().emit("x", &()).unwrap();
    let asked = socket.timeout(Duration::from_secs(1)).to("room").emit_with_ack::<u8>("nobody", &());
    assert!(asked.await.unwrap().is_empty());
    let asked = socket.timeout(Duration::from_secs(1)).broadcast().emit_with_ack::<u8>("y", &());
    assert_eq!(other.poll().await, r#"42["x"]|421["y"]"#);
    assert!(matches!(asked.await.unwrap_err().reason, AckError::Timeout));
}
