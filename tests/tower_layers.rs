//! Layers of tower around the server, and the server as one among them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/http2_client.rs"]
mod http2_client;
#[path = "common/raw_client.rs"]
mod raw_client;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use axum::Router;
use axum::routing::get;
use ferrio::Server;
use futures_util::future::{Either, MapOk, TryFutureExt};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode};
use http2_client::Http2Client;
use raw_client::{RawClient, sid, soon};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tower::{Layer, Service};

/// Adds a header to every answer.
#[derive(Clone)]
struct Stamp;

#[derive(Clone)]
struct Stamped<S>(S);

impl<S> Layer<S> for Stamp {
    type Service = Stamped<S>;

    fn layer(&self, inner: S) -> Stamped<S> {
        Stamped(inner)
    }
}

impl<S, B, R> Service<Request<B>> for Stamped<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<R>) -> Response<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let stamp = |mut response: Response<R>| {
            response.headers_mut().insert("x-stamp", HeaderValue::from_static("seen"));
            response
        };
        self.0.call(request).map_ok(stamp as fn(Response<R>) -> Response<R>)
    }
}

/// Answers 503 itself, unless the request has a key.
#[derive(Clone)]
struct Guard;

#[derive(Clone)]
struct Guarded<S>(S);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded(inner)
    }
}

impl<S, B, R> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    R: Default,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<R>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.uri().query().is_some_and(|query| query.contains("key=yes")) {
            return Either::Left(self.0.call(request));
        }
        let mut response = Response::new(R::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Either::Right(ready(Ok(response)))
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling&key=yes";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket&key=yes";

/// Both transports over both versions of HTTP, each answer stamped; and who has no key is turned away.
async fn check(address: SocketAddr) {
    let mut http = RawClient::connect(address).await;
    let open = http.get(POLLING).await;
    assert!(open.head.contains("x-stamp: seen\r\n"), "{}", open.head);
    let target = format!("{POLLING}&sid={}", sid(&open.body));
    let post = http.post(&target, "40").await;
    assert!(post.head.contains("x-stamp: seen\r\n"), "{}", post.head);
    assert!(http.get(&target).await.body.starts_with("40{"));
    let mut websocket = RawClient::connect(address).await;
    let upgrade = websocket.upgrade(WEBSOCKET).await;
    assert_eq!(upgrade.status, 101);
    assert!(upgrade.head.contains("x-stamp: seen\r\n"), "{}", upgrade.head);
    assert!(websocket.next_text().await.starts_with("0{"));
    websocket.text("40").await;
    assert!(websocket.next_text().await.starts_with("40{"));

    let http2 = Http2Client::connect(address).await;
    let open = http2.get(POLLING).await;
    assert_eq!((open.status, &open.headers["x-stamp"]), (StatusCode::OK, &HeaderValue::from_static("seen")));
    let request = http2.connect_request(WEBSOCKET).body(http2_client::whole("")).unwrap();
    let response = http2.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-stamp"], "seen");
    let mut websocket = http2_client::websocket(response).await;
    assert!(soon(websocket.next()).await.unwrap().unwrap().into_text().unwrap().starts_with("0{"));
    websocket.send(Message::text("40")).await.unwrap();
    assert!(soon(websocket.next()).await.unwrap().unwrap().into_text().unwrap().starts_with("40{"));

    let (polling, websocket) = (POLLING.replace("yes", "no"), WEBSOCKET.replace("yes", "no"));
    assert_eq!(http.get(&polling).await.status, 503);
    assert_eq!(http.upgrade(&websocket).await.status, 503);
    assert_eq!(http2.get(&polling).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let request = http2.connect_request(&websocket).body(http2_client::whole("")).unwrap();
    assert_eq!(http2.send(request).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn around_the_service() {
    let service = Stamp.layer(Guard.layer(Server::new().service()));
    check(serve(Router::new().route_service("/socket.io/", service)).await).await;
}

#[tokio::test]
async fn outside_the_layer() {
    let app = Router::new().route("/health", get(async || "ok")).layer(Server::new().layer());
    check(serve(app.layer(Guard).layer(Stamp)).await).await;
}

#[tokio::test]
async fn inside_the_layer_they_see_the_others_only() {
    let app = Router::new().route("/health", get(async || "ok")).layer(Guard).layer(Stamp);
    let address = serve(app.layer(Server::new().layer())).await;
    let mut http = RawClient::connect(address).await;
    let open = http.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(open.status, 200);
    assert!(!open.head.contains("x-stamp"), "{}", open.head);
    let health = http.get("/health").await;
    assert_eq!(health.status, 503);
    assert!(health.head.contains("x-stamp: seen\r\n"), "{}", health.head);
    assert_eq!(http.get("/health?key=yes").await.body, "ok");
}
