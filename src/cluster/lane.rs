//! The publishing connection of one Redis node: it sends a queue in order, many commands at once, and connects again.

use std::sync::Arc;
use std::time::Instant;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, Pipeline, ServerError, Value};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::config::Endpoint;
use super::connect::{self, Commands, ConnectError, Target};
use super::router::{Entry, Kind};
use super::shared::Shared;
use super::status::{ConnectionState, LinkError};

/// Connects, sends, and connects again, until the link ends it.
pub(super) async fn run(shared: Arc<Shared>, target: Target, wake: Arc<Notify>) {
    let config = &shared.config;
    let mut backoff = Backoff::new(config.backoff_min, config.backoff_max);
    let (mut since, mut attempts) = (Instant::now(), 0);
    let redis = target.place(config);
    let mut was_connected = false;
    loop {
        match connected(&shared, &target).await {
            Ok(mut commands) => {
                info!(redis, "publishing connection to Redis is there");
                if was_connected {
                    shared.counters.reconnects.add();
                }
                was_connected = true;
                attempts = 0;
                backoff.reset();
                shared.router.lock().set_state(&target, ConnectionState::Connected);
                shared.succeeded();
                shared.progressed();
                let lost = serve(&shared, &target, &wake, &mut commands).await;
                warn!(redis, reason = %lost, "publishing connection to Redis is lost");
                shared.failed(&lost);
                since = Instant::now();
            }
            Err(error) => {
                attempts += 1;
                // Once an outage; the status and its counter say that it goes on.
                if attempts == 1 {
                    warn!(redis, %error, "no publishing connection to Redis");
                } else {
                    debug!(redis, %error, attempts, "no publishing connection to Redis");
                }
                shared.failed(&error);
            }
        }
        shared.router.lock().set_state(&target, ConnectionState::Reconnecting { since, attempts });
        shared.progressed();
        shared.refresh_topology();
        sleep(backoff.delay()).await;
    }
}

/// A connection on which Redis has answered: one that is loading its data, or wants a password, does not count.
async fn connected(shared: &Shared, target: &Target) -> Result<Commands, ConnectError> {
    let mut commands = connect::commands(&shared.config, target).await?;
    ping(shared, &mut commands).await?;
    Ok(commands)
}

async fn ping(shared: &Shared, commands: &mut Commands) -> Result<(), ConnectError> {
    let ping = redis::cmd("PING");
    let answer = commands.connection.req_packed_command(&ping);
    let answer = timeout(shared.config.response_timeout, answer).await;
    answer.map_err(|_| unanswered())??.extract_error()?;
    Ok(())
}

/// Sends batch after batch until the connection is lost, and says why it is.
async fn serve(
    shared: &Arc<Shared>,
    target: &Target,
    wake: &Notify,
    commands: &mut Commands,
) -> ConnectError {
    loop {
        let batch = shared.router.lock().take(target);
        if batch.is_empty() {
            tokio::select! {
                () = wake.notified() => continue,
                () = commands.driver.ended() => return closed(),
                () = sleep(shared.config.ping_interval) => {}
            }
            // A dead connection is better found before there is a message to lose on it.
            if let Err(error) = ping(shared, commands).await {
                return error;
            }
            continue;
        }
        let mut under_way = UnderWay { shared, batch };
        let mut pipeline = Pipeline::new();
        for entry in &under_way.batch {
            if entry.asking {
                pipeline.cmd("ASKING");
            }
            for command in &entry.commands {
                pipeline.add_command(command.clone());
            }
        }
        let answers = commands.connection.req_packed_commands(&pipeline, 0, pipeline.len());
        let answers = match timeout(shared.config.response_timeout, answers).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return error.into(),
            Err(_) => return unanswered(),
        };
        if let Some(error) = distribute(shared, target, std::mem::take(&mut under_way.batch), answers) {
            return error;
        }
    }
}

/// Entries that are sent and not answered. If the connection is lost, or the lane ended, whether Redis got them is unknown:
/// they are not sent again, because a message must not arrive twice.
struct UnderWay<'a> {
    shared: &'a Shared,
    batch: Vec<Entry>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let bytes = self.batch.iter().map(|entry| entry.bytes).sum();
        self.shared.router.lock().release(self.batch.len(), bytes);
        for entry in self.batch.drain(..) {
            if entry.kind == Kind::Message {
                self.shared.counters.lost.add();
            }
            entry.answer(Err(LinkError::Lost));
        }
        self.shared.progressed();
    }
}

/// Gives each entry its answer, or sends it to another node. An error says that this is no longer a master.
fn distribute(
    shared: &Arc<Shared>,
    target: &Target,
    batch: Vec<Entry>,
    answers: Vec<Value>,
) -> Option<ConnectError> {
    let mut answers = answers.into_iter();
    let (mut messages, mut bytes, mut demoted) = (0, 0, None);
    let mut answered = Vec::with_capacity(batch.len());
    for entry in batch {
        let count = entry.commands.len() + usize::from(entry.asking);
        // In a transaction the error that matters is the first: that of EXEC only says that there was one.
        let mut answer = Value::Nil;
        for value in answers.by_ref().take(count) {
            if !matches!(answer, Value::ServerError(_)) {
                answer = value;
            }
        }
        if let Value::ServerError(error) = answer {
            if let Some((to, asking)) = redirection(&error, target)
                && entry.redirections < MAX_REDIRECTIONS
            {
                shared.refresh_topology();
                shared.router.lock().redirect(entry, to, asking, shared.lane());
                continue;
            }
            if error.code() == "READONLY" {
                demoted = Some(ConnectError::Io(std::io::Error::other("the server is a replica now")));
            }
            if entry.kind == Kind::Message {
                shared.counters.failed.add();
                shared.log_once(
                    &shared.logged_failure,
                    || warn!(%error, "Redis refused a message; more are counted"),
                );
            }
            answered.push((entry, Err(LinkError::Redis { message: error.to_string() })));
        } else {
            if entry.kind == Kind::Message {
                shared.counters.published.add();
            }
            answered.push((entry, Ok(answer)));
        }
    }
    for (entry, _) in &answered {
        (messages, bytes) = (messages + 1, bytes + entry.bytes);
    }
    shared.router.lock().release(messages, bytes);
    for (entry, answer) in answered {
        entry.answer(answer);
    }
    shared.progressed();
    demoted
}

/// The node that a cluster names instead of itself, and whether it has to be asked for this once.
fn redirection(error: &ServerError, target: &Target) -> Option<(Endpoint, bool)> {
    let asking = match error.code() {
        "ASK" => true,
        "MOVED" => false,
        _ => return None,
    };
    let Target::Node(from) = target else { return None };
    let (_slot, address) = error.details()?.split_once(' ')?;
    Some((connect::redirected(address, from)?, asking))
}

fn unanswered() -> ConnectError {
    ConnectError::Io(std::io::Error::other("Redis does not answer"))
}

fn closed() -> ConnectError {
    ConnectError::Redis((ErrorKind::Io, "Redis closed the connection").into())
}

/// As Redis's own cluster client has it.
const MAX_REDIRECTIONS: u8 = 5;
