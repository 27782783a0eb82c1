//! What becomes of a session and of what is sent: events, reasons, errors.

use std::fmt;

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

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The session is closed, or closing.
    Closed,
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
            SendError::QueueFull { queued, limit } => {
                write!(f, "{queued} bytes wait for a slow peer, the limit is {limit} (raise max_send_queue)")
            }
        }
    }
}

impl std::error::Error for SendError {}
