//! A server mounted in axum ends when it is told to, clients that are connected or not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/raw_client.rs"]
mod raw_client;

use std::sync::Arc;

use axum::Router;
use ferrio::Server;
use ferrio::engine::{Next, RequestHead};
use raw_client::{RawClient, sid, soon};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

#[tokio::test]
async fn the_signal_closes_polls_and_websockets_and_ends_axum() {
    let requests = Arc::new(Semaphore::new(0));
    let seen = Arc::clone(&requests);
    let count = move |_: RequestHead| {
        seen.add_permits(1);
        async { Ok(Next::pass()) }
    };
    let io = Server::builder().engine_middleware(count).build().unwrap();
    let app = Router::new().route_service("/socket.io/", io.service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
        let _ = stopped.await;
        io.close().await;
    });
    let serving = tokio::spawn(serving.into_future());

    let mut websocket = RawClient::connect(address).await;
    assert_eq!(websocket.upgrade("/socket.io/?EIO=4&transport=websocket").await.status, 101);
    assert!(websocket.next_text().await.starts_with("0{"));
    let mut http = RawClient::connect(address).await;
    let open = http.get("/socket.io/?EIO=4&transport=polling").await;
    http.request("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={}", sid(&open.body)), "").await;
    // The poll waits: it has been seen, and another request was answered since.
    soon(requests.acquire_many(3)).await.unwrap().forget();
    assert_eq!(RawClient::connect(address).await.get("/elsewhere").await.status, 404);

    stop.send(()).unwrap();
    websocket.ended().await;
    assert_eq!(http.answer().await.body, "1");
    soon(serving).await.unwrap().unwrap();
}
