//! BroadcastOperator: who is addressed, how, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::adapter::{Adapter, BroadcastOptions, Gathered};
use super::broadcast_ack::{Answers, BroadcastAcks, DEFAULT_ACK_TIMEOUT};
use super::namespace::Namespace;
use super::remote_socket::{FetchError, RemoteSocket};
use super::rooms::{IntoRooms, Room};
use super::socket::{EmitError, Socket};
use crate::proto::socketio::EncodedPacket;

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
    options: BroadcastOptions,
    coalesce: Option<Arc<str>>,
}

impl BroadcastOperator {
    pub(crate) fn new(namespace: Namespace) -> BroadcastOperator {
        BroadcastOperator { namespace, options: BroadcastOptions::default(), coalesce: None }
    }

    pub(crate) fn with_options(namespace: Namespace, options: BroadcastOptions) -> BroadcastOperator {
        BroadcastOperator { namespace, options, coalesce: None }
    }

    /// Adds rooms: a socket is addressed if it is in one of all that were added, and hears once. As on Node, no room at
    /// all (an empty list, too) means the whole namespace.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        let mut other = self.clone();
        other.options.rooms.extend(rooms.into_rooms());
        other
    }

    /// Adds rooms, as [`BroadcastOperator::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Leaves out the sockets that are in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        let mut other = self.clone();
        other.options.except.extend(rooms.into_rooms());
        other
    }

    /// Addresses only sockets that are connected to this process. A server that stands alone has no others.
    pub fn local(&self) -> BroadcastOperator {
        let mut other = self.clone();
        other.options.flags.local = true;
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
        other.options.flags.volatile = true;
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
        other.options.flags.compress = Some(compress);
        other
    }

    /// Sets how long [`BroadcastOperator::emit_with_ack`] waits for all acknowledgements together. Default: 5 s. (Node's
    /// is 1 ms, which nobody can keep.)
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        let mut other = self.clone();
        other.options.flags.timeout = Some(timeout);
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
        self.namespace.select(&self.options)
    }

    /// Emits an event to the sockets that are addressed; the arguments are those of
    /// [`Socket::emit`](super::Socket::emit). It is encoded once, and never waits.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.namespace.emit_to(event, args, &self.options, self.coalesce.as_ref(), self.others())
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
        let id = self.namespace.next_ack_id();
        let packet: EncodedPacket = match self.namespace.encode_event(Some(id), event, args) {
            Ok(packet) => packet,
            Err(error) => return Answers::failed(error),
        };
        self.namespace.notify_outgoing(|| packet.payload(), &self.options);
        let timeout = self.options.flags.timeout.unwrap_or(DEFAULT_ACK_TIMEOUT);
        let others = self.others().map(|others| others.broadcast_with_ack(&packet.payload(), &self.options));
        let (_, answers) = self.namespace.deliver_for_acks(id, packet.message, &self.options);
        Answers::of_sockets(&self.namespace, id, answers, others, timeout)
    }

    /// The same for one socket, which may be elsewhere.
    pub(crate) fn ask_one<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Answers {
        let mut other = self.clone();
        other.options.flags.expect_single_response = true;
        other.ask(event, args)
    }

    /// Lets the sockets that are addressed join a room or several: Node's `socketsJoin`. They join together: no broadcast
    /// reaches only some of them.
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        let joined: Vec<Room> = rooms.into_rooms().collect();
        self.namespace.join_selected(&self.options, &joined);
        if let Some(others) = self.others() {
            others.sockets_join(&self.options, &joined);
        }
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
        self.namespace.leave_selected(&self.options, &left);
        if let Some(others) = self.others() {
            others.sockets_leave(&self.options, &left);
        }
    }

    /// Takes the sockets that are addressed out of the namespace, as [`Socket::disconnect`]; with `close` their
    /// connections are closed, as by [`Socket::close_connection`]. Node's `disconnectSockets`.
    pub fn disconnect_sockets(&self, close: bool) {
        if let Some(others) = self.others() {
            others.disconnect_sockets(&self.options, close);
        }
        self.namespace.disconnect_selected(&self.options, close);
    }

    /// Gives handles of the sockets that are addressed, of all servers, in no particular order: Node's `fetchSockets`.
    ///
    /// # Errors
    /// If another server does not answer in time; what came is in the error. A server that stands alone asks nobody.
    /// Where those that answer are enough: [`BroadcastOperator::gather_sockets`].
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
        let gathered = self.gather_sockets().await;
        if gathered.missing() > 0 {
            return Err(FetchError { gathered });
        }
        Ok(gathered.items)
    }

    /// Gives handles of the sockets that are addressed, of this server and of all others that answer in time: how many
    /// have not is [`Gathered::missing`].
    ///
    /// # Example: the room as far as it is known
    /// ```
    /// # async fn list(io: ferrio::Server) {
    /// let found = io.in_("lobby").gather_sockets().await;
    /// println!("{} sockets, {} servers are silent", found.items.len(), found.missing());
    /// # }
    /// ```
    pub async fn gather_sockets(&self) -> Gathered<RemoteSocket> {
        let mine = self.sockets().into_iter().map(RemoteSocket::of);
        let mut gathered = match self.others() {
            Some(others) => others.fetch_sockets(&self.options).await,
            None => Gathered::nothing(),
        };
        gathered.items.splice(..0, mine);
        gathered
    }

    /// The link to the other servers, unless there are none or they are not meant.
    fn others(&self) -> Option<&dyn Adapter> {
        if self.options.flags.local { None } else { self.namespace.adapter() }
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
