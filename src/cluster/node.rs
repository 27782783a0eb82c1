//! Node: one namespace of one server among those of others, whatever carries their messages.
//!
//! What it says and hears are the messages of [`Body`]; how they travel is a [`Wire`]: the classic adapter's, the
//! sharded one's or the streams adapter's.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};

use super::link::{Channel, RedisLink};
use super::status::LinkError;
use crate::proto::cluster::{
    Answer, Asked, Body, EventPacket, Flags, Opts, Outcome, PendingRequests, Progress, RequestId, Sockets,
};
use crate::proto::socketio::{Payload, Value};
use crate::server::{
    AckError, Adapter, AdapterError, BroadcastFlags, BroadcastOptions, DEFAULT_ACK_TIMEOUT, Gathered,
    KeptEvent, KeptSession, LocalNode, RecoveryError, RemoteAnswers, RemoteSocket, RestoredSession, Room,
};
use crate::sync::Mutex;

/// How the messages of a namespace travel. What cannot be sent is counted by the link; nobody waits for it.
pub(super) trait Wire: fmt::Debug + Send + Sync + 'static {
    /// Tells all other servers.
    fn publish(&self, body: Body) -> Result<(), LinkError>;

    /// Answers the server that asked; `None`: its id is not known.
    fn respond(&self, to: Option<&str>, body: Body) -> Result<(), LinkError>;

    /// Counts the servers that have the namespace; this one among them, if Redis has its subscription.
    fn server_count(&self) -> BoxFuture<'static, Result<usize, LinkError>>;

    /// The channel whose subscriptions are counted, and the link that has this server's own.
    fn counted(&self) -> (&RedisLink, Channel);

    /// Asks all other servers for their rooms, where there is such a question.
    fn ask_rooms(&self, _id: &RequestId) -> Option<Result<(), LinkError>> {
        None
    }

    /// Makes an id that no other request has.
    fn request_id(&self) -> RequestId;

    /// Tells all other servers, keeps it for those who come back, and says its place to `kept`.
    fn publish_kept(&self, body: Body, kept: KeptEvent) {
        let _ = self.publish(body);
        drop(kept);
    }

    /// Keeps what is left of a socket.
    fn keep_session(&self, _session: KeptSession, _expires_after: Duration) {}

    /// Gives it back, for once.
    fn restore_session(
        &self,
        _pid: &str,
        _offset: &str,
    ) -> BoxFuture<'static, Result<RestoredSession, RecoveryError>> {
        Box::pin(std::future::ready(Err(RecoveryError::Unknown)))
    }

    /// Hears no more.
    fn close(&self);
}

/// A namespace of this server, as the others know it.
#[derive(Debug)]
pub(super) struct Node<W> {
    local: LocalNode,
    wire: W,
    pending: Mutex<PendingRequests<Waiter>>,
    /// A deadline came that may be the first.
    changed: Arc<Notify>,
    requests_timeout: Duration,
    runtime: Handle,
}

/// Who waits for the answers.
#[derive(Debug)]
enum Waiter {
    Rooms(oneshot::Sender<Outcome>),
    Sockets(oneshot::Sender<Outcome>),
    /// Clients acknowledge.
    Clients(mpsc::UnboundedSender<Result<Payload, AckError>>),
    /// Servers answer.
    Servers(mpsc::UnboundedSender<Result<Payload, AckError>>),
}

impl<W: Wire> Node<W> {
    /// Makes a node, and what looks after its deadlines.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(
        local: LocalNode,
        wire: W,
        requests_timeout: Duration,
        runtime: Handle,
    ) -> Arc<Node<W>> {
        let changed = Arc::new(Notify::new());
        let node = Arc::new(Node {
            local,
            wire,
            pending: Mutex::default(),
            changed: Arc::clone(&changed),
            requests_timeout,
            runtime,
        });
        node.runtime.spawn(keep_time(Arc::downgrade(&node), changed));
        node
    }

    pub(super) fn local(&self) -> &LocalNode {
        &self.local
    }

    pub(super) fn wire(&self) -> &W {
        &self.wire
    }

    /// Whether a request is this server's own.
    pub(super) fn is_mine(&self, id: &RequestId) -> bool {
        self.pending.lock().contains(id)
    }

    /// Does what another server, or an emitter, says. `from` is its id, where it gives one.
    pub(super) fn handle(self: &Arc<Self>, from: Option<&ByteString>, body: Body) {
        match body {
            Body::Broadcast { packet, request_id: None, opts } => {
                self.local.broadcast(&packet.data, &options(&opts));
            }
            Body::Broadcast { packet, request_id: Some(id), opts } => {
                self.ask_clients(from, &packet, id, &opts);
            }
            Body::SocketsJoin { opts, rooms } => self.local.sockets_join(&options(&opts), &named(&rooms)),
            Body::SocketsLeave { opts, rooms } => self.local.sockets_leave(&options(&opts), &named(&rooms)),
            Body::DisconnectSockets { opts, close } => self.local.disconnect_sockets(&options(&opts), close),
            Body::FetchSockets { opts, request_id } => {
                let sockets = self.local.sockets(&options(&opts));
                match Sockets::new(&sockets) {
                    Ok(sockets) => self.respond(from, Body::FetchSocketsResponse { request_id, sockets }),
                    Err(error) => tracing::error!(%error, "sockets cannot be told of"),
                }
            }
            Body::ServerSideEmit { request_id: None, data } => self.local.server_side_event(&data, None),
            Body::ServerSideEmit { request_id: Some(id), data } => self.ask_listeners(from, id, &data),
            Body::FetchSocketsResponse { request_id, sockets } => {
                self.answer(&request_id, from, Answer::Sockets(sockets));
            }
            Body::BroadcastAck { request_id, answer }
            | Body::ServerSideEmitResponse { request_id, answer } => {
                self.answer(&request_id, from, Answer::Value(answer));
            }
            Body::BroadcastClientCount { request_id, client_count } => {
                let progress = self.pending.lock().client_count(&request_id, text(from), client_count);
                finish(progress);
            }
            // They belong to adapters that know each other by heartbeats.
            Body::AdapterClose | Body::Heartbeat | Body::InitialHeartbeat => {}
        }
    }

    /// Takes an answer to a request of this server.
    pub(super) fn answer(&self, id: &RequestId, from: Option<&ByteString>, answer: Answer) {
        let mut pending = self.pending.lock();
        if let (Answer::Value(value), Some(Waiter::Clients(answers) | Waiter::Servers(answers))) =
            (&answer, pending.waiter(id))
            && pending.accepts(id, text(from))
        {
            // Whoever waited may have stopped waiting.
            let _ = answers.send(Ok(value.clone()));
        }
        let progress = pending.answer(id, text(from), answer);
        drop(pending);
        finish(progress);
    }

    /// Answers a broadcast that asks for acknowledgements: first how many come, then each.
    fn ask_clients(
        self: &Arc<Self>,
        from: Option<&ByteString>,
        packet: &EventPacket,
        id: RequestId,
        opts: &Opts,
    ) {
        let mut answers = self.local.broadcast_with_ack(&packet.data, &options(opts));
        let client_count = answers.count() as u64;
        self.respond(from, Body::BroadcastClientCount { request_id: id.clone(), client_count });
        if client_count == 0 {
            return;
        }
        let (node, from) = (Arc::clone(self), from.cloned());
        self.runtime.spawn(async move {
            while let Some(answer) = answers.next().await {
                node.respond(from.as_ref(), Body::BroadcastAck { request_id: id.clone(), answer });
            }
        });
    }

    /// Answers an event of another server that asks for an answer.
    fn ask_listeners(self: &Arc<Self>, from: Option<&ByteString>, request_id: RequestId, data: &Payload) {
        let (answer, answered) = oneshot::channel();
        self.local.server_side_event(data, Some(answer));
        let (node, from) = (Arc::clone(self), from.cloned());
        self.runtime.spawn(async move {
            if let Ok(answer) = answered.await {
                node.respond(from.as_ref(), Body::ServerSideEmitResponse { request_id, answer });
            }
        });
    }

    fn respond(&self, to: Option<&ByteString>, body: Body) {
        if let Err(error) = self.wire.respond(text(to), body) {
            tracing::debug!(%error, "an answer to another server is not sent");
        }
    }

    fn publish(&self, body: Body) {
        if let Err(error) = self.wire.publish(body) {
            tracing::debug!(%error, "a message to the other servers is not sent");
        }
    }

    fn begin(&self, id: &RequestId, asked: Asked, within: Duration, waiter: Waiter) {
        let now = Instant::now();
        let deadline = now.checked_add(within).unwrap_or(now + FAR_FUTURE);
        let progress = self.pending.lock().begin(id, asked, deadline, waiter);
        self.changed.notify_one();
        finish(progress);
    }

    /// Counts the other servers.
    ///
    /// This one is taken off only if it is certainly counted: if Redis has had one and the same subscription of it from
    /// before it was asked until it has answered. If that is not known, one server too many is expected, and the end says
    /// that an answer is missing; with one too few, an answer would be missing and nobody would know.
    ///
    /// Redis is asked when this is called, if that is possible: before what the caller publishes next.
    fn others(self: &Arc<Self>) -> impl Future<Output = Result<usize, LinkError>> + Send + use<W> {
        let (link, channel) = self.wire.counted();
        let away = link.check_away();
        let before = link.confirmation(&channel);
        let asked = before.filter(|_| away.is_ok()).map(|_| self.wire.server_count());
        let node = Arc::clone(self);
        async move {
            away.inspect_err(|error| tracing::debug!(%error, "the other servers are not asked"))?;
            let (link, channel) = node.wire.counted();
            let (before, counted) = match asked {
                Some(asked) => (before, asked.await),
                None => {
                    // Who is not subscribed hears no answers either: a moment is given for it.
                    let before = link.confirmed(&channel, SUBSCRIPTION_PATIENCE).await;
                    (before, node.wire.server_count().await)
                }
            };
            let count = counted
                .inspect_err(|error| tracing::debug!(%error, "the other servers cannot be counted"))?;
            let is_counted = before.is_some() && before == link.confirmation(&channel);
            Ok(count.saturating_sub(usize::from(is_counted)))
        }
    }

    /// Asks all other servers, and waits for their answers. An error: it is not known how many there are.
    async fn gather(
        self: Arc<Self>,
        asked: fn(usize) -> Asked,
        waiter: fn(oneshot::Sender<Outcome>) -> Waiter,
        ask: impl FnOnce(&Self, &RequestId),
        within: Duration,
    ) -> Result<Outcome, LinkError> {
        let servers = self.others().await?;
        let nothing =
            Outcome { answers: Vec::new(), servers: Some(servers), servers_answered: 0, clients: 0 };
        if servers == 0 {
            return Ok(nothing);
        }
        let (sender, outcome) = oneshot::channel();
        let id = self.wire.request_id();
        self.begin(&id, asked(servers), within, waiter(sender));
        ask(&self, &id);
        // The deadline ends it, or the end of the node.
        Ok(outcome.await.unwrap_or(nothing))
    }

    /// The adapter of this node.
    pub(super) fn adapter(self: Arc<Self>) -> Arc<dyn Adapter> {
        Arc::new(NodeAdapter(self))
    }
}

impl<W> Drop for Node<W> {
    fn drop(&mut self) {
        self.changed.notify_one();
        // A channel that is only closed would say that all have answered.
        let left = self.pending.lock().withdraw_where(|_| true);
        for (waiter, outcome) in left {
            match waiter {
                Waiter::Clients(answers) => {
                    let reason = "the namespace is gone".to_owned();
                    let _ = answers.send(Err(AckError::Unavailable { reason }));
                }
                waiter => conclude(waiter, outcome),
            }
        }
    }
}

/// Ends what nobody answers in time.
async fn keep_time<W: Wire>(node: Weak<Node<W>>, changed: Arc<Notify>) {
    loop {
        let Some(next) = node.upgrade().map(|node| node.pending.lock().poll_timeout()) else { return };
        match next {
            None => changed.notified().await,
            Some(deadline) => {
                tokio::select! {
                    () = tokio::time::sleep_until(deadline.into()) => {}
                    () = changed.notified() => {}
                }
            }
        }
        let Some(node) = node.upgrade() else { return };
        let late = node.pending.lock().handle_timeout(Instant::now());
        for (waiter, outcome) in late {
            conclude(waiter, outcome);
        }
    }
}

fn finish(progress: Progress<Waiter>) {
    if let Progress::Complete(waiter, outcome) = progress {
        conclude(waiter, outcome);
    }
}

/// Tells who waited. Called outside the lock: it wakes.
fn conclude(waiter: Waiter, outcome: Outcome) {
    match waiter {
        Waiter::Rooms(sender) | Waiter::Sockets(sender) => drop(sender.send(outcome)),
        Waiter::Clients(answers) => {
            if !outcome.is_complete() {
                let _ = answers.send(Err(AckError::Timeout));
            }
        }
        Waiter::Servers(answers) => {
            if let Some(expected) = outcome.servers.filter(|_| outcome.missing_servers() > 0) {
                let received = outcome.servers_answered;
                let _ = answers.send(Err(AckError::Unanswered { received, expected }));
            }
        }
    }
}

/// The [`Adapter`] of a node: what this server says to the others.
#[derive(Debug)]
struct NodeAdapter<W>(Arc<Node<W>>);

impl<W: Wire> Adapter for NodeAdapter<W> {
    fn broadcast(&self, event: &Payload, to: &BroadcastOptions) {
        let packet = EventPacket::new(None, event.clone());
        self.0.publish(Body::Broadcast { packet, request_id: None, opts: opts(to) });
    }

    fn broadcast_kept(&self, event: &Payload, to: &BroadcastOptions, kept: KeptEvent) {
        let packet = EventPacket::new(None, event.clone());
        self.0.wire.publish_kept(Body::Broadcast { packet, request_id: None, opts: opts(to) }, kept);
    }

    fn keep_session(&self, session: KeptSession) {
        if let Some(recovery) = self.0.local.recovery() {
            self.0.wire.keep_session(session, recovery.max_disconnection_duration);
        }
    }

    fn restore_session(
        &self,
        pid: &str,
        offset: &str,
    ) -> BoxFuture<'static, Result<RestoredSession, RecoveryError>> {
        self.0.wire.restore_session(pid, offset)
    }

    fn broadcast_with_ack(&self, event: &Payload, to: &BroadcastOptions) -> RemoteAnswers {
        let (answers, receiver) = mpsc::unbounded_channel();
        let id = self.0.wire.request_id();
        let within = to.flags.timeout.unwrap_or(DEFAULT_ACK_TIMEOUT);
        self.0.begin(&id, Asked::Broadcast, within, Waiter::Clients(answers));
        // Before the event: who has it has been counted, also if it is gone a moment later.
        let others = self.0.others();
        let packet = EventPacket::new(None, event.clone());
        self.0.publish(Body::Broadcast { packet, request_id: Some(id.clone()), opts: opts(to) });
        let node = Arc::clone(&self.0);
        self.0.runtime.spawn(async move {
            if let Ok(servers) = others.await {
                let progress = node.pending.lock().server_count(&id, servers);
                finish(progress);
            }
        });
        receiver
    }

    fn sockets_join(&self, to: &BroadcastOptions, rooms: &[Room]) {
        self.0.publish(Body::SocketsJoin { opts: opts(to), rooms: names(rooms) });
    }

    fn sockets_leave(&self, to: &BroadcastOptions, rooms: &[Room]) {
        self.0.publish(Body::SocketsLeave { opts: opts(to), rooms: names(rooms) });
    }

    fn disconnect_sockets(&self, to: &BroadcastOptions, close: bool) {
        self.0.publish(Body::DisconnectSockets { opts: opts(to), close });
    }

    fn fetch_sockets(&self, to: &BroadcastOptions) -> BoxFuture<'static, Gathered<RemoteSocket>> {
        let (node, opts) = (Arc::clone(&self.0), opts(to));
        let within = to.flags.timeout.unwrap_or(node.requests_timeout);
        Box::pin(async move {
            let local = node.local.clone();
            let ask = |node: &Node<W>, id: &RequestId| {
                node.publish(Body::FetchSockets { opts, request_id: id.clone() });
            };
            let asked = |servers| Asked::FetchSockets { servers };
            let outcome = match node.gather(asked, Waiter::Sockets, ask, within).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    return Gathered { expected: Err(unavailable(&error)), ..Gathered::nothing() };
                }
            };
            gathered(&outcome, |answer, items| match answer {
                Answer::Sockets(sockets) => items.extend(remote_sockets(&local, sockets)),
                Answer::Rooms(_) | Answer::Value(_) => {}
            })
        })
    }

    fn server_side_emit(&self, event: &Payload) {
        self.0.publish(Body::ServerSideEmit { request_id: None, data: event.clone() });
    }

    fn server_side_emit_with_ack(&self, event: &Payload) -> RemoteAnswers {
        let (answers, receiver) = mpsc::unbounded_channel();
        let (node, data) = (Arc::clone(&self.0), event.clone());
        self.0.runtime.spawn(async move {
            match node.others().await {
                Err(error) => {
                    let reason = error.to_string();
                    let _ = answers.send(Err(AckError::Unavailable { reason }));
                }
                Ok(0) => {}
                Ok(servers) => {
                    let id = node.wire.request_id();
                    let within = node.requests_timeout;
                    node.begin(&id, Asked::ServerSideEmit { servers }, within, Waiter::Servers(answers));
                    node.publish(Body::ServerSideEmit { request_id: Some(id), data });
                }
            }
        });
        receiver
    }

    fn server_count(&self) -> BoxFuture<'static, Result<usize, AdapterError>> {
        let node = Arc::clone(&self.0);
        Box::pin(async move {
            let others = node.others().await.map_err(|error| unavailable(&error))?;
            Ok(others + 1)
        })
    }

    fn all_rooms(&self) -> BoxFuture<'static, Result<Gathered<Room>, AdapterError>> {
        let node = Arc::clone(&self.0);
        let within = node.requests_timeout;
        Box::pin(async move {
            let mut supported = true;
            let ask = |node: &Node<W>, id: &RequestId| match node.wire.ask_rooms(id) {
                None => {
                    supported = false;
                    drop(node.pending.lock().withdraw(id));
                }
                Some(sent) => {
                    drop(sent.inspect_err(|error| tracing::debug!(%error, "rooms are not asked for")));
                }
            };
            let asked = |servers| Asked::AllRooms { servers };
            let outcome = node.gather(asked, Waiter::Rooms, ask, within).await;
            if !supported {
                return Err(AdapterError::Unsupported);
            }
            let outcome = outcome.map_err(|error| unavailable(&error))?;
            Ok(gathered(&outcome, |answer, items| match answer {
                Answer::Rooms(rooms) => items.extend(named(rooms)),
                Answer::Sockets(_) | Answer::Value(_) => {}
            }))
        })
    }

    fn close(&self) {
        self.0.wire.close();
        // Clients have until their deadline, as those of this server have, also where they have left.
        let is_ended = |waiter: &Waiter| !matches!(waiter, Waiter::Clients(_));
        let waiting = self.0.pending.lock().withdraw_where(is_ended);
        for (waiter, outcome) in waiting {
            conclude(waiter, outcome);
        }
    }
}

fn gathered<T>(outcome: &Outcome, take: impl Fn(&Answer, &mut Vec<T>)) -> Gathered<T> {
    let mut items = Vec::new();
    outcome.answers.iter().for_each(|answer| take(answer, &mut items));
    Gathered { items, received: outcome.servers_answered, expected: Ok(outcome.servers.unwrap_or(0)) }
}

fn unavailable(error: &LinkError) -> AdapterError {
    AdapterError::Unavailable { reason: error.to_string() }
}

fn remote_sockets(local: &LocalNode, sockets: &Sockets) -> Vec<RemoteSocket> {
    let details = match sockets.details() {
        Ok(details) => details,
        Err(error) => {
            tracing::warn!(%error, "what another server tells of its sockets cannot be read");
            return Vec::new();
        }
    };
    let remote = details.into_iter().filter_map(|socket| {
        let data = match socket.data {
            Value::Object(data) => data,
            _ => crate::proto::socketio::Map::new(),
        };
        local.remote_socket(&socket.id, socket.handshake, named(&socket.rooms), data)
    });
    remote.collect()
}

fn text(uid: Option<&ByteString>) -> Option<&str> {
    uid.map(|uid| &**uid)
}

fn named(rooms: &[ByteString]) -> Vec<Room> {
    rooms.iter().map(|room| Room::from(&**room)).collect()
}

fn names(rooms: &[Room]) -> Vec<ByteString> {
    rooms.iter().map(|room| ByteString::from(room.as_str())).collect()
}

/// As the others read it.
pub(super) fn opts(to: &BroadcastOptions) -> Opts {
    let timeout = to.flags.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    Opts {
        rooms: names(&to.rooms),
        except: names(&to.except),
        flags: Flags {
            expect_single_response: to.flags.expect_single_response,
            timeout,
            volatile: to.flags.volatile,
            compress: to.flags.compress,
        },
    }
}

/// As this server reads it.
pub(super) fn options(opts: &Opts) -> BroadcastOptions {
    let mut flags = BroadcastFlags::default();
    flags.volatile = opts.flags.volatile;
    flags.compress = opts.flags.compress;
    flags.timeout = opts.flags.timeout.map(Duration::from_millis);
    BroadcastOptions { rooms: named(&opts.rooms), except: named(&opts.except), flags }
}

/// Six characters of Node's ids.
pub(super) fn short_id() -> String {
    let mut id = crate::engine::random_id();
    id.truncate(6);
    id
}

/// Sixteen hexadecimal digits, as Node's cluster adapters make them.
pub(super) fn long_id() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// How long a question waits until this server is subscribed: at the start, or when it has just been thrown out.
const SUBSCRIPTION_PATIENCE: Duration = Duration::from_secs(1);

/// What a timeout beyond the end of time comes to: thirty years.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
