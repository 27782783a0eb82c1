//! Namespace: its sockets, its middlewares, its handlers.

use std::any::type_name;
use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::adapter::{Adapter, AdapterError, BroadcastOptions, Gathered, Position};
use super::broadcast::BroadcastOperator;
use super::broadcast_ack::{Answers, BroadcastAcks, PendingBroadcasts};
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::handler::{
    ConnectHandler, DisconnectHandler, EventHandler, HandlerOutput, ListenerId, Middleware, MiddlewareOutput,
    ServerSideHandler, warn_of_special_name,
};
use super::handlers::{Handlers, append};
use super::hub::Shared;
use super::kept_event::{KeptEvent, PutBehind};
use super::lag::LagHandler;
use super::listeners::{Incoming, listed};
use super::local_node::LocalNode;
use super::namespaces::{Namespaces, Registry};
use super::recovery::{ConnectionStateRecovery, Store};
use super::remote_socket::{FetchError, RemoteSocket};
use super::room_event::{RoomEvent, RoomObservers};
use super::rooms::{IntoRooms, Room, Rooms};
use super::server_side::{ServerSideEvent, check_server_side};
use super::shared_recovery::SharedStore;
use super::socket::{EmitError, Socket, SocketId};
use super::socket_error::ErrorObserver;
use crate::proto::EncodedMessage;
use crate::proto::socketio::{EncodedPacket, Packet, PacketKind, Payload};
use crate::sync::{Mutex, RwLock, RwLockReadGuard};

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
    /// The DISCONNECT of a socket that is taken out; the same for all.
    farewell: Option<Arc<EncodedMessage>>,
    /// "counter per namespace from 0, shared by single-socket emits and broadcasts with ack"
    next_ack: AtomicU64,
    pending_broadcasts: PendingBroadcasts,
    room_observers: RoomObservers,
    /// The link to the other servers; made by the first who needs it, where there are others.
    adapter: OnceLock<Arc<dyn Adapter>>,
    /// Other servers do not know the namespace any more: no adapter is made from then on. Locked while one is made, so
    /// that none is made beside the end and stays.
    left_cluster: Mutex<bool>,
    /// What is kept for those who come back, if anything.
    recovery: Option<Store>,
    /// The same, where the adapter keeps it.
    shared_recovery: Option<SharedStore>,
    registry: Registry,
    /// Those who listen to what is emitted: sockets, and the namespace itself.
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
        farewell: Option<Arc<EncodedMessage>>,
        namespaces: &Arc<Namespaces>,
        parent: Option<usize>,
        handlers: Handlers,
        open: bool,
    ) -> Namespace {
        let shared = namespaces.shared();
        let (options, max_send_queue) = (shared.config.recovery.clone(), shared.config.engine.max_send_queue);
        let is_shared = shared.config.adapter.as_ref().is_some_and(|adapter| adapter.keeps_sessions());
        let (recovery, shared_recovery) = match options {
            Some(options) if is_shared => (None, Some(SharedStore::new(options, max_send_queue))),
            Some(options) => {
                (Some(Store::new(options, max_send_queue, Arc::clone(&shared.recovery_budget))), None)
            }
            None => (None, None),
        };
        let inner = Inner {
            farewell,
            name,
            shared: Arc::clone(shared),
            rooms: RwLock::default(),
            outgoing: AtomicUsize::new(usize::from(!handlers.outgoing.is_empty())),
            handlers: RwLock::new(handlers),
            next_ack: AtomicU64::new(0),
            pending_broadcasts: PendingBroadcasts::default(),
            room_observers: RoomObservers::default(),
            adapter: OnceLock::new(),
            left_cluster: Mutex::default(),
            recovery,
            shared_recovery,
            registry: Arc::downgrade(namespaces),
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

    /// Adds a handler of sockets that have left the namespace, whatever the reason; they are in no room any more. What it
    /// sets in [`Socket::data`] before it first waits is kept for a client that may come back
    /// ([`ConnectionStateRecovery`]).
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

    /// Emits the event `message` to all sockets of the namespace: Node's `send` and `write`.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn send<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        self.emit("message", args)
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

    /// Addresses all sockets that are connected to this process; see [`BroadcastOperator::local`].
    pub fn local(&self) -> BroadcastOperator {
        self.everybody().local()
    }

    /// Addresses all sockets, with events that may be lost; see [`BroadcastOperator::volatile`].
    pub fn volatile(&self) -> BroadcastOperator {
        self.everybody().volatile()
    }

    /// Addresses all sockets, with events that may be compressed or not; see [`BroadcastOperator::compress`].
    pub fn compress(&self, compress: bool) -> BroadcastOperator {
        self.everybody().compress(compress)
    }

    /// Addresses all sockets, with acknowledgements that must come in time; see [`BroadcastOperator::timeout`].
    pub fn timeout(&self, timeout: Duration) -> BroadcastOperator {
        self.everybody().timeout(timeout)
    }

    /// Emits an event to all sockets of the namespace and waits for their acknowledgements; see
    /// [`BroadcastOperator::emit_with_ack`].
    pub fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAcks<R> {
        self.everybody().emit_with_ack(event, args)
    }

    /// Lets all sockets join a room or several; see [`BroadcastOperator::sockets_join`].
    pub fn sockets_join(&self, rooms: impl IntoRooms) {
        self.everybody().sockets_join(rooms);
    }

    /// Lets all sockets leave a room or several; see [`BroadcastOperator::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl IntoRooms) {
        self.everybody().sockets_leave(rooms);
    }

    /// Takes all sockets out of the namespace; see [`BroadcastOperator::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) {
        self.everybody().disconnect_sockets(close);
    }

    /// Gives handles of all sockets, those of other servers too; see [`BroadcastOperator::fetch_sockets`].
    ///
    /// # Errors
    /// If another server does not answer in time.
    pub async fn fetch_sockets(&self) -> Result<Vec<RemoteSocket>, FetchError> {
        self.everybody().fetch_sockets().await
    }

    /// Gives the rooms of this server somebody is in, each socket's own included, in no particular order: the keys of
    /// Node's `adapter.rooms`.
    pub fn rooms_in_use(&self) -> Vec<Room> {
        self.inner.rooms.read().names().cloned().collect()
    }

    /// Gives the rooms of all servers somebody is in, as far as they have answered; each once, in no particular order.
    ///
    /// # Errors
    /// If the adapter has no such request: Redis's classic one alone has it.
    pub async fn all_rooms(&self) -> Result<Gathered<Room>, AdapterError> {
        let mut gathered = match self.adapter() {
            Some(others) => others.all_rooms().await?,
            None => Gathered::nothing(),
        };
        gathered.items.extend(self.rooms_in_use());
        gathered.items.sort_unstable();
        gathered.items.dedup();
        Ok(gathered)
    }

    /// Gives the number of servers that have this namespace, this one included: Node's `adapter.serverCount()`.
    ///
    /// # Errors
    /// If the cluster cannot be asked.
    pub async fn server_count(&self) -> Result<usize, AdapterError> {
        match self.adapter() {
            Some(others) => others.server_count().await,
            None => Ok(1),
        }
    }

    /// Adds an observer of what happens to the rooms of this server: made before the first socket joins, deleted after the
    /// last one left. A socket that disconnects leaves its own room first, then the others in the order in which it
    /// joined them.
    ///
    /// It is told in the order of the changes, by whoever made one of them: usually before `join` returns, but if another
    /// thread is telling just then, that one tells this too, soon. It may do with rooms what it likes, and must not
    /// block. A panic is caught, logged and counted as that of a handler.
    ///
    /// # Example: work that is only done while somebody watches
    /// ```
    /// use ferrio::{RoomEvent, Server};
    ///
    /// let io = Server::new();
    /// io.of("/").on_room_event(|event| match event {
    ///     RoomEvent::Created { room } if room.as_str().starts_with("job:") => println!("begin with {room}"),
    ///     RoomEvent::Deleted { room } if room.as_str().starts_with("job:") => println!("end with {room}"),
    ///     _ => {}
    /// });
    /// ```
    pub fn on_room_event(&self, observe: impl Fn(&RoomEvent) + Send + Sync + 'static) {
        self.inner.room_observers.add(&self.inner.rooms, observe);
    }

    /// Emits an event to the other servers of the cluster: Node's `serverSideEmit`. They hear it in
    /// [`Namespace::on_server_side`]; this server does not, and no client does. A server that stands alone emits to
    /// nobody.
    ///
    /// # Errors
    /// If the event's name is reserved (`connect`, `connection`, `new_namespace`), or if `args` cannot be serialized.
    pub fn server_side_emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        let event = check_server_side(event, args)?;
        if let Some(others) = self.adapter() {
            others.server_side_emit(&event);
        }
        Ok(())
    }

    /// Emits an event to the other servers of the cluster and waits for an answer of each; the result is as that of
    /// [`BroadcastOperator::emit_with_ack`]. A server that stands alone has no answer to wait for: there are none, at once.
    /// (On Node such a wait never ends.)
    ///
    /// # Example: how many are connected, everywhere
    /// ```
    /// # async fn count(io: ferrio::Server) -> Result<usize, Box<dyn std::error::Error>> {
    /// let others = io.of("/").server_side_emit_with_ack::<usize>("count", &()).await?;
    /// # Ok(
    /// io.clients_count() + others.iter().sum::<usize>()
    /// # )
    /// # }
    /// ```
    pub fn server_side_emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> BroadcastAcks<R> {
        BroadcastAcks::of(match check_server_side(event, args) {
            Ok(event) => match self.adapter() {
                Some(others) => Answers::of_servers(others.server_side_emit_with_ack(&event)),
                None => Answers::none(),
            },
            Err(error) => Answers::failed(error),
        })
    }

    /// Adds a handler of an event that other servers of the cluster emit to their peers in this namespace
    /// ([`Namespace::server_side_emit`]): Node's `io.on("event", …)` for `serverSideEmit`. Here it has a name of its own,
    /// so that no client can send what only servers may.
    ///
    /// # Example: answering another server
    /// ```
    /// use ferrio::{HandlerError, Server, ServerSideEvent};
    ///
    /// let io = Server::new();
    /// io.on_server_side("count", async |event: ServerSideEvent| {
    ///     let count = event.server().map_or(0, |io| io.clients_count());
    ///     event.ack(&count)?;
    ///     Ok::<_, HandlerError>(())
    /// });
    /// ```
    pub fn on_server_side<F, Fut>(&self, event: &str, handler: F)
    where
        F: Fn(ServerSideEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let mut handlers = self.inner.handlers.write();
        let list = handlers.server_side.entry(event.into()).or_default();
        append(list, ServerSideHandler::new(handler));
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

    /// Gives the application's state, set by [`ServerBuilder::state`](super::ServerBuilder::state).
    ///
    /// # Panics
    /// If no state of this type was set.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        let Some(state) = self.shared().state.get_ref() else {
            panic!("no state of type {} was set: call Server::builder().state(…)", type_name::<T>())
        };
        state
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn rooms(&self) -> &RwLock<Rooms<Socket>> {
        &self.inner.rooms
    }

    pub(crate) fn farewell(&self) -> Option<Arc<EncodedMessage>> {
        self.inner.farewell.clone()
    }

    /// Encodes an event of this namespace with the server's parser.
    pub(crate) fn encode_event<T: Serialize + ?Sized>(
        &self,
        id: Option<u64>,
        event: &str,
        args: &T,
    ) -> Result<EncodedPacket, EmitError> {
        let mut packet = self.shared().config.codec.event(self.name(), id, event, args)?;
        if id.is_none() {
            packet.message = packet.message.with_droppable();
        }
        Ok(packet)
    }

    /// Encodes an acknowledgement with the server's parser.
    pub(crate) fn encode_ack<T: Serialize + ?Sized>(
        &self,
        id: u64,
        args: &T,
    ) -> Result<EncodedPacket, EmitError> {
        self.shared().config.codec.ack(self.name(), id, args)
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

    pub(crate) fn downgrade(&self) -> WeakNamespace {
        WeakNamespace { inner: Arc::downgrade(&self.inner) }
    }

    pub(crate) fn shared_name(&self) -> &ByteString {
        &self.inner.name
    }

    /// The link to the other servers, if there are any. Called outside all locks.
    pub(crate) fn adapter(&self) -> Option<&dyn Adapter> {
        if let Some(adapter) = self.inner.adapter.get() {
            return Some(&**adapter);
        }
        let factory = self.shared().config.adapter.as_ref()?;
        let left_cluster = self.inner.left_cluster.lock();
        if *left_cluster {
            return None;
        }
        Some(&**self.inner.adapter.get_or_init(|| factory.create(LocalNode::new(self))))
    }

    /// The namespace is gone: no request of other servers is answered any more. An adapter is closed once.
    pub(crate) fn close_adapter(&self) {
        let had_left = std::mem::replace(&mut *self.inner.left_cluster.lock(), true);
        if let Some(adapter) = self.inner.adapter.get().filter(|_| !had_left) {
            adapter.close();
        }
    }

    pub(crate) fn recovery_store(&self) -> Option<&Store> {
        self.inner.recovery.as_ref()
    }

    pub(crate) fn shared_store(&self) -> Option<&SharedStore> {
        self.inner.shared_recovery.as_ref()
    }

    /// Whether sockets may come back, and how.
    pub(crate) fn recovery_options(&self) -> Option<&ConnectionStateRecovery> {
        self.recovery_store().map(Store::options).or_else(|| self.shared_store().map(SharedStore::options))
    }

    /// Emits an event to the sockets that are meant, and to those of `others`.
    pub(crate) fn emit_to<T: Serialize + ?Sized>(
        &self,
        event: &str,
        args: &T,
        to: &BroadcastOptions,
        key: Option<&Arc<str>>,
        others: Option<&dyn Adapter>,
    ) -> Result<(), EmitError> {
        let shared_store = self.shared_store().filter(|_| !to.flags.volatile && !to.flags.local);
        if let (Some(store), Some(adapter)) = (shared_store, self.adapter()) {
            let event = Payload::event(event, args)?;
            let plain = self.encode_early(&event, to, key)?;
            self.notify_outgoing(|| event.clone(), to);
            let kept = KeptEvent::begin(self, store, event.clone(), to, key, plain);
            adapter.broadcast_kept(&event, to, kept);
            return Ok(());
        }
        if let Some(store) = self.store_for(to) {
            let event = Payload::event(event, args)?;
            self.notify_outgoing(|| event.clone(), to);
            if let Some(others) = others {
                others.broadcast(&event, to);
            }
            return self.deliver_kept(store, &event, to, key);
        }
        let packet = self.encode_event(None, event, args)?;
        self.notify_outgoing(|| packet.payload(), to);
        if let Some(others) = others {
            others.broadcast(&packet.payload(), to);
        }
        self.deliver(keyed(packet.message, key), to);
        Ok(())
    }

    /// Where an event is kept for those who are not there.
    fn store_for(&self, to: &BroadcastOptions) -> Option<&Store> {
        self.recovery_store().filter(|_| !to.flags.volatile)
    }

    /// Gives an event to the sockets of this process that are meant, with an offset, and keeps it.
    fn deliver_kept(
        &self,
        store: &Store,
        event: &Payload,
        to: &BroadcastOptions,
        key: Option<&Arc<str>>,
    ) -> Result<(), EmitError> {
        let (offset, data) = store.stamp(event);
        let packet = Packet::new(PacketKind::Event, self.inner.name.clone()).with_data(data);
        let message = self.shared().config.codec.packet(&packet)?.with_droppable();
        let message = prepared(keyed(message, key), to);
        let rooms = self.inner.rooms.read();
        let mut log = store.lock();
        store.append(&mut log, offset, &message, to);
        // Under the lock of the log: everybody hears in the order of the log.
        send(&rooms, &message, to);
        Ok(())
    }

    /// Gives an event of another server that the adapter keeps to the sockets of this process that are meant.
    pub(crate) fn deliver_at(
        &self,
        event: &Payload,
        to: &BroadcastOptions,
        offset: &str,
        position: Position,
    ) {
        let Some(store) = self.shared_store() else { return self.deliver_foreign(event, to) };
        self.notify_outgoing(|| event.clone(), to);
        let Ok(event) = event.with_text_argument(offset) else { return };
        let Some(message) = self.encode_plain(&event) else { return };
        let message = prepared(message, to);
        let mut to = to.clone();
        let rooms = self.inner.rooms.read();
        let mut tail = store.lock();
        tail.note(position, &message, &mut to);
        // Under the lock of the tail: everybody hears in its order.
        send(&rooms, &message, &to);
    }

    /// Encodes an event that waits for its place as it is, if the parser is the application's: it may have no form for the
    /// event, and whoever emits is told. The default form is certain, and seldom needed without an offset.
    fn encode_early(
        &self,
        event: &Payload,
        to: &BroadcastOptions,
        key: Option<&Arc<str>>,
    ) -> Result<Option<Arc<EncodedMessage>>, EmitError> {
        if self.shared().config.codec.is_default() {
            return Ok(None);
        }
        let packet = Packet::new(PacketKind::Event, self.inner.name.clone()).with_data(event.clone());
        let message = self.shared().config.codec.packet(&packet)?.with_droppable();
        Ok(Some(prepared(keyed(message, key), to)))
    }

    /// Encodes an event as it is.
    pub(crate) fn encode_plain(&self, event: &Payload) -> Option<EncodedMessage> {
        let packet = Packet::new(PacketKind::Event, self.inner.name.clone()).with_data(event.clone());
        Some(self.shared().encode_message(&packet)?.with_droppable())
    }

    /// The same, for an event that others wait for: if the parser, which may be the application's, panics, the event reaches
    /// nobody, and the others go on. Called under no lock.
    pub(crate) fn encode_or_log(&self, event: &Payload) -> Option<EncodedMessage> {
        catch_unwind(AssertUnwindSafe(|| self.encode_plain(event))).unwrap_or_else(|_| {
            tracing::error!("an event is not delivered: the parser panicked");
            None
        })
    }

    /// Gives a message to the sockets of this process that are meant.
    pub(crate) fn deliver(&self, message: EncodedMessage, to: &BroadcastOptions) {
        let message = prepared(message, to);
        self.send_behind(self.inner.rooms.read(), &message, to);
    }

    /// Gives the event of another server to the sockets of this one that are meant.
    pub(crate) fn deliver_foreign(&self, event: &Payload, to: &BroadcastOptions) {
        self.notify_outgoing(|| event.clone(), to);
        if let Some(store) = self.store_for(to) {
            if let Err(error) = self.deliver_kept(store, event, to, None) {
                tracing::error!("an event of another server is not delivered: {error}");
            }
            return;
        }
        if let Some(message) = self.encode_foreign(None, event, to) {
            self.deliver(message, to);
        }
    }

    /// The same; says how many are asked for an acknowledgement, and gives the answers.
    pub(crate) fn ask_foreign(
        &self,
        event: &Payload,
        to: &BroadcastOptions,
        timeout: Duration,
    ) -> Option<(usize, Answers)> {
        let id = self.next_ack_id();
        let message = self.encode_foreign(Some(id), event, to)?;
        self.notify_outgoing(|| event.clone(), to);
        let (count, answers) = self.deliver_for_acks(id, message, to);
        Some((count, Answers::of_sockets(self, id, answers, None, timeout)))
    }

    /// Encodes the event of another server, unless nobody here is meant.
    fn encode_foreign(
        &self,
        id: Option<u64>,
        event: &Payload,
        to: &BroadcastOptions,
    ) -> Option<EncodedMessage> {
        let concerned = {
            let rooms = self.inner.rooms.read();
            if to.rooms.is_empty() {
                rooms.len() > 0
            } else {
                to.rooms.iter().any(|room| rooms.has(room.as_str()))
            }
        };
        if !concerned {
            return None;
        }
        let mut packet = Packet::new(PacketKind::Event, self.inner.name.clone()).with_data(event.clone());
        packet.id = id;
        let message = self.shared().encode_message(&packet)?;
        Some(if id.is_none() { message.with_droppable() } else { message })
    }

    /// The same; gives the answers of those who are meant.
    pub(crate) fn deliver_for_acks(
        &self,
        id: u64,
        message: EncodedMessage,
        to: &BroadcastOptions,
    ) -> (usize, mpsc::UnboundedReceiver<Payload>) {
        let message = prepared(message, to);
        let rooms = self.inner.rooms.read();
        let mut meant = HashSet::new();
        rooms.select(&to.rooms, &to.except, |socket| {
            meant.insert(socket.id().clone());
        });
        let count = meant.len();
        // Before the first can answer.
        let answers = self.inner.pending_broadcasts.expect(id, meant);
        self.send_behind(rooms, &message, to);
        (count, answers)
    }

    /// Sends what no adapter keeps, after what it keeps and has not given back yet.
    fn send_behind(
        &self,
        rooms: RwLockReadGuard<'_, Rooms<Socket>>,
        message: &Arc<EncodedMessage>,
        to: &BroadcastOptions,
    ) {
        let store = self.shared_store().filter(|store| !to.flags.volatile && store.has_waiting());
        match store.and_then(|store| store.lock().waiting().put_behind_all(&rooms, message, to)) {
            None => send(&rooms, message, to),
            Some(PutBehind::Fits) => {}
            Some(PutBehind::IsTooMuch) => {
                drop(rooms);
                self.deliver_early();
            }
        }
    }

    pub(crate) fn pending_broadcasts(&self) -> &PendingBroadcasts {
        &self.inner.pending_broadcasts
    }

    /// Puts the sockets that are meant into rooms.
    pub(crate) fn join_selected(&self, to: &BroadcastOptions, joined: &[Room]) {
        let mut rooms = self.inner.rooms.write();
        for id in selected_ids(&rooms, to) {
            for room in joined {
                rooms.join(&id, room.clone());
            }
        }
        drop(rooms);
        self.tell_room_events();
    }

    /// Takes the sockets that are meant out of rooms.
    pub(crate) fn leave_selected(&self, to: &BroadcastOptions, left: &[Room]) {
        let mut rooms = self.inner.rooms.write();
        for id in selected_ids(&rooms, to) {
            for room in left {
                rooms.leave(&id, room.as_str());
            }
        }
        drop(rooms);
        self.tell_room_events();
    }

    /// Takes the sockets of this process that are meant out of the namespace.
    pub(crate) fn disconnect_selected(&self, to: &BroadcastOptions, close: bool) {
        for socket in self.select(to) {
            if close {
                socket.close_connection();
            } else {
                socket.disconnect();
            }
        }
    }

    /// The sockets of this process that are meant.
    pub(crate) fn select(&self, to: &BroadcastOptions) -> Vec<Socket> {
        let rooms = self.inner.rooms.read();
        let mut sockets = Vec::with_capacity(if to.rooms.is_empty() { rooms.len() } else { 0 });
        rooms.select(&to.rooms, &to.except, |socket| sockets.push(socket.clone()));
        sockets
    }

    /// Tells of what happened to rooms. Called outside all locks.
    pub(crate) fn tell_room_events(&self) {
        self.inner.room_observers.tell(&self.inner.rooms, &self.inner.shared.counters);
    }

    /// Changes what is registered; it must not call user code.
    pub(crate) fn change_handlers(&self, change: impl FnOnce(&mut Handlers)) {
        change(&mut self.inner.handlers.write());
    }

    pub(crate) fn lag_handlers(&self) -> Arc<[LagHandler]> {
        Arc::clone(&self.inner.handlers.read().lag)
    }

    pub(crate) fn server_side_handlers(&self, event: &str) -> Arc<[ServerSideHandler]> {
        self.inner.handlers.read().server_side.get(event).cloned().unwrap_or_default()
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

    /// Whether somebody listens to what is emitted.
    pub(crate) fn has_outgoing(&self) -> bool {
        self.inner.outgoing.load(Ordering::Relaxed) > 0
    }

    /// A socket, or the namespace itself, begins to listen, or ends.
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

/// A namespace that is not kept alive.
#[derive(Clone)]
pub(crate) struct WeakNamespace {
    inner: Weak<Inner>,
}

impl WeakNamespace {
    pub(crate) fn upgrade(&self) -> Option<Namespace> {
        Some(Namespace { inner: self.inner.upgrade()? })
    }
}

fn selected_ids(rooms: &Rooms<Socket>, to: &BroadcastOptions) -> Vec<SocketId> {
    let mut ids = Vec::new();
    rooms.select(&to.rooms, &to.except, |socket| ids.push(socket.id().clone()));
    ids
}

pub(crate) fn keyed(message: EncodedMessage, key: Option<&Arc<str>>) -> EncodedMessage {
    match key {
        Some(key) => message.with_key(Arc::clone(key)),
        None => message,
    }
}

pub(crate) fn prepared(message: EncodedMessage, to: &BroadcastOptions) -> Arc<EncodedMessage> {
    Arc::new(message.with_compress(to.flags.compress.unwrap_or(true)))
}

pub(crate) fn send(rooms: &Rooms<Socket>, message: &Arc<EncodedMessage>, to: &BroadcastOptions) {
    rooms.select(&to.rooms, &to.except, |socket| {
        if to.flags.volatile {
            socket.conn().send_volatile(Arc::clone(message));
        } else {
            socket.peer().send(Arc::clone(message));
        }
    });
}
