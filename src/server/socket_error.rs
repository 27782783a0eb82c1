//! SocketError: what went wrong in the handling of one socket, for those who observe it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::handler::{HandlerError, Occasion, report_panic};
use super::socket::Socket;
use crate::proto::socketio::ParserError;

/// What went wrong while a socket's packets were handled; seen by [`Namespace::on_error`](super::Namespace::on_error) and
/// [`Socket::on_error`].
///
/// `{error}` says what kind of thing failed; why, [`SocketError::cause`]. Nothing of it is sent to the client. In particular an event whose handler fails before it has acknowledged is never
/// acknowledged: a client that waits runs into its timeout, as on Node. To answer with the error, acknowledge with it.
#[derive(Debug)]
pub struct SocketError {
    socket: Socket,
    event: Option<Arc<str>>,
    cause: SocketErrorCause,
}

/// The kinds of [`SocketError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketErrorCause {
    /// A handler returned an error.
    Handler(HandlerError),
    /// A middleware of the socket refused an event: its handlers are not started.
    Middleware(HandlerError),
    /// The client sent a packet that cannot be decoded; its connection is closed.
    Packet(Arc<ParserError>),
    /// A handler or a middleware panicked with this message. The middleware may be one of the namespace, which refuses the
    /// client: then the socket has not joined, and will not.
    Panic(String),
}

impl SocketError {
    pub(crate) fn new(socket: &Socket, event: Option<Arc<str>>, cause: SocketErrorCause) -> SocketError {
        SocketError { socket: socket.clone(), event, cause }
    }

    /// Gives the socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Gives the name of the event that was handled, if it was one.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// Gives what happened.
    pub fn cause(&self) -> &SocketErrorCause {
        &self.cause
    }

    /// Tells the observers of the socket, then those of its namespace; says whether there are any.
    pub(crate) fn observed(&self) -> bool {
        let lists = [self.socket.own_error_observers(), self.socket.home().error_observers()];
        for observer in lists.iter().flatten().flat_map(|list| list.iter()) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (observer.0)(self))) {
                report_panic(self.socket.peer().counters(), &Occasion::Observer, &*panic);
            }
        }
        lists.iter().any(Option::is_some)
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.cause {
            SocketErrorCause::Handler(_) => "a handler failed",
            SocketErrorCause::Middleware(_) => "a middleware of the socket refused an event",
            SocketErrorCause::Packet(_) => "a packet could not be decoded",
            SocketErrorCause::Panic(_) => "a handler panicked",
        })?;
        match (&self.event, &self.cause) {
            (Some(event), SocketErrorCause::Panic(message)) => write!(f, " (event {event:?}): {message}"),
            (None, SocketErrorCause::Panic(message)) => write!(f, ": {message}"),
            (Some(event), _) => write!(f, " (event {event:?})"),
            (None, _) => Ok(()),
        }
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            SocketErrorCause::Handler(error) | SocketErrorCause::Middleware(error) => Some(&**error),
            SocketErrorCause::Packet(error) => Some(&**error),
            SocketErrorCause::Panic(_) => None,
        }
    }
}

/// A function that is told of errors.
#[derive(Clone)]
pub(crate) struct ErrorObserver(Arc<dyn Fn(&SocketError) + Send + Sync>);

impl ErrorObserver {
    pub(crate) fn new(observe: impl Fn(&SocketError) + Send + Sync + 'static) -> ErrorObserver {
        ErrorObserver(Arc::new(observe))
    }
}

impl fmt::Debug for ErrorObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorObserver")
    }
}
