//! Events between the servers of a cluster: Node's `serverSideEmit`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Server;
use super::namespace::Namespace;
use super::socket::EmitError;
use crate::proto::socketio::{ArgsError, Payload, RawArgs, Value};
use crate::sync::Mutex;

/// An event that another server of the cluster emitted to its peers, for a handler; see
/// [`Namespace::on_server_side`].
#[derive(Debug)]
pub struct ServerSideEvent {
    namespace: Namespace,
    name: Arc<str>,
    args: Payload,
    answer: Option<Answer>,
}

/// Where the answer goes; taken by the first one. All handlers of the event share it.
#[derive(Clone)]
struct Answer(Arc<Mutex<Option<oneshot::Sender<Payload>>>>);

impl ServerSideEvent {
    /// Gives the namespace in which it was emitted.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Gives this server, unless it is gone.
    pub fn server(&self) -> Option<Server> {
        Server::owner(self.namespace.shared())
    }

    /// Gives the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the arguments, as [`Event::args`](super::Event::args).
    ///
    /// # Errors
    /// If an argument is missing or is something else than `T` says.
    pub fn args<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ArgsError> {
        self.args.args()
    }

    /// Gives all arguments unread, to be passed on.
    pub fn raw_args(&self) -> RawArgs {
        self.args.raw_args()
    }

    /// Reads all arguments, whatever they are.
    pub fn values(&self) -> Vec<Value> {
        self.args.values().unwrap_or_default()
    }

    /// Whether the other server waits for an answer.
    pub fn wants_ack(&self) -> bool {
        self.answer.is_some()
    }

    /// Answers with one value. Only the first call sends; where the other server waits for no answer, it does nothing.
    ///
    /// # Errors
    /// If `value` cannot be serialized.
    pub fn ack<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), EmitError> {
        let Some(Answer(answer)) = &self.answer else { return Ok(()) };
        let value = Payload::ack(&(value,))?;
        if let Some(answer) = answer.lock().take() {
            // Whoever waited may have stopped waiting.
            let _ = answer.send(value);
        }
        Ok(())
    }

    /// Gives the application's state, set by [`ServerBuilder::state`](super::ServerBuilder::state).
    ///
    /// # Panics
    /// If no state of this type was set.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.namespace.state()
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Starts the handlers of an event that came from another server.
    pub(crate) fn dispatch(namespace: &Namespace, event: &Payload, answer: Option<oneshot::Sender<Payload>>) {
        let Some(name) = event.event_name() else { return };
        let name: Arc<str> = name.into_text().into();
        let answer = answer.map(|answer| Answer(Arc::new(Mutex::new(Some(answer)))));
        for handler in &*namespace.server_side_handlers(&name) {
            handler.start(ServerSideEvent {
                namespace: namespace.clone(),
                name: Arc::clone(&name),
                args: event.clone(),
                answer: answer.clone(),
            });
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// What servers must be able to send each other, or nobody could hear it on Node.
pub(crate) fn check_server_side<T: Serialize + ?Sized>(event: &str, args: &T) -> Result<Payload, EmitError> {
    if RESERVED_SERVER_SIDE_EVENTS.contains(&event) {
        return Err(EmitError::ReservedEvent { name: event.to_owned() });
    }
    Payload::event_unchecked(event, args)
}

/// Node's namespaces listen to these themselves.
const RESERVED_SERVER_SIDE_EVENTS: [&str; 3] = ["connect", "connection", "new_namespace"];
