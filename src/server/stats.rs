//! Stats: the counters an operator reads, and warnings that do not flood the log.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// What a server has counted since it was made; a snapshot by [`Server::stats`](super::Server::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Engine.IO connections that are open now.
    pub connections: u64,
    /// Sockets that are connected now: one for each namespace of each connection.
    pub sockets: u64,
    /// Connections that never joined a namespace and were closed after `connect_timeout`.
    pub connect_timeouts: u64,
    /// Socket.IO packets that could not be decoded; each closed its connection. Invalid Engine.IO packets are not
    /// counted: they end their sockets with
    /// [`DisconnectReason::ParseError`](super::DisconnectReason::ParseError).
    pub decode_errors: u64,
    /// Packets that were whole but came at the wrong time (an event before its namespace was joined, say); each
    /// closed its connection.
    pub protocol_violations: u64,
    /// Events that no handler is registered for, and events without a name.
    pub unhandled_events: u64,
    /// Events that a middleware of their socket refused.
    pub events_refused: u64,
    /// Handlers that returned an error; middlewares that refused are not counted.
    pub handler_errors: u64,
    /// Handlers and middlewares that panicked.
    pub handler_panics: u64,
    /// Times that reading from a connection paused because too many of its handlers were waiting.
    pub inbound_paused: u64,
    /// CONNECT packets refused because their connection had joined too many namespaces, or because there were too many
    /// dynamic ones.
    pub namespaces_refused: u64,
    /// Connections closed because they did not read what was sent to them.
    pub slow_peers: u64,
    /// Events dropped for clients that did not keep up: see
    /// [`ServerBuilder::slow_consumer`](super::ServerBuilder::slow_consumer).
    pub events_dropped: u64,
    /// Events whose place a newer one with the same key took: see
    /// [`BroadcastOperator::coalesce`](super::BroadcastOperator::coalesce).
    pub events_coalesced: u64,
    /// Times that a client was told of as lagging: see [`Server::on_lag`](super::Server::on_lag).
    pub lags: u64,
    /// Times that the task of a connection ran half a second or more after its timer: a handler blocks a thread.
    pub late_timers: u64,
    /// Requests refused with one of Engine.IO's errors, those of which
    /// [`ServerBuilder::on_connection_error`](super::ServerBuilder::on_connection_error) is told. Answers without such an
    /// error (404 to another path, 413 to a body that is too large, 503 once the server is closed) are not counted.
    pub refusals: u64,
    /// Times that the task of a connection ran: woken by what came, by what was sent to it, or by time. Messages that
    /// wait together share one run, so that under load it grows more slowly than they.
    pub task_runs: u64,
    /// Sockets that go on where earlier ones ended, by connection state recovery.
    pub recovered: u64,
    /// Sockets that could not: see [`RecoveryError::NoOffset`](super::RecoveryError::NoOffset).
    pub recovery_no_offset: u64,
    /// Sockets that could not: see [`RecoveryError::Expired`](super::RecoveryError::Expired).
    pub recovery_expired: u64,
    /// Sockets that could not: see [`RecoveryError::Trimmed`](super::RecoveryError::Trimmed).
    pub recovery_trimmed: u64,
    /// Sockets that could not: see [`RecoveryError::Unknown`](super::RecoveryError::Unknown).
    pub recovery_unknown: u64,
    /// Bytes of events and sessions that are kept for those who may come back, now.
    pub recovery_bytes: u64,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) sockets: Counter,
    pub(crate) connect_timeouts: Counter,
    pub(crate) decode_errors: Counter,
    pub(crate) protocol_violations: Counter,
    pub(crate) unhandled_events: Counter,
    pub(crate) events_refused: Counter,
    pub(crate) handler_errors: Counter,
    pub(crate) handler_panics: Counter,
    pub(crate) inbound_paused: Counter,
    pub(crate) namespaces_refused: Counter,
    pub(crate) slow_peers: Counter,
    pub(crate) events_dropped: Counter,
    pub(crate) events_coalesced: Counter,
    pub(crate) lags: Counter,
    pub(crate) late_timers: Counter,
    pub(crate) refusals: Counter,
    pub(crate) recovered: Counter,
    pub(crate) recovery_no_offset: Counter,
    pub(crate) recovery_expired: Counter,
    pub(crate) recovery_trimmed: Counter,
    pub(crate) recovery_unknown: Counter,
    pub(crate) warnings: Warnings,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            connections: self.connections.get(),
            sockets: self.sockets.get(),
            connect_timeouts: self.connect_timeouts.get(),
            decode_errors: self.decode_errors.get(),
            protocol_violations: self.protocol_violations.get(),
            unhandled_events: self.unhandled_events.get(),
            events_refused: self.events_refused.get(),
            handler_errors: self.handler_errors.get(),
            handler_panics: self.handler_panics.get(),
            inbound_paused: self.inbound_paused.get(),
            namespaces_refused: self.namespaces_refused.get(),
            slow_peers: self.slow_peers.get(),
            events_dropped: self.events_dropped.get(),
            events_coalesced: self.events_coalesced.get(),
            lags: self.lags.get(),
            late_timers: self.late_timers.get(),
            refusals: self.refusals.get(),
            // The engine counts them.
            task_runs: 0,
            recovered: self.recovered.get(),
            recovery_no_offset: self.recovery_no_offset.get(),
            recovery_expired: self.recovery_expired.get(),
            recovery_trimmed: self.recovery_trimmed.get(),
            recovery_unknown: self.recovery_unknown.get(),
            // The namespaces share one number.
            recovery_bytes: 0,
        }
    }
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A limit on what peers can make us write into the log: so many warnings, then silence for the rest of the period.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Option<Period>>);

#[derive(Clone, Copy, Debug)]
struct Period {
    began: Instant,
    written: u32,
    suppressed: u64,
}

const PERIOD: Duration = Duration::from_secs(10);
/// Enough to see what is wrong, too little to fill a disk.
const WARNINGS_PER_PERIOD: u32 = 20;

impl Warnings {
    /// Says whether a warning may be written at `now`; if so, how many were swallowed since the last one.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let period = state.get_or_insert(Period { began: now, written: 0, suppressed: 0 });
        if now.saturating_duration_since(period.began) >= PERIOD {
            *period = Period { began: now, written: 0, suppressed: period.suppressed };
        }
        if period.written >= WARNINGS_PER_PERIOD {
            period.suppressed += 1;
            return None;
        }
        period.written += 1;
        Some(std::mem::take(&mut period.suppressed))
    }
}

/// Writes a warning, unless there were too many of late.
macro_rules! warn_limited {
    ($counters:expr, $($fields:tt)*) => {
        if let Some(suppressed) = $counters.warnings.admit(std::time::Instant::now()) {
            tracing::warn!(suppressed, $($fields)*);
        }
    };
}
pub(crate) use warn_limited;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_warnings_is_cut_off_and_counted() {
        let (warnings, start) = (Warnings::default(), Instant::now());
        for _ in 0..WARNINGS_PER_PERIOD {
            assert_eq!(warnings.admit(start), Some(0));
        }
        assert_eq!(warnings.admit(start), None);
        assert_eq!(warnings.admit(start), None);
        assert_eq!(warnings.admit(start + PERIOD), Some(2));
        assert_eq!(warnings.admit(start + PERIOD), Some(0));
    }

    #[test]
    fn a_snapshot_gives_what_was_counted() {
        let counters = Counters::default();
        counters.sockets.increment();
        counters.sockets.increment();
        counters.sockets.decrement();
        counters.slow_peers.increment();
        assert_eq!(counters.snapshot(), Stats { sockets: 1, slow_peers: 1, ..Stats::default() });
    }
}
