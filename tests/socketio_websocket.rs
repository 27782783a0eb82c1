//! Socket.IO over real WebSockets: what differs from polling.

#![allow(clippy::unwrap_used)] // a test fails by it

use std::sync::Arc;

use ferrio::{DisconnectReason, Event, HandlerError, OutgoingEvent, Server, Socket, SocketError};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Opens a connection and joins the main namespace.
    async fn connected(listening: &ferrio::Listening) -> Client {
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", listening.local_addr());
        let mut client = Client(connect_async(url).await.unwrap().0);
        assert!(client.next().await.starts_with("0{"));
        client.send("40").await;
        assert!(client.next().await.starts_with(r#"40{"sid":""#));
        client
    }

    async fn send(&mut self, packet: &str) {
        self.0.send(Message::text(packet)).await.unwrap();
    }

    /// Gives the next message; the end is empty.
    async fn next(&mut self) -> String {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            Some(Ok(Message::Binary(data))) => format!("{:?}", &data[..]),
            Some(Ok(Message::Close(None))) | None => String::new(),
            other => panic!("{other:?}"),
        }
    }
}

/// A server whose socket ends are reported.
async fn server() -> (Server, ferrio::Listening, mpsc::UnboundedReceiver<DisconnectReason>) {
    let io = Server::new();
    let (sender, ends) = mpsc::unbounded_channel();
    io.on_disconnect(move |_: Socket, reason: DisconnectReason| {
        sender.send(reason).unwrap();
        async {}
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    (io, listening, ends)
}

#[tokio::test]
async fn a_broken_rule_is_a_forced_close() {
    let (_io, listening, mut ends) = server().await;
    let mut client = Client::connected(&listening).await;
    client.send("40").await;
    assert_eq!(client.next().await, "");
    assert_eq!(ends.recv().await, Some(DisconnectReason::ForcedClose));
}

#[tokio::test]
async fn a_clean_end_is_a_transport_close() {
    let (io, listening, mut ends) = server().await;
    let mut client = Client::connected(&listening).await;
    client.0.close(None).await.unwrap();
    assert_eq!(ends.recv().await, Some(DisconnectReason::TransportClose));
    assert_eq!(io.stats().sockets, 0);
}

#[tokio::test]
async fn a_shutdown_is_told_as_such() {
    let (_io, listening, mut ends) = server().await;
    let mut client = Client::connected(&listening).await;
    let shutdown = tokio::spawn(listening.shutdown());
    assert_eq!(client.next().await, "");
    drop(client);
    shutdown.await.unwrap();
    assert_eq!(ends.recv().await, Some(DisconnectReason::ServerShuttingDown));
}

#[tokio::test]
async fn twenty_thousand_pipelined_events_are_started_in_order() {
    const EVENTS: u32 = 20_000;
    let (io, listening, _ends) = server().await;
    let started = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&started);
    io.on("x", move |event: Event| {
        let log = Arc::clone(&log);
        async move {
            log.lock().unwrap().push(event.args::<u32>()?);
            tokio::task::yield_now().await;
            event.ack(&())?;
            Ok::<_, HandlerError>(())
        }
    });
    let client = Client::connected(&listening).await;
    let (mut writer, mut reader) = client.0.split();
    let writing = tokio::spawn(async move {
        for number in 0..EVENTS {
            writer.feed(Message::text(format!("42{number}[\"x\",{number}]"))).await.unwrap();
        }
        writer.flush().await.unwrap();
        writer
    });
    for _ in 0..EVENTS {
        assert!(reader.next().await.unwrap().unwrap().to_text().unwrap().starts_with("43"));
    }
    drop(writing.await.unwrap());
    assert_eq!(*started.lock().unwrap(), (0..EVENTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_binary_broadcast_reaches_every_client_whole() {
    let (io, listening, _ends) = server().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connected(&listening).await);
    }
    io.emit("photo", &bytes::Bytes::from_static(&[1, 2, 3])).unwrap();
    for client in &mut clients {
        assert_eq!(client.next().await, r#"451-["photo",{"_placeholder":true,"num":0}]"#);
        assert_eq!(client.next().await, "[1, 2, 3]");
    }
}

#[tokio::test]
async fn a_volatile_event_is_dropped_exactly_while_something_waits_to_be_written() {
    let (io, listening, _ends) = server().await;
    let mut client = Client::connected(&listening).await;
    let socket = io.of("/").sockets().remove(0);
    let binary = bytes::Bytes::from_static(&[1, 2]);
    socket.conn().drained().await;
    socket.volatile().emit("first", &binary).unwrap();
    socket.volatile().emit("dropped", &binary).unwrap();
    assert_eq!(client.next().await, r#"451-["first",{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next().await, "[1, 2]");
    socket.conn().drained().await;
    socket.emit("before", &()).unwrap();
    socket.volatile().emit("dropped", &()).unwrap();
    socket.emit("after", &()).unwrap();
    assert_eq!(client.next().await, r#"42["before"]"#);
    assert_eq!(client.next().await, r#"42["after"]"#);
    socket.conn().drained().await;
    socket.volatile().emit("alone", &1).unwrap();
    assert_eq!(client.next().await, r#"42["alone",1]"#);
}

#[tokio::test]
async fn listeners_see_what_comes_and_goes_and_a_lost_connection_before_its_rooms_are_left() {
    let (io, listening, mut ends) = server().await;
    let (sender, mut seen) = mpsc::unbounded_channel();
    let note = move |line: String| sender.send(line).unwrap();
    io.on_connect({
        let note = note.clone();
        move |socket: Socket| {
            let (incoming, outgoing, leaving) = (note.clone(), note.clone(), note.clone());
            socket.on_any(move |event: Event| {
                incoming(format!("in {}", event.name()));
                async {}
            });
            socket.use_(async |event: Event| match event.name() {
                "old" => event.with_name("new").map_err(HandlerError::from),
                "forbidden" => Err("forbidden".into()),
                _ => Ok(event),
            });
            socket.on_any_outgoing(move |event: &OutgoingEvent| outgoing(format!("out {}", event.name())));
            socket.on_disconnecting(move |socket: Socket, reason: DisconnectReason| {
                let rooms = socket.rooms().iter().filter(|room| room.as_str() == "room").count();
                leaving(format!("leaving {rooms} {reason}"));
                async {}
            });
            async move { socket.join(["room", "other"]) }
        }
    });
    io.on("new", async |event: Event| event.ack(&event.raw_args()));
    io.on_error(move |error: &SocketError| note(error.to_string()));
    let mut client = Client::connected(&listening).await;
    client.send(r#"421["forbidden"]"#).await;
    client.send(r#"451-2["old",{"_placeholder":true,"num":0}]"#).await;
    client.0.send(Message::binary(vec![0, 1])).await.unwrap();
    assert_eq!(client.next().await, r#"461-2[{"_placeholder":true,"num":0}]"#);
    assert_eq!(client.next().await, "[0, 1]");
    io.to("room").emit("news", &()).unwrap();
    assert_eq!(client.next().await, r#"42["news"]"#);
    drop(client);
    assert_eq!(ends.recv().await, Some(DisconnectReason::TransportClose));
    drop(io);
    listening.shutdown().await;
    let mut lines = Vec::new();
    while let Ok(line) = seen.try_recv() {
        lines.push(line);
    }
    assert_eq!(
        lines,
        [
            "in forbidden",
            r#"a middleware of the socket refused an event (event "forbidden")"#,
            "in old",
            "out news",
            "leaving 1 transport close",
        ]
    );
}

#[tokio::test]
async fn many_clients_of_one_invented_name_share_it_and_the_last_one_takes_it_along() {
    const CLIENTS: usize = 20;
    let io = Server::builder().cleanup_empty_child_namespaces(true).build().unwrap();
    let parent = io.of_pattern("^/dyn-[0-9]+$").unwrap();
    let (sender, mut left) = mpsc::unbounded_channel();
    parent.on_disconnect(move |socket: Socket, _: DisconnectReason| {
        sender.send(socket.namespace().clone()).unwrap();
        async {}
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let joining = (0..CLIENTS).map(|_| async {
        let mut client = Client::connected(&listening).await;
        client.send("40/dyn-7,").await;
        assert!(client.next().await.starts_with(r#"40/dyn-7,{"sid":""#));
        client
    });
    let mut clients = futures_util::future::join_all(joining).await;
    assert_eq!(parent.children().len(), 1);
    parent.emit("all", &()).unwrap();
    for client in &mut clients {
        assert_eq!(client.next().await, r#"42/dyn-7,["all"]"#);
    }
    drop(clients);
    for _ in 0..CLIENTS {
        left.recv().await.unwrap();
    }
    listening.shutdown().await;
    assert_eq!(parent.children(), []);
}
