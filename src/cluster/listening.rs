//! Listening: one connection that has subscribed, over RESP2 or RESP3, and what it hears.
//!
//! Messages are handled while they are read: what is not read yet waits in Redis, which has limits for it.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{Msg, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tracing::error;

use super::connect::{self, ConnectError, Target, Task};
use super::gate::{Gate, Gated};
use super::link::{Channel, Incoming};
use super::listener::lost;
use super::shared::Shared;
use super::sieve::Sieve;
use super::subscriptions::{Changes, Key};
use super::watchdog::Ping;
use crate::sync::Mutex;

/// A connection that listens, and the task that reads it.
pub(super) struct Listening {
    pub(super) control: Control,
    pub(super) task: Task,
    pub(super) moves: Arc<Moves>,
}

pub(super) enum Control {
    Resp2(PubSubSink),
    Resp3(MultiplexedConnection),
}

pub(super) async fn open(
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
        let wrap = |stream| Gated { stream: Sieve::new(stream, wants(shared)), gate: inner };
        let pubsub = connect::pubsub(&shared.config, &target, wrap).await?;
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
    let wrap = |stream| Sieve::new(stream, wants(shared));
    let commands = connect::pushes(&shared.config, &target, push, wrap).await?;
    Ok(Listening { control: Control::Resp3(commands.connection), task: commands.driver, moves })
}

impl Control {
    /// Subscribes and unsubscribes; gives the answers to what is added.
    pub(super) async fn apply(
        &mut self,
        moves: &Moves,
        changes: &Changes,
    ) -> Result<Vec<Result<(), RedisError>>, RedisError> {
        match self {
            Control::Resp2(sink) => {
                let (patterns, plain) = names(&changes.remove);
                if !plain.is_empty() {
                    sink.unsubscribe(&plain).await?;
                }
                if !patterns.is_empty() {
                    sink.punsubscribe(&patterns).await?;
                }
                let (patterns, plain) = names(&changes.add);
                let mut added = Ok(());
                if !plain.is_empty() {
                    added = sink.subscribe(&plain).await;
                }
                if !patterns.is_empty() {
                    added = added.and(sink.psubscribe(&patterns).await);
                }
                match added {
                    Ok(()) => Ok(changes.add.iter().map(|_| Ok(())).collect()),
                    // One of them is refused: which one, each alone tells.
                    Err(error) if error.code().is_some() => one_by_one(sink, &changes.add).await,
                    Err(error) => Err(error),
                }
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

/// Patterns, and the others.
fn names(channels: &[Channel]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut patterns, mut plain) = (Vec::new(), Vec::new());
    for channel in channels {
        let names = if matches!(channel, Channel::Pattern(_)) { &mut patterns } else { &mut plain };
        names.push(&channel.name()[..]);
    }
    (patterns, plain)
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
    guarded(subscribed, || handler.hear(incoming));
}

/// Whether a message is wanted that a pattern brings, given the pattern and the channel.
fn wants(shared: &Arc<Shared>) -> impl FnMut(&[u8], &[u8]) -> bool + Send + Unpin + use<> {
    let shared = Arc::clone(shared);
    // Mostly one namespace has the most messages: its pattern need not be copied with each.
    let mut subscribed = Channel::Pattern(Bytes::new());
    move |pattern, channel| {
        if subscribed.name() != pattern {
            subscribed = Channel::Pattern(Bytes::copy_from_slice(pattern));
        }
        let handler = shared.subscriptions.lock().handler(&subscribed);
        let Some(handler) = handler else { return false };
        let is_wanted = guarded(&subscribed, || handler.wants(channel)) == Some(true);
        if !is_wanted {
            shared.counters.received.add();
        }
        is_wanted
    }
}

/// Calls a handler; if it panics, the other channels of the connection must not suffer.
fn guarded<T>(subscribed: &Channel, call: impl FnOnce() -> T) -> Option<T> {
    let called = catch_unwind(AssertUnwindSafe(call));
    if called.is_err() {
        error!(channel = %subscribed, "the handler of a subscription panicked");
    }
    called.ok()
}

/// Sharded channels that Redis unsubscribes on its own, because their slot has moved.
#[derive(Default)]
pub(super) struct Moves {
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

    pub(super) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.state.lock().moved)
    }

    pub(super) fn is_confused(&self) -> bool {
        self.confused.load(Ordering::Relaxed)
    }
}

/// Their answers come back in one piece, too.
const COMMANDS_PER_WRITE: usize = 256;
