//! Adapters that count the other servers, and namespaces that come and go.

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::{RedisAdapter, RedisStreamsAdapter, ShardedRedisAdapter};
use crate::proto::socketio::Payload;
use crate::testing::TestClient;
use crate::{AckError, AdapterError, BroadcastOptions, Namespace, Server, ServerBuilder};

/// Each adapter, and the streams adapter with sharded channels; requests wait for a second.
async fn adapters(config: RedisConfig) -> Vec<ServerBuilder> {
    let (brief, config) = (Duration::from_secs(1), || config.clone());
    let classic = RedisAdapter::new(config()).requests_timeout(brief).connect().await.unwrap();
    let sharded = ShardedRedisAdapter::new(config()).requests_timeout(brief).connect().await.unwrap();
    let streams = RedisStreamsAdapter::new(config()).requests_timeout(brief);
    let (plain, on_shards) = (streams.clone(), streams.use_sharded_pub_sub(true).channel_prefix("shards"));
    vec![
        Server::builder().adapter(classic),
        Server::builder().adapter(sharded),
        Server::builder().adapter(plain.connect().await.unwrap()),
        Server::builder().adapter(on_shards.connect().await.unwrap()),
    ]
}

#[tokio::test]
async fn who_is_not_subscribed_expects_the_others_all_the_same() {
    let redis = RedisServer::start();
    let rights = ["on", ">pw", "~*", "&*", "+@all", "-subscribe", "-psubscribe", "-ssubscribe"];
    redis.cli(&[&["ACL", "SETUSER", "deaf"], &rights[..]].concat());
    let deaf = format!("redis://deaf:pw@127.0.0.1:{}", redis.port());
    let pairs = adapters(config(&redis.url())).await.into_iter().zip(adapters(config(&deaf)).await);
    let mut asked = Vec::new();
    for (b, a) in pairs {
        let (a, b) = (a.build().unwrap(), b.build().unwrap());
        let client = TestClient::connect(&b).await.unwrap();
        b.on_server_side("ask", async |event: crate::ServerSideEvent| event.ack(&1));
        // The other one is heard of, although this one is not among those that are counted.
        until_async("the other one is counted", async || a.of("/").server_count().await == Ok(2)).await;
        let error = a.fetch_sockets().await.unwrap_err();
        assert_eq!((error.gathered.received, error.gathered.expected), (0, Some(1)));
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
        assert_eq!(error.to_string(), "the other servers cannot be asked");
        assert_eq!((error.gathered.expected, error.gathered.missing()), (None, 1));
        assert_eq!(error.gathered.items[0].id(), client.id());
        let error = io.server_side_emit_with_ack::<u8>("ask", &()).await.unwrap_err();
        assert!(matches!(error.reason, AckError::Unavailable { .. }), "{error:?}");
        let unavailable = |error| matches!(error, AdapterError::Unavailable { .. });
        assert!(io.of("/").server_count().await.is_err_and(unavailable));
        assert!(*number != 0 || io.of("/").all_rooms().await.is_err_and(unavailable));
    }
}
