//! TestEvent: what the server emitted to a test client.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TestError;
use super::link::Router;
use crate::proto::socketio::{Payload, Value};
use crate::server::EmitError;

/// An event that the server emitted to a [`TestClient`](super::TestClient).
pub struct TestEvent {
    pub(super) router: Arc<Router>,
    pub(super) namespace: ByteString,
    pub(super) name: String,
    pub(super) payload: Payload,
    pub(super) ack: Option<u64>,
}

impl TestEvent {
    /// Gives the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the arguments, as [`Event::args`](crate::Event::args).
    ///
    /// # Errors
    /// [`TestError::Args`] if they are something else than `T` says.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, TestError> {
        self.payload.args().map_err(|error| TestError::Args { event: self.to_string(), error })
    }

    /// Reads all arguments, whatever they are.
    pub fn values(&self) -> Vec<Value> {
        self.payload.values().unwrap_or_default()
    }

    /// Whether the server waits for an acknowledgement.
    pub fn wants_ack(&self) -> bool {
        self.ack.is_some()
    }

    /// Acknowledges the event; the arguments are those of [`Socket::emit`](crate::Socket::emit). Of several calls the server
    /// counts the first one; where it waits for no acknowledgement, this does nothing.
    ///
    /// # Errors
    /// If `args` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(&self, args: &T) -> Result<(), EmitError> {
        match self.ack {
            Some(id) => self.router.ack(&self.namespace, id, args),
            None => Ok(()),
        }
    }
}

/// The name and the arguments, shortened: `"said" ["hello"]`.
impl fmt::Display for TestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = serde_json::to_string(&self.payload.raw_args()).unwrap_or_default();
        match args.char_indices().nth(MAX_SHOWN) {
            None => write!(f, "{:?} {args}", self.name),
            Some((end, _)) => write!(f, "{:?} {}…", self.name, &args[..end]),
        }
    }
}

impl fmt::Debug for TestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestEvent({self})")
    }
}

/// So much of the arguments, in characters, tells what came; the message of a failed test stays readable.
const MAX_SHOWN: usize = 200;
