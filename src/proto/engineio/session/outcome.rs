//! What becomes of a session and of what is sent: events, reasons, errors.

use std::fmt;

use super::Lag;

/// Why a session closed; `Display` gives Node's strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// `forced close`: this side closed it.
    ForcedClose,
    /// `parse error`: an invalid Engine.IO packet came.
    ParseError,
    /// `ping timeout`: no pong in time.
    PingTimeout,
    /// `transport close`: the client closed, or its connection ended.
    TransportClose,
    /// `transport error`: overlapping requests, protocol violations of the transport, a failed write, a peer too
    /// slow for its send queue.
    TransportError,
}

/// What accepting a message did to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many that waited were dropped to make room.
    pub dropped: usize,
    /// It took the place of the one with the same key.
    pub superseded: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session is closed, or closing.
    Closed,
    /// The send queue is full, and [`SlowConsumer`](super::SlowConsumer) says that the message is to be dropped. The
    /// session goes on.
    Dropped,
    /// The send queue holds `queued` bytes, its bound is `limit`: the session has been closed as a slow peer.
    QueueFull {
        /// Bytes that waited.
        queued: usize,
        /// The bound, in bytes.
        limit: usize,
    },
}

/// What happened to the session, for the layer above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A WebSocket probes.
    Upgrading,
    /// It now runs over WebSocket.
    Upgraded,
    /// The peer fell behind, or has caught up.
    Lag(Lag),
    /// It is closed; comes exactly once, last.
    Closed(CloseReason),
}

impl CloseReason {
    /// Node's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::ForcedClose => "forced close",
            CloseReason::ParseError => "parse error",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::TransportClose => "transport close",
            CloseReason::TransportError => "transport error",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed => f.write_str("the session is closed"),
            SendError::Dropped => f.write_str("dropped, because the peer is slow and its send queue is full"),
            SendError::QueueFull { queued, limit } => {
                write!(f, "{queued} bytes wait for a slow peer, the limit is {limit} (raise max_send_queue)")
            }
        }
    }
}

impl std::error::Error for SendError {}
