//! EventType: an event that is declared once, its name with the types of its payload and of its acknowledgement.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Server;
use super::ack::AckFuture;
use super::broadcast::BroadcastOperator;
use super::broadcast_ack::BroadcastAcks;
use super::event::Event;
use super::handler::HandlerOutput;
use super::namespace::Namespace;
use super::parent::{ParentBroadcastOperator, ParentNamespace};
use super::remote_socket::{RemoteSocket, RemoteSocketWithTimeout};
use super::socket::{EmitError, Socket};
use super::socket_operator::SocketOperator;
use crate::proto::socketio::RESERVED_EVENTS;

/// An event as both sides of the application know it: a name, what it carries, and what it is acknowledged with. Declared
/// once as a constant, it is emitted to anything ([`EventType::emit`]) and handled anywhere ([`EventType::on`]), and the
/// compiler sees that all agree. On the wire it is an event as any other: plain strings can be used beside it.
///
/// `A` is what [`Event::args`] reads and [`Socket::emit`] writes: a tuple is the argument list, `()` is no argument,
/// anything else is one argument. `R` is the same for the acknowledgement; without it there is none ([`NoAck`]). What is
/// emitted is an `&A`, or what is written in the same way without a copy: see [`SerializeAs`].
///
/// # Example: declared once, used on both sides
/// ```
/// use ferrio::{EventType, HandlerError, Server};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Started {
///     job: String,
///     workers: u32,
/// }
///
/// const STARTED: EventType<Started> = EventType::new("started");
/// const ADD: EventType<(f64, f64), f64> = EventType::new("add");
/// const MOVED: EventType<(String, u32)> = EventType::new("moved");
///
/// let io = Server::new();
/// ADD.on(&io, async |event, (a, b)| event.ack(a + b));
/// STARTED.on(&io, async |event, started| {
///     STARTED.emit(&event.socket().broadcast(), &started)?;
///     Ok::<_, HandlerError>(())
/// });
/// STARTED.emit(&io.to("jobs"), &Started { job: "crawl".to_owned(), workers: 4 })?;
/// MOVED.emit(&io, ("crawl", 5))?;
/// # Ok::<_, HandlerError>(())
/// ```
///
/// # Example: what does not fit does not compile
/// ```compile_fail
/// # use ferrio::{EventType, Server};
/// const MOVED: EventType<(String, u32)> = EventType::new("moved");
/// MOVED.emit(&Server::new(), ("crawl", "5"));
/// ```
pub struct EventType<A, R = NoAck> {
    name: &'static str,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> EventType<A, R> {
    /// Declares an event. In a constant, a reserved name (`connect`, `disconnect` and the like) does not compile.
    ///
    /// # Panics
    /// If the name is reserved, where this is called at run time.
    pub const fn new(name: &'static str) -> EventType<A, R> {
        let mut reserved = 0;
        while reserved < RESERVED_EVENTS.len() {
            assert!(!is_same(name, RESERVED_EVENTS[reserved]), "Socket.IO keeps this event name for itself");
            reserved += 1;
        }
        EventType { name, types: PhantomData }
    }

    /// Gives the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Emits the event to whoever `to` stands for: a server or a namespace, some of its sockets
    /// (`&io.to("room").volatile()`), one socket, or a server from its client in a test.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is given by value need not be what was declared: `SerializeAs`"
    )]
    pub fn emit<B: SerializeAs<A>>(&self, to: &impl Emitter, args: B) -> Result<(), EmitError> {
        to.emit(self.name, &args)
    }

    /// Adds a handler of the event to a server, a namespace, all children of a parent, or one socket. It is called with
    /// the event and with its arguments, read; otherwise it is as one of [`Namespace::on`].
    ///
    /// If the arguments are not what was declared, the handler is not called: it counts as failed, with the reason in the
    /// log, as if it had begun with `event.args()?`.
    ///
    /// # Example: a function as handler
    /// ```
    /// use ferrio::{EmitError, EventType, Server, TypedEvent};
    ///
    /// const JOIN: EventType<String, usize> = EventType::new("join");
    ///
    /// async fn join(event: TypedEvent<usize>, room: String) -> Result<(), EmitError> {
    ///     event.socket().join(&room);
    ///     event.ack(event.socket().rooms().len())
    /// }
    ///
    /// JOIN.on(&Server::new().of("/chat"), join);
    /// ```
    pub fn on<F, Fut>(&self, at: &impl Listener, handler: F)
    where
        A: DeserializeOwned + 'static,
        R: 'static,
        F: Fn(TypedEvent<R>, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static,
    {
        at.on(self.name, move |event| {
            let args = event.args();
            let pending = args.map(|args| handler(TypedEvent { event, ack: PhantomData }, args));
            async move { pending?.await.into_result() }
        });
    }
}

impl<A, R: DeserializeOwned> EventType<A, R> {
    /// Emits the event and waits for the acknowledgement of `to`, or of all that it stands for: an [`AckFuture`] or
    /// [`BroadcastAcks`], as of the `emit_with_ack` of `to` itself. With a timeout: `&socket.timeout(…)`.
    ///
    /// Of an acknowledgement to many only the first argument counts, as on Node: where an event is asked of one as well
    /// as of many, `R` is better a struct than a tuple.
    ///
    /// # Example: one is asked
    /// ```
    /// use std::time::Duration;
    ///
    /// use ferrio::{AckError, EventType, Socket};
    ///
    /// const LOAD: EventType<(), f64> = EventType::new("load");
    ///
    /// async fn is_busy(socket: &Socket) -> Result<bool, AckError> {
    ///     let load = LOAD.emit_with_ack(&socket.timeout(Duration::from_secs(1)), ()).await?;
    ///     Ok(load > 0.9)
    /// }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is given by value need not be what was declared: `SerializeAs`"
    )]
    pub fn emit_with_ack<E, B>(&self, to: &E, args: B) -> E::Answer<R>
    where
        E: AckEmitter,
        B: SerializeAs<A>,
    {
        to.emit_with_ack(self.name, &args)
    }
}

impl<A, R> Clone for EventType<A, R> {
    fn clone(&self) -> EventType<A, R> {
        *self
    }
}

impl<A, R> Copy for EventType<A, R> {}

impl<A, R> fmt::Debug for EventType<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventType").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An [`Event`] whose acknowledgement has a type; made for handlers by [`EventType::on`]. In all else it is the event.
#[derive(Debug)]
pub struct TypedEvent<R = NoAck> {
    event: Event,
    ack: PhantomData<fn(R)>,
}

impl<R> TypedEvent<R> {
    /// Acknowledges the event, as [`Event::ack`], with what was declared and nothing else.
    ///
    /// # Errors
    /// If `answer` cannot be serialized.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is given by value need not be what was declared: `SerializeAs`"
    )]
    pub fn ack<B: SerializeAs<R>>(&self, answer: B) -> Result<(), EmitError> {
        self.event.ack(&answer)
    }
}

impl<R> Deref for TypedEvent<R> {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

/// The acknowledgement of an [`EventType`] that has none: there is no such value. Where only the arrival counts, declare
/// `()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAck {}

/// What can be given where `A` was declared, because it is written as an `A` is:
///
/// - a reference to it, `&A`, whatever type it is;
/// - a `&str` for a `String`, a `&[T]` for a `Vec<T>`;
/// - numbers, `bool`, `char`, `()`, `String` and `Bytes` themselves;
/// - tuples (of up to twelve), options and vectors whose elements are such: `("crawl", 4, &settings)` for
///   `(String, u32, Settings)`. (For an option that is none whatever its type, `&None`.)
///
/// A type of one's own that borrows what `A` owns says so by an empty implementation. So may one that is passed by value;
/// otherwise it is given by reference.
///
/// # Example: emitting without a copy
/// ```
/// use ferrio::{EventType, SerializeAs, Server};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, Serialize)]
/// struct Said {
///     text: String,
/// }
///
/// #[derive(Serialize)]
/// struct SaidRef<'a> {
///     text: &'a str,
/// }
///
/// impl SerializeAs<Said> for SaidRef<'_> {}
///
/// const SAID: EventType<Said> = EventType::new("said");
/// const SAID_IN: EventType<(String, Said)> = EventType::new("said in");
/// let io = Server::new();
/// SAID.emit(&io, SaidRef { text: "hello" })?;
/// SAID.emit(&io, &Said { text: "hello".to_owned() })?;
/// SAID_IN.emit(&io, ("lobby", SaidRef { text: "hello" }))?;
/// # Ok::<_, ferrio::EmitError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the event was declared with `{A}`, for which a `{Self}` cannot be given",
    label = "`{A}` was declared: `&{A}` fits",
    note = "numbers, texts and bytes fit by value, and tuples, options and vectors of what fits; a `&str` fits a `String`, a \
            slice a `Vec`; a type of your own that is written in the same way says so by `impl SerializeAs<{A}> for …`"
)]
pub trait SerializeAs<A>: Serialize {}

impl<A: Serialize> SerializeAs<A> for &A {}

impl SerializeAs<String> for &str {}

/// (An array is a tuple to serde: several arguments. It is not written as a `Vec` is.)
impl<T: Serialize> SerializeAs<Vec<T>> for &[T] {}

impl<A, B: SerializeAs<A>> SerializeAs<Option<A>> for Option<B> {}

impl<A, B: SerializeAs<A>> SerializeAs<Vec<A>> for Vec<B> {}

// Not for all types: a tuple would be itself and a tuple of its elements, and the compiler could not choose.
macro_rules! by_value {
    ($($name:ty),*) => {$(
        // A mistake is not to be answered with a list of numbers.
        #[diagnostic::do_not_recommend]
        impl SerializeAs<$name> for $name {}
    )*};
}

by_value!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    String,
    Bytes
);

macro_rules! tuples {
    ($(($($given:ident: $declared:ident),+))*) => {$(
        impl<$($declared, $given: SerializeAs<$declared>),+> SerializeAs<($($declared,)+)> for ($($given,)+) {}
    )*};
}

tuples! {
    (B0: A0)
    (B0: A0, B1: A1)
    (B0: A0, B1: A1, B2: A2)
    (B0: A0, B1: A1, B2: A2, B3: A3)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6, B7: A7)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6, B7: A7, B8: A8)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6, B7: A7, B8: A8, B9: A9)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6, B7: A7, B8: A8, B9: A9, B10: A10)
    (B0: A0, B1: A1, B2: A2, B3: A3, B4: A4, B5: A5, B6: A6, B7: A7, B8: A8, B9: A9, B10: A10, B11: A11)
}

/// Whatever events can be emitted to: [`Server`], [`Namespace`], [`ParentNamespace`], the operators that they make,
/// [`Socket`], [`RemoteSocket`], and the client of a test.
pub trait Emitter: Sealed {
    /// Emits an event, as the method of the same name of the type.
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError>;
}

/// Whoever can be asked for acknowledgements: all [`Emitter`]s but those of several namespaces, and the sockets with
/// timeouts.
pub trait AckEmitter: Sealed {
    /// What is awaited: the answer of one, or the answers of many.
    type Answer<R: DeserializeOwned>;

    /// Emits an event and waits, as the method of the same name of the type.
    fn emit_with_ack<R: DeserializeOwned>(
        &self,
        event: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Self::Answer<R>;
}

/// Where handlers of events can be added: [`Server`], [`Namespace`], [`ParentNamespace`], [`Socket`].
pub trait Listener: Sealed {
    /// Adds a handler, as the method of the same name of the type.
    fn on<F, Fut>(&self, event: &str, handler: F)
    where
        F: Fn(Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: HandlerOutput> + Send + 'static;
}

pub(crate) mod sealed {
    /// Only this crate says what can be emitted to, so that another method is no breaking change.
    pub trait Sealed {}
}

use sealed::Sealed;

macro_rules! sealed {
    ($($name:ident),*) => { $(impl Sealed for $name {})* };
}

sealed!(
    BroadcastOperator,
    Namespace,
    ParentBroadcastOperator,
    ParentNamespace,
    RemoteSocket,
    RemoteSocketWithTimeout,
    Server,
    Socket,
    SocketOperator
);

macro_rules! emitters {
    ($($name:ident),*) => {$(
        impl Emitter for $name {
            fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
                $name::emit(self, event, args)
            }
        }
    )*};
}

emitters!(
    BroadcastOperator,
    Namespace,
    ParentBroadcastOperator,
    ParentNamespace,
    RemoteSocket,
    Server,
    Socket,
    SocketOperator
);

macro_rules! ack_emitters {
    ($($name:ident: $answer:ident),*) => {$(
        impl AckEmitter for $name {
            type Answer<R: DeserializeOwned> = $answer<R>;

            fn emit_with_ack<R: DeserializeOwned>(
                &self,
                event: &str,
                args: &(impl Serialize + ?Sized),
            ) -> $answer<R> {
                $name::emit_with_ack(self, event, args)
            }
        }
    )*};
}

ack_emitters!(
    BroadcastOperator: BroadcastAcks,
    Namespace: BroadcastAcks,
    RemoteSocket: AckFuture,
    RemoteSocketWithTimeout: AckFuture,
    Server: BroadcastAcks,
    Socket: AckFuture,
    SocketOperator: AckFuture
);

macro_rules! listeners {
    ($($name:ident),*) => {$(
        impl Listener for $name {
            fn on<F, Fut>(&self, event: &str, handler: F)
            where
                F: Fn(Event) -> Fut + Send + Sync + 'static,
                Fut: Future<Output: HandlerOutput> + Send + 'static,
            {
                $name::on(self, event, handler);
            }
        }
    )*};
}

listeners!(Namespace, ParentNamespace, Server, Socket);

/// `==` for constants.
const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_refused() {
        for name in RESERVED_EVENTS {
            std::panic::catch_unwind(|| EventType::<()>::new(name)).unwrap_err();
        }
        for name in ["", "connec", "connection", "Connect", "connect "] {
            assert_eq!(EventType::<()>::new(name).name(), name);
        }
    }
}
