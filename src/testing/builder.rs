//! TestClientBuilder: with what a test client comes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use serde::Serialize;

use super::link::{Link, Router};
use super::polling::Polling;
use super::{TestClient, TestError, websocket};
use crate::engine::{PeerInfo, TransportKind};
use crate::proto::socketio::Payload;
use crate::server::{EmitError, Server};

/// The options of a [`TestClient`]; made by [`TestClient::builder`].
///
/// # Example: who comes with a cookie
/// ```
/// use ferrio::testing::TestClient;
/// use ferrio::{ConnectError, Server, Socket, TransportKind};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let io = Server::new();
/// io.of("/admin").use_(async |socket: Socket| match socket.handshake().headers().get("cookie") {
///     Some("session=17") => Ok(()),
///     _ => Err(ConnectError::new("who are you?")),
/// });
/// let client = TestClient::builder(&io).namespace("/admin").header("cookie", "session=17");
/// let client = client.transport(TransportKind::Polling).connect().await?;
/// assert!(io.of("/admin").socket(client.id().as_str()).is_some());
/// # Ok(())
/// # }
/// ```
#[must_use = "`connect` makes the client"]
pub struct TestClientBuilder {
    io: Server,
    namespace: String,
    auth: Result<Option<Payload>, EmitError>,
    query: Vec<(String, String)>,
    request: http::request::Builder,
    transport: Option<TransportKind>,
    address: IpAddr,
    patience: Duration,
}

impl TestClientBuilder {
    pub(super) fn new(io: &Server) -> TestClientBuilder {
        TestClientBuilder {
            io: io.clone(),
            namespace: "/".to_owned(),
            auth: Ok(None),
            query: Vec::new(),
            request: Request::builder(),
            transport: None,
            address: Ipv4Addr::LOCALHOST.into(),
            patience: PATIENCE,
        }
    }

    /// Sets the namespace to join. Default: `/`.
    pub fn namespace(mut self, namespace: &str) -> TestClientBuilder {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Sets what middlewares find in [`Handshake::auth`](crate::Handshake::auth): an object. Default: nothing.
    pub fn auth<T: Serialize + ?Sized>(mut self, auth: &T) -> TestClientBuilder {
        self.auth = Payload::value(auth).map(Some);
        self
    }

    /// Adds a parameter to the query of the handshake.
    pub fn query(mut self, name: &str, value: &str) -> TestClientBuilder {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header to the requests.
    pub fn header(mut self, name: &str, value: &str) -> TestClientBuilder {
        self.request = self.request.header(name, value);
        self
    }

    /// Sets the transport. Default: WebSocket, or polling where the server has no WebSockets.
    pub fn transport(mut self, transport: TransportKind) -> TestClientBuilder {
        self.transport = Some(transport);
        self
    }

    /// Sets the address the client comes from. Default: `127.0.0.1`.
    pub fn address(mut self, address: IpAddr) -> TestClientBuilder {
        self.address = address;
        self
    }

    /// Sets how long the client waits for anything, in tokio's time. Default: 5 s.
    pub fn patience(mut self, patience: Duration) -> TestClientBuilder {
        self.patience = patience;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// As [`TestClient::connect`]; [`TestError::Request`] and [`TestError::Encode`] if headers or auth cannot be sent.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn connect(self) -> Result<TestClient, TestError> {
        let auth = self.auth.map_err(TestError::Encode)?;
        let engine = self.io.engine();
        let transport = self.transport.unwrap_or_else(|| {
            let has_websocket = engine.config().allows(TransportKind::WebSocket);
            if has_websocket { TransportKind::WebSocket } else { TransportKind::Polling }
        });
        let target = format!("{}?{}", engine.config().path_prefix(), query(&self.query, transport));
        let request = self.request.uri(target).body(()).map_err(TestError::Request)?;
        let mut head = Head::new(request.into_parts().0);
        head.peer.address = Some(self.address);

        let codec = self.io.of("/").shared().config.codec.clone();
        let (router, outgoing) = Router::new(codec);
        let opening = async {
            match transport {
                TransportKind::WebSocket => websocket::open(&self.io, &head, &router, outgoing).await,
                _ => Polling::open(&self.io, head, &router, outgoing).await,
            }
        };
        let tasks = tokio::time::timeout(self.patience, opening).await.unwrap_or_else(|_| {
            let expected = "the connection".to_owned();
            Err(TestError::Timeout { expected, within: self.patience, arrived: Vec::new() })
        })?;
        Link::new(router, tasks).join(&self.namespace, auth, self.patience).await
    }
}

impl fmt::Debug for TestClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Auth, query and headers may hold credentials.
        f.debug_struct("TestClientBuilder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

fn query(own: &[(String, String)], transport: TransportKind) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(own).append_pair("EIO", "4").append_pair("transport", transport.as_str());
    query.finish()
}

/// What all requests of a client have in common.
pub(super) struct Head {
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) peer: PeerInfo,
}

impl Head {
    fn new(parts: Parts) -> Head {
        let mut headers = parts.headers;
        headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        Head { target: parts.uri.to_string(), headers, peer: PeerInfo::default() }
    }

    pub(super) fn request(
        &self,
        method: Method,
        uri: Uri,
        body: Bytes,
    ) -> Request<http_body_util::Full<Bytes>> {
        let mut request = Request::new(http_body_util::Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        self.headers.clone_into(request.headers_mut());
        request
    }
}

/// Long for a server that is in the same process, short for whoever waits for the tests.
const PATIENCE: Duration = Duration::from_secs(5);
