//! Engine::handle: a request passes the middlewares, is verified, and opens, polls, posts, upgrades, or is refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{Entry, HeaderMap, SET_COOKIE, VARY};
use http::{Extensions, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::connection::{Connection, SessionId};
use super::cors::Preflight;
use super::driver::Driver;
use super::farewell::{turn_away, turn_away_raw};
use super::handshake::HandshakeRequest;
use super::hooks::{Forbidden, Next, Panicked, Passed, RequestHead, contain};
use super::polling::{self, cut, status};
use super::registry::NotRegistered;
use super::upgrade::PendingUpgrade;
use super::{Engine, EngineHandler, Refusal, ResponseBody, Shared, now, upgrade};
use crate::proto::EncodedMessage;
use crate::proto::engineio::{EngineQuery, OpenPacket, Revision, Session, TransportKind};

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
        let peer = self.shared.proxies.resolve(request.headers(), peer);
        let is_upgrade = self.is_upgrade(&request);
        let on_upgrade = is_upgrade.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let head = RequestHead::new(Request::from_parts(parts, ()), peer, is_upgrade);

        let mut headers = match self.cors(head.method(), head.headers()) {
            Preflight { status: Some(status), headers } => {
                self.drain_body(body);
                return with_headers(polling::status(status), headers);
            }
            Preflight { status: None, headers } => headers,
        };
        let extensions = match self.pass_middlewares(&head, &mut headers).await {
            Ok(extensions) => extensions,
            Err(response) => {
                self.drain_body(body);
                return with_headers(response, headers);
            }
        };
        let query = EngineQuery::parse(head.uri().query().unwrap_or(""));
        if let Some(on_upgrade) = on_upgrade {
            return self.upgrade(&head, &query, extensions, headers, on_upgrade).await;
        }
        let answer = match self.verify(&query, &head).await {
            Err(refusal) => {
                self.drain_body(body);
                Err(refusal)
            }
            Ok(None) => self.open_polling(&head, &query, extensions).await,
            Ok(Some(connection)) => match *head.method() {
                Method::GET => self.poll(&connection, &head).await,
                Method::POST => self.post(&connection, &head, body).await,
                _ => {
                    self.drain_body(body);
                    Ok(status(StatusCode::INTERNAL_SERVER_ERROR))
                }
            },
        };
        with_headers(answer.unwrap_or_else(|refusal| self.refuse(&refusal, &head).to_response()), headers)
    }

    /// What CORS says: headers for the answer, or all of it.
    fn cors(&self, method: &Method, request: &HeaderMap) -> Preflight {
        match &self.shared.config.cors {
            None => Preflight { headers: HeaderMap::new(), status: None },
            Some(cors) if *method == Method::OPTIONS => cors.preflight(request),
            Some(cors) => Preflight { headers: cors.actual(request), status: None },
        }
    }

    /// Whether a request asks for a WebSocket. As on Node, whose upgrade listener is only there when WebSocket is.
    pub(crate) fn is_upgrade<B>(&self, request: &Request<B>) -> bool {
        self.shared.config.allows(TransportKind::WebSocket) && upgrade::is_requested(request)
    }

    /// Adds what CORS says to an answer that is not the engine's; a preflight is answered here.
    pub(crate) async fn with_cors(
        &self,
        method: &Method,
        request: &HeaderMap,
        answer: impl Future<Output = Response<ResponseBody>>,
    ) -> Response<ResponseBody> {
        match self.cors(method, request) {
            Preflight { status: Some(status), headers } => with_headers(polling::status(status), headers),
            Preflight { status: None, headers } => with_headers(answer.await, headers),
        }
    }

    /// Runs the middlewares in order; what they say of headers goes to `headers`, also when one of them answers.
    async fn pass_middlewares(
        &self,
        head: &RequestHead,
        headers: &mut HeaderMap,
    ) -> Result<Extensions, Response<ResponseBody>> {
        let mut extensions = Extensions::new();
        for middleware in &self.shared.config.middlewares {
            match middleware.call(head).await.unwrap_or_else(|Panicked| Err("a middleware panicked".into())) {
                Ok(Next::Continue(Passed { headers: passed, extensions: found })) => {
                    merge(headers, passed);
                    extensions.extend(found);
                }
                Ok(Next::End(_)) if head.is_upgrade() => return Err(cut()),
                Ok(Next::End(response)) => return Err(response),
                Err(error) => {
                    let refusal = Refusal::Middleware { error: error.to_string() };
                    let refusal = self.refuse(&refusal, head);
                    if head.is_upgrade() {
                        headers.clear();
                        return Err(refusal.to_upgrade_response());
                    }
                    return Err(refusal.to_response());
                }
            }
        }
        Ok(extensions)
    }

    /// Checks a request in Node's order; gives the connection it belongs to, or `None` for a handshake.
    async fn verify(
        &self,
        query: &EngineQuery,
        head: &RequestHead,
    ) -> Result<Option<Arc<Connection>>, Refusal> {
        let transport = query.transport.as_deref().and_then(TransportKind::from_name);
        let transport = transport.filter(|transport| self.shared.config.allows(*transport));
        let Some(transport) = transport else {
            return Err(Refusal::UnknownTransport { transport: query.transport.clone() });
        };
        let Some(sid) = &query.sid else {
            return self.verify_handshake(transport, head).await.map(|()| None);
        };
        let unknown = || Refusal::UnknownSession { sid: sid.clone() };
        let connection = self.shared.registry.get(sid).ok_or_else(unknown)?;
        // Bytes that came earlier by the session's WebSocket, or the end of the session, come first.
        let (is_unsettled, is_probed) = {
            let state = connection.state();
            (state.is_unsettled(), state.session.probe().is_some())
        };
        if is_probed && !head.is_upgrade() {
            // They may have reached the kernel, but not yet the runtime, which looks there when a worker has nothing to do.
            tokio::time::sleep(ARRIVAL_NOTICE).await;
        }
        if is_unsettled {
            connection.settle().await;
        }
        let previous = {
            let state = connection.state();
            if state.session.is_closed() {
                return Err(unknown());
            }
            state.session.transport()
        };
        if !head.is_upgrade() && previous != transport {
            return Err(Refusal::TransportMismatch { transport, previous });
        }
        let (protocol, previous) = (query.revision(), connection.request().revision);
        if protocol != previous {
            return Err(Refusal::ProtocolMismatch { protocol: protocol.as_u8(), previous: previous.as_u8() });
        }
        Ok(Some(connection))
    }

    async fn verify_handshake(&self, transport: TransportKind, head: &RequestHead) -> Result<(), Refusal> {
        let method = if head.is_upgrade() { upgrade::method(head.request()) } else { head.method() };
        if *method != Method::GET {
            return Err(Refusal::BadHandshakeMethod { method: method.to_string() });
        }
        if transport == TransportKind::WebSocket && !head.is_upgrade() {
            return Err(Refusal::TransportHandshake);
        }
        let Some(allow_request) = &self.shared.config.allow_request else { return Ok(()) };
        let answer = allow_request.call(head).await.unwrap_or_else(|Panicked| Err(Forbidden::default()));
        answer.map_err(|forbidden| Refusal::Forbidden { message: forbidden.message })
    }

    /// A WebSocket handshake: opens a session, or takes one over.
    async fn upgrade(
        &self,
        head: &RequestHead,
        query: &EngineQuery,
        extensions: Extensions,
        mut headers: HeaderMap,
        on_upgrade: OnUpgrade,
    ) -> Response<ResponseBody> {
        let connection = match self.verify(query, head).await {
            Ok(connection) => connection,
            Err(refusal) => return self.refuse(&refusal, head).to_upgrade_response(),
        };
        // While the engine drains, a session may still be upgraded.
        let registry = &self.shared.registry;
        if registry.is_closed() || connection.is_none() && !registry.is_accepting() {
            return self.refuse(&Refusal::Closed, head).to_upgrade_response();
        }
        let accepted = upgrade::accept(head.request(), self.shared.config.per_message_deflate.as_ref());
        let (mut response, deflate) = match accepted {
            Ok(accepted) => accepted,
            Err(invalid) => return invalid.to_response(),
        };
        let initial = connection.is_none();
        let on_upgrade = PendingUpgrade { on_upgrade, deflate };
        match connection {
            // Node compares the transport only now: `transport=polling` gets its 101, and a close frame.
            _ if query.transport.as_deref() != Some(TransportKind::WebSocket.as_str()) => {
                self.shared.turn_away(on_upgrade);
            }
            Some(connection) => {
                if let Err((_, on_upgrade)) = connection.begin_probe(on_upgrade) {
                    self.shared.turn_away(on_upgrade);
                }
            }
            None => match self.open(TransportKind::WebSocket, head, query, extensions).await {
                Ok(connection) => {
                    tokio::spawn(Driver::websocket(Arc::clone(&self.shared), connection, on_upgrade));
                }
                // Over HTTP/2 there is no connection to write into.
                Err(refusal) if refusal == Refusal::Closed || upgrade::is_connect(head.request()) => {
                    return self.refuse(&refusal, head).to_upgrade_response();
                }
                // Node finds out only after the 101, and then writes an HTTP answer into the WebSocket.
                Err(refusal) => {
                    let raw = self.refuse(&refusal, head).to_raw();
                    let task = self.shared.registry.task();
                    tokio::spawn(turn_away_raw(on_upgrade.on_upgrade, raw, task));
                }
            },
        }
        self.call_header_hooks(&mut headers, head, initial);
        merge(response.headers_mut(), headers);
        response
    }

    /// Makes a session whose queue holds its open packet, and registers it.
    pub(crate) async fn open(
        &self,
        transport: TransportKind,
        head: &RequestHead,
        query: &EngineQuery,
        extensions: Extensions,
    ) -> Result<Arc<Connection>, Refusal> {
        let config = &self.shared.config;
        let revision = query.revision();
        if revision == Revision::V3 && !config.allow_eio3 {
            return Err(Refusal::UnsupportedProtocol { protocol: revision.as_u8() });
        }
        let id = self.session_id(head).await?;
        let upgrades: &[&str] = match transport {
            TransportKind::Polling if config.allow_upgrades && config.allows(TransportKind::WebSocket) => {
                &["websocket"]
            }
            _ => &[],
        };
        let open = OpenPacket {
            sid: id.expose(),
            upgrades,
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload: config.max_http_buffer_size,
        };
        let open = Arc::new(EncodedMessage::text(&open.encode()));
        let mut session = Session::new(now(), transport, revision, config.session(), open);
        if let Some(packet) = &self.shared.initial_packet {
            // A new session takes a message of any size.
            let _ = session.send(Arc::clone(packet));
        }
        let request = HandshakeRequest::new(head, query, transport, extensions);
        let connection = Arc::new(Connection::new(id, request, session));
        match self.shared.registry.insert(&connection) {
            Ok(()) => Ok(connection),
            Err(NotRegistered::Closed) => Err(Refusal::Closed),
            Err(NotRegistered::Taken) => {
                Err(Refusal::IdGeneration { error: "generate_id gave an id that is taken".to_owned() })
            }
        }
    }

    async fn session_id(&self, head: &RequestHead) -> Result<SessionId, Refusal> {
        let Some(generate_id) = &self.shared.config.generate_id else { return Ok(SessionId::random()) };
        match generate_id.call(head).await.unwrap_or_else(|Panicked| Err("generate_id panicked".into())) {
            Ok(id) if id.is_empty() => {
                Err(Refusal::IdGeneration { error: "generate_id gave an empty id".to_owned() })
            }
            Ok(id) => Ok(SessionId::new(&id)),
            Err(error) => Err(Refusal::IdGeneration { error: error.to_string() }),
        }
    }

    /// Lets the application change the headers of an answer; `initial`: the session's first.
    pub(crate) fn call_header_hooks(&self, headers: &mut HeaderMap, head: &RequestHead, initial: bool) {
        let config = &self.shared.config;
        if let Some(hook) = config.initial_headers.as_ref().filter(|_| initial) {
            hook.call(headers, head);
        }
        if let Some(hook) = &config.headers {
            hook.call(headers, head);
        }
    }

    /// Lets the handler know of a refusal.
    fn refuse<'a>(&self, refusal: &'a Refusal, head: &RequestHead) -> &'a Refusal {
        // Of the close the application knows.
        if *refusal != Refusal::Closed {
            contain("on_refusal", || self.shared.handler.on_refusal(refusal, head));
        }
        refusal
    }
}

impl<H: EngineHandler> Shared<H> {
    pub(crate) fn turn_away(&self, upgrade: PendingUpgrade) {
        let task = self.registry.task();
        tokio::spawn(turn_away(upgrade, self.config.max_http_buffer_size, task));
    }
}

/// A poll or POST beside a probe: there are few of them, and none is in a hurry.
const ARRIVAL_NOTICE: Duration = Duration::from_millis(2);

/// Adds what middlewares said to an answer; what the engine itself says wins.
fn with_headers(mut response: Response<ResponseBody>, mut headers: HeaderMap) -> Response<ResponseBody> {
    if !headers.is_empty() {
        merge(&mut headers, std::mem::take(response.headers_mut()));
        *response.headers_mut() = headers;
    }
    response
}

/// Adds headers to others: one of the same name replaces the earlier one, as Node's `res.setHeader` does; cookies
/// and `Vary` add up.
fn merge(into: &mut HeaderMap, mut headers: HeaderMap) {
    for name in [SET_COOKIE, VARY] {
        let Entry::Occupied(entry) = headers.entry(&name) else { continue };
        let (name, values) = entry.remove_entry_mult();
        for value in values {
            into.append(&name, value);
        }
    }
    into.extend(headers);
}
