//! What is subscribed, and which connection sees to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::config::{Endpoint, RedisConfig};
use super::connect::{Target, Task};
use super::link::{Channel, Handler};
use super::listener::run;
use super::shared::Shared;
use super::status::ConnectionState;
use super::topology::{Topology, slot};

/// What is wanted, and the connections that see to it.
#[derive(Default)]
pub(super) struct Subscriptions {
    wanted: HashMap<Channel, Wanted>,
    listeners: HashMap<Key, Listener>,
    /// Of a cluster; empty otherwise, and as long as it is unknown.
    topology: Topology,
    next_id: u64,
    confirmations: u64,
    closing: bool,
}

struct Wanted {
    id: u64,
    handler: Handler,
    /// A number of its own for each time that Redis has confirmed it.
    confirmed: Option<u64>,
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

impl Key {
    /// Where Redis is, and what is subscribed there, for people.
    pub(super) fn place(&self, config: &RedisConfig) -> String {
        match self {
            Key::Plain => Target::Configured.place(config),
            Key::Sharded(target) => format!("{}, sharded", target.place(config)),
        }
    }
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
        let confirmed = self.wanted.get(&channel).and_then(|wanted| wanted.confirmed);
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
    pub(super) fn touch(&mut self, shared: &Arc<Shared>, channel: Channel) {
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
        let sharded = self.wanted.keys().filter(|channel| matches!(channel, Channel::Sharded(_)));
        let before: Vec<_> = sharded.map(|channel| (channel.clone(), self.key(shared, channel))).collect();
        self.topology = topology;
        for (channel, key) in before {
            // Another connection has to confirm it: that of the old owner may end without a word.
            if self.key(shared, &channel) != key {
                self.unconfirm(&channel, None);
            }
        }
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
    pub(super) fn changes(&mut self, shared: &Shared, key: &Key, have: &HashSet<Channel>) -> Changes {
        let mut changes = Changes { add: Vec::new(), remove: Vec::new() };
        let mut kept = false;
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
                (true, true) => {
                    self.confirm(&channel);
                    kept = true;
                }
                (false, false) => {}
            }
        }
        if kept {
            // It was given up and wanted again before anybody asked Redis, who will not be asked.
            shared.progressed();
        }
        changes
    }

    pub(super) fn confirm(&mut self, channel: &Channel) {
        if let Some(wanted) = self.wanted.get_mut(channel) {
            wanted.refused = None;
            wanted.confirmed.get_or_insert_with(|| {
                self.confirmations += 1;
                self.confirmations
            });
        }
    }

    pub(super) fn unconfirm(&mut self, channel: &Channel, refused: Option<Arc<str>>) {
        let Some(wanted) = self.wanted.get_mut(channel) else { return };
        let was_confirmed = wanted.confirmed.take().is_some();
        wanted.refused = refused;
        // Whoever loses it need not be who has it now: that one looks at its next turn, and finds that it has it. What was
        // refused or put off is asked for again after its time, and not at each turn.
        if was_confirmed && let Some(listener) = self.owner(channel) {
            listener.dirty.insert(channel.clone());
        }
    }

    /// Why Redis refused a channel when it was asked the last time, if it did.
    pub(super) fn refusal(&self, channel: &Channel) -> Option<&Arc<str>> {
        self.wanted.get(channel)?.refused.as_ref()
    }

    /// Some of the channels that Redis refuses.
    pub(super) fn refused(&self) -> Vec<String> {
        let refused = self.wanted.iter().filter(|(_, wanted)| wanted.refused.is_some());
        refused.map(|(channel, _)| channel.to_string()).take(MAX_REFUSED).collect()
    }

    /// The connection of a channel, if it is there. (Only in a cluster a slot has an owner; as long as that is unknown,
    /// there is none.)
    fn owner(&mut self, channel: &Channel) -> Option<&mut Listener> {
        let key = match channel {
            Channel::Sharded(name) => match self.topology.owner(slot(name)) {
                Some(node) => Key::Sharded(Target::Node(node.clone())),
                None => Key::Sharded(Target::Configured),
            },
            _ => Key::Plain,
        };
        self.listeners.get_mut(&key)
    }

    pub(super) fn set_state(&mut self, key: &Key, state: ConnectionState) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.state = state;
        }
    }

    /// A connection compares everything at its next turn; the others look at what this one may have taken for lost,
    /// although they have it.
    pub(super) fn compare_all(&mut self, key: &Key) {
        for (other, listener) in &mut self.listeners {
            if other == key {
                listener.all = true;
            } else if !listener.dirty.is_empty() {
                listener.wake.notify_one();
            }
        }
    }

    pub(super) fn handler(&self, channel: &Channel) -> Option<Handler> {
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

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// A connection has ended for good.
    pub(super) fn forget(&mut self, key: &Key) {
        self.listeners.remove(key);
    }

    pub(super) fn is_owner(&self, node: &Endpoint, name: &[u8]) -> bool {
        self.topology.owner(slot(name)) == Some(node)
    }

    /// Whether Redis has confirmed all that is wanted; or which channel it refused, and why.
    pub(super) fn ready(&self) -> Result<bool, (Channel, Arc<str>)> {
        for (channel, wanted) in &self.wanted {
            if let Some(reason) = &wanted.refused {
                return Err((channel.clone(), Arc::clone(reason)));
            }
        }
        Ok(self.wanted.values().all(|wanted| wanted.confirmed.is_some()))
    }

    /// The number of the confirmation that a channel has from Redis, if it has one.
    pub(super) fn confirmation(&self, channel: &Channel) -> Option<u64> {
        self.wanted.get(channel)?.confirmed
    }

    /// Whether a channel is wanted, and Redis has neither confirmed nor refused it.
    pub(super) fn is_awaited(&self, channel: &Channel) -> bool {
        self.wanted.get(channel).is_some_and(|wanted| wanted.confirmed.is_none() && wanted.refused.is_none())
    }

    #[cfg(test)]
    pub(super) fn is_confirmed(&self, channel: &Channel, id: u64) -> bool {
        self.wanted.get(channel).is_some_and(|wanted| wanted.id == id && wanted.confirmed.is_some())
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

pub(super) struct Changes {
    pub(super) add: Vec<Channel>,
    pub(super) remove: Vec<Channel>,
}

impl Changes {
    /// As many at a time as Redis certainly confirms within the time for an answer.
    pub(super) fn portions(mut self) -> impl Iterator<Item = Changes> {
        std::iter::from_fn(move || {
            let take = |from: &mut Vec<Channel>| from.split_off(from.len().saturating_sub(PORTION));
            let portion = Changes { remove: take(&mut self.remove), add: take(&mut self.add) };
            (portion.add.len() + portion.remove.len() > 0).then_some(portion)
        })
    }
}

/// Enough to see what the matter is.
const MAX_REFUSED: usize = 10;
/// Channels subscribed between two looks at what else has happened.
const PORTION: usize = 2000;

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::super::link::{Hear, Incoming};
    use super::*;

    struct Ear;

    impl Hear for Ear {
        fn wants(&self, _: &[u8]) -> bool {
            true
        }

        fn hear(&self, _: Incoming) {}
    }

    #[tokio::test]
    async fn who_owns_a_channel_looks_at_it_once_when_another_connection_has_lost_it() {
        let from = Endpoint::Tcp { host: "here".to_owned(), port: 9 };
        let half = |first, last, port| {
            let node = Value::Array(vec![Value::BulkString(b"here".to_vec()), Value::Int(port)]);
            Value::Array(vec![Value::Int(first), Value::Int(last), node])
        };
        let topology = Value::Array(vec![half(0, 8191, 1), half(8192, 16383, 2)]);
        let mut subscriptions =
            Subscriptions { topology: Topology::read(&topology, &from).unwrap(), ..Subscriptions::default() };
        let keys =
            [1, 2].map(|port| Key::Sharded(Target::Node(Endpoint::Tcp { host: "here".to_owned(), port })));
        for key in &keys {
            let state = ConnectionState::Connected;
            let (wake, _task) = (Arc::new(Notify::new()), Task::spawn(async {}));
            let listener = Listener { dirty: HashSet::new(), all: false, state, wake, _task };
            subscriptions.listeners.insert(key.clone(), listener);
        }
        let channel = Channel::Sharded("foo".into());
        assert!(slot(b"foo") > 8191);
        let wanted = Wanted { id: 1, handler: Arc::new(Ear), confirmed: None, refused: None };
        subscriptions.wanted.insert(channel.clone(), wanted);
        let looks_at = |subscriptions: &mut Subscriptions| {
            keys.each_ref().map(|key| {
                let listener = subscriptions.listeners.get_mut(key).unwrap();
                std::mem::take(&mut listener.dirty).len()
            })
        };

        subscriptions.confirm(&channel);
        subscriptions.unconfirm(&channel, None);
        subscriptions.compare_all(&keys[0]);
        subscriptions.listeners[&keys[1]].wake.notified().await;
        assert_eq!(looks_at(&mut subscriptions), [0, 1]);
        // Put off: it is asked for again when everything is compared.
        subscriptions.unconfirm(&channel, None);
        assert_eq!(looks_at(&mut subscriptions), [0, 0]);
        assert!(subscriptions.is_awaited(&channel));
        subscriptions.unconfirm(&channel, Some("refused".into()));
        assert_eq!(looks_at(&mut subscriptions), [0, 0]);
        assert!(subscriptions.ready().is_err());
    }
}
