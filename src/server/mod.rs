//! Layer 3: Socket.IO at run time.
//!
//! ```text
//!  engine ─▶ Hub ─▶ Client ─▶ Event ─▶ Handler        one Client per connection, owned by the connection's task
//!                     │
//!                    Peer ◀── Socket ◀── Rooms        one Peer per connection, one Socket per namespace it joined
//!                                          ▲
//!                        BroadcastOperator ┘
//! ```
//!
//! | to | go to |
//! |---|---|
//! | join a namespace, route a packet | `client.rs`; what sockets of one connection share: `peer.rs` |
//! | find or make the namespace a client asks for | `namespaces.rs`; rules for many names: `parent.rs` |
//! | start a user's handler | `handler.rs`; see events before or after all handlers: `listeners.rs`, `outgoing.rs` |
//! | choose who hears a broadcast | `rooms.rs` |

mod ack;
mod adapter;
mod back_pressure;
mod broadcast;
mod broadcast_ack;
mod client;
mod client_bundle;
mod coalesce;
mod config;
mod connect_error;
mod data;
mod disconnect;
mod drain;
mod event;
mod handler;
mod handlers;
mod handshake;
mod hub;
mod kept_event;
mod lag;
mod legacy;
mod listeners;
mod local_node;
mod namespace;
mod namespaces;
mod outgoing;
mod parent;
mod peer;
mod recovery;
mod remote_socket;
mod room_event;
mod rooms;
mod serial;
mod server_side;
mod shared_recovery;
mod socket;
mod socket_error;
mod socket_operator;
mod stats;
#[cfg(test)]
pub(crate) mod tests;
mod typed_event;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use ack::{AckError, AckFuture};
pub use adapter::{
    Adapter, AdapterError, AdapterFactory, BroadcastFlags, BroadcastOptions, Gathered, KeptSession, Position,
    RemoteAnswers, RestoredSession,
};
pub use broadcast::BroadcastOperator;
#[cfg(feature = "redis")]
pub(crate) use broadcast_ack::DEFAULT_ACK_TIMEOUT;
pub use broadcast_ack::{BroadcastAckError, BroadcastAcks};
pub use client::Client;
pub(crate) use client_bundle::{ClientBundle, ClientFile};
pub use coalesce::CoalescedEmit;
pub use connect_error::ConnectError;
pub use data::{Data, DataError, Extensions};
pub use disconnect::DisconnectReason;
pub use event::Event;
pub use handler::{EventMiddlewareOutput, HandlerError, HandlerOutput, ListenerId, MiddlewareOutput};
pub use handshake::{AuthError, Handshake, Query};
pub use hub::Hub;
pub use kept_event::KeptEvent;
pub use local_node::{LocalAnswers, LocalNode};
pub use namespace::Namespace;
pub use outgoing::OutgoingEvent;
pub use parent::{NamespaceRequest, ParentBroadcastOperator, ParentNamespace, PredicateOutput};
pub use recovery::{ConnectionStateRecovery, Recovery, RecoveryError};
pub use remote_socket::{FetchError, RemoteSocket, RemoteSocketWithTimeout};
pub use room_event::RoomEvent;
pub use rooms::{IntoRooms, Room};
pub use server_side::ServerSideEvent;
#[cfg(feature = "redis")]
pub(crate) use server_side::check_server_side;
pub use socket::{EmitError, Socket, SocketId};
pub use socket_error::{SocketError, SocketErrorCause};
pub use socket_operator::SocketOperator;
pub use stats::Stats;
pub(crate) use typed_event::sealed::Sealed;
pub use typed_event::{AckEmitter, Emitter, EventType, Listener, NoAck, SerializeAs, TypedEvent};

pub use crate::engine::{
    ConfigError, CookieOptions, CookiePriority, Cors, CorsOrigin, FlushError, ForwardedHeader,
    HttpCompression, Lag, MaxWindowBits, OriginMatcher, PerMessageDeflate, SameSite, SlowConsumer,
    TransportKind,
};
pub use crate::proto::socketio::{
    Args, ArgsError, Map, MsgpackParser, PacketDecoder, Parser, ParserError, RawArgs, Value,
};

use config::ServerConfig;
use data::TypeMap;
use drain::Drain;
use hub::{RefusalObserver, Shared};

use crate::proto::socketio::Codec;

use crate::engine::{
    Engine, EngineConfig, Forbidden, HeadersHook, Hook, HookError, Next, Refusal, RequestHead, WeakEngine,
};

/// A Socket.IO server, Node's `io`. Cheap to clone; all clones are the same server.
///
/// # Example: echo
/// ```
/// use ferrio::{Event, HandlerError, Server};
///
/// let io = Server::new();
/// io.on("echo", async |event: Event| {
///     event.socket().emit("echo", &event.raw_args())?;
///     Ok::<_, HandlerError>(())
/// });
/// ```
#[derive(Clone)]
pub struct Server {
    engine: Engine<Hub>,
    main: Namespace,
}

/// The server itself, among the states of its handlers: weak, because the server holds its handlers.
#[derive(Default)]
struct OwnServer(OnceLock<WeakEngine<Hub>>);

impl Server {
    /// Makes a server with Node's defaults, see [`ServerBuilder`].
    pub fn new() -> Server {
        Server::builder().build().expect("the defaults are accepted")
    }

    /// Begins a server with other options, or with state for its handlers.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Gives the namespace of this name, made if there is none: clients can join it from now on. `""` is `/`, and
    /// `"abc"` is `/abc`. Each namespace has its own middlewares and handlers: those of `/` guard and serve only `/`.
    pub fn of(&self, name: &str) -> Namespace {
        self.hub().of(name)
    }

    /// Adds a middleware to the main namespace, see [`Namespace::use_`]. It guards that one alone: each namespace needs
    /// its own. For all connections, whatever they join, use [`ServerBuilder::allow_request`].
    pub fn use_<F, Fut>(&self, middleware: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: MiddlewareOutput> + Send + 'static,
    {
        self.main.use_(middleware);
    }

    /// Adds a handler of new sockets to the main namespace, see [`Namespace::on_connect`].
    pub fn on_connect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_connect(handler);
    }

    /// Adds a handler of an event to the main namespace, see [`Namespace::on`].
    pub fn on<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on(event, handler)
    }

    /// Adds a handler of sockets that left to the main namespace, see [`Namespace::on_disconnect`].
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_disconnect(handler);
    }

    /// Emits an event to all sockets of the main namespace.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.main.emit(event, args)
    }

    /// Emits the event `message` to all sockets of the main namespace: Node's `send` and `write`.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.main.send(args)
    }

    /// Addresses the sockets in these rooms of the main namespace; see [`BroadcastOperator::to`].
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.main.to(rooms)
    }

    /// Addresses the sockets in these rooms of the main namespace, as [`Server::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.main.to(rooms)
    }

    /// Addresses all sockets of the main namespace that are not in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.main.except(rooms)
    }

    /// Addresses all sockets of the main namespace that are connected to this process; see
    /// [`BroadcastOperator::local`].
    pub fn local(&self) -> BroadcastOperator {
        self.main.local()
    }

    /// Addresses all sockets of the main namespace, with events that may be lost; see [`BroadcastOperator::volatile`].
    pub fn volatile(&self) -> BroadcastOperator {
        self.main.volatile()
    }

    /// Addresses all sockets of the main namespace, with events that may be compressed or not; see
    /// [`BroadcastOperator::compress`].
    pub fn compress(&self, compress: bool) -> BroadcastOperator {
        self.main.compress(compress)
    }

    /// Addresses all sockets of the main namespace, with acknowledgements that must come in time; see
    /// [`BroadcastOperator::timeout`].
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        self.main.timeout(timeout)
    }

    /// Emits an event to all sockets of the main namespace and waits for their acknowledgements; see
    /// [`BroadcastOperator::emit_with_ack`].
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAcks<R> {
        self.main.emit_with_ack(event, args)
    }

    /// Lets all sockets of the main namespace join a room or several; see [`BroadcastOperator::sockets_join`].
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        self.main.sockets_join(rooms);
    }

    /// Lets all sockets of the main namespace leave a room or several; see [`BroadcastOperator::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl IntoRooms) {
        self.main.sockets_leave(rooms);
    }

    /// Takes all sockets out of the main namespace; see [`BroadcastOperator::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) {
        self.main.disconnect_sockets(close);
    }

    /// Gives handles of all sockets of the main namespace, those of other servers too; see
    /// [`BroadcastOperator::fetch_sockets`].
    ///
    /// # Errors
    /// If another server does not answer in time.
    pub async fn fetch_sockets(&self) -> Result<Vec<RemoteSocket>, FetchError> {
        self.main.fetch_sockets().await
    }

    /// Emits an event to the other servers of the cluster, in the main namespace; see [`Namespace::server_side_emit`].
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn server_side_emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.main.server_side_emit(event, args)
    }

    /// Emits an event to the other servers of the cluster and waits for their answers; see
    /// [`Namespace::server_side_emit_with_ack`].
    pub fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAcks<R> {
        self.main.server_side_emit_with_ack(event, args)
    }

    /// Adds a handler of what other servers emit in the main namespace; see [`Namespace::on_server_side`].
    pub fn on_server_side<F, Fut>(&self, event: &str, handler: F)
    where
        F: Fn(ServerSideEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_server_side(event, handler);
    }

    /// Gives the number of connections, Node's `io.engine.clientsCount`. One that has joined no namespace counts, too.
    pub fn clients_count(&self) -> usize {
        self.engine.clients_count()
    }

    /// Gives what was counted so far.
    pub fn stats(&self) -> Stats {
        let shared = self.hub().shared();
        let recovery_bytes = shared.recovery_budget.used() as u64;
        Stats { task_runs: self.engine().task_runs(), recovery_bytes, ..shared.counters.snapshot() }
    }

    /// Whether clients can connect: not when the server drains or is closed. For the health check of a load balancer.
    ///
    /// # Example: a health check under axum
    /// ```
    /// use axum::http::StatusCode;
    /// use axum::routing::get;
    ///
    /// let io = ferrio::Server::new();
    /// let health = {
    ///     let io = io.clone();
    ///     async move || if io.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    /// };
    /// let app: axum::Router =
    ///     axum::Router::new().route("/health", get(health)).route_service("/socket.io/", io.service());
    /// ```
    pub fn is_ready(&self) -> bool {
        self.engine.is_accepting()
    }

    /// Lets the clients go to other nodes, and then closes the server ([`Server::close`]): for a deployment, or one node
    /// less. It returns when the last client has gone, at the deadline at the latest. The first call sets the deadline.
    ///
    /// From its start new sessions are answered 503, and [`Server::is_ready`] says no; HTTP is answered on, health checks
    /// too. Sessions that are there go on, namespaces may be joined, until it is their turn: each at a random moment of
    /// the first four fifths of the time, so that the other nodes are not asked for all at once. Who waits for an
    /// acknowledgement at its turn, on either side, stays until it is there, or until the deadline: an event whose
    /// handler has neither answered nor ended counts, too.
    ///
    /// For a client it is as if the connection had been lost (`transport close`): it connects anew by itself. Here its
    /// sockets leave with `server shutting down`, after which a session can be recovered.
    ///
    /// How long? Rather more than the interval of the load balancer's health checks, less than the time after which the
    /// process is killed. Without any time it is [`Server::close`].
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the draining; the server is then not closed.
    ///
    /// # Example: alone
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let io = ferrio::Server::new();
    /// let listening = io.listen("127.0.0.1:3000").await?;
    /// listening
    ///     .run_until(async {
    ///         let _ = tokio::signal::ctrl_c().await;
    ///         io.drain(Duration::from_secs(20)).await;
    ///     })
    ///     .await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Example: under axum, drain first, then stop to accept
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run(app: axum::Router, io: ferrio::Server) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         let _ = tokio::signal::ctrl_c().await;
    ///         io.drain(Duration::from_secs(20)).await;
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn drain(&self, deadline: Duration) {
        let drain = self.hub().shared().drain.get_or_init(|| Drain::begin(deadline));
        self.engine.drain(drain.deadline()).await;
        self.close().await;
    }

    /// Disconnects all sockets (`server shutting down`), closes all connections, and waits until their tasks have ended,
    /// for five seconds at the most. The server cannot be used any more: whoever connects is answered 503.
    ///
    /// An adapter then leaves the cluster: what was emitted before is still published, for which Redis has two seconds. A
    /// program that ends without this loses what waits.
    ///
    /// A host of its own (axum, hyper) does not know of this: it stops when it is told to, and then waits for polls and
    /// leaves WebSockets as they are. Close the server as a part of its signal to stop.
    /// [`Listening`](crate::Listening) does both.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the closing.
    ///
    /// # Example: graceful shutdown under axum
    /// ```no_run
    /// # async fn run(app: axum::Router, io: ferrio::Server) -> std::io::Result<()> {
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, app)
    ///     .with_graceful_shutdown(async move {
    ///         let _ = tokio::signal::ctrl_c().await;
    ///         io.close().await;
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn close(&self) {
        self.hub().close();
        self.engine.close(CLOSE_PATIENCE).await;
        if let Some(adapter) = &self.hub().shared().config.adapter {
            adapter.close().await;
        }
    }

    /// The server to which namespaces with this state belong, unless it is gone.
    pub(crate) fn owner(shared: &Shared) -> Option<Server> {
        let own: &OwnServer = shared.state.get_ref()?;
        Some(Server::over(own.0.get()?.upgrade()?))
    }

    fn over(engine: Engine<Hub>) -> Server {
        let main = engine.handler().of("/");
        Server { engine, main }
    }

    fn hub(&self) -> &Hub {
        self.engine.handler()
    }

    /// The client's files, if they are to be served.
    pub(crate) fn client_bundle(&self) -> Option<&Arc<ClientBundle>> {
        self.hub().shared().config.client_bundle.as_ref()
    }

    /// The engine below, for those who serve it.
    pub(crate) fn engine(&self) -> &Engine<Hub> {
        &self.engine
    }
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// How long [`Server::close`] waits for clients that do not say goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// The options of a [`Server`], under Node's names; made by [`Server::builder`].
///
/// # Example: smaller messages
/// ```
/// let io = ferrio::Server::builder().max_http_buffer_size(10_000).build()?;
/// # Ok::<_, ferrio::ConfigError>(())
/// ```
#[derive(Default)]
#[must_use = "`build` makes the server"]
pub struct ServerBuilder {
    config: ServerConfig,
    state: TypeMap,
    on_refusal: Option<Box<RefusalObserver>>,
    client_directory: Option<PathBuf>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Sets all options of Engine.IO at once, for those who keep them in one place; the methods below change single
    /// ones, and are called after it: it replaces what was set before. The default of [`EngineConfig::path`] is `/engine.io`: set it to `/socket.io`, where clients look.
    pub fn engine(mut self, config: EngineConfig) -> ServerBuilder {
        self.config.engine = config;
        self
    }

    /// Sets the path under which requests are served. Default: `/socket.io`.
    pub fn path(mut self, path: impl Into<String>) -> ServerBuilder {
        self.config.engine.path = path.into();
        self
    }

    /// Sets the time from a pong to the next ping. Default: 25 s. Shorter finds dead peers sooner, and costs two packets
    /// each time.
    pub fn ping_interval(mut self, interval: Duration) -> ServerBuilder {
        self.config.engine.ping_interval = interval;
        self
    }

    /// Sets the time from a ping to its pong at the latest. Default: 20 s. Longer for clients that block for long.
    pub fn ping_timeout(mut self, timeout: Duration) -> ServerBuilder {
        self.config.engine.ping_timeout = timeout;
        self
    }

    /// Sets how long an upgrade to WebSocket may take. Default: 10 s.
    pub fn upgrade_timeout(mut self, timeout: Duration) -> ServerBuilder {
        self.config.engine.upgrade_timeout = timeout;
        self
    }

    /// Sets the time within which a connection must join a namespace, or is closed. Default: 45 s, as is 0. Longer where
    /// middlewares of the first namespace wait for long.
    pub fn connect_timeout(mut self, timeout: Duration) -> ServerBuilder {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets the largest POST body and the largest WebSocket message, in bytes. Default: 1 000 000.
    pub fn max_http_buffer_size(mut self, bytes: usize) -> ServerBuilder {
        self.config.engine.max_http_buffer_size = bytes;
        self
    }

    /// Sets the transports with which a client may connect. Default: polling and WebSocket.
    pub fn transports(mut self, transports: impl IntoIterator<Item = TransportKind>) -> ServerBuilder {
        self.config.engine.transports = transports.into_iter().collect();
        self
    }

    /// Sets whether clients are told that they may upgrade to WebSocket. Default: true. As on Node, an upgrade that is
    /// attempted anyway works.
    pub fn allow_upgrades(mut self, allow: bool) -> ServerBuilder {
        self.config.engine.allow_upgrades = allow;
        self
    }

    /// Sets whether the path ends with a slash. Default: true. With false every path that begins with the one that is
    /// set is served; for clients set up with `addTrailingSlash: false`.
    pub fn add_trailing_slash(mut self, add: bool) -> ServerBuilder {
        self.config.engine.add_trailing_slash = add;
        self
    }

    /// Sets whether clients of Socket.IO 1.x and 2.x (Engine.IO 3) are served, too. Default: false, as on Node.
    ///
    /// For these clients a socket's public id is the id of their session, a credential: their protocol has it so. An
    /// application that shows ids to others lets them speak for such a client.
    pub fn allow_eio3(mut self, allow: bool) -> ServerBuilder {
        self.config.engine.allow_eio3 = allow;
        self
    }

    /// Sets the cookie that carries the session id, for load balancers that route by it. Default: none.
    pub fn cookie(mut self, cookie: CookieOptions) -> ServerBuilder {
        self.config.engine.cookie = Some(cookie);
        self
    }

    /// Sets which pages of other origins may connect from a browser. Default: none, only pages of the same origin.
    ///
    /// # Example: one page, with its cookies
    /// ```
    /// use ferrio::engine::Cors;
    ///
    /// let io = ferrio::Server::builder().cors(Cors::new("https://example.com").credentials(true)).build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn cors(mut self, cors: Cors) -> ServerBuilder {
        self.config.engine.cors = Some(cors);
        self
    }

    /// Sets how answers to polls are compressed for clients that accept it; `None`: not at all. Default: from 1024
    /// bytes on.
    pub fn http_compression(mut self, compression: Option<HttpCompression>) -> ServerBuilder {
        self.config.engine.http_compression = compression;
        self
    }

    /// Sets who may connect: asked once per client, with its first request, before any namespace is joined. Default:
    /// everybody. A refusal is answered 403 (400 to a WebSocket), and the client's `connect_error` has no message of
    /// the application; a middleware ([`Server::use_`]) can say more.
    ///
    /// # Example: one origin
    /// ```
    /// use ferrio::engine::{Forbidden, RequestHead};
    ///
    /// let io = ferrio::Server::builder()
    ///     .allow_request(async |request: RequestHead| match request.headers().get("origin") {
    ///         Some(origin) if origin == "https://example.com" => Ok(()),
    ///         _ => Err(Forbidden::default()),
    ///     })
    ///     .build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn allow_request<F, Fut>(mut self, allow: F) -> ServerBuilder
    where
        F: Fn(RequestHead) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Forbidden>> + Send + 'static,
    {
        self.config.engine.allow_request = Some(Hook::new(allow));
        self
    }

    /// Sets how session ids are made. Default: 20 random characters. For load balancers that route by the id; it is a
    /// credential, so it has to be unguessable. An error, an empty id or one that is taken is answered 400.
    pub fn generate_id<F, Fut>(mut self, generate: F) -> ServerBuilder
    where
        F: Fn(RequestHead) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, HookError>> + Send + 'static,
    {
        self.config.engine.generate_id = Some(Hook::new(generate));
        self
    }

    /// Adds a middleware that sees every HTTP request, WebSocket handshakes included, before it is verified: Node's
    /// `io.engine.use`. In order of addition. See [`Next`] for what it can do; an error is
    /// answered 400. Ordinary tower layers around the service work as well.
    ///
    /// # Example: a header on every answer
    /// ```
    /// use ferrio::engine::{Next, RequestHead};
    /// use http::{HeaderName, HeaderValue};
    ///
    /// let io = ferrio::Server::builder()
    ///     .engine_middleware(async |_: RequestHead| {
    ///         Ok(Next::with_header(HeaderName::from_static("x-served-by"), HeaderValue::from_static("ferrio")))
    ///     })
    ///     .build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn engine_middleware<F, Fut>(mut self, middleware: F) -> ServerBuilder
    where
        F: Fn(RequestHead) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Next, HookError>> + Send + 'static,
    {
        self.config.engine.middlewares.push(Hook::new(middleware));
        self
    }

    /// Sets what changes the headers of the first answer to each client, the 101 of a WebSocket included: Node's
    /// `initial_headers` event. `append` a `Set-Cookie`, so that others stay.
    pub fn initial_headers(
        mut self,
        change: impl Fn(&mut HeaderMap, &RequestHead) + Send + Sync + 'static,
    ) -> ServerBuilder {
        self.config.engine.initial_headers = Some(HeadersHook::new(change));
        self
    }

    /// Sets what changes the headers of every answer to a poll or POST and of every 101: Node's `headers` event.
    pub fn headers(
        mut self,
        change: impl Fn(&mut HeaderMap, &RequestHead) + Send + Sync + 'static,
    ) -> ServerBuilder {
        self.config.engine.headers = Some(HeadersHook::new(change));
        self
    }

    /// Sets what is told of requests that were refused, with Node's code, message and context: its `connection_error`
    /// event. For logs and metrics; it must not block.
    pub fn on_connection_error(
        mut self,
        observe: impl Fn(&Refusal, &RequestHead) + Send + Sync + 'static,
    ) -> ServerBuilder {
        self.on_refusal = Some(Box::new(observe));
        self
    }

    /// Sets how many bytes may wait for a client that does not read, before its connection is closed (`transport error`) or
    /// what [`ServerBuilder::slow_consumer`] says is done. Default: 16 MiB. A message larger than this is accepted while
    /// nothing else waits.
    pub fn max_send_queue(mut self, bytes: usize) -> ServerBuilder {
        self.config.engine.max_send_queue = bytes;
        self
    }

    /// Sets the proxies whose word on the client's address and on TLS is taken ([`Handshake::address`],
    /// [`Handshake::secure`]), as addresses or ranges. Default: none. Set it behind reverse proxies, to their addresses;
    /// which header they write is [`ServerBuilder::forwarded_header`]. Mounted in another host, the server has to be told
    /// who its peer is, or nobody is trusted: [`SocketIoService::peer_address`](crate::service::SocketIoService::peer_address).
    ///
    /// # Example: proxies of a private network
    /// ```
    /// let io = ferrio::Server::builder().trusted_proxies(["10.0.0.0/8", "2001:db8::17"]).build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> ServerBuilder {
        self.config.engine.trusted_proxies = proxies.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the header that [`ServerBuilder::trusted_proxies`] write. Default: `X-Forwarded-For` and
    /// `X-Forwarded-Proto`.
    pub fn forwarded_header(mut self, header: ForwardedHeader) -> ServerBuilder {
        self.config.engine.forwarded_header = header;
        self
    }

    /// Turns on compression of WebSocket messages for clients that offer it. Default: none. [`PerMessageDeflate`] says what
    /// it costs, and when it pays.
    pub fn per_message_deflate(mut self, options: PerMessageDeflate) -> ServerBuilder {
        self.config.engine.per_message_deflate = Some(options);
        self
    }

    /// Sets the form of packets: Node's `parser`. Default: Socket.IO's own, which all clients speak unless they are told
    /// otherwise; with another one, only clients that were made with the same can connect.
    ///
    /// # Example: clients with `parser: require("socket.io-msgpack-parser")`
    /// ```
    /// let io = ferrio::Server::builder().parser(ferrio::MsgpackParser).build()?;
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn parser(mut self, parser: impl Parser) -> ServerBuilder {
        self.config.codec = Codec::new(parser);
        self
    }

    /// Lets clients that lost their connection go on where they were: Node's `connectionStateRecovery`. Default: they are
    /// somebody new.
    ///
    /// # Example: for five minutes
    /// ```
    /// use std::time::Duration;
    ///
    /// use ferrio::{ConnectionStateRecovery, Server, Socket};
    ///
    /// let five_minutes = Duration::from_secs(300);
    /// let io = Server::builder()
    ///     .connection_state_recovery(ConnectionStateRecovery {
    ///         max_disconnection_duration: five_minutes,
    ///         ..ConnectionStateRecovery::default()
    ///     })
    ///     .build()?;
    /// io.on_connect(async |socket: Socket| {
    ///     if !socket.recovered() {
    ///         socket.join("lobby");
    ///     }
    /// });
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn connection_state_recovery(mut self, recovery: ConnectionStateRecovery) -> ServerBuilder {
        self.config.recovery = Some(recovery);
        self
    }

    /// Joins the server to a cluster: broadcasts, rooms, acknowledgements and requests reach the sockets of the other
    /// servers, too. Default: it stands alone.
    pub fn adapter(mut self, adapter: impl AdapterFactory) -> ServerBuilder {
        self.config.adapter = Some(Arc::new(adapter));
        self
    }

    /// Sets how many attachments a packet may have. Default: 10, as on Node; 0 refuses all. With [`MsgpackParser`] binary
    /// values are no attachments and are not counted, as on Node.
    pub fn max_attachments(mut self, attachments: usize) -> ServerBuilder {
        self.config.max_attachments = attachments;
        self
    }

    /// Sets how many namespaces one connection may join, those whose middlewares run included. Default: 100. Over it a
    /// CONNECT is answered with the `connect_error` `Too many namespaces`; the connection stays open.
    pub fn max_namespaces_per_connection(mut self, namespaces: usize) -> ServerBuilder {
        self.config.max_namespaces_per_connection = namespaces;
        self
    }

    /// Sets how many handlers of one connection may wait at the same time. Default: 1024. Over it packets are parked,
    /// all but acknowledgements, until one has ended; see [`ServerBuilder::max_parked_bytes`].
    pub fn max_waiting_handlers(mut self, handlers: usize) -> ServerBuilder {
        self.config.max_waiting_handlers = handlers;
        self
    }

    /// Sets how many bytes of packets of one connection may be parked because too many of its handlers wait, or
    /// because they wait for their turn ([`Namespace::on_serial`]). Default: 1 MiB; 0: nothing is read as long as one packet is parked. Over it nothing is read from the connection until
    /// handlers have ended; meanwhile the ping timeout is suspended. When none ends for as long as a ping interval and
    /// a ping timeout together, the connection is closed (`ping timeout`).
    pub fn max_parked_bytes(mut self, bytes: usize) -> ServerBuilder {
        self.config.max_parked_bytes = bytes;
        self
    }

    /// Sets the value that handlers find by [`Event::state`] and [`Socket::state`]; one of each type.
    ///
    /// # Example: a counter that all handlers share
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use ferrio::{EmitError, Event, Server};
    ///
    /// #[derive(Default)]
    /// struct Visits(AtomicU64);
    ///
    /// async fn visit(event: Event) -> Result<(), EmitError> {
    ///     let before = event.state::<Visits>().0.fetch_add(1, Ordering::Relaxed);
    ///     event.ack(&(before + 1))
    /// }
    ///
    /// let io = Server::builder().state(Visits::default()).build()?;
    /// io.on("visit", visit);
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> ServerBuilder {
        self.state.insert(state);
        self
    }

    /// Serves the client for browsers from this directory, below the path: `<script src="/socket.io/socket.io.js">`,
    /// Node's `serveClient`. Default: nothing is served. The directory is npm's `socket.io/client-dist` (or
    /// `socket.io-client/dist`); of its eight files, `socket.io.js`, `.min.js`, `.esm.min.js`, `.msgpack.min.js` and
    /// their maps, those that are there are read when the server is built, and kept in memory. They are sent as Node
    /// sends them, with the version as `ETag`, and compressed (Brotli, gzip, deflate) for those who accept it: once
    /// each, when first asked for.
    ///
    /// A route of axum has to match the files, too: `"/socket.io/"` does not, `"/socket.io/{file}"` does.
    ///
    /// # Example: in front of a whole router
    /// ```no_run
    /// let io = ferrio::Server::builder().serve_client("node_modules/socket.io/client-dist").build()?;
    /// let app: axum::Router = axum::Router::new().layer(io.layer());
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn serve_client(mut self, directory: impl Into<PathBuf>) -> ServerBuilder {
        self.client_directory = Some(directory.into());
        self
    }

    /// Makes the server.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what is accepted.
    pub fn build(mut self) -> Result<Server, ConfigError> {
        self.config.validate()?;
        if let Some(directory) = &self.client_directory {
            let bundle = ClientBundle::read(directory, &self.config.engine.path)?;
            self.config.client_bundle = Some(Arc::new(bundle));
        }
        let engine_config = self.config.engine.clone();
        self.state.insert(OwnServer::default());
        let hub = Arc::new(Hub::new(Shared::new(self.config, self.state), self.on_refusal));
        let engine = Engine::new(engine_config, hub)?;
        if let Some(own) = engine.handler().shared().state.get_ref::<OwnServer>() {
            own.0.get_or_init(|| engine.downgrade());
        }
        Ok(Server::over(engine))
    }
}
