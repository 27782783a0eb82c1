//! Handlers: the user's async functions, erased once when they are registered; started in place, spawned only if
//! they have to wait.
//!
//! A handler's future is polled once where the packet is handled, so that the handlers of one connection start in
//! the order in which their packets came. Most are then done and cost no task. Only a future that is pending becomes
//! a task of its own; a bounded number of these per connection, see [`Peer`].

use std::any::Any;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connect_error::ConnectError;
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::hub::Shared;
use super::server_side::ServerSideEvent;
use super::socket::Socket;
use super::socket_error::{SocketError, SocketErrorCause};
use super::stats::{Counters, warn_limited};
use crate::proto::socketio::RESERVED_EVENTS;

/// What went wrong in a handler: whatever its author chose. Every error type converts into it by `?`.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// What a handler may return: nothing, or a `Result<(), E>` whose error is logged and counted.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "this handler returns `{Self}`",
    note = "a handler returns nothing, or `Result<(), E>` where `E` is an error type (or `Box<dyn Error + Send + \
            Sync>`): end it with `;` or with `Ok(())`",
    note = "a body that only panics (`panic!()`) returns `!`: write the type, `async |_: Event| -> Result<(), \
            HandlerError> {{ panic!() }}`"
)]
pub trait HandlerOutput {
    /// Gives the outcome.
    ///
    /// # Errors
    /// Whatever the handler returned.
    fn into_result(self) -> Result<(), HandlerError>;
}

impl HandlerOutput for () {
    fn into_result(self) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl<E: Into<HandlerError>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), HandlerError> {
        self.map_err(Into::into)
    }
}

/// What a middleware returns: `Result<(), E>`, where `E` becomes the [`ConnectError`] that refuses the client.
#[diagnostic::on_unimplemented(
    message = "a middleware cannot return `{Self}`",
    label = "this middleware returns `{Self}`",
    note = "a middleware returns `Result<(), ConnectError>` (or an error that converts into one, e.g. `&str`): `Ok(())` \
            lets the client in"
)]
pub trait MiddlewareOutput {
    /// Gives the decision.
    ///
    /// # Errors
    /// The refusal.
    fn into_result(self) -> Result<(), ConnectError>;
}

impl<E: Into<ConnectError>> MiddlewareOutput for Result<(), E> {
    fn into_result(self) -> Result<(), ConnectError> {
        self.map_err(Into::into)
    }
}

pub(crate) type HandlerFuture = BoxFuture<'static, Result<(), HandlerError>>;

/// A handler of an event.
#[derive(Clone)]
pub(crate) struct EventHandler {
    id: ListenerId,
    /// Whoever calls it takes it out of its list, and only who has found it there.
    once: bool,
    call: Arc<dyn Fn(Event) -> HandlerFuture + Send + Sync>,
}

/// Names a listener that was added, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    pub(crate) fn next() -> ListenerId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ListenerId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl EventHandler {
    pub(crate) fn new<F, Fut>(handler: F) -> EventHandler
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        let call = move |event| -> HandlerFuture { Box::pin(handler(event).map(HandlerOutput::into_result)) };
        EventHandler { id: ListenerId::next(), once: false, call: Arc::new(call) }
    }

    /// One that is called for one event alone.
    pub(crate) fn once<F, Fut>(handler: F) -> EventHandler
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        EventHandler { once: true, ..EventHandler::new(handler) }
    }

    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }

    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    pub(crate) fn start(&self, event: Event) {
        let (socket, name) = (event.socket().clone(), event.shared_name().clone());
        let bytes = event.payload_len();
        start_holding(&socket, Occasion::Event(name), bytes, || (self.call)(event));
    }
}

/// What a middleware of a socket returns: `Result<Event, E>`, the event for its handlers or why there is none.
#[diagnostic::on_unimplemented(
    message = "a middleware of a socket cannot return `{Self}`",
    label = "this middleware returns `{Self}`",
    note = "it returns `Result<Event, E>` where `E` is an error type: `Ok(event)` goes on to the handlers"
)]
pub trait EventMiddlewareOutput {
    /// Gives the event.
    ///
    /// # Errors
    /// Why its handlers are not started.
    fn into_event(self) -> Result<Event, HandlerError>;
}

impl<E: Into<HandlerError>> EventMiddlewareOutput for Result<Event, E> {
    fn into_event(self) -> Result<Event, HandlerError> {
        self.map_err(Into::into)
    }
}

/// A function that sees the events of a socket before their handlers.
#[derive(Clone)]
pub(crate) struct EventMiddleware(
    Arc<dyn Fn(Event) -> BoxFuture<'static, Result<Event, HandlerError>> + Send + Sync>,
);

impl EventMiddleware {
    pub(crate) fn new<F, Fut>(middleware: F) -> EventMiddleware
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: EventMiddlewareOutput> + Send + 'static,
    {
        EventMiddleware(Arc::new(move |event| {
            Box::pin(middleware(event).map(EventMiddlewareOutput::into_event))
        }))
    }

    /// Runs `middlewares` one after the other, then the handlers of what comes out.
    pub(crate) fn start_all(middlewares: Arc<[EventMiddleware]>, event: Event) {
        let (socket, name) = (event.socket().clone(), event.shared_name().clone());
        let bytes = event.payload_len();
        start_holding(&socket, Occasion::EventMiddleware(name), bytes, || {
            Box::pin(async move {
                let mut event = event;
                for middleware in middlewares.iter() {
                    event = (middleware.0)(event).await?;
                }
                event.start_handlers();
                Ok(())
            })
        });
    }
}

/// A handler of a new socket.
#[derive(Clone)]
pub(crate) struct ConnectHandler(Arc<dyn Fn(Socket) -> HandlerFuture + Send + Sync>);

impl ConnectHandler {
    pub(crate) fn new<F, Fut>(handler: F) -> ConnectHandler
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        ConnectHandler(Arc::new(move |socket| Box::pin(handler(socket).map(HandlerOutput::into_result))))
    }

    pub(crate) fn start(&self, socket: &Socket) {
        start(socket, Occasion::Connect, || (self.0)(socket.clone()));
    }
}

/// A handler of a socket that left.
#[derive(Clone)]
pub(crate) struct DisconnectHandler(Arc<dyn Fn(Socket, DisconnectReason) -> HandlerFuture + Send + Sync>);

impl DisconnectHandler {
    pub(crate) fn new<F, Fut>(handler: F) -> DisconnectHandler
    where
        F: Fn(Socket, DisconnectReason) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        DisconnectHandler(Arc::new(move |socket, reason| {
            Box::pin(handler(socket, reason).map(HandlerOutput::into_result))
        }))
    }

    pub(crate) fn start(&self, socket: &Socket, reason: DisconnectReason) {
        start(socket, Occasion::Disconnect, || (self.0)(socket.clone(), reason));
    }
}

/// A handler of what another server emitted.
#[derive(Clone)]
pub(crate) struct ServerSideHandler(Arc<dyn Fn(ServerSideEvent) -> HandlerFuture + Send + Sync>);

impl ServerSideHandler {
    pub(crate) fn new<F, Fut>(handler: F) -> ServerSideHandler
    where
        F: Fn(ServerSideEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        ServerSideHandler(Arc::new(move |event| Box::pin(handler(event).map(HandlerOutput::into_result))))
    }

    /// As for the handlers of a connection, but other servers are trusted: what waits is not bounded.
    pub(crate) fn start(&self, event: ServerSideEvent) {
        let shared: Arc<Shared> = Arc::clone(event.namespace().shared());
        let occasion = Occasion::ServerSide(Arc::clone(event.shared_name()));
        match begin(|| (self.0)(event)) {
            Begun::Ended(outcome) => report_server_side(&shared.counters, &occasion, outcome),
            Begun::Waits(pending) => drop(tokio::spawn(async move {
                let outcome = AssertUnwindSafe(pending).catch_unwind().await;
                report_server_side(&shared.counters, &occasion, outcome);
            })),
        }
    }
}

/// A function that decides whether a socket may connect.
#[derive(Clone)]
pub(crate) struct Middleware(
    Arc<dyn Fn(Socket) -> BoxFuture<'static, Result<(), ConnectError>> + Send + Sync>,
);

impl Middleware {
    pub(crate) fn new<F, Fut>(middleware: F) -> Middleware
    where
        F: Fn(Socket) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: MiddlewareOutput> + Send + 'static,
    {
        Middleware(Arc::new(move |socket| Box::pin(middleware(socket).map(MiddlewareOutput::into_result))))
    }

    /// Runs `middlewares` one after the other until one refuses. A panic refuses too: whoever could not be checked
    /// does not get in.
    pub(crate) fn run_all(
        middlewares: Arc<[Middleware]>,
        socket: Socket,
    ) -> BoxFuture<'static, Result<(), ConnectError>> {
        let checked = socket.clone();
        let run = async move {
            for middleware in middlewares.iter() {
                (middleware.0)(checked.clone()).await?;
            }
            Ok(())
        };
        Box::pin(AssertUnwindSafe(run).catch_unwind().map(move |outcome| {
            outcome.unwrap_or_else(|panic| {
                report_handler_panic(&socket, &Occasion::Middleware, &*panic);
                Err(ConnectError::internal())
            })
        }))
    }
}

/// Event handlers by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventHandlers(HashMap<Arc<str>, Arc<[EventHandler]>>);

/// The handlers of one event, and its name.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredHandlers {
    pub(crate) name: Arc<str>,
    pub(crate) handlers: Arc<[EventHandler]>,
}

/// Says in the log that a handler is not called when its author may think.
pub(crate) fn warn_of_special_name(event: &str) {
    if let Some(what) = special_name(event) {
        tracing::warn!(event, "{what}");
    }
}

/// What is special about the names that Node's servers listen to themselves.
fn special_name(event: &str) -> Option<&'static str> {
    match event {
        "connect" => Some("no client can send this event; new sockets are handled by `on_connect`"),
        "connection" => {
            Some("this handles an event that clients send; new sockets are handled by `on_connect`")
        }
        "disconnect" => {
            Some("no client can send this event; sockets that have left are handled by `on_disconnect`")
        }
        "disconnecting" => {
            Some("no client can send this event; sockets that leave are handled by `on_disconnecting`")
        }
        _ if RESERVED_EVENTS.contains(&event) => Some("no client can send this event: its name is reserved"),
        _ => None,
    }
}

impl EventHandlers {
    pub(crate) fn add(&mut self, event: &str, handler: EventHandler) {
        let handlers = self.0.entry(event.into()).or_default();
        *handlers = handlers.iter().cloned().chain([handler]).collect();
    }

    /// Removes one handler of an event or all, and gives those that were there, to be dropped under no lock.
    pub(crate) fn remove(&mut self, event: &str, id: Option<ListenerId>) -> Option<Arc<[EventHandler]>> {
        let handlers = self.0.get_mut(event)?;
        let before = without(handlers, id, EventHandler::id);
        if handlers.is_empty() {
            self.0.remove(event);
        }
        Some(before)
    }

    /// Removes one handler and gives it, to the first who asks.
    pub(crate) fn take(&mut self, event: &str, id: ListenerId) -> Option<EventHandler> {
        self.remove(event, Some(id))?.iter().find(|handler| handler.id == id).cloned()
    }

    pub(crate) fn get(&self, event: &str) -> Option<RegisteredHandlers> {
        let (name, handlers) = self.0.get_key_value(event)?;
        Some(RegisteredHandlers { name: Arc::clone(name), handlers: Arc::clone(handlers) })
    }
}

/// Removes the listener of this id, or all; gives the list as it was, to be dropped under no lock.
pub(crate) fn without<T: Clone>(
    list: &mut Arc<[T]>,
    id: Option<ListenerId>,
    id_of: impl Fn(&T) -> ListenerId,
) -> Arc<[T]> {
    let kept = list.iter().filter(|listener| id.is_some_and(|id| id_of(listener) != id)).cloned().collect();
    std::mem::replace(list, kept)
}

/// What a handler was called for.
#[derive(Clone, Debug)]
pub(crate) enum Occasion {
    Connect,
    Disconnect,
    Event(Arc<str>),
    EventMiddleware(Arc<str>),
    Lag,
    Middleware,
    RoomEvent,
    ServerSide(Arc<str>),
    NewNamespace,
    Observer,
    Outgoing,
    Predicate,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occasion::Connect => f.write_str("connect"),
            Occasion::Disconnect => f.write_str("disconnect"),
            Occasion::Event(name) => write!(f, "event {name:?}"),
            Occasion::EventMiddleware(name) => write!(f, "middleware of event {name:?}"),
            Occasion::Lag => f.write_str("lag"),
            Occasion::Middleware => f.write_str("middleware"),
            Occasion::RoomEvent => f.write_str("room event"),
            Occasion::ServerSide(name) => write!(f, "server-side event {name:?}"),
            Occasion::NewNamespace => f.write_str("new namespace"),
            Occasion::Observer => f.write_str("observer of errors"),
            Occasion::Outgoing => f.write_str("listener of what is emitted"),
            Occasion::Predicate => f.write_str("predicate of namespaces"),
        }
    }
}

impl Occasion {
    fn event(&self) -> Option<Arc<str>> {
        match self {
            Occasion::Event(name) | Occasion::EventMiddleware(name) => Some(Arc::clone(name)),
            _ => None,
        }
    }
}

/// Calls a handler and polls its future once; what is pending then becomes a task.
///
/// The first poll has a waker that does nothing: the task polls again at once, so no wake-up is lost, and the
/// connection's task is not woken for handlers.
pub(crate) fn start(socket: &Socket, occasion: Occasion, call: impl FnOnce() -> HandlerFuture) {
    start_holding(socket, occasion, 0, call);
}

/// The same for a handler that keeps so many bytes of what the client sent.
fn start_holding(socket: &Socket, occasion: Occasion, bytes: usize, call: impl FnOnce() -> HandlerFuture) {
    match begin(call) {
        Begun::Ended(outcome) => report(socket, &occasion, outcome),
        Begun::Waits(pending) => spawn(socket.clone(), occasion, bytes, pending),
    }
}

/// What came of the first poll.
enum Begun {
    Ended(Outcome),
    Waits(HandlerFuture),
}

/// What a handler returned, or its panic.
type Outcome = Result<Result<(), HandlerError>, Box<dyn Any + Send>>;

fn begin(call: impl FnOnce() -> HandlerFuture) -> Begun {
    let first = catch_unwind(AssertUnwindSafe(|| {
        let mut future = call();
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => Err(future),
        }
    }));
    match first {
        Ok(Ok(outcome)) => Begun::Ended(Ok(outcome)),
        Ok(Err(pending)) => Begun::Waits(pending),
        Err(panic) => Begun::Ended(Err(panic)),
    }
}

/// The task outlives its connection if it must, as an async listener on Node does; the runtime ends it.
fn spawn(socket: Socket, occasion: Occasion, bytes: usize, pending: HandlerFuture) {
    let waiting = socket.peer().count_waiting_handler(bytes);
    tokio::spawn(async move {
        let outcome = AssertUnwindSafe(pending).catch_unwind().await;
        report(&socket, &occasion, outcome);
        drop(waiting);
    });
}

fn report(socket: &Socket, occasion: &Occasion, outcome: Outcome) {
    let error = match outcome {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(panic) => return report_handler_panic(socket, occasion, &*panic),
    };
    let counters = socket.peer().counters();
    if let Occasion::EventMiddleware(_) = occasion {
        counters.events_refused.increment();
        let error = SocketError::new(socket, occasion.event(), SocketErrorCause::Middleware(error));
        if !error.observed() {
            log_error(counters, occasion, &error);
        }
        return;
    }
    counters.handler_errors.increment();
    log_error(counters, occasion, &*error);
    SocketError::new(socket, occasion.event(), SocketErrorCause::Handler(error)).observed();
}

/// Of an event that has no socket.
fn report_server_side(counters: &Counters, occasion: &Occasion, outcome: Outcome) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            counters.handler_errors.increment();
            log_error(counters, occasion, &*error);
        }
        Err(panic) => report_panic(counters, occasion, &*panic),
    }
}

/// The error is the application's, and how it is written, too.
fn log_error(counters: &Counters, occasion: &Occasion, error: &(dyn Error + 'static)) {
    match catch_unwind(AssertUnwindSafe(|| with_causes(error))) {
        Ok(error) => warn_limited!(counters, handler = %occasion, error, "handler failed"),
        Err(panic) => report_panic(counters, occasion, &*panic),
    }
}

/// The error, and what it says is its cause, and so on.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn report_handler_panic(socket: &Socket, occasion: &Occasion, panic: &(dyn Any + Send)) {
    report_panic(socket.peer().counters(), occasion, panic);
    let cause = SocketErrorCause::Panic(panic_message(panic).to_owned());
    SocketError::new(socket, occasion.event(), cause).observed();
}

pub(crate) fn report_panic(counters: &Counters, occasion: &Occasion, panic: &(dyn Any + Send)) {
    counters.handler_panics.increment();
    warn_limited!(counters, handler = %occasion, panic = panic_message(panic), "handler panicked");
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

pub(crate) fn report_observer_panic(counters: &Counters, panic: &(dyn Any + Send)) {
    report_panic(counters, &Occasion::RoomEvent, panic);
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}

opaque_debug!(
    ConnectHandler,
    DisconnectHandler,
    EventHandler,
    EventMiddleware,
    Middleware,
    ServerSideHandler
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::socketio::Payload;
    use crate::server::AckError;

    #[test]
    fn an_error_is_written_with_its_causes() {
        let reason = Payload::ack(&("x",)).unwrap().args::<u8>().unwrap_err();
        let error: HandlerError = AckError::Args(reason).into();
        assert_eq!(
            with_causes(&*error),
            "the acknowledgement is something else than was asked for: argument 0: invalid type: string \"x\", expected u8"
        );
        let error: HandlerError = "plain".into();
        assert_eq!(with_causes(&*error), "plain");
    }

    #[test]
    fn names_that_mean_something_else_on_node_are_explained() {
        for name in ["connect", "connection"] {
            assert!(special_name(name).unwrap().contains("`on_connect`"));
        }
        for name in ["disconnect", "disconnecting"] {
            assert!(special_name(name).unwrap().contains(&format!("`on_{name}`")));
        }
        assert!(RESERVED_EVENTS.iter().all(|name| special_name(name).is_some()));
        assert_eq!(special_name("message"), None);
    }
}
