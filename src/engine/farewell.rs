//! Farewell: the last moments of a WebSocket, after its session is gone or never was.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};

use super::registry::{Registry, TaskGuard};
use super::upgrade::PendingUpgrade;
use super::websocket::WebSocket;
use super::websocket_io::Incoming;
use crate::proto::encoded::Form;

/// Writes what is left, waits for the peer's close frame, ends the stream; gives up after a while.
pub(crate) struct Farewell {
    socket: Box<WebSocket>,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    /// Resolves when the engine closes, which shortens the wait; then `None`.
    closing: Option<BoxFuture<'static, ()>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages and close frame are being written; `bool`: the peer said its goodbye already.
    Flush {
        peer_done: bool,
    },
    AwaitPeer,
    Shutdown,
    /// Our side has ended. Closing with unread bytes would reset the connection and could cost the peer our close
    /// frame: so they are read and dropped.
    Drain,
}

impl Farewell {
    /// `peer_done`: its close frame came, or it broke the rules, so that nothing is to be waited for.
    pub(crate) fn new(
        socket: Box<WebSocket>,
        peer_done: bool,
        registry: &Registry,
        mut sleep: Pin<Box<Sleep>>,
    ) -> Farewell {
        sleep.as_mut().reset(Instant::now() + PATIENCE);
        let closing: BoxFuture<'static, ()> = Box::pin(registry.closing());
        Farewell { socket, phase: Phase::Flush { peer_done }, deadline: sleep, closing: Some(closing) }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Phase>> {
        let next = match self.phase {
            Phase::Flush { peer_done } => match self.socket.poll_write(cx, &mut 0) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => None,
                Poll::Ready(Ok(())) if peer_done => Some(Phase::Shutdown),
                Poll::Ready(Ok(())) => Some(Phase::AwaitPeer),
            },
            Phase::AwaitPeer => match self.socket.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Incoming::Ended) => None,
                Poll::Ready(Incoming::Close | Incoming::Failed) => Some(Phase::Shutdown),
                Poll::Ready(_) => Some(Phase::AwaitPeer),
            },
            Phase::Shutdown => match self.socket.poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => None,
                Poll::Ready(Ok(())) => Some(Phase::Drain),
            },
            Phase::Drain => match self.socket.poll_drain(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(true) => Some(Phase::Drain),
                Poll::Ready(false) => None,
            },
        };
        Poll::Ready(next)
    }
}

impl Future for Farewell {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            self.closing = None;
            let deadline = self.deadline.deadline().min(Instant::now() + PATIENCE_AT_SHUTDOWN);
            self.deadline.as_mut().reset(deadline);
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        for _ in 0..STEPS_PER_POLL {
            match self.step(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(phase)) => self.phase = phase,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Closes a WebSocket that no session takes, with an empty close frame, as Node does.
pub(crate) async fn turn_away(upgrade: PendingUpgrade, max_message_size: usize, task: TaskGuard) {
    let Ok(Ok(upgraded)) = tokio::time::timeout(PATIENCE, upgrade.on_upgrade).await else { return };
    let io = TokioIo::new(upgraded);
    let mut socket = Box::new(WebSocket::new(io, max_message_size, Form::Ws4, upgrade.deflate));
    socket.queue_close();
    Farewell::new(socket, false, task.registry(), Box::pin(tokio::time::sleep(PATIENCE))).await;
}

/// Writes `raw` to a WebSocket that Node refuses only after the 101, and ends it.
pub(crate) async fn turn_away_raw(upgrade: OnUpgrade, raw: String, task: TaskGuard) {
    let _task = task;
    // Neither a failure nor the end of patience changes anything: the connection ends.
    let _ = tokio::time::timeout(PATIENCE, async {
        let mut io = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
        io.write_all(raw.as_bytes()).await?;
        io.shutdown().await
    })
    .await;
}

/// How long a peer may take over its goodbye: Node's `ws` waits 30 s for the close frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same while the server shuts down.
const PATIENCE_AT_SHUTDOWN: Duration = Duration::from_secs(1);

/// A peer that goes on sending is read in portions, so that it does not hold its worker thread.
const STEPS_PER_POLL: usize = 32;
