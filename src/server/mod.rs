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
//! | start a user's handler | `handler.rs` |
//! | choose who hears a broadcast | `rooms.rs` |

mod ack;
mod broadcast;
mod client;
mod config;
mod connect_error;
mod data;
mod disconnect;
mod event;
mod handler;
mod handshake;
mod hub;
mod namespace;
mod peer;
mod rooms;
mod socket;
mod stats;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use ack::{AckError, AckFuture};
pub use broadcast::BroadcastOperator;
pub use client::Client;
pub use connect_error::ConnectError;
pub use data::{Data, DataError, Extensions};
pub use disconnect::DisconnectReason;
pub use event::Event;
pub use handler::{HandlerError, HandlerOutput, MiddlewareOutput};
pub use handshake::{Handshake, Query};
pub use hub::Hub;
pub use namespace::Namespace;
pub use rooms::{IntoRooms, Room};
pub use socket::{EmitError, Socket, SocketId, WithTimeout};
pub use stats::Stats;

pub use crate::engine::{ConfigError, MaxWindowBits, PerMessageDeflate, TransportKind};
pub use crate::proto::socketio::{Args, ArgsError, RawArgs, Value};

use config::ServerConfig;
use data::TypeMap;
use hub::Shared;

use crate::engine::Engine;

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
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine<Hub>,
    hub: Arc<Hub>,
    main: Namespace,
}

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
    /// `"abc"` is `/abc`.
    pub fn of(&self, name: &str) -> Namespace {
        self.inner.hub.of(name)
    }

    /// Adds a middleware to the main namespace, see [`Namespace::use_`].
    pub fn use_<F, Fut>(&self, middleware: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: MiddlewareOutput> + Send + 'static,
    {
        self.inner.main.use_(middleware);
    }

    /// Adds a handler of new sockets to the main namespace, see [`Namespace::on_connect`].
    pub fn on_connect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.inner.main.on_connect(handler);
    }

    /// Adds a handler of an event to the main namespace, see [`Namespace::on`].
    pub fn on<F, Fut>(&self, event: &str, handler: F)
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.inner.main.on(event, handler);
    }

    /// Adds a handler of sockets that left to the main namespace, see [`Namespace::on_disconnect`].
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.inner.main.on_disconnect(handler);
    }

    /// Emits an event to all sockets of the main namespace.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.inner.main.emit(event, args)
    }

    /// Addresses the sockets in these rooms of the main namespace; see [`BroadcastOperator::to`].
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.inner.main.to(rooms)
    }

    /// Addresses the sockets in these rooms of the main namespace, as [`Server::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.inner.main.to(rooms)
    }

    /// Addresses all sockets of the main namespace that are not in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.inner.main.except(rooms)
    }

    /// Gives what was counted so far.
    pub fn stats(&self) -> Stats {
        self.inner.hub.shared().counters.snapshot()
    }

    /// Disconnects all sockets (`server shutting down`), closes all connections, and waits until their tasks have ended,
    /// for five seconds at the most. The server cannot be used any more.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the closing.
    pub async fn close(&self) {
        self.inner.hub.close();
        self.inner.engine.close(CLOSE_PATIENCE).await;
    }

    /// The engine below, for those who serve it.
    pub(crate) fn engine(&self) -> &Engine<Hub> {
        &self.inner.engine
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
#[derive(Debug, Default)]
#[must_use = "`build` makes the server"]
pub struct ServerBuilder {
    config: ServerConfig,
    state: TypeMap,
}

impl ServerBuilder {
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

    /// Sets how many bytes may wait for a client that does not read, before its connection is closed (`transport error`).
    /// Default: 16 MiB. A message larger than this is accepted while nothing else waits.
    pub fn max_send_queue(mut self, bytes: usize) -> ServerBuilder {
        self.config.engine.max_send_queue = bytes;
        self
    }

    /// Turns on compression of WebSocket messages for clients that offer it. Default: none. [`PerMessageDeflate`] says what
    /// it costs, and when it pays.
    pub fn per_message_deflate(mut self, options: PerMessageDeflate) -> ServerBuilder {
        self.config.engine.per_message_deflate = Some(options);
        self
    }

    /// Sets how many attachments a packet may have. Default: 10, as on Node; 0 refuses all.
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

    /// Sets how many handlers of one connection may wait at the same time. Default: 1024. Over it nothing is read from
    /// the connection until one has ended; meanwhile the ping timeout is suspended.
    pub fn max_waiting_handlers(mut self, handlers: usize) -> ServerBuilder {
        self.config.max_waiting_handlers = handlers;
        self
    }

    /// Sets the value that handlers find by [`Event::state`] and [`Socket::state`]; one of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> ServerBuilder {
        self.state.insert(state);
        self
    }

    /// Makes the server.
    ///
    /// # Errors
    /// The first option whose value makes no sense, with what is accepted.
    pub fn build(self) -> Result<Server, ConfigError> {
        self.config.validate()?;
        let engine_config = self.config.engine.clone();
        let hub = Arc::new(Hub::new(Shared::new(self.config, self.state)));
        let engine = Engine::new(engine_config, Arc::clone(&hub))?;
        let main = hub.of("/");
        Ok(Server { inner: Arc::new(Inner { engine, hub, main }) })
    }
}
