//! Namespace: its sockets, its middlewares, its handlers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytestring::ByteString;
use serde::Serialize;

use super::broadcast::{BroadcastOperator, Target};
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::handler::{
    ConnectHandler, DisconnectHandler, EventHandler, HandlerOutput, ListenerId, Middleware, MiddlewareOutput,
    warn_of_special_name,
};
use super::handlers::{Handlers, append};
use super::hub::Shared;
use super::listeners::{Incoming, listed};
use super::namespaces::{Namespaces, Registry};
use super::rooms::{IntoRooms, Rooms};
use super::socket::{EmitError, Socket};
use super::socket_error::ErrorObserver;
use crate::proto::EncodedMessage;
use crate::sync::RwLock;

/// A namespace: clients join it by name, each with a [`Socket`]. Cheap to clone.
///
/// Handlers are registered here once for all sockets, those that are connected already too.
///
/// # Example: a chat in a namespace of its own
/// ```
/// use ferrio::{Event, HandlerError, Server, Socket};
///
/// let io = Server::new();
/// let chat = io.of("/chat");
/// chat.on_connect(async |socket: Socket| socket.join("lobby"));
/// chat.on("say", async |event: Event| {
///     let text: String = event.args()?;
///     event.socket().to("lobby").emit("said", &text)?;
///     Ok::<_, HandlerError>(())
/// });
/// ```
#[derive(Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

struct Inner {
    name: ByteString,
    shared: Arc<Shared>,
    rooms: RwLock<Rooms<Socket>>,
    handlers: RwLock<Handlers>,
    /// "counter per namespace from 0, shared by single-socket emits and broadcasts with ack"
    next_ack: AtomicU64,
    registry: Registry,
    /// Sockets that listen to what is emitted to them.
    outgoing: AtomicUsize,
    /// The number of the parent whose child it is.
    parent: Option<usize>,
    /// Clients in it or on their way into it; counted where it may be cleaned up.
    visits: AtomicUsize,
    /// All have been told of it who may want to guard it.
    open: AtomicBool,
    /// Nobody gets in any more; changes under the lock of the rooms.
    closed: AtomicBool,
}

impl Namespace {
    pub(crate) fn new(
        name: ByteString,
        namespaces: &Arc<Namespaces>,
        parent: Option<usize>,
        handlers: Handlers,
        open: bool,
    ) -> Namespace {
        let inner = Inner {
            name,
            shared: Arc::clone(namespaces.shared()),
            rooms: RwLock::default(),
            handlers: RwLock::new(handlers),
            next_ack: AtomicU64::new(0),
            registry: Arc::downgrade(namespaces),
            outgoing: AtomicUsize::new(0),
            parent,
            visits: AtomicUsize::new(0),
            open: AtomicBool::new(open),
            closed: AtomicBool::new(false),
        };
        Namespace { inner: Arc::new(inner) }
    }

    /// Gives the name, `/` for the main namespace.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Adds a middleware: it decides whether a socket may connect. Middlewares run in the order in which they were added,
    /// one after the other; the first error refuses the client with `connect_error`.
    ///
    /// It guards this namespace alone; each namespace needs its own. For all connections, whatever they join, use
    /// [`ServerBuilder::allow_request`](super::ServerBuilder::allow_request).
    ///
    /// A middleware that panics refuses the client too.
    pub fn use_<F, Fut>(&self, middleware: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: MiddlewareOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().middlewares, Middleware::new(middleware));
    }

    /// Adds a handler of new sockets. What it emits before it first waits follows the client's CONNECT.
    pub fn on_connect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().connect, ConnectHandler::new(handler));
    }

    /// Adds a handler of an event, for all sockets of the namespace. Several handlers of one event are started in the
    /// order in which they were added, before the socket's own ([`Socket::on`]).
    ///
    /// Handlers are started in the order in which their events arrive: each runs until it first waits, before the
    /// next one starts. A panic is caught, logged and counted; so is an error that is returned ([`Namespace::on_error`] sees
    /// both). Neither acknowledges the event: a client that waits runs into its timeout, as on Node.
    ///
    /// The id that is given back is for [`Namespace::off`].
    ///
    /// A handler is a plain `async fn`, a closure `async |event: Event| …`, or, if it captures something, a closure that
    /// clones it for each call and returns an `async move` block. (An `async move |event|` that captures does not
    /// compile: its futures would borrow from the closure.) What all handlers need is better kept in
    /// [`ServerBuilder::state`](super::ServerBuilder::state), and the server is at hand as [`Event::server`]: a handler
    /// that captures its own server keeps it alive for ever.
    ///
    /// # Example: a handler that captures
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use ferrio::{Event, HandlerError, Server};
    ///
    /// let io = Server::new();
    /// let said = Arc::new(Mutex::new(Vec::new()));
    /// io.on("say", move |event: Event| {
    ///     let said = Arc::clone(&said);
    ///     async move {
    ///         let text: String = event.args()?;
    ///         said.lock().expect("nobody panics with the lock").push(text);
    ///         Ok::<_, HandlerError>(())
    ///     }
    /// });
    /// ```
    pub fn on<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::new(handler);
        let id = handler.id();
        self.inner.handlers.write().events.add(event, handler);
        id
    }

    /// Adds a handler of sockets that have left the namespace, whatever the reason; they are in no room any more.
    pub fn on_disconnect<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.inner.handlers.write().disconnect, DisconnectHandler::new(handler));
    }

    /// Emits an event to all sockets of the namespace.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.everybody().emit(event, args)
    }

    /// Addresses the sockets in these rooms; see [`BroadcastOperator::to`].
    pub fn to(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.everybody().to(rooms)
    }

    /// Addresses the sockets in these rooms, as [`Namespace::to`].
    pub fn in_(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.to(rooms)
    }

    /// Addresses all sockets that are not in these rooms.
    pub fn except(&self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.everybody().except(rooms)
    }

    /// Gives the sockets that are connected now, in no particular order; those of a room:
    /// [`BroadcastOperator::sockets`].
    pub fn sockets(&self) -> Vec<Socket> {
        self.everybody().sockets()
    }

    /// Gives the socket with this id, if it is connected to this process now.
    pub fn socket(&self, id: &str) -> Option<Socket> {
        self.inner.rooms.read().get(id).cloned()
    }

    /// Closes the namespace: its sockets are disconnected (`server namespace disconnect`) and told so, and nobody can join
    /// it any more (`Invalid namespace`), those included whose middlewares still run. Their connections stay open.
    ///
    /// [`Server::of`](super::Server::of) with its name, or a client that asks for a child of a
    /// [`ParentNamespace`](super::ParentNamespace), makes a new one. The main namespace stays: only its sockets go.
    ///
    /// # Example: a game is over
    /// ```
    /// let io = ferrio::Server::new();
    /// let game = io.of("/game/17");
    /// game.emit("over", &())?;
    /// game.close();
    /// # Ok::<_, ferrio::EmitError>(())
    /// ```
    pub fn close(&self) {
        if self.name() != "/" {
            {
                let _rooms = self.inner.rooms.write();
                self.inner.closed.store(true, Ordering::SeqCst);
            }
            if let Some(namespaces) = self.inner.registry.upgrade() {
                namespaces.remove(self, false);
            }
        }
        self.sockets().iter().for_each(Socket::disconnect);
    }

    fn everybody(&self) -> BroadcastOperator {
        BroadcastOperator::new(self.clone())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn rooms(&self) -> &RwLock<Rooms<Socket>> {
        &self.inner.rooms
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    pub(crate) fn parent(&self) -> Option<usize> {
        self.inner.parent
    }

    pub(crate) fn visits(&self) -> &AtomicUsize {
        &self.inner.visits
    }

    pub(crate) fn is_open(&self) -> bool {
        self.inner.open.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) {
        self.inner.open.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn next_ack_id(&self) -> u64 {
        self.inner.next_ack.fetch_add(1, Ordering::Relaxed)
    }

    /// Gives a message to the sockets of this process that are meant.
    pub(crate) fn deliver(&self, message: &Arc<EncodedMessage>, target: &Target) {
        let rooms = self.inner.rooms.read();
        rooms.select(&target.rooms, &target.except, |socket| socket.peer().send(Arc::clone(message)));
    }

    /// The sockets of this process that are meant.
    pub(crate) fn select(&self, target: &Target) -> Vec<Socket> {
        let rooms = self.inner.rooms.read();
        let mut sockets = Vec::with_capacity(if target.rooms.is_empty() { rooms.len() } else { 0 });
        rooms.select(&target.rooms, &target.except, |socket| sockets.push(socket.clone()));
        sockets
    }

    pub(crate) fn middlewares(&self) -> Arc<[Middleware]> {
        Arc::clone(&self.inner.handlers.read().middlewares)
    }

    pub(crate) fn connect_handlers(&self) -> Arc<[ConnectHandler]> {
        Arc::clone(&self.inner.handlers.read().connect)
    }

    pub(crate) fn disconnect_handlers(&self) -> Arc<[DisconnectHandler]> {
        Arc::clone(&self.inner.handlers.read().disconnect)
    }

    pub(crate) fn disconnecting_handlers(&self) -> Arc<[DisconnectHandler]> {
        Arc::clone(&self.inner.handlers.read().disconnecting)
    }

    pub(crate) fn has_disconnecting_handlers(&self) -> bool {
        !self.inner.handlers.read().disconnecting.is_empty()
    }

    pub(crate) fn error_observers(&self) -> Option<Arc<[ErrorObserver]>> {
        listed(&self.inner.handlers.read().errors)
    }

    pub(crate) fn incoming(&self, event: &str) -> Incoming {
        let handlers = self.inner.handlers.read();
        Incoming { handlers: handlers.events.get(event), any: listed(&handlers.any), middlewares: None }
    }

    pub(crate) fn handlers(&self) -> &RwLock<Handlers> {
        &self.inner.handlers
    }

    /// Whether a socket listens to what is emitted to it.
    pub(crate) fn has_outgoing(&self) -> bool {
        self.inner.outgoing.load(Ordering::Relaxed) > 0
    }

    /// A socket begins to listen, or ends.
    pub(crate) fn count_outgoing(&self, begins: bool) {
        if begins {
            self.inner.outgoing.fetch_add(1, Ordering::Relaxed);
        } else {
            self.inner.outgoing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Namespace) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Namespace {}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.inner.name).finish_non_exhaustive()
    }
}
