//! Outgoing: what is emitted to a socket, for its catch-all listeners.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Deserialize;

use super::Server;
use super::adapter::BroadcastOptions;
use super::handler::{ListenerId, Occasion, report_panic, without};
use super::handlers::{append, prepend};
use super::listeners::listed;
use super::namespace::Namespace;
use super::parent::ParentNamespace;
use super::socket::Socket;
use crate::proto::socketio::{ArgsError, EncodedPacket, Payload, RawArgs, Value};

/// An event that is emitted to a socket, alone or by a broadcast; seen by [`Socket::on_any_outgoing`] and
/// [`Namespace::on_any_outgoing`].
#[derive(Debug)]
pub struct OutgoingEvent {
    socket: Socket,
    payload: Payload,
}

impl OutgoingEvent {
    /// Gives the socket it is emitted to.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives the name.
    pub fn name(&self) -> Cow<'_, str> {
        self.payload.event_name().map(|name| name.into_text()).unwrap_or_default()
    }

    /// Reads the arguments, as [`Event::args`](super::Event::args) does.
    ///
    /// # Errors
    /// If an argument is missing or is something else than `T` says.
    pub fn args<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArgsError> {
        self.payload.args()
    }

    /// Gives all arguments unread.
    pub fn raw_args(&self) -> RawArgs {
        self.payload.raw_args()
    }

    /// Reads all arguments, whatever they are; nothing if they are nested too deep.
    pub fn values(&self) -> Vec<Value> {
        self.payload.values().unwrap_or_default()
    }
}

impl Socket {
    /// Adds a listener of what is emitted to this socket, alone or by a broadcast; not of acknowledgements. It is called
    /// by whoever emits, before the event is sent, so it must not block; also for a volatile event that is then
    /// dropped. Emitting to the same socket in it calls it again. A
    /// panic is caught, logged and counted.
    ///
    /// What it does for all sockets is better added once, by [`Namespace::on_any_outgoing`].
    ///
    /// # Example: a log
    /// ```
    /// use ferrio::{OutgoingEvent, Server, Socket};
    ///
    /// let io = Server::new();
    /// io.on_connect(async |socket: Socket| {
    ///     socket.on_any_outgoing(|event: &OutgoingEvent| println!("{} {:?}", event.name(), event.values()));
    /// });
    /// ```
    pub fn on_any_outgoing(&self, listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        self.change_outgoing(|outgoing| append(outgoing, listener));
        id
    }

    /// Adds such a listener before the others, see [`Socket::on_any_outgoing`].
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static,
    ) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        self.change_outgoing(|outgoing| prepend(outgoing, listener));
        id
    }

    /// Removes the listener of what is emitted that has this id, or with `None` all of them.
    pub fn off_any_outgoing(&self, listener: impl Into<Option<ListenerId>>) {
        let id = listener.into();
        let _dropped_unlocked = self.change_outgoing(|outgoing| without(outgoing, id, OutgoingListener::id));
    }

    fn change_outgoing<R>(&self, change: impl FnOnce(&mut Arc<[OutgoingListener]>) -> R) -> Option<R> {
        self.with_listeners(|listeners| self.home().change_counted(&mut listeners.outgoing, change))
    }
}

impl Namespace {
    /// Adds a listener of what is emitted to the sockets of the namespace, as [`Socket::on_any_outgoing`]: it is called for
    /// each socket that is addressed, before the socket's own listeners. A broadcast to many is then many calls.
    ///
    /// # Example: what is said to whom
    /// ```
    /// use ferrio::{OutgoingEvent, Server};
    ///
    /// let io = Server::new();
    /// io.of("/chat").on_any_outgoing(|event: &OutgoingEvent| {
    ///     println!("to {}: {} {:?}", event.socket().id(), event.name(), event.values());
    /// });
    /// ```
    pub fn on_any_outgoing(&self, listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        self.change_outgoing(|outgoing| append(outgoing, listener));
        id
    }

    /// Adds such a listener before the others, see [`Namespace::on_any_outgoing`].
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static,
    ) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        self.change_outgoing(|outgoing| prepend(outgoing, listener));
        id
    }

    /// Removes the listener of what is emitted that has this id, or with `None` all that the namespace has.
    pub fn off_any_outgoing(&self, listener: impl Into<Option<ListenerId>>) {
        let id = listener.into();
        let _dropped_unlocked = self.change_outgoing(|outgoing| without(outgoing, id, OutgoingListener::id));
    }

    fn change_outgoing<R>(&self, change: impl FnOnce(&mut Arc<[OutgoingListener]>) -> R) -> R {
        self.change_counted(&mut self.handlers().write().outgoing, change)
    }

    /// Changes a list of the namespace or of one of its sockets, and keeps the count of those that are not empty.
    fn change_counted<R>(
        &self,
        list: &mut Arc<[OutgoingListener]>,
        change: impl FnOnce(&mut Arc<[OutgoingListener]>) -> R,
    ) -> R {
        let before = list.is_empty();
        let changed = change(list);
        match (before, list.is_empty()) {
            (true, false) => self.count_outgoing(true),
            (false, true) => self.count_outgoing(false),
            _ => {}
        }
        changed
    }
}

impl ParentNamespace {
    /// Adds a listener of what is emitted to the children to come, see [`Namespace::on_any_outgoing`].
    pub fn on_any_outgoing(&self, listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        append(&mut self.template().write().outgoing, listener);
        id
    }

    /// Adds such a listener before the others, see [`Namespace::on_any_outgoing`].
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static,
    ) -> ListenerId {
        let listener = OutgoingListener::new(listener);
        let id = listener.id();
        prepend(&mut self.template().write().outgoing, listener);
        id
    }

    /// Takes the listener of what is emitted that has this id, or with `None` all of them, from the children to come.
    pub fn off_any_outgoing(&self, listener: impl Into<Option<ListenerId>>) {
        let id = listener.into();
        let _dropped_unlocked = without(&mut self.template().write().outgoing, id, OutgoingListener::id);
    }
}

impl Server {
    /// Adds a listener of what is emitted to the sockets of the main namespace, see [`Namespace::on_any_outgoing`].
    pub fn on_any_outgoing(&self, listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static) -> ListenerId {
        self.main.on_any_outgoing(listener)
    }

    /// Adds such a listener before the others, see [`Namespace::on_any_outgoing`].
    pub fn prepend_any_outgoing(
        &self,
        listener: impl Fn(&OutgoingEvent) + Send + Sync + 'static,
    ) -> ListenerId {
        self.main.prepend_any_outgoing(listener)
    }

    /// Removes listeners of what is emitted from the main namespace, see [`Namespace::off_any_outgoing`].
    pub fn off_any_outgoing(&self, listener: impl Into<Option<ListenerId>>) {
        self.main.off_any_outgoing(listener);
    }
}

/// A function that sees what is emitted.
#[derive(Clone)]
pub(crate) struct OutgoingListener {
    id: ListenerId,
    listen: Arc<dyn Fn(&OutgoingEvent) + Send + Sync>,
}

impl OutgoingListener {
    pub(crate) fn new(listen: impl Fn(&OutgoingEvent) + Send + Sync + 'static) -> OutgoingListener {
        OutgoingListener { id: ListenerId::next(), listen: Arc::new(listen) }
    }

    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }
}

impl fmt::Debug for OutgoingListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutgoingListener")
    }
}

impl Socket {
    /// Tells the listeners of the namespace and of the socket what is about to be emitted to it. One look where there
    /// are none. Not to be called under a lock.
    pub(crate) fn notify_outgoing(&self, packet: &EncodedPacket) {
        if self.home().has_outgoing() {
            self.tell_outgoing(&packet.payload());
        }
    }

    fn tell_outgoing(&self, payload: &Payload) {
        let own = self.read_listeners(|listeners| listed(&listeners.outgoing)).flatten();
        let lists = [self.home().outgoing_listeners(), own];
        if lists.iter().all(Option::is_none) {
            return;
        }
        let event = OutgoingEvent { socket: self.clone(), payload: payload.clone() };
        for listener in lists.iter().flatten().flat_map(|list| list.iter()) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (listener.listen)(&event))) {
                report_panic(self.peer().counters(), &Occasion::Outgoing, &*panic);
            }
        }
    }
}

impl Namespace {
    /// The same for a broadcast.
    pub(crate) fn notify_outgoing(&self, event: impl FnOnce() -> Payload, to: &BroadcastOptions) {
        if self.has_outgoing() {
            let payload = event();
            self.select(to).iter().for_each(|socket| socket.tell_outgoing(&payload));
        }
    }

    fn outgoing_listeners(&self) -> Option<Arc<[OutgoingListener]>> {
        listed(&self.handlers().read().outgoing)
    }
}
