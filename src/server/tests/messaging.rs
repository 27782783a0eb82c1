use super::*;

#[tokio::test(start_paused = true)]
async fn everybody_in_the_namespace_hears_and_nobody_else() {
    let (io, _) = server();
    let (ada, _) = Client::connected(&io).await;
    let (bob, _) = Client::connected(&io).await;
    let eve = Client::open(&io).await;
    eve.post("40/admin,").await;
    eve.poll().await;
    io.emit("news", &"rain").unwrap();
    io.of("/admin").emit("secret", &()).unwrap();
    assert_eq!(ada.poll().await, r#"42["news","rain"]"#);
    assert_eq!(bob.poll().await, r#"42["news","rain"]"#);
    assert_eq!(eve.poll().await, r#"42/admin,["secret"]"#);
}

#[tokio::test(start_paused = true)]
async fn the_sender_of_a_broadcast_does_not_hear_it() {
    let (io, _) = server();
    let (ada, sender) = Client::connected(&io).await;
    let (bob, other) = Client::connected(&io).await;
    sender.join("room");
    other.join("room");
    sender.broadcast().emit("all", &()).unwrap();
    sender.to("room").emit("room", &()).unwrap();
    io.to("room").emit("end", &()).unwrap();
    assert_eq!(ada.poll().await, r#"42["end"]"#);
    assert_eq!(bob.poll().await, r#"42["all"]|42["room"]|42["end"]"#);
}

#[tokio::test(start_paused = true)]
async fn rooms_are_chosen_once_and_may_be_left_out() {
    let (io, _) = server();
    let (ada, a) = Client::connected(&io).await;
    let (bob, b) = Client::connected(&io).await;
    a.join(["x", "y"]);
    b.join(["x", "muted"]);
    let operator = io.to("x").in_(["y".to_owned()]);
    operator.except("muted").emit("1", &()).unwrap();
    operator.emit("2", &()).unwrap();
    io.to(b.id()).emit("3", &()).unwrap();
    io.except(b.id()).emit("4", &()).unwrap();
    a.leave("x");
    io.to("x").emit("5", &()).unwrap();
    assert_eq!(ada.poll().await, r#"42["1"]|42["2"]|42["4"]"#);
    assert_eq!(bob.poll().await, r#"42["2"]|42["3"]|42["5"]"#);
}

#[tokio::test(start_paused = true)]
async fn a_socket_is_in_a_room_of_its_own() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    socket.join("room");
    assert_eq!(socket.rooms(), [Room::from(socket.id()), Room::from("room")]);
}

#[tokio::test(start_paused = true)]
async fn data_is_read_as_it_was_set() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    let data = socket.data();
    assert!(matches!(data.get::<String>("user"), Err(DataError::Missing { .. })));
    data.insert("user", "ada").unwrap();
    data.insert("user", "bob").unwrap();
    assert_eq!(data.get::<String>("user").unwrap(), "bob");
    assert!(matches!(data.get::<u8>("user"), Err(DataError::Unexpected { .. })));
    data.merge(&serde_json::json!({"user": "eve", "age": 7, "list": [1, 2]})).unwrap();
    assert_eq!(data.get::<(String, u8)>("user").ok(), None);
    assert_eq!(data.get::<u8>("age").unwrap(), 7);
    assert_eq!(data.get::<Vec<u8>>("list").unwrap(), [1, 2]);
    assert_eq!(data.get::<(u8, u8)>("list").unwrap(), (1, 2));
    assert_eq!(data.remove("user").unwrap().as_str(), Some("eve"));
    assert_eq!(data.values().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn extensions_are_kept_by_type() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    assert!(socket.extensions().get::<u8>().is_none());
    socket.extensions().insert(7_u8);
    assert_eq!(socket.extensions().get::<u8>().as_deref(), Some(&7));
}

#[tokio::test(start_paused = true)]
async fn sockets_are_found_by_id_and_by_room() {
    let (io, _) = server();
    let (_first, a) = Client::connected(&io).await;
    let (second, b) = Client::connected(&io).await;
    a.join(["x", "y"]);
    b.join("y");
    assert_eq!(io.of("/").socket(a.id().as_str()), Some(a.clone()));
    assert_eq!(io.of("/admin").socket(a.id().as_str()), None);
    assert_eq!(io.in_("x").sockets(), vec![a.clone()]);
    assert_eq!(io.in_(["x", "y"]).sockets().len(), 2);
    assert_eq!(io.to("y").except("x").sockets(), vec![b.clone()]);
    assert_eq!(a.broadcast().sockets(), vec![b.clone()]);
    assert_eq!(io.in_("nobody").sockets(), []);
    second.post("41").await;
    assert_eq!(io.of("/").socket(b.id().as_str()), None);
}
