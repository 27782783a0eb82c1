//! KeptEvent: what this server emits, and what waits behind it, until the adapter knows its place among the events of all.
//!
//! ```text
//!  emit ─▶ Waiting ─▶ Adapter::broadcast_kept(KeptEvent) ─▶ other servers
//!             ▲            └─ its place is known ─▶ KeptEvent::deliver ─▶ own sockets, with an offset
//!             │            └─ it will not be, or too late ─ ─────────────▶ own sockets, without one
//!             └─ acknowledgements, events that ask for one: behind the events that are for the same socket
//! ```
//!
//! So what one task emits to a socket arrives in the order of the calls. A socket that is sent away does not wait: it hears
//! what waits for it before it is told.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::adapter::{BroadcastOptions, Position};
use super::namespace::{Namespace, WeakNamespace, keyed, prepared, send};
use super::rooms::Rooms;
use super::socket::Socket;
use crate::proto::EncodedMessage;
use crate::proto::socketio::Payload;

/// An event of this server that its [`Adapter`](super::Adapter) keeps, on its way to this server's own sockets. They hear
/// it exactly once: when [`KeptEvent::deliver`] says its place, or, without an offset, when it has waited for too long
/// ([`KeptEvent::deliver_late`]) or is dropped.
#[must_use = "dropped, it is delivered without an offset"]
pub struct KeptEvent {
    /// Until it is delivered.
    namespace: Option<WeakNamespace>,
    event: Arc<Emitted>,
}

/// What was emitted.
pub(crate) struct Emitted {
    /// Counted in the namespace.
    number: u64,
    event: Payload,
    to: BroadcastOptions,
    key: Option<Arc<str>>,
    emitted: Instant,
    /// Encoded without an offset, when that is needed.
    plain: OnceLock<Option<Arc<EncodedMessage>>>,
}

/// What waits in a namespace, in the order of the emits.
#[derive(Default)]
pub(crate) struct Waiting {
    events: VecDeque<(Arc<Emitted>, Vec<Behind>)>,
    next: u64,
}

/// What some sockets hear after an event.
struct Behind {
    sockets: Vec<Socket>,
    message: Arc<EncodedMessage>,
}

impl KeptEvent {
    /// Puts an event among those that wait. `plain` is its form without an offset, if it is there already.
    pub(crate) fn begin(
        namespace: &Namespace,
        waiting: &mut Waiting,
        event: Payload,
        to: &BroadcastOptions,
        key: Option<&Arc<str>>,
        plain: Option<Arc<EncodedMessage>>,
    ) -> KeptEvent {
        let (number, to, key) = (waiting.next, to.clone(), key.cloned());
        waiting.next += 1;
        let (emitted, plain) = (Instant::now(), plain.map_or_else(OnceLock::new, |plain| Some(plain).into()));
        let event = Arc::new(Emitted { number, event, to, key, emitted, plain });
        waiting.events.push_back((Arc::clone(&event), Vec::new()));
        KeptEvent { namespace: Some(namespace.downgrade()), event }
    }

    /// Gives the event to the sockets of this server that are meant; `offset` is added as its last argument. Called in the
    /// order of positions, together with [`LocalNode::broadcast_at`](super::LocalNode::broadcast_at).
    pub fn deliver(mut self, offset: &str, position: Position) {
        self.deliver_as(&Place::Here(offset, position));
    }

    /// Gives the event, which has this position, to them before what comes before it; so without an offset.
    pub fn deliver_late(mut self, position: Position) {
        self.deliver_as(&Place::Elsewhere(position));
    }

    fn deliver_as(&mut self, place: &Place<'_>) {
        let Some(namespace) = self.namespace.take().and_then(|namespace| namespace.upgrade()) else { return };
        let Some(store) = namespace.shared_store() else { return };
        let message = match place {
            Place::Here(offset, _) => {
                let event = self.event.event.with_text_argument(offset).ok();
                event.and_then(|event| self.event.encode(&namespace, &event))
            }
            Place::Elsewhere(_) | Place::Unknown => self.event.plain(&namespace),
        };
        let mut to = self.event.to.clone();
        let rooms = namespace.rooms().read();
        let mut tail = store.lock();
        let behind = tail.waiting().take(self.event.number);
        if let Some(message) = message {
            match place {
                Place::Here(_, position) => tail.note(*position, &message, &mut to),
                Place::Elsewhere(position) => tail.note_late(*position, &message, &mut to),
                Place::Unknown => tail.note_unknown(),
            }
            // Under the lock of the tail: everybody hears in its order.
            send(&rooms, &message, &to);
        }
        for Behind { sockets, message } in &behind {
            for socket in sockets.iter().filter(|socket| socket.is_connected()) {
                socket.peer().send(Arc::clone(message));
            }
        }
        // What may be the last handle of a socket is dropped under no lock.
        drop((tail, rooms));
        drop(behind);
    }
}

impl Drop for KeptEvent {
    fn drop(&mut self) {
        self.deliver_as(&Place::Unknown);
    }
}

/// Where an event is among those of all servers.
enum Place<'a> {
    /// It is its turn.
    Here(&'a str, Position),
    /// Others that come before it are still to be delivered.
    Elsewhere(Position),
    /// Perhaps nowhere.
    Unknown,
}

impl Emitted {
    fn plain(&self, namespace: &Namespace) -> Option<Arc<EncodedMessage>> {
        self.plain.get_or_init(|| self.encode(namespace, &self.event)).clone()
    }

    /// Called under no lock.
    fn encode(&self, namespace: &Namespace, event: &Payload) -> Option<Arc<EncodedMessage>> {
        let message = namespace.encode_or_log(event);
        message.map(|message| prepared(keyed(message, self.key.as_ref()), &self.to))
    }

    fn is_for(&self, rooms: &Rooms<Socket>, socket: &Socket) -> bool {
        let is_in = |room: &super::Room| rooms.is_in(socket.id(), room.as_str());
        (self.to.rooms.is_empty() || self.to.rooms.iter().any(is_in)) && !self.to.except.iter().any(is_in)
    }
}

impl Waiting {
    /// Ends the waiting of an event; gives what may be sent after it. If others that were emitted before it still wait (two
    /// threads that emit at the same time may give events to the adapter in another order), what is behind it waits for
    /// them, too.
    fn take(&mut self, number: u64) -> Vec<Behind> {
        let Some(index) = self.events.iter().position(|(event, _)| event.number == number) else {
            return Vec::new();
        };
        let behind = self.events.remove(index).map(|(_, behind)| behind).unwrap_or_default();
        let Some((_, earlier)) = index.checked_sub(1).and_then(|index| self.events.get_mut(index)) else {
            return behind;
        };
        earlier.extend(behind);
        Vec::new()
    }

    /// Puts a message for one socket behind the last event that it is to hear; `false`: there is none, and the message
    /// may be sent.
    pub(crate) fn put_behind(
        &mut self,
        rooms: &Rooms<Socket>,
        socket: &Socket,
        message: &Arc<EncodedMessage>,
    ) -> bool {
        let concerns = |(event, behind): &&mut (Arc<Emitted>, Vec<Behind>)| {
            event.is_for(rooms, socket) || behind.iter().any(|behind| behind.sockets.contains(socket))
        };
        let Some((_, behind)) = self.events.iter_mut().rev().find(concerns) else { return false };
        behind.push(Behind { sockets: vec![socket.clone()], message: Arc::clone(message) });
        true
    }

    /// Puts a message for several sockets behind all events; `false`: there are none, and the message may be sent.
    pub(crate) fn put_behind_all(
        &mut self,
        rooms: &Rooms<Socket>,
        message: &Arc<EncodedMessage>,
        to: &BroadcastOptions,
    ) -> bool {
        let Some((_, behind)) = self.events.back_mut() else { return false };
        let mut sockets = Vec::new();
        rooms.select(&to.rooms, &to.except, |socket| sockets.push(socket.clone()));
        behind.push(Behind { sockets, message: Arc::clone(message) });
        true
    }

    /// Sends a socket that is about to leave what it has not heard yet; called with the rooms' lock, while the socket still
    /// is in its rooms. Of the events, those that [`Namespace::prepare_farewells`] has encoded.
    pub(crate) fn hurry(&mut self, rooms: &Rooms<Socket>, socket: &Socket) {
        for (event, behind) in &mut self.events {
            if let Some(Some(message)) = event.plain.get()
                && event.is_for(rooms, socket)
            {
                socket.peer().send(Arc::clone(message));
            }
            for Behind { sockets, message } in behind {
                if let Some(index) = sockets.iter().position(|other| other == socket) {
                    sockets.remove(index);
                    socket.peer().send(Arc::clone(message));
                }
            }
        }
    }
}

impl Namespace {
    /// Sends a socket a message, after the events that it was emitted before. Called under no lock.
    pub(crate) fn send_in_order(&self, socket: &Socket, message: Arc<EncodedMessage>) {
        if let Some(store) = self.shared_store() {
            let rooms = self.rooms().read();
            if store.lock().waiting().put_behind(&rooms, socket, &message) {
                return;
            }
        }
        socket.peer().send(message);
    }

    /// Whether a socket is still to hear what was emitted before this time, or an acknowledgement. (Where somebody always
    /// emits, something always waits.)
    pub(crate) fn has_waiting_for(&self, socket: &Socket, emitted_before: Instant) -> bool {
        let Some(store) = self.shared_store() else { return false };
        let rooms = self.rooms().read();
        let mut tail = store.lock();
        let is_for_it = |(event, behind): &(Arc<Emitted>, Vec<Behind>)| {
            let is_old = event.emitted < emitted_before;
            let is_behind = |behind: &Behind| match &*behind.sockets {
                [alone] => alone == socket,
                several => is_old && several.contains(socket),
            };
            (is_old && event.is_for(&rooms, socket)) || behind.iter().any(is_behind)
        };
        tail.waiting().events.iter().any(is_for_it)
    }

    /// Whether events wait for their places.
    #[cfg(test)]
    pub(crate) fn has_waiting_events(&self) -> bool {
        self.shared_store().is_some_and(|store| !store.lock().waiting().events.is_empty())
    }

    /// Encodes what waits, for sockets that will leave before it is delivered. Called under no lock.
    pub(crate) fn prepare_farewells(&self) {
        let Some(store) = self.shared_store() else { return };
        let waiting: Vec<_> =
            store.lock().waiting().events.iter().map(|(event, _)| Arc::clone(event)).collect();
        for event in waiting {
            let _ = event.plain(self);
        }
    }
}

impl fmt::Debug for KeptEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptEvent").field("to", &self.event.to).finish_non_exhaustive()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("events", &self.events.len()).finish_non_exhaustive()
    }
}
