//! KeptEvent: what this server emits, and what waits behind it, until the adapter knows its place among the events of all.
//!
//! ```text
//!  emit ─▶ Waiting ─▶ Adapter::broadcast_kept(KeptEvent) ─▶ other servers
//!             ▲            └─ its place is known ─▶ KeptEvent::deliver ─▶ own sockets, with an offset
//!             │            └─ it will not be, or too late ───────────────▶ own sockets, without one
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
use super::shared_recovery::SharedStore;
use super::socket::Socket;
use crate::proto::EncodedMessage;
use crate::proto::socketio::Payload;

/// An event of this server that its [`Adapter`](super::Adapter) keeps, on its way to this server's own sockets. They are
/// sent it once: when [`KeptEvent::deliver`] says its place, or, without an offset, when it has waited for too long
/// ([`KeptEvent::deliver_late`]), is dropped, or holds up more than 64 MiB of what is to follow it.
///
/// A client that got it without an offset cannot say so: if it is lost and comes back before it got a later event with one,
/// what it missed begins with the last offset that it has, and the event may come again.
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
    /// What all that is behind events takes, about.
    bytes_behind: usize,
}

/// What some sockets hear after an event.
struct Behind {
    sockets: Vec<Socket>,
    message: Arc<EncodedMessage>,
    bytes: usize,
}

/// What became of a message that is to follow an event.
pub(crate) enum PutBehind {
    /// It waits.
    Fits,
    /// It waits, and with it so much that [`Namespace::deliver_early`] has to be called.
    IsTooMuch,
}

impl Behind {
    fn new(sockets: Vec<Socket>, message: &Arc<EncodedMessage>) -> Behind {
        let bytes = message.weight() + sockets.len() * size_of::<Socket>();
        Behind { sockets, message: Arc::clone(message), bytes }
    }

    fn send(&self) {
        for socket in self.sockets.iter().filter(|socket| socket.is_connected()) {
            socket.peer().send(Arc::clone(&self.message));
        }
    }
}

impl KeptEvent {
    /// Puts an event among those that wait. `plain` is its form without an offset, if it is there already.
    pub(crate) fn begin(
        namespace: &Namespace,
        store: &SharedStore,
        event: Payload,
        to: &BroadcastOptions,
        key: Option<&Arc<str>>,
        plain: Option<Arc<EncodedMessage>>,
    ) -> KeptEvent {
        store.count_waiting();
        let mut tail = store.lock();
        let waiting = tail.waiting();
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
        let Some(behind) = tail.waiting().take(self.event.number) else {
            // It has been delivered: too much was behind it.
            return tail.settle_early();
        };
        if let Some(message) = message {
            match place {
                Place::Here(_, position) => tail.note(*position, &message, &mut to),
                Place::Elsewhere(position) => tail.note_late(*position, &message, &mut to),
                Place::Unknown => tail.note_unknown(),
            }
            // Under the lock of the tail: everybody hears in its order.
            send(&rooms, &message, &to);
        }
        behind.iter().for_each(Behind::send);
        store.count_sent(1);
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
    /// Ends the waiting of an event; gives what may be sent after it, or `None` if it does not wait. If others that were emitted before it still wait (two
    /// threads that emit at the same time may give events to the adapter in another order), what is behind it waits for
    /// them, too.
    fn take(&mut self, number: u64) -> Option<Vec<Behind>> {
        let index = self.events.iter().position(|(event, _)| event.number == number)?;
        let (_, behind) = self.events.remove(index)?;
        let Some((_, earlier)) = index.checked_sub(1).and_then(|index| self.events.get_mut(index)) else {
            self.bytes_behind -= behind.iter().map(|behind| behind.bytes).sum::<usize>();
            return Some(behind);
        };
        earlier.extend(behind);
        Some(Vec::new())
    }

    /// What a message takes that was put behind an event.
    fn count_behind(&mut self, bytes: usize) -> PutBehind {
        self.bytes_behind += bytes;
        if self.bytes_behind > MAX_BYTES_BEHIND { PutBehind::IsTooMuch } else { PutBehind::Fits }
    }

    /// Puts a message for one socket behind the last event that it is to hear; `None`: there is none, and the message may
    /// be sent.
    pub(crate) fn put_behind(
        &mut self,
        rooms: &Rooms<Socket>,
        socket: &Socket,
        message: &Arc<EncodedMessage>,
    ) -> Option<PutBehind> {
        let concerns = |(event, behind): &&mut (Arc<Emitted>, Vec<Behind>)| {
            event.is_for(rooms, socket) || behind.iter().any(|behind| behind.sockets.contains(socket))
        };
        let (_, behind) = self.events.iter_mut().rev().find(concerns)?;
        let last = Behind::new(vec![socket.clone()], message);
        let bytes = last.bytes;
        behind.push(last);
        Some(self.count_behind(bytes))
    }

    /// Puts a message for several sockets behind all events; `None`: there are none, and the message may be sent.
    pub(crate) fn put_behind_all(
        &mut self,
        rooms: &Rooms<Socket>,
        message: &Arc<EncodedMessage>,
        to: &BroadcastOptions,
    ) -> Option<PutBehind> {
        let (_, behind) = self.events.back_mut()?;
        let mut sockets = Vec::new();
        rooms.select(&to.rooms, &to.except, |socket| sockets.push(socket.clone()));
        let last = Behind::new(sockets, message);
        let bytes = last.bytes;
        behind.push(last);
        Some(self.count_behind(bytes))
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
            for Behind { sockets, message, .. } in behind {
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
        let put = self.shared_store().filter(|store| store.has_waiting()).and_then(|store| {
            let rooms = self.rooms().read();
            store.lock().waiting().put_behind(&rooms, socket, &message)
        });
        match put {
            None => socket.peer().send(message),
            Some(PutBehind::Fits) => {}
            Some(PutBehind::IsTooMuch) => self.deliver_early(),
        }
    }

    /// Delivers all that waits, without offsets, because too much is behind it. (So the order stays, and the memory is
    /// free; who comes back meanwhile is new.) Called under no lock.
    pub(crate) fn deliver_early(&self) {
        let Some(store) = self.shared_store() else { return };
        self.prepare_farewells();
        let rooms = self.rooms().read();
        let mut tail = store.lock();
        let waiting = tail.waiting();
        if waiting.bytes_behind <= MAX_BYTES_BEHIND {
            // Another thread has done it.
            return;
        }
        waiting.bytes_behind = 0;
        let events = std::mem::take(&mut waiting.events);
        for (event, behind) in &events {
            tail.note_early();
            // Encoded above, or in the default form: no code of the application's runs here.
            if let Some(message) = event.plain(self) {
                send(&rooms, &message, &event.to);
            }
            behind.iter().for_each(Behind::send);
        }
        store.count_sent(events.len());
        // What may be the last handle of a socket is dropped under no lock.
        drop((tail, rooms));
        let (namespace, count) = (self.name(), events.len());
        tracing::warn!(namespace, count, "events are delivered without offsets: too much waits behind them");
        drop(events);
    }

    /// Whether a socket is still to hear what was emitted before this time, or an acknowledgement. (Where somebody always
    /// emits, something always waits.)
    pub(crate) fn has_waiting_for(&self, socket: &Socket, emitted_before: Instant) -> bool {
        let Some(store) = self.shared_store().filter(|store| store.has_waiting()) else { return false };
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
        self.shared_store().is_some_and(|store| {
            let waits = !store.lock().waiting().events.is_empty();
            assert_eq!(waits, store.has_waiting());
            waits
        })
    }

    /// Encodes what waits, for sockets that will leave before it is delivered. Called under no lock.
    pub(crate) fn prepare_farewells(&self) {
        let Some(store) = self.shared_store().filter(|store| store.has_waiting()) else { return };
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

/// What may be behind the events of a namespace: what was emitted within moments.
const MAX_BYTES_BEHIND: usize = 64 * 1024 * 1024;
