//! The tower face: requests under the server's path are answered here, the others go on to the inner service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::engine::{Engine, EngineHandler, PeerInfo, ResponseBody};
use crate::server::{ClientBundle, ClientFile, Hub, Server};

type PeerLookup = dyn Fn(&Parts) -> Option<SocketAddr> + Send + Sync;

/// Answers the requests under the server's path as a tower service; others get an empty 404.
///
/// Made by [`Server::service`](crate::Server::service). In axum, mount it with `route_service("/socket.io/", …)`;
/// `nest_service` would strip the path that it looks at.
///
/// # Example: a route of axum
/// ```
/// let io = ferrio::Server::new();
/// let app: axum::Router = axum::Router::new().route_service("/socket.io/", io.service());
/// ```
pub struct SocketIoService<H = Hub, S = NotFound> {
    engine: Engine<H>,
    peer: Option<Arc<PeerLookup>>,
    /// Whether the connection is encrypted, if the host knows.
    secure: Option<bool>,
    client: Option<Arc<ClientBundle>>,
    inner: S,
}

impl Server {
    /// Gives the server as a tower service, to be mounted as a route: see [`SocketIoService`].
    pub fn service(&self) -> SocketIoService {
        SocketIoService {
            client: self.client_bundle().cloned(),
            ..SocketIoService::new(self.engine().clone())
        }
    }

    /// Gives the server as a tower layer, to be put in front of other services: see [`SocketIoLayer`].
    pub fn layer(&self) -> SocketIoLayer {
        SocketIoLayer { service: self.service() }
    }
}

impl<H: EngineHandler> Engine<H> {
    /// Gives the engine as a tower service, to be mounted as a route: see [`SocketIoService`].
    pub fn service(&self) -> SocketIoService<H> {
        SocketIoService::new(self.clone())
    }

    /// Gives the engine as a tower layer, to be put in front of other services: see [`SocketIoLayer`].
    pub fn layer(&self) -> SocketIoLayer<H> {
        SocketIoLayer { service: self.service() }
    }
}

/// The inner service of a [`SocketIoService`] that stands alone: answers 404 without a body, as Node does.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotFound;

impl<H: EngineHandler> SocketIoService<H> {
    pub(crate) fn new(engine: Engine<H>) -> SocketIoService<H> {
        SocketIoService { engine, peer: None, secure: None, client: None, inner: NotFound }
    }

    pub(crate) fn engine(&self) -> &Engine<H> {
        &self.engine
    }
}

impl<H, S> SocketIoService<H, S> {
    /// Says how to find the peer's address, which a tower service does not know by itself: it becomes
    /// `handshake.address`.
    ///
    /// # Example: the address that axum knows
    /// ```
    /// use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    ///
    /// let io = ferrio::Server::new();
    /// let service = io.service().peer_address(|parts| {
    ///     parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
    /// });
    /// let app = axum::Router::new().route_service("/socket.io/", service);
    /// // Then: axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
    /// # let _: axum::Router = app;
    /// ```
    #[must_use]
    pub fn peer_address<F>(mut self, lookup: F) -> Self
    where
        F: Fn(&Parts) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.peer = Some(Arc::new(lookup));
        self
    }

    /// Says whether the connection is encrypted, whatever the URLs in its requests say.
    pub(crate) fn secure(mut self, secure: bool) -> Self {
        self.secure = Some(secure);
        self
    }
}

impl<H, S: Clone> Clone for SocketIoService<H, S> {
    fn clone(&self) -> Self {
        SocketIoService {
            engine: self.engine.clone(),
            peer: self.peer.clone(),
            secure: self.secure,
            client: self.client.clone(),
            inner: self.inner.clone(),
        }
    }
}

impl<H, S: fmt::Debug> fmt::Debug for SocketIoService<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketIoService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Puts a server in front of any HTTP service; made by [`Server::layer`](crate::Server::layer).
///
/// # Example: in front of a whole router
/// ```
/// let io = ferrio::Server::new();
/// let app: axum::Router = axum::Router::new().layer(io.layer());
/// ```
pub struct SocketIoLayer<H = Hub> {
    service: SocketIoService<H>,
}

impl<H: EngineHandler> SocketIoLayer<H> {
    /// As [`SocketIoService::peer_address`].
    #[must_use]
    pub fn peer_address<F>(mut self, lookup: F) -> Self
    where
        F: Fn(&Parts) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.service = self.service.peer_address(lookup);
        self
    }
}

impl<H> Clone for SocketIoLayer<H> {
    fn clone(&self) -> Self {
        SocketIoLayer { service: self.service.clone() }
    }
}

impl<H> fmt::Debug for SocketIoLayer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SocketIoLayer")
    }
}

impl<H, S> Layer<S> for SocketIoLayer<H> {
    type Service = SocketIoService<H, S>;

    fn layer(&self, inner: S) -> Self::Service {
        let SocketIoService { engine, peer, secure, client, inner: NotFound } = self.service.clone();
        SocketIoService { engine, peer, secure, client, inner }
    }
}

impl<H, S, B, R> Service<Request<B>> for SocketIoService<H, S>
where
    H: EngineHandler,
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    type Response = Response<EitherBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(client) = &self.client
            && let Some(file) = client.find(request.uri().path())
            && !self.engine.is_upgrade(&request)
        {
            let answer = serve_file(self.engine.clone(), file, request);
            return ResponseFuture::Engine { future: Box::pin(answer) };
        }
        if !self.engine.matches(request.uri().path()) {
            return ResponseFuture::Inner { future: self.inner.call(request) };
        }
        let (mut parts, body) = request.into_parts();
        let is_https = parts.uri.scheme().is_some_and(|scheme| *scheme == http::uri::Scheme::HTTPS);
        let peer = PeerInfo {
            address: self.peer.as_ref().and_then(|lookup| lookup(&parts)).map(|address| address.ip()),
            secure: self.secure.unwrap_or(is_https),
        };
        let is_http1 = parts.version <= Version::HTTP_11;
        if !is_http1 {
            restore_headers(&mut parts);
        }
        let engine = self.engine.clone();
        let request = Request::from_parts(parts, body);
        let answer = async move {
            let mut response = engine.handle(request, peer).await;
            if !is_http1 {
                // "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields"
                // (RFC 9113, section 8.2.2).
                response.headers_mut().remove(CONNECTION);
            }
            response
        };
        ResponseFuture::Engine { future: Box::pin(answer) }
    }
}

/// Answers with a file of the client, whatever the method.
async fn serve_file<H, B>(
    engine: Engine<H>,
    file: Arc<ClientFile>,
    request: Request<B>,
) -> Response<ResponseBody>
where
    H: EngineHandler,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
{
    let (head, body) = request.into_parts();
    engine.drain_body(body);
    engine.with_cors(&head.method, &head.headers, file.answer(&head.headers)).await
}

/// Gives a request the headers it would have over HTTP/1, for the application's sake.
fn restore_headers(parts: &mut Parts) {
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    join_cookies(&mut parts.headers);
}

/// "If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet
/// string using the two-octet delimiter of 0x3b, 0x20" (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookies);
    }
}

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<B>) -> Self::Future {
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        std::future::ready(Ok(response))
    }
}

pin_project! {
    /// The future of a [`SocketIoService`].
    #[project = ResponseFutureProjection]
    pub enum ResponseFuture<F> {
        /// Answered here.
        #[doc(hidden)]
        Engine { future: Pin<Box<dyn Future<Output = Response<ResponseBody>> + Send>> },
        /// Answered by the inner service.
        #[doc(hidden)]
        Inner { #[pin] future: F },
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<EitherBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            ResponseFutureProjection::Engine { future } => {
                future.as_mut().poll(cx).map(|response| Ok(response.map(|body| EitherBody::Engine { body })))
            }
            ResponseFutureProjection::Inner { future } => future
                .poll(cx)
                .map(|result| result.map(|response| response.map(|body| EitherBody::Inner { body }))),
        }
    }
}

pin_project! {
    /// The body of an answer: the server's, or the inner service's.
    #[derive(Debug)]
    #[project = EitherBodyProjection]
    pub enum EitherBody<R> {
        /// The server's.
        #[doc(hidden)]
        Engine { #[pin] body: ResponseBody },
        /// The inner service's.
        #[doc(hidden)]
        Inner { #[pin] body: R },
    }
}

/// Empty; what layers around the service need that answer themselves.
impl<R> Default for EitherBody<R> {
    fn default() -> EitherBody<R> {
        EitherBody::Engine { body: ResponseBody::default() }
    }
}

impl<R: Body<Data = Bytes>> Body for EitherBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        match self.project() {
            EitherBodyProjection::Engine { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            EitherBodyProjection::Inner { body } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            EitherBody::Engine { body } => body.is_end_stream(),
            EitherBody::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            EitherBody::Engine { body } => body.size_hint(),
            EitherBody::Inner { body } => body.size_hint(),
        }
    }
}
