use super::*;

async fn joined_both(io: &Server) -> (Client, Socket) {
    let (client, socket) = Client::connected(io).await;
    client.post("40/admin,").await;
    client.poll().await;
    (client, socket)
}

#[tokio::test(start_paused = true)]
async fn a_client_leaves_one_namespace_and_stays_in_the_other() {
    let (io, log) = server();
    let (client, socket) = joined_both(&io).await;
    socket.join("room");
    client.post("41").await;
    assert_eq!(log.take(), ["/ client namespace disconnect 0"]);
    assert!(!socket.is_connected());
    assert_eq!(io.of("/admin").sockets().len(), 1);
    assert!(!client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_is_the_end_of_all_its_sockets_in_the_order_of_joining() {
    let (io, log) = server();
    let (client, _) = joined_both(&io).await;
    client.post("1").await;
    settle().await;
    assert_eq!(log.take(), ["/ transport close 0", "/admin transport close 0"]);
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_server_disconnects_one_namespace() {
    let (io, log) = server();
    let (client, socket) = joined_both(&io).await;
    socket.disconnect();
    assert!(!socket.is_connected());
    assert_eq!(socket.rooms(), []);
    settle().await;
    assert_eq!(log.take(), ["/ server namespace disconnect 0"]);
    socket.emit("still", &()).unwrap();
    socket.disconnect();
    assert_eq!(client.poll().await, r#"41|42["still"]"#);
}

#[tokio::test(start_paused = true)]
async fn the_server_closes_the_whole_connection() {
    let (io, log) = server();
    let (client, socket) = joined_both(&io).await;
    let admin = io.of("/admin").sockets().remove(0);
    admin.close_connection();
    settle().await;
    assert_eq!(log.take(), ["/ server namespace disconnect 0", "/admin server namespace disconnect 0"]);
    assert_eq!(client.poll().await, "41|41/admin,");
    assert_eq!(client.poll().await, "6|1");
    assert!(!socket.is_connected());
    assert!(client.is_closed().await);
    assert_eq!(log.take(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_disconnect_its_socket() {
    let (io, log) = server();
    io.on("bye", async |event: Event| event.socket().disconnect());
    let (client, _) = Client::connected(&io).await;
    client.post("42[\"bye\"]").await;
    assert_eq!(log.take(), ["/ server namespace disconnect 0"]);
    assert_eq!(client.poll().await, "41");
}

#[tokio::test(start_paused = true)]
async fn a_broken_rule_closes_the_sockets_at_once_where_no_poll_is_open() {
    for packet in ["40", "42/other,[\"x\"]", "44{\"message\":\"x\"}", "41/other,", "43/other,1[]"] {
        let (io, log) = server();
        let (client, _) = Client::connected(&io).await;
        client.post(packet).await;
        assert_eq!(log.take(), ["/ forced server close 0"], "{packet}");
        assert_eq!(client.poll().await, "6|1");
        assert!(client.is_closed().await);
        assert_eq!(io.stats().protocol_violations, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_rule_is_a_forced_close_where_a_poll_is_open() {
    let (io, log) = server();
    let (client, _) = Client::connected(&io).await;
    let (polled, ()) = tokio::join!(client.poll(), async {
        settle().await;
        client.post("40").await;
    });
    assert_eq!(polled, "1");
    settle().await;
    assert_eq!(log.take(), ["/ forced close 0"]);
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_packet_is_a_forced_close_once_a_poll_collects_it() {
    let (io, log) = server();
    let (client, _) = Client::connected(&io).await;
    client.post("42{}\x1e42[\"ignored\"]").await;
    assert_eq!(log.take(), [""; 0]);
    assert_eq!(client.poll().await, "6|1");
    settle().await;
    assert_eq!(log.take(), ["/ forced close 0"]);
    assert_eq!(io.stats().decode_errors, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_sends_no_disconnect_packets() {
    let (io, log) = server();
    let (client, socket) = joined_both(&io).await;
    let (polled, ()) = tokio::join!(client.request("GET", String::new()), async {
        settle().await;
        io.close().await;
    });
    assert_eq!(polled.1, "1");
    assert_eq!(log.take(), ["/ server shutting down 0", "/admin server shutting down 0"]);
    assert!(!socket.is_connected());
    assert_eq!((io.stats().connections, io.stats().sockets), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_left_joins_nothing() {
    let (io, _) = server();
    let (_client, socket) = Client::connected(&io).await;
    socket.disconnect();
    socket.join(["a", "b"]);
    assert_eq!(socket.rooms(), []);
    assert_eq!(io.of("/").sockets(), []);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_socket_is_kept_after_its_end() {
    let (io, _) = server();
    let (client, socket) = Client::connected(&io).await;
    let witness = Arc::new(());
    let (own, held) = (socket.clone(), Arc::clone(&witness));
    // A handler that holds its own socket: a ring, broken at the end.
    socket.on("x", move |_| {
        let (_own, _held) = (own.clone(), held.clone());
        async {}
    });
    drop(socket);
    client.post("41").await;
    settle().await;
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[tokio::test(start_paused = true)]
async fn any_thread_may_disconnect_a_socket() {
    let (io, log) = server();
    let (client, socket) = Client::connected(&io).await;
    std::thread::spawn(move || socket.disconnect()).join().unwrap();
    assert_eq!(client.poll().await, "41");
    settle().await;
    assert_eq!(log.take(), ["/ server namespace disconnect 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let (io, log) = server_with(|builder| builder.max_send_queue(1200));
    let (client, socket) = Client::connected(&io).await;
    for _ in 0..3 {
        io.emit("much", &"x".repeat(60)).unwrap();
    }
    socket.emit("into the void", &()).unwrap();
    settle().await;
    assert_eq!(log.take(), ["/ transport error 0"]);
    assert_eq!(io.stats().slow_peers, 1);
    assert!(client.is_closed().await);
}
