//! Hub: what the engine's connections talk to; the namespaces, and what they share.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use super::client::Client;
use super::config::ServerConfig;
use super::data::TypeMap;
use super::drain::Drain;
use super::lag;
use super::namespace::Namespace;
use super::namespaces::Namespaces;
use super::recovery::Budget;
use super::stats::{Counters, warn_limited};
use crate::engine::{CloseReason, Connection, EngineHandler, Lag, Message, Refusal, RequestHead};
use crate::proto::EncodedMessage;
use crate::proto::socketio::Packet;

/// Serves the connections of an engine: the part of a [`Server`](super::Server) that the engine holds.
pub struct Hub {
    namespaces: Arc<Namespaces>,
    on_refusal: Option<Box<RefusalObserver>>,
}

/// What the application wants to know of refused requests.
pub(crate) type RefusalObserver = dyn Fn(&Refusal, &RequestHead) + Send + Sync;

/// What all namespaces share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) counters: Counters,
    pub(crate) state: TypeMap,
    closing: AtomicBool,
    /// Set once, when the connections are to leave.
    pub(crate) drain: OnceLock<Drain>,
    pub(crate) recovery_budget: Arc<Budget>,
}

impl Shared {
    pub(crate) fn new(config: ServerConfig, state: TypeMap) -> Shared {
        let (closing, drain) = (AtomicBool::new(false), OnceLock::new());
        let recovery_budget = Arc::default();
        Shared { config, counters: Counters::default(), state, closing, drain, recovery_budget }
    }

    /// Encodes what the server has to say by itself; `None` if the parser has no form for it.
    pub(crate) fn encode(&self, packet: &Packet) -> Option<Arc<EncodedMessage>> {
        self.encode_message(packet).map(Arc::new)
    }

    /// The same, not shared yet.
    pub(crate) fn encode_message(&self, packet: &Packet) -> Option<EncodedMessage> {
        match self.config.codec.packet(packet) {
            Ok(message) => Some(message),
            Err(error) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(kind = ?packet.kind, reason, "a packet is not sent: {error}");
                None
            }
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }
}

impl Hub {
    pub(crate) fn new(shared: Shared, on_refusal: Option<Box<RefusalObserver>>) -> Hub {
        Hub { namespaces: Namespaces::new(Arc::new(shared)), on_refusal }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.namespaces.shared()
    }

    pub(crate) fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }

    /// The namespace of this name, made if there is none.
    pub(crate) fn of(&self, name: &str) -> Namespace {
        self.namespaces.of(name)
    }

    /// Lets no socket in any more, and takes out those that are in.
    pub(crate) fn close(&self) {
        self.shared().closing.store(true, Ordering::SeqCst);
        for namespace in self.namespaces.all() {
            for socket in namespace.sockets() {
                socket.peer().depart_all(super::DisconnectReason::ServerShuttingDown, false);
            }
        }
    }
}

impl EngineHandler for Hub {
    type Client = Client;

    fn on_open(&self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Client {
        Client::new(self, connection, cx)
    }

    fn on_message(&self, client: &mut Client, message: Message, cx: &mut Context<'_>) {
        client.handle_message(self, message, cx);
    }

    fn poll(&self, client: &mut Client, cx: &mut Context<'_>) {
        client.poll(self, cx);
    }

    fn poll_ready(&self, client: &mut Client, _cx: &mut Context<'_>) -> Poll<()> {
        client.poll_ready()
    }

    fn on_lag(&self, client: &mut Client, lag: Lag) {
        lag::tell(client.peer(), lag);
    }

    fn on_close(&self, client: Client, reason: CloseReason) {
        client.handle_close(reason);
    }

    fn on_late(&self, late: Duration) {
        self.shared().counters.late_timers.increment();
        let late = late.as_millis();
        warn_limited!(self.shared().counters, late, "a heartbeat is late (ms): a handler blocks its thread");
    }

    fn on_refusal(&self, refusal: &Refusal, request: &RequestHead) {
        self.shared().counters.refusals.increment();
        tracing::debug!(code = refusal.code(), "a request was refused");
        if let Some(observe) = &self.on_refusal {
            observe(refusal, request);
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
