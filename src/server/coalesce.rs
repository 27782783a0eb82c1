//! Coalescing: of events with the same key, a client that does not keep up gets the last one.

use std::sync::Arc;

use serde::Serialize;

use super::Server;
use super::broadcast::BroadcastOperator;
use super::namespace::Namespace;
use super::socket::{EmitError, Socket};
use super::socket_operator::EmitFlags;

impl Namespace {
    /// Addresses all sockets, with an event that takes the place of the waiting one with the same key; see
    /// [`BroadcastOperator::coalesce`].
    pub fn coalesce(&self, key: &str) -> BroadcastOperator {
        BroadcastOperator::new(self.clone()).coalesce(key)
    }

    /// What the key is in a queue that several namespaces share.
    pub(crate) fn coalesce_key(&self, key: &str) -> Arc<str> {
        // With its length, so that no name and key together are another name and key.
        format!("{} {} {key}", self.name().len(), self.name()).into()
    }
}

impl Server {
    /// Addresses all sockets of the main namespace, with an event that takes the place of the waiting one with the same
    /// key; see [`BroadcastOperator::coalesce`].
    pub fn coalesce(&self, key: &str) -> BroadcastOperator {
        self.main.coalesce(key)
    }
}

impl Socket {
    /// Prepares an event that takes the place of the waiting one with the same key; see
    /// [`BroadcastOperator::coalesce`].
    ///
    /// # Example: how far a job has come
    /// ```
    /// use ferrio::{EmitError, Socket};
    ///
    /// fn report(socket: &Socket, job: u32, percent: f64) -> Result<(), EmitError> {
    ///     socket.coalesce(&format!("job {job}")).emit("progress", &(job, percent))
    /// }
    /// ```
    pub fn coalesce(&self, key: &str) -> CoalescedEmit {
        CoalescedEmit { socket: self.clone(), key: self.home().coalesce_key(key) }
    }
}

/// An event to one socket that takes the place of the waiting one with the same key; made by [`Socket::coalesce`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`"]
pub struct CoalescedEmit {
    socket: Socket,
    key: Arc<str>,
}

impl CoalescedEmit {
    /// Emits the event, as [`Socket::emit`].
    ///
    /// # Errors
    /// If the event's name is reserved, or if `args` cannot be serialized.
    pub fn emit<T: Serialize + ?Sized>(&self, event: &str, args: &T) -> Result<(), EmitError> {
        self.socket.emit_with(event, args, EmitFlags::default(), Some(&self.key))
    }
}
