//! The emitter, by what Redis and servers get of it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::{JsonClusterParser, LinkError, RedisAdapter, RedisEmitError, RedisEmitter};
use crate::testing::TestClient;
use crate::{Event, EventType, HandlerError, Server, ServerSideEvent};

/// What Node's emitter did, and the same here.
type Call = (&'static str, fn(&RedisEmitter) -> Result<(), RedisEmitError>);

const BY_BOTH: &[Call] = &[
    ("emit.binary", |emitter| {
        let nested = BTreeMap::from([("n", [Bytes::from_static(b"\xff")])]);
        emitter.emit("e", &(Bytes::from_static(b"\x01\x02"), nested))
    }),
    ("emit.in-several", |emitter| emitter.in_(["room1", "room2"]).to("room3").emit("hello", &())),
    ("emit.except", |emitter| emitter.to(["room1", "room1"]).except(["r2", "r3"]).emit("hello", &())),
    ("join", |emitter| emitter.sockets_join("r")),
    ("join.filtered", |emitter| emitter.in_("room1").except("room2").sockets_join(["a", "b"])),
    ("disconnect", |emitter| emitter.in_("room1").disconnect_sockets(false)),
    ("disconnect.close", |emitter| emitter.of("/admin").disconnect_sockets(true)),
];

const BY_CLASSIC: &[Call] = &[
    ("emit.room", |emitter| emitter.to("room1").emit("hello", &1)),
    ("emit.nsp-no-slash", |emitter| emitter.of("admin").emit("hello", &())),
    ("leave.filtered", |emitter| emitter.in_("room1").sockets_leave(["a", "b"])),
    ("sse.binary", |emitter| emitter.server_side_emit("ping", &Bytes::from_static(b"\x01"))),
    ("emit.binary.redis4", |emitter| emitter.to("room1").emit("e", &Bytes::from_static(b"\x01\x02"))),
    ("emit.binary.redis5", |emitter| emitter.to("room1").emit("e", &Bytes::from_static(b"\x01\x02"))),
];

const WITH_PARSER: &[Call] = &[
    ("parser", |emitter| emitter.emit("hello", &())),
    ("parser.binary", BY_BOTH[0].1),
    ("parser.room", |emitter| emitter.to("room1").volatile().emit("hello", &1)),
    ("parser.join", |emitter| emitter.sockets_join("r")),
];

const BY_STREAMS: &[Call] = &[
    ("emit", |emitter| emitter.emit("hello", &())),
    ("emit.volatile", |emitter| emitter.volatile().emit("hello", &())),
    ("emit.nsp", |emitter| emitter.of("/admin").to("room1").emit("hello", &())),
    ("sse", |emitter| emitter.server_side_emit("ping", &(1, "a", None::<()>))),
];

/// The recorded rows in which something was sent, but those of `others`: by name.
fn rows(file: &str, others: &[&str]) -> BTreeMap<String, Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol-tests/vectors/redis/");
    let rows: Vec<Value> =
        serde_json::from_slice(&std::fs::read(format!("{folder}{file}")).unwrap()).unwrap();
    let sent = rows.into_iter().filter(|row| !row["command"].is_null());
    let named = sent.map(|row| (row["name"].as_str().unwrap().to_owned(), row));
    named.filter(|(name, _)| !others.contains(&name.as_str())).collect()
}

fn payload(row: &Value) -> Vec<u8> {
    let hex = row["payload_hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn the_classic_emitter_publishes_what_nodes_does() {
    let mut rows = rows("emitter-redis.json", &[]);
    let server = RedisServer::start();
    let link = link(&server.url());
    let (sender, mut heard) = mpsc::unbounded_channel();
    let _subscriptions = ["socket.io#*", "socket.io-request#*", "myapp#*"].map(|channels| {
        let sender = sender.clone();
        link.subscribe(pattern(channels), move |incoming| sender.send(incoming).unwrap())
    });
    link.ready().await.unwrap();
    let emitter = RedisEmitter::new(config(&server.url())).connect().await.unwrap();
    let other = RedisEmitter::new(config(&server.url())).key("myapp").connect().await.unwrap();
    let calls = BY_BOTH.iter().chain(BY_CLASSIC).map(|call| (&emitter, *call));
    let with_key: Call = ("key", |emitter| emitter.to("r").emit("hello", &()));
    let json = RedisEmitter::new(config(&server.url())).parser(JsonClusterParser).connect().await.unwrap();
    let with_parser = WITH_PARSER.iter().map(|call| (&json, *call));
    for (emitter, (name, call)) in calls.chain([(&other, with_key)]).chain(with_parser) {
        let row = rows.remove(name).unwrap_or_else(|| panic!("{name} was recorded"));
        call(emitter).unwrap();
        let incoming = soon(heard.recv()).await.unwrap();
        assert_eq!(incoming.channel, row["channel"].as_str().unwrap(), "{name}");
        assert_eq!(incoming.payload, payload(&row), "{name}: {}", row["payload_note"]);
    }
    assert!(rows.is_empty(), "{:?}", rows.keys());
}

#[tokio::test]
async fn the_streams_emitter_appends_what_nodes_does() {
    // Two flags have an order of their own here; a namespace without a slash is one nobody has.
    let mut rows = rows("emitter-streams.json", &["emit.compress", "emit.nsp-no-slash"]);
    let server = RedisServer::start();
    let link = link(&server.url());
    let (sender, mut read) = mpsc::unbounded_channel();
    let _readers = ["socket.io", "st"].map(|stream| {
        let sender = sender.clone();
        link.read_stream(stream, move |entry| sender.send((stream, entry.fields)).unwrap())
    });
    link.ready().await.unwrap();
    let emitter = RedisEmitter::over_streams(config(&server.url())).connect().await.unwrap();
    let other = RedisEmitter::over_streams(config(&server.url())).stream_name("st").max_len(50);
    let other = other.connect().await.unwrap();
    let calls = BY_BOTH.iter().chain(BY_STREAMS).map(|call| (&emitter, *call));
    let with_options: Call = ("options", |emitter| emitter.emit("hello", &()));
    for (emitter, (name, call)) in calls.chain([(&other, with_options)]) {
        let row = rows.remove(name).unwrap_or_else(|| panic!("{name} was recorded"));
        call(emitter).unwrap();
        let (stream, fields) = soon(read.recv()).await.unwrap();
        assert_eq!(stream, row["channel"].as_str().unwrap(), "{name}");
        let names: Vec<&str> =
            row["field_order"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let expected: Vec<_> = names
            .into_iter()
            .map(|name| match name {
                "data" => (Bytes::from("data"), Bytes::from(payload(&row))),
                _ => (name.to_owned().into(), row["fields"][name].as_str().unwrap().to_owned().into()),
            })
            .collect();
        assert_eq!(fields, expected, "{name}");
    }
    assert!(rows.is_empty(), "{:?}", rows.keys());

    for _ in 0..1000 {
        other.emit("hello", &()).unwrap();
    }
    other.close(PATIENCE).await;
    let len: usize = server.cli(&["XLEN", "st"]).parse().unwrap();
    assert!((50..500).contains(&len), "{len} entries are left");
}

#[tokio::test]
async fn several_streams_have_their_namespaces() {
    let server = RedisServer::start();
    let emitter = RedisEmitter::over_streams(config(&server.url())).stream_count(4);
    let emitter = emitter.connect().await.unwrap();
    for namespace in ["/", "/admin", "orders"] {
        emitter.of(namespace).emit("hello", &()).unwrap();
    }
    emitter.close(PATIENCE).await;
    let lens = ["socket.io-3", "socket.io-0"].map(|stream| server.cli(&["XLEN", stream]));
    assert_eq!(lens, ["1", "2"]);
}

#[tokio::test]
async fn clients_of_all_servers_hear_an_emitter() {
    let redis = RedisServer::start();
    let url = redis.url();
    let start = async || {
        let adapter = RedisAdapter::new(config(&url)).connect().await.unwrap();
        let io = Server::builder().adapter(adapter).build().unwrap();
        io.on("join", async |event: Event| {
            event.socket().join("room1");
            event.ack(&())
        });
        io.on_server_side("sum", async |event: ServerSideEvent| {
            let (a, b): (u32, u32) = event.args()?;
            let io = event.server().ok_or("the server is gone")?;
            Ok::<_, HandlerError>(io.local().emit("sum", &(a + b))?)
        });
        io
    };
    let servers = [start().await, start().await];
    let counted = || redis.cli(&["PUBSUB", "NUMSUB", "socket.io-request#/#"]) == "socket.io-request#/#\n2";
    until("both servers listen", counted).await;
    let emitter = RedisEmitter::new(config(&url)).connect().await.unwrap();
    let [mut ann, mut bob] =
        [TestClient::connect(&servers[0]).await.unwrap(), TestClient::connect(&servers[1]).await.unwrap()];

    for client in [&ann, &bob] {
        client.emit_with_ack::<()>("join", &()).await.unwrap();
    }
    const DONE: EventType<(String, Bytes)> = EventType::new("done");
    let done = ("job-17".to_owned(), Bytes::from_static(b"\x00\xff"));
    DONE.emit(&emitter.to("room1").compress(false), &done).unwrap();
    for client in [&mut ann, &mut bob] {
        assert_eq!(DONE.expect(client).await.unwrap(), done);
    }
    emitter.in_(ann.id()).sockets_join(["a", "b"]).unwrap();
    emitter.to(["a", "b"]).emit("for ann", &1).unwrap();
    emitter.to("room1").except("a").emit("for bob", &2).unwrap();
    emitter.in_("b").sockets_leave("b").unwrap();
    emitter.to("b").emit("for nobody", &()).unwrap();
    emitter.of("/other").emit("for nobody", &()).unwrap();
    emitter.server_side_emit("sum", &(1, 2)).unwrap();
    assert_eq!(ann.expect::<u32>("for ann").await.unwrap(), 1);
    assert_eq!(bob.expect::<u32>("for bob").await.unwrap(), 2);
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.expect::<u32>("sum").await.unwrap(), 3);
    }
    emitter.except("a").disconnect_sockets(true).unwrap();
    bob.disconnected().await.unwrap();
    emitter.emit("still there", &()).unwrap();
    ann.expect::<()>("still there").await.unwrap();
    for server in &servers {
        server.close().await;
    }
}

#[tokio::test]
async fn what_is_emitted_is_sent_before_the_end() {
    let server = RedisServer::start();
    let link = link(&server.url());
    let (sender, mut heard) = mpsc::unbounded_channel();
    let _subscription = link.subscribe(pattern("socket.io#*"), move |_| sender.send(()).unwrap());
    link.ready().await.unwrap();
    let emitter = RedisEmitter::new(config(&server.url())).connect().await.unwrap();
    // From a thread that knows nothing of tokio.
    let thread = std::thread::spawn({
        let emitter = emitter.clone();
        move || (0..1000).for_each(|number| emitter.to("room").emit("number", &number).unwrap())
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    emitter.close(PATIENCE).await;
    for _ in 0..1000 {
        soon(heard.recv()).await.unwrap();
    }
    let stats = emitter.stats();
    assert_eq!((stats.published, stats.dropped, stats.queued_messages), (1000, 0, 0));
    let late = emitter.emit("late", &()).unwrap_err();
    assert!(matches!(late, RedisEmitError::Link(LinkError::Closed)), "{late}");
    // As on a server: it is counted, and no error.
    EventType::<()>::new("late").emit(&emitter, ()).unwrap();
    assert_eq!(emitter.stats().dropped, 2);
}

#[tokio::test]
async fn what_cannot_be_emitted_is_an_error() {
    let server = RedisServer::start();
    let emitter = RedisEmitter::new(config(&server.url()).max_publish_bytes(1000)).connect().await.unwrap();
    let reserved = |error: RedisEmitError| std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        reserved(emitter.emit("connect", &()).unwrap_err()),
        "\"connect\" is a reserved event name, choose another one"
    );
    assert!(reserved(emitter.server_side_emit("connection", &()).unwrap_err()).contains("reserved"));
    emitter.server_side_emit("disconnect", &()).unwrap();
    let unwritable = BTreeMap::from([((1, 2), 3)]);
    assert!(matches!(emitter.emit("e", &unwritable), Err(RedisEmitError::Event(_))));
    let large = emitter.emit("e", &"x".repeat(1000));
    assert!(matches!(large, Err(RedisEmitError::Link(LinkError::TooLarge { .. }))));
    emitter.emit("e", "small").unwrap();
    emitter.close(PATIENCE).await;
    assert_eq!(emitter.stats().published, 2);

    let brief = Duration::from_millis(10);
    let nowhere = config("redis://127.0.0.1:1").connect_timeout(brief).response_timeout(brief);
    let nowhere = RedisEmitter::over_streams(nowhere).connect().await.unwrap_err();
    assert!(matches!(nowhere, LinkError::NotReady { .. }), "{nowhere}");
}
