//! Ways to reach Redis: passwords, databases, unix sockets, TLS, Sentinel.

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::{LinkError, RedisConfigError};

/// A message goes round.
async fn works(link: &RedisLink) {
    let (mut heard, handler) = Heard::new();
    let _subscription = link.subscribe(plain("socket.io#/#"), move |m| handler(m));
    link.ready().await.unwrap();
    link.publish(b"socket.io#/#", b"x").unwrap();
    assert_eq!(heard.next().await, "socket.io#/#=x");
}

#[tokio::test]
async fn a_password_and_a_user_of_the_access_control_list_are_told() {
    let user = ["--user", "me", "on", ">w/rd%", "~*", "resetchannels", "&socket.io*", "&test-*", "+@all"];
    let arguments = [&["--requirepass", "a:b@c"][..], &user].concat();
    let server = RedisServer::with(&arguments, &["-p", "{port}", "-a", "a:b@c", "--no-auth-warning"], &[]);
    let port = server.port();
    for protocol in ["resp2", "resp3"] {
        let urls = [
            format!("redis://:a%3Ab%40c@127.0.0.1:{port}"),
            format!("redis://me:w%2Frd%25@127.0.0.1:{port}"),
        ];
        for url in &urls {
            works(&link(&format!("{url}?protocol={protocol}"))).await;
        }
        // A channel that this user may not hear: it is told, and the others are there.
        let link = link(&format!("{}?protocol={protocol}", urls[1]));
        let (mut heard, handler) = Heard::new();
        let _mine = link.subscribe(plain("socket.io#"), move |m| handler(m));
        let forbidden = link.subscribe(plain("secret"), |_| {});
        let refused = soon(link.ready()).await.unwrap_err();
        assert!(matches!(&refused, LinkError::NotReady { reason } if reason.contains("secret")), "{refused}");
        link.publish(b"socket.io#", b"x").unwrap();
        assert_eq!(heard.next().await, "socket.io#=x");
        drop(forbidden);
        link.ready().await.unwrap();

        for url in [format!("redis://127.0.0.1:{port}"), format!("redis://:wrong@127.0.0.1:{port}")] {
            let link = super::link(&format!("{url}?protocol={protocol}"));
            let _subscription = link.subscribe(plain("socket.io#"), |_| {});
            // At once, not when the timeouts have passed.
            let refused = soon(link.ready()).await.unwrap_err();
            assert!(matches!(&refused, LinkError::NotReady { .. }), "{refused}");
            assert!(is_reconnecting(link.status().publisher));
            assert!(link.status().last_error.is_some());
        }
    }
}

#[tokio::test]
async fn keys_are_in_the_database_of_the_url() {
    let server = RedisServer::start();
    let link = link(&format!("{}/3", server.url()));
    works(&link).await;
    link.set("key", b"value", PATIENCE).await.unwrap();
    assert_eq!(server.cli(&["-n", "3", "GET", "key"]), "value");
    assert_eq!(server.cli(&["GET", "key"]), "");
    link.set("key", b"for ever", Duration::MAX).await.unwrap();
    let expires: i64 = server.cli(&["-n", "3", "PTTL", "key"]).parse().unwrap();
    assert!(expires > 9 * 365 * 24 * 3600 * 1000, "{expires}");
}

#[tokio::test]
async fn a_unix_socket_is_enough() {
    let arguments = ["--port", "0", "--unixsocket", "{folder}/redis.sock"];
    let server = RedisServer::with(&arguments, &["-s", "{folder}/redis.sock"], &[]);
    let path = server.folder().join("redis.sock");
    for query in ["", "&protocol=resp3"] {
        let link = link(&format!("redis+unix://{}?db=2{query}", path.display()));
        works(&link).await;
        link.set("key", b"value", PATIENCE).await.unwrap();
        assert_eq!(server.cli(&["-n", "2", "GET", "key"]), "value");
    }
}

#[tokio::test]
async fn tls_proves_both_sides() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let arguments = [
        ["--port", "0"],
        ["--tls-port", "{port}"],
        ["--tls-cert-file", "{folder}/certificate"],
        ["--tls-key-file", "{folder}/key"],
        ["--tls-ca-cert-file", "{folder}/certificate"],
        ["--tls-auth-clients", "yes"],
    ]
    .concat();
    let cli = [
        ["-p", "{port}"],
        ["--tls", "--insecure"],
        ["--cert", "{folder}/certificate"],
        ["--key", "{folder}/key"],
    ]
    .concat();
    let server = RedisServer::with(&arguments, &cli, &[("certificate", &certificate), ("key", &key)]);
    let (roots, key) = (certificate.as_bytes(), key.as_bytes());
    for host in ["localhost", "127.0.0.1"] {
        let known =
            config(&format!("rediss://{host}:{}", server.port())).tls_identity(roots, roots, key).unwrap();
        works(&RedisLink::open(known, "test")).await;
    }
    let url = format!("rediss://127.0.0.1:{}", server.port());
    let brief =
        |url: &str| config(url).connect_timeout(Duration::from_secs(3)).response_timeout(Duration::ZERO);
    // We do not trust it; it does not know us.
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    for config in [brief(&url).tls_roots(stranger.as_bytes()), brief(&url).tls_roots(roots)] {
        let link = RedisLink::open(config.unwrap(), "test");
        let refused = link.ready().await.unwrap_err();
        assert!(matches!(refused, LinkError::NotReady { .. }), "{refused}");
    }
    let no_certificate = config(&url).tls_roots(b"no PEM").unwrap_err();
    assert!(matches!(no_certificate, RedisConfigError::InvalidTls { .. }));
}

#[tokio::test]
async fn sentinel_names_the_master_also_the_next_one() {
    let master = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", master.port())], &[], &[]);
    let lines = [
        format!("sentinel monitor main 127.0.0.1 {} 1", master.port()),
        "sentinel down-after-milliseconds main 60000".to_owned(),
        "sentinel failover-timeout main 60000".to_owned(),
    ];
    let arguments = ["{folder}/sentinel.conf", "--sentinel"];
    let sentinel = RedisServer::with(&arguments, &[], &[("sentinel.conf", &lines.join("\n"))]);
    let link = link(&format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port()));
    let (mut heard, handler) = Heard::new();
    let _subscription = link.subscribe(plain("c"), move |m| handler(m));
    link.ready().await.unwrap();
    link.publish(b"c", b"1").unwrap();
    assert_eq!(heard.next().await, "c=1");

    until("the replica is in step", || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    until("Sentinel takes the order", || sentinel.cli(&["SENTINEL", "FAILOVER", "main"]) == "OK").await;
    until("the subscription moves", || replica.cli(&["PUBSUB", "NUMSUB", "c"]) == "c\n1").await;
    heard.until("c=2", || link.publish(b"c", b"2").unwrap()).await;
    until("the publishing connection moves", || {
        replica.clients() >= 2 && master.cli(&["PUBSUB", "NUMSUB", "c"]) == "c\n0"
    })
    .await;
    until("it can write", || {
        drop(link.set("key", b"value", PATIENCE));
        replica.cli(&["GET", "key"]) == "value"
    })
    .await;
}

#[tokio::test]
async fn what_redis_had_and_then_refuses_is_not_asked_for_whenever_something_else_changes() {
    let redis = RedisServer::start();
    let link = link(&redis.url());
    let _lost = link.subscribe(plain("forbidden"), |_| {});
    link.ready().await.unwrap();
    // Redis disconnects who is subscribed to what it may not hear.
    redis.cli(&["ACL", "SETUSER", "default", "resetchannels", "&allowed*", "&test*"]);
    until_async("it is refused", async || matches!(link.ready().await, Err(LinkError::NotReady { .. })))
        .await;
    let refusals = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find(|line| line.starts_with("cmdstat_subscribe:")).unwrap().to_owned();
        let (_, count) = line.split_once("rejected_calls=").unwrap();
        count.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = refusals();
    for number in 0..40 {
        let channel = plain(&format!("allowed-{number}"));
        let subscription = link.subscribe(channel.clone(), |_| {});
        until("it is subscribed", || link.confirmation(&channel).is_some()).await;
        drop(subscription);
    }
    assert!(refusals() - before < 20);
}
