//! Redis goes, comes back, stands still, or throws us out.

use super::proxy::Proxy;
use super::redis_server::RedisServer;
use super::*;
use crate::cluster::LinkError;

#[tokio::test]
async fn subscriptions_come_back_after_a_restart_and_what_waited_is_sent_in_order() {
    let mut server = RedisServer::start();
    for query in ["", "?protocol=resp3"] {
        let config = config(&format!("{}{query}", server.url())).queue_messages(10);
        let link = RedisLink::open(config, "test");
        let (mut heard, handler) = Heard::new();
        let _subscriptions = [plain("c"), pattern("p*"), sharded("s")].map(|channel| {
            link.subscribe(channel, {
                let h = handler.clone();
                move |m| h(m)
            })
        });
        link.ready().await.unwrap();
        assert_eq!(link.status().publisher, ConnectionState::Connected);
        assert_eq!(link.status().subscriber, ConnectionState::Connected);

        server.kill();
        until("the losses are noticed", || {
            is_reconnecting(link.status().publisher) && is_reconnecting(link.status().subscriber)
        })
        .await;
        // The queue takes ten, and refuses the newest.
        for number in 0..10 {
            link.publish(b"elsewhere", number.to_string().as_bytes()).unwrap();
        }
        assert!(matches!(link.publish(b"elsewhere", b"10"), Err(LinkError::Backlogged { messages: 10, .. })));
        assert_eq!(link.subscribers(b"c").await, link.publish(b"c", b"").map(|()| 0), "both are refused");
        assert_eq!(link.stats().dropped, 3);
        assert_eq!(link.stats().queued_messages, 10);
        until("attempts are counted", || {
            matches!(link.status().publisher, ConnectionState::Reconnecting { attempts: 2.., .. })
        })
        .await;

        server.restart();
        link.ready().await.unwrap();
        until("what waited is sent", || link.stats().queued_messages == 0).await;
        assert_eq!(link.stats().published, 10);
        link.publish(b"c", b"1").unwrap();
        assert_eq!(heard.next().await, "c=1");
        link.publish(b"p1", b"2").unwrap();
        assert_eq!(heard.next().await, "p1=2");
        link.publish_sharded(b"s", b"3").unwrap();
        assert_eq!(heard.next().await, "s=3");
        assert_eq!(link.subscribers(b"c").await, Ok(1));
        // One publishing connection, two subscribing ones.
        assert_eq!(link.stats().reconnects, 3);
        assert_eq!(server.clients(), 3);
        link.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_link_may_be_opened_before_redis_is_there() {
    let mut server = RedisServer::start();
    server.kill();
    let link = link(&server.url());
    let (mut heard, handler) = Heard::new();
    let _subscription = link.subscribe(plain("c"), move |m| handler(m));
    until("it tries", || link.status().last_error.is_some()).await;
    server.restart();
    link.ready().await.unwrap();
    link.publish(b"c", b"1").unwrap();
    assert_eq!(heard.next().await, "c=1");
}

#[tokio::test]
async fn questions_fail_in_time_while_redis_stands_still() {
    let server = RedisServer::start();
    let brief = Duration::from_millis(300);
    let link = RedisLink::open(config(&server.url()).response_timeout(brief).connect_timeout(brief), "test");
    let (mut heard, handler) = Heard::new();
    let subscription = link.subscribe(plain("c"), move |m| handler(m));
    until("all is there", || {
        link.status().publisher == ConnectionState::Connected && subscription.is_confirmed()
    })
    .await;

    server.pause();
    link.publish(b"c", b"under way").unwrap();
    let answer = soon(link.subscribers(b"c")).await;
    assert!(matches!(answer, Err(LinkError::TimedOut | LinkError::Lost)), "{answer:?}");
    until("the standstill is noticed", || is_reconnecting(link.status().publisher)).await;
    let answer = soon(link.take("key")).await;
    assert_eq!(answer, Err(LinkError::TimedOut));

    server.resume();
    until("it goes on", || link.status().publisher == ConnectionState::Connected).await;
    heard.until("c=after", || link.publish(b"c", b"after").unwrap()).await;
    until("nothing waits any more", || link.stats().queued_messages == 0).await;
    // Whether Redis took it is unknown to us, so it is not sent a second time.
    assert_eq!(link.stats().lost, 1);
    until("no connection is left over", || server.clients() == 2).await;
}

#[tokio::test]
async fn a_standstill_is_noticed_also_while_nothing_is_sent() {
    let server = RedisServer::start();
    let brief = Duration::from_millis(300);
    let config = config(&server.url()).response_timeout(brief).watchdog(Duration::from_millis(20), brief);
    let link = RedisLink::open(config, "test");
    until("it is there", || link.status().publisher == ConnectionState::Connected).await;
    server.pause();
    until("it is noticed", || is_reconnecting(link.status().publisher)).await;
    server.resume();
    until("it goes on", || link.status().publisher == ConnectionState::Connected).await;
}

#[tokio::test]
async fn clients_that_redis_throws_out_come_back() {
    let server = RedisServer::start();
    for query in ["", "?protocol=resp3"] {
        let link = link(&format!("{}{query}", server.url()));
        let (mut heard, handler) = Heard::new();
        let _subscription = link.subscribe(plain("c"), move |m| handler(m));
        link.ready().await.unwrap();
        for round in 1..=3 {
            assert_eq!(server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
            until("it is back", || {
                link.stats().reconnects == round && link.status().subscriber == ConnectionState::Connected
            })
            .await;
            link.publish(b"c", b"x").unwrap();
            assert_eq!(heard.next().await, "c=x");
        }
        link.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_redis_finds_too_slow_comes_back() {
    let server = RedisServer::start();
    let link = link(&server.url());
    let (mut heard, handler) = Heard::new();
    let _subscription = link.subscribe(plain("c"), move |m| handler(m));
    link.ready().await.unwrap();
    server.cli(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"]);
    link.publish(b"c", &vec![b'x'; 2_000_000]).unwrap();
    until("Redis throws it out", || link.stats().reconnects == 1).await;
    heard.until("c=small", || link.publish(b"c", b"small").unwrap()).await;
}

#[tokio::test]
async fn a_deaf_subscription_is_noticed_and_made_anew() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    for query in ["", "?protocol=resp3"] {
        let config = config(&format!("redis://{}{query}", proxy.address))
            .watchdog(Duration::from_millis(50), Duration::from_secs(2));
        let link = RedisLink::open(config, "test");
        let (mut heard, handler) = Heard::new();
        let _subscriptions = [plain("c"), sharded("s")].map(|channel| {
            link.subscribe(channel, {
                let h = handler.clone();
                move |m| h(m)
            })
        });
        link.ready().await.unwrap();
        proxy.deafen();
        until("both are renewed", || link.stats().watchdog_renewals >= 2).await;
        heard.until("c=1", || link.publish(b"c", b"1").unwrap()).await;
        heard.until("s=2", || link.publish_sharded(b"s", b"2").unwrap()).await;
        link.close(PATIENCE).await;
    }
}

#[tokio::test]
async fn the_watchdog_leaves_a_connection_alone_while_redis_holds_everything_up() {
    let server = RedisServer::start();
    let config = config(&server.url()).watchdog(Duration::from_millis(20), Duration::from_millis(300));
    let link = RedisLink::open(config, "test");
    let (mut heard, handler) = Heard::new();
    let _subscription = link.subscribe(plain("c"), move |m| handler(m));
    link.ready().await.unwrap();
    assert_eq!(server.cli(&["CLIENT", "PAUSE", "1500", "ALL"]), "OK");
    // It is answered when the pause is over.
    link.publish(b"c", b"1").unwrap();
    assert_eq!(heard.next().await, "c=1");
    assert_eq!(link.stats().watchdog_renewals, 0);
}

#[tokio::test]
async fn closing_sends_what_waits_and_leaves_nothing_behind() {
    let server = RedisServer::start();
    let other = link(&server.url());
    let (mut heard, handler) = Heard::new();
    let _other = other.subscribe(plain("c"), move |m| handler(m));
    other.ready().await.unwrap();

    let link = link(&server.url());
    let subscription = link.subscribe(plain("mine"), |_| {});
    let _reader = link.read_stream("stream", |_| {});
    link.ready().await.unwrap();
    assert_eq!(server.clients(), 5);
    for number in 0..2000 {
        link.publish(b"c", number.to_string().as_bytes()).unwrap();
    }
    link.close(PATIENCE).await;
    assert_eq!(link.publish(b"c", b"late"), Err(LinkError::Closed));
    assert_eq!(link.ready().await, Err(LinkError::Closed));
    let status = link.status();
    assert_eq!([status.publisher, status.subscriber, status.readers], [ConnectionState::Closed; 3]);
    for number in 0..2000 {
        assert_eq!(heard.next().await, format!("c={number}"));
    }
    until("its connections are gone", || server.clients() == 2).await;
    drop(subscription);
    let late = link.subscribe(plain("late"), |_| {});
    assert!(!late.is_confirmed());
    assert_eq!(link.stats().dropped, 1);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_redis_that_is_away() {
    let mut server = RedisServer::start();
    let link = link(&server.url());
    let _subscription = link.subscribe(plain("c"), |_| {});
    link.ready().await.unwrap();
    server.kill();
    until("the loss is noticed", || is_reconnecting(link.status().publisher)).await;
    link.publish(b"c", b"1").unwrap();
    let asked = link.take("key");
    link.close(Duration::from_millis(100)).await;
    assert_eq!(asked.await, Err(LinkError::Closed));
    assert_eq!(link.stats().dropped, 2);
}

#[tokio::test]
async fn a_dropped_link_leaves_no_task_and_no_connection() {
    let server = RedisServer::start();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let link = link(&server.url());
    let _subscriptions = [plain("c"), sharded("s")].map(|channel| link.subscribe(channel, |_| {}));
    let _reader = link.read_stream("stream", |_| {});
    link.ready().await.unwrap();
    assert!(tasks() > before);
    drop(link);
    until("its tasks and connections are gone", || tasks() == before && server.clients() == 0).await;
}
