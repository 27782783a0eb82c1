//! A Socket.IO server for Rust: hand-written Engine.IO and Socket.IO that official clients of every generation
//! cannot tell from Node's.
//!
//! # Example: an echo server with rooms, mounted in axum
//! ```no_run
//! use ferrio::{Event, Server, Socket};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let io = Server::new();
//!     io.on_connect(async |socket: Socket| socket.emit("welcome", socket.id().as_str()));
//!     io.on("echo", async |event: Event| {
//!         let text: String = event.args()?;
//!         event.socket().emit("echo", &text)?;
//!         Ok::<_, ferrio::HandlerError>(())
//!     });
//!     let app = axum::Router::new().route_service("/socket.io/", io.service());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     axum::serve(listener, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! # Modules, from the bottom up
//! | module | what it is |
//! |---|---|
//! | [`proto`] | bytes in, values out: packets, payloads, the session machine; no clock, no task |
//! | [`engine`] | Engine.IO at run time, usable alone |
//! | [`server`] | Socket.IO: namespaces, sockets, rooms, broadcast, acks |
//! | [`service`] | the tower face: a service and a layer |
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `tls` | HTTPS without a proxy: `Server::listen_tls`, with `Tls` |
//! | `job-monitor` | the binary `job-monitor`; nothing in the library |

#![warn(unreachable_pub)]

pub mod engine;
mod listen;
pub mod proto;
pub mod server;
pub mod service;
mod sync;
#[cfg(feature = "tls")]
mod tls;
mod write_timeout;

pub use listen::Listening;
pub use server::*;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
