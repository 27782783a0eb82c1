//! Event: what a client sent, for a handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

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
#[derive(Debug)]
pub struct Event {
    socket: Socket,
    name: Arc<str>,
    payload: Payload,
    ack: Option<PendingAnswer>,
}

/// The acknowledgement that the client waits for.
#[derive(Clone, Debug)]
struct PendingAnswer {
    id: u64,
    /// Where several handlers have the event: "only the first call sends".
    sent: Option<Arc<AtomicBool>>,
}

impl Event {
    /// Starts the handlers of an event: the namespace's, then the socket's own.
    pub(crate) fn dispatch(socket: &Socket, packet: Packet) {
        let counters = socket.peer().counters();
        let Some(payload) = packet.data else { return counters.unhandled_events.increment() };
        let Some(name) = payload.event_name() else { return counters.unhandled_events.increment() };
        let name = name.into_text();
        let lists = [socket.home().event_handlers(&name), socket.own_handlers(&name)];
        let count: usize = lists.iter().flatten().map(|list| list.handlers.len()).sum();
        if count == 0 {
            return counters.unhandled_events.increment();
        }
        drop(name);
        let sent = (count > 1).then(Arc::default);
        let ack = packet.id.map(|id| PendingAnswer { id, sent });
        for list in lists.iter().flatten() {
            for handler in &*list.handlers {
                handler.start(Event {
                    socket: socket.clone(),
                    name: Arc::clone(&list.name),
                    payload: payload.clone(),
                    ack: ack.clone(),
                });
            }
        }
    }

    /// Gives the socket the event came from.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the arguments: a tuple as many as it has elements, `()` none, any other type the first one.
    ///
    /// A missing argument is `None` for an `Option`, surplus arguments are ignored.
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

    /// Acknowledges the event; the arguments are those of [`Socket::emit`]. Where the client waits for no acknowledgement,
    /// or another handler has answered, this does nothing.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(self, args: &T) -> Result<(), EmitError> {
        let Some(ack) = &self.ack else { return Ok(()) };
        let packet = self.socket.home().encode_ack(ack.id, args)?;
        if ack.sent.as_ref().is_some_and(|sent| sent.swap(true, Ordering::SeqCst)) {
            return Ok(());
        }
        self.socket.peer().send(Arc::new(packet.message));
        Ok(())
    }

    /// Gives the application's state, set by [`ServerBuilder::state`](super::ServerBuilder::state).
    ///
    /// # Panics
    /// If no state of this type was set.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.socket.state()
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }
}
