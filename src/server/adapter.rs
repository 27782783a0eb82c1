//! Adapter: the link from a namespace to the same namespace of other servers.
//!
//! ```text
//!  BroadcastOperator ──▶ Namespace ──▶ its own sockets          at once, whatever the others do
//!                            └──────▶ Adapter ──▶ other servers
//!  other servers ──▶ Adapter ──▶ LocalNode ──▶ its own sockets
//! ```
//!
//! Node's adapters hold the rooms, too; here they are only the remote half, so that a server that stands alone calls
//! nothing of this.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::ack::AckError;
use super::kept_event::KeptEvent;
use super::local_node::LocalNode;
use super::recovery::RecoveryError;
use super::remote_socket::RemoteSocket;
use super::rooms::Room;
use super::socket::SocketId;
use crate::proto::socketio::{Map, Payload};

/// Joins a server to a cluster: makes the [`Adapter`] of each of its namespaces. Node's option `adapter`; set by
/// [`ServerBuilder::adapter`](super::ServerBuilder::adapter).
pub trait AdapterFactory: fmt::Debug + Send + Sync + 'static {
    /// Makes the adapter of a namespace that is new on this server. It must not block: what has to be waited for
    /// (subscriptions) happens afterwards. It is called under a lock of the namespace, so it must not emit there, nor do
    /// anything else that asks for the namespace's adapter: that would wait for itself.
    fn create(&self, node: LocalNode) -> Arc<dyn Adapter>;

    /// Whether the adapters keep the sessions of clients that may come back, and what they miss, for all servers.
    /// Without it each server keeps its own.
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// Leaves the cluster: called once, by [`Server::close`](super::Server::close), after all sockets have left.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The link from a namespace of this server to the same namespace of the others.
///
/// What is told to the others is never told to this server's own sockets by it: that has happened, or happens at the same
/// time. Nothing here waits, and nothing fails: what cannot be sent is counted by the adapter, and what nobody answers
/// ends with the time. It is called outside all locks.
pub trait Adapter: fmt::Debug + Send + Sync + 'static {
    /// Emits an event (name and arguments) to the sockets of the others.
    fn broadcast(&self, event: &Payload, to: &BroadcastOptions);

    /// The same, and gathers the acknowledgements, of each the first argument. [`BroadcastFlags::timeout`] says how long.
    fn broadcast_with_ack(&self, event: &Payload, to: &BroadcastOptions) -> RemoteAnswers;

    /// Lets sockets of the others join rooms.
    fn sockets_join(&self, to: &BroadcastOptions, rooms: &[Room]);

    /// Lets sockets of the others leave rooms.
    fn sockets_leave(&self, to: &BroadcastOptions, rooms: &[Room]);

    /// Takes sockets of the others out of the namespace; with `close` their connections are closed.
    fn disconnect_sockets(&self, to: &BroadcastOptions, close: bool);

    /// Finds sockets of the others.
    fn fetch_sockets(&self, to: &BroadcastOptions) -> BoxFuture<'static, Gathered<RemoteSocket>>;

    /// Emits an event to the other servers themselves.
    fn server_side_emit(&self, event: &Payload);

    /// The same, and gathers their answers, of each the first argument. It ends with the last answer or with
    /// [`AckError::Unanswered`].
    fn server_side_emit_with_ack(&self, event: &Payload) -> RemoteAnswers;

    /// Counts the servers that have this namespace, this one included.
    fn server_count(&self) -> BoxFuture<'static, Result<usize, AdapterError>>;

    /// Lists the rooms of the others. Not every adapter can.
    fn all_rooms(&self) -> BoxFuture<'static, Result<Gathered<Room>, AdapterError>> {
        Box::pin(std::future::ready(Err(AdapterError::Unsupported)))
    }

    /// Emits an event to the sockets of the others, and keeps it for those that come back. Each server delivers it in its
    /// place among all kept events: the others by [`LocalNode::broadcast_at`], this one by [`KeptEvent::deliver`]. Called
    /// where [`AdapterFactory::keeps_sessions`] says so.
    fn broadcast_kept(&self, event: &Payload, to: &BroadcastOptions, kept: KeptEvent) {
        self.broadcast(event, to);
        drop(kept);
    }

    /// Keeps what is left of a socket that may come back.
    fn keep_session(&self, _session: KeptSession) {}

    /// Gives the session with this private id, for once, and what it missed since the event with this offset.
    fn restore_session(
        &self,
        _pid: &str,
        _offset: &str,
    ) -> BoxFuture<'static, Result<RestoredSession, RecoveryError>> {
        Box::pin(std::future::ready(Err(RecoveryError::Unknown)))
    }

    /// The namespace is gone from this server: no request of others is answered any more.
    fn close(&self);
}

/// Answers of others as they come: the channel is closed with the last. An error is the last item.
pub type RemoteAnswers = mpsc::UnboundedReceiver<Result<Payload, AckError>>;

/// What several servers were asked for, as far as they have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered<T> {
    /// What came.
    pub items: Vec<T>,
    /// How many other servers have answered.
    pub received: usize,
    /// How many other servers were asked. An error: they could not be counted, as while the link to them is down, and none
    /// was asked.
    pub expected: Result<usize, AdapterError>,
}

impl<T> Gathered<T> {
    /// Nobody was asked.
    pub fn nothing() -> Gathered<T> {
        Gathered { items: Vec::new(), received: 0, expected: Ok(0) }
    }

    /// How many have not answered in time. One at least, if it is not known how many there are.
    pub fn missing(&self) -> usize {
        self.expected.as_ref().map_or(1, |expected| expected.saturating_sub(self.received))
    }
}

/// Whom a broadcast is for, and how it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BroadcastOptions {
    /// Who is in one of them; everybody, where there are none.
    pub rooms: Vec<Room>,
    /// Not those who are in one of these.
    pub except: Vec<Room>,
    /// How it is sent.
    pub flags: BroadcastFlags,
}

/// How a broadcast is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastFlags {
    /// It may be lost.
    pub volatile: bool,
    /// Whether it may be compressed; `None`: nothing was said, so it may.
    pub compress: Option<bool>,
    /// How long acknowledgements are waited for, where it was said.
    pub timeout: Option<Duration>,
    /// Only sockets of this server: an adapter never sees it set.
    pub local: bool,
    /// One acknowledgement is wanted, of a socket that may be elsewhere.
    pub expect_single_response: bool,
}

/// The place of a kept event in the order that all servers share.
pub type Position = (u64, u64);

/// What is kept of a socket that may come back.
#[derive(Clone, Debug)]
pub struct KeptSession {
    /// Its public id.
    pub sid: SocketId,
    /// The id that only its client knows: a credential.
    pub pid: String,
    /// Its rooms, its own among them.
    pub rooms: Vec<Room>,
    /// Its [`Socket::data`](super::Socket::data).
    pub data: Map,
}

/// A session that comes back, and what it missed.
#[derive(Clone, Debug)]
pub struct RestoredSession {
    /// The session.
    pub session: KeptSession,
    /// The events that were meant for it, with their offsets as last arguments, in order.
    pub missed: Vec<Payload>,
    /// The place up to which that is all.
    pub last: Position,
}

/// Says why the other servers cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdapterError {
    /// The link to the others is down.
    Unavailable {
        /// What was tried and what happened.
        reason: String,
    },
    /// The adapter has no such request.
    Unsupported,
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdapterError::Unavailable { reason } => write!(f, "the other servers cannot be asked: {reason}"),
            AdapterError::Unsupported => f.write_str("the adapter has no such request"),
        }
    }
}

impl std::error::Error for AdapterError {}
