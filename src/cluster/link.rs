//! RedisLink: the connections of one server to Redis, shared by the adapters of all its namespaces.
//!
//! One connection publishes and asks, one subscribes, and each stream that is read has one of its own; in a Redis Cluster
//! there is one of the first kind for each master, and a subscribing one for each that owns sharded channels.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Cmd, Value, cmd, from_redis_value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::config::RedisConfig;
use super::connect::{Target, Task};
use super::router::{Kind, Route, Router};
use super::shared::{Counters, Shared, keep_topology, within_time};
use super::status::{ConnectionState, LinkError, LinkStats, LinkStatus};
use super::stream_reader::{StreamEntry, StreamReader, entries};
use super::topology::slot;
use crate::sync::Mutex;

/// The connections to Redis. Cheap to clone; the last clone that is dropped ends them, [`RedisLink::close`] in good order.
///
/// Handlers must not hold a clone (a `Weak` of who has one does): the link keeps them as long as they are subscribed.
#[derive(Clone)]
pub(crate) struct RedisLink {
    owner: Arc<Owner>,
}

/// Who ends the tasks, which hold only what is `Shared`.
struct Owner {
    shared: Arc<Shared>,
    /// Asks a cluster for its slots.
    _topology: Option<Task>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// A channel, and the way in which it is subscribed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// All channels that match (`PSUBSCRIBE`).
    Pattern(Bytes),
    /// One channel (`SUBSCRIBE`).
    Plain(Bytes),
    /// One sharded channel (`SSUBSCRIBE`, Redis 7).
    Sharded(Bytes),
}

impl Channel {
    pub(crate) fn name(&self) -> &Bytes {
        match self {
            Channel::Pattern(name) | Channel::Plain(name) | Channel::Sharded(name) => name,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.name()))
    }
}

/// A message that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// Where it was published, also if a pattern brought it.
    pub(crate) channel: Bytes,
    pub(crate) payload: Bytes,
}

/// Who hears a subscription, on the task that reads the connection, in order of arrival: it must not block.
pub(crate) trait Hear: Send + Sync {
    /// Whether a message that was published on this channel is worth being read. Asked where a pattern brings it, before
    /// anything of it is copied.
    fn wants(&self, channel: &[u8]) -> bool;

    /// Hears a message.
    fn hear(&self, incoming: Incoming);
}

pub(crate) type Handler = Arc<dyn Hear>;

/// Hears everything.
struct Everything<F>(F);

impl<F: Fn(Incoming) + Send + Sync> Hear for Everything<F> {
    fn wants(&self, _channel: &[u8]) -> bool {
        true
    }

    fn hear(&self, incoming: Incoming) {
        (self.0)(incoming);
    }
}

impl RedisLink {
    /// Begins to connect, and returns at once. `prefix` begins the names of the channels on which the link tests itself,
    /// `<prefix>-ferrio-ping#…`; a user of an access control list needs the right to these, too.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn open(config: RedisConfig, prefix: &str) -> RedisLink {
        let router = Router::new(&config);
        let is_cluster = config.is_cluster();
        let shared = Arc::new(Shared {
            router: Mutex::new(router),
            subscriptions: Mutex::default(),
            readers: Mutex::default(),
            counters: Counters::default(),
            progress: watch::Sender::new(()),
            refresh: Notify::new(),
            last_error: Mutex::default(),
            logged_failure: AtomicBool::new(false),
            logged_ignored: AtomicBool::new(false),
            logged_unencodable: AtomicBool::new(false),
            runtime: Handle::current(),
            prefix: prefix.to_owned(),
            config,
        });
        let topology = if is_cluster {
            Some(Task::spawn(keep_topology(Arc::clone(&shared))))
        } else {
            shared.router.lock().add_lane(Target::Configured, shared.lane());
            None
        };
        RedisLink { owner: Arc::new(Owner { shared, _topology: topology }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Waits until messages can be sent and everything that is subscribed by now is confirmed.
    ///
    /// # Errors
    /// [`LinkError::NotReady`] with the reason: at once if Redis refuses us, else when the timeouts for connecting and
    /// answering have passed together. The link goes on trying; one may wait again.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn ready(&self) -> Result<(), LinkError> {
        let shared = self.shared();
        let mut progress = shared.progress.subscribe();
        let ready = async {
            loop {
                if shared.is_ready()? {
                    return Ok(());
                }
                // The sender lives as long as `self`.
                let _ = progress.changed().await;
            }
        };
        let patience = shared.config.connect_timeout + shared.config.response_timeout;
        let ready = timeout(patience, ready).await.unwrap_or_else(|_| {
            let reason = shared.last_reason().unwrap_or_else(|| "Redis does not answer".into());
            Err(LinkError::NotReady { reason: reason.to_string() })
        });
        ready.map_err(|error| match error {
            LinkError::NotReady { reason } => {
                LinkError::NotReady { reason: format!("{}: {reason}", shared.config.servers) }
            }
            other => other,
        })
    }

    /// The same, also for channels that are subscribed to see whether this user may.
    pub(crate) async fn ready_for(
        &self,
        channels: impl IntoIterator<Item = Channel>,
    ) -> Result<(), LinkError> {
        let tried: Vec<_> = channels.into_iter().map(|channel| self.subscribe(channel, |_| {})).collect();
        let ready = self.ready().await;
        drop(tried);
        ready
    }

    /// Whether there is no connection to ask, or has not been one for longer than it takes to come back from a short
    /// interruption.
    pub(crate) fn check_away(&self) -> Result<(), LinkError> {
        match self.shared().router.lock().state() {
            ConnectionState::Reconnecting { since, .. } if since.elapsed() > AWAY_AFTER => {
                let reason = self.shared().last_reason().unwrap_or_else(|| "it does not answer".into());
                Err(LinkError::Away { duration: since.elapsed(), reason: reason.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Publishes to all who have subscribed, on whatever node.
    ///
    /// # Errors
    /// If it cannot be accepted: it is too large, too much waits already, or the link is closed. All of it is counted.
    pub(crate) fn publish(&self, channel: &[u8], payload: &[u8]) -> Result<(), LinkError> {
        self.shared().message("PUBLISH", channel, payload, Route::Any, None)
    }

    /// Publishes to a sharded channel (Redis 7).
    ///
    /// # Errors
    /// As [`RedisLink::publish`].
    pub(crate) fn publish_sharded(&self, channel: &[u8], payload: &[u8]) -> Result<(), LinkError> {
        self.shared().message("SPUBLISH", channel, payload, Route::Slot(slot(channel)), None)
    }

    /// Publishes, and tells when Redis has taken it. It is queued when this is called, also if the future is dropped.
    #[cfg(test)]
    pub(crate) fn publish_confirmed(
        &self,
        channel: &[u8],
        payload: &[u8],
    ) -> impl Future<Output = Result<(), LinkError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let accepted = self.shared().message("PUBLISH", channel, payload, Route::Any, Some(reply));
        let deadline = Instant::now() + self.shared().config.response_timeout;
        async move {
            accepted?;
            within_time(answer, deadline).await.map(|_| ())
        }
    }

    /// Appends an entry to a stream that keeps about the last `max_len`; gives its id. It is queued when this is called, also
    /// if the future is dropped or its time is over: then it is not known whether Redis has it.
    pub(crate) fn xadd(
        &self,
        stream: &str,
        max_len: usize,
        fields: &[(&str, &[u8])],
        within: Duration,
    ) -> impl Future<Output = Result<String, LinkError>> + Send + use<> {
        let (command, bytes) = xadd(stream, max_len, fields);
        let (reply, answer) = oneshot::channel();
        let route = Route::Slot(slot(stream.as_bytes()));
        let accepted = self.shared().message_of(command, bytes, route, Some(reply));
        let deadline = Instant::now() + within;
        async move {
            accepted?;
            read::<String>(within_time(answer, deadline).await?)
        }
    }

    /// Appends an entry as [`RedisLink::xadd`], and does not ask for its id.
    ///
    /// # Errors
    /// As [`RedisLink::publish`].
    pub(crate) fn append(
        &self,
        stream: &str,
        max_len: usize,
        fields: &[(&str, Bytes)],
    ) -> Result<(), LinkError> {
        let (command, bytes) = xadd(stream, max_len, fields);
        self.shared().message_of(command, bytes, Route::Slot(slot(stream.as_bytes())), None)
    }

    /// Counts the subscriptions of a channel (`PUBSUB NUMSUB`), over all nodes of a cluster.
    pub(crate) fn subscribers(
        &self,
        channel: &[u8],
    ) -> impl Future<Output = Result<u64, LinkError>> + Send + use<> {
        self.count("NUMSUB", channel)
    }

    /// Counts the subscriptions of a sharded channel (`PUBSUB SHARDNUMSUB`), over all nodes of a cluster.
    pub(crate) fn sharded_subscribers(
        &self,
        channel: &[u8],
    ) -> impl Future<Output = Result<u64, LinkError>> + Send + use<> {
        self.count("SHARDNUMSUB", channel)
    }

    fn count(
        &self,
        command: &str,
        channel: &[u8],
    ) -> impl Future<Output = Result<u64, LinkError>> + Send + use<> {
        let command = cmd("PUBSUB").arg(command).arg(channel).take();
        let shared = self.shared();
        let (masters, replicas) = {
            let router = shared.router.lock();
            (router.targets(), router.replicas())
        };
        let within = shared.config.response_timeout;
        let ask =
            |target, within| shared.ask(vec![command.clone()], Route::Node(target), Kind::Question, within);
        let asked: Vec<_> = masters.into_iter().map(|master| ask(master, within)).collect();
        // Some clients subscribe there. Who is behind one that does not answer will not answer either.
        let within = within.min(REPLICA_PATIENCE);
        let replicas: Vec<_> = replicas.into_iter().map(|replica| ask(replica, within)).collect();
        async move {
            if asked.is_empty() {
                return Err(LinkError::NotReady { reason: "no node of the cluster is known yet".to_owned() });
            }
            let all = futures_util::future::join_all;
            let (asked, replicas) = futures_util::future::join(all(asked), all(replicas)).await;
            let mut sum = 0;
            for answer in asked {
                let (_channel, count): (Vec<u8>, u64) = read(answer?)?;
                sum += count;
            }
            let counts = replicas.into_iter().map(|answer| read::<(Vec<u8>, u64)>(answer?));
            sum += counts.flatten().map(|(_channel, count)| count).sum::<u64>();
            Ok(sum)
        }
    }

    /// Which confirmation of Redis this link's subscription of a channel has now, if it has one: another number each time
    /// that it is made anew.
    pub(crate) fn confirmation(&self, channel: &Channel) -> Option<u64> {
        self.shared().subscriptions.lock().confirmation(channel)
    }

    /// The same, waited for if Redis has not been heard yet.
    pub(crate) async fn confirmed(&self, channel: &Channel, patience: Duration) -> Option<u64> {
        let shared = self.shared();
        let mut progress = shared.progress.subscribe();
        let settled = async {
            while shared.subscriptions.lock().is_awaited(channel) {
                // The sender lives as long as `self`.
                let _ = progress.changed().await;
            }
        };
        // Late or not: what it is now counts.
        let _ = timeout(patience, settled).await;
        self.confirmation(channel)
    }

    /// Stores a value that Redis forgets after a time (`SET … PX`), after ten years at the latest. It is queued when this is
    /// called, also if the future is dropped.
    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        expires_after: Duration,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + use<> {
        let milliseconds = expires_after.min(MAX_EXPIRY).as_millis().max(1) as u64;
        let command = cmd("SET").arg(key).arg(value).arg("PX").arg(milliseconds).take();
        let (reply, answer) = oneshot::channel();
        let route = Route::Slot(slot(key.as_bytes()));
        let accepted = self.shared().message_of(command, value.len(), route, Some(reply));
        let deadline = Instant::now() + self.shared().config.response_timeout;
        async move {
            accepted?;
            within_time(answer, deadline).await.map(|_| ())
        }
    }

    /// Reads a value and deletes it, in one transaction (`MULTI`, `GET`, `DEL`, `EXEC`).
    pub(crate) fn take(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, LinkError>> + Send + use<> {
        let commands =
            vec![cmd("MULTI"), cmd("GET").arg(key).take(), cmd("DEL").arg(key).take(), cmd("EXEC")];
        let route = Route::Slot(slot(key.as_bytes()));
        let within = self.shared().config.response_timeout;
        let answer = self.shared().ask(commands, route, Kind::Question, within);
        async move {
            let (value, _deleted): (Option<Vec<u8>>, i64) = read(answer.await?)?;
            Ok(value.map(Bytes::from))
        }
    }

    /// Reads the entries of a stream from one id to another, both included; `-` is the first, `+` the last.
    pub(crate) fn xrange(
        &self,
        stream: &str,
        from: &str,
        to: &str,
    ) -> impl Future<Output = Result<Vec<StreamEntry>, LinkError>> + Send + use<> {
        let command = cmd("XRANGE").arg(stream).arg(from).arg(to).take();
        let route = Route::Slot(slot(stream.as_bytes()));
        let within = self.shared().config.response_timeout;
        let answer = self.shared().ask(vec![command], route, Kind::Question, within);
        async move { entries(answer.await?).ok_or(LinkError::UnexpectedAnswer) }
    }

    /// Reads a stream on a connection of its own, from what is appended after this on. It ends with the reader.
    ///
    /// `handler` is called with each entry in order, as those of subscriptions are. While Redis is away the position is
    /// kept, and what was appended meanwhile comes after. [`RedisLink::ready`] waits until the position is known.
    pub(crate) fn read_stream(
        &self,
        stream: &str,
        handler: impl Fn(StreamEntry) + Send + Sync + 'static,
    ) -> StreamReader {
        StreamReader::start(Arc::clone(self.shared()), stream.to_owned(), Arc::new(handler))
    }

    /// Subscribes, until what is returned is dropped. Redis sees one subscription for each channel, whatever happens; a
    /// second one for the same channel takes the place of the first.
    pub(crate) fn subscribe(
        &self,
        channel: Channel,
        handler: impl Fn(Incoming) + Send + Sync + 'static,
    ) -> Subscription {
        self.subscribe_choosing(channel, Everything(handler))
    }

    /// Subscribes as [`RedisLink::subscribe`], for somebody who does not want everything.
    pub(crate) fn subscribe_choosing(&self, channel: Channel, handler: impl Hear + 'static) -> Subscription {
        let shared = Arc::clone(self.shared());
        let (id, dropped) = shared.subscriptions.lock().add(&shared, channel.clone(), Arc::new(handler));
        drop(dropped);
        Subscription { shared, channel, id }
    }

    /// Counts a message that makes no sense to an adapter: of another version, or garbage. The first is logged.
    pub(crate) fn ignore(&self, channel: &[u8], reason: &dyn fmt::Display) {
        let shared = self.shared();
        shared.counters.ignored.add();
        let channel = String::from_utf8_lossy(channel);
        shared.log_once(&shared.logged_ignored, || {
            warn!(%channel, %reason, "a message from Redis is ignored; more are counted");
        });
        debug!(%channel, %reason, "a message from Redis is ignored");
    }

    /// Counts a message that cannot be written for others. The first is logged.
    pub(crate) fn unencodable(&self, reason: &dyn fmt::Display) {
        let shared = self.shared();
        shared.counters.unencodable.add();
        shared.log_once(&shared.logged_unencodable, || {
            warn!(%reason, "the parser of the adapter cannot write a message to the other servers; more are counted");
        });
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let shared = self.shared();
        let publisher = shared.router.lock().state();
        let subscriber = shared.subscriptions.lock().state();
        let readers = shared.readers.lock().state();
        let refused = shared.subscriptions.lock().refused();
        let last_error = shared.last_reason().map(|reason| reason.to_string());
        LinkStatus { publisher, subscriber, readers, refused, last_error }
    }

    pub(crate) fn stats(&self) -> LinkStats {
        let shared = self.shared();
        let counters = &shared.counters;
        let (queued_messages, queued_bytes) = shared.router.lock().usage();
        LinkStats {
            published: counters.published.get(),
            dropped: counters.dropped.get(),
            failed: counters.failed.get(),
            ignored: counters.ignored.get(),
            lost: counters.lost.get(),
            received: counters.received.get(),
            reconnects: counters.reconnects.get(),
            refused_too_large: counters.refused_too_large.get(),
            unencodable: counters.unencodable.get(),
            watchdog_renewals: counters.watchdog_renewals.get(),
            queued_bytes,
            queued_messages,
        }
    }

    /// Refuses what is published from now on, unsubscribes, sends what waits, and closes the connections: all within
    /// `patience`; what is left then is dropped and counted.
    ///
    /// # Cancel safety
    /// If it is dropped, the link stays half closed until its last clone is dropped.
    pub(crate) async fn close(&self, patience: Duration) {
        let shared = self.shared();
        let mut progress = shared.progress.subscribe();
        shared.router.lock().close();
        let handlers = shared.subscriptions.lock().close();
        drop(handlers);
        let readers = shared.readers.lock().end();
        drop(readers);
        let flushed = async {
            while shared.router.lock().usage().0 > 0 || shared.subscriptions.lock().has_listeners() {
                let _ = progress.changed().await;
            }
        };
        if timeout(patience, flushed).await.is_err() {
            warn!("the link to Redis is closed with messages that were not sent");
        }
        shared.end();
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// A subscription. Dropped, it ends: its handler is not called for messages that Redis sends after that.
#[must_use = "dropped, it unsubscribes"]
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    channel: Channel,
    id: u64,
}

impl Subscription {
    /// Whether Redis has it now.
    #[cfg(test)]
    pub(crate) fn is_confirmed(&self) -> bool {
        self.shared.subscriptions.lock().is_confirmed(&self.channel, self.id)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let removed = self.shared.subscriptions.lock().remove(&self.shared, &self.channel, self.id);
        // It may hold what holds other subscriptions: not under the lock.
        drop(removed);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.channel).finish()
    }
}

/// Until then a question waits for a connection that may be back in a moment.
const AWAY_AFTER: Duration = Duration::from_secs(1);
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// Redis refuses what does not fit into its clock: ten years.
const MAX_EXPIRY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn read<T: redis::FromRedisValue>(answer: Value) -> Result<T, LinkError> {
    from_redis_value(answer).map_err(|_| LinkError::UnexpectedAnswer)
}

/// The command, and the bytes of the entry.
fn xadd(stream: &str, max_len: usize, fields: &[(&str, impl AsRef<[u8]>)]) -> (Cmd, usize) {
    let mut command = cmd("XADD");
    command.arg(stream).arg("MAXLEN").arg("~").arg(max_len).arg("*");
    let mut bytes = 0;
    for (name, value) in fields {
        let value = value.as_ref();
        command.arg(name).arg(value);
        bytes += name.len() + value.len();
    }
    (command, bytes)
}
