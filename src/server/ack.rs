//! AckFuture: the answer of one client to one event.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::broadcast_ack::{Answers, first_argument};
use super::socket::{EmitError, Socket};
use super::socket_operator::EmitFlags;
use crate::proto::socketio::{ArgsError, Payload};

/// Resolves to the client's acknowledgement of an event; made by [`Socket::emit_with_ack`].
///
/// # Cancel safety
/// Dropping it forgets the answer, nothing else: the event has been emitted.
#[must_use = "the event is emitted, but nobody waits for the answer"]
pub struct AckFuture<R> {
    answer: BoxFuture<'static, Result<Payload, AckError>>,
    read: fn(&Payload) -> Result<R, AckError>,
}

impl<R: DeserializeOwned> AckFuture<R> {
    pub(crate) fn emit<T: Serialize + ?Sized>(
        socket: &Socket,
        event: &str,
        args: &T,
        flags: EmitFlags,
    ) -> AckFuture<R> {
        // A timeout beyond the end of time is none.
        let deadline = flags.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let pending = Pending::emit(socket, event, args, flags);
        let read = |payload: &Payload| payload.args().map_err(AckError::Args);
        AckFuture { answer: Box::pin(wait(pending, deadline)), read }
    }

    /// An answer that comes by another way.
    pub(crate) fn of(
        answer: impl Future<Output = Result<Payload, AckError>> + Send + 'static,
    ) -> AckFuture<R> {
        AckFuture { answer: Box::pin(answer), read: |payload| payload.args().map_err(AckError::Args) }
    }

    /// The answer to a broadcast that is for one socket; without one it has left.
    pub(crate) fn only(mut answers: Answers) -> AckFuture<R> {
        let answer = poll_fn(move |cx| answers.poll_next(cx));
        let answer = answer.map(|first| first.unwrap_or(Err(AckError::Disconnected)));
        AckFuture { answer: Box::pin(answer), read: first_argument }
    }
}

impl<R> Future for AckFuture<R> {
    type Output = Result<R, AckError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<R, AckError>> {
        let answer = ready!(self.answer.as_mut().poll(cx));
        Poll::Ready(answer.and_then(|payload| (self.read)(&payload)))
    }
}

impl<R> fmt::Debug for AckFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AckFuture")
    }
}

async fn wait(pending: Result<Pending, AckError>, deadline: Option<Instant>) -> Result<Payload, AckError> {
    let mut pending = pending?;
    let Some(deadline) = deadline else {
        return (&mut pending.answer).await.map_err(|_| AckError::Disconnected);
    };
    match tokio::time::timeout_at(deadline, &mut pending.answer).await {
        Ok(answer) => answer.map_err(|_| AckError::Disconnected),
        Err(_) => Err(AckError::Timeout),
    }
}

/// An acknowledgement that is waited for; forgotten when dropped.
struct Pending {
    socket: Socket,
    id: u64,
    answer: tokio::sync::oneshot::Receiver<Payload>,
}

impl Pending {
    fn emit<T: Serialize + ?Sized>(
        socket: &Socket,
        event: &str,
        args: &T,
        flags: EmitFlags,
    ) -> Result<Pending, AckError> {
        let id = socket.home().next_ack_id();
        let packet = socket.home().encode_event(Some(id), event, args).map_err(AckError::Emit)?;
        let answer = socket.expect_ack(id).ok_or(AckError::Disconnected)?;
        socket.notify_outgoing(&packet);
        if flags.volatile {
            socket.peer().send_flagged(packet.message, flags);
        } else {
            let message = packet.message.with_compress(flags.compress);
            socket.home().send_in_order(socket, Arc::new(message));
        }
        Ok(Pending { socket: socket.clone(), id, answer })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.socket.forget_ack(self.id);
    }
}

/// Says why there is no acknowledgement.
#[derive(Debug)]
#[non_exhaustive]
pub enum AckError {
    /// The client acknowledged with something else than was asked for.
    Args(ArgsError),
    /// The client has left before it acknowledged.
    Disconnected,
    /// The event could not be emitted.
    Emit(EmitError),
    /// The acknowledgement did not come in time.
    Timeout,
    /// The other servers cannot be asked, or not be heard any more.
    Unavailable {
        /// What was tried and what happened.
        reason: String,
    },
    /// Not all other servers have answered in time.
    Unanswered {
        /// How many have.
        received: usize,
        /// How many were asked.
        expected: usize,
    },
}

impl fmt::Display for AckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AckError::Args(_) => f.write_str("the acknowledgement is something else than was asked for"),
            AckError::Disconnected => f.write_str("the socket has been disconnected"),
            AckError::Emit(_) => f.write_str("the event could not be emitted"),
            AckError::Timeout => f.write_str("operation has timed out"),
            AckError::Unavailable { reason } => write!(f, "the other servers cannot be asked: {reason}"),
            AckError::Unanswered { received, expected } => {
                write!(f, "timeout reached: only {received} responses received out of {expected}")
            }
        }
    }
}

impl std::error::Error for AckError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AckError::Args(error) => Some(error),
            AckError::Emit(error) => Some(error),
            AckError::Disconnected
            | AckError::Timeout
            | AckError::Unanswered { .. }
            | AckError::Unavailable { .. } => None,
        }
    }
}
