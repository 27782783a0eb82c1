//! Heartbeat: one deadline, for a ping that is due, a pong, or the client's ping.

use std::time::{Duration, Instant};

use super::later;
use crate::proto::engineio::{Packet, Revision};

/// What the heartbeat wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    /// A ping is to be sent.
    Ping,
    /// The peer did not show in time that it lives.
    Dead,
}

/// Revision 4: the server pings; "if it does not receive a pong packet back, it MUST consider that the connection is
/// closed" (Engine.IO protocol, heartbeat). Revision 3: the client pings, and the server waits for that.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    due: Due,
    /// While we do not read: until when at the latest.
    paused_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    /// Revision 4: when the server pings.
    Ping(Instant),
    /// Revision 4: when the pong is there at the latest. `refreshed`: another packet has moved it once already (Node
    /// since engine.io 6.6.12).
    Pong { at: Instant, refreshed: bool },
    /// Revision 3: when the client has pinged at the latest.
    ClientPing(Instant),
}

impl Heartbeat {
    pub(super) fn new(now: Instant, revision: Revision, interval: Duration, timeout: Duration) -> Heartbeat {
        let mut heartbeat =
            Heartbeat { interval, timeout, due: Due::Ping(later(now, interval)), paused_until: None };
        if revision == Revision::V3 {
            heartbeat.await_client(now);
        }
        heartbeat
    }

    /// A ping came; `false` if the peer must not ping.
    pub(super) fn handle_ping(&mut self, now: Instant) -> bool {
        let expected = self.awaits_client();
        if expected {
            self.await_client(now);
        }
        expected
    }

    /// A pong came, asked for or not: it restarts the interval. `false` if the peer must not answer.
    pub(super) fn handle_pong(&mut self, now: Instant) -> bool {
        let expected = !self.awaits_client();
        if expected {
            self.due = Due::Ping(later(now, self.interval));
        }
        expected
    }

    /// Whether the peer may send this packet of the heartbeat.
    pub(super) fn expects(&self, packet: &Packet) -> bool {
        match packet {
            Packet::Ping(_) => self.awaits_client(),
            Packet::Pong(_) => !self.awaits_client(),
            _ => false,
        }
    }

    /// Another packet came.
    pub(super) fn handle_other(&mut self, now: Instant) {
        if let Due::Pong { refreshed: false, .. } = self.due {
            self.due = Due::Pong { at: later(now, self.timeout), refreshed: true };
        }
    }

    /// What is awaited may have been lost on the way from one transport to the other. Node stops waiting for ever;
    /// here it may take the whole time again.
    pub(super) fn handle_upgrade(&mut self, now: Instant) {
        self.await_again(now);
    }

    /// A pause of our own making is none of the peer's fault, but it ends, too: otherwise handlers that wait for what
    /// is not read would keep a session for ever.
    pub(super) fn handle_paused(&mut self, now: Instant, paused: bool) {
        match (self.paused_until, paused) {
            (None, true) => self.paused_until = Some(later(now, self.interval.saturating_add(self.timeout))),
            (Some(_), false) => {
                self.paused_until = None;
                self.await_again(now);
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Beat {
        if self.paused_until.is_some_and(|until| until <= now) {
            return Beat::Dead;
        }
        match self.due {
            Due::Ping(at) if at <= now => {
                self.due = Due::Pong { at: later(now, self.timeout), refreshed: false };
                Beat::Ping
            }
            Due::Pong { at, .. } | Due::ClientPing(at) if at <= now && self.paused_until.is_none() => {
                Beat::Dead
            }
            Due::Ping(_) | Due::Pong { .. } | Due::ClientPing(_) => Beat::Nothing,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match (self.due, self.paused_until) {
            (Due::Ping(at), Some(until)) => Some(at.min(until)),
            (Due::Ping(at) | Due::Pong { at, .. } | Due::ClientPing(at), None) => Some(at),
            (Due::Pong { .. } | Due::ClientPing(_), Some(until)) => Some(until),
        }
    }

    fn awaits_client(&self) -> bool {
        matches!(self.due, Due::ClientPing(_))
    }

    fn await_client(&mut self, now: Instant) {
        self.due = Due::ClientPing(later(now, self.interval.saturating_add(self.timeout)));
    }

    fn await_again(&mut self, now: Instant) {
        match self.due {
            Due::Ping(_) => {}
            Due::Pong { refreshed, .. } => self.due = Due::Pong { at: later(now, self.timeout), refreshed },
            Due::ClientPing(_) => self.await_client(now),
        }
    }
}
