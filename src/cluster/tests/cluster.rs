//! A Redis Cluster of three masters.

use super::redis_server::{RedisCluster, RedisServer};
use super::*;
use crate::cluster::topology::slot;

#[tokio::test]
async fn a_cluster_is_one_redis() {
    let cluster = RedisCluster::start();
    let links =
        [link(&cluster.url()), link(&format!("redis+cluster://127.0.0.1:{}", cluster.nodes[1].port()))];
    let mut heard = Vec::new();
    let mut subscriptions = Vec::new();
    let names: Vec<_> = (0..12).map(|number| format!("room{number}")).collect();
    for link in &links {
        let (sender, handler) = Heard::new();
        heard.push(sender);
        let channels = [plain("c"), pattern("p*")].into_iter().chain(names.iter().map(|name| sharded(name)));
        for channel in channels {
            subscriptions.push(link.subscribe(channel, {
                let h = handler.clone();
                move |m| h(m)
            }));
        }
        link.ready().await.unwrap();
    }
    for (from, link) in links.iter().enumerate() {
        assert_eq!(link.subscribers(b"c").await, Ok(2));
        assert_eq!(link.sharded_subscribers(b"room5").await, Ok(2));
        for channel in ["c", "p1"] {
            link.publish(channel.as_bytes(), from.to_string().as_bytes()).unwrap();
            for heard in &mut heard {
                assert_eq!(heard.next().await, format!("{channel}={from}"));
            }
        }
        for name in &names {
            link.publish_sharded(name.as_bytes(), b"x").unwrap();
            for heard in &mut heard {
                assert_eq!(heard.next().await, format!("{name}=x"));
            }
        }
        for name in &names {
            link.set(name, b"value", PATIENCE).await.unwrap();
            assert_eq!(link.take(name).await, Ok(Some(Bytes::from_static(b"value"))));
            let stream = format!("stream of {name}");
            let id = link.xadd(&stream, 10, &[("a", b"b")], PATIENCE).await.unwrap();
            assert_eq!(link.xrange(&stream, &id, &id).await.unwrap().len(), 1);
        }
    }
    for link in &links {
        link.close(PATIENCE).await;
    }
    until("all connections are gone", || cluster.nodes.iter().all(|node| node.clients() == 0)).await;
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_channels_and_streams_along() {
    let cluster = RedisCluster::start();
    // As a link whose picture of the cluster is old until Redis corrects it.
    let link = RedisLink::open(config(&cluster.url()).watchdog(Duration::from_secs(3600), PATIENCE), "test");
    let (mut heard, handler) = Heard::new();
    let _channels = ["a", "b", "c"].map(|name| {
        link.subscribe(sharded(name), {
            let h = handler.clone();
            move |m| h(m)
        })
    });
    let (sender, mut entries) = mpsc::unbounded_channel();
    let _reader = link.read_stream("a", move |entry| sender.send(entry).unwrap());
    link.ready().await.unwrap();
    let name = b"a";
    let owner = |slot: u16| match slot {
        0..=5461 => 0,
        5462..=10922 => 1,
        _ => 2,
    };
    let from = owner(slot(name));
    let to = (from + 1) % 3;
    let before = link.confirmation(&sharded("a")).unwrap();
    cluster.move_slot(slot(name), from, to);
    until("the channel is subscribed at its new owner", || {
        cluster.nodes[to].cli(&["PUBSUB", "SHARDNUMSUB", "a"]) == "a\n1"
    })
    .await;
    until("it has a confirmation of the new owner", || {
        link.confirmation(&sharded("a")).is_some_and(|after| after != before)
    })
    .await;
    heard.until("a=moved", || link.publish_sharded(name, b"moved").unwrap()).await;
    link.set("a", b"value", PATIENCE).await.unwrap();
    assert_eq!(link.take("a").await, Ok(Some(Bytes::from_static(b"value"))));
    let id = link.xadd("a", 10, &[("n", b"1")], PATIENCE).await.unwrap();
    assert_eq!(soon(entries.recv()).await.unwrap().id, id);
    for other in ["b", "c"] {
        heard.until(&format!("{other}=x"), || link.publish_sharded(other.as_bytes(), b"x").unwrap()).await;
    }
    assert_eq!(link.sharded_subscribers(name).await, Ok(1));
}

#[tokio::test]
async fn a_node_that_restarts_is_found_again() {
    let mut cluster = RedisCluster::start();
    let link = link(&cluster.url());
    let (mut heard, handler) = Heard::new();
    let names = ["a", "b", "c", "d", "e"];
    let _channels = names.map(|name| {
        link.subscribe(sharded(name), {
            let h = handler.clone();
            move |m| h(m)
        })
    });
    let _plain = link.subscribe(plain("c"), {
        let h = handler.clone();
        move |m| h(m)
    });
    link.ready().await.unwrap();
    cluster.nodes[0].kill();
    until("the loss is noticed", || is_reconnecting(link.status().publisher)).await;
    cluster.nodes[0].restart();
    until("all is there again", || link.status().publisher == ConnectionState::Connected).await;
    for name in names {
        heard.until(&format!("{name}=x"), || drop(link.publish_sharded(name.as_bytes(), b"x"))).await;
    }
    heard.until("c=y", || drop(link.publish(b"c", b"y"))).await;
}

#[tokio::test]
async fn the_watchdog_tests_each_connection_of_a_cluster() {
    let cluster = RedisCluster::start();
    let config = config(&cluster.url()).watchdog(Duration::from_millis(20), Duration::from_secs(20));
    let link = RedisLink::open(config, "test");
    let _plain = link.subscribe(plain("c"), |_| {});
    let _sharded: Vec<_> =
        (0..30).map(|number| link.subscribe(sharded(&number.to_string()), |_| {})).collect();
    link.ready().await.unwrap();
    let pings = |node: &RedisServer, command: &str| {
        let stats = node.cli(&["INFO", "commandstats"]);
        let start = format!("cmdstat_{command}:calls=");
        let calls = stats.lines().find_map(|line| line.strip_prefix(&start)?.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    };
    until("each node has carried several", || {
        let all = cluster.nodes.iter().all(|node| pings(node, "spublish") >= 3);
        all && cluster.nodes.iter().map(|node| pings(node, "publish")).sum::<u32>() >= 3
    })
    .await;
    assert_eq!(link.stats().watchdog_renewals, 0);
    // Nobody hears of them.
    assert_eq!((link.stats().received, link.stats().published), (0, 0));
}
