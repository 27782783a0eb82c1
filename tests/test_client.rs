//! `ferrio::testing`: a client in the same process, as tests of an application use it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferrio::testing::{TestClient, TestError};
use ferrio::{
    AckError, ConnectError, DisconnectReason, Event, HandlerError, MsgpackParser, Server, ServerBuilder,
    Socket, TransportKind,
};
use http::StatusCode;
use serde_json::json;

const TRANSPORTS: [TransportKind; 2] = [TransportKind::WebSocket, TransportKind::Polling];

/// A server that echoes, and notes who leaves why.
fn server_with(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> (Server, Arc<Mutex<Vec<String>>>) {
    let io = configure(Server::builder()).build().unwrap();
    let left = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&left);
    io.on_disconnect(move |_: Socket, reason: DisconnectReason| {
        noted.lock().unwrap().push(reason.to_string());
        async {}
    });
    io.on("echo", async |event: Event| {
        event.ack(&event.raw_args())?;
        event.socket().emit("echo", &event.raw_args())
    });
    (io, left)
}

/// Lets all tasks do what they can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn events_and_acknowledgements_go_both_ways_by_either_transport() {
    for transport in TRANSPORTS {
        let (io, _) = server_with(|builder| builder);
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        let socket = io.of("/").socket(client.id().as_str()).unwrap();
        assert_eq!(socket.conn().transport(), transport);

        let sent = (1, "text", Bytes::from_static(b"\x01\x02"), [true], Bytes::from_static(b""));
        client.emit("echo", &sent).unwrap();
        let got: (u8, String, Bytes, Vec<bool>, Bytes) = client.expect("echo").await.unwrap();
        assert_eq!((got.0, &*got.1, &got.2, [got.3[0]], &got.4), (1, "text", &sent.2, [true], &sent.4));
        assert_eq!(
            client.emit_with_ack::<(u8, String)>("echo", &(7, "x")).await.unwrap(),
            (7, "x".to_owned())
        );
        assert_eq!(client.next_event().await.unwrap().args::<(u8, String)>().unwrap(), (7, "x".to_owned()));

        let answer = socket.emit_with_ack::<String>("question", &Bytes::from_static(b"\x03"));
        let question = client.next_event().await.unwrap();
        assert!(question.wants_ack());
        assert_eq!(question.values().len(), 1);
        question.ack(question.name()).unwrap();
        assert_eq!(answer.await.unwrap(), "question");
    }
}

#[tokio::test(start_paused = true)]
async fn other_parsers_are_spoken_too() {
    for transport in TRANSPORTS {
        let (io, _) = server_with(|builder| builder.parser(MsgpackParser));
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        client.emit("echo", &(1, Bytes::from_static(b"\x01"))).unwrap();
        assert_eq!(client.expect::<(u8, Bytes)>("echo").await.unwrap(), (1, Bytes::from_static(b"\x01")));
        assert_eq!(client.emit_with_ack::<Vec<u8>>("echo", &vec![1, 2]).await.unwrap(), [1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_and_many_go_through() {
    for transport in TRANSPORTS {
        let (io, _) = server_with(|builder| builder);
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        let large = "x".repeat(300_000);
        client.emit("echo", &large).unwrap();
        for number in 0..1000 {
            client.emit("echo", &number).unwrap();
        }
        assert_eq!(client.expect::<String>("echo").await.unwrap(), large);
        for number in 0..1000 {
            assert_eq!(client.expect::<u32>("echo").await.unwrap(), number);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_what_a_client_comes_with() {
    for transport in TRANSPORTS {
        let io = Server::new();
        let seen = Arc::<Mutex<Vec<serde_json::Value>>>::default();
        let noted = Arc::clone(&seen);
        io.of("/admin").use_(move |socket: Socket| {
            noted.lock().unwrap().push(serde_json::to_value(socket.handshake()).unwrap());
            std::future::ready(Ok::<_, ConnectError>(()))
        });
        let client = TestClient::builder(&io).namespace("admin").auth(&json!({ "token": "t" }));
        let client = client.query("a b", "ü&").header("x-test", "1").address([10, 0, 0, 7].into());
        let client = client.transport(transport).connect().await.unwrap();
        assert_eq!(client.namespace(), "/admin");
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0]["auth"], json!({ "token": "t" }));
        assert_eq!(seen[0]["query"]["a b"], "ü&");
        assert_eq!(seen[0]["headers"]["x-test"], "1");
        assert_eq!(seen[0]["headers"]["host"], "localhost");
        assert_eq!(seen[0]["address"], "10.0.0.7");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_typed_error() {
    for transport in TRANSPORTS {
        let (io, _) = server_with(|builder| builder);
        io.of("/admin")
            .use_(async |_: Socket| Err::<(), _>(ConnectError::new("no").with_data(&json!({ "code": 7 }))));
        let client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        let error = client.join("/admin").await.unwrap_err();
        let expected = ConnectError::new("no").with_data(&json!({ "code": 7 }));
        assert_eq!(error.connect_error(), Some(&expected));
        let error = client.join_with_auth("/unknown", &json!({})).await.unwrap_err();
        assert_eq!(error.connect_error().unwrap().message(), "Invalid namespace");
        assert!(matches!(client.join("/").await, Err(TestError::AlreadyJoined)));
        assert!(io.of("/").socket(client.id().as_str()).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_middleware_emits_is_kept() {
    for transport in TRANSPORTS {
        let io = Server::new();
        io.use_(async |socket: Socket| {
            socket.emit("early", &1).map_err(|error| error.to_string())?;
            Ok::<_, ConnectError>(())
        });
        io.on_connect(async |socket: Socket| socket.emit("welcome", &2));
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        assert_eq!(client.expect::<u8>("welcome").await.unwrap(), 2);
        assert_eq!(client.expect::<u8>("early").await.unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_tells_the_answer() {
    let (io, _) = server_with(|builder| {
        builder.allow_request(async |_| Err(ferrio::engine::Forbidden::new("not today")))
    });
    // Node, and so we, answer 400 to every WebSocket that is refused.
    let expected = [
        (StatusCode::BAD_REQUEST, "not today"),
        (StatusCode::FORBIDDEN, r#"{"code":4,"message":"not today"}"#),
    ];
    for (transport, expected) in TRANSPORTS.into_iter().zip(expected) {
        let error = TestClient::builder(&io).transport(transport).connect().await.unwrap_err();
        let TestError::Refused { status, body } = error else { panic!("{error:?}") };
        assert_eq!((status, &*body), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_websockets_is_polled() {
    let (io, _) = server_with(|builder| builder.transports([TransportKind::Polling]));
    let client = TestClient::connect(&io).await.unwrap();
    let socket = io.of("/").socket(client.id().as_str()).unwrap();
    assert_eq!(socket.conn().transport(), TransportKind::Polling);
}

#[tokio::test(start_paused = true)]
async fn namespaces_share_a_connection_and_nothing_else() {
    let (io, left) = server_with(|builder| builder);
    io.of("/admin").on("hello", async |event: Event| event.socket().emit("hello", "admin"));
    let main = TestClient::connect(&io).await.unwrap();
    let mut admin = main.join("/admin").await.unwrap();
    assert_eq!(io.clients_count(), 1);
    assert_ne!(main.id(), admin.id());
    admin.emit("hello", &()).unwrap();
    assert_eq!(admin.expect::<String>("hello").await.unwrap(), "admin");
    main.disconnect().await;
    assert_eq!(
        admin.emit_with_ack::<()>("nobody answers", &()).await.unwrap_err().to_string(),
        AckError::Timeout.to_string()
    );
    assert_eq!(*left.lock().unwrap(), ["client namespace disconnect"]);
    let again = admin.join("/").await.unwrap();
    drop(admin);
    settle().await;
    assert_eq!(io.clients_count(), 1);
    drop(again);
    settle().await;
    assert_eq!(io.clients_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_leaves_as_it_likes() {
    for (transport, lost) in TRANSPORTS.into_iter().zip(["transport close", "transport error"]) {
        let (io, left) = server_with(|builder| builder);
        let connect = || TestClient::builder(&io).transport(transport).connect();
        connect().await.unwrap().disconnect().await;
        settle().await;
        connect().await.unwrap().close().await;
        settle().await;
        drop(connect().await.unwrap());
        settle().await;
        assert_eq!(*left.lock().unwrap(), ["client namespace disconnect", "transport close", lost]);
        assert_eq!(io.clients_count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_it_has_to_go() {
    for transport in TRANSPORTS {
        let (io, _) = server_with(|builder| builder);
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        io.emit("last", &1).unwrap();
        io.disconnect_sockets(false);
        client.disconnected().await.unwrap();
        assert_eq!(client.expect::<u8>("last").await.unwrap(), 1);
        let error = client.next_event().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server has taken the client out of the namespace; before, there came nothing"
        );
        client.emit("echo", &()).unwrap();
        assert!(matches!(client.emit_with_ack::<()>("echo", &()).await, Err(AckError::Disconnected)));

        let mut client = client.join("/").await.unwrap();
        let answer = client.emit_with_ack::<()>("nobody answers", &());
        io.close().await;
        assert!(matches!(answer.await, Err(AckError::Disconnected)));
        client.disconnected().await.unwrap();
        assert!(matches!(client.join("/").await, Err(TestError::Disconnected { .. })));
        assert!(matches!(TestClient::connect(&io).await, Err(TestError::Refused { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_come_is_told_with_what_came() {
    let (io, _) = server_with(|builder| builder);
    let mut client = TestClient::connect(&io).await.unwrap();
    io.emit("first", &(1, "a")).unwrap();
    io.emit("second", &"y".repeat(1000)).unwrap();
    let begin = tokio::time::Instant::now();
    let error = client.expect::<()>("third").await.unwrap_err().to_string();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    let expected = r#"the event "third" did not come within 5s; there came "first" [1,"a"], "second" ["yyy"#;
    assert!(error.starts_with(expected) && error.ends_with("y…"), "{error}");
    assert!(error.len() < 400, "{error}");

    let error = client.expect_silence(Duration::from_secs(1)).await.unwrap_err().to_string();
    assert!(error.starts_with(r#"no event was expected; there came "first" [1,"a"], "second""#), "{error}");
    assert_eq!(client.expect::<String>("second").await.unwrap().len(), 1000);
    let error = client.expect::<String>("first").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the arguments of "first" [1,"a"] are something else than was asked for"#
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "argument 0: invalid type: integer `1`, expected a string");
    client.expect_silence(Duration::from_secs(3600)).await.unwrap();
    io.emit("noise", &()).unwrap();
    client.expect_silence(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(client.next_event().await.unwrap().name(), "noise");
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_however_long_a_test_waits() {
    for transport in TRANSPORTS {
        let (io, left) = server_with(|builder| builder);
        let mut client = TestClient::builder(&io).transport(transport).connect().await.unwrap();
        client.expect_silence(Duration::from_secs(3600)).await.unwrap();
        assert_eq!(client.emit_with_ack::<u8>("echo", &1).await.unwrap(), 1);
        assert!(left.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_no_event() {
    let (io, _) = server_with(|builder| builder);
    let client = TestClient::builder(&io).patience(Duration::MAX);
    let mut client = client.connect().await.unwrap();
    io.emit("kept", &1).unwrap();
    tokio::time::timeout(Duration::from_secs(1), client.expect::<()>("other")).await.unwrap_err();
    assert_eq!(client.expect::<u8>("kept").await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_told() {
    let io = Server::new();
    let bad_header = TestClient::builder(&io).header("x", "a\r\nb").connect().await;
    assert!(matches!(bad_header, Err(TestError::Request(_))));
    let keys_are_no_texts = std::collections::BTreeMap::from([((1, 2), 3)]);
    let bad_auth = TestClient::builder(&io).auth(&keys_are_no_texts).connect().await;
    assert!(matches!(bad_auth, Err(TestError::Encode(_))));
    let client = TestClient::connect(&io).await.unwrap();
    client.emit("connect", &()).unwrap_err();
    assert!(matches!(client.emit_with_ack::<()>("connect", &()).await, Err(AckError::Emit(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_without_paused_time() {
    let (io, _) = server_with(|builder| builder);
    let clients = (0..20).map(|number| {
        let io = io.clone();
        tokio::spawn(async move {
            let transport = TRANSPORTS[number % 2];
            let mut client = TestClient::builder(&io).transport(transport).connect().await?;
            for round in 0..20 {
                client.emit("echo", &(number, round))?;
                assert_eq!(client.expect::<(usize, u8)>("echo").await?, (number, round));
            }
            client.close().await;
            Ok::<_, HandlerError>(())
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap().unwrap();
    }
    assert_eq!(io.clients_count(), 0);
}
