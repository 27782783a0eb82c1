//! The watchdog: a message of our own through Redis shows whether a subscribing connection still hears.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connect::Target;
use super::link::Channel;
use super::router::{Kind, Route};
use super::shared::Shared;
use super::subscriptions::Key;
use super::topology::slot;

/// A message of our own through Redis, on a channel that nobody else knows and nobody counts.
pub(super) struct Ping {
    pub(super) channel: Channel,
    route: Route,
    seen: watch::Sender<u64>,
}

impl Ping {
    pub(super) fn new(shared: &Shared, key: &Key) -> Ping {
        let mut name = shared.ping_channel();
        let (channel, route): (fn(Bytes) -> Channel, _) = match key {
            Key::Plain => (Channel::Plain, Route::Any),
            Key::Sharded(Target::Configured) => (Channel::Sharded, Route::Any),
            Key::Sharded(Target::Node(node)) => {
                // A name whose slot this node owns; a node with a hundredth of the slots is found with certainty.
                for _ in 0..2000 {
                    if shared.subscriptions.lock().is_owner(node, &name) {
                        break;
                    }
                    name = shared.ping_channel();
                }
                (Channel::Sharded, Route::Slot(slot(&name)))
            }
        };
        Ping { channel: channel(name), route, seen: watch::Sender::new(0) }
    }

    pub(super) fn came_back(&self, payload: &[u8]) {
        if let Some(number) = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()) {
            self.seen.send_replace(number);
        }
    }

    pub(super) fn gives_up(&self) {
        self.seen.send_replace(u64::MAX);
    }

    /// Ends when Redis has taken a ping and it has not come back in time.
    pub(super) async fn becomes_deaf(&self, shared: &Shared) {
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
