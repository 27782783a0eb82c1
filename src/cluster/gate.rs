//! The gate: no more is read from a RESP2 connection than is handled.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::connect::Io;
use crate::sync::Mutex;

/// Lets a RESP2 connection read no more than is handled: the client library puts what it has read into a queue without a
/// bound, so reading pauses until that queue is empty.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    pub(super) full: Notify,
}

#[derive(Default)]
struct GateState {
    read: usize,
    waker: Option<Waker>,
}

impl Gate {
    pub(super) fn open(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.read = 0;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub(super) struct Gated<S> {
    pub(super) stream: S,
    pub(super) gate: Arc<Gate>,
}

impl<S: Io> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_full = {
            let mut state = self.gate.state.lock();
            let is_full = state.read >= GATE_BYTES;
            if is_full {
                state.waker = Some(cx.waker().clone());
            }
            is_full
        };
        if is_full {
            self.gate.full.notify_one();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.gate.state.lock().read += buffer.filled().len() - before;
        polled
    }
}

impl<S: Io> AsyncWrite for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Read at once from a RESP2 connection before it is handled: many messages, and little memory.
const GATE_BYTES: usize = 256 * 1024;
