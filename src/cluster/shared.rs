//! Shared: what the tasks of a link share, and the task that keeps up with a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Cmd, ErrorKind, Value, cmd};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::config::{Endpoint, RedisConfig, Servers};
use super::connect::{self, ConnectError, Target, Task};
use super::lane;
use super::link::Channel;
use super::router::{Entry, Kind, Route, Router};
use super::status::{ConnectionState, LinkError};
use super::stream_reader::Readers;
use super::subscriptions::Subscriptions;
use super::topology::Topology;
use crate::sync::Mutex;

/// What the tasks of a link share.
pub(crate) struct Shared {
    pub(super) config: RedisConfig,
    pub(super) runtime: Handle,
    pub(super) prefix: String,
    pub(super) router: Mutex<Router>,
    pub(super) subscriptions: Mutex<Subscriptions>,
    pub(super) readers: Mutex<Readers>,
    pub(super) counters: Counters,
    /// Changes when something did for which somebody may wait.
    pub(super) progress: watch::Sender<()>,
    pub(super) refresh: Notify,
    pub(super) last_error: Mutex<Option<LastError>>,
    pub(super) logged_failure: AtomicBool,
    pub(super) logged_ignored: AtomicBool,
    pub(super) logged_unencodable: AtomicBool,
}

pub(super) struct LastError {
    pub(super) reason: Arc<str>,
    /// Trying again will not help: Redis refuses us.
    is_refusal: bool,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) published: Counter,
    pub(super) dropped: Counter,
    pub(super) failed: Counter,
    pub(super) ignored: Counter,
    pub(super) lost: Counter,
    pub(super) received: Counter,
    pub(super) reconnects: Counter,
    pub(super) refused_too_large: Counter,
    pub(super) unencodable: Counter,
    pub(super) watchdog_renewals: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared {
    pub(super) fn message(
        &self,
        command: &str,
        channel: &[u8],
        payload: &[u8],
        route: Route,
        reply: Option<oneshot::Sender<Result<Value, LinkError>>>,
    ) -> Result<(), LinkError> {
        // Looked at before it is copied.
        self.check_size(payload.len())?;
        self.message_of(cmd(command).arg(channel).arg(payload).take(), payload.len(), route, reply)
    }

    pub(super) fn message_of(
        &self,
        command: Cmd,
        payload_bytes: usize,
        route: Route,
        reply: Option<oneshot::Sender<Result<Value, LinkError>>>,
    ) -> Result<(), LinkError> {
        self.check_size(payload_bytes)?;
        self.enqueue(vec![command], route, Kind::Message, reply)
    }

    fn check_size(&self, bytes: usize) -> Result<(), LinkError> {
        let limit = self.config.max_publish_bytes;
        if bytes > limit {
            self.counters.refused_too_large.add();
            return Err(LinkError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    /// Asks; the commands are queued now, the answer is that to the last of them.
    pub(super) fn ask(
        &self,
        commands: Vec<Cmd>,
        route: Route,
        kind: Kind,
        within: Duration,
    ) -> impl Future<Output = Result<Value, LinkError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let accepted = self.enqueue(commands, route, kind, Some(reply));
        let deadline = Instant::now() + within;
        async move {
            accepted?;
            within_time(answer, deadline).await
        }
    }

    fn enqueue(
        &self,
        commands: Vec<Cmd>,
        route: Route,
        kind: Kind,
        reply: Option<oneshot::Sender<Result<Value, LinkError>>>,
    ) -> Result<(), LinkError> {
        let bytes = commands
            .iter()
            .flat_map(Cmd::args_iter)
            .map(|argument| match argument {
                redis::Arg::Simple(bytes) => bytes.len() + BYTES_PER_ARGUMENT,
                _ => BYTES_PER_ARGUMENT,
            })
            .sum();
        let entry = Entry { commands, route, kind, reply, asking: false, redirections: 0, bytes };
        self.router.lock().enqueue(entry).inspect_err(|_| self.counters.dropped.add())
    }

    /// Makes the task of a lane.
    pub(super) fn lane(self: &Arc<Shared>) -> impl Fn(Target, Arc<Notify>) -> Task {
        let shared = Arc::clone(self);
        move |target, wake| Task::spawn(lane::run(Arc::clone(&shared), target, wake))
    }

    pub(super) fn is_ready(&self) -> Result<bool, LinkError> {
        let publisher = self.router.lock().state();
        if publisher == ConnectionState::Closed {
            return Err(LinkError::Closed);
        }
        let subscribed =
            self.subscriptions.lock().ready().map_err(|(channel, reason)| LinkError::NotReady {
                reason: format!(
                    "Redis refuses the subscription of {channel}: {reason} (sharded ones need Redis 7, a cluster redis+cluster://)"
                ),
            })?;
        if publisher == ConnectionState::Connected && subscribed && self.readers.lock().are_positioned() {
            return Ok(true);
        }
        match &*self.last_error.lock() {
            Some(last) if last.is_refusal => Err(LinkError::NotReady { reason: last.reason.to_string() }),
            _ => Ok(false),
        }
    }

    /// Why something failed the last time.
    pub(super) fn last_reason(&self) -> Option<Arc<str>> {
        self.last_error.lock().as_ref().map(|last| Arc::clone(&last.reason))
    }

    /// A connection was lost, or could not be made.
    pub(super) fn failed(&self, error: &ConnectError) {
        let is_refusal = match error {
            ConnectError::Redis(error) => {
                matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported)
                    || matches!(error.code(), Some("NOAUTH" | "NOPERM" | "WRONGPASS"))
                    || error.to_string().contains("cluster support disabled")
            }
            _ => false,
        };
        *self.last_error.lock() = Some(LastError { reason: error.to_string().into(), is_refusal });
    }

    /// A channel was refused.
    pub(super) fn refused(&self, channel: &Channel, reason: &str) {
        let reason = format!("the subscription of {channel} is refused: {reason}").into();
        *self.last_error.lock() = Some(LastError { reason, is_refusal: false });
    }

    /// A connection was made: what refused us before is no longer what others wait for.
    pub(super) fn succeeded(&self) {
        if let Some(last) = &mut *self.last_error.lock() {
            last.is_refusal = false;
        }
    }

    pub(super) fn progressed(&self) {
        self.progress.send_replace(());
    }

    /// Asks the cluster for its slots soon, if it is one.
    pub(super) fn refresh_topology(&self) {
        self.refresh.notify_one();
    }

    pub(super) fn ping_channel(&self) -> Bytes {
        let random = getrandom::u64().expect("the operating system gives random bytes");
        format!("{}-ferrio-ping#{random:016x}", self.prefix).into()
    }

    pub(super) fn log_once(&self, logged: &AtomicBool, log: impl FnOnce()) {
        if !logged.swap(true, Ordering::Relaxed) {
            log();
        }
    }

    pub(super) fn end(&self) {
        let left = self.router.lock().end();
        for entry in left {
            self.counters.dropped.add();
            entry.answer(Err(LinkError::Closed));
        }
        let handlers = self.subscriptions.lock().end();
        drop(handlers);
        let readers = self.readers.lock().end();
        drop(readers);
        self.progressed();
    }
}

/// Asks a cluster for its slots: at the start, when something went to the wrong node, and now and then.
pub(super) async fn keep_topology(shared: Arc<Shared>) {
    let mut backoff = Backoff::new(shared.config.backoff_min, shared.config.backoff_max);
    let mut is_known = true;
    loop {
        match ask_topology(&shared).await {
            Ok(topology) => {
                backoff.reset();
                is_known = true;
                set_topology(&shared, topology);
                tokio::select! {
                    () = shared.refresh.notified() => {}
                    // New masters bring subscribers of their own, and nobody tells us of them.
                    () = sleep(shared.config.ping_interval) => continue,
                }
            }
            Err(error) => {
                shared.failed(&error);
                shared.progressed();
                // Once an outage.
                if std::mem::replace(&mut is_known, false) {
                    warn!(%error, "the slots of the cluster are not known");
                } else {
                    debug!(%error, "the slots of the cluster are not known");
                }
            }
        }
        // When something moves, many notice it at once.
        sleep(backoff.delay()).await;
    }
}

fn set_topology(shared: &Arc<Shared>, topology: Topology) {
    if *shared.router.lock().topology() != topology {
        debug!(?topology, "the slots of the cluster are known");
        shared.router.lock().set_topology(topology.clone(), shared.lane());
        shared.subscriptions.lock().set_topology(shared, topology);
    }
    shared.progressed();
}

async fn ask_topology(shared: &Shared) -> Result<Topology, ConnectError> {
    let Servers::Cluster(seeds) = &shared.config.servers else { unreachable!("only clusters have slots") };
    let known: Vec<Endpoint> = shared.router.lock().topology().masters().into_iter().cloned().collect();
    let mut last = None;
    for node in known.iter().chain(seeds) {
        match ask_node(shared, node).await {
            Ok(topology) if topology.is_empty() => {}
            Ok(topology) => return Ok(topology),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        ConnectError::Io(std::io::Error::other("no node of the cluster knows who owns the slots"))
    }))
}

async fn ask_node(shared: &Shared, node: &Endpoint) -> Result<Topology, ConnectError> {
    let mut commands = connect::commands(&shared.config, &Target::Node(node.clone())).await?;
    let question = cmd("CLUSTER").arg("SLOTS").take();
    let answer = question.query_async::<Value>(&mut commands.connection);
    let answer =
        timeout(shared.config.response_timeout, answer).await.map_err(|_| ConnectError::TimedOut)??;
    Topology::read(&answer, node)
        .ok_or_else(|| ConnectError::Io(std::io::Error::other("the answer to CLUSTER SLOTS makes no sense")))
}

pub(super) async fn within_time(
    answer: oneshot::Receiver<Result<Value, LinkError>>,
    deadline: Instant,
) -> Result<Value, LinkError> {
    match tokio::time::timeout_at(deadline.into(), answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_dropped)) => Err(LinkError::Closed),
        Err(_) => Err(LinkError::TimedOut),
    }
}

/// What an argument costs beside its bytes: where it ends, its length on the wire, and the entry's share.
const BYTES_PER_ARGUMENT: usize = 32;
