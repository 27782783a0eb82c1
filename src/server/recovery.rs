//! Connection state recovery: who comes back after a loss is who it was, and gets what it missed.
//!
//! ```text
//!  emit ─▶ offset added ─▶ Log::append + send       under the lock of the rooms and of the log: one order for all
//!  loss ─▶ Log::keep(session)                       with the rooms it had, when its handlers have been started
//!  CONNECT {pid, offset} ─▶ Log::take ─▶ admit: rooms joined, what was missed, then the answer
//! ```
//!
//! What a client got last is the offset it comes back with; what follows it in the log, and was meant for the session's
//! rooms, is what it missed. Sending and appending are one step, so a client has got a beginning of what the log holds for
//! it, whatever threads emit.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::adapter::{BroadcastOptions, KeptSession};
use super::disconnect::DisconnectReason;
use super::handshake::Handshake;
use super::namespace::Namespace;
use super::rooms::Room;
use super::shared_recovery::SharedReturning;
use super::socket::SocketId;
use crate::engine::random_id;
use crate::proto::EncodedMessage;
use crate::proto::socketio::{Map, Payload, Value};
use crate::sync::Mutex;

/// Lets a client that lost its connection go on where it was: with its id, its rooms, its data and the events that were
/// sent meanwhile; Node's option `connectionStateRecovery`, set by
/// [`ServerBuilder::connection_state_recovery`](super::ServerBuilder::connection_state_recovery).
///
/// All is kept in the memory of this process, so a client has to come back to the same one; with an adapter that keeps
/// sessions (`RedisStreamsAdapter`) it may come back to any server of the cluster. Events are kept that are neither volatile nor ask for an acknowledgement;
/// each has an offset as its last argument then, which clients use and handlers of theirs see. What a client missed is
/// told by the rooms it was in when it was lost, those that it joined after its last event included.
#[derive(Clone, Debug)]
pub struct ConnectionStateRecovery {
    /// How long sessions and events are kept. Default: 2 minutes. Longer where clients lose their network for long; events
    /// need the more memory.
    pub max_disconnection_duration: Duration,
    /// Whether middlewares of the namespace are skipped for who comes back. Default: true. With false a client whose token
    /// has expired is refused.
    pub skip_middlewares: bool,
    /// How many bytes of events and sessions the server keeps in all its namespaces. Default: 64 MiB. Over it those namespaces
    /// drop their oldest events that hold more than an equal share, when they keep something more, or within a minute: who
    /// missed what is gone is somebody new ([`RecoveryError::Trimmed`]). Until then the others may be over it by their
    /// shares.
    pub max_bytes: usize,
}

impl Default for ConnectionStateRecovery {
    fn default() -> ConnectionStateRecovery {
        ConnectionStateRecovery {
            max_disconnection_duration: Duration::from_secs(120),
            skip_middlewares: true,
            max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Whether a socket goes on where an earlier one ended; see [`Socket::recovery`](super::Socket::recovery).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// The client did not ask for it: it is new.
    #[default]
    NotRequested,
    /// It does.
    Recovered,
    /// The client came back, but what it missed is not known: it is new.
    Failed(RecoveryError),
}

/// Says why a session could not be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The client has never got an event, so it cannot say what it missed.
    NoOffset,
    /// It was away for too long.
    Expired,
    /// Too much was sent since: what it missed had to make room, or is more than
    /// [`ServerBuilder::max_send_queue`](super::ServerBuilder::max_send_queue).
    Trimmed,
    /// The session, or the event it got last, is not of this process, or it left in a way that ends a session. Also where
    /// an adapter keeps sessions, and an event was delivered without its place while the client came back: it may have
    /// missed that one, or not.
    Unknown,
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecoveryError::NoOffset => "the client does not say what it got last",
            RecoveryError::Expired => "the client was away for too long",
            RecoveryError::Trimmed => "what the client missed has made room for later events",
            RecoveryError::Unknown => "the session is not known",
        })
    }
}

impl std::error::Error for RecoveryError {}

/// The id by which only its client knows a session: a credential.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PrivateId(Arc<str>);

impl PrivateId {
    pub(crate) fn random() -> PrivateId {
        PrivateId(random_id().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateId(…)")
    }
}

/// What is left of a socket.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) sid: SocketId,
    pub(crate) pid: PrivateId,
    pub(crate) rooms: Vec<Room>,
    pub(crate) data: Map,
    left: Instant,
    bytes: usize,
}

/// The bytes that all namespaces of a server keep.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicUsize,
    /// How many namespaces have a share.
    stores: AtomicUsize,
    /// A task looks for what has expired.
    sweeping: AtomicBool,
}

impl Budget {
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, log: &mut Log, bytes: usize) {
        log.bytes += bytes;
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, log: &mut Log, bytes: usize) {
        log.bytes -= bytes;
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Says whether this is the first call: then the caller starts the sweeping.
    pub(crate) fn begin_sweeping(&self) -> bool {
        !self.sweeping.swap(true, Ordering::Relaxed)
    }
}

/// What one namespace keeps for those who come back.
#[derive(Debug)]
pub(crate) struct Store {
    options: ConnectionStateRecovery,
    /// So much can be sent to a client at once.
    max_send_queue: usize,
    budget: Arc<Budget>,
    /// Offsets of other processes, or of a namespace that was closed meanwhile, are not ours.
    epoch: String,
    next: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    events: VecDeque<Event>,
    /// The place of the first event, counted since the beginning.
    first: u64,
    /// Those before this place had to make room; others have expired.
    trimmed: u64,
    /// What it takes of the budget.
    bytes: usize,
    sessions: HashMap<PrivateId, Session>,
}

#[derive(Debug)]
struct Event {
    offset: u64,
    message: Arc<EncodedMessage>,
    rooms: Box<[Room]>,
    except: Box<[Room]>,
    emitted: Instant,
    bytes: usize,
}

/// An event's own number, to be sent with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offset(u64);

impl Store {
    pub(crate) fn new(options: ConnectionStateRecovery, max_send_queue: usize, budget: Arc<Budget>) -> Store {
        let mut epoch = random_id();
        epoch.truncate(EPOCH_LEN);
        budget.stores.fetch_add(1, Ordering::Relaxed);
        Store { options, max_send_queue, budget, epoch, next: AtomicU64::new(0), log: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &ConnectionStateRecovery {
        &self.options
    }

    /// The data of an event with an offset of its own as its last argument.
    pub(crate) fn stamp(&self, event: &Payload) -> (Offset, Payload) {
        let offset = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("{}{offset}", self.epoch);
        (Offset(offset), event.with_text_argument(&text).expect("a text has a JSON form"))
    }

    /// Takes the lock of the log: under that of the rooms, and over that of connections.
    pub(crate) fn lock(&self) -> crate::sync::MutexGuard<'_, Log> {
        self.log.lock()
    }

    /// Keeps an event for those who are not there; called with the log's lock, under which it is then sent.
    pub(crate) fn append(
        &self,
        log: &mut Log,
        offset: Offset,
        message: &Arc<EncodedMessage>,
        to: &BroadcastOptions,
    ) {
        let now = Instant::now();
        let bytes = message.len() + (to.rooms.len() + to.except.len()) * size_of::<Room>() + EVENT_OVERHEAD;
        self.expire_events(log, now);
        log.events.push_back(Event {
            offset: offset.0,
            message: Arc::clone(message),
            rooms: to.rooms.as_slice().into(),
            except: to.except.as_slice().into(),
            emitted: now,
            bytes,
        });
        self.budget.take(log, bytes);
        self.trim(log);
    }

    /// Drops what is too much; `false`, if there are only sessions left.
    fn trim(&self, log: &mut Log) -> bool {
        let max = self.options.max_bytes;
        let share = max / self.budget.stores.load(Ordering::Relaxed).max(1);
        while self.budget.used() > max && log.bytes > share {
            if !self.drop_first(log) {
                return false;
            }
            log.trimmed = log.first;
        }
        true
    }

    /// Keeps what is left of a socket.
    pub(crate) fn keep(&self, sid: &SocketId, pid: &PrivateId, rooms: Vec<Room>, data: Map) {
        let names: usize = rooms.iter().map(|room| room.as_str().len() + size_of::<Room>()).sum();
        let bytes = SESSION_OVERHEAD + names + map_bytes(&data);
        let left = Instant::now();
        self.put(Session { sid: sid.clone(), pid: pid.clone(), rooms, data, left, bytes });
    }

    fn put(&self, session: Session) {
        let mut log = self.log.lock();
        self.budget.take(&mut log, session.bytes);
        if !self.trim(&mut log) {
            return self.budget.give_back(&mut log, session.bytes);
        }
        log.sessions.insert(session.pid.clone(), session);
    }

    /// Takes the session of a client that comes back, and the place of the first event that it missed.
    fn take(&self, pid: &str, offset: &str) -> Result<(Session, u64), RecoveryError> {
        let now = Instant::now();
        let mut log = self.log.lock();
        let key = PrivateId(pid.into());
        let left = log.sessions.get(&key).ok_or(RecoveryError::Unknown)?.left;
        if now.duration_since(left) > self.options.max_disconnection_duration {
            return Err(RecoveryError::Expired);
        }
        let number = offset.strip_prefix(&self.epoch).and_then(|number| number.parse::<u64>().ok());
        let number = number.filter(|number| *number < self.next.load(Ordering::Relaxed));
        let number = number.ok_or(RecoveryError::Unknown)?;
        self.expire_events(&mut log, now);
        let Some(index) = log.find(number) else {
            // Numbers and places are nearly the same.
            return Err(if number < log.trimmed { RecoveryError::Trimmed } else { RecoveryError::Expired });
        };
        let place = log.first + index as u64 + 1;
        // Otherwise it would be closed as slow, or lose a part, each time that it comes back.
        let rooms = &log.sessions[&key].rooms;
        if self.missed(&log, place, rooms).is_none() {
            return Err(RecoveryError::Trimmed);
        }
        let session = log.sessions.remove(&key).expect("it was there");
        self.budget.give_back(&mut log, session.bytes);
        Ok((session, place))
    }

    /// What was missed in these rooms, from this place on; `None` if a part of it is gone, or if it is more than a send
    /// queue holds.
    fn missed(&self, log: &Log, place: u64, rooms: &[Room]) -> Option<Vec<Arc<EncodedMessage>>> {
        let missed = log.missed(place, rooms)?;
        let bytes: usize = missed.iter().map(|message| message.weight()).sum();
        (bytes + WELCOME <= self.max_send_queue || missed.is_empty()).then_some(missed)
    }

    /// Forgets what has expired.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut log = self.log.lock();
        self.expire_events(&mut log, now);
        let duration = self.options.max_disconnection_duration;
        let mut gone = 0;
        log.sessions.retain(|_, session| {
            let keep = now.duration_since(session.left) <= duration;
            gone += if keep { 0 } else { session.bytes };
            keep
        });
        self.budget.give_back(&mut log, gone);
        self.trim(&mut log);
    }

    fn expire_events(&self, log: &mut Log, now: Instant) {
        let duration = self.options.max_disconnection_duration;
        while log.events.front().is_some_and(|event| now.duration_since(event.emitted) > duration) {
            self.drop_first(log);
        }
    }

    fn drop_first(&self, log: &mut Log) -> bool {
        let Some(event) = log.events.pop_front() else { return false };
        log.first += 1;
        self.budget.give_back(log, event.bytes);
        true
    }
}

/// The namespace is gone, with what it kept.
impl Drop for Store {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.log.lock().bytes, Ordering::Relaxed);
        self.budget.stores.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Log {
    /// The index of an event. Numbers are given before the lock is taken, so they rise but for a little disorder: threads
    /// that emit at the same time.
    fn find(&self, number: u64) -> Option<usize> {
        let from = self.events.partition_point(|event| event.offset.saturating_add(DISORDER) < number);
        let mut near =
            self.events.range(from..).take_while(|event| event.offset <= number.saturating_add(DISORDER));
        near.position(|event| event.offset == number).map(|index| from + index)
    }

    /// What the session has missed, from this place on; `None` if a part of it is gone.
    fn missed(&self, place: u64, rooms: &[Room]) -> Option<Vec<Arc<EncodedMessage>>> {
        let skip = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let rooms: HashSet<&str> = rooms.iter().map(Room::as_str).collect();
        let is_in = |list: &[Room]| list.iter().any(|room| rooms.contains(room.as_str()));
        let meant = |event: &&Event| (event.rooms.is_empty() || is_in(&event.rooms)) && !is_in(&event.except);
        Some(self.events.iter().skip(skip).filter(meant).map(|event| Arc::clone(&event.message)).collect())
    }
}

/// A session on its way back into its namespace; if it does not get there, it is kept again.
#[derive(Debug)]
pub(crate) enum Returning {
    Here(LocalReturning),
    Shared(SharedReturning),
}

/// One that this server has kept.
#[derive(Debug)]
pub(crate) struct LocalReturning {
    namespace: Namespace,
    session: Option<Session>,
    place: u64,
}

/// What a socket that comes back is made of.
pub(crate) struct SessionIds<'a> {
    pub(crate) sid: &'a SocketId,
    pub(crate) pid: PrivateId,
    pub(crate) rooms: &'a [Room],
    pub(crate) data: &'a Map,
}

impl Returning {
    pub(crate) fn session(&self) -> SessionIds<'_> {
        match self {
            Returning::Here(returning) => {
                let Session { sid, pid, rooms, data, .. } =
                    returning.session.as_ref().expect("it is taken once, at the end");
                SessionIds { sid, pid: pid.clone(), rooms, data }
            }
            Returning::Shared(returning) => {
                let KeptSession { sid, pid, rooms, data } = returning.session();
                SessionIds { sid, pid: PrivateId(pid.as_str().into()), rooms, data }
            }
        }
    }

    /// What it missed; `None` if that became too much, or unknown, while it was on its way. It is kept again then only if
    /// the next attempt is certain to see that, too. Called under the lock of the rooms.
    pub(crate) fn missed(&mut self, namespace: &Namespace) -> Option<Vec<Arc<EncodedMessage>>> {
        match (self, namespace.recovery_store(), namespace.shared_store()) {
            (Returning::Here(returning), Some(store), _) => {
                let session = returning.session.as_ref()?;
                store.missed(&store.lock(), returning.place, &session.rooms)
            }
            (Returning::Shared(returning), _, Some(store)) => returning.missed(store, &mut store.lock()),
            _ => None,
        }
    }

    /// It is there.
    pub(crate) fn arrive(&mut self) {
        match self {
            Returning::Here(returning) => returning.session = None,
            Returning::Shared(returning) => returning.arrive(),
        }
    }
}

impl Drop for LocalReturning {
    fn drop(&mut self) {
        if let (Some(session), Some(store)) = (self.session.take(), self.namespace.recovery_store()) {
            store.put(session);
        }
    }
}

/// What became of the session that a client asks for.
pub(crate) type Attempt = Result<Option<Returning>, RecoveryError>;

/// Takes the session that a client asks for with its CONNECT; a future, where the adapter has to be asked.
pub(crate) fn take_session(
    namespace: &Namespace,
    handshake: &Handshake,
) -> Result<Attempt, BoxFuture<'static, Attempt>> {
    if namespace.recovery_options().is_none() {
        return Ok(Ok(None));
    }
    let auth = handshake.auth_value();
    let Some(pid) = auth.get("pid").and_then(Value::as_str) else { return Ok(Ok(None)) };
    let Some(offset) = auth.get("offset").and_then(Value::as_str) else {
        return Ok(Err(RecoveryError::NoOffset));
    };
    let namespace = namespace.clone();
    if let Some(store) = namespace.recovery_store() {
        let taken = store.take(pid, offset);
        return Ok(taken.map(|(session, place)| {
            Some(Returning::Here(LocalReturning {
                namespace: namespace.clone(),
                session: Some(session),
                place,
            }))
        }));
    }
    let unknown = namespace.shared_store().map_or(0, |store| store.lock().unknown());
    let Some(restoring) = namespace.adapter().map(|adapter| adapter.restore_session(pid, offset)) else {
        return Ok(Ok(None));
    };
    // A task of its own: the adapter has given the session away, and if the client goes meanwhile, it is kept again.
    let restoring = tokio::spawn(async move {
        let mut returning = SharedReturning::new(&namespace, restoring.await?, unknown);
        if let Some(error) = namespace.shared_store().and_then(|store| returning.failure(store)) {
            // Otherwise it would come back for ever, and never get it all.
            returning.arrive();
            return Err(error);
        }
        Ok(Some(Returning::Shared(returning)))
    });
    // It fails if the adapter panics, or the runtime ends.
    Err(Box::pin(async move { restoring.await.unwrap_or(Err(RecoveryError::Unknown)) }))
}

/// "Recoverable reasons"
pub(crate) fn is_recoverable(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::TransportError
            | DisconnectReason::TransportClose
            | DisconnectReason::ForcedClose
            | DisconnectReason::ForcedServerClose
            | DisconnectReason::PingTimeout
            | DisconnectReason::ServerShuttingDown
    )
}

/// How much memory named values take, about.
fn map_bytes(map: &Map) -> usize {
    map.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Binary(data) => data.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(map) => map_bytes(map),
            _ => 0,
        }
}

const EPOCH_LEN: usize = 8;
/// A thread would have to stand still while others emit so many events.
const DISORDER: u64 = 4096;
/// What the answer to a CONNECT takes in a send queue, about.
pub(crate) const WELCOME: usize = EncodedMessage::OVERHEAD + 128;
/// What the queue, the lists of rooms and the allocations of a small event take beside its bytes.
const EVENT_OVERHEAD: usize = 256;
const SESSION_OVERHEAD: usize = 512;
