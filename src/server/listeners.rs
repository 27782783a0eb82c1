//! Listeners: adding and removing what a socket or all sockets of a namespace listen to, beyond `on`.

use std::sync::Arc;

use super::Server;
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::handler::{
    DisconnectHandler, EventHandler, EventHandlers, EventMiddleware, EventMiddlewareOutput, HandlerOutput,
    ListenerId, RegisteredHandlers, warn_of_special_name, without,
};
use super::handlers::{append, prepend};
use super::namespace::Namespace;
use super::outgoing::OutgoingListener;
use super::parent::ParentNamespace;
use super::socket::Socket;
use super::socket_error::{ErrorObserver, SocketError};

/// What one socket listens to by itself; most listen to nothing.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) events: EventHandlers,
    pub(crate) disconnect: Vec<DisconnectHandler>,
    disconnecting: Vec<DisconnectHandler>,
    any: Arc<[EventHandler]>,
    middlewares: Arc<[EventMiddleware]>,
    pub(crate) outgoing: Arc<[OutgoingListener]>,
    errors: Arc<[ErrorObserver]>,
}

/// Who takes part in the handling of an event, of one socket or of a namespace. An empty list is none: the shared empty
/// list would be one counter for all threads.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    pub(crate) handlers: Option<RegisteredHandlers>,
    pub(crate) any: Option<Arc<[EventHandler]>>,
    pub(crate) middlewares: Option<Arc<[EventMiddleware]>>,
}

impl Incoming {
    /// Whether somebody sees the event before its handlers do.
    pub(crate) fn intercepts(&self) -> bool {
        self.any.is_some() || self.middlewares.is_some()
    }
}

pub(crate) fn listed<T>(list: &Arc<[T]>) -> Option<Arc<[T]>> {
    (!list.is_empty()).then(|| Arc::clone(list))
}

impl Socket {
    /// Adds a middleware of this socket's events: it sees each before its handlers, and gives it back, as it is or changed
    /// ([`Event::with_name`], [`Event::with_args`]). Middlewares run in the order in which they were added.
    ///
    /// If it returns an error, no handler of the event is started and nothing is sent back (a client that waits for an
    /// acknowledgement runs into its timeout); [`Socket::on_error`] and [`Namespace::on_error`] see the error. Catch-all
    /// listeners ([`Socket::on_any`]) see the event before all middlewares do. A middleware may wait; events that come
    /// meanwhile overtake it, and if the socket leaves meanwhile, no handler is started.
    ///
    /// # Example: a limit
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// use ferrio::{Event, Server, Socket};
    ///
    /// async fn limit(event: Event) -> Result<Event, String> {
    ///     let events = event.socket().extensions().get::<AtomicU32>();
    ///     match events.map(|events| events.fetch_add(1, Ordering::Relaxed)) {
    ///         Some(0..1000) => Ok(event),
    ///         _ => Err(format!("too many events, this was {:?}", event.name())),
    ///     }
    /// }
    ///
    /// let io = Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.extensions().insert(AtomicU32::new(0));
    ///     socket.use_(limit);
    /// });
    /// ```
    pub fn use_<F, Fut>(&self, middleware: F)
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: EventMiddlewareOutput> + Send + 'static,
    {
        let middleware = EventMiddleware::new(middleware);
        self.with_listeners(|listeners| append(&mut listeners.middlewares, middleware));
    }

    /// Adds a handler for the next event of this name alone, see [`Socket::on`].
    pub fn once<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::once(handler);
        let id = handler.id();
        self.with_listeners(|listeners| listeners.events.add(event, handler));
        id
    }

    /// Removes the handler of an event that [`Socket::on`] or [`Socket::once`] gave this id for, or with `None` all that
    /// this socket has for the event. Those of the namespace stay.
    ///
    /// # Example: listen for a while
    /// ```
    /// # async fn work(socket: ferrio::Socket) {
    /// let progress = socket.on("progress", async |event: ferrio::Event| println!("{:?}", event.values()));
    /// // …
    /// socket.off("progress", progress);
    /// socket.off("cancel", None);
    /// # }
    /// ```
    pub fn off(&self, event: &str, listener: impl Into<Option<ListenerId>>) {
        let _dropped_unlocked =
            self.read_listeners(|listeners| listeners.events.remove(event, listener.into()));
    }

    /// Removes a handler that is called once, for whoever then calls it.
    pub(crate) fn take_once(&self, event: &str, listener: ListenerId) -> Option<EventHandler> {
        self.read_listeners(|listeners| listeners.events.take(event, listener))?
    }

    /// Adds a catch-all listener: it sees every event of this socket, before middlewares and handlers. As it is a handler
    /// like any other, it can acknowledge; if it takes the socket out of its namespace before it first waits, no handler of
    /// the event is started. What it does for all sockets is better added once, by [`Namespace::on_any`].
    ///
    /// # Example: a log
    /// ```
    /// use ferrio::{Event, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.on_any(async |event: Event| println!("{} {:?}", event.name(), event.values()));
    /// });
    /// ```
    pub fn on_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        self.with_listeners(|listeners| append(&mut listeners.any, listener));
        id
    }

    /// Adds a catch-all listener before the others, see [`Socket::on_any`].
    pub fn prepend_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        self.with_listeners(|listeners| prepend(&mut listeners.any, listener));
        id
    }

    /// Removes the catch-all listener of this id, or with `None` all that this socket has.
    pub fn off_any(&self, listener: impl Into<Option<ListenerId>>) {
        let id = listener.into();
        let _dropped_unlocked =
            self.read_listeners(|listeners| without(&mut listeners.any, id, EventHandler::id));
    }

    /// Observes what goes wrong in the handling of this socket's packets, before [`Namespace::on_error`] does. Dropped when
    /// the socket leaves. It must not block.
    pub fn on_error(&self, observe: impl Fn(&SocketError) + Send + Sync + 'static) {
        let observer = ErrorObserver::new(observe);
        self.with_listeners(|listeners| append(&mut listeners.errors, observer));
    }

    /// Adds a handler of this socket's leaving, see [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let handler = DisconnectHandler::new(handler);
        self.with_listeners(|listeners| listeners.disconnecting.push(handler));
    }

    pub(crate) fn own_error_observers(&self) -> Option<Arc<[ErrorObserver]>> {
        self.read_listeners(|listeners| listed(&listeners.errors))?
    }

    pub(crate) fn own_incoming(&self, event: &str) -> Incoming {
        let read = |listeners: &mut Listeners| Incoming {
            handlers: listeners.events.get(event),
            any: listed(&listeners.any),
            middlewares: listed(&listeners.middlewares),
        };
        self.read_listeners(read).unwrap_or_default()
    }

    /// Whether somebody wants to know that the socket leaves while it still has its rooms.
    pub(crate) fn has_disconnecting_handlers(&self) -> bool {
        self.home().has_disconnecting_handlers()
            || self.read_listeners(|listeners| !listeners.disconnecting.is_empty()) == Some(true)
    }

    pub(crate) fn own_disconnecting_handlers(&self) -> Vec<DisconnectHandler> {
        self.read_listeners(|listeners| std::mem::take(&mut listeners.disconnecting)).unwrap_or_default()
    }

    pub(crate) fn own_disconnect_handlers(&self) -> Vec<DisconnectHandler> {
        self.read_listeners(|listeners| std::mem::take(&mut listeners.disconnect)).unwrap_or_default()
    }

    /// The socket has left: drops its listeners, which may hold it.
    pub(crate) fn drop_listeners(&self) {
        let listeners = self.read_extras(|extras| extras.listeners.take()).flatten();
        if listeners.is_some_and(|listeners| !listeners.outgoing.is_empty()) {
            self.home().count_outgoing(false);
        }
    }
}

impl Namespace {
    /// Adds a handler for the next event of this name alone, whichever socket it comes from; see [`Namespace::on`].
    pub fn once<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::once(handler);
        let id = handler.id();
        self.handlers().write().events.add(event, handler);
        id
    }

    /// Removes the handler of an event that [`Namespace::on`] or [`Namespace::once`] gave this id for, or with `None` all
    /// that the namespace has for the event.
    pub fn off(&self, event: &str, listener: impl Into<Option<ListenerId>>) {
        let _dropped_unlocked = self.handlers().write().events.remove(event, listener.into());
    }

    /// Removes a handler that is called once, for whoever then calls it.
    pub(crate) fn take_once(&self, event: &str, listener: ListenerId) -> Option<EventHandler> {
        self.handlers().write().events.take(event, listener)
    }

    /// Adds a catch-all listener: it sees every event of every socket, before the sockets' own catch-all listeners
    /// ([`Socket::on_any`]), middlewares and handlers.
    pub fn on_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        append(&mut self.handlers().write().any, listener);
        id
    }

    /// Adds a catch-all listener before the others, see [`Namespace::on_any`].
    pub fn prepend_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        prepend(&mut self.handlers().write().any, listener);
        id
    }

    /// Removes the catch-all listener of this id, or with `None` all that the namespace has.
    pub fn off_any(&self, listener: impl Into<Option<ListenerId>>) {
        let _dropped_unlocked = without(&mut self.handlers().write().any, listener.into(), EventHandler::id);
    }

    /// Adds a handler of sockets that are about to leave the namespace: as [`Namespace::on_disconnect`], but before that,
    /// and while the socket is still in its rooms, up to where the handler first waits. The socket is not connected any
    /// more ([`Socket::is_connected`]): it hears no broadcast and joins nothing.
    ///
    /// # Example: tell the rooms
    /// ```
    /// use ferrio::{DisconnectReason, EmitError, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.of("/").on_disconnecting(async |socket: Socket, _: DisconnectReason| {
    ///     socket.to(socket.rooms()).emit("left", socket.id())
    /// });
    /// ```
    pub fn on_disconnecting<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.handlers().write().disconnecting, DisconnectHandler::new(handler));
    }

    /// Observes what goes wrong in the handling of packets: handlers that fail or panic, middlewares of sockets that refuse
    /// an event, packets that cannot be decoded, middlewares of the namespace that panic. For logs and metrics; it must not
    /// block. Errors of handlers and panics are logged and counted whether or not somebody observes; refusals of
    /// middlewares are logged when nobody does.
    ///
    /// # Example: a line for each
    /// ```
    /// use std::error::Error;
    ///
    /// use ferrio::{Server, SocketError};
    ///
    /// let io = Server::new();
    /// io.of("/").on_error(|error: &SocketError| {
    ///     eprintln!("{}: {error}: {:?}", error.socket().id(), error.source());
    /// });
    /// ```
    pub fn on_error(&self, observe: impl Fn(&SocketError) + Send + Sync + 'static) {
        append(&mut self.handlers().write().errors, ErrorObserver::new(observe));
    }
}

impl ParentNamespace {
    /// Adds a handler for the next event of this name alone to the children to come, see [`Namespace::once`]: each child
    /// calls it once.
    pub fn once<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        warn_of_special_name(event);
        let handler = EventHandler::once(handler);
        let id = handler.id();
        self.template().write().events.add(event, handler);
        id
    }

    /// Takes the handler of an event that [`ParentNamespace::on`] or [`ParentNamespace::once`] gave this id for, or with
    /// `None` all of the event, from the children to come. Children that have it keep it, as on Node.
    ///
    /// # Example: from all
    /// ```
    /// use ferrio::{Event, Server};
    ///
    /// let tenants = Server::new().of_pattern("^/tenant-[0-9]+$")?;
    /// let id = tenants.on("trial", async |_: Event| {});
    /// tenants.off("trial", id);
    /// for tenant in tenants.children() {
    ///     tenant.off("trial", id);
    /// }
    /// # Ok::<_, ferrio::ConfigError>(())
    /// ```
    pub fn off(&self, event: &str, listener: impl Into<Option<ListenerId>>) {
        let _dropped_unlocked = self.template().write().events.remove(event, listener.into());
    }

    /// Adds a catch-all listener to the children to come, see [`Namespace::on_any`]. The id is for
    /// [`ParentNamespace::off_any`], and for [`Namespace::off_any`] of a child.
    pub fn on_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        append(&mut self.template().write().any, listener);
        id
    }

    /// Adds a catch-all listener before the others to the children to come, see [`Namespace::on_any`].
    pub fn prepend_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let listener = EventHandler::new(listener);
        let id = listener.id();
        prepend(&mut self.template().write().any, listener);
        id
    }

    /// Takes the catch-all listener of this id, or with `None` all of them, from the children to come.
    pub fn off_any(&self, listener: impl Into<Option<ListenerId>>) {
        let _dropped_unlocked = without(&mut self.template().write().any, listener.into(), EventHandler::id);
    }

    /// Adds a handler of sockets about to leave to the children to come, see [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        append(&mut self.template().write().disconnecting, DisconnectHandler::new(handler));
    }

    /// Adds an observer of errors to the children to come, see [`Namespace::on_error`].
    pub fn on_error(&self, observe: impl Fn(&SocketError) + Send + Sync + 'static) {
        append(&mut self.template().write().errors, ErrorObserver::new(observe));
    }
}

impl Server {
    /// Adds a handler for the next event of this name to the main namespace, see [`Namespace::once`].
    pub fn once<F, Fut>(&self, event: &str, handler: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.once(event, handler)
    }

    /// Removes handlers of an event from the main namespace, see [`Namespace::off`].
    pub fn off(&self, event: &str, listener: impl Into<Option<ListenerId>>) {
        self.main.off(event, listener);
    }

    /// Adds a catch-all listener to the main namespace, see [`Namespace::on_any`].
    pub fn on_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_any(listener)
    }

    /// Adds a catch-all listener to the main namespace before the others, see [`Namespace::on_any`].
    pub fn prepend_any<F, Fut>(&self, listener: F) -> ListenerId
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.prepend_any(listener)
    }

    /// Removes catch-all listeners from the main namespace, see [`Namespace::off_any`].
    pub fn off_any(&self, listener: impl Into<Option<ListenerId>>) {
        self.main.off_any(listener);
    }

    /// Adds a handler of sockets about to leave to the main namespace, see [`Namespace::on_disconnecting`].
    pub fn on_disconnecting<F, Fut>(&self, handler: F)
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        self.main.on_disconnecting(handler);
    }

    /// Observes what goes wrong in the main namespace, see [`Namespace::on_error`].
    pub fn on_error(&self, observe: impl Fn(&SocketError) + Send + Sync + 'static) {
        self.main.on_error(observe);
    }
}
