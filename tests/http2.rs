//! HTTP/2: sessions that share a connection, streams that are reset, WebSockets by extended CONNECT, limits, the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/http2_client.rs"]
mod http2_client;
#[path = "common/raw_client.rs"]
mod raw_client;

use std::sync::Arc;

use bytes::Bytes;
use ferrio::{
    DisconnectReason, Event, HandlerError, Listening, Server, ServerBuilder, Socket, TransportKind,
};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use http2_client::{Answer, Http2Client, WebSocket, answer, whole};
use raw_client::{RawClient, sid, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Message;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// A server that echoes, and reports why its sockets left.
struct App {
    io: Server,
    listening: Listening,
    sockets: mpsc::UnboundedReceiver<Socket>,
    ends: mpsc::UnboundedReceiver<DisconnectReason>,
}

impl App {
    async fn start(builder: ServerBuilder) -> App {
        let io = builder.build().unwrap();
        io.on("echo", async |event: Event| {
            Ok::<_, HandlerError>(event.socket().emit("echo", &event.raw_args())?)
        });
        io.on("handshake", async |event: Event| {
            let socket = event.socket().clone();
            Ok::<_, HandlerError>(event.ack(socket.handshake())?)
        });
        let (sender, sockets) = mpsc::unbounded_channel();
        io.on_connect(move |socket: Socket| {
            sender.send(socket).unwrap();
            async {}
        });
        let (sender, ends) = mpsc::unbounded_channel();
        io.on_disconnect(move |_: Socket, reason: DisconnectReason| {
            // A test that has ended does not listen any more.
            let _ = sender.send(reason);
            async {}
        });
        let listening = io.listen("127.0.0.1:0").await.unwrap();
        App { io, listening, sockets, ends }
    }

    async fn client(&self) -> Http2Client {
        Http2Client::connect(self.listening.local_addr()).await
    }

    async fn next_socket(&mut self) -> Socket {
        soon(self.sockets.recv()).await.unwrap()
    }

    async fn next_end(&mut self) -> DisconnectReason {
        soon(self.ends.recv()).await.unwrap()
    }
}

/// Opens a session by polling and joins the main namespace; gives the session's target.
async fn join(client: &Http2Client) -> String {
    let open = client.get(OPEN).await;
    assert_eq!(open.status, StatusCode::OK, "{open:?}");
    let target = format!("{OPEN}&sid={}", sid(&open.body));
    assert_eq!(client.post(&target, "40").await.body, "ok");
    assert!(client.get(&target).await.body.starts_with("40{"));
    target
}

async fn join_websocket(client: &Http2Client) -> WebSocket {
    let mut websocket = client.websocket(WEBSOCKET).await;
    assert!(next_text(&mut websocket).await.starts_with("0{"));
    websocket.send(Message::text("40")).await.unwrap();
    assert!(next_text(&mut websocket).await.starts_with("40{"));
    websocket
}

async fn next_text(websocket: &mut WebSocket) -> String {
    match soon(websocket.next()).await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

async fn ask(websocket: &mut WebSocket, event: &str) -> serde_json::Value {
    websocket.send(Message::text(format!(r#"420["{event}"]"#))).await.unwrap();
    let ack = next_text(websocket).await;
    serde_json::from_str(ack.strip_prefix("430").unwrap()).unwrap()
}

#[tokio::test]
async fn many_sessions_share_one_connection() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    let session = |number: usize| {
        let client = &client;
        async move {
            let target = join(client).await;
            for _ in 0..3 {
                let packet = format!(r#"42["echo",{number}]"#);
                let (poll, post) = tokio::join!(client.get(&target), client.post(&target, packet.clone()));
                assert_eq!((&*poll.body, &*post.body), (&*packet, "ok"));
            }
        }
    };
    soon(futures_util::future::join_all((0..20).map(session))).await;
}

#[tokio::test]
async fn a_request_has_the_headers_it_would_have_over_http1() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    client.get("/").await;
    let request = client.connect_request(WEBSOCKET).header("cookie", "a=1").header("cookie", "b=2");
    let response = client.send(request.body(whole("")).unwrap()).await.unwrap();
    let mut websocket = http2_client::websocket(response).await;
    next_text(&mut websocket).await;
    websocket.send(Message::text("40")).await.unwrap();
    next_text(&mut websocket).await;
    let handshake = &ask(&mut websocket, "handshake").await[0];
    assert_eq!(handshake["headers"]["host"], "localhost");
    assert_eq!(handshake["headers"]["cookie"], "a=1; b=2");
    assert_eq!(handshake["url"], WEBSOCKET);
    assert_eq!(handshake["address"], "127.0.0.1");
}

#[tokio::test]
async fn whether_it_is_secure_is_not_for_the_client_to_say() {
    let app = App::start(Server::builder()).await;
    let mut client = app.client().await;
    client.origin = "https://localhost";
    client.get("/").await;
    let mut websocket = join_websocket(&client).await;
    assert_eq!(ask(&mut websocket, "handshake").await[0]["secure"], false);
}

/// Over polling, writable means that a GET waits.
async fn get_is_open(socket: &Socket) {
    soon(async {
        while !socket.conn().is_writable() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_aborted_get_ends_its_session_and_no_other() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    let aborted = join(&client).await;
    let socket = app.next_socket().await;
    let other = join(&client).await;
    let poll = tokio::spawn(client.request(Method::GET, &aborted, Bytes::new()));
    get_is_open(&socket).await;
    poll.abort();
    assert_eq!(app.next_end().await, DisconnectReason::TransportError);
    assert_eq!(client.get(&aborted).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(client.post(&other, r#"42["echo",1]"#).await.body, "ok");
    assert_eq!(client.get(&other).await.body, r#"42["echo",1]"#);
}

#[tokio::test]
async fn a_lost_connection_ends_all_its_sessions() {
    let mut app = App::start(Server::builder()).await;
    let stream = std::net::TcpStream::connect(app.listening.local_addr()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let handle = stream.try_clone().unwrap();
    let client = Http2Client::over(TcpStream::from_std(stream).unwrap(), "http://localhost").await;
    let target = join(&client).await;
    let socket = app.next_socket().await;
    let poll = tokio::spawn(client.request(Method::GET, &target, Bytes::new()));
    get_is_open(&socket).await;
    let _websocket = join_websocket(&client).await;
    handle.shutdown(std::net::Shutdown::Both).unwrap();
    let mut ends = [app.next_end().await, app.next_end().await];
    ends.sort_by_key(|reason| reason.as_str());
    assert_eq!(ends, [DisconnectReason::TransportClose, DisconnectReason::TransportError]);
    assert!(soon(poll).await.unwrap().is_err());
}

#[tokio::test]
async fn what_would_cut_a_connection_resets_the_stream() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    let target = join(&client).await;
    // A body that never ends: hyper asks for it once the head has left.
    let asked = Arc::new(Notify::new());
    let asks = Arc::clone(&asked);
    let endless = futures_util::stream::once(async move {
        asks.notify_one();
        std::future::pending::<std::io::Result<Frame<Bytes>>>().await
    });
    let request =
        client.builder(Method::POST, &target).body(StreamBody::new(endless).boxed_unsync()).unwrap();
    let cut = tokio::spawn(client.send(request));
    soon(asked.notified()).await;
    // A second POST beside it ends the session.
    assert_eq!(client.post(&target, "6").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(app.next_end().await, DisconnectReason::TransportError);
    let error = soon(cut).await.unwrap().unwrap_err();
    assert!(!error.is_closed(), "{error:?}");
    assert!(join(&client).await.starts_with(OPEN), "the connection goes on");
}

#[tokio::test]
async fn a_websocket_speaks_over_a_stream() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    client.get("/").await;
    let request = client.connect_request(WEBSOCKET).header("sec-websocket-protocol", "first, second");
    let response = client.send(request.body(whole("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["sec-websocket-protocol"], "first");
    for absent in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert!(!response.headers().contains_key(absent), "{:?}", response.headers());
    }
    let mut websocket = http2_client::websocket(response).await;
    assert!(next_text(&mut websocket).await.starts_with("0{"));
    websocket.send(Message::text("40")).await.unwrap();
    assert!(next_text(&mut websocket).await.starts_with("40{"));
    websocket.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    assert_eq!(soon(websocket.next()).await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
    // As large as a message may be.
    let large = format!(r#"42["echo","{}"]"#, "x".repeat(1_000_000 - 13));
    assert_eq!(large.len(), 1_000_000);
    for _ in 0..3 {
        websocket.send(Message::text(&*large)).await.unwrap();
        assert_eq!(next_text(&mut websocket).await, large);
    }
    websocket.close(None).await.unwrap();
    while let Some(message) = soon(websocket.next()).await {
        assert!(matches!(message, Ok(Message::Close(None))), "{message:?}");
    }
    assert_eq!(app.next_end().await, DisconnectReason::TransportClose);
    assert!(join(&client).await.starts_with(OPEN), "the connection goes on");
}

#[tokio::test]
async fn a_session_upgrades_on_its_connection() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    let target = join(&client).await;
    let poll = tokio::spawn(client.request(Method::GET, &target, Bytes::new()));
    get_is_open(&app.next_socket().await).await;
    let mut websocket = client.websocket(&target.replace("polling", "websocket")).await;
    websocket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(next_text(&mut websocket).await, "3probe");
    assert_eq!(soon(poll).await.unwrap().unwrap().body, "6");
    websocket.send(Message::text("5")).await.unwrap();
    websocket.send(Message::text(r#"42["echo",1]"#)).await.unwrap();
    assert_eq!(next_text(&mut websocket).await, r#"42["echo",1]"#);
}

/// The answer to an extended CONNECT that is refused.
async fn refused(client: &Http2Client, target: &str, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut request = client.connect_request(target).body(whole("")).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let answer = answer(soon(client.send(request)).await.unwrap()).await;
    assert!(!answer.headers.contains_key("connection"));
    answer
}

#[tokio::test]
async fn a_websocket_that_is_refused_gets_a_plain_answer() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    client.get("/").await;
    for (target, headers, body) in [
        (WEBSOCKET, &[("sec-websocket-version", "7")][..], "Missing or invalid Sec-WebSocket-Version header"),
        (WEBSOCKET, &[("sec-websocket-protocol", "a,a")], "Invalid Sec-WebSocket-Protocol header"),
        ("/socket.io/?EIO=4&transport=carrier", &[], "Transport unknown"),
        ("/socket.io/?EIO=4&transport=websocket&sid=none", &[], "Session ID unknown"),
        ("/socket.io/?EIO=2&transport=websocket", &[], "Unsupported protocol version"),
    ] {
        let answer = refused(&client, target, headers).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::BAD_REQUEST, body));
        assert_eq!(answer.headers["content-type"], "text/html");
    }
    let answer = refused(&client, WEBSOCKET, &[("sec-websocket-version", "7")]).await;
    assert_eq!(answer.headers["sec-websocket-version"], "13, 8");
    assert_eq!(refused(&client, "/elsewhere", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_the_transport_there_is_no_websocket() {
    let app = App::start(Server::builder().transports([TransportKind::Polling])).await;
    let client = app.client().await;
    client.get("/").await;
    let answer = refused(&client, WEBSOCKET, &[]).await;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::BAD_REQUEST, r#"{"code":0,"message":"Transport unknown"}"#)
    );
}

#[tokio::test]
async fn a_websocket_by_polling_is_turned_away() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    client.get("/").await;
    let mut websocket = client.websocket(OPEN).await;
    assert_eq!(soon(websocket.next()).await.unwrap().unwrap(), Message::Close(None));
}

#[tokio::test]
async fn a_websocket_that_is_not_read_holds_up_no_other_session() {
    let enough = Arc::new(Notify::new());
    let io = Server::builder().max_waiting_handlers(1).build().unwrap();
    let release = Arc::clone(&enough);
    io.on("wait", move |_: Event| {
        let enough = Arc::clone(&enough);
        async move { enough.notified().await }
    });
    io.on("echo", async |event: Event| {
        Ok::<_, HandlerError>(event.socket().emit("echo", &event.raw_args())?)
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let client = Http2Client::connect(listening.local_addr()).await;
    client.get("/").await;
    let (mut sender, mut receiver) = join_websocket(&client).await.split();
    sender.send(Message::text(r#"42["wait"]"#)).await.unwrap();
    // More than all streams together may send before they are read, and more than the client's own buffers hold.
    let large = format!(r#"42["echo","{}"]"#, "x".repeat(300_000));
    let sent = large.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..6 {
            sender.send(Message::text(&*sent)).await.unwrap();
        }
    });
    let target = join(&client).await;
    assert_eq!(soon(client.post(&target, large.clone())).await.body, "ok");
    assert_eq!(soon(client.get(&target)).await.body, large);
    assert!(!sending.is_finished());
    assert!(receiver.next().now_or_never().is_none(), "the first handler still waits");
    release.notify_one();
    for _ in 0..6 {
        assert_eq!(soon(receiver.next()).await.unwrap().unwrap(), Message::text(&*large));
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_its_stream_only() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    let target = join(&client).await;
    let answer = soon(client.post(&target, "x".repeat(1_000_001))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.post(&target, r#"42["echo",1]"#).await.body, "ok");
    assert_eq!(client.get(&target).await.body, r#"42["echo",1]"#);
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let app = App::start(Server::builder()).await;
    let client = app.client().await;
    client.get("/").await;
    let request = client.builder(Method::GET, OPEN).header("x-long", "x".repeat(20_000));
    let response = soon(client.send(request.body(whole("")).unwrap())).await;
    assert_eq!(response.unwrap().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(client.get(OPEN).await.status, StatusCode::OK);
}

#[tokio::test]
async fn shutting_down_takes_leave_of_every_stream() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    let target = join(&client).await;
    let poll = tokio::spawn(client.request(Method::GET, &target, Bytes::new()));
    get_is_open(&app.next_socket().await).await;
    let mut websocket = join_websocket(&client).await;
    let idle = app.client().await;
    idle.get("/").await;
    let shutdown = tokio::spawn(app.listening.shutdown());
    let last = soon(poll).await.unwrap().unwrap();
    assert_eq!((last.status, &*last.body), (StatusCode::OK, "1"));
    while let Some(message) = soon(websocket.next()).await {
        if message.unwrap().is_close() {
            break;
        }
    }
    while soon(websocket.next()).await.is_some() {}
    drop(websocket);
    soon(shutdown).await.unwrap();
    soon(client.connection).await.unwrap().unwrap();
    soon(idle.connection).await.unwrap().unwrap();
    assert_eq!(app.ends.recv().await, Some(DisconnectReason::ServerShuttingDown));
    assert_eq!(app.ends.recv().await, Some(DisconnectReason::ServerShuttingDown));
    drop(app.io);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_the_preface_is_not_waited_for() {
    let app = App::start(Server::builder()).await;
    let mut stream = TcpStream::connect(app.listening.local_addr()).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    // A minute of virtual time.
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
}

#[tokio::test]
async fn http1_is_still_spoken() {
    let app = App::start(Server::builder()).await;
    let mut client = RawClient::connect(app.listening.local_addr()).await;
    assert_eq!(client.get(OPEN).await.status, 200);
    assert_eq!(client.upgrade(WEBSOCKET).await.status, 101);
}

#[tokio::test]
async fn a_sender_that_waits_for_the_drain_is_let_go_when_the_client_has_read() {
    let mut app = App::start(Server::builder()).await;
    let client = app.client().await;
    let mut websocket = join_websocket(&client).await;
    let socket = app.next_socket().await;
    for _ in 0..4 {
        socket.emit("much", &"x".repeat(200_000)).unwrap();
    }
    let drained = tokio::spawn(async move { socket.conn().drained().await });
    for _ in 0..4 {
        assert!(next_text(&mut websocket).await.starts_with(r#"42["much","x"#));
    }
    soon(drained).await.unwrap();
}
