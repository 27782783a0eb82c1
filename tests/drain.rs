//! A server that drains, over real sockets: who is refused, who goes on, how clients are told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/raw_client.rs"]
mod raw_client;

use std::sync::Arc;
use std::time::Duration;

use ferrio::{Event, Server};
use raw_client::{RawClient, sid, soon};
use tokio::sync::Notify;

#[tokio::test]
async fn a_session_may_be_upgraded_while_the_server_drains_and_then_ends_with_a_close_frame() {
    let io = Server::new();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    // The client waits for an answer, and so does not leave before the test lets it.
    io.on("work", move |event: Event| {
        let released = Arc::clone(&released);
        async move {
            released.notified().await;
            event.ack(&"done")
        }
    });
    let listening = io.listen("127.0.0.1:0").await.unwrap();
    let address = listening.local_addr();
    let mut polling = RawClient::connect(address).await;
    let session = sid(&polling.get("/socket.io/?EIO=4&transport=polling").await.body);
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={session}");
    assert_eq!(polling.post(&target, "40\x1e421[\"work\"]").await.status, 200);
    assert!(polling.get(&target).await.body.starts_with("40{"));

    let drained = tokio::spawn({
        let io = io.clone();
        // Its turn comes within four seconds, but it leaves only once it has its answer.
        async move { io.drain(Duration::from_secs(5)).await }
    });
    soon(async {
        while io.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut stranger = RawClient::connect(address).await;
    let refused = stranger.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!((refused.status, &*refused.body), (503, r#"{"code":3,"message":"Service Unavailable"}"#));
    assert!(refused.head.contains("connection: close"), "{}", refused.head);
    stranger.ended().await;
    let mut stranger = RawClient::connect(address).await;
    assert_eq!(stranger.upgrade("/socket.io/?EIO=4&transport=websocket").await.status, 503);

    let mut websocket = RawClient::connect(address).await;
    assert_eq!(websocket.upgrade(&target.replace("polling", "websocket")).await.status, 101);
    websocket.text("2probe").await;
    assert_eq!(websocket.next_text().await, "3probe");
    websocket.text("5").await;
    release.notify_one();
    assert_eq!(websocket.next_text().await, "431[\"done\"]");
    assert_eq!(websocket.next_frame().await.map(|(opcode, _)| opcode), Some(8));
    drop(websocket);
    soon(drained).await.unwrap();
    assert_eq!(io.clients_count(), 0);
    // It still answers: health checks are to see that it is not ready.
    assert_eq!(RawClient::connect(address).await.get("/health").await.status, 404);
}
