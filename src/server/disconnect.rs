//! DisconnectReason: why a socket left its namespace.

use std::fmt;

use crate::engine::CloseReason;

/// Why a socket is no longer connected; `Display` and [`DisconnectReason::as_str`] give Node's strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// `client namespace disconnect`: the client left the namespace.
    ClientNamespaceDisconnect,
    /// `forced close`: this side closed the connection, often because the client broke the protocol.
    ForcedClose,
    /// `forced server close`: the client broke the protocol over polling while no GET was open.
    ForcedServerClose,
    /// `parse error`: an invalid Engine.IO packet came.
    ParseError,
    /// `ping timeout`: no pong came in time.
    PingTimeout,
    /// `server namespace disconnect`: [`Socket::disconnect`](super::Socket::disconnect) or
    /// [`Socket::close_connection`](super::Socket::close_connection) was called.
    ServerNamespaceDisconnect,
    /// `server shutting down`: [`Server::close`](super::Server::close) was called.
    ServerShuttingDown,
    /// `transport close`: the client closed the connection, or the connection ended.
    TransportClose,
    /// `transport error`: the connection failed, or the client was too slow for its send queue.
    TransportError,
}

impl DisconnectReason {
    /// Gives Node's string, e.g. `transport close`.
    pub fn as_str(self) -> &'static str {
        match self {
            DisconnectReason::ClientNamespaceDisconnect => "client namespace disconnect",
            DisconnectReason::ForcedClose => "forced close",
            DisconnectReason::ForcedServerClose => "forced server close",
            DisconnectReason::ParseError => "parse error",
            DisconnectReason::PingTimeout => "ping timeout",
            DisconnectReason::ServerNamespaceDisconnect => "server namespace disconnect",
            DisconnectReason::ServerShuttingDown => "server shutting down",
            DisconnectReason::TransportClose => "transport close",
            DisconnectReason::TransportError => "transport error",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<CloseReason> for DisconnectReason {
    fn from(reason: CloseReason) -> DisconnectReason {
        match reason {
            CloseReason::ForcedClose => DisconnectReason::ForcedClose,
            CloseReason::ParseError => DisconnectReason::ParseError,
            CloseReason::PingTimeout => DisconnectReason::PingTimeout,
            CloseReason::TransportClose => DisconnectReason::TransportClose,
            CloseReason::TransportError => DisconnectReason::TransportError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_as_nodes_do() {
        assert_eq!(DisconnectReason::ServerShuttingDown.to_string(), "server shutting down");
        assert_eq!(DisconnectReason::from(CloseReason::PingTimeout).as_str(), "ping timeout");
    }
}
