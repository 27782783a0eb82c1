//! LocalNode: what an adapter may ask of its own server, for the others.

use std::fmt;

use bytestring::ByteString;
use tokio::sync::oneshot;

use super::adapter::{BroadcastOptions, Position};
use super::broadcast_ack::{Answers, DEFAULT_ACK_TIMEOUT};
use super::namespace::{Namespace, WeakNamespace};
use super::recovery::ConnectionStateRecovery;
use super::remote_socket::RemoteSocket;
use super::room_event::RoomEvent;
use super::rooms::Room;
use super::server_side::ServerSideEvent;
use crate::proto::socketio::{Map, Payload, Value};

/// A namespace of this server, for its [`Adapter`](super::Adapter): what other servers ask of it. Cheap to clone.
///
/// It does not keep the namespace alive; of one that is gone nobody is addressed, and nothing is found.
#[derive(Clone)]
pub struct LocalNode {
    name: ByteString,
    namespace: WeakNamespace,
}

impl LocalNode {
    pub(crate) fn new(namespace: &Namespace) -> LocalNode {
        LocalNode { name: namespace.shared_name().clone(), namespace: namespace.downgrade() }
    }

    /// The name of the namespace.
    pub fn namespace(&self) -> &ByteString {
        &self.name
    }

    /// Whether a socket of this server is in the room.
    pub fn has_room(&self, room: &str) -> bool {
        self.namespace.upgrade().is_some_and(|namespace| namespace.rooms().read().has(room))
    }

    /// The rooms that sockets of this server are in, each socket's own included.
    pub fn rooms(&self) -> Vec<Room> {
        self.namespace.upgrade().map(|namespace| namespace.rooms_in_use()).unwrap_or_default()
    }

    /// Observes the rooms of this server, as [`Namespace::on_room_event`].
    pub fn on_room_event(&self, observe: impl Fn(&RoomEvent) + Send + Sync + 'static) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.on_room_event(observe);
        }
    }

    /// Gives an event to the sockets of this server that are meant.
    pub fn broadcast(&self, event: &Payload, to: &BroadcastOptions) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.deliver_foreign(event, to);
        }
    }

    /// The options of connection state recovery, where it is on.
    pub fn recovery(&self) -> Option<ConnectionStateRecovery> {
        self.namespace.upgrade()?.recovery_options().cloned()
    }

    /// Gives an event that the adapter keeps to the sockets of this server that are meant; `offset` is added as its last
    /// argument. Called in the order of positions.
    pub fn broadcast_at(&self, event: &Payload, to: &BroadcastOptions, offset: &str, position: Position) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.deliver_at(event, to, offset, position);
        }
    }

    /// The same, and gathers their acknowledgements. They are waited for as long as [`BroadcastFlags::timeout`] says
    /// (5 s, where it says nothing).
    ///
    /// [`BroadcastFlags::timeout`]: super::BroadcastFlags::timeout
    pub fn broadcast_with_ack(&self, event: &Payload, to: &BroadcastOptions) -> LocalAnswers {
        let timeout = to.flags.timeout.unwrap_or(DEFAULT_ACK_TIMEOUT);
        let asked = self.namespace.upgrade().and_then(|namespace| namespace.ask_foreign(event, to, timeout));
        match asked {
            Some((count, answers)) => LocalAnswers { count, answers },
            None => LocalAnswers { count: 0, answers: Answers::none() },
        }
    }

    /// Lets the sockets of this server that are meant join rooms.
    pub fn sockets_join(&self, to: &BroadcastOptions, rooms: &[Room]) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.join_selected(to, rooms);
        }
    }

    /// Lets the sockets of this server that are meant leave rooms.
    pub fn sockets_leave(&self, to: &BroadcastOptions, rooms: &[Room]) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.leave_selected(to, rooms);
        }
    }

    /// Takes the sockets of this server that are meant out of the namespace; with `close` their connections are closed.
    pub fn disconnect_sockets(&self, to: &BroadcastOptions, close: bool) {
        if let Some(namespace) = self.namespace.upgrade() {
            namespace.disconnect_selected(to, close);
        }
    }

    /// Finds the sockets of this server that are meant.
    pub fn sockets(&self, to: &BroadcastOptions) -> Vec<RemoteSocket> {
        let Some(namespace) = self.namespace.upgrade() else { return Vec::new() };
        namespace.select(to).into_iter().map(RemoteSocket::of).collect()
    }

    /// Makes a handle of a socket of another server, from what that one tells of it. `None` if the namespace is gone.
    pub fn remote_socket(
        &self,
        id: &str,
        handshake: Value,
        rooms: Vec<Room>,
        data: Map,
    ) -> Option<RemoteSocket> {
        Some(RemoteSocket::elsewhere(self.namespace.upgrade()?, id, handshake, rooms, data))
    }

    /// Starts the handlers of an event that another server emitted to its peers ([`Namespace::on_server_side`]). The
    /// first answer goes to `answer`; it is dropped, if none comes.
    pub fn server_side_event(&self, event: &Payload, answer: Option<oneshot::Sender<Payload>>) {
        if let Some(namespace) = self.namespace.upgrade() {
            ServerSideEvent::dispatch(&namespace, event, answer);
        }
    }
}

impl fmt::Debug for LocalNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalNode").field(&self.name).finish()
    }
}

/// The acknowledgements of sockets of this server, for another one.
pub struct LocalAnswers {
    count: usize,
    answers: Answers,
}

impl LocalAnswers {
    /// How many sockets were asked.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits for the next answer: the arguments of an acknowledgement. `None` when no more comes, or the time has passed.
    ///
    /// # Cancel safety
    /// Cancelled, it loses no answer.
    pub async fn next(&mut self) -> Option<Payload> {
        std::future::poll_fn(|cx| self.answers.poll_next(cx)).await?.ok()
    }
}

impl fmt::Debug for LocalAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalAnswers").field("count", &self.count).finish_non_exhaustive()
    }
}
