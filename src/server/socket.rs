//! Socket: one client in one namespace.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::Server;
use super::ack::AckFuture;
use super::adapter::KeptSession;
use super::broadcast::BroadcastOperator;
use super::data::{Data, Extensions, TypeMap};
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::handler::{DisconnectHandler, EventHandler, HandlerOutput, ListenerId, warn_of_special_name};
use super::handshake::Handshake;
use super::legacy;
use super::listeners::Listeners;
use super::namespace::Namespace;
use super::peer::Peer;
use super::recovery::{PrivateId, Recovery, SessionIds, is_recoverable};
use super::rooms::{IntoRooms, Room, Rooms};
use super::socket_operator::{EmitFlags, SocketOperator};
use crate::engine::{Connection, HandshakeRequest, random_id};
use crate::proto::socketio::{Map, Payload};
use crate::sync::Mutex;

pub use crate::proto::socketio::EncodeError as EmitError;

/// The public id of a socket: 20 characters of `A-Za-z0-9_-`, another one in each namespace. It is also the name of a
/// room in which only this socket is.
///
/// Clients of Engine.IO 3 are the exception: theirs is the id of their session, a credential
/// ([`ServerBuilder::allow_eio3`](super::ServerBuilder::allow_eio3)).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(Arc<str>);

impl SocketId {
    pub(crate) fn random() -> SocketId {
        SocketId(random_id().into())
    }

    pub(crate) fn new(text: &str) -> SocketId {
        SocketId(text.into())
    }

    pub(crate) fn into_shared(self) -> Arc<str> {
        self.0
    }

    /// Gives the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Sockets are looked up by the text of their ids.
impl Borrow<str> for SocketId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({})", self.0)
    }
}

impl Serialize for SocketId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// One client in one namespace. Cheap to clone; all clones are the same socket.
///
/// A socket that has left stays usable: what is emitted is written as long as the connection is open, and nobody is told
/// otherwise; joining rooms does nothing.
#[derive(Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

struct Inner {
    id: SocketId,
    namespace: Namespace,
    peer: Arc<Peer>,
    handshake: Handshake,
    /// By which its client comes back, where that is possible.
    pid: Option<PrivateId>,
    recovery: Recovery,
    /// `JOINING` → `CONNECTED` → `DISCONNECTED`; changes only under the lock of the namespace's rooms.
    stage: AtomicU8,
    extras: Mutex<Option<Box<Extras>>>,
}

const JOINING: u8 = 0;
const CONNECTED: u8 = 1;
const DISCONNECTED: u8 = 2;

/// What most sockets do not have.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) data: Map,
    pub(crate) extensions: TypeMap,
    acks: HashMap<u64, oneshot::Sender<Payload>>,
    pub(crate) listeners: Option<Box<Listeners>>,
    /// Resolves when the last serial handler has ended.
    pub(crate) last_serial: Option<oneshot::Receiver<()>>,
}

impl Socket {
    pub(crate) fn new(
        namespace: Namespace,
        peer: Arc<Peer>,
        handshake: Handshake,
        recovery: Recovery,
    ) -> Socket {
        let id = if legacy::is_legacy(peer.connection()) {
            legacy::socket_id(peer.connection(), namespace.name())
        } else {
            SocketId::random()
        };
        let can_return = namespace.recovery_options().is_some() && !legacy::is_legacy(peer.connection());
        let pid = can_return.then(PrivateId::random);
        Socket::with(id, namespace, peer, handshake, pid, recovery)
    }

    /// One that goes on where an earlier one ended.
    pub(crate) fn returning(
        namespace: Namespace,
        peer: Arc<Peer>,
        handshake: Handshake,
        session: SessionIds<'_>,
    ) -> Socket {
        let (id, pid) = (session.sid.clone(), Some(session.pid));
        let socket = Socket::with(id, namespace, peer, handshake, pid, Recovery::Recovered);
        if !session.data.is_empty() {
            socket.with_extras(|extras| extras.data = session.data.clone());
        }
        socket
    }

    fn with(
        id: SocketId,
        namespace: Namespace,
        peer: Arc<Peer>,
        handshake: Handshake,
        pid: Option<PrivateId>,
        recovery: Recovery,
    ) -> Socket {
        let (stage, extras) = (AtomicU8::new(JOINING), Mutex::new(None));
        Socket { inner: Arc::new(Inner { id, namespace, peer, handshake, pid, recovery, stage, extras }) }
    }

    /// Gives the socket's public id.
    pub fn id(&self) -> &SocketId {
        &self.inner.id
    }

    /// Gives the namespace the socket is in.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// Gives the server, for what is in other namespaces; `None` if it is gone.
    ///
    /// A socket does not keep its server alive. The server is there as long as one of its handles, a service made from
    /// it, or a connection; so it is there wherever a handler begins. In a task that outlives all of those it may be gone.
    ///
    /// # Example: a handler of one namespace emits to another
    /// ```
    /// use ferrio::{Event, HandlerError, Server};
    ///
    /// async fn announce(event: Event) -> Result<(), HandlerError> {
    ///     let text: String = event.args()?;
    ///     if let Some(io) = event.server() {
    ///         io.emit("announcement", &text)?;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// Server::new().of("/admin").on("announce", announce);
    /// ```
    pub fn server(&self) -> Option<Server> {
        Server::owner(self.home().shared())
    }

    /// Gives what the socket came with.
    pub fn handshake(&self) -> &Handshake {
        &self.inner.handshake
    }

    /// Gives the Engine.IO connection, which the sockets of one client share.
    pub fn conn(&self) -> &Arc<Connection> {
        self.inner.peer.connection()
    }

    /// Gives the request that opened the connection.
    pub fn request(&self) -> &HandshakeRequest {
        self.conn().request()
    }

    /// Whether the socket goes on where an earlier one ended, with its id, rooms and data; see
    /// [`ConnectionStateRecovery`](super::ConnectionStateRecovery).
    pub fn recovered(&self) -> bool {
        self.inner.recovery == Recovery::Recovered
    }

    /// Says whether the client asked to go on where it was, and what became of it.
    pub fn recovery(&self) -> Recovery {
        self.inner.recovery
    }

    pub(crate) fn private_id(&self) -> Option<&PrivateId> {
        self.inner.pid.as_ref()
    }

    /// Whether the socket has joined its namespace and has not left it.
    pub fn is_connected(&self) -> bool {
        self.stage() == CONNECTED
    }

    /// Gives the application's state, set by [`ServerBuilder::state`](super::ServerBuilder::state).
    ///
    /// # Panics
    /// If no state of this type was set.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.home().state()
    }

    /// Gives the named values of the socket: Node's `socket.data`.
    pub fn data(&self) -> Data {
        Data::of(self)
    }

    /// Gives the typed values of the socket, which never leave this process.
    pub fn extensions(&self) -> Extensions {
        Extensions::of(self)
    }

    /// Emits an event to this client. A tuple is the argument list, `()` is no argument, anything else is one argument;
    /// bytes (`bytes::Bytes`, the types of `serde_bytes`) become attachments.
    ///
    /// To serde an array `[T; N]` is a tuple, so it is an argument list too; a slice or a `Vec` is one argument. To send
    /// an array as one argument, wrap it: `&([1, 2],)`.
    ///
    /// It never waits. Whether the client is still there is not said: what is emitted to a connection that is closed goes
    /// nowhere, as on Node.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.emit_with(event, args, EmitFlags::default(), None)
    }

    /// Emits the event `message`: Node's `send` and `write`.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.emit("message", args)
    }

    /// Lets the next event be dropped if it could not leave at once: over WebSocket while something else waits or is being
    /// written, over polling while no request of the client waits for packets. That is exactly when Node drops. For what the
    /// next event makes worthless, such as positions.
    ///
    /// An event with attachments is sent whole or not at all.
    pub fn volatile(&self) -> SocketOperator {
        SocketOperator::new(self).volatile()
    }

    /// Says whether the transport may compress the next event. Default: true. False for what is compressed already, such as
    /// pictures. As on Node, it is about answers to polls; WebSocket messages are compressed by
    /// [`PerMessageDeflate`](super::PerMessageDeflate) as it says.
    pub fn compress(&self, compress: bool) -> SocketOperator {
        SocketOperator::new(self).compress(compress)
    }

    /// Emits an event and waits for the client's acknowledgement, as long as the client is there; see
    /// [`Socket::timeout`]. What it is read as has to be said: `let answer: String = …`, or `emit_with_ack::<(A, B)>(…)` for
    /// several arguments.
    ///
    /// The event is emitted at once, whether or not the future is awaited.
    ///
    /// # Cancel safety
    /// Dropping the future forgets the answer.
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> AckFuture<R> {
        AckFuture::emit(self, event, args, EmitFlags::default())
    }

    /// Limits how long [`SocketOperator::emit_with_ack`] waits.
    pub fn timeout(&self, timeout: Duration) -> SocketOperator {
        SocketOperator::new(self).timeout(timeout)
    }

    /// Addresses the sockets in these rooms, but not this one.
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().to(rooms)
    }

    /// Addresses all sockets that are not in these rooms, and not this one.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.broadcast().except(rooms)
    }

    /// Addresses all sockets of the namespace but this one.
    pub fn broadcast(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.home().clone()).except(self.id())
    }

    /// Joins a room or several. A socket that has left its namespace joins nothing.
    pub fn join(&self, rooms: impl IntoRooms) {
        let joined: Vec<Room> = rooms.into_rooms().collect();
        let mut rooms = self.home().rooms().write();
        if self.stage() == DISCONNECTED {
            return;
        }
        rooms.enter(self.id(), || self.clone());
        for room in joined {
            rooms.join(self.id(), room);
        }
        drop(rooms);
        self.home().tell_room_events();
    }

    /// Leaves a room or several.
    pub fn leave(&self, rooms: impl IntoRooms) {
        let left: Vec<Room> = rooms.into_rooms().collect();
        let mut rooms = self.home().rooms().write();
        for room in left {
            rooms.leave(self.id(), room.as_str());
        }
        drop(rooms);
        self.home().tell_room_events();
    }

    /// Gives the rooms the socket is in, in the order in which it joined them; the first is its own.
    pub fn rooms(&self) -> Vec<Room> {
        self.home().rooms().read().rooms_of(self.id()).cloned().collect()
    }

    /// Adds a handler of an event for this socket alone. Prefer [`Namespace::on`]: it costs nothing per socket. The
    /// handlers of a socket are dropped when it leaves. The id that is given back is for [`Socket::off`].
    pub fn on<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::new(handler);
        let id = handler.id();
        self.with_listeners(|listeners| listeners.events.add(event, handler));
        id
    }

    /// Adds a handler of this socket's end.
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let handler = DisconnectHandler::new(handler);
        self.with_listeners(|listeners| listeners.disconnect.push(handler));
    }

    /// Takes the socket out of its namespace; the client is told, and the connection stays open: Node's
    /// `disconnect()`. Its handlers are started by the connection's task, soon.
    pub fn disconnect(&self) {
        self.peer().depart(self, DisconnectReason::ServerNamespaceDisconnect, true);
    }

    /// Takes all sockets of the client out of their namespaces and closes the connection: Node's `disconnect(true)`.
    pub fn close_connection(&self) {
        self.peer().disconnect_all(self);
    }

    fn stage(&self) -> u8 {
        self.inner.stage.load(Ordering::SeqCst)
    }

    /// Changes what the socket listens to, unless it has left: its listeners would never be dropped, if they hold the
    /// socket.
    pub(crate) fn with_listeners<R>(&self, change: impl FnOnce(&mut Listeners) -> R) -> Option<R> {
        let mut change = Some(change);
        self.with_extras(|extras| {
            if self.stage() == DISCONNECTED {
                // What was to be added is dropped after the lock is released.
                return None;
            }
            change.take().map(|change| change(extras.listeners.get_or_insert_default()))
        })
    }

    /// The same, if there are any, and for a socket that has left, too.
    pub(crate) fn read_listeners<R>(&self, read: impl FnOnce(&mut Listeners) -> R) -> Option<R> {
        self.read_extras(|extras| extras.listeners.as_deref_mut().map(read))?
    }

    /// The namespace, as [`Socket::namespace`].
    pub(crate) fn home(&self) -> &Namespace {
        &self.inner.namespace
    }

    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.inner.peer
    }

    pub(crate) fn is_in(&self, namespace: &str) -> bool {
        self.home().name() == namespace
    }

    /// Under the lock of the namespace's rooms.
    pub(crate) fn set_connected(&self) {
        self.inner.stage.store(CONNECTED, Ordering::SeqCst);
    }

    /// Under the lock of the namespace's rooms.
    pub(crate) fn set_disconnected(&self) {
        self.inner.stage.store(DISCONNECTED, Ordering::SeqCst);
    }

    /// Leaves all rooms, under their lock; gives those to which the socket may return, if it may after this.
    pub(crate) fn leave_for_good(
        &self,
        rooms: &mut Rooms<Socket>,
        reason: DisconnectReason,
    ) -> Option<Vec<Room>> {
        if let Some(store) = self.home().shared_store() {
            store.lock().forget(self.id());
        }
        let may_return = self.inner.pid.is_some() && is_recoverable(reason);
        let left = may_return.then(|| rooms.rooms_of(self.id()).cloned().collect());
        rooms.remove(self.id());
        left
    }

    /// Keeps what is left of the socket, with the data that the handlers of its end have left.
    pub(crate) fn keep_session(&self, rooms: Vec<Room>) {
        let Some(pid) = &self.inner.pid else { return };
        let (sid, data) = (self.id().clone(), self.data().values());
        if let Some(store) = self.home().recovery_store() {
            store.keep(&sid, pid, rooms, data);
        } else if let Some(adapter) = self.home().adapter() {
            adapter.keep_session(KeptSession { sid, pid: pid.as_str().to_owned(), rooms, data });
        }
    }

    /// Undoes what a middleware did with a socket that does not get in.
    pub(crate) fn abandon(&self) {
        {
            let mut rooms = self.home().rooms().write();
            self.set_disconnected();
            rooms.remove(self.id());
        }
        self.forget_acks();
        self.drop_listeners();
    }

    /// Runs `change` on what the socket keeps; it must not call user code.
    pub(crate) fn with_extras<R>(&self, change: impl FnOnce(&mut Extras) -> R) -> R {
        change(self.inner.extras.lock().get_or_insert_default())
    }

    /// The same, if there is something.
    pub(crate) fn read_extras<R>(&self, read: impl FnOnce(&mut Extras) -> R) -> Option<R> {
        self.inner.extras.lock().as_deref_mut().map(read)
    }

    /// Waits for the acknowledgement `id`; `None` if the socket has left and none can come.
    pub(crate) fn expect_ack(&self, id: u64) -> Option<oneshot::Receiver<Payload>> {
        self.with_extras(|extras| {
            if self.stage() == DISCONNECTED {
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            extras.acks.insert(id, sender);
            Some(receiver)
        })
    }

    pub(crate) fn resolve_ack(&self, id: u64, data: Option<Payload>) {
        let Some(sender) = self.read_extras(|extras| extras.acks.remove(&id)).flatten() else {
            return self.home().pending_broadcasts().resolve(id, self.id(), data);
        };
        let data = data.unwrap_or_else(|| Payload::ack(&()).expect("no arguments have a JSON form"));
        // Whoever waited may have stopped waiting.
        let _ = sender.send(data);
    }

    /// Whether somebody waits for an acknowledgement.
    pub(crate) fn awaits_acks(&self) -> bool {
        self.read_extras(|extras| !extras.acks.is_empty()).unwrap_or(false)
    }

    pub(crate) fn forget_ack(&self, id: u64) {
        let _dropped_unlocked = self.read_extras(|extras| extras.acks.remove(&id));
    }

    /// The socket has left: no acknowledgement comes any more, and its rooms are told of. Called outside all locks.
    pub(crate) fn forget_acks(&self) {
        self.home().pending_broadcasts().forget_socket(self.id());
        self.home().tell_room_events();
        let _dropped_unlocked = self.read_extras(|extras| std::mem::take(&mut extras.acks));
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Socket {}

impl Hash for Socket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.id.hash(state);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.inner.id.as_str())
            .field("namespace", &self.inner.namespace.name())
            .finish_non_exhaustive()
    }
}
