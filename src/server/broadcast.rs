//! BroadcastOperator: who is addressed, how, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::broadcast_ack::{Answers, BroadcastAcks};
use super::namespace::Namespace;
use super::remote_socket::{FetchError, RemoteSocket};
use super::rooms::{IntoRooms, Room};
use super::socket::{EmitError, Socket};
use crate::proto::EncodedMessage;

/// Some sockets of a namespace, chosen by rooms, and how they are told. Each call gives another operator and leaves
/// this one as it is.
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
    flags: Flags,
    coalesce: Option<Arc<str>>,
}

/// Whom a broadcast is for: who is in one of `rooms` (everybody, where that is empty), and in none of `except`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) rooms: Vec<Room>,
    pub(crate) except: Vec<Room>,
    /// Only sockets of this process.
    pub(crate) local: bool,
}

/// How a broadcast is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    volatile: bool,
    uncompressed: bool,
    timeout: Option<Duration>,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace) -> BroadcastOperator {
        BroadcastOperator { namespace, target: Target::default(), flags: Flags::default(), coalesce: None }
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

    /// Addresses only sockets that are connected to this process. A server that stands alone has no others.
    pub fn local(&self) -> BroadcastOperator {
        let mut other = self.clone();
        other.target.local = true;
        other
    }

    /// Lets what is emitted be lost: it is sent only to those to whom it can be sent at once, as Node decides it. A
    /// WebSocket must have written all that was sent before, a polling client must have a request open. For what the
    /// next message makes worthless: positions, progress.
    ///
    /// Of two volatile events that are emitted one after the other without a pause, the second one is lost.
    ///
    /// # Example: a position, ten times a second
    /// ```
    /// let io = ferrio::Server::new();
    /// io.to("game").volatile().emit("position", &(12.5, 7.0))?;
    /// # Ok::<_, ferrio::EmitError>(())
    /// ```
    pub fn volatile(&self) -> BroadcastOperator {
        let mut other = self.clone();
        other.flags.volatile = true;
        other
    }

    /// Lets what is emitted take the place of what was emitted with the same key before: for a recipient that has not
    /// been sent the older event yet, that one is dropped, and the new one goes to the end of its queue. So a client gets
    /// the last value of each key as soon as it can, and one that keeps up gets all. Keys are those of a namespace, whatever
    /// the event's name and the rooms.
    ///
    /// What is left comes in the order in which it was emitted. An event that has begun to leave is never replaced, nor
    /// one that wants acknowledgements: [`BroadcastOperator::emit_with_ack`] takes no notice of the key. On other servers
    /// of a cluster it is an ordinary event.
    ///
    /// # Example: a price
    /// ```
    /// let io = ferrio::Server::new();
    /// io.to("ticker").coalesce("ACME").emit("price", &("ACME", 17.25))?;
    /// # Ok::<_, ferrio::EmitError>(())
    /// ```
    pub fn coalesce(&self, key: &str) -> BroadcastOperator {
        let mut other = self.clone();
        other.coalesce = Some(self.namespace.coalesce_key(key));
        other
    }

    /// Sets whether what is emitted may be compressed, where compression is configured. Default: true. `false` for what is
    /// compressed already (pictures, archives): trying again costs time and gains nothing.
    pub fn compress(&self, compress: bool) -> BroadcastOperator {
        let mut other = self.clone();
        other.flags.uncompressed = !compress;
        other
    }

    /// Sets how long [`BroadcastOperator::emit_with_ack`] waits for all acknowledgements together. Default: 5 s. (Node's
    /// is 1 ms, which nobody can keep.)
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        let mut other = self.clone();
        other.flags.timeout = Some(timeout);
        other
    }

    /// Gives the sockets that are addressed and connected to this process now, in no particular order. Those of other
    /// servers too: [`BroadcastOperator::fetch_sockets`].
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
        let message = self.encode(None, event, args)?;
        self.namespace.deliver(&message, &self.target, self.flags.volatile);
        Ok(())
    }

    /// Emits an event to the sockets that are addressed, and waits for the acknowledgement of each. The result is awaited
    /// as a whole, or read answer by answer as they come ([`BroadcastAcks::next`]); either way in the order of arrival.
    ///
    /// Of each acknowledgement the first argument counts, and is read as `R`: a tuple reads a list. All clients
    /// together have the time of [`BroadcastOperator::timeout`]. As on Node, a client that leaves before it has
    /// acknowledged is waited for until then.
    ///
    /// The event is emitted at once, whether or not the result is awaited.
    ///
    /// # Example: a vote
    /// ```
    /// use std::time::Duration;
    ///
    /// # async fn vote(io: ferrio::Server) {
    /// let votes = io.to("council").timeout(Duration::from_secs(30)).emit_with_ack::<bool>("vote", "more trees?");
    /// match votes.await {
    ///     Ok(votes) => println!("all voted: {votes:?}"),
    ///     Err(error) => println!("{error}: {:?}", error.responses),
    /// }
    /// # }
    /// ```
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAcks<R> {
        BroadcastAcks::of(self.ask(event, args))
    }

    /// The same, with the answers unread.
    pub(crate) fn ask<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Answers {
        let timeout = self.flags.timeout.unwrap_or(DEFAULT_ACK_TIMEOUT);
        let id = self.namespace.next_ack_id();
        match self.encode(Some(id), event, args) {
            Ok(message) => {
                let answers =
                    self.namespace.deliver_for_acks(id, &message, &self.target, self.flags.volatile);
                Answers::new(self.namespace.clone(), id, answers, timeout)
            }
            Err(error) => Answers::failed(error),
        }
    }

    /// Lets the sockets that are addressed join a room or several: Node's `socketsJoin`. They join together: no broadcast
    /// reaches only some of them.
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        let joined: Vec<Room> = rooms.into_rooms().collect();
        self.namespace.join_selected(&self.target, &joined);
    }

    /// Lets the sockets that are addressed leave a room or several, together: Node's `socketsLeave`.
    ///
    /// # Example: a room is closed
    /// ```
    /// let io = ferrio::Server::new();
    /// io.in_("lobby").sockets_leave("lobby");
    /// ```
    pub fn sockets_leave(&self, rooms: impl IntoRooms) {
        let left: Vec<Room> = rooms.into_rooms().collect();
        self.namespace.leave_selected(&self.target, &left);
    }

    /// Takes the sockets that are addressed out of the namespace, as [`Socket::disconnect`]; with `close` their
    /// connections are closed, as by [`Socket::close_connection`]. Node's `disconnectSockets`.
    pub fn disconnect_sockets(&self, close: bool) {
        for socket in self.sockets() {
            if close {
                socket.close_connection();
            } else {
                socket.disconnect();
            }
        }
    }

    /// Gives handles of the sockets that are addressed, of all servers, in no particular order: Node's `fetchSockets`.
    ///
    /// # Errors
    /// If another server does not answer in time. A server that stands alone asks nobody.
    ///
    /// # Example: what is known of those in a room
    /// ```
    /// # async fn list(io: ferrio::Server) -> Result<(), Box<dyn std::error::Error>> {
    /// for socket in io.in_("lobby").fetch_sockets().await? {
    ///     println!("{} is in {:?}", socket.id(), socket.rooms());
    ///     socket.emit("found", &())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_sockets(&self) -> Result<Vec<RemoteSocket>, FetchError> {
        Ok(self.sockets().into_iter().map(RemoteSocket::of).collect())
    }

    fn encode<T: Serialize + ?Sized>(
        &self,
        id: Option<u64>,
        event: &str,
        args: &T,
    ) -> Result<Arc<EncodedMessage>, EmitError> {
        let packet = self.namespace.encode_event(id, event, args)?;
        let message = packet.message.with_compress(!self.flags.uncompressed);
        Ok(Arc::new(match &self.coalesce {
            Some(key) if id.is_none() => message.with_key(Arc::clone(key)),
            _ => message,
        }))
    }
}

/// The other ways to the others, as Node's sockets have them.
impl Socket {
    /// Addresses the sockets in these rooms, but not this one, as [`Socket::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Addresses all sockets of the namespace that are connected to this process, but this one.
    pub fn local(&self) -> BroadcastOperator {
        self.broadcast().local()
    }
}

/// Long enough for a slow line, short enough that a client which never answers costs little.
const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(5);
