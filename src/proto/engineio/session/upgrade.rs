//! Upgrade: a WebSocket that probes, until it takes over or is over.

use std::time::{Duration, Instant};

use super::{ProbeId, UpgradeRefused, later};

/// At most one probe at a time.
#[derive(Debug)]
pub(super) struct Upgrade {
    timeout: Duration,
    next: u32,
    probe: Option<Probe>,
    /// The probe that has become the session's WebSocket.
    winner: Option<ProbeId>,
}

#[derive(Debug)]
struct Probe {
    id: ProbeId,
    deadline: Instant,
    replies: Replies,
    /// From its first ping on: when the next open GET is answered with a noop, so that the client's poll ends and it
    /// can upgrade.
    noop_at: Option<Instant>,
}

/// The answers to a probe's pings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replies {
    /// Pings not answered yet.
    pub(super) owed: usize,
    /// Bytes of answers that are being written.
    pub(super) in_flight: usize,
}

impl Upgrade {
    pub(super) fn new(timeout: Duration) -> Upgrade {
        Upgrade { timeout, next: 0, probe: None, winner: None }
    }

    pub(super) fn begin(&mut self, now: Instant) -> Result<ProbeId, UpgradeRefused> {
        if self.probe.is_some() {
            return Err(UpgradeRefused);
        }
        let id = ProbeId(self.next);
        self.next = self.next.wrapping_add(1);
        let deadline = later(now, self.timeout);
        self.probe = Some(Probe { id, deadline, replies: Replies::default(), noop_at: None });
        Ok(id)
    }

    /// `2probe` came.
    pub(super) fn handle_ping(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            probe.replies.owed = (probe.replies.owed + 1).min(MAX_REPLIES_OWED);
            probe.noop_at = Some(now + NOOP_INTERVAL);
        }
    }

    /// Takes the number of answers that are to be written now, each of `len` bytes.
    pub(super) fn take_replies(&mut self, id: ProbeId, len: usize) -> usize {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.id == id) else { return 0 };
        let owed = std::mem::take(&mut probe.replies.owed);
        probe.replies.in_flight += owed * len;
        owed
    }

    pub(super) fn transmitted(&mut self, id: ProbeId, bytes: usize) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.id == id) {
            probe.replies.in_flight = probe.replies.in_flight.saturating_sub(bytes);
        }
    }

    /// The probe becomes the session's WebSocket, on which its replies still leave first.
    pub(super) fn win(&mut self) -> Replies {
        let Some(probe) = self.probe.take() else { return Replies::default() };
        self.winner = Some(probe.id);
        probe.replies
    }

    /// The probe named is over; another one is not concerned.
    pub(super) fn end(&mut self, id: ProbeId) {
        if self.probe() == Some(id) {
            self.probe = None;
        }
    }

    /// Whatever probe there is is over.
    pub(super) fn abandon(&mut self) {
        self.probe = None;
    }

    /// Says whether an open GET is to be answered with a noop.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        if probe.deadline <= now {
            self.probe = None;
            return false;
        }
        let due = probe.noop_at.is_some_and(|noop_at| noop_at <= now);
        self.catch_up(now);
        due
    }

    /// Moves a missed noop to the next tick after `now`; the ticks stay where the probe's ping has put them.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if let Some(Probe { noop_at: Some(noop_at), .. }) = &mut self.probe
            && *noop_at <= now
        {
            let into_tick = now.duration_since(*noop_at).as_nanos() % NOOP_INTERVAL.as_nanos();
            let into_tick = u64::try_from(into_tick).map_or(Duration::ZERO, Duration::from_nanos);
            *noop_at = now + (NOOP_INTERVAL - into_tick);
        }
    }

    pub(super) fn probe(&self) -> Option<ProbeId> {
        self.probe.as_ref().map(|probe| probe.id)
    }

    pub(super) fn winner(&self) -> Option<ProbeId> {
        self.winner
    }

    pub(super) fn owes_reply(&self, id: ProbeId) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.id == id && probe.replies.owed > 0)
    }

    /// The noop's tick counts only while a GET is open; one that comes later finds its tick by
    /// [`Upgrade::catch_up`].
    pub(super) fn poll_timeout(&self, get_waits: bool) -> Option<Instant> {
        let probe = self.probe.as_ref()?;
        let noop_at = probe.noop_at.filter(|_| get_waits);
        Some(noop_at.map_or(probe.deadline, |noop_at| noop_at.min(probe.deadline)))
    }
}

/// Node looks for an open GET ten times a second.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);
/// A client that probes again and again without reading the answers cannot make them pile up.
const MAX_REPLIES_OWED: usize = 16;
