//! Outgoing: what is emitted to a socket, for its catch-all listeners.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Deserialize;

use super::adapter::BroadcastOptions;
use super::handler::{ListenerId, Occasion, report_panic};
use super::namespace::Namespace;
use super::socket::Socket;
use crate::proto::socketio::{ArgsError, EncodedPacket, Payload, RawArgs, Value};

/// An event that is emitted to a socket, alone or by a broadcast; seen by [`Socket::on_any_outgoing`].
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
    /// Tells the listeners of the socket what is about to be emitted to it. One look where no socket of the namespace
    /// has any. Not to be called under a lock.
    pub(crate) fn notify_outgoing(&self, packet: &EncodedPacket) {
        if self.home().has_outgoing() {
            self.tell_outgoing(&packet.payload());
        }
    }

    fn tell_outgoing(&self, payload: &Payload) {
        let Some(listeners) = self.outgoing_listeners() else { return };
        let event = OutgoingEvent { socket: self.clone(), payload: payload.clone() };
        for listener in &*listeners {
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
}
