//! Router: what waits to be sent to Redis, and which node it goes to.
//!
//! There is a lane for each node: a queue, and the task that sends it (`lane.rs`). A single Redis, or one behind Sentinel,
//! is one lane. All lanes share one bound: while it is reached, new commands are refused and counted, and what was
//! accepted keeps its order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use redis::{Cmd, Value};
use tokio::sync::{Notify, oneshot};

use super::config::{Endpoint, RedisConfig};
use super::connect::{Target, Task};
use super::status::{ConnectionState, LinkError};
use super::topology::{Topology, slot};

/// Commands that stay together, and who waits for the answer to the last of them.
pub(super) struct Entry {
    pub(super) commands: Vec<Cmd>,
    pub(super) route: Route,
    pub(super) kind: Kind,
    pub(super) reply: Option<oneshot::Sender<Result<Value, LinkError>>>,
    /// Sent to a node that does not own the slot yet (`ASK`).
    pub(super) asking: bool,
    pub(super) redirections: u8,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Is sent although nobody waits for the answer any more.
    Message,
    /// Is not sent any more when nobody waits.
    Question,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Whatever node, but one and the same while it works: that keeps the order.
    Any,
    Node(Target),
    Slot(u16),
}

impl Entry {
    fn is_abandoned(&self) -> bool {
        self.kind == Kind::Question && self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Tells who waits, if anybody does.
    pub(super) fn answer(self, answer: Result<Value, LinkError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }
}

pub(super) struct Router {
    lanes: Vec<Lane>,
    topology: Topology,
    /// What no lane is known for yet: in a cluster, before its nodes are known.
    unrouted: VecDeque<Entry>,
    max_messages: usize,
    max_bytes: usize,
    /// Of all entries that are not answered yet, those under way included.
    messages: usize,
    bytes: usize,
    closed: bool,
}

struct Lane {
    target: Target,
    /// It is only asked for its subscriptions, and nothing depends on its being there.
    is_replica: bool,
    queue: VecDeque<Entry>,
    state: ConnectionState,
    wake: Arc<Notify>,
    _task: Task,
}

impl Router {
    pub(super) fn new(config: &RedisConfig) -> Router {
        Router {
            lanes: Vec::new(),
            topology: Topology::default(),
            unrouted: VecDeque::new(),
            max_messages: config.queue_messages,
            max_bytes: config.queue_bytes,
            messages: 0,
            bytes: 0,
            closed: false,
        }
    }

    /// Accepts an entry, or says why not.
    pub(super) fn enqueue(&mut self, entry: Entry) -> Result<(), LinkError> {
        if self.closed {
            return Err(LinkError::Closed);
        }
        // One that is larger than the bound goes into an empty queue.
        let over = self.bytes.saturating_add(entry.bytes) > self.max_bytes && self.messages > 0;
        if over || self.messages >= self.max_messages {
            return Err(LinkError::Backlogged { messages: self.messages, bytes: self.bytes });
        }
        self.messages += 1;
        self.bytes += entry.bytes;
        self.route(entry);
        Ok(())
    }

    /// Gives an entry that was accepted to a lane.
    fn route(&mut self, entry: Entry) {
        let lane = match &entry.route {
            Route::Any => self.home(),
            Route::Node(target) => self.position(target),
            Route::Slot(number) if !self.topology.is_empty() => {
                let owner = self.topology.owner(*number).cloned();
                owner.and_then(|owner| self.position(&Target::Node(owner)))
            }
            Route::Slot(_) => self.position(&Target::Configured),
        };
        let Some(lane) = lane else { return self.unrouted.push_back(entry) };
        self.lanes[lane].queue.push_back(entry);
        self.lanes[lane].wake.notify_one();
    }

    /// Sends an entry again, to the node that Redis named. It may be one that owns no slot yet.
    pub(super) fn redirect(
        &mut self,
        mut entry: Entry,
        to: Endpoint,
        asking: bool,
        lane: impl Fn(Target, Arc<Notify>) -> Task,
    ) {
        entry.redirections += 1;
        entry.asking = asking;
        let target = Target::Node(to);
        self.add_lane(target.clone(), lane);
        entry.route = Route::Node(target);
        self.route(entry);
    }

    /// The lane of commands that any node takes: the first that is connected.
    fn home(&self) -> Option<usize> {
        let is_connected = |lane: &Lane| lane.state == ConnectionState::Connected && !lane.is_replica;
        let connected = self.lanes.iter().position(is_connected);
        connected.or_else(|| self.lanes.iter().position(|lane| !lane.is_replica))
    }

    fn position(&self, target: &Target) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.target == *target)
    }

    /// What a lane sends next, all of it at once; empty if nothing waits. What nobody waits for any more is left out.
    pub(super) fn take(&mut self, target: &Target) -> Vec<Entry> {
        let Some(lane) = self.position(target) else { return Vec::new() };
        let (mut batch, mut bytes, mut gone) = (Vec::new(), 0, (0, 0));
        while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(entry) = self.lanes[lane].queue.pop_front() else { break };
            if entry.is_abandoned() {
                gone = (gone.0 + 1, gone.1 + entry.bytes);
                continue;
            }
            bytes += entry.bytes;
            batch.push(entry);
        }
        self.release(gone.0, gone.1);
        batch
    }

    /// Entries are answered: they count no longer.
    pub(super) fn release(&mut self, messages: usize, bytes: usize) {
        self.messages -= messages;
        self.bytes -= bytes;
    }

    /// Adds the lanes of nodes that came, ends those of nodes that went, and routes anew what these had not sent.
    pub(super) fn set_topology(&mut self, topology: Topology, lane: impl Fn(Target, Arc<Notify>) -> Task) {
        let masters: Vec<_> = topology.masters().into_iter().cloned().map(Target::Node).collect();
        let replicas: Vec<_> = topology.replicas().iter().cloned().map(Target::Node).collect();
        let mut waiting = std::mem::take(&mut self.unrouted);
        self.lanes.retain_mut(|lane| {
            lane.is_replica = !masters.contains(&lane.target);
            let stays = !lane.is_replica || replicas.contains(&lane.target);
            if !stays {
                waiting.append(&mut lane.queue);
            }
            stays
        });
        for target in masters {
            self.add_lane(target, &lane);
        }
        for target in replicas {
            self.add(target, true, &lane);
        }
        self.topology = topology;
        for mut entry in waiting {
            if let Route::Node(target) = &entry.route
                && self.position(target).is_none()
            {
                let slot = if entry.redirections > 0 { slot_of(&entry) } else { None };
                let Some(slot) = slot else {
                    // It was asked of this node alone.
                    self.release(1, entry.bytes);
                    entry.answer(Err(LinkError::Lost));
                    continue;
                };
                (entry.route, entry.asking) = (Route::Slot(slot), false);
            }
            self.route(entry);
        }
    }

    pub(super) fn add_lane(&mut self, target: Target, lane: impl Fn(Target, Arc<Notify>) -> Task) {
        self.add(target, false, lane);
    }

    fn add(&mut self, target: Target, is_replica: bool, lane: impl Fn(Target, Arc<Notify>) -> Task) {
        if self.closed || self.position(&target).is_some() {
            return;
        }
        let wake = Arc::new(Notify::new());
        let task = lane(target.clone(), Arc::clone(&wake));
        let state = ConnectionState::Reconnecting { since: Instant::now(), attempts: 0 };
        self.lanes.push(Lane { target, is_replica, queue: VecDeque::new(), state, wake, _task: task });
    }

    pub(super) fn set_state(&mut self, target: &Target, state: ConnectionState) {
        if let Some(lane) = self.position(target) {
            self.lanes[lane].state = state;
        }
    }

    /// The worst of all lanes on which something depends.
    pub(super) fn state(&self) -> ConnectionState {
        if self.closed {
            return ConnectionState::Closed;
        }
        let lanes = self.lanes.iter().filter(|lane| !lane.is_replica);
        let worst = lanes.map(|lane| lane.state).max_by_key(ConnectionState::badness);
        worst.unwrap_or(ConnectionState::Idle)
    }

    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    pub(super) fn targets(&self) -> Vec<Target> {
        self.lanes.iter().filter(|lane| !lane.is_replica).map(|lane| lane.target.clone()).collect()
    }

    pub(super) fn replicas(&self) -> Vec<Target> {
        self.lanes.iter().filter(|lane| lane.is_replica).map(|lane| lane.target.clone()).collect()
    }

    /// Messages and bytes that are not answered yet.
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.messages, self.bytes)
    }

    /// From now on everything is refused; what was accepted is still sent.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Ends all lanes; gives what they had not sent.
    pub(super) fn end(&mut self) -> Vec<Entry> {
        self.closed = true;
        let mut left: Vec<_> = self.unrouted.drain(..).collect();
        for lane in &mut self.lanes {
            left.extend(lane.queue.drain(..));
        }
        // What is under way is released by its lane.
        self.lanes.clear();
        self.release(left.len(), left.iter().map(|entry| entry.bytes).sum());
        left
    }
}

/// The slot that the first argument of an entry's commands belongs to.
fn slot_of(entry: &Entry) -> Option<u16> {
    match entry.commands.iter().find_map(|command| command.args_iter().nth(1))? {
        redis::Arg::Simple(key) => Some(slot(key)),
        _ => None,
    }
}

/// One write, and one answer to wait for: enough to fill a network packet many times over, and no more than Redis reads
/// into its buffer of queries at ease.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(route: Route, bytes: usize) -> Entry {
        let commands = vec![redis::cmd("GET").arg("key").take()];
        Entry { commands, route, kind: Kind::Message, reply: None, asking: false, redirections: 0, bytes }
    }

    fn router(url: &str, messages: usize, bytes: usize) -> Router {
        Router::new(&RedisConfig::from_url(url).unwrap().queue_messages(messages).queue_bytes(bytes))
    }

    fn idle(_: Target, _: Arc<Notify>) -> Task {
        Task::spawn(std::future::pending())
    }

    #[tokio::test]
    async fn the_newest_is_refused_when_messages_or_bytes_are_too_many() {
        let mut router = router("redis://h", 3, 100);
        router.add_lane(Target::Configured, idle);
        router.enqueue(entry(Route::Any, 150)).unwrap();
        assert!(matches!(
            router.enqueue(entry(Route::Any, 1)),
            Err(LinkError::Backlogged { messages: 1, bytes: 150 })
        ));
        let sent = router.take(&Target::Configured);
        assert_eq!(sent.len(), 1);
        router.enqueue(entry(Route::Any, 1)).unwrap_err();
        router.release(1, 150);
        for _ in 0..3 {
            router.enqueue(entry(Route::Slot(1), 1)).unwrap();
        }
        assert!(matches!(
            router.enqueue(entry(Route::Any, 1)),
            Err(LinkError::Backlogged { messages: 3, .. })
        ));
        router.close();
        assert!(matches!(router.enqueue(entry(Route::Any, 1)), Err(LinkError::Closed)));
        assert_eq!(router.take(&Target::Configured).len(), 3);
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_is_not_sent() {
        let mut router = router("redis://h", 3, 100);
        router.add_lane(Target::Configured, idle);
        for kind in [Kind::Question, Kind::Message] {
            let (reply, _) = oneshot::channel();
            router.enqueue(Entry { kind, reply: Some(reply), ..entry(Route::Any, 10) }).unwrap();
        }
        assert_eq!(router.take(&Target::Configured).len(), 1);
        assert_eq!(router.usage(), (1, 10));
    }

    #[tokio::test]
    async fn what_a_node_that_went_had_not_sent_goes_to_the_others() {
        use redis::Value::{Array, BulkString, Int};
        let topology = |ranges: &[(i64, i64, i64)]| {
            let range = |&(first, last, port): &(i64, i64, i64)| {
                Array(vec![Int(first), Int(last), Array(vec![BulkString(b"h".to_vec()), Int(port)])])
            };
            let asked = Endpoint::Tcp { host: "h".to_owned(), port: 1 };
            Topology::read(&Array(ranges.iter().map(range).collect()), &asked).unwrap()
        };
        let node = |port| Target::Node(Endpoint::Tcp { host: "h".to_owned(), port });
        let mut router = router("redis+cluster://h", 100, 10_000);
        router.enqueue(entry(Route::Slot(9000), 1)).unwrap();
        router.set_topology(topology(&[(0, 8191, 1), (8192, 16383, 2)]), idle);
        router.enqueue(entry(Route::Slot(1), 1)).unwrap();
        router.enqueue(entry(Route::Any, 1)).unwrap();
        assert_eq!(router.take(&node(2)).len(), 1);
        // A question to this node alone; and one that was redirected to a node that owns nothing yet.
        let (reply, answer) = oneshot::channel();
        router.enqueue(Entry { reply: Some(reply), ..entry(Route::Node(node(1)), 1) }).unwrap();
        router.enqueue(entry(Route::Slot(8191), 1)).unwrap();
        let redirected = router.take(&node(1)).pop().unwrap();
        router.redirect(redirected, Endpoint::Tcp { host: "h".to_owned(), port: 3 }, true, idle);
        assert_eq!(router.targets(), [node(1), node(2), node(3)]);
        for _ in 0..2 {
            router.enqueue(entry(Route::Any, 1)).unwrap();
        }
        router.set_topology(topology(&[(0, 16383, 2)]), idle);
        assert_eq!(router.take(&node(1)).len(), 0);
        let all = router.take(&node(2));
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|entry| !entry.asking));
        assert_eq!(router.targets(), [node(2)]);
        assert!(answer.await.is_err());
        assert_eq!(router.usage().0, 7);
        assert_eq!(router.end().len(), 0);
        assert_eq!(router.usage().0, 7);
    }
}
