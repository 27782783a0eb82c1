//! Layer 2: Engine.IO at run time; usable without Socket.IO.

mod connection;
mod handshake;

use std::sync::Arc;
use std::task::{Context, Poll};

pub use connection::{Connection, SessionId};
pub use handshake::{Headers, HandshakeRequest};

pub use crate::proto::engineio::{CloseReason, Message, SendError, TransportKind};

/// What the layer above does with sessions: implemented by [`crate::server::Server`], or by an application that
/// speaks plain Engine.IO.
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

    /// The session is closed; nothing comes after it.
    fn on_close(&self, client: Self::Client, reason: CloseReason);
}
