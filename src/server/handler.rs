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
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::connect_error::ConnectError;
use super::disconnect::DisconnectReason;
use super::event::Event;
use super::hub::Shared;
use super::peer::Peer;
use super::server_side::ServerSideEvent;
use super::socket::Socket;
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
pub(crate) struct EventHandler(Arc<dyn Fn(Event) -> HandlerFuture + Send + Sync>);

impl EventHandler {
    pub(crate) fn new<F, Fut>(handler: F) -> EventHandler
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        EventHandler(Arc::new(move |event| Box::pin(handler(event).map(HandlerOutput::into_result))))
    }

    pub(crate) fn start(&self, event: Event) {
        let (peer, name) = (event.socket().peer().clone(), event.shared_name().clone());
        let bytes = event.payload_len();
        start_holding(&peer, Occasion::Event(name), bytes, || (self.0)(event));
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
        start(socket.peer(), Occasion::Connect, || (self.0)(socket.clone()));
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
        start(socket.peer(), Occasion::Disconnect, || (self.0)(socket.clone(), reason));
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
        let Some(pending) = begin(&shared.counters, &occasion, || (self.0)(event)) else { return };
        tokio::spawn(async move { finish(&shared.counters, &occasion, pending).await });
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
        let peer = socket.peer().clone();
        let run = async move {
            for middleware in middlewares.iter() {
                (middleware.0)(socket.clone()).await?;
            }
            Ok(())
        };
        Box::pin(AssertUnwindSafe(run).catch_unwind().map(move |outcome| {
            outcome.unwrap_or_else(|panic| {
                report_panic(peer.counters(), &Occasion::Middleware, &*panic);
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
        "disconnect" | "disconnecting" => {
            Some("no client can send this event; sockets that leave are handled by `on_disconnect`")
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

    pub(crate) fn get(&self, event: &str) -> Option<RegisteredHandlers> {
        let (name, handlers) = self.0.get_key_value(event)?;
        Some(RegisteredHandlers { name: Arc::clone(name), handlers: Arc::clone(handlers) })
    }
}

/// What a handler was called for.
#[derive(Clone, Debug)]
pub(crate) enum Occasion {
    Connect,
    Disconnect,
    Event(Arc<str>),
    Lag,
    Middleware,
    RoomEvent,
    ServerSide(Arc<str>),
    NewNamespace,
    Predicate,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Occasion::Connect => f.write_str("connect"),
            Occasion::Disconnect => f.write_str("disconnect"),
            Occasion::Event(name) => write!(f, "event {name:?}"),
            Occasion::Lag => f.write_str("lag"),
            Occasion::Middleware => f.write_str("middleware"),
            Occasion::RoomEvent => f.write_str("room event"),
            Occasion::ServerSide(name) => write!(f, "server-side event {name:?}"),
            Occasion::NewNamespace => f.write_str("new namespace"),
            Occasion::Predicate => f.write_str("predicate of namespaces"),
        }
    }
}

/// Calls a handler and polls its future once; what is pending then becomes a task.
///
/// The first poll has a waker that does nothing: the task polls again at once, so no wake-up is lost, and the
/// connection's task is not woken for handlers.
pub(crate) fn start(peer: &Arc<Peer>, occasion: Occasion, call: impl FnOnce() -> HandlerFuture) {
    start_holding(peer, occasion, 0, call);
}

/// The same for a handler that keeps so many bytes of what the client sent.
fn start_holding(peer: &Arc<Peer>, occasion: Occasion, bytes: usize, call: impl FnOnce() -> HandlerFuture) {
    if let Some(pending) = begin(peer.counters(), &occasion, call) {
        spawn(peer, occasion, bytes, pending);
    }
}

/// Gives the future if it has to wait.
fn begin(
    counters: &Counters,
    occasion: &Occasion,
    call: impl FnOnce() -> HandlerFuture,
) -> Option<HandlerFuture> {
    let first = catch_unwind(AssertUnwindSafe(|| {
        let mut future = call();
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => Err(future),
        }
    }));
    match first {
        Ok(Ok(outcome)) => report(counters, occasion, outcome),
        Ok(Err(pending)) => return Some(pending),
        Err(panic) => report_panic(counters, occasion, &*panic),
    }
    None
}

/// The task outlives its connection if it must, as an async listener on Node does; the runtime ends it.
fn spawn(peer: &Arc<Peer>, occasion: Occasion, bytes: usize, pending: HandlerFuture) {
    let waiting = peer.count_waiting_handler(bytes);
    tokio::spawn(async move { finish(waiting.peer().counters(), &occasion, pending).await });
}

async fn finish(counters: &Counters, occasion: &Occasion, pending: HandlerFuture) {
    match AssertUnwindSafe(pending).catch_unwind().await {
        Ok(outcome) => report(counters, occasion, outcome),
        Err(panic) => report_panic(counters, occasion, &*panic),
    }
}

fn report(counters: &Counters, occasion: &Occasion, outcome: Result<(), HandlerError>) {
    let Err(error) = outcome else { return };
    counters.handler_errors.increment();
    // The error is the application's, and how it is written, too.
    match catch_unwind(AssertUnwindSafe(|| with_causes(&*error))) {
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

pub(crate) fn report_panic(counters: &Counters, occasion: &Occasion, panic: &(dyn Any + Send)) {
    counters.handler_panics.increment();
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    warn_limited!(counters, handler = %occasion, panic = text, "handler panicked");
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

opaque_debug!(ConnectHandler, DisconnectHandler, EventHandler, Middleware, ServerSideHandler);

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
            assert!(special_name(name).unwrap().contains("`on_disconnect`"));
        }
        assert!(RESERVED_EVENTS.iter().all(|name| special_name(name).is_some()));
        assert_eq!(special_name("message"), None);
    }
}
