//! Engine::handle: a request opens, polls, posts, upgrades, or is refused.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;

use super::connection::{Connection, OpenRequest, SessionId};
use super::driver::Driver;
use super::farewell::{PATIENCE, turn_away, turn_away_raw};
use super::handshake::HandshakeRequest;
use super::upgrade::PendingUpgrade;
use super::{Engine, EngineHandler, Refusal, ResponseBody, Shared, now, upgrade};
use crate::proto::EncodedMessage;
use crate::proto::engineio::{EngineQuery, OpenPacket, PollMethod, Session, TransportKind, Via};

/// What the host knows of the peer of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Whether the connection is encrypted.
    pub secure: bool,
}

impl<H: EngineHandler> Engine<H> {
    /// Answers one request of an Engine.IO client: the path has been matched already ([`Engine::matches`]).
    ///
    /// # Cancel safety
    /// Dropping the future is how the host says that the client has gone: a session whose poll or POST was under
    /// way is closed with `transport error`, as on Node.
    pub async fn handle<B>(&self, mut request: Request<B>, peer: PeerInfo) -> Response<ResponseBody>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
    {
        let query = EngineQuery::parse(request.uri().query().unwrap_or(""));
        // As on Node, whose upgrade listener is only there when WebSocket is.
        if self.shared.config.allows(TransportKind::WebSocket) && upgrade::is_requested(&request) {
            return self.upgrade(&mut request, &query, peer).await;
        }
        let quirks = Quirks::of(request.headers());
        match self.verify(&query, request.method(), false).await {
            Err(refusal) => {
                self.shared.handler.on_refusal(&refusal);
                refusal.to_response()
            }
            Ok(None) => {
                match self.open_polling(&query, HandshakeRequest::new(&request, &query, peer)).await {
                    Ok(body) => quirks.apply(packets_response(body)),
                    Err(refusal) => {
                        self.shared.handler.on_refusal(&refusal);
                        refusal.to_response()
                    }
                }
            }
            Ok(Some(connection)) => match *request.method() {
                Method::GET => quirks.apply(self.poll(&connection).await),
                Method::POST => quirks.apply(self.post(&connection, request).await),
                _ => status(StatusCode::INTERNAL_SERVER_ERROR),
            },
        }
    }

    /// Checks a request in Node's order; gives the connection it belongs to, or `None` for a handshake.
    async fn verify(
        &self,
        query: &EngineQuery,
        method: &Method,
        upgrade: bool,
    ) -> Result<Option<Arc<Connection>>, Refusal> {
        let transport = query.transport.as_deref().and_then(TransportKind::from_name);
        let transport = transport.filter(|transport| self.shared.config.allows(*transport));
        let Some(transport) = transport else {
            return Err(Refusal::UnknownTransport { transport: query.transport.clone() });
        };
        let Some(sid) = &query.sid else {
            if *method != Method::GET {
                return Err(Refusal::BadHandshakeMethod { method: method.to_string() });
            }
            if transport == TransportKind::WebSocket && !upgrade {
                return Err(Refusal::TransportHandshake);
            }
            return Ok(None);
        };
        let unknown = || Refusal::UnknownSession { sid: sid.clone() };
        let connection = self.shared.registry.get(sid).ok_or_else(unknown)?;
        // Bytes that came earlier by the session's WebSocket, or the end of the session, come first.
        if connection.state().is_unsettled() {
            connection.settle().await;
        }
        let previous = {
            let state = connection.state();
            if state.session.is_closed() {
                return Err(unknown());
            }
            state.session.transport()
        };
        if !upgrade && previous != transport {
            return Err(Refusal::TransportMismatch { transport, previous });
        }
        match query.protocol() {
            PROTOCOL => Ok(Some(connection)),
            protocol => Err(Refusal::ProtocolMismatch { protocol, previous: PROTOCOL }),
        }
    }

    /// Opens a session over polling; gives the body of the answer.
    async fn open_polling(&self, query: &EngineQuery, request: HandshakeRequest) -> Result<Vec<u8>, Refusal> {
        check_protocol(query)?;
        let connection = self.shared.open(TransportKind::Polling, request);
        let mut body = Vec::new();
        {
            let mut state = connection.state();
            let session = &mut state.session;
            let mut messages = VecDeque::new();
            // The handshake is the session's first GET: it cannot overlap, and finds the open packet.
            if session.handle_request(now(), PollMethod::Get).is_ok() {
                session.poll_transmit(now(), Via::Polling, &mut messages);
                session.handle_request_end(now(), PollMethod::Get);
            }
            let bytes = messages.iter().map(|message| message.len()).sum();
            session.handle_transmitted(now(), Via::Polling, bytes);
            messages.iter().for_each(|message| message.append_polling4(&mut body));
        }
        tokio::spawn(Driver::polling(Arc::clone(&self.shared), Arc::clone(&connection)));
        // The handler knows of the session before the client does.
        connection.settle().await;
        Ok(body)
    }

    async fn poll(&self, connection: &Arc<Connection>) -> Response<ResponseBody> {
        let request = match begin(connection, PollMethod::Get).await {
            Ok(request) => request,
            Err(response) => return self.answer(response),
        };
        match request.packets().await {
            Some(body) => packets_response(body),
            None => self.unknown(connection),
        }
    }

    async fn post<B>(&self, connection: &Arc<Connection>, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
    {
        let open = match begin(connection, PollMethod::Post).await {
            Ok(open) => open,
            Err(response) => return self.answer(response),
        };
        if request.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/octet-stream") {
            connection.change(|session| session.handle_invalid_request(now()));
            drop(open);
            return status(StatusCode::BAD_REQUEST);
        }
        let limit = self.shared.config.max_http_buffer_size;
        let body = tokio::select! {
            body = read_body(request.into_body(), limit) => body,
            () = open.closed() => return cut(),
        };
        match body {
            Ok(text) => {
                open.process(text).await;
                ok_response()
            }
            Err(BodyError::Lost) => cut(),
            Err(BodyError::TooLarge(drain)) => {
                open.end();
                tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain));
                status(StatusCode::PAYLOAD_TOO_LARGE)
            }
        }
    }

    fn unknown(&self, connection: &Connection) -> Response<ResponseBody> {
        self.answer(BeginError::Closed(connection.id().expose().to_owned()))
    }

    fn answer(&self, error: BeginError) -> Response<ResponseBody> {
        match error {
            BeginError::Overlap => status(StatusCode::BAD_REQUEST),
            BeginError::Closed(sid) => {
                let refusal = Refusal::UnknownSession { sid };
                self.shared.handler.on_refusal(&refusal);
                refusal.to_response()
            }
        }
    }

    /// A WebSocket handshake: opens a session, or takes one over.
    async fn upgrade<B>(
        &self,
        request: &mut Request<B>,
        query: &EngineQuery,
        peer: PeerInfo,
    ) -> Response<ResponseBody> {
        let connection = match self.verify(query, request.method(), true).await {
            Ok(connection) => connection,
            Err(refusal) => {
                self.shared.handler.on_refusal(&refusal);
                return refusal.to_upgrade_response();
            }
        };
        if self.shared.registry.is_closed() {
            return status(StatusCode::SERVICE_UNAVAILABLE);
        }
        let accepted = upgrade::accept(request, self.shared.config.per_message_deflate.as_ref());
        let (response, deflate) = match accepted {
            Ok(accepted) => accepted,
            Err(invalid) => return invalid.to_response(),
        };
        let on_upgrade = PendingUpgrade { on_upgrade: hyper::upgrade::on(&mut *request), deflate };
        // Node compares the transport only now: `transport=polling` gets its 101, and a close frame.
        if query.transport.as_deref() != Some(TransportKind::WebSocket.as_str()) {
            self.shared.turn_away(on_upgrade);
            return response;
        }
        match connection {
            Some(connection) => {
                if let Err((_, on_upgrade)) = connection.begin_probe(on_upgrade) {
                    self.shared.turn_away(on_upgrade);
                }
            }
            None => match check_protocol(query) {
                Ok(()) => {
                    let request = HandshakeRequest::new(request, query, peer);
                    let connection = self.shared.open(TransportKind::WebSocket, request);
                    tokio::spawn(Driver::websocket(Arc::clone(&self.shared), connection, on_upgrade));
                }
                // Node finds out only after the 101, and then writes an HTTP answer into the WebSocket.
                Err(refusal) => {
                    self.shared.handler.on_refusal(&refusal);
                    let task = self.shared.registry.task();
                    tokio::spawn(turn_away_raw(on_upgrade.on_upgrade, refusal.to_raw(), PATIENCE, task));
                }
            },
        }
        response
    }
}

impl<H: EngineHandler> Shared<H> {
    /// Makes a session whose queue holds its open packet, and registers it.
    fn open(&self, transport: TransportKind, request: HandshakeRequest) -> Arc<Connection> {
        let id = SessionId::random();
        let upgrades: &[&str] = match transport {
            TransportKind::Polling
                if self.config.allow_upgrades && self.config.allows(TransportKind::WebSocket) =>
            {
                &["websocket"]
            }
            _ => &[],
        };
        let open = OpenPacket {
            sid: id.expose(),
            upgrades,
            ping_interval: self.config.ping_interval,
            ping_timeout: self.config.ping_timeout,
            max_payload: self.config.max_http_buffer_size,
        };
        let open = Arc::new(EncodedMessage::text(&open.encode()));
        let session = Session::new(now(), transport, self.config.session(), open);
        let connection = Arc::new(Connection::new(id, request, session));
        self.registry.insert(&connection);
        connection
    }

    pub(crate) fn turn_away(&self, upgrade: PendingUpgrade) {
        let task = self.registry.task();
        tokio::spawn(turn_away(upgrade, self.config.max_http_buffer_size, PATIENCE, task));
    }
}

impl HandshakeRequest {
    fn new<B>(request: &Request<B>, query: &EngineQuery, peer: PeerInfo) -> HandshakeRequest {
        HandshakeRequest {
            url: path_and_query(request.uri()).into(),
            headers: request.headers().into(),
            peer_address: peer.address,
            secure: peer.secure,
            time: SystemTime::now(),
            base64: query.b64,
        }
    }
}

fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |target| target.as_str())
}

/// The protocol revision that is spoken here.
const PROTOCOL: u8 = 4;

fn check_protocol(query: &EngineQuery) -> Result<(), Refusal> {
    match query.protocol() {
        PROTOCOL => Ok(()),
        protocol => Err(Refusal::UnsupportedProtocol { protocol }),
    }
}

enum BeginError {
    Overlap,
    Closed(String),
}

/// Begins a GET or POST. When another one is open, its client may just have aborted it, on a TCP connection of its
/// own: Node would have seen that first, so its host gets a moment to notice.
async fn begin(connection: &Arc<Connection>, method: PollMethod) -> Result<OpenRequest, BeginError> {
    for _ in 0..ABORT_NOTICE_STEPS {
        if !connection.state().session.is_open_request(method) {
            break;
        }
        tokio::time::sleep(ABORT_NOTICE).await;
    }
    if connection.is_closed() {
        connection.settle().await;
        return Err(BeginError::Closed(connection.id().expose().to_owned()));
    }
    connection.begin_request(method).map_err(|_| BeginError::Overlap)
}

/// Overlapping requests end the session anyway; up to 5 × 2 ms later does no harm.
const ABORT_NOTICE: Duration = Duration::from_millis(2);
const ABORT_NOTICE_STEPS: usize = 5;

enum BodyError<F> {
    /// The client went away.
    Lost,
    /// More than the limit; the future reads and drops the rest, within reason, so that the TCP connection can go
    /// on.
    TooLarge(F),
}

/// Reads a body of at most `limit` bytes as text; invalid UTF-8 becomes U+FFFD.
async fn read_body<B>(mut body: B, limit: usize) -> Result<ByteString, BodyError<impl Future<Output = ()>>>
where
    B: Body + Unpin,
{
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(BodyError::Lost) };
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > limit {
            drop((bytes, data));
            return Err(BodyError::TooLarge(drain(body)));
        }
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let bytes = bytes.freeze();
    let lossy = |_| ByteString::from(String::from_utf8_lossy(&bytes).into_owned());
    Ok(ByteString::try_from(bytes.clone()).unwrap_or_else(lossy))
}

async fn drain<B: Body + Unpin>(mut body: B) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Buf::remaining);
        if bytes > DRAIN_BYTES {
            break;
        }
    }
}

/// A client that announced too much may send so much more before its TCP connection is cut.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// `X-XSS-Protection: 0` for the browsers that Node sends it to.
struct Quirks {
    old_explorer: bool,
}

impl Quirks {
    fn of(headers: &HeaderMap) -> Quirks {
        let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
        let contains = |needle: &[u8]| memchr::memmem::find(agent, needle).is_some();
        Quirks { old_explorer: contains(b";MSIE") || contains(b"Trident/") }
    }

    fn apply(&self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if self.old_explorer && response.status() == StatusCode::OK {
            response.headers_mut().insert("x-xss-protection", HeaderValue::from_static("0"));
        }
        response
    }
}

fn packets_response(body: Vec<u8>) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(Bytes::from(body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn ok_response() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(Bytes::from_static(b"ok")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = status;
    response
}

/// In the extensions of an answer: Node would cut the TCP connection without an answer here. A host that can do so
/// should ([`Engine::listen`] does); the others send the answer, a 400 with `Connection: close`.
#[derive(Clone, Copy, Debug)]
pub struct Cut;

fn cut() -> Response<ResponseBody> {
    let mut response = status(StatusCode::BAD_REQUEST);
    response.extensions_mut().insert(Cut);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}
