//! Adapters that count the other servers, and namespaces that come and go.

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::{
    LinkStatus, RedisAdapter, RedisAdapterBuilder, RedisStreamsAdapter, RedisStreamsAdapterBuilder,
    ShardedRedisAdapter, ShardedRedisAdapterBuilder,
};
use crate::proto::socketio::Payload;
use crate::testing::TestClient;
use crate::{AckError, AdapterError, BroadcastOptions, Namespace, Server, ServerBuilder};

/// Each adapter, and the streams adapter with sharded channels; requests wait for a second.
async fn adapters(config: RedisConfig) -> Vec<ServerBuilder> {
    let (classic, sharded, [streams, on_shards]) = builders(&config);
    vec![
        Server::builder().adapter(classic.connect().await.unwrap()),
        Server::builder().adapter(sharded.connect().await.unwrap()),
        Server::builder().adapter(streams.connect().await.unwrap()),
        Server::builder().adapter(on_shards.connect().await.unwrap()),
    ]
}

type Status = Box<dyn Fn() -> LinkStatus>;

/// The same, without waiting for Redis; and how they are.
fn lazy_adapters(config: &RedisConfig) -> Vec<(ServerBuilder, Status)> {
    let (classic, sharded, streams) = builders(config);
    let (classic, sharded) = (classic.connect_lazy(), sharded.connect_lazy());
    let mut all: Vec<(ServerBuilder, Status)> = vec![
        (Server::builder().adapter(classic.clone()), Box::new(move || classic.status())),
        (Server::builder().adapter(sharded.clone()), Box::new(move || sharded.status())),
    ];
    for streams in streams.map(RedisStreamsAdapterBuilder::connect_lazy) {
        all.push((Server::builder().adapter(streams.clone()), Box::new(move || streams.status())));
    }
    all
}

fn builders(
    config: &RedisConfig,
) -> (RedisAdapterBuilder, ShardedRedisAdapterBuilder, [RedisStreamsAdapterBuilder; 2]) {
    let brief = Duration::from_secs(1);
    let streams = RedisStreamsAdapter::new(config.clone()).requests_timeout(brief);
    (
        RedisAdapter::new(config.clone()).requests_timeout(brief),
        ShardedRedisAdapter::new(config.clone()).requests_timeout(brief),
        [streams.clone(), streams.use_sharded_pub_sub(true).channel_prefix("shards")],
    )
}

/// A user who may not subscribe.
fn deaf(redis: &RedisServer) -> RedisConfig {
    let rights = ["on", ">pw", "~*", "&*", "+@all", "-subscribe", "-psubscribe", "-ssubscribe"];
    redis.cli(&[&["ACL", "SETUSER", "deaf"], &rights[..]].concat());
    config(&format!("redis://deaf:pw@127.0.0.1:{}", redis.port()))
}

#[tokio::test]
async fn channels_that_are_refused_are_told_of_by_connect_and_by_the_status() {
    let redis = RedisServer::start();
    let deaf = deaf(&redis);
    let (classic, sharded, [streams, on_shards]) = builders(&deaf);
    let refusals = [
        classic.connect().await.unwrap_err(),
        sharded.connect().await.unwrap_err(),
        streams.connect().await.unwrap_err(),
        on_shards.connect().await.unwrap_err(),
    ];
    for refusal in refusals {
        let text = refusal.to_string();
        let start =
            format!("no connection to Redis: 127.0.0.1:{}: Redis refuses the subscription", redis.port());
        assert!(text.starts_with(&start) && text.contains("#/#"), "{text}");
    }
    for (adapter, status) in lazy_adapters(&deaf) {
        let _io = adapter.build().unwrap();
        until("it says what is refused", || status().refused.iter().any(|name| name.contains("#/#"))).await;
        let status = status();
        assert!(!status.is_up());
        assert!(status.to_string().contains("refused: "), "{status}");
        assert!(status.last_error.as_ref().is_some_and(|error| error.contains("permissions")), "{status}");
    }
}

#[tokio::test]
async fn a_server_may_begin_while_redis_is_away_and_questions_then_fail_at_once() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut servers = Vec::new();
    for (adapter, status) in lazy_adapters(&config(&redis.url())) {
        let io = adapter.build().unwrap();
        let client = TestClient::connect(&io).await.unwrap();
        servers.push((io, client, status));
    }
    for (io, client, status) in &mut servers {
        io.local().emit("here", &1).unwrap();
        assert_eq!(client.expect::<u8>("here").await.unwrap(), 1);
        assert!(!status().is_up());
        let reason = |error: AdapterError| match error {
            AdapterError::Unavailable { reason } => reason,
            other => panic!("{other}"),
        };
        until_async("it says how long", async || {
            let error = io.of("/").server_count().await.map_err(reason).unwrap_err();
            error.starts_with("no connection to Redis for ") && error.contains("onnection refused")
        })
        .await;
    }
    redis.restart();
    for (io, _, status) in &servers {
        until("it is up", || status().is_up()).await;
        until_async("it is counted", async || io.of("/").server_count().await == Ok(1)).await;
    }
}

#[tokio::test]
async fn who_is_not_subscribed_expects_the_others_all_the_same() {
    let redis = RedisServer::start();
    let pairs = adapters(config(&redis.url())).await.into_iter().zip(lazy_adapters(&deaf(&redis)));
    let mut asked = Vec::new();
    for (b, (a, _)) in pairs {
        let (a, b) = (a.build().unwrap(), b.build().unwrap());
        let client = TestClient::connect(&b).await.unwrap();
        b.on_server_side("ask", async |event: crate::ServerSideEvent| event.ack(&1));
        // The other one is heard of, although this one is not among those that are counted.
        until_async("the other one is counted", async || a.of("/").server_count().await == Ok(2)).await;
        let error = a.fetch_sockets().await.unwrap_err();
        assert_eq!((error.gathered.received, error.gathered.expected), (0, Ok(1)));
        assert!(a.server_side_emit_with_ack::<u8>("ask", &()).await.is_err());
        let vote = a.timeout(Duration::from_millis(300)).emit_with_ack::<u8>("vote", &()).await;
        assert!(vote.is_err(), "{vote:?}");
        asked.push((a, b, client));
    }
    redis.cli(&["ACL", "SETUSER", "deaf", "+subscribe", "+psubscribe", "+ssubscribe"]);
    redis.cli(&["CLIENT", "KILL", "USER", "deaf"]);
    for (a, _b, client) in &asked {
        until_async("it hears again", async || {
            let found = a.fetch_sockets().await;
            found.is_ok_and(|found| found.iter().any(|socket| socket.id() == client.id()))
        })
        .await;
        // Redis may count it a moment before it is told so: then it is one too many.
        until_async("it is counted once", async || a.of("/").server_count().await == Ok(2)).await;
    }
}

#[tokio::test]
async fn a_server_that_has_just_been_built_asks_when_it_is_subscribed() {
    let redis = RedisServer::start();
    let counted = [
        ["NUMSUB", "socket.io-request#/#"],
        ["SHARDNUMSUB", "socket.io#/#"],
        ["NUMSUB", "socket.io#/#"],
        ["SHARDNUMSUB", "shards#/#"],
    ];
    let pairs = adapters(config(&redis.url())).await.into_iter().zip(adapters(config(&redis.url())).await);
    for ((a, b), counted) in pairs.zip(counted) {
        let b = b.build().unwrap();
        let _client = TestClient::connect(&b).await.unwrap();
        let command = [&["PUBSUB"], &counted[..]].concat();
        until("the other one is subscribed", || redis.cli(&command).ends_with("\n1")).await;
        let a = a.build().unwrap();
        assert_eq!(a.fetch_sockets().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_subscription_that_is_made_anew_has_another_confirmation() {
    let redis = RedisServer::start();
    let link = link(&redis.url());
    let channels = [plain("c"), sharded("s")];
    assert_eq!(link.confirmed(&channels[0], PATIENCE).await, None, "nobody wants it");
    let subscriptions = channels.clone().map(|channel| link.subscribe(channel, |_| {}));
    let mut numbers = Vec::new();
    for channel in &channels {
        numbers.push(link.confirmed(channel, PATIENCE).await.unwrap());
    }
    link.publish(b"c", b"x").unwrap();
    assert_eq!(link.subscribers(b"c").await, Ok(1));
    let still: Vec<_> = channels.iter().flat_map(|channel| link.confirmation(channel)).collect();
    assert_eq!(numbers, still);
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    for (channel, number) in channels.iter().zip(numbers) {
        until("it is made anew", || link.confirmation(channel).is_some_and(|again| again != number)).await;
    }
    // Given up and wanted again, before anybody has told Redis.
    drop(subscriptions);
    let _again = channels.clone().map(|channel| link.subscribe(channel, |_| {}));
    for channel in &channels {
        assert!(soon(link.confirmed(channel, PATIENCE * 2)).await.is_some());
    }
    soon(link.ready()).await.unwrap();
}

/// A namespace of which the other servers have not heard yet.
fn unknown(io: &Server, name: &str) -> Namespace {
    let namespaces = io.of("/").registry().upgrade().unwrap();
    Namespace::new(name.to_owned().into(), None, &namespaces, None, Default::default(), true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_is_made_while_its_namespace_closes_leaves_nothing_behind() {
    let redis = RedisServer::start();
    for adapter in adapters(config(&redis.url())).await {
        let io = adapter.build().unwrap();
        let late = unknown(&io, "/late");
        late.close_adapter();
        assert!(late.adapter().is_none());
        for _ in 0..50 {
            let namespace = unknown(&io, "/racing");
            let made = namespace.clone();
            let maker = std::thread::spawn(move || made.adapter().is_some());
            namespace.close_adapter();
            maker.join().unwrap();
            // Whichever was later.
            namespace.close_adapter();
        }
        // It is subscribed after everything before it.
        let _last = io.of("/last");
        let channels =
            || redis.cli(&["PUBSUB", "CHANNELS"]) + "\n" + &redis.cli(&["PUBSUB", "SHARDCHANNELS"]);
        until("the last namespace is subscribed", || channels().contains("/last#")).await;
        until("no other one is", || !channels().contains("/racing#")).await;
        assert!(!channels().contains("/late#"), "{}", channels());
    }
}

#[tokio::test]
async fn a_closed_adapter_follows_no_rooms() {
    let redis = RedisServer::start();
    let adapter = ShardedRedisAdapter::new(config(&redis.url())).connect().await.unwrap();
    let io = Server::builder().adapter(adapter).build().unwrap();
    let channels = || redis.cli(&["PUBSUB", "SHARDCHANNELS"]);
    let mut sockets = Vec::new();
    for namespace in ["/a", "/b"].map(|name| io.of(name)) {
        let client = TestClient::builder(&io).namespace(namespace.name()).connect().await.unwrap();
        let socket = namespace.socket(client.id().as_str()).unwrap();
        socket.join("before");
        sockets.push((client, socket));
    }
    until("rooms are followed", || channels().matches("#before#").count() == 2).await;
    io.of("/a").close_adapter();
    for (_, socket) in &sockets {
        socket.join("after");
    }
    until("the other one follows its rooms", || channels().contains("socket.io#/b#after#")).await;
    assert!(!channels().contains("socket.io#/a#"), "{}", channels());
}

#[tokio::test]
async fn answers_of_own_clients_count_although_the_others_are_not_heard_any_more() {
    let redis = RedisServer::start();
    for (a, b) in adapters(config(&redis.url())).await.into_iter().zip(adapters(config(&redis.url())).await) {
        let (a, b) = (a.build().unwrap(), b.build().unwrap());
        let mut on_a = TestClient::connect(&a).await.unwrap();
        let mut on_b = TestClient::connect(&b).await.unwrap();
        until_async("they know each other", async || a.of("/").server_count().await == Ok(2)).await;
        let answers = a.timeout(Duration::from_secs(2)).emit_with_ack::<u8>("vote", &());
        // It is asked, and does not answer.
        on_b.expect_event("vote").await.unwrap();
        a.of("/").close_adapter();
        on_a.expect_event("vote").await.unwrap().ack(&1).unwrap();
        let error = answers.await.unwrap_err();
        assert!(matches!(error.reason, AckError::Timeout), "{error:?}");
        assert_eq!(error.responses, [1]);
    }
}

#[tokio::test]
async fn an_adapter_that_is_dropped_says_that_answers_are_missing() {
    let redis = RedisServer::start();
    for (a, b) in adapters(config(&redis.url())).await.into_iter().zip(adapters(config(&redis.url())).await) {
        let (a, b) = (a.build().unwrap(), b.build().unwrap());
        b.of("/gone");
        let mut on_b = TestClient::builder(&b).namespace("/gone").connect().await.unwrap();
        let namespace = unknown(&a, "/gone");
        let adapter = namespace.adapter().unwrap();
        until_async("they know each other", async || adapter.server_count().await == Ok(2)).await;
        let event = Payload::event("vote", &()).unwrap();
        let mut to = BroadcastOptions::default();
        to.flags.timeout = Some(PATIENCE);
        let mut answers = adapter.broadcast_with_ack(&event, &to);
        on_b.expect_event("vote").await.unwrap();
        drop(namespace);
        let last = soon(answers.recv()).await;
        assert!(matches!(last, Some(Err(AckError::Unavailable { .. }))), "{last:?}");
        assert!(soon(answers.recv()).await.is_none());
    }
}

#[tokio::test]
async fn it_is_said_that_the_others_could_not_be_asked_while_redis_is_away() {
    let mut redis = RedisServer::start();
    let brief = config(&redis.url()).response_timeout(Duration::from_millis(500));
    let mut servers = Vec::new();
    for (number, adapter) in adapters(brief).await.into_iter().enumerate() {
        let io = adapter.build().unwrap();
        let client = TestClient::connect(&io).await.unwrap();
        until_async("it is subscribed", async || io.of("/").server_count().await == Ok(1)).await;
        servers.push((number, io, client));
    }
    redis.kill();
    for (number, io, client) in &servers {
        let error = io.fetch_sockets().await.unwrap_err();
        assert!(error.to_string().starts_with("the other servers cannot be asked: "), "{error}");
        assert_eq!((error.gathered.expected.is_err(), error.gathered.missing()), (true, 1));
        assert_eq!(error.gathered.items[0].id(), client.id());
        let error = io.server_side_emit_with_ack::<u8>("ask", &()).await.unwrap_err();
        assert!(matches!(error.reason, AckError::Unavailable { .. }), "{error:?}");
        let unavailable = |error| matches!(error, AdapterError::Unavailable { .. });
        assert!(io.of("/").server_count().await.is_err_and(unavailable));
        assert!(*number != 0 || io.of("/").all_rooms().await.is_err_and(unavailable));
    }
}
