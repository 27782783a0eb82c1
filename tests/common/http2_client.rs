//! Http2Client: one HTTP/2 connection, on which requests and WebSockets share their way.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part, and fails by panicking")]

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

pub struct Http2Client {
    sender: SendRequest<Body>,
    /// Ends with the connection.
    pub connection: JoinHandle<hyper::Result<()>>,
    /// The scheme and authority in `:scheme` and `:authority`.
    pub origin: &'static str,
}

impl Http2Client {
    /// Speaks HTTP/2 at once, without asking.
    pub async fn connect(address: SocketAddr) -> Http2Client {
        Http2Client::over(TcpStream::connect(address).await.unwrap(), "http://localhost").await
    }

    pub async fn over<I>(io: I, origin: &'static str) -> Http2Client
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        Http2Client { sender, connection: tokio::spawn(connection), origin }
    }

    pub fn builder(&self, method: Method, target: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{target}", self.origin))
    }

    /// Sends a request when it is polled, and resets its stream when it is dropped.
    pub fn send(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut sender = self.sender.clone();
        async move { sender.send_request(request).await }
    }

    pub fn request(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> impl Future<Output = hyper::Result<Answer>> + use<> {
        let response = self.send(self.builder(method, target).body(whole(body)).unwrap());
        async move { Ok(answer(response.await?).await) }
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.request(Method::GET, target, Bytes::new()).await.unwrap()
    }

    pub async fn post(&self, target: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::POST, target, body.into()).await.unwrap()
    }

    /// An extended CONNECT for a WebSocket (RFC 8441).
    pub fn connect_request(&self, target: &str) -> http::request::Builder {
        self.builder(Method::CONNECT, target)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
    }

    /// Opens a WebSocket, which must be accepted.
    pub async fn websocket(&self, target: &str) -> WebSocket {
        let request = self.connect_request(target).body(whole("")).unwrap();
        let response = self.send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        websocket(response).await
    }
}

/// What becomes of the stream of an extended CONNECT.
pub async fn websocket(response: Response<Incoming>) -> WebSocket {
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

pub async fn answer(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

pub fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}
