//! The server mounted in axum, as a route and as a layer: it answers its path, the others stay axum's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/raw_client.rs"]
mod raw_client;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use ferrio::{Event, HandlerError, Server};
use http::request::Parts;
use raw_client::{RawClient, sid};
use tokio::net::TcpListener;

fn server() -> Server {
    let io = Server::new();
    io.on("echo", async |event: Event| {
        Ok::<_, HandlerError>(event.socket().emit("echo", &event.raw_args())?)
    });
    io.on("address", async |event: Event| {
        let address = event.socket().handshake().address();
        Ok::<_, HandlerError>(event.ack(&address)?)
    });
    io
}

fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    });
    address
}

/// Both transports, the other routes, and what axum knows of the peer.
async fn check(address: SocketAddr) {
    let mut http = RawClient::connect(address).await;
    assert_eq!(http.get("/health").await.body, "ok");
    assert_eq!(http.get("/nowhere").await.status, 404);
    let open = http.get("/socket.io/?EIO=4&transport=polling").await;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={}", sid(&open.body));
    assert_eq!(http.post(&target, "40").await.body, "ok");
    assert!(http.get(&target).await.body.starts_with("40{\"sid\":"));
    assert_eq!(http.post(&target, r#"42["echo","by polling"]"#).await.body, "ok");
    assert_eq!(http.get(&target).await.body, r#"42["echo","by polling"]"#);

    let mut websocket = RawClient::connect(address).await;
    assert_eq!(websocket.upgrade("/socket.io/?EIO=4&transport=websocket").await.status, 101);
    assert!(websocket.next_text().await.starts_with("0{"));
    websocket.text("40").await;
    assert!(websocket.next_text().await.starts_with("40{"));
    websocket.text(r#"42["echo",{"by":"websocket"}]"#).await;
    assert_eq!(websocket.next_text().await, r#"42["echo",{"by":"websocket"}]"#);
    websocket.text(r#"420["address"]"#).await;
    assert_eq!(websocket.next_text().await, r#"430["127.0.0.1"]"#);
}

#[tokio::test]
async fn as_a_route() {
    let service = server().service().peer_address(peer);
    check(
        serve(Router::new().route("/health", get(async || "ok")).route_service("/socket.io/", service)).await,
    )
    .await;
}

#[tokio::test]
async fn as_a_layer() {
    let layer = server().layer().peer_address(peer);
    check(
        serve(
            Router::new()
                .route("/health", get(async || "ok"))
                .fallback(async || http::StatusCode::NOT_FOUND)
                .layer(layer),
        )
        .await,
    )
    .await;
}
