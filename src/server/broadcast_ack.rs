//! BroadcastAcks: the answers of many clients to one event.
//!
//! One id goes to all; who has not answered stands in one place, [`PendingBroadcasts`] of the namespace, so that the end
//! of the wait is one removal, however many were asked.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::ack::AckError;
use super::adapter::RemoteAnswers;
use super::namespace::Namespace;
use super::socket::{EmitError, SocketId};
use crate::proto::socketio::Payload;
use crate::sync::Mutex;

/// The acknowledgements of an event that was emitted to many; made by
/// [`BroadcastOperator::emit_with_ack`](super::BroadcastOperator::emit_with_ack).
///
/// Awaited, it gives all answers in the order in which they came. [`BroadcastAcks::next`] gives one after the other as
/// they come; awaited afterwards, it gives the rest. Nobody addressed: there are no answers, at once.
///
/// # Cancel safety
/// Dropping it forgets the answers that would still come, nothing else: the event has been emitted. Where it is awaited
/// by reference (`(&mut acks).await`) and that is cancelled, no answer is lost.
///
/// # Example: answers as they come
/// ```
/// # async fn ask(io: ferrio::Server) {
/// let mut answers = io.to("workers").emit_with_ack::<u32>("load", &());
/// while let Some(answer) = answers.next().await {
///     match answer {
///         Ok(load) => println!("one has a load of {load}"),
///         Err(error) => println!("{error}"),
///     }
/// }
/// # }
/// ```
#[must_use = "the event is emitted, but nobody waits for the answers"]
pub struct BroadcastAcks<R> {
    answers: Answers,
    /// For those who await the whole.
    responses: Vec<R>,
    reason: Option<AckError>,
}

impl<R> BroadcastAcks<R> {
    pub(crate) fn of(answers: Answers) -> BroadcastAcks<R> {
        BroadcastAcks { answers, responses: Vec::new(), reason: None }
    }
}

impl<R: DeserializeOwned> BroadcastAcks<R> {
    /// Waits for the next answer; `None` when no more comes. An error is an answer that cannot be read as `R`
    /// ([`AckError::Args`]; others may follow), the end of the time ([`AckError::Timeout`], the last), or that nothing
    /// could be emitted ([`AckError::Emit`], the only one).
    ///
    /// # Cancel safety
    /// Cancelled, it loses no answer.
    pub async fn next(&mut self) -> Option<Result<R, AckError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next answer, as [`BroadcastAcks::next`]: `futures::stream::poll_fn(move |cx| acks.poll_next(cx))` is
    /// a stream.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<R, AckError>>> {
        let answer = ready!(self.answers.poll_next(cx));
        Poll::Ready(answer.map(|answer| first_argument(&answer?)))
    }
}

/// No answer is pinned.
impl<R> Unpin for BroadcastAcks<R> {}

impl<R: DeserializeOwned> Future for BroadcastAcks<R> {
    type Output = Result<Vec<R>, BroadcastAckError<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acks = self.get_mut();
        while let Some(answer) = ready!(acks.poll_next(cx)) {
            match answer {
                Ok(response) => acks.responses.push(response),
                Err(error) => drop(acks.reason.get_or_insert(error)),
            }
        }
        let responses = std::mem::take(&mut acks.responses);
        Poll::Ready(match acks.reason.take() {
            None => Ok(responses),
            Some(reason) => Err(BroadcastAckError { reason, responses }),
        })
    }
}

impl<R> fmt::Debug for BroadcastAcks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BroadcastAcks")
    }
}

/// The answers to a broadcast, unread, as they come.
pub(crate) struct Answers {
    /// Nothing was emitted.
    failed: Option<EmitError>,
    /// `None`: nothing comes any more.
    waiting: Option<Waiting>,
}

struct Waiting {
    /// `None`: all have answered.
    local: Option<Local>,
    remote: Option<RemoteAnswers>,
    /// `None`: the others end by themselves.
    deadline: Option<Instant>,
    /// Made when first polled: there is a runtime then.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The answers of this server's own sockets.
struct Local {
    namespace: Namespace,
    id: u64,
    answers: mpsc::UnboundedReceiver<Payload>,
}

impl Answers {
    /// Of sockets of this server, and of others.
    pub(crate) fn of_sockets(
        namespace: &Namespace,
        id: u64,
        answers: mpsc::UnboundedReceiver<Payload>,
        remote: Option<RemoteAnswers>,
        timeout: Duration,
    ) -> Answers {
        let now = Instant::now();
        let deadline = Some(now.checked_add(timeout).unwrap_or(now + FAR_FUTURE));
        let local = Some(Local { namespace: namespace.clone(), id, answers });
        Answers { failed: None, waiting: Some(Waiting { local, remote, deadline, sleep: None }) }
    }

    /// Of other servers, who end by themselves.
    pub(crate) fn of_servers(remote: RemoteAnswers) -> Answers {
        let waiting = Waiting { local: None, remote: Some(remote), deadline: None, sleep: None };
        Answers { failed: None, waiting: Some(waiting) }
    }

    pub(crate) fn failed(error: EmitError) -> Answers {
        Answers { failed: Some(error), waiting: None }
    }

    /// Nobody was asked.
    pub(crate) fn none() -> Answers {
        Answers { failed: None, waiting: None }
    }

    /// `None`: all have answered. An error that is no answer is the last thing that comes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Payload, AckError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(AckError::Emit(error))));
        }
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(None) };
        if let Some(local) = &mut waiting.local {
            match local.answers.poll_recv(cx) {
                Poll::Ready(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
                Poll::Ready(None) => waiting.local = None,
                Poll::Pending => {}
            }
        }
        if let Some(remote) = &mut waiting.remote {
            match remote.poll_recv(cx) {
                Poll::Ready(Some(Ok(answer))) => return Poll::Ready(Some(Ok(answer))),
                Poll::Ready(Some(Err(error))) => {
                    self.waiting = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => waiting.remote = None,
                Poll::Pending => {}
            }
        }
        if waiting.local.is_none() && waiting.remote.is_none() {
            self.waiting = None;
            return Poll::Ready(None);
        }
        let Some(deadline) = waiting.deadline else { return Poll::Pending };
        let sleep = waiting.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(sleep.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(Some(Err(AckError::Timeout)))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.namespace.pending_broadcasts().forget(self.id);
    }
}

/// What counts of an acknowledgement.
pub(crate) fn first_argument<R: DeserializeOwned>(answer: &Payload) -> Result<R, AckError> {
    let (first,) = answer.args().map_err(AckError::Args)?;
    Ok(first)
}

/// Says why not all clients have acknowledged, and gives the answers that came.
#[derive(Debug)]
pub struct BroadcastAckError<R> {
    /// What was wrong first.
    pub reason: AckError,
    /// The answers that came and could be read, in the order in which they came.
    pub responses: Vec<R>,
}

impl<R> fmt::Display for BroadcastAckError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<R: fmt::Debug> std::error::Error for BroadcastAckError<R> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// The broadcasts of a namespace whose acknowledgements somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct PendingBroadcasts(Mutex<HashMap<u64, PendingBroadcast>>);

#[derive(Debug)]
struct PendingBroadcast {
    /// Who has not answered.
    missing: HashSet<SocketId>,
    /// Somebody has left without an answer: as on Node the wait is then for the deadline.
    incomplete: bool,
    answers: mpsc::UnboundedSender<Payload>,
}

impl PendingBroadcasts {
    /// Waits for the answers of these sockets; the receiver ends with the last.
    ///
    /// Called under the lock of the namespace's rooms: so nobody in `missing` has left yet, and whoever leaves later is
    /// forgotten by [`PendingBroadcasts::forget_socket`].
    pub(crate) fn expect(&self, id: u64, missing: HashSet<SocketId>) -> mpsc::UnboundedReceiver<Payload> {
        let (answers, receiver) = mpsc::unbounded_channel();
        if !missing.is_empty() {
            self.0.lock().insert(id, PendingBroadcast { missing, incomplete: false, answers });
        }
        receiver
    }

    /// Takes a client's answer; the first one counts, and only that of a client who was asked.
    pub(crate) fn resolve(&self, id: u64, socket: &SocketId, data: Option<Payload>) {
        let answers = {
            let mut pending = self.0.lock();
            let Some(broadcast) = pending.get_mut(&id) else { return };
            if !broadcast.missing.remove(socket) {
                return;
            }
            let answers = broadcast.answers.clone();
            if broadcast.missing.is_empty() && !broadcast.incomplete {
                pending.remove(&id);
            }
            answers
        };
        // Outside the lock: it wakes whoever waits.
        let data = data.unwrap_or_else(|| Payload::ack(&()).expect("no arguments have a JSON form"));
        // Whoever waited may have stopped waiting.
        let _ = answers.send(data);
    }

    /// Nobody waits for the answers to this broadcast any more.
    pub(crate) fn forget(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// The socket has left: no answer of it comes any more.
    pub(crate) fn forget_socket(&self, socket: &SocketId) {
        for broadcast in self.0.lock().values_mut() {
            broadcast.incomplete |= broadcast.missing.remove(socket);
        }
    }

    #[cfg(test)]
    pub(crate) fn missing(&self) -> Vec<usize> {
        self.0.lock().values().map(|broadcast| broadcast.missing.len()).collect()
    }
}

/// Long enough for a slow line, short enough that a client which never answers costs little.
pub(crate) const DEFAULT_ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a timeout beyond the end of time comes to: thirty years.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
