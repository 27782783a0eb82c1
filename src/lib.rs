//! A Socket.IO server for Rust: hand-written Engine.IO and Socket.IO that official clients of every generation
//! cannot tell from Node's.
//!
//! # Example: an echo server, mounted in axum
//! ```no_run
//! use ferrio::{Event, HandlerError, Server, Socket};
//!
//! async fn echo(event: Event) -> Result<(), HandlerError> {
//!     let text: String = event.args()?;
//!     Ok(event.socket().emit("echo", &text)?)
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     tracing_subscriber::fmt::init();
//!     let io = Server::new();
//!     io.on_connect(async |socket: Socket| socket.emit("welcome", socket.id().as_str()));
//!     io.on("echo", echo);
//!     let app = axum::Router::new().route_service("/socket.io/", io.service());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//! [`Server::close`] shows a graceful shutdown, [`Server::listen`] runs without axum.
//!
//! # Handlers
//! A handler is an `async fn`, or a closure. One that captures something clones it for each call, because each call's
//! future has to own what it uses:
//! ```
//! # let io = ferrio::Server::new();
//! # let (jobs, _received) = tokio::sync::mpsc::unbounded_channel::<String>();
//! use ferrio::{Event, HandlerError};
//!
//! io.on("work", move |event: Event| {
//!     let jobs = jobs.clone();
//!     async move {
//!         jobs.send(event.args()?)?;
//!         Ok::<_, HandlerError>(())
//!     }
//! });
//! ```
//! (`async move |event|` would lend what it captures, and does not compile.) What all handlers need is better set once, by
//! [`ServerBuilder::state`], and read by [`Event::state`]; the server itself is [`Event::server`].
//!
#![doc = include_str!("../docs/ordering.md")]
//! # Logs
//! Errors that handlers return, with their causes, and their panics go to [`tracing`](https://docs.rs/tracing) as warnings;
//! so does what clients do wrong, a few lines at most in ten seconds. Without a subscriber nobody sees any of it: begin
//! `main` with `tracing_subscriber::fmt::init()`. [`Server::stats`] counts the same.
//!
//! # From Node
//! | Node | here |
//! |---|---|
//! | `io.on("connection", (socket) => …)` | [`io.on_connect`](Server::on_connect) |
//! | `socket.on("event", (a, b, callback) => …)` | [`io.on`](Server::on)`("event", …)` for all sockets, or [`socket.on`](Socket::on); [`event.args`](Event::args), [`event.ack`](Event::ack) |
//! | `socket.on("disconnect", (reason) => …)` | [`io.on_disconnect`](Server::on_disconnect), [`socket.on_disconnect`](Socket::on_disconnect) |
//! | `io.use((socket, next) => …)` | [`io.use_`](Server::use_); `Ok(())` is `next()` |
//! | `io.of("/admin")` | [`io.of`](Server::of)`("/admin")` |
//! | `socket.emit("event", 1, "b")` | [`socket.emit`](Socket::emit)`("event", &(1, "b"))` |
//! | `socket.timeout(500).emitWithAck("event", 1)` | [`socket.timeout`](Socket::timeout)`(Duration::from_millis(500)).emit_with_ack("event", &1).await` |
//! | `io.to("a").except("b").emit(…)` | the same: [`io.to`](Server::to), [`BroadcastOperator`] |
//! | `socket.broadcast.emit(…)` | [`socket.broadcast`](Socket::broadcast)`().emit(…)` |
//! | `socket.use(([event, …args], next) => …)` | [`socket.use_`](Socket::use_)`(async \|event: Event\| Ok(event))` |
//! | `socket.onAny`, `prependAny`, `offAny`, `onAnyOutgoing` | [`Socket::on_any`] and so on; for all sockets: [`Namespace::on_any`] |
//! | `socket.once`, `socket.off(event, fn)` | [`Socket::once`], [`Socket::off`] with the [`ListenerId`] that `on` gave |
//! | `socket.volatile.emit(…)`, `socket.compress(false).emit(…)` | [`socket.volatile`](Socket::volatile)`().emit(…)`, [`socket.compress`](Socket::compress)`(false).emit(…)` |
//! | `socket.on("disconnecting", …)`, `socket.on("error", …)` | [`Socket::on_disconnecting`], [`Socket::on_error`]; for all sockets on [`Namespace`] |
//! | `io.of(/^\/dyn-\d+$/)`, `io.of((name, auth, next) => …)` | [`Server::of_pattern`], [`Server::of_predicate`] |
//! | `io.on("new_namespace", …)` | [`Server::on_new_namespace`] |
//! | `socket.join`, `leave`, `rooms` | the same; [`Socket::rooms`] is a method |
//! | `socket.handshake.auth.token` | [`socket.handshake`](Socket::handshake)`().auth::<Auth>()?.token` |
//! | `socket.data.user = …` | [`socket.data`](Socket::data)`().insert("user", …)`; typed and local: [`socket.extensions`](Socket::extensions) |
//! | `io.sockets.sockets.get(id)` | `io.of("/").socket(id)`, see [`Namespace::socket`] |
//! | `io.in("a").local.fetchSockets()` | `io.in_("a").sockets()`, see [`BroadcastOperator::sockets`] |
//! | `socket.disconnect()`, `disconnect(true)` | [`Socket::disconnect`], [`Socket::close_connection`] |
//! | `io.engine.clientsCount`, `io.close()` | [`Server::clients_count`], [`Server::close`] |
//! | `new Server({ pingInterval: 10000 })` | [`Server::builder`]`().ping_interval(Duration::from_secs(10)).build()?` |
//!
//! # Modules, from the bottom up
//! | module | what it is |
//! |---|---|
//! | [`proto`] | bytes in, values out: packets, payloads, the session machine; no clock, no task |
//! | [`engine`] | Engine.IO at run time, usable alone |
//! | [`server`] | Socket.IO: namespaces, sockets, rooms, broadcast, acks |
//! | [`service`] | the tower face: a service and a layer |
//! | [`testing`] | a client in the same process, for tests of one's own handlers |
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `tls` | HTTPS without a proxy: `Server::listen_tls`, with `Tls` |
//! | `redis` | several servers as one through Redis, Node's among them: `RedisAdapter`, `ShardedRedisAdapter`, `RedisStreamsAdapter`, `RedisEmitter` |
//! | `job-monitor` | the binary `job-monitor`; nothing in the library |

#![warn(unreachable_pub)]

#[cfg(feature = "redis")]
mod cluster;
pub mod engine;
mod listen;
pub mod proto;
pub mod server;
pub mod service;
mod sync;
pub mod testing;
#[cfg(feature = "tls")]
mod tls;
mod unread_bodies;
mod write_timeout;

#[cfg(feature = "redis")]
#[doc(inline)]
pub use cluster::*;
pub use listen::Listening;
#[doc(inline)]
pub use server::*;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

/// The examples of the guide from Node compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/node-to-ferrio.md")]
struct NodeToFerrio;
