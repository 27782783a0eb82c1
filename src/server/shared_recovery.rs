//! Connection state recovery where the adapter keeps sessions and events for all servers.
//!
//! Events have their places in one order for all servers, the [`Position`]s. A client that comes back gets what the adapter
//! knows of up to some position, and from there on what this server has delivered since: the [`Tail`] keeps that for a
//! moment. Events up to that position which this server delivers later are not for the client: it has them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::adapter::{BroadcastOptions, KeptSession, Position, RestoredSession};
use super::kept_event::Waiting;
use super::namespace::Namespace;
use super::recovery::{ConnectionStateRecovery, RecoveryError, WELCOME};
use super::rooms::Room;
use super::socket::SocketId;
use crate::proto::EncodedMessage;
use crate::sync::{Mutex, MutexGuard};

/// What a namespace knows of events that the adapter keeps.
#[derive(Debug)]
pub(crate) struct SharedStore {
    options: ConnectionStateRecovery,
    /// So much can be sent to a client at once.
    max_send_queue: usize,
    /// How many events wait for their places, or are just being sent.
    waiting: AtomicUsize,
    tail: Mutex<Tail>,
}

/// What was delivered of late.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    events: VecDeque<Event>,
    bytes: usize,
    /// The position of the last event that is not kept any more.
    dropped: Position,
    /// Clients that came back have all up to these positions.
    ahead: HashMap<SocketId, Position>,
    /// How many events were delivered without one knowing their position.
    unknown: u64,
    /// How many of these may still get their positions.
    early: usize,
    /// What is to be delivered.
    waiting: Waiting,
}

#[derive(Debug)]
struct Event {
    position: Position,
    message: Arc<EncodedMessage>,
    rooms: Box<[Room]>,
    except: Box<[Room]>,
    delivered: Instant,
}

impl SharedStore {
    pub(crate) fn new(options: ConnectionStateRecovery, max_send_queue: usize) -> SharedStore {
        SharedStore { options, max_send_queue, waiting: AtomicUsize::new(0), tail: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &ConnectionStateRecovery {
        &self.options
    }

    /// Forgets what is old.
    pub(crate) fn sweep(&self) {
        self.tail.lock().drop_old(Instant::now());
    }

    /// Whether all this can be sent at once, and the answer to the CONNECT.
    fn holds(&self, missed: &[Arc<EncodedMessage>]) -> bool {
        let bytes: usize = missed.iter().map(|message| message.weight()).sum();
        missed.is_empty() || bytes + WELCOME <= self.max_send_queue
    }

    /// Another event waits; called before whoever emits it goes on.
    pub(crate) fn count_waiting(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// So many wait no longer; called after they have been sent.
    pub(crate) fn count_sent(&self, events: usize) {
        self.waiting.fetch_sub(events, Ordering::SeqCst);
    }

    /// Whether something waits. If not, whatever the caller has emitted before has been sent: spares the locks.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Takes the lock of the tail: under that of the rooms, and over that of connections.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock()
    }
}

impl Tail {
    /// Notes an event that is delivered under this lock, and leaves out those who have it.
    pub(crate) fn note(
        &mut self,
        position: Position,
        message: &Arc<EncodedMessage>,
        to: &mut BroadcastOptions,
    ) {
        self.push(position, message, to);
        if !self.ahead.is_empty() {
            self.ahead.retain(|sid, has| {
                let keep = *has >= position;
                if keep {
                    to.except.push(Room::from(sid));
                }
                keep
            });
        }
    }

    /// The same for one that is delivered before others that have earlier positions.
    pub(crate) fn note_late(
        &mut self,
        position: Position,
        message: &Arc<EncodedMessage>,
        to: &mut BroadcastOptions,
    ) {
        self.push(position, message, to);
        let have_it = self.ahead.iter().filter(|(_, has)| **has >= position);
        to.except.extend(have_it.map(|(sid, _)| Room::from(sid)));
    }

    /// The same for one whose position is not known: who is on the way back may have it, or not.
    pub(crate) fn note_unknown(&mut self) {
        self.unknown += 1;
    }

    /// The same for one whose position will be known: until then it may be among what the adapter gives, or not.
    pub(crate) fn note_early(&mut self) {
        self.unknown += 1;
        self.early += 1;
    }

    /// One of those has its position, or gets none.
    pub(crate) fn settle_early(&mut self) {
        self.unknown += 1;
        self.early = self.early.saturating_sub(1);
    }

    fn push(&mut self, position: Position, message: &Arc<EncodedMessage>, to: &BroadcastOptions) {
        let delivered = Instant::now();
        self.events.push_back(Event {
            position,
            message: Arc::clone(message),
            rooms: to.rooms.as_slice().into(),
            except: to.except.as_slice().into(),
            delivered,
        });
        self.bytes += message.len() + EVENT_OVERHEAD;
        self.drop_old(delivered);
    }

    fn drop_old(&mut self, now: Instant) {
        let is_old = |event: &Event| now.duration_since(event.delivered) > KEPT_FOR;
        while self.bytes > MAX_BYTES || self.events.front().is_some_and(is_old) {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= event.message.len() + EVENT_OVERHEAD;
            self.dropped = self.dropped.max(event.position);
        }
    }

    /// To be asked for before the adapter is asked for a session.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The events of this server whose places are not known yet.
    pub(crate) fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    pub(crate) fn forget(&mut self, sid: &SocketId) {
        self.ahead.remove(sid);
    }
}

/// A session on its way back into its namespace; if it does not get there, it is kept again.
#[derive(Debug)]
pub(crate) struct SharedReturning {
    namespace: Namespace,
    session: Option<KeptSession>,
    missed: Vec<Arc<EncodedMessage>>,
    last: Position,
    /// [`Tail::unknown`] at the beginning.
    unknown: u64,
}

impl SharedReturning {
    /// Encodes what was missed. What makes the parser panic is left out, as when it was delivered to the others: the
    /// adapter has given the session away.
    pub(crate) fn new(namespace: &Namespace, restored: RestoredSession, unknown: u64) -> SharedReturning {
        let RestoredSession { session, missed, last } = restored;
        let missed = missed.iter().filter_map(|event| namespace.encode_or_log(event)).map(Arc::new).collect();
        SharedReturning { namespace: namespace.clone(), session: Some(session), missed, last, unknown }
    }

    /// Why it cannot get what it missed, if it is known already.
    pub(crate) fn failure(&self, store: &SharedStore) -> Option<RecoveryError> {
        if !store.holds(&self.missed) {
            return Some(RecoveryError::Trimmed);
        }
        (!self.knows_all(&store.lock())).then_some(RecoveryError::Unknown)
    }

    /// Whether it is known what was delivered since.
    fn knows_all(&self, tail: &Tail) -> bool {
        tail.dropped <= self.last && tail.unknown == self.unknown && tail.early == 0
    }

    pub(crate) fn session(&self) -> &KeptSession {
        self.session.as_ref().expect("it is taken once, at the end")
    }

    /// All that it missed; `None` if a part is not known any more, or if it is more than a send queue holds: then the
    /// session ends, so that whoever comes back once more is new. (Kept again, it might come and fail for ever: as long as
    /// Redis is busy, every moment something is delivered without its place.) Otherwise it hears from now on what follows.
    /// Called under the locks of the rooms and of the tail.
    pub(crate) fn missed(
        &mut self,
        store: &SharedStore,
        tail: &mut Tail,
    ) -> Option<Vec<Arc<EncodedMessage>>> {
        let missed = self.find_missed(store, tail);
        if missed.is_none() {
            self.arrive();
        }
        missed
    }

    fn find_missed(&self, store: &SharedStore, tail: &mut Tail) -> Option<Vec<Arc<EncodedMessage>>> {
        if !self.knows_all(tail) {
            return None;
        }
        let session = self.session();
        let rooms: HashSet<&str> = session.rooms.iter().map(Room::as_str).collect();
        let is_in = |list: &[Room]| list.iter().any(|room| rooms.contains(room.as_str()));
        let meant = |event: &&Event| {
            event.position > self.last
                && (event.rooms.is_empty() || is_in(&event.rooms))
                && !is_in(&event.except)
        };
        let since = tail.events.iter().filter(meant).map(|event| Arc::clone(&event.message));
        let missed: Vec<_> = self.missed.iter().cloned().chain(since).collect();
        if !store.holds(&missed) {
            return None;
        }
        tail.ahead.insert(session.sid.clone(), self.last);
        Some(missed)
    }

    /// It is there, or not to come.
    pub(crate) fn arrive(&mut self) {
        self.session = None;
    }
}

impl Drop for SharedReturning {
    fn drop(&mut self) {
        if let (Some(session), Some(adapter)) = (self.session.take(), self.namespace.adapter()) {
            adapter.keep_session(session);
        }
    }
}

/// Longer than it takes to get from the adapter's answer into the namespace.
const KEPT_FOR: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 4 * 1024 * 1024;
const EVENT_OVERHEAD: usize = 256;
