//! Layer 2: Engine.IO at run time; usable without Socket.IO.
//!
//! Engine.IO gives a client and a server ordered messages, text or binary, over whatever gets through: HTTP
//! long-polling at first, WebSocket where it works. An application implements [`EngineHandler`], makes an [`Engine`] of
//! it, and lets it [`listen`](Engine::listen), or hands it requests ([`Engine::service`], [`Engine::handle`]).
//! [`EngineConfig`] has the options of Node's `engine.io`, under their names.
//!
//! # Example: an echo server for `engine.io-client`
//! ```no_run
//! use std::sync::Arc;
//! use std::task::Context;
//!
//! use ferrio::engine::{CloseReason, Connection, Engine, EngineConfig, EngineHandler, Message};
//!
//! struct Echo;
//!
//! impl EngineHandler for Echo {
//!     type Client = Arc<Connection>;
//!
//!     fn on_open(&self, connection: &Arc<Connection>, _cx: &mut Context<'_>) -> Arc<Connection> {
//!         Arc::clone(connection)
//!     }
//!
//!     fn on_message(&self, client: &mut Arc<Connection>, message: Message, _cx: &mut Context<'_>) {
//!         // A client that has gone does not hear its echo.
//!         let _ = client.send_message(message);
//!     }
//!
//!     fn on_close(&self, _client: Arc<Connection>, reason: CloseReason) {
//!         println!("closed: {reason}");
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineConfig::default(), Arc::new(Echo))?;
//! let listening = engine.listen("127.0.0.1:3000").await?;
//! # listening.run_until(std::future::pending::<()>()).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Example: who is it, and as fast as the client reads
//! ```
//! use std::sync::Arc;
//!
//! use ferrio::engine::{Connection, EngineConfig, Hook, Next, RequestHead};
//!
//! #[derive(Clone)]
//! struct User(String);
//!
//! let mut config = EngineConfig::default();
//! config.middlewares.push(Hook::new(async |request: RequestHead| match request.headers().get("x-user") {
//!     Some(user) => Ok(Next::pass().with_extension(User(user.to_str()?.to_owned()))),
//!     None => Ok(Next::pass()),
//! }));
//!
//! // Called by a handler, which itself must not wait: so it is a task.
//! fn send_numbers(connection: Arc<Connection>) {
//!     let user = connection.request().extension::<User>().cloned();
//!     tokio::spawn(async move {
//!         for number in 0..1_000_000 {
//!             let greeting = user.as_ref().map_or("you", |user| &user.0);
//!             if connection.send_message(format!("{number} for {greeting}")).is_err() {
//!                 return;
//!             }
//!             connection.drained().await;
//!         }
//!     });
//! }
//! ```
//!
//! # What becomes of a request
//!
//! ```text
//!  HTTP request ─▶ Engine::handle ─▶ open │ poll │ post │ upgrade │ Refusal
//!                                      │     │      │        │
//!                       Connection ◀───┴─────┴──────┴────────┘   one Session under one mutex, and wakers
//!                            ▲
//!                         Driver    the one task of a connection: reads, calls the handler, writes, keeps time
//! ```

mod config;
mod connection;
mod cookie;
mod cors;
mod deflate;
mod driver;
mod farewell;
mod flushed;
mod forwarded;
mod handshake;
mod hooks;
mod http_compression;
mod inflate;
mod jsonp;
mod permessage_deflate;
mod polling;
mod refusal;
mod registry;
mod service;
mod upgrade;
mod weak;
mod websocket;
mod websocket_io;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

pub use config::{ConfigError, EngineConfig};
pub use connection::{Connection, SessionId};
pub use cookie::{CookieOptions, CookiePriority, SameSite};
pub use cors::{Cors, CorsOrigin, OriginMatcher};
pub use flushed::FlushError;
pub use forwarded::ForwardedHeader;
pub use handshake::{HandshakeRequest, Headers};
pub use hooks::{Forbidden, HeadersHook, Hook, HookError, Next, Passed, RequestHead};
pub use http_compression::HttpCompression;
pub use permessage_deflate::{MaxWindowBits, PerMessageDeflate};
pub use polling::Cut;
pub use refusal::Refusal;
pub use service::PeerInfo;

pub use crate::proto::engineio::{
    CloseReason, Lag, Message, Revision, SendError, SlowConsumer, TransportKind,
};
pub(crate) use connection::random_id;
pub(crate) use http_compression::{Encoding, choose, compress};
pub(crate) use weak::WeakEngine;

use crate::proto::EncodedMessage;
use forwarded::TrustedProxies;
use registry::Registry;

/// What the layer above does with sessions: implemented by [`crate::Server`], or by an application that speaks
/// plain Engine.IO.
///
/// All calls for one connection come from the one task of that connection, one at a time. None may block.
pub trait EngineHandler: Send + Sync + 'static {
    /// What the handler keeps for each connection; owned by the connection's task.
    type Client: Send + 'static;

    /// A session is open; what is sent here follows the open packet.
    fn on_open(&self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Self::Client;

    /// A message came. `cx` wakes the connection's task: futures polled with it are polled again by
    /// [`EngineHandler::poll`].
    fn on_message(&self, client: &mut Self::Client, message: Message, cx: &mut Context<'_>);

    /// Called whenever the connection's task runs, before reading: drives what `client` waits for (pending
    /// middlewares, its own deadlines).
    fn poll(&self, client: &mut Self::Client, cx: &mut Context<'_>) {
        let _ = (client, cx);
    }

    /// Whether another message can be taken. While it is pending, reading pauses (TCP back-pressure; a POST's `ok`
    /// is withheld) and the ping timeout is suspended; `cx` must be woken when that changes.
    fn poll_ready(&self, client: &mut Self::Client, cx: &mut Context<'_>) -> Poll<()> {
        let _ = (client, cx);
        Poll::Ready(())
    }

    /// A WebSocket probes, and may become the session's.
    fn on_upgrading(&self, client: &mut Self::Client) {
        let _ = client;
    }

    /// The session runs over WebSocket from now on.
    fn on_upgrade(&self, client: &mut Self::Client) {
        let _ = client;
    }

    /// The peer fell behind, or has caught up: see
    /// [`EngineConfig::high_water_mark`](EngineConfig::high_water_mark). The two come in turn; a lag that is over before this
    /// could be called is not told of, nor its end when the session closes before.
    fn on_lag(&self, client: &mut Self::Client, lag: Lag) {
        let _ = (client, lag);
    }

    /// The session is closed; nothing comes after it.
    fn on_close(&self, client: Self::Client, reason: CloseReason);

    /// The task of a connection runs `late` after the time its timer was set to, by half a second or more: something
    /// blocks the runtime's threads, and pings leave late. A handler that waits (`.await`) delays nobody; one that
    /// blocks its thread delays all connections of that thread, whose clients may give up.
    fn on_late(&self, late: Duration) {
        let _ = late;
    }

    /// A request was refused (Node's `connection_error` event).
    fn on_refusal(&self, refusal: &Refusal, request: &RequestHead) {
        let _ = (refusal, request);
    }
}

/// An Engine.IO server: turns HTTP requests into sessions. Cheap to clone.
#[derive(Debug)]
pub struct Engine<H> {
    shared: Arc<Shared<H>>,
}

impl<H> Clone for Engine<H> {
    fn clone(&self) -> Engine<H> {
        Engine { shared: Arc::clone(&self.shared) }
    }
}

/// What all connections of an engine share.
#[derive(Debug)]
pub(crate) struct Shared<H> {
    pub(crate) config: EngineConfig,
    pub(crate) path_prefix: String,
    pub(crate) initial_packet: Option<Arc<EncodedMessage>>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) handler: Arc<H>,
    pub(crate) registry: Arc<Registry>,
}

impl<H: EngineHandler> Engine<H> {
    /// Makes an engine whose sessions are served by `handler`.
    ///
    /// # Errors
    /// An option of `config` that makes no sense.
    pub fn new(config: EngineConfig, handler: Arc<H>) -> Result<Engine<H>, ConfigError> {
        config.validate()?;
        let path_prefix = config.path_prefix();
        let initial_packet =
            config.initial_packet.as_ref().map(|message| Arc::new(EncodedMessage::message(message)));
        let registry = Arc::new(Registry::new());
        let proxies = TrustedProxies::new(&config)?;
        let shared = Shared { config, path_prefix, initial_packet, proxies, handler, registry };
        Ok(Engine { shared: Arc::new(shared) })
    }

    /// The options it was made with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Whether requests with this path are the engine's: a plain prefix match, as on Node.
    pub fn matches(&self, path: &str) -> bool {
        path.starts_with(&self.shared.path_prefix)
    }

    /// The number of open sessions.
    pub fn clients_count(&self) -> usize {
        self.shared.registry.len()
    }

    /// How often the tasks of connections have run: woken by what came, by what was sent to them, or by time.
    pub fn task_runs(&self) -> u64 {
        self.shared.registry.task_runs()
    }

    /// The connection with this session id.
    pub fn connection(&self, id: &str) -> Option<Arc<Connection>> {
        self.shared.registry.get(id)
    }

    /// Whether new sessions are accepted: not when the engine is closed or drains.
    pub(crate) fn is_accepting(&self) -> bool {
        self.shared.registry.is_accepting()
    }

    /// Refuses new sessions with 503 from now on, lets the handler know by [`EngineHandler::poll`], which is to end
    /// those that are there, and waits until they have ended, until `deadline` at the latest.
    pub(crate) async fn drain(&self, deadline: tokio::time::Instant) {
        for connection in self.shared.registry.drain() {
            connection.wake();
        }
        // What is left at the deadline is the caller's to close.
        let _ = tokio::time::timeout_at(deadline, self.shared.registry.drained()).await;
    }

    /// Closes all sessions at once (`forced close`), refuses new ones with 503 from now on, and returns when every task of the
    /// engine has ended, after `patience` at the latest.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the closing.
    pub async fn close(&self, patience: Duration) {
        for connection in self.shared.registry.close() {
            connection.discard();
        }
        // The end of patience is no error: what still runs ends with its own deadline.
        let _ = tokio::time::timeout(patience, self.shared.registry.drained()).await;
    }
}

/// The body of an answer.
#[derive(Clone, Debug, Default)]
pub struct ResponseBody {
    bytes: Full<Bytes>,
    /// Its length is not announced.
    chunked: bool,
}

impl ResponseBody {
    /// Makes a body of bytes.
    pub fn new(bytes: Bytes) -> ResponseBody {
        ResponseBody { bytes: Full::new(bytes), chunked: false }
    }

    /// Makes a body whose length is not announced, so that HTTP/1 sends it in chunks, as Node does with what it
    /// compresses.
    pub(crate) fn chunked(bytes: Bytes) -> ResponseBody {
        ResponseBody { bytes: Full::new(bytes), chunked: true }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked { SizeHint::default() } else { self.bytes.size_hint() }
    }
}

/// A timer that rings so much too late is told of: less is the ordinary jitter of a busy machine.
pub(crate) const LATE: Duration = Duration::from_millis(500);

/// The present time; virtual under `tokio::time::pause`.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
