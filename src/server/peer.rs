//! Peer: what the sockets of one connection share.
//!
//! The connection's task and everybody who holds a [`Socket`] meet here. Who is joined is decided under one lock, and
//! rooms change under it too (lock order: peer → rooms → connection), so that a socket is in its namespace exactly
//! while it is in this list. Handlers are never called here: a socket that leaves is noted, and the connection's task
//! starts its handlers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::disconnect::DisconnectReason;
use super::hub::Shared;
use super::legacy;
use super::namespaces::Visit;
use super::recovery::{PrivateId, Returning};
use super::rooms::Room;
use super::socket::Socket;
use super::stats::Counters;
use crate::engine::{Connection, SendError};
use crate::proto::EncodedMessage;
use crate::proto::engineio::Sent;
use crate::proto::socketio::{Packet, PacketKind, Payload};
use crate::sync::Mutex;

/// One connection, as its sockets see it.
pub(crate) struct Peer {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Handlers that are tasks now, and the bytes of their events.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// Bytes of events that wait for their turn.
    parked: AtomicUsize,
    /// Events that the client wants acknowledged, and that handlers still have.
    unanswered: AtomicUsize,
    /// The send queue overflowed.
    slow: AtomicBool,
    /// The connection's task.
    task: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// In the order of joining.
    joined: Vec<Joined>,
    /// Sockets that left and whose handlers have not been started.
    departed: Vec<Departed>,
    /// Nobody joins any more.
    closed: bool,
}

struct Joined {
    socket: Socket,
    /// Of two sockets in one namespace (two CONNECTs during a slow middleware), packets go to the later one.
    routed: bool,
    visit: Option<Visit>,
}

struct Departed {
    socket: Socket,
    reason: DisconnectReason,
    /// It is still in its rooms, until its handlers for that have been started.
    disconnecting: bool,
    /// Ends when the handlers have been started, under no lock.
    _visit: Option<Visit>,
    /// The rooms to which it may return, if it may.
    kept: Option<Vec<Room>>,
}

/// Where a packet of a namespace goes.
pub(crate) enum Route {
    Socket(Socket),
    NotJoined,
    /// The connection is closing: nothing is handled any more.
    Closed,
}

impl Peer {
    pub(crate) fn new(connection: Arc<Connection>, shared: Arc<Shared>) -> Arc<Peer> {
        Arc::new(Peer {
            connection,
            shared,
            state: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            slow: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Sends without caring whether it arrives: a connection that is closed, or is now closed because its peer is too
    /// slow, tells so by its end. (It is logged there, too: here locks may be held, and a subscriber is user code.)
    pub(crate) fn send(&self, message: Arc<EncodedMessage>) {
        match self.connection.enqueue(message) {
            Ok(sent) if sent == Sent::default() => {}
            Ok(sent) => {
                self.counters().events_dropped.add(sent.dropped as u64);
                self.counters().events_coalesced.add(u64::from(sent.superseded));
            }
            Err(SendError::Dropped) => self.counters().events_dropped.increment(),
            Err(SendError::QueueFull { .. }) => {
                self.counters().slow_peers.increment();
                self.slow.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
    }

    /// Whether the connection was closed because its peer does not read.
    pub(crate) fn was_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    pub(crate) fn route(&self, namespace: &str) -> Route {
        let state = self.state.lock();
        if state.closed {
            return Route::Closed;
        }
        let joined = state.joined.iter().find(|joined| joined.routed && joined.socket.is_in(namespace));
        joined.map_or(Route::NotJoined, |joined| Route::Socket(joined.socket.clone()))
    }

    /// In the order of joining.
    pub(crate) fn sockets(&self) -> Vec<Socket> {
        self.state.lock().joined.iter().map(|joined| joined.socket.clone()).collect()
    }

    pub(crate) fn joined_count(&self) -> usize {
        self.state.lock().joined.len()
    }

    /// Lets a socket into its namespace and tells the client; `false` if it came too late. What it brings is taken if not:
    /// a session may only be kept again when the socket has been abandoned, whose id another one then has.
    pub(crate) fn admit(
        &self,
        socket: &Socket,
        visit: &mut Option<Visit>,
        returning: &mut Option<Returning>,
    ) -> bool {
        let welcome = welcome(socket);
        let mut state = self.state.lock();
        if state.closed || self.connection.is_closed() {
            return false;
        }
        // Under this lock nothing that is sent to the namespace comes before the CONNECT.
        let mut rooms = socket.home().rooms().write();
        if self.shared.is_closing() || socket.home().is_closed() {
            return false;
        }
        let missed = match returning {
            Some(returning) => match returning.missed(socket.home()) {
                Some(missed) => missed,
                None => {
                    // It comes once more, and learns that it is new.
                    self.connection.close();
                    return false;
                }
            },
            None => Vec::new(),
        };
        socket.set_connected();
        rooms.enter(socket.id(), || socket.clone());
        rooms.join(socket.id(), Room::from(socket.id()));
        for room in returning.as_ref().iter().flat_map(|returning| returning.session().rooms) {
            rooms.join(socket.id(), room.clone());
        }
        rooms.activate(socket.id());
        missed.into_iter().for_each(|message| self.send(message));
        welcome.into_iter().for_each(|welcome| self.send(welcome));
        drop(rooms);
        state.unroute(socket);
        state.joined.push(Joined { socket: socket.clone(), routed: true, visit: visit.take() });
        self.counters().sockets.increment();
        drop(state);
        if let Some(mut returning) = returning.take() {
            returning.arrive();
            self.counters().recovered.increment();
        }
        socket.home().tell_room_events();
        true
    }

    /// Takes one socket out of its namespace; `farewell`: the client is told.
    pub(crate) fn depart(&self, socket: &Socket, reason: DisconnectReason, farewell: bool) {
        if farewell {
            socket.home().prepare_farewells();
        }
        let departed = {
            let mut state = self.state.lock();
            let Some(index) = state.joined.iter().position(|joined| joined.socket == *socket) else { return };
            self.remove(&mut state, index, reason, farewell)
        };
        departed.forget_acks();
        self.task.wake();
    }

    /// Takes all sockets of the connection out of their namespaces, in the order they joined; nobody joins any more.
    pub(crate) fn depart_all(&self, reason: DisconnectReason, farewell: bool) {
        if farewell {
            self.sockets().iter().for_each(|socket| socket.home().prepare_farewells());
        }
        let departed: Vec<Socket> = {
            let mut state = self.state.lock();
            state.closed = true;
            (0..state.joined.len()).map(|_| self.remove(&mut state, 0, reason, farewell)).collect()
        };
        departed.iter().for_each(Socket::forget_acks);
        self.task.wake();
    }

    /// Node's `disconnect(true)`.
    pub(crate) fn disconnect_all(&self, socket: &Socket) {
        if socket.is_connected() {
            self.depart_all(DisconnectReason::ServerNamespaceDisconnect, true);
            self.connection.close();
        }
    }

    /// Nobody joins any more, nothing is handled any more; who has joined stays until the connection is closed.
    pub(crate) fn refuse_all(&self) {
        self.state.lock().closed = true;
    }

    fn remove(&self, state: &mut State, index: usize, reason: DisconnectReason, farewell: bool) -> Socket {
        let Joined { socket, visit, .. } = state.joined.remove(index);
        state.unroute(&socket);
        let message = farewell.then(|| socket.home().farewell()).flatten();
        let (disconnecting, kept) = {
            // The DISCONNECT is the last that comes of the namespace.
            let mut rooms = socket.home().rooms().write();
            if let Some(store) = socket.home().shared_store().filter(|_| farewell) {
                store.lock().waiting().hurry(&rooms, &socket);
            }
            socket.set_disconnected();
            // After that none is added to the socket's own.
            let disconnecting = socket.has_disconnecting_handlers();
            let kept = if disconnecting {
                rooms.deactivate(socket.id());
                None
            } else {
                socket.leave_for_good(&mut rooms, reason)
            };
            message.into_iter().for_each(|message| self.send(message));
            (disconnecting, kept)
        };
        self.counters().sockets.decrement();
        state.departed.push(Departed { socket: socket.clone(), reason, disconnecting, kept, _visit: visit });
        socket
    }

    /// Starts the handlers of those who left, in order. Only the connection's task calls this.
    pub(crate) fn start_departed(&self) {
        loop {
            let departed = std::mem::take(&mut self.state.lock().departed);
            if departed.is_empty() {
                return;
            }
            for Departed { socket, reason, disconnecting, mut kept, _visit } in departed {
                if disconnecting {
                    for handler in &*socket.home().disconnecting_handlers() {
                        handler.start(&socket, reason);
                    }
                    for handler in socket.own_disconnecting_handlers() {
                        handler.start(&socket, reason);
                    }
                    kept = socket.leave_for_good(&mut socket.home().rooms().write(), reason);
                    socket.home().tell_room_events();
                }
                for handler in &*socket.home().disconnect_handlers() {
                    handler.start(&socket, reason);
                }
                for handler in socket.own_disconnect_handlers() {
                    handler.start(&socket, reason);
                }
                if let Some(rooms) = kept {
                    socket.keep_session(rooms);
                }
                socket.drop_listeners();
            }
        }
    }

    /// Lets [`Peer::depart`] and handlers that end wake the connection's task.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    /// Counts a handler that has to wait, and the bytes of its event, until the guard is dropped.
    pub(crate) fn count_waiting_handler(self: &Arc<Self>, bytes: usize) -> WaitingHandler {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        WaitingHandler { peer: Arc::clone(self), bytes }
    }

    /// Counts the bytes of an event that waits for its turn, until the guard is dropped.
    pub(crate) fn count_parked(self: &Arc<Self>, bytes: usize) -> ParkedBytes {
        self.parked.fetch_add(bytes, Ordering::SeqCst);
        ParkedBytes(Arc::clone(self), bytes)
    }

    /// Bytes of events that wait for their turn.
    pub(crate) fn parked_bytes(&self) -> usize {
        self.parked.load(Ordering::SeqCst)
    }

    /// Counts an event that the client wants acknowledged, until [`Peer::forget_unanswered`].
    pub(crate) fn count_unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn forget_unanswered(&self) {
        self.unanswered.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether this side owes the client an acknowledgement, or the client this side.
    pub(crate) fn awaits_acks(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > 0
            || self.state.lock().joined.iter().any(|joined| joined.socket.awaits_acks())
    }

    /// Whether the client is still to get what was emitted before this time and waits for its place, or acknowledgements
    /// behind it.
    pub(crate) fn awaits_events(&self, emitted_before: Instant) -> bool {
        self.sockets().iter().any(|socket| socket.home().has_waiting_for(socket, emitted_before))
    }

    /// Whether few enough handlers wait, with few enough bytes, to start another one.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        // First the waker, then the second look: a handler that ends in between wakes, or is seen.
        self.task.register(cx.waker());
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) < self.shared.config.max_waiting_handlers
            && self.waiting_bytes.load(Ordering::SeqCst) <= self.shared.config.max_waiting_bytes
    }
}

impl State {
    /// Packets of this socket's namespace go to nobody.
    fn unroute(&mut self, socket: &Socket) {
        for other in &mut self.joined {
            other.routed &= !other.socket.is_in(socket.home().name());
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

/// A handler that is a task now.
pub(crate) struct WaitingHandler {
    peer: Arc<Peer>,
    bytes: usize,
}

impl Drop for WaitingHandler {
    fn drop(&mut self) {
        let config = &self.peer.shared.config;
        let waited = self.peer.waiting.fetch_sub(1, Ordering::SeqCst);
        let held = self.peer.waiting_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        if waited == config.max_waiting_handlers || held > config.max_waiting_bytes {
            self.peer.task.wake();
        }
    }
}

/// An event that waits for its turn.
pub(crate) struct ParkedBytes(Arc<Peer>, usize);

impl Drop for ParkedBytes {
    fn drop(&mut self) {
        self.0.parked.fetch_sub(self.1, Ordering::SeqCst);
        // Only the connection's task knows what else is parked, and whether reading may go on.
        self.0.task.wake();
    }
}

/// The answer to a CONNECT: `40{"sid":"…"}`, or `40` alone for a client that knows its id.
fn welcome(socket: &Socket) -> Option<Arc<EncodedMessage>> {
    #[derive(serde::Serialize)]
    struct Welcome<'a> {
        sid: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<&'a str>,
    }
    let packet = Packet::new(PacketKind::Connect, socket.home().name());
    if legacy::is_legacy(socket.conn()) {
        return socket.peer().shared().encode(&packet);
    }
    let pid = socket.private_id().map(PrivateId::as_str);
    let data = Payload::value(&Welcome { sid: socket.id().as_str(), pid }).expect("a text has a JSON form");
    socket.peer().shared().encode(&packet.with_data(data))
}
