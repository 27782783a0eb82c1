//! Event: what a client sent, for a handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::Server;
use super::handler::{EventMiddleware, RegisteredHandlers};
use super::listeners::Incoming;
use super::socket::{EmitError, Socket};
use crate::proto::socketio::{ArgsError, Packet, Payload, RawArgs, Value};

/// An event that a client sent: its name, its arguments, and the way to acknowledge it.
///
/// # Example: reading arguments, answering
/// ```
/// use ferrio::{Event, HandlerError, Server};
///
/// async fn add(event: Event) -> Result<(), HandlerError> {
///     let (a, b): (f64, f64) = event.args()?;
///     event.ack(&(a + b))?;
///     Ok(())
/// }
///
/// Server::new().on("add", add);
/// ```
///
/// # What is an argument
/// A tuple, and an array `[T; N]`, which to serde is one, is the argument list; `()` is no argument; anything else is one
/// argument, a slice or a `Vec` too. It is so in [`Event::args`] and [`Event::ack`], in [`Socket::emit`] and in what
/// acknowledgements are read as.
///
/// # Binary
/// What JavaScript sends as `Buffer`, `ArrayBuffer`, typed array or `Blob` is read as `bytes::Bytes` or a type of
/// `serde_bytes` (`#[serde(with = "serde_bytes")]` on a field), at any depth. These read a text, too, as its UTF-8
/// bytes, and a list of numbers. A `Vec<u8>` is a list of numbers and nothing else: binary is refused with `invalid type:
/// byte array, expected a sequence`.
///
/// ```
/// use bytes::Bytes;
/// use ferrio::{Event, HandlerError};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Picture {
///     name: String,
///     pixels: Bytes,
/// }
///
/// async fn upload(event: Event) -> Result<(), HandlerError> {
///     let picture: Picture = event.args()?;
///     println!("{}: {} bytes", picture.name, picture.pixels.len());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Event {
    socket: Socket,
    name: Arc<str>,
    payload: Payload,
    ack: Option<PendingAnswer>,
}

/// The acknowledgement that the client waits for.
#[derive(Debug)]
struct PendingAnswer {
    id: u64,
    sent: Sent,
    /// The peer counts it as one that is owed.
    counts: AtomicBool,
}

impl PendingAnswer {
    fn new(socket: &Socket, id: u64, sent: Sent) -> PendingAnswer {
        socket.peer().count_unanswered();
        PendingAnswer { id, sent, counts: AtomicBool::new(true) }
    }
}

/// "only the first call sends"
#[derive(Debug)]
enum Sent {
    /// One handler has the event.
    Alone(AtomicBool),
    Shared(Arc<AtomicBool>),
}

impl Sent {
    /// Says whether this is the first call.
    fn claim(&self) -> bool {
        let sent = match self {
            Sent::Alone(sent) => sent,
            Sent::Shared(sent) => sent,
        };
        !sent.swap(true, Ordering::SeqCst)
    }

    /// Another way to send the same acknowledgement.
    fn share(&mut self) -> Sent {
        let sent = match self {
            Sent::Shared(sent) => Arc::clone(sent),
            // A handler had it alone, and a middleware has brought it back.
            Sent::Alone(sent) => Arc::new(AtomicBool::new(*sent.get_mut())),
        };
        *self = Sent::Shared(Arc::clone(&sent));
        Sent::Shared(sent)
    }
}

impl Event {
    /// Starts the handlers of an event: the namespace's, then the socket's own.
    pub(crate) fn dispatch(socket: &Socket, packet: Packet) {
        let counters = socket.peer().counters();
        let Some(payload) = packet.data else { return counters.unhandled_events.increment() };
        let Some(name) = payload.event_name() else { return counters.unhandled_events.increment() };
        let name = name.into_text();
        let lists = [socket.home().incoming(&name), socket.own_incoming(&name)];
        if lists.iter().any(Incoming::intercepts) {
            let ack = packet.id.map(|id| PendingAnswer::new(socket, id, Sent::Shared(Arc::default())));
            let event = Event { socket: socket.clone(), name: name.into(), payload, ack };
            return event.intercept(lists);
        }
        let [of_namespace, own] = lists.map(|list| list.handlers);
        let count: usize = of_namespace.iter().chain(&own).map(|list| list.handlers.len()).sum();
        if count == 0 {
            tracing::debug!(event = %name, namespace = socket.home().name(), "no handler is registered for an event");
            return counters.unhandled_events.increment();
        }
        drop(name);
        let shared: Option<Arc<AtomicBool>> = (count > 1).then(Arc::default);
        let sent = || shared.clone().map_or_else(|| Sent::Alone(AtomicBool::new(false)), Sent::Shared);
        Event::start_all(socket, of_namespace.as_ref(), own.as_ref(), |name| Event {
            socket: socket.clone(),
            name: Arc::clone(name),
            payload: payload.clone(),
            ack: packet.id.map(|id| PendingAnswer::new(socket, id, sent())),
        });
    }

    /// Starts catch-all listeners, then middlewares, then handlers: "onAny runs before use".
    fn intercept(mut self, lists: [Incoming; 2]) {
        let [of_namespace, own] = lists;
        for listener in [of_namespace.any, own.any].iter().flatten().flat_map(|list| list.iter()) {
            listener.start(self.share());
        }
        match own.middlewares {
            Some(middlewares) => EventMiddleware::start_all(middlewares, self),
            None => self.start_handlers(),
        }
    }

    /// Starts the handlers of what a middleware may have renamed, unless the socket has left meanwhile.
    pub(crate) fn start_handlers(mut self) {
        if !self.socket.is_connected() {
            return;
        }
        let of_namespace = self.socket.home().incoming(&self.name).handlers;
        let own = self.socket.own_incoming(&self.name).handlers;
        if of_namespace.is_none() && own.is_none() {
            return self.socket.peer().counters().unhandled_events.increment();
        }
        let socket = self.socket.clone();
        Event::start_all(&socket, of_namespace.as_ref(), own.as_ref(), |_| self.share());
    }

    /// Starts each handler with an event of its own; those that are called once are then forgotten.
    fn start_all(
        socket: &Socket,
        of_namespace: Option<&RegisteredHandlers>,
        own: Option<&RegisteredHandlers>,
        mut event: impl FnMut(&Arc<str>) -> Event,
    ) {
        let of_namespace = of_namespace.map(|list| (list, false));
        for (list, is_own) in of_namespace.into_iter().chain(own.map(|list| (list, true))) {
            for handler in &*list.handlers {
                // Of one that is called once, others may have seen the list, too.
                let is_free = match handler.is_once().then_some(is_own) {
                    Some(true) => socket.take_once(&list.name, handler.id()).is_some(),
                    Some(false) => socket.home().take_once(&list.name, handler.id()).is_some(),
                    None => true,
                };
                if is_free {
                    handler.start(event(&list.name));
                }
            }
        }
    }

    /// The same event for another handler.
    fn share(&mut self) -> Event {
        let ack = self.ack.as_mut().map(|ack| PendingAnswer::new(&self.socket, ack.id, ack.sent.share()));
        Event {
            socket: self.socket.clone(),
            name: Arc::clone(&self.name),
            payload: self.payload.clone(),
            ack,
        }
    }

    /// Gives the event another name, for a middleware ([`Socket::use_`]); the arguments stay.
    ///
    /// # Errors
    /// If the name is reserved.
    pub fn with_name(mut self, name: &str) -> Result<Event, EmitError> {
        self.payload = Payload::event(name, &self.payload.raw_args())?;
        self.name = name.into();
        Ok(self)
    }

    /// Gives the event other arguments, for a middleware ([`Socket::use_`]); they are those of [`Socket::emit`].
    ///
    /// # Errors
    /// If they cannot be serialized.
    pub fn with_args<T: Serialize + ?Sized>(mut self, args: &T) -> Result<Event, EmitError> {
        self.payload = Payload::event(&self.name, args)?;
        Ok(self)
    }

    /// Gives the socket the event came from.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives the server, for what is in other namespaces; see [`Socket::server`].
    pub fn server(&self) -> Option<Server> {
        self.socket.server()
    }

    /// Gives the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the arguments: a tuple as many as it has elements, `()` none, any other type the first one.
    ///
    /// A missing argument is `None` for an `Option`, surplus arguments are ignored. An array `[T; N]` counts as a tuple,
    /// and binary is read as `bytes::Bytes`, not as `Vec<u8>`: see [`Event`].
    ///
    /// # Errors
    /// If an argument is missing or is something else than `T` says.
    pub fn args<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArgsError> {
        self.payload.args()
    }

    /// Gives all arguments unread, to be passed on.
    pub fn raw_args(&self) -> RawArgs {
        self.payload.raw_args()
    }

    /// Reads all arguments, whatever they are.
    pub fn values(&self) -> Vec<Value> {
        // What a client sent is never nested too deep: the decoder has seen to that.
        self.payload.values().unwrap_or_default()
    }

    /// Whether the client waits for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// Acknowledges the event; the arguments are those of [`Socket::emit`]. Only the first call sends, as on Node: where
    /// the client waits for no acknowledgement, or this or another handler has answered, it does nothing.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        let Some(ack) = &self.ack else { return Ok(()) };
        let packet = self.socket.home().encode_ack(ack.id, args)?;
        if ack.sent.claim() {
            self.socket.home().send_in_order(&self.socket, Arc::new(packet.message));
        }
        self.settle();
        Ok(())
    }

    /// Nothing more is owed to the client by whoever has this event.
    fn settle(&self) {
        if self.ack.as_ref().is_some_and(|ack| ack.counts.swap(false, Ordering::SeqCst)) {
            self.socket.peer().forget_unanswered();
        }
    }

    /// Gives the application's state, set by [`ServerBuilder::state`](super::ServerBuilder::state).
    ///
    /// # Panics
    /// If no state of this type was set.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.socket.state()
    }

    /// What the arguments take in memory.
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.memory()
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.settle();
    }
}
