//! Connection: one session and the wakers of those who carry its packets.

use std::fmt;
use std::sync::Arc;

use super::handshake::HandshakeRequest;
use crate::proto::EncodedMessage;
use crate::proto::engineio::{SendError, TransportKind};

/// The id of an Engine.IO session. It is a credential: whoever knows it can speak for the client, so it has no
/// `Display` and `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// The id itself, for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

/// One client's Engine.IO connection, over whatever transport it uses at present.
#[derive(Debug)]
pub struct Connection {
    id: SessionId,
    request: HandshakeRequest,
}

#[allow(missing_docs, clippy::todo, unused_variables)]
impl Connection {
    pub fn id(&self) -> &SessionId {
        &self.id
    }
    /// The request that opened the session.
    pub fn request(&self) -> &HandshakeRequest {
        &self.request
    }
    /// Queues a message; never waits. Order of calls is order of transmission.
    pub fn send(&self, message: Arc<EncodedMessage>) -> Result<(), SendError> {
        todo!()
    }
    /// Queues a message only if it could leave at once (Node's `transport.writable`); says whether it did.
    pub fn send_volatile(&self, message: Arc<EncodedMessage>) -> bool {
        todo!()
    }
    /// Closes gracefully: what was sent before still leaves (`forced close`). Over polling without an open GET the
    /// session closes with the next GET, at the latest after 30 s.
    pub fn close(&self) {
        todo!()
    }
    /// Closes at once, dropping what waits (`forced close`).
    pub fn discard(&self) {
        todo!()
    }
    /// Whether the session is closed (`close` over polling may still wait for a GET: then it is not).
    pub fn is_closed(&self) -> bool {
        todo!()
    }
    pub fn transport(&self) -> TransportKind {
        todo!()
    }
    /// Node's `transport.writable`.
    pub fn is_writable(&self) -> bool {
        todo!()
    }
    /// Bytes accepted and not yet handed to the operating system.
    pub fn buffered_bytes(&self) -> usize {
        todo!()
    }
    /// Wakes the connection's task, so that it calls [`super::EngineHandler::poll`] and `poll_ready`.
    pub fn wake(&self) {
        todo!()
    }
}
