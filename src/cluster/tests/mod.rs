//! The link against real Redis servers.

mod adapters;
mod cluster;
mod connections;
mod emitter;
mod failures;
mod messages;
mod parser;
mod proxy;
mod recovery;
#[path = "../../../tests/common/redis_server.rs"]
mod redis_server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::link::{Channel, Hear, Incoming, RedisLink};
use super::{ConnectionState, RedisConfig};

/// Waits for a condition; it is a mistake if it does not come within a minute.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The same for a condition that has to be waited for itself.
async fn until_async(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens within a minute")
}

const PATIENCE: Duration = Duration::from_secs(60);

/// A link that tries again quickly, and whose timeouts a busy machine does not reach.
fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url)
        .unwrap()
        .backoff(Duration::from_millis(10), Duration::from_millis(100))
        .connect_timeout(Duration::from_secs(30))
        .response_timeout(Duration::from_secs(30))
}

fn link(url: &str) -> RedisLink {
    RedisLink::open(config(url), "test")
}

fn plain(name: &str) -> Channel {
    Channel::Plain(Bytes::from(name.to_owned()))
}

fn pattern(name: &str) -> Channel {
    Channel::Pattern(Bytes::from(name.to_owned()))
}

fn sharded(name: &str) -> Channel {
    Channel::Sharded(Bytes::from(name.to_owned()))
}

/// What a handler has heard, as `channel=payload`.
struct Heard(mpsc::UnboundedReceiver<String>);

impl Heard {
    fn new() -> (Heard, Arc<dyn Fn(Incoming) + Send + Sync>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let handler = move |incoming: Incoming| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let _ = sender.send(format!("{}={}", text(&incoming.channel), text(&incoming.payload)));
        };
        (Heard(receiver), Arc::new(handler))
    }

    async fn next(&mut self) -> String {
        soon(self.0.recv()).await.expect("the handler is still there")
    }

    /// Everything up to an expected message, which may take several attempts to be published.
    async fn until(&mut self, expected: &str, publish: impl Fn()) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            publish();
            let wait = timeout(Duration::from_millis(100), async {
                while self.0.recv().await.is_some_and(|heard| heard != expected) {}
            });
            if wait.await.is_ok() {
                return;
            }
            assert!(Instant::now() < deadline, "{expected} is heard");
        }
    }
}

fn is_reconnecting(state: ConnectionState) -> bool {
    matches!(state, ConnectionState::Reconnecting { .. })
}
