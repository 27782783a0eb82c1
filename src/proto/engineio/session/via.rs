//! Via: the ways by which packets come and go, and how a way ends.

/// The transport a session runs over at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl TransportKind {
    /// The transport's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TransportKind::Polling => "polling",
            TransportKind::WebSocket => "websocket",
        }
    }

    /// The transport with this name, exactly as written on the wire.
    pub fn from_name(name: &str) -> Option<TransportKind> {
        match name {
            "polling" => Some(TransportKind::Polling),
            "websocket" => Some(TransportKind::WebSocket),
            _ => None,
        }
    }
}

/// The two kinds of requests of HTTP long-polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollMethod {
    /// Waits for packets.
    Get,
    /// Brings packets.
    Post,
}

/// Names one attempt to upgrade: a late loss of probe A must not end probe B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeId(pub(crate) u32);

/// The way by which something came, or may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// HTTP long-polling.
    Polling,
    /// The session's WebSocket.
    WebSocket,
    /// A WebSocket that wants to become the session's.
    Probe(ProbeId),
}

/// How a transport was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It ended: a close frame, or the end of the TCP stream (for a WebSocket); `transport close`.
    Ended,
    /// It failed: a WebSocket protocol error, a write error, an aborted poll or POST; `transport error`.
    Failed,
}

/// A second GET (or POST) came while one was open: the session is closed, the newcomer is to be answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(pub PollMethod);

/// A WebSocket claims a session that is upgrading, upgraded, not on polling, or closed: to be closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpgradeRefused;
