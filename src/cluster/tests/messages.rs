//! What is published, subscribed, asked and read while Redis is there.

use std::time::Duration;

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::LinkError;
use crate::cluster::stream_reader::StreamEntry;

/// Both versions of the protocol.
fn urls(server: &RedisServer) -> [String; 2] {
    [server.url(), format!("{}?protocol=resp3", server.url())]
}

#[tokio::test]
async fn messages_go_both_ways_in_order() {
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (mut heard, handler) = Heard::new();
        let by_pattern = link.subscribe(pattern("a#*"), {
            let h = handler.clone();
            move |m| h(m)
        });
        let by_name = link.subscribe(plain("b"), move |m| handler(m));
        link.ready().await.unwrap();
        assert!(by_pattern.is_confirmed() && by_name.is_confirmed());
        for number in 0..1000 {
            link.publish(if number % 2 == 0 { b"a#1" } else { b"b" }, number.to_string().as_bytes()).unwrap();
        }
        for number in 0..1000 {
            assert_eq!(heard.next().await, format!("{}={number}", if number % 2 == 0 { "a#1" } else { "b" }));
        }
        server.cli(&["PUBLISH", "b", "from outside"]);
        assert_eq!(heard.next().await, "b=from outside");
        let stats = link.stats();
        assert_eq!((stats.published, stats.received, stats.reconnects), (1000, 1001, 0));
        link.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_channel_is_subscribed_once_and_counted_once() {
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (_first_heard, first_handler) = Heard::new();
        let (mut heard, handler) = Heard::new();
        let first = link.subscribe(plain("c"), move |m| first_handler(m));
        link.ready().await.unwrap();
        let second = link.subscribe(plain("c"), move |m| handler(m));
        drop(first);
        link.ready().await.unwrap();
        assert_eq!(link.subscribers(b"c").await, Ok(1));
        link.publish(b"c", b"x").unwrap();
        assert_eq!(heard.next().await, "c=x");
        drop(second);
        until("the channel is unsubscribed", || server.cli(&["PUBSUB", "NUMSUB", "c"]) == "c\n0").await;
        assert_eq!(link.subscribers(b"c").await, Ok(0));
        // What the link tests itself with is counted nowhere else.
        assert!(
            server.cli(&["PUBSUB", "CHANNELS"]).lines().all(|name| name.starts_with("test-ferrio-ping#"))
        );
        assert_eq!(server.cli(&["PUBSUB", "NUMPAT"]), "0");
    }
}

#[tokio::test]
async fn sharded_channels_are_a_space_of_their_own() {
    let server = RedisServer::start();
    let link = link(&server.url());
    let (mut heard, handler) = Heard::new();
    let subscription = link.subscribe(sharded("s"), move |m| handler(m));
    link.ready().await.unwrap();
    link.publish(b"s", b"elsewhere").unwrap();
    link.publish_sharded(b"s", b"here").unwrap();
    assert_eq!(heard.next().await, "s=here");
    assert_eq!(link.sharded_subscribers(b"s").await, Ok(1));
    assert_eq!(link.subscribers(b"s").await, Ok(0));
    drop(subscription);
    until("it is unsubscribed", || server.cli(&["PUBSUB", "SHARDNUMSUB", "s"]) == "s\n0").await;
}

#[tokio::test]
async fn a_handler_that_panics_harms_no_other() {
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (mut heard, handler) = Heard::new();
        let _bad = link.subscribe(plain("bad"), |_| panic!("as it is meant to"));
        let _good = link.subscribe(plain("good"), move |m| handler(m));
        link.ready().await.unwrap();
        link.publish(b"bad", b"1").unwrap();
        link.publish(b"good", b"2").unwrap();
        assert_eq!(heard.next().await, "good=2");
        assert_eq!(link.stats().reconnects, 0);
    }
}

#[tokio::test]
async fn large_messages_and_many_pass_the_gate() {
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (sender, mut lengths) = mpsc::unbounded_channel();
        let _subscription =
            link.subscribe(plain("l"), move |m: Incoming| sender.send(m.payload.len()).unwrap());
        link.ready().await.unwrap();
        for _ in 0..20 {
            link.publish(b"l", &vec![b'x'; 1_000_000]).unwrap();
            link.publish(b"l", b"small").unwrap();
        }
        for _ in 0..20 {
            assert_eq!(soon(lengths.recv()).await, Some(1_000_000));
            assert_eq!(soon(lengths.recv()).await, Some(5));
        }
    }
}

#[tokio::test]
async fn questions_are_answered() {
    let server = RedisServer::start();
    let link = link(&server.url());
    link.ready().await.unwrap();
    let hour = Duration::from_secs(3600);
    link.set("key", b"va\0lue", hour).await.unwrap();
    let expires: u64 = server.cli(&["PTTL", "key"]).parse().unwrap();
    assert!(expires > 3_000_000 && expires <= 3_600_000, "{expires}");
    assert_eq!(link.take("key").await, Ok(Some(Bytes::from_static(b"va\0lue"))));
    assert_eq!(link.take("key").await, Ok(None));
    let first = link.xadd("stream", 100, &[("a", b"1"), ("b", b"\xff")], PATIENCE);
    let second = link.xadd("stream", 100, &[("a", b"2")], PATIENCE);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let field = |name: &'static str, value: &'static [u8]| (Bytes::from(name), Bytes::from_static(value));
    let both = [
        StreamEntry { id: first.clone(), fields: vec![field("a", b"1"), field("b", b"\xff")] },
        StreamEntry { id: second, fields: vec![field("a", b"2")] },
    ];
    assert_eq!(link.xrange("stream", "-", "+").await.unwrap(), both);
    assert_eq!(link.xrange("stream", &first, &first).await.unwrap(), both[..1]);
    assert_eq!(link.xrange("nothing", "-", "+").await.unwrap(), []);
    link.publish_confirmed(b"nobody", b"x").await.unwrap();

    server.cli(&["SET", "text", "no stream"]);
    let refused = link.xadd("text", 100, &[("a", b"1")], PATIENCE).await.unwrap_err();
    assert!(matches!(&refused, LinkError::Redis { message } if message.contains("WRONGTYPE")), "{refused}");
    assert_eq!(link.stats().failed, 1);
    server.cli(&["RPUSH", "list", "x"]);
    let refused = link.take("list").await.unwrap_err();
    assert!(!matches!(refused, LinkError::TimedOut), "{refused}");
    assert_eq!(link.stats().queued_messages, 0);
    assert_eq!(link.stats().queued_bytes, 0);
}

#[tokio::test]
async fn streams_are_read_from_now_on() {
    let mut server = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"], &[], &[]);
    let link = link(&server.url());
    link.ready().await.unwrap();
    link.xadd("stream", 100, &[("n", b"before")], PATIENCE).await.unwrap();
    let (sender, mut entries) = mpsc::unbounded_channel();
    let reader = link.read_stream("stream", move |entry| sender.send(entry).unwrap());
    link.ready().await.unwrap();
    assert_eq!(link.status().readers, ConnectionState::Connected);
    let id = link.xadd("stream", 100, &[("n", b"after")], PATIENCE).await.unwrap();
    assert_eq!(soon(entries.recv()).await.unwrap().id, id);

    // What comes while the reader is away is read when it is back.
    server.kill();
    until("the loss is noticed", || is_reconnecting(link.status().readers)).await;
    server.restart();
    let mut ids = Vec::new();
    for _ in 0..150 {
        ids.push(server.cli(&["XADD", "stream", "*", "n", "x"]));
    }
    for id in ids {
        assert_eq!(soon(entries.recv()).await.unwrap().id, id);
    }
    drop(reader);
    assert_eq!(soon(entries.recv()).await, None);
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused_before_they_are_sent() {
    let server = RedisServer::start();
    let link = RedisLink::open(config(&server.url()).max_publish_bytes(1000), "test");
    link.ready().await.unwrap();
    link.publish(b"c", &[b'x'; 1000]).unwrap();
    let too_large = LinkError::TooLarge { bytes: 1001, limit: 1000 };
    assert!(too_large.to_string().contains("max_publish_bytes"));
    assert_eq!(link.publish(b"c", &[b'x'; 1001]), Err(too_large.clone()));
    assert_eq!(link.publish_sharded(b"c", &[b'x'; 1001]), Err(too_large));
    let refused = link.xadd("s", 10, &[("data", &[b'x'; 1001])], PATIENCE).await;
    assert!(matches!(refused, Err(LinkError::TooLarge { limit: 1000, .. })));
    assert_eq!(link.stats().refused_too_large, 3);
}

#[tokio::test]
async fn what_makes_no_sense_is_counted() {
    let server = RedisServer::start();
    let link = link(&server.url());
    link.ignore(b"channel", &"it is garbage");
    link.ignore(b"channel", &"it is garbage again");
    assert_eq!(link.stats().ignored, 2);
}

#[tokio::test]
async fn many_channels_come_and_go() {
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (mut heard, handler) = Heard::new();
        let subscribe = |number: u32| {
            let handler = handler.clone();
            let name = number.to_string();
            let channel = if number.is_multiple_of(2) { plain(&name) } else { sharded(&name) };
            link.subscribe(channel, move |m| handler(m))
        };
        let mut all: Vec<_> = (0..9000).map(subscribe).collect();
        link.ready().await.unwrap();
        link.publish(b"8998", b"x").unwrap();
        assert_eq!(heard.next().await, "8998=x");
        link.publish_sharded(b"1", b"x").unwrap();
        assert_eq!(heard.next().await, "1=x");
        assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "2");
        until("they are back", || link.stats().reconnects == 2).await;
        link.ready().await.unwrap();
        all.truncate(10);
        // The five, and one for the link's own test.
        until("the others are gone", || {
            let count = |command| server.cli(&["PUBSUB", command]).lines().count();
            (count("CHANNELS"), count("SHARDCHANNELS")) == (6, 6)
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_of_a_cluster_is_not_taken_for_a_single_server() {
    let node = RedisServer::with(&["--cluster-enabled", "yes", "--cluster-port", "{free}"], &[], &[]);
    node.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "0"]);
    until("it takes part", || node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]) == "OK")
        .await;
    let link = link(&node.url());
    let _subscription = link.subscribe(sharded("a"), |_| {});
    let refused = soon(link.ready()).await.unwrap_err();
    assert!(refused.to_string().contains("redis+cluster"), "{refused}");
}

#[tokio::test]
async fn what_a_handler_does_not_want_is_counted_and_not_heard() {
    struct Choosy<F>(F);
    impl<F: Fn(Incoming) + Send + Sync> Hear for Choosy<F> {
        fn wants(&self, channel: &[u8]) -> bool {
            assert_ne!(channel, b"a#panic", "as it is meant to");
            channel == b"a#here"
        }

        fn hear(&self, incoming: Incoming) {
            (self.0)(incoming);
        }
    }
    let server = RedisServer::start();
    for url in urls(&server) {
        let link = link(&url);
        let (mut heard, handler) = Heard::new();
        let all = handler.clone();
        let _choosy = link.subscribe_choosing(pattern("a#*"), Choosy(move |m| handler(m)));
        let _all = link.subscribe(pattern("b#*"), move |m| all(m));
        link.ready().await.unwrap();
        for number in 0..1000 {
            let number = number.to_string();
            link.publish(b"a#there", number.as_bytes()).unwrap();
            link.publish(b"a#panic", number.as_bytes()).unwrap();
            link.publish(b"a#here", number.as_bytes()).unwrap();
            link.publish(b"b#there", number.as_bytes()).unwrap();
        }
        for number in 0..1000 {
            assert_eq!(heard.next().await, format!("a#here={number}"));
            assert_eq!(heard.next().await, format!("b#there={number}"));
        }
        assert_eq!(link.stats().received, 4000);
        link.close(PATIENCE).await;
    }
}
