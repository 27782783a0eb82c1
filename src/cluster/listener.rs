//! A subscribing connection: it keeps Redis's subscriptions as they are wanted, connects again, and notices when it is deaf.
//!
//! What is wanted is a set; each connection brings Redis's subscriptions in line with it, when it is made and when the set
//! changes.

use std::collections::HashSet;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::connect::ConnectError;
use super::link::Channel;
use super::listening::{Listening, open};
use super::shared::Shared;
use super::status::ConnectionState;
use super::subscriptions::{Changes, Key};
use super::watchdog::Ping;

/// Connects, subscribes, listens, and connects again, until the link closes or ends it.
pub(super) async fn run(shared: Arc<Shared>, key: Key, wake: Arc<Notify>) {
    let config = &shared.config;
    let redis = key.place(config);
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
                    info!(%redis, "subscribing connection to Redis is there");
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
                shared.subscriptions.lock().forget(&key);
                shared.progressed();
                return;
            }
            End::Deaf => {
                warn!(%redis, "a subscribing connection to Redis has become deaf and is made anew");
                shared.counters.watchdog_renewals.add();
                (since, attempts) = (Instant::now(), 0);
            }
            End::Lost(error) => {
                if attempts == 0 {
                    since = Instant::now();
                    warn!(%redis, %error, "no subscribing connection to Redis");
                } else {
                    debug!(%redis, %error, attempts, "no subscribing connection to Redis");
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
        if shared.subscriptions.lock().is_closing() {
            shared.subscriptions.lock().forget(&key);
            return shared.progressed();
        }
    }
}

async fn closing(shared: &Shared, wake: &Notify) {
    while !shared.subscriptions.lock().is_closing() {
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
    // When to ask again for what was refused or put off.
    let mut retry: Option<Instant> = None;
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
            (subscriptions.changes(shared, key, have), subscriptions.is_closing())
        };
        changes.add.append(&mut own);
        if closing {
            changes =
                Changes { add: Vec::new(), remove: have.drain().chain([ping.channel.clone()]).collect() };
        }
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
                let redis = key.place(&shared.config);
                warn!(%redis, "Redis refuses the watchdog's channel: nobody notices a deaf subscription");
                ping.gives_up();
            }
            let again = keep_answers(shared, have, portion.add, answers).map(|delay| Instant::now() + delay);
            retry = retry.into_iter().chain(again).min();
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
        tokio::select! {
            () = wake.notified() => {}
            () = listening.task.ended() => return End::Lost(lost("Redis closed the connection")),
            () = &mut deaf => return End::Deaf,
            () = sleep_until(retry.unwrap_or_else(Instant::now).into()), if retry.is_some() => {
                retry = None;
                shared.subscriptions.lock().compare_all(key);
            }
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
                let reason: Arc<str> = refused.to_string().into();
                // It is tried again and again.
                if subscriptions.refusal(&channel) != Some(&reason) {
                    error!(channel = %channel, %refused, "Redis refuses a subscription");
                }
                shared.refused(&channel, &reason);
                subscriptions.unconfirm(&channel, Some(reason));
                retry = retry.or(Some(RETRY_REFUSED));
            }
        }
    }
    retry
}

pub(super) fn lost(reason: &'static str) -> ConnectError {
    ConnectError::Io(io::Error::other(reason))
}

/// A cluster that moves a slot, or elects a master, is done within moments.
const RETRY_MOVED: Duration = Duration::from_millis(200);
/// Somebody has to change the rights of our user first.
const RETRY_REFUSED: Duration = Duration::from_secs(5);
