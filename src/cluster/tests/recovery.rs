//! Connection state recovery across servers, by the streams adapter.

use std::sync::atomic::{AtomicBool, Ordering};

use super::redis_server::RedisServer;
use super::*;
use crate::cluster::RedisStreamsAdapter;
use crate::proto::cluster::streams::Offset;
use crate::testing::TestClient;
use crate::{ConnectionStateRecovery, Event, Recovery, RecoveryError, Server};

async fn server(redis: &RedisServer) -> Server {
    let adapter = RedisStreamsAdapter::new(config(&redis.url())).max_len(1_000_000).connect().await.unwrap();
    let recovery = ConnectionStateRecovery::default();
    Server::builder().adapter(adapter).connection_state_recovery(recovery).build().unwrap()
}

/// Threads that emit `n` with numbers of their own, until they are told to stop; each gives how many it has emitted.
fn emitters(servers: &[&Server], stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<u64>> {
    let emitter = |(index, io): (usize, &&Server)| {
        let (io, stop) = ((*io).clone(), Arc::clone(stop));
        std::thread::spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::SeqCst) {
                io.emit("n", &(index, number)).unwrap();
                number += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            number
        })
    };
    servers.iter().enumerate().map(emitter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_all_servers_hear_one_order_with_rising_offsets() {
    let redis = RedisServer::start();
    let (a, b) = (server(&redis).await, server(&redis).await);
    let mut clients = [TestClient::connect(&a).await.unwrap(), TestClient::connect(&b).await.unwrap()];
    let stop = Arc::new(AtomicBool::new(false));
    let emitters = emitters(&[&a, &a, &b, &b], &stop);
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let emitted: u64 = emitters.into_iter().map(|emitter| emitter.join().unwrap()).sum();
    let mut heard = [Vec::new(), Vec::new()];
    for (client, heard) in clients.iter_mut().zip(&mut heard) {
        for _ in 0..emitted {
            heard.push(client.expect::<(usize, u64, String)>("n").await.unwrap());
        }
    }
    assert!(emitted > 40, "{emitted}");
    assert_eq!(heard[0], heard[1]);
    let offsets: Vec<Offset> = heard[0].iter().map(|(_, _, offset)| Offset::parse(offset).unwrap()).collect();
    assert!(offsets.is_sorted_by(|first, second| first < second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_from_server_to_server_misses_nothing_and_hears_nothing_twice() {
    let redis = RedisServer::start();
    let servers = [server(&redis).await, server(&redis).await];
    let stop = Arc::new(AtomicBool::new(false));
    let mut client = TestClient::connect(&servers[0]).await.unwrap();
    let id = client.id().clone();
    let pid = servers[0].of("/").socket(id.as_str()).unwrap().private_id().unwrap().as_str().to_owned();
    let emitters = emitters(&[&servers[0], &servers[1]], &stop);
    let mut heard: [Vec<u64>; 2] = Default::default();
    let mut offset = String::new();
    for round in 0..10 {
        for _ in 0..30 {
            let (emitter, number, at): (usize, u64, String) = client.expect("n").await.unwrap();
            heard[emitter].push(number);
            offset = at;
        }
        let (before, after) = (&servers[round % 2], &servers[(round + 1) % 2]);
        before.of("/").socket(id.as_str()).unwrap().conn().discard();
        let key = format!("sio:session:{pid}");
        until("the session is kept", || redis.cli(&["EXISTS", &key]).trim() == "1").await;
        #[derive(serde::Serialize)]
        struct Auth<'a> {
            pid: &'a str,
            offset: &'a str,
        }
        let auth = Auth { pid: &pid, offset: &offset };
        client = TestClient::builder(after).auth(&auth).connect().await.unwrap();
        assert_eq!(*client.id(), id, "round {round}");
        assert!(after.of("/").socket(id.as_str()).unwrap().recovered());
    }
    stop.store(true, Ordering::SeqCst);
    let emitted: Vec<u64> = emitters.into_iter().map(|emitter| emitter.join().unwrap()).collect();
    while heard.iter().map(Vec::len).sum::<usize>() < emitted.iter().sum::<u64>() as usize {
        let (emitter, number, _): (usize, u64, String) = client.expect("n").await.unwrap();
        heard[emitter].push(number);
    }
    for (heard, emitted) in heard.iter().zip(emitted) {
        assert_eq!(*heard, (0..emitted).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_restored_is_somebody_new_and_local_clients_hear_without_redis() {
    let redis = RedisServer::start();
    let io = server(&redis).await;
    let connect = async |pid: &str, offset: &str| {
        let auth = std::collections::BTreeMap::from([("pid", pid), ("offset", offset)]);
        let client = TestClient::builder(&io).auth(&auth).connect().await.unwrap();
        let recovery = io.of("/").socket(client.id().as_str()).unwrap().recovery();
        (client, recovery)
    };
    assert_eq!(connect("unknown", "1-0").await.1, Recovery::Failed(RecoveryError::Unknown));
    let (mut client, recovery) = connect("unknown", "no offset").await;
    assert_eq!(recovery, Recovery::Failed(RecoveryError::Unknown));
    redis.pause();
    io.emit("n", &(0, 1)).unwrap();
    // Half a second later, without an offset.
    assert_eq!(client.expect_event("n").await.unwrap().values().len(), 2);
    redis.resume();
    io.emit("n", &(0, 2)).unwrap();
    let event = client.expect_event("n").await.unwrap();
    assert_eq!((event.values()[1].as_u64(), event.values().len()), (Some(2), 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_added_and_not_read_back_is_delivered_all_the_same() {
    let redis = RedisServer::start();
    let io = server(&redis).await;
    io.on("ask", async |event: Event| {
        event.socket().emit("n", &1)?;
        event.ack(&())
    });
    let mut client = TestClient::connect(&io).await.unwrap();
    // The command that waits in Redis is answered once more.
    redis.cli(&["ACL", "SETUSER", "default", "-xread"]);
    io.emit("n", &0).unwrap();
    assert_eq!(client.expect_event("n").await.unwrap().values().len(), 2);
    client.emit_with_ack::<()>("ask", &()).await.unwrap();
    let event = client.expect_event("n").await.unwrap();
    assert_eq!((event.values()[0].as_u64(), event.values().len()), (Some(1), 1));
    redis.cli(&["ACL", "SETUSER", "default", "+xread"]);
    soon(async {
        for number in 2.. {
            io.emit("n", &number).unwrap();
            if client.expect_event("n").await.unwrap().values().len() == 2 {
                break;
            }
        }
    })
    .await;
}
