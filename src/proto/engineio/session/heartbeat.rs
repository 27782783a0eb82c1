//! Heartbeat: a ping that is due, or a pong; never both.

use std::time::{Duration, Instant};

use super::later;

/// What the heartbeat wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    /// A ping is to be sent.
    Ping,
    /// No pong came in time.
    Dead,
}

/// The server pings; "if it does not receive a pong packet back, it MUST consider that the connection is closed"
/// (Engine.IO protocol, heartbeat).
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    due: Due,
    paused: bool,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Ping(Instant),
    /// `refreshed`: another packet has moved it once already (Node since engine.io 6.6.12).
    Pong {
        at: Instant,
        refreshed: bool,
    },
}

impl Heartbeat {
    pub(super) fn new(now: Instant, interval: Duration, timeout: Duration) -> Heartbeat {
        Heartbeat { interval, timeout, due: Due::Ping(later(now, interval)), paused: false }
    }

    /// Any pong, asked for or not, restarts the interval.
    pub(super) fn handle_pong(&mut self, now: Instant) {
        self.due = Due::Ping(later(now, self.interval));
    }

    /// A packet that is no pong shows that the peer lives: once per ping, its pong may take longer.
    pub(super) fn handle_other(&mut self, now: Instant) {
        if let Due::Pong { refreshed: false, .. } = self.due {
            self.due = Due::Pong { at: later(now, self.timeout), refreshed: true };
        }
    }

    /// A pong that is awaited may have been lost on the way from one transport to the other. Node stops waiting for
    /// ever; here it may take the whole timeout again.
    pub(super) fn handle_upgrade(&mut self, now: Instant) {
        if let Due::Pong { refreshed, .. } = self.due {
            self.due = Due::Pong { at: later(now, self.timeout), refreshed };
        }
    }

    pub(super) fn handle_paused(&mut self, now: Instant, paused: bool) {
        if self.paused
            && !paused
            && let Due::Pong { refreshed, .. } = self.due
        {
            self.due = Due::Pong { at: later(now, self.timeout), refreshed };
        }
        self.paused = paused;
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Beat {
        match self.due {
            Due::Ping(at) if at <= now => {
                self.due = Due::Pong { at: later(now, self.timeout), refreshed: false };
                Beat::Ping
            }
            Due::Pong { at, .. } if at <= now && !self.paused => Beat::Dead,
            Due::Ping(_) | Due::Pong { .. } => Beat::Nothing,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.due {
            Due::Ping(at) => Some(at),
            Due::Pong { at, .. } => (!self.paused).then_some(at),
        }
    }
}
