use super::*;

/// A server whose log says what happens to rooms; own rooms are written `own`.
fn observed() -> (Server, Log) {
    let log = Log::default();
    let io = Server::new();
    let noted = log.clone();
    io.of("/").on_room_event(move |event| {
        let name = |room: &Room| if room.as_str().len() == 20 { "own".to_owned() } else { room.to_string() };
        noted.note(match event {
            RoomEvent::Created { room } => format!("create {}", name(room)),
            RoomEvent::Joined { room, .. } => format!("join {}", name(room)),
            RoomEvent::Left { room, .. } => format!("leave {}", name(room)),
            RoomEvent::Deleted { room } => format!("delete {}", name(room)),
        });
    });
    (io, log)
}

#[tokio::test(start_paused = true)]
async fn rooms_are_created_before_they_are_joined_and_left_before_they_are_deleted() {
    let (io, log) = observed();
    let (client, a) = Client::connected(&io).await;
    assert_eq!(log.take(), ["create own", "join own"]);
    let (_other, b) = Client::connected(&io).await;
    log.take();
    a.join(["x", "y"]);
    a.join("x");
    assert_eq!(log.take(), ["create x", "join x", "create y", "join y"]);
    b.join("x");
    assert_eq!(log.take(), ["join x"]);
    b.leave(["x", "nowhere"]);
    assert_eq!(log.take(), ["leave x"]);
    client.post("41").await;
    assert_eq!(log.take(), ["leave own", "delete own", "leave x", "delete x", "leave y", "delete y"]);
    io.sockets_join("z");
    io.sockets_leave("z");
    assert_eq!(log.take(), ["create z", "join z", "leave z", "delete z"]);
    assert_eq!(io.of("/").rooms_in_use(), [Room::from(b.id())]);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_refused_leaves_the_rooms_of_its_middleware() {
    let (io, log) = observed();
    io.use_(async |socket: Socket| {
        socket.join("x");
        Err::<(), _>(ConnectError::new("no"))
    });
    let client = Client::open(&io).await;
    client.post("40").await;
    assert_eq!(log.take(), ["create x", "join x", "leave x", "delete x"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_change_rooms_and_may_panic() {
    let (io, log) = observed();
    let (_client, socket) = Client::connected(&io).await;
    let follower = socket.clone();
    io.of("/").on_room_event(move |event| match event {
        RoomEvent::Joined { room, .. } if room.as_str() == "x" => follower.join("x too"),
        RoomEvent::Joined { room, .. } if room.as_str() == "x too" => panic!("an observer fails"),
        _ => {}
    });
    log.take();
    socket.join("x");
    assert_eq!(log.take(), ["create x", "join x", "create x too", "join x too"]);
    assert_eq!(io.stats().handler_panics, 1);
    socket.leave("x");
    assert_eq!(log.take(), ["leave x", "delete x"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_socket_leaves_after_its_disconnecting_handlers_is_told_at_once() {
    let (io, log) = observed();
    io.on_disconnecting(async |_: Socket, _: DisconnectReason| {});
    let (client, socket) = Client::connected(&io).await;
    socket.join("x");
    log.take();
    client.post("41").await;
    assert_eq!(log.take(), ["leave own", "delete own", "leave x", "delete x"]);
}
