//! Upgrade: a WebSocket that probes, until it takes over or is over.

use std::time::{Duration, Instant};

use super::{ProbeId, UpgradeRefused};

/// At most one probe at a time.
#[derive(Debug)]
pub(super) struct Upgrade {
    timeout: Duration,
    next: u32,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    id: ProbeId,
    deadline: Instant,
    /// Its ping has not been answered yet.
    owes_pong: bool,
    /// From its first ping on: when the next open GET is answered with a noop, so that the client's poll ends and it
    /// can upgrade.
    noop_at: Option<Instant>,
}

impl Upgrade {
    pub(super) fn new(timeout: Duration) -> Upgrade {
        Upgrade { timeout, next: 0, probe: None }
    }

    pub(super) fn begin(&mut self, now: Instant) -> Result<ProbeId, UpgradeRefused> {
        if self.probe.is_some() {
            return Err(UpgradeRefused);
        }
        let id = ProbeId(self.next);
        self.next = self.next.wrapping_add(1);
        self.probe = Some(Probe { id, deadline: now + self.timeout, owes_pong: false, noop_at: None });
        Ok(id)
    }

    pub(super) fn probe(&self) -> Option<ProbeId> {
        self.probe.as_ref().map(|probe| probe.id)
    }

    /// `2probe` came.
    pub(super) fn handle_ping(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            probe.owes_pong = true;
            probe.noop_at = Some(now + NOOP_INTERVAL);
        }
    }

    pub(super) fn owes_pong(&self, id: ProbeId) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.id == id && probe.owes_pong)
    }

    pub(super) fn take_pong(&mut self, id: ProbeId) -> bool {
        match &mut self.probe {
            Some(probe) if probe.id == id => std::mem::take(&mut probe.owes_pong),
            _ => false,
        }
    }

    /// The probe named is over; another one is not concerned.
    pub(super) fn end(&mut self, id: ProbeId) {
        if self.probe() == Some(id) {
            self.probe = None;
        }
    }

    /// Whatever probe there is is over.
    pub(super) fn finish(&mut self) {
        self.probe = None;
    }

    /// Says whether the open GET is to be answered with a noop.
    pub(super) fn handle_timeout(&mut self, now: Instant, get_open: bool) -> bool {
        let Some(probe) = &mut self.probe else { return false };
        if probe.deadline <= now {
            self.probe = None;
            return false;
        }
        if probe.noop_at.is_none_or(|noop_at| noop_at > now) {
            return false;
        }
        self.catch_up(now);
        get_open
    }

    /// Moves the noop to the next tick after `now`; the ticks stay where the probe's ping has put them.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if let Some(Probe { noop_at: Some(noop_at), .. }) = &mut self.probe
            && *noop_at <= now
        {
            let missed = now.duration_since(*noop_at).as_millis() / NOOP_INTERVAL.as_millis();
            *noop_at += NOOP_INTERVAL * (u32::try_from(missed).unwrap_or(0) + 1);
        }
    }

    pub(super) fn poll_timeout(&self, get_open: bool) -> Option<Instant> {
        let probe = self.probe.as_ref()?;
        let noop_at = probe.noop_at.filter(|_| get_open);
        Some(noop_at.map_or(probe.deadline, |noop_at| noop_at.min(probe.deadline)))
    }
}

/// Node looks for an open GET ten times a second.
const NOOP_INTERVAL: Duration = Duration::from_millis(100);
