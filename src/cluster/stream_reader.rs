//! The blocking connection that reads one stream.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::ConnectionLike;
use redis::{Value, cmd};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::backoff::Backoff;
use super::connect::{self, Commands, ConnectError, Target, Task};
use super::shared::Shared;
use super::status::ConnectionState;
use super::topology::slot;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) id: String,
    pub(crate) fields: Vec<(Bytes, Bytes)>,
}

/// Reads a stream until it is dropped.
#[must_use = "dropped, it reads no more"]
pub(crate) struct StreamReader {
    shared: Arc<Shared>,
    id: u64,
}

impl StreamReader {
    pub(super) fn start(shared: Arc<Shared>, stream: String, handler: EntryHandler) -> StreamReader {
        let id = {
            let mut readers = shared.readers.lock();
            readers.next_id += 1;
            let id = readers.next_id;
            if !readers.closed {
                let task = Task::spawn_on(&shared.runtime, run(Arc::clone(&shared), id, stream, handler));
                let state = ConnectionState::Reconnecting { since: Instant::now(), attempts: 0 };
                readers.all.insert(id, Reader { state, positioned: false, _task: task });
            }
            id
        };
        StreamReader { shared, id }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let removed = self.shared.readers.lock().all.remove(&self.id);
        drop(removed);
    }
}

impl fmt::Debug for StreamReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReader").finish_non_exhaustive()
    }
}

type EntryHandler = Arc<dyn Fn(StreamEntry) + Send + Sync>;

/// The readers of a link.
#[derive(Default)]
pub(super) struct Readers {
    all: HashMap<u64, Reader>,
    next_id: u64,
    closed: bool,
}

pub(super) struct Reader {
    state: ConnectionState,
    /// Whether it is known from where on it reads.
    positioned: bool,
    _task: Task,
}

impl Readers {
    pub(super) fn state(&self) -> ConnectionState {
        if self.closed {
            return ConnectionState::Closed;
        }
        let worst = self.all.values().map(|reader| reader.state).max_by_key(ConnectionState::badness);
        worst.unwrap_or(ConnectionState::Idle)
    }

    pub(super) fn are_positioned(&self) -> bool {
        self.all.values().all(|reader| reader.positioned)
    }

    fn update(&mut self, id: u64, state: ConnectionState, positioned: bool) {
        if let Some(reader) = self.all.get_mut(&id) {
            reader.state = state;
            reader.positioned |= positioned;
        }
    }

    /// Ends all; they are to be dropped without the lock.
    pub(super) fn end(&mut self) -> HashMap<u64, Reader> {
        self.closed = true;
        std::mem::take(&mut self.all)
    }
}

async fn run(shared: Arc<Shared>, id: u64, stream: String, handler: EntryHandler) {
    let mut backoff = Backoff::new(shared.config.backoff_min, shared.config.backoff_max);
    let (mut since, mut attempts) = (Instant::now(), 0);
    let mut position = None;
    let mut was_connected = false;
    loop {
        let error = match connected(&shared, &stream, &mut position).await {
            Ok(mut commands) => {
                if std::mem::replace(&mut was_connected, true) {
                    shared.counters.reconnects.add();
                }
                (attempts, since) = (0, Instant::now());
                backoff.reset();
                shared.readers.lock().update(id, ConnectionState::Connected, true);
                shared.progressed();
                let position = position.get_or_insert_with(|| BEGINNING.to_owned());
                let lost = read(&shared, &stream, position, &mut commands, &handler).await;
                since = Instant::now().max(since);
                lost
            }
            Err(error) => error,
        };
        if attempts == 0 {
            warn!(%stream, %error, "no connection to Redis that reads the stream");
        } else {
            debug!(%stream, %error, attempts, "no connection to Redis that reads the stream");
        }
        attempts += 1;
        shared.failed(&error);
        shared.readers.lock().update(id, ConnectionState::Reconnecting { since, attempts }, false);
        shared.progressed();
        shared.refresh_topology();
        sleep(backoff.delay()).await;
    }
}

/// Connects to who has the stream, and finds where it ends now, if that is not known from before.
///
/// `$` would not do: entries that are appended between two idle reads would be left out.
async fn connected(
    shared: &Shared,
    stream: &str,
    position: &mut Option<String>,
) -> Result<Commands, ConnectError> {
    let target = if shared.config.is_cluster() {
        let owner = shared.router.lock().topology().owner(slot(stream.as_bytes())).cloned();
        Target::Node(owner.ok_or_else(|| other("the owner of the stream's slot is not known yet"))?)
    } else {
        Target::Configured
    };
    let mut commands = connect::commands(&shared.config, &target).await?;
    // With a known position too: it shows that the connection works.
    let last = cmd("XREVRANGE").arg(stream).arg("+").arg("-").arg("COUNT").arg(1).take();
    let last = commands.connection.req_packed_command(&last);
    let last = timeout(shared.config.response_timeout, last).await.map_err(|_| ConnectError::TimedOut)??;
    let last =
        entries(last.extract_error()?).ok_or_else(|| other("the answer to XREVRANGE makes no sense"))?;
    if position.is_none() {
        *position = Some(last.into_iter().next().map_or(BEGINNING.to_owned(), |entry| entry.id));
    }
    Ok(commands)
}

async fn read(
    shared: &Shared,
    stream: &str,
    position: &mut String,
    commands: &mut Commands,
    handler: &EntryHandler,
) -> ConnectError {
    let patience = BLOCK + shared.config.response_timeout;
    loop {
        let command = cmd("XREAD")
            .arg("COUNT")
            .arg(COUNT)
            .arg("BLOCK")
            .arg(u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX))
            .arg("STREAMS")
            .arg(stream)
            .arg(position.as_str())
            .take();
        let answer = match timeout(patience, commands.connection.req_packed_command(&command)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return error.into(),
            Err(_) => return ConnectError::TimedOut,
        };
        let streams = match answer {
            Value::Nil => continue,
            Value::Array(streams) => streams,
            Value::ServerError(error) => return ConnectError::Redis(error.into()),
            _ => return other("the answer to XREAD makes no sense"),
        };
        for read in streams {
            let Value::Array(mut parts) = read else { return other("the answer to XREAD makes no sense") };
            let Some(read) = parts.pop().and_then(entries) else {
                return other("the answer to XREAD makes no sense");
            };
            for entry in read {
                // Before the handler: an entry that makes it panic is not read forever.
                entry.id.clone_into(position);
                shared.counters.received.add();
                if catch_unwind(AssertUnwindSafe(|| handler(entry))).is_err() {
                    error!(%stream, id = %position, "the handler of a stream panicked");
                }
            }
        }
    }
}

/// The entries in an answer to `XRANGE`; one that was deleted while it was read has no fields.
pub(super) fn entries(answer: Value) -> Option<Vec<StreamEntry>> {
    let Value::Array(found) = answer else { return None };
    let mut entries = Vec::with_capacity(found.len());
    for entry in found {
        let Value::Array(parts) = entry else { return None };
        let [Value::BulkString(id), values] = <[Value; 2]>::try_from(parts).ok()? else { return None };
        let id = String::from_utf8(id).ok()?;
        let mut fields = Vec::new();
        if let Value::Array(values) = values {
            let mut values = values.into_iter().map(|value| match value {
                Value::BulkString(bytes) => Some(Bytes::from(bytes)),
                _ => None,
            });
            while let (Some(name), Some(value)) = (values.next(), values.next()) {
                fields.push((name?, value?));
            }
        }
        entries.push(StreamEntry { id, fields });
    }
    Some(entries)
}

fn other(reason: &'static str) -> ConnectError {
    ConnectError::Io(std::io::Error::other(reason))
}

const BEGINNING: &str = "0-0";
/// Node's defaults.
const COUNT: usize = 100;
const BLOCK: Duration = Duration::from_secs(5);
