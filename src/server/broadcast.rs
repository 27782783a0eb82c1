//! BroadcastOperator: who is addressed, and what they are told.

use std::sync::Arc;

use serde::Serialize;

use super::namespace::Namespace;
use super::rooms::{IntoRooms, Room};
use super::socket::{EmitError, Socket};
use crate::proto::socketio::EncodedPacket;

/// Some sockets of a namespace, chosen by rooms. Each call gives another operator and leaves this one as it is.
///
/// # Example: everybody in two rooms, once, but not the muted
/// ```
/// let io = ferrio::Server::new();
/// io.to(["news", "sports"]).except("muted").emit("headline", "It rains")?;
/// # Ok::<_, ferrio::EmitError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct BroadcastOperator {
    namespace: Namespace,
    target: Target,
}

/// Whom a broadcast is for: who is in one of `rooms` (everybody, where that is empty), and in none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) rooms: Vec<Room>,
    pub(crate) except: Vec<Room>,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace) -> BroadcastOperator {
        BroadcastOperator { namespace, target: Target::default() }
    }

    /// Adds rooms: a socket is addressed if it is in one of all that were added, and hears once. As on Node, no room at
    /// all (an empty list, too) means the whole namespace.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        let mut other = self.clone();
        other.target.rooms.extend(rooms.into_rooms());
        other
    }

    /// Adds rooms, as [`BroadcastOperator::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Leaves out the sockets that are in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        let mut other = self.clone();
        other.target.except.extend(rooms.into_rooms());
        other
    }

    /// Gives the sockets that are addressed and connected to this process now, in no particular order.
    ///
    /// # Example: who is in a room?
    /// ```
    /// let io = ferrio::Server::new();
    /// for socket in io.in_("lobby").except("muted").sockets() {
    ///     println!("{}", socket.id());
    /// }
    /// ```
    pub fn sockets(&self) -> Vec<Socket> {
        self.namespace.select(&self.target)
    }

    /// Emits an event to the sockets that are addressed; the arguments are those of
    /// [`Socket::emit`](super::Socket::emit). It is encoded once, and never waits.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        let packet = EncodedPacket::event(self.namespace.name(), None, event, args)?;
        self.namespace.notify_outgoing(&packet, &self.target);
        self.namespace.deliver(&Arc::new(packet.message), &self.target);
        Ok(())
    }
}
