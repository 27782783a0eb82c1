//! A subscribing connection: it keeps Redis's subscriptions as they are wanted, connects again, and notices when it is deaf.
//!
//! What is wanted is a set; each connection brings Redis's subscriptions in line with it, when it is made and when the set
//! changes. Messages are handled while they are read: what is not read yet waits in Redis, which has limits for it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{Msg, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::connect::{self, ConnectError, Io, Target, Task};
use super::link::{Channel, ConnectionState, Handler, Incoming, Shared};
use super::router::{Kind, Route};
use super::topology::{Topology, slot};
use crate::sync::Mutex;

/// What is wanted, and the connections that see to it.
#[derive(Default)]
pub(super) struct Subscriptions {
    wanted: HashMap<Channel, Wanted>,
    listeners: HashMap<Key, Listener>,
    /// Of a cluster; empty otherwise, and as long as it is unknown.
    topology: Topology,
    next_id: u64,
    closing: bool,
}

struct Wanted {
    id: u64,
    handler: Handler,
    confirmed: bool,
    refused: Option<Arc<str>>,
}

struct Listener {
    /// What may differ from what Redis has, or everything: then it is compared.
    dirty: HashSet<Channel>,
    all: bool,
    state: ConnectionState,
    wake: Arc<Notify>,
    _task: Task,
}

/// Which of the connections a channel belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Channels and patterns: whatever node, a cluster passes them on to all.
    Plain,
    /// Sharded channels whose slots this node owns.
    Sharded(Target),
}

impl Subscriptions {
    /// Wants a channel; gives the id that [`Subscriptions::remove`] asks for. A handler that was there is replaced.
    pub(super) fn add(
        &mut self,
        shared: &Arc<Shared>,
        channel: Channel,
        handler: Handler,
    ) -> (u64, Option<Handler>) {
        self.next_id += 1;
        let id = self.next_id;
        if self.closing {
            return (id, Some(handler));
        }
        let confirmed = self.wanted.get(&channel).is_some_and(|wanted| wanted.confirmed);
        let wanted = Wanted { id, handler, confirmed, refused: None };
        let replaced = self.wanted.insert(channel.clone(), wanted);
        self.touch(shared, channel);
        (id, replaced.map(|wanted| wanted.handler))
    }

    /// Wants a channel no longer, unless somebody else has taken it over. The handler is to be dropped without the lock.
    pub(super) fn remove(&mut self, shared: &Shared, channel: &Channel, id: u64) -> Option<Handler> {
        if self.wanted.get(channel).is_none_or(|wanted| wanted.id != id) {
            return None;
        }
        let removed = self.wanted.remove(channel);
        if let Some(listener) = self.key(shared, channel).and_then(|key| self.listeners.get_mut(&key)) {
            listener.dirty.insert(channel.clone());
            listener.wake.notify_one();
        }
        removed.map(|wanted| wanted.handler)
    }

    /// Has the connection of a channel look at it; the first channel makes the connection.
    fn touch(&mut self, shared: &Arc<Shared>, channel: Channel) {
        let Some(key) = self.key(shared, &channel) else { return };
        let listener = self.listener(shared, key);
        listener.dirty.insert(channel);
        listener.wake.notify_one();
    }

    fn listener(&mut self, shared: &Arc<Shared>, key: Key) -> &mut Listener {
        self.listeners.entry(key.clone()).or_insert_with(|| {
            let wake = Arc::new(Notify::new());
            let state = ConnectionState::Reconnecting { since: Instant::now(), attempts: 0 };
            let task = Task::spawn_on(&shared.runtime, run(Arc::clone(shared), key, Arc::clone(&wake)));
            Listener { dirty: HashSet::new(), all: true, state, wake, _task: task }
        })
    }

    /// The connection of a channel; none as long as the owner of its slot is unknown.
    fn key(&self, shared: &Shared, channel: &Channel) -> Option<Key> {
        match channel {
            Channel::Sharded(name) if shared.config.is_cluster() => {
                let owner = self.topology.owner(slot(name))?;
                Some(Key::Sharded(Target::Node(owner.clone())))
            }
            Channel::Sharded(_) => Some(Key::Sharded(Target::Configured)),
            _ => Some(Key::Plain),
        }
    }

    pub(super) fn set_topology(&mut self, shared: &Arc<Shared>, topology: Topology) {
        self.topology = topology;
        let masters: Vec<_> = self.topology.masters().into_iter().cloned().map(Target::Node).collect();
        self.listeners.retain(|key, _| !matches!(key, Key::Sharded(target) if !masters.contains(target)));
        let sharded = self.wanted.keys().filter(|channel| matches!(channel, Channel::Sharded(_)));
        let keys: HashSet<_> = sharded.filter_map(|channel| self.key(shared, channel)).collect();
        for key in keys {
            self.listener(shared, key);
        }
        for listener in self.listeners.values_mut() {
            listener.all = true;
            listener.wake.notify_one();
        }
    }

    /// What a connection must subscribe and unsubscribe, given what it has.
    fn changes(&mut self, shared: &Shared, key: &Key, have: &HashSet<Channel>) -> Changes {
        let mut changes = Changes { add: Vec::new(), remove: Vec::new() };
        let Some(listener) = self.listeners.get_mut(key) else { return changes };
        let dirty = std::mem::take(&mut listener.dirty);
        let candidates: HashSet<Channel> = if std::mem::take(&mut listener.all) {
            self.wanted.keys().chain(have).cloned().collect()
        } else {
            dirty
        };
        for channel in candidates {
            let wants =
                self.wanted.contains_key(&channel) && self.key(shared, &channel).as_ref() == Some(key);
            match (wants, have.contains(&channel)) {
                (true, false) => changes.add.push(channel),
                (false, true) => changes.remove.push(channel),
                (true, true) => self.confirm(&channel),
                (false, false) => {}
            }
        }
        changes
    }

    fn confirm(&mut self, channel: &Channel) {
        if let Some(wanted) = self.wanted.get_mut(channel) {
            (wanted.confirmed, wanted.refused) = (true, None);
        }
    }

    fn unconfirm(&mut self, channel: &Channel, refused: Option<Arc<str>>) {
        if let Some(wanted) = self.wanted.get_mut(channel) {
            (wanted.confirmed, wanted.refused) = (false, refused);
        }
    }

    fn set_state(&mut self, key: &Key, state: ConnectionState) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.state = state;
        }
    }

    /// A connection compares everything at its next turn.
    fn compare_all(&mut self, key: &Key) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.all = true;
        }
    }

    fn handler(&self, channel: &Channel) -> Option<Handler> {
        self.wanted.get(channel).map(|wanted| Arc::clone(&wanted.handler))
    }

    /// The worst of all connections.
    pub(super) fn state(&self) -> ConnectionState {
        if self.closing {
            return ConnectionState::Closed;
        }
        let worst =
            self.listeners.values().map(|listener| listener.state).max_by_key(ConnectionState::badness);
        worst.unwrap_or(ConnectionState::Idle)
    }

    /// Whether Redis has confirmed all that is wanted; or which channel it refused, and why.
    pub(super) fn ready(&self) -> Result<bool, (Channel, Arc<str>)> {
        for (channel, wanted) in &self.wanted {
            if let Some(reason) = &wanted.refused {
                return Err((channel.clone(), Arc::clone(reason)));
            }
        }
        Ok(self.wanted.values().all(|wanted| wanted.confirmed))
    }

    pub(super) fn is_confirmed(&self, channel: &Channel, id: u64) -> bool {
        self.wanted.get(channel).is_some_and(|wanted| wanted.id == id && wanted.confirmed)
    }

    /// Has all connections unsubscribe and end. The handlers are to be dropped without the lock.
    pub(super) fn close(&mut self) -> Vec<Handler> {
        self.closing = true;
        for listener in self.listeners.values_mut() {
            listener.all = true;
            listener.wake.notify_one();
        }
        self.wanted.drain().map(|(_, wanted)| wanted.handler).collect()
    }

    pub(super) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Ends all connections at once.
    pub(super) fn end(&mut self) -> Vec<Handler> {
        let handlers = self.close();
        self.listeners.clear();
        handlers
    }
}

struct Changes {
    add: Vec<Channel>,
    remove: Vec<Channel>,
}

impl Changes {
    /// As many at a time as Redis certainly confirms within the time for an answer.
    fn portions(mut self) -> impl Iterator<Item = Changes> {
        std::iter::from_fn(move || {
            let take = |from: &mut Vec<Channel>| from.split_off(from.len().saturating_sub(PORTION));
            let portion = Changes { remove: take(&mut self.remove), add: take(&mut self.add) };
            (portion.add.len() + portion.remove.len() > 0).then_some(portion)
        })
    }
}

/// Connects, subscribes, listens, and connects again, until the link closes or ends it.
async fn run(shared: Arc<Shared>, key: Key, wake: Arc<Notify>) {
    let config = &shared.config;
    let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
    let (mut since, mut attempts) = (Instant::now(), 0_u32);
    let mut was_connected = false;
    loop {
        let ping = Arc::new(Ping::new(&shared, &key));
        let opened = tokio::select! {
            opened = open(&shared, &key, attempts, &ping, &wake) => opened,
            () = closing(&shared, &wake) => Err(lost("the link is being closed")),
        };
        let end = match opened {
            Ok(mut listening) => {
                let mut have = HashSet::new();
                let subscribed = || {
                    info!(key = ?key, "subscribing connection to Redis is there");
                    if std::mem::replace(&mut was_connected, true) {
                        shared.counters.reconnects.add();
                    }
                    attempts = 0;
                    backoff.reset();
                    shared.subscriptions.lock().set_state(&key, ConnectionState::Connected);
                    shared.succeeded();
                };
                let end = serve(&shared, &key, &wake, &ping, &mut listening, &mut have, subscribed).await;
                let mut subscriptions = shared.subscriptions.lock();
                for channel in &have {
                    subscriptions.unconfirm(channel, None);
                }
                subscriptions.compare_all(&key);
                end
            }
            Err(error) => End::Lost(error),
        };
        match end {
            End::Closed => {
                shared.subscriptions.lock().listeners.remove(&key);
                shared.progressed();
                return;
            }
            End::Deaf => {
                warn!(key = ?key, "a subscribing connection to Redis has become deaf and is made anew");
                shared.counters.watchdog_renewals.add();
                (since, attempts) = (Instant::now(), 0);
            }
            End::Lost(error) => {
                if attempts == 0 {
                    since = Instant::now();
                    warn!(key = ?key, %error, "no subscribing connection to Redis");
                } else {
                    debug!(key = ?key, %error, attempts, "no subscribing connection to Redis");
                }
                attempts += 1;
                shared.failed(&error);
            }
        }
        shared.subscriptions.lock().set_state(&key, ConnectionState::Reconnecting { since, attempts });
        shared.progressed();
        shared.refresh_topology();
        tokio::select! {
            () = sleep(backoff.delay()) => {}
            // Nothing is left to unsubscribe.
            () = closing(&shared, &wake) => {}
        }
        if shared.subscriptions.lock().closing {
            shared.subscriptions.lock().listeners.remove(&key);
            return shared.progressed();
        }
    }
}

async fn closing(shared: &Shared, wake: &Notify) {
    while !shared.subscriptions.lock().closing {
        wake.notified().await;
    }
}

/// How a connection ended.
enum End {
    Closed,
    Deaf,
    Lost(ConnectError),
}

/// Keeps one connection's subscriptions in line with what is wanted.
async fn serve(
    shared: &Arc<Shared>,
    key: &Key,
    wake: &Notify,
    ping: &Ping,
    listening: &mut Listening,
    have: &mut HashSet<Channel>,
    subscribed: impl FnOnce(),
) -> End {
    let mut deaf = pin!(ping.becomes_deaf(shared));
    let mut subscribed = Some(subscribed);
    let mut own = vec![ping.channel.clone()];
    loop {
        for name in listening.moves.take() {
            let channel = Channel::Sharded(name);
            have.remove(&channel);
            shared.refresh_topology();
            let mut subscriptions = shared.subscriptions.lock();
            subscriptions.unconfirm(&channel, None);
            subscriptions.touch(shared, channel);
        }
        let (mut changes, closing) = {
            let mut subscriptions = shared.subscriptions.lock();
            (subscriptions.changes(shared, key, have), subscriptions.closing)
        };
        changes.add.append(&mut own);
        if closing {
            changes =
                Changes { add: Vec::new(), remove: have.drain().chain([ping.channel.clone()]).collect() };
        }
        let mut retry: Option<Duration> = None;
        for portion in changes.portions() {
            let answers = tokio::select! {
                () = listening.task.ended() => return End::Lost(lost("Redis closed the connection")),
                answers = timeout(
                    shared.config.response_timeout,
                    listening.control.apply(&listening.moves, &portion),
                ) => answers,
            };
            let answers = match answers {
                Ok(Ok(answers)) => answers,
                Ok(Err(error)) => return End::Lost(error.into()),
                Err(_) => return End::Lost(lost("Redis does not answer")),
            };
            for channel in portion.remove {
                have.remove(&channel);
            }
            let mut granted = portion.add.iter().zip(&answers);
            if granted.any(|(channel, answer)| *channel == ping.channel && answer.is_err()) {
                warn!(key = ?key, "Redis refuses the watchdog's channel: nobody notices a deaf subscription");
                ping.gives_up();
            }
            retry = keep_answers(shared, have, portion.add, answers).or(retry);
            if let Some(subscribed) = subscribed.take() {
                subscribed();
            }
            shared.progressed();
        }
        if closing {
            return End::Closed;
        }
        if listening.moves.is_confused() {
            return End::Lost(lost("a slot moved while subscriptions were being changed"));
        }
        let retry = async {
            match retry {
                Some(delay) => sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wake.notified() => {}
            () = listening.task.ended() => return End::Lost(lost("Redis closed the connection")),
            () = &mut deaf => return End::Deaf,
            () = retry => shared.subscriptions.lock().compare_all(key),
        }
    }
}

/// Notes which subscriptions are there; when to try again those that this node does not, or not yet, take.
fn keep_answers(
    shared: &Arc<Shared>,
    have: &mut HashSet<Channel>,
    channels: Vec<Channel>,
    answers: Vec<Result<(), RedisError>>,
) -> Option<Duration> {
    let mut retry = None;
    for (channel, answer) in channels.into_iter().zip(answers) {
        let mut subscriptions = shared.subscriptions.lock();
        match answer {
            Ok(()) => {
                subscriptions.confirm(&channel);
                have.insert(channel);
            }
            Err(refused)
                if shared.config.is_cluster()
                    && matches!(refused.code(), Some("CLUSTERDOWN" | "MOVED" | "TRYAGAIN")) =>
            {
                subscriptions.unconfirm(&channel, None);
                shared.refresh_topology();
                retry = Some(RETRY_MOVED);
            }
            Err(refused) => {
                error!(channel = %channel, %refused, "Redis refuses a subscription");
                subscriptions.unconfirm(&channel, Some(refused.to_string().into()));
                retry = retry.or(Some(RETRY_REFUSED));
            }
        }
    }
    retry
}

fn lost(reason: &'static str) -> ConnectError {
    ConnectError::Io(io::Error::other(reason))
}

/// A connection that listens, and the task that reads it.
struct Listening {
    control: Control,
    task: Task,
    moves: Arc<Moves>,
}

enum Control {
    Resp2(PubSubSink),
    Resp3(MultiplexedConnection),
}

async fn open(
    shared: &Arc<Shared>,
    key: &Key,
    attempts: u32,
    ping: &Arc<Ping>,
    wake: &Arc<Notify>,
) -> Result<Listening, ConnectError> {
    let moves = Arc::new(Moves { wake: Arc::clone(wake), ..Moves::default() });
    let target = match key {
        Key::Plain if shared.config.is_cluster() => {
            // Another node at each attempt.
            let targets = shared.router.lock().targets();
            let index = (attempts as usize).checked_rem(targets.len());
            index
                .map(|index| targets[index].clone())
                .ok_or_else(|| lost("no node of the cluster is known yet"))?
        }
        Key::Plain => Target::Configured,
        Key::Sharded(target) => target.clone(),
    };
    let (hearing, ping) = (Arc::clone(shared), Arc::clone(ping));
    if *key == Key::Plain && !shared.config.resp3 {
        let gate = Arc::new(Gate::default());
        let inner = Arc::clone(&gate);
        let pubsub = connect::pubsub(&shared.config, &target, |stream| Gated { stream, gate: inner }).await?;
        let (sink, stream) = pubsub.split();
        let task = Task::spawn(pump(hearing, ping, stream, gate));
        return Ok(Listening { control: Control::Resp2(sink), task, moves });
    }
    let moved = Arc::clone(&moves);
    // It runs in the task that reads the connection.
    let push = move |push: PushInfo| {
        if push.kind == PushKind::SUnsubscribe {
            moved.left(push.data);
        } else if let Some((channel, incoming)) = pushed(push) {
            heard(&hearing, &ping, &channel, incoming);
        }
        Ok::<_, redis::aio::SendError>(())
    };
    let commands = connect::pushes(&shared.config, &target, push).await?;
    Ok(Listening { control: Control::Resp3(commands.connection), task: commands.driver, moves })
}

impl Control {
    /// Subscribes and unsubscribes; gives the answers to what is added.
    async fn apply(
        &mut self,
        moves: &Moves,
        changes: &Changes,
    ) -> Result<Vec<Result<(), RedisError>>, RedisError> {
        match self {
            Control::Resp2(sink) => {
                for (channels, add) in [(&changes.remove, false), (&changes.add, true)] {
                    let (patterns, plain): (Vec<_>, Vec<_>) =
                        channels.iter().partition(|channel| matches!(channel, Channel::Pattern(_)));
                    let names = |channels: Vec<&Channel>| {
                        channels.iter().map(|c| c.name().to_vec()).collect::<Vec<_>>()
                    };
                    let (patterns, plain) = (names(patterns), names(plain));
                    let refused = match (add, plain.is_empty(), patterns.is_empty()) {
                        (true, plain_empty, patterns_empty) => {
                            let plain = if plain_empty { Ok(()) } else { sink.subscribe(&plain).await };
                            let patterns =
                                if patterns_empty { Ok(()) } else { sink.psubscribe(&patterns).await };
                            plain.and(patterns)
                        }
                        (false, plain_empty, patterns_empty) => {
                            let plain = if plain_empty { Ok(()) } else { sink.unsubscribe(&plain).await };
                            let patterns =
                                if patterns_empty { Ok(()) } else { sink.punsubscribe(&patterns).await };
                            plain.and(patterns)
                        }
                    };
                    match refused {
                        Ok(()) => {}
                        // One of them is refused: which one, each alone tells.
                        Err(error) if error.code().is_some() && add => {
                            return one_by_one(sink, &changes.add).await;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(changes.add.iter().map(|_| Ok(())).collect())
            }
            Control::Resp3(connection) => {
                moves.expect(&changes.remove);
                let removed = command_each(connection, &changes.remove, false).await;
                let added = command_each(connection, &changes.add, true).await;
                moves.expect(&[]);
                removed?;
                added
            }
        }
    }
}

async fn one_by_one(
    sink: &mut PubSubSink,
    channels: &[Channel],
) -> Result<Vec<Result<(), RedisError>>, RedisError> {
    let mut answers = Vec::with_capacity(channels.len());
    for channel in channels {
        let answer = match channel {
            Channel::Pattern(name) => sink.psubscribe(&name[..]).await,
            Channel::Plain(name) | Channel::Sharded(name) => sink.subscribe(&name[..]).await,
        };
        match answer {
            Err(error) if error.code().is_none() => return Err(error),
            answer => answers.push(answer),
        }
    }
    Ok(answers)
}

/// One command each, many in one write: sharded channels of different slots may not share a command.
async fn command_each(
    connection: &mut MultiplexedConnection,
    channels: &[Channel],
    add: bool,
) -> Result<Vec<Result<(), RedisError>>, RedisError> {
    let mut answers = Vec::with_capacity(channels.len());
    for channels in channels.chunks(COMMANDS_PER_WRITE) {
        let mut pipeline = Pipeline::with_capacity(channels.len());
        for channel in channels {
            let name = match (channel, add) {
                (Channel::Pattern(_), true) => "PSUBSCRIBE",
                (Channel::Pattern(_), false) => "PUNSUBSCRIBE",
                (Channel::Plain(_), true) => "SUBSCRIBE",
                (Channel::Plain(_), false) => "UNSUBSCRIBE",
                (Channel::Sharded(_), true) => "SSUBSCRIBE",
                (Channel::Sharded(_), false) => "SUNSUBSCRIBE",
            };
            pipeline.cmd(name).arg(&channel.name()[..]);
        }
        let values = connection.req_packed_commands(&pipeline, 0, channels.len()).await?;
        answers.extend(values.into_iter().map(|value| value.extract_error().map(|_| ())));
    }
    Ok(answers)
}

/// Reads a RESP2 connection.
async fn pump(shared: Arc<Shared>, ping: Arc<Ping>, mut stream: PubSubStream, gate: Arc<Gate>) {
    loop {
        tokio::select! {
            biased;
            message = stream.next() => match message {
                Some(message) => {
                    if let Some((channel, incoming)) = message_of(&message) {
                        heard(&shared, &ping, &channel, incoming);
                    }
                }
                None => return,
            },
            () = gate.full.notified() => gate.open(),
        }
    }
}

fn message_of(message: &Msg) -> Option<(Channel, Incoming)> {
    let channel = Bytes::from(message.get_channel::<Vec<u8>>().ok()?);
    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
    let subscribed = if message.from_pattern() {
        Channel::Pattern(message.get_pattern::<Vec<u8>>().ok()?.into())
    } else {
        Channel::Plain(channel.clone())
    };
    Some((subscribed, Incoming { channel, payload }))
}

fn pushed(push: PushInfo) -> Option<(Channel, Incoming)> {
    let bytes = |value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    };
    let mut data = push.data.into_iter().map(bytes);
    let pattern = if push.kind == PushKind::PMessage { Some(data.next()??) } else { None };
    let incoming = Incoming { channel: data.next()??, payload: data.next()?? };
    let subscribed = match push.kind {
        PushKind::Message => Channel::Plain(incoming.channel.clone()),
        PushKind::PMessage => Channel::Pattern(pattern?),
        PushKind::SMessage => Channel::Sharded(incoming.channel.clone()),
        _ => return None,
    };
    Some((subscribed, incoming))
}

fn heard(shared: &Shared, ping: &Ping, subscribed: &Channel, incoming: Incoming) {
    if *subscribed == ping.channel {
        return ping.came_back(&incoming.payload);
    }
    let handler = shared.subscriptions.lock().handler(subscribed);
    let Some(handler) = handler else { return };
    shared.counters.received.add();
    // The other channels of this connection must not suffer.
    if catch_unwind(AssertUnwindSafe(|| handler(incoming))).is_err() {
        error!(channel = %subscribed, "the handler of a subscription panicked");
    }
}

/// Sharded channels that Redis unsubscribes on its own, because their slot has moved.
#[derive(Default)]
struct Moves {
    state: Mutex<MovesState>,
    confused: AtomicBool,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct MovesState {
    /// Those that we unsubscribe.
    expected: Option<HashSet<Bytes>>,
    moved: Vec<Bytes>,
}

impl Moves {
    /// Commands are under way from now on, or (nothing) no longer.
    fn expect(&self, leaving: &[Channel]) {
        let leaving: HashSet<_> = leaving.iter().map(|channel| channel.name().clone()).collect();
        let mut state = self.state.lock();
        state.expected = match state.expected {
            None => Some(leaving),
            Some(_) => None,
        };
    }

    fn left(&self, data: Vec<Value>) {
        let Some(Value::BulkString(name)) = data.into_iter().next() else { return };
        let name = Bytes::from(name);
        {
            let mut state = self.state.lock();
            match &state.expected {
                Some(expected) if expected.contains(&name) => return,
                // The client library took it for the answer to a command that is under way; from now on each answer
                // is taken for that of the command after it.
                Some(_) => self.confused.store(true, Ordering::Relaxed),
                None => {}
            }
            state.moved.push(name);
        }
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.state.lock().moved)
    }

    fn is_confused(&self) -> bool {
        self.confused.load(Ordering::Relaxed)
    }
}

/// A message of our own through Redis, on a channel that nobody else knows and nobody counts.
struct Ping {
    channel: Channel,
    route: Route,
    seen: watch::Sender<u64>,
}

impl Ping {
    fn new(shared: &Shared, key: &Key) -> Ping {
        let mut name = shared.ping_channel();
        let (channel, route): (fn(Bytes) -> Channel, _) = match key {
            Key::Plain => (Channel::Plain, Route::Any),
            Key::Sharded(Target::Configured) => (Channel::Sharded, Route::Any),
            Key::Sharded(Target::Node(node)) => {
                // A name whose slot this node owns; a node with a hundredth of the slots is found with certainty.
                for _ in 0..2000 {
                    if shared.subscriptions.lock().topology.owner(slot(&name)) == Some(node) {
                        break;
                    }
                    name = shared.ping_channel();
                }
                (Channel::Sharded, Route::Slot(slot(&name)))
            }
        };
        Ping { channel: channel(name), route, seen: watch::Sender::new(0) }
    }

    fn came_back(&self, payload: &[u8]) {
        if let Some(number) = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()) {
            self.seen.send_replace(number);
        }
    }

    fn gives_up(&self) {
        self.seen.send_replace(u64::MAX);
    }

    /// Ends when Redis has taken a ping and it has not come back in time.
    async fn becomes_deaf(&self, shared: &Shared) {
        let mut seen = self.seen.subscribe();
        for number in 1_u64.. {
            sleep(shared.config.ping_interval).await;
            let command = match self.channel {
                Channel::Sharded(_) => "SPUBLISH",
                _ => "PUBLISH",
            };
            let command = redis::cmd(command).arg(&self.channel.name()[..]).arg(number).take();
            let asked =
                shared.ask(vec![command], self.route.clone(), Kind::Question, shared.config.ping_timeout);
            // Without a publishing connection nothing is known of this one.
            if asked.await.is_ok()
                && timeout(shared.config.ping_timeout, seen.wait_for(|&seen| seen >= number)).await.is_err()
            {
                return;
            }
        }
    }
}

/// Lets a RESP2 connection read no more than is handled: the client library puts what it has read into a queue without a
/// bound, so reading pauses until that queue is empty.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    full: Notify,
}

#[derive(Default)]
struct GateState {
    read: usize,
    waker: Option<Waker>,
}

impl Gate {
    fn open(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.read = 0;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Gated<S> {
    stream: S,
    gate: Arc<Gate>,
}

impl<S: Io> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_full = {
            let mut state = self.gate.state.lock();
            let is_full = state.read >= GATE_BYTES;
            if is_full {
                state.waker = Some(cx.waker().clone());
            }
            is_full
        };
        if is_full {
            self.gate.full.notify_one();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.gate.state.lock().read += buffer.filled().len() - before;
        polled
    }
}

impl<S: Io> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Read at once from a RESP2 connection before it is handled: many messages, and little memory.
const GATE_BYTES: usize = 256 * 1024;
/// Channels subscribed between two looks at what else has happened.
const PORTION: usize = 2000;
/// Their answers come back in one piece, too.
const COMMANDS_PER_WRITE: usize = 256;
/// A cluster that moves a slot, or elects a master, is done within moments.
const RETRY_MOVED: Duration = Duration::from_millis(200);
/// Somebody has to change the rights of our user first.
const RETRY_REFUSED: Duration = Duration::from_secs(5);
