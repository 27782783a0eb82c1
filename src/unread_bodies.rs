//! `UnreadBodies`: answers of one HTTP/2 connection that its client does not read.
//!
//! A stalled stream does not stall the connection, whose writes go on for the others: so the write timeout of the
//! connection says nothing of it, and hyper has none for a stream.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::sync::Mutex;

/// The bodies that are not read to their end yet, and when each was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnreadBodies(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    last_read: HashMap<u64, Instant>,
}

impl UnreadBodies {
    /// Hands a body out in portions, so that what is not read waits here and is seen to wait.
    pub(crate) fn watch<B>(&self, body: B) -> WatchedBody<B> {
        let mut state = self.0.lock();
        let id = state.next;
        state.next += 1;
        state.last_read.insert(id, Instant::now());
        WatchedBody { body, rest: Bytes::new(), watch: Some((id, self.clone())) }
    }

    /// Whether one of them was not read for so long.
    pub(crate) fn is_stalled(&self, patience: Duration) -> bool {
        self.0.lock().last_read.values().any(|last| last.elapsed() >= patience)
    }
}

/// A body, in portions if it is watched.
#[derive(Debug)]
pub(crate) struct WatchedBody<B> {
    body: B,
    rest: Bytes,
    watch: Option<(u64, UnreadBodies)>,
}

impl<B> WatchedBody<B> {
    /// A body that nobody has to watch.
    pub(crate) fn unwatched(body: B) -> WatchedBody<B> {
        WatchedBody { body, rest: Bytes::new(), watch: None }
    }

    fn portion(&mut self) -> Bytes {
        let Some((id, bodies)) = &self.watch else { return std::mem::take(&mut self.rest) };
        bodies.0.lock().last_read.insert(*id, Instant::now());
        self.rest.split_to(self.rest.len().min(PORTION))
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        if let Some((id, bodies)) = &self.watch {
            bodies.0.lock().last_read.remove(id);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.portion()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

/// What h2 holds of a body at a time.
const PORTION: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_read_is_noticed_until_it_is_dropped() {
        let bodies = UnreadBodies::default();
        let mut body = bodies.watch(Full::new(Bytes::from(vec![7; 40_000])));
        assert_eq!(body.size_hint().exact(), Some(40_000));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), PORTION);
        assert_eq!(body.size_hint().exact(), Some(40_000 - PORTION as u64));
        assert!(!bodies.is_stalled(MINUTE));
        tokio::time::advance(MINUTE).await;
        assert!(bodies.is_stalled(MINUTE));
        body.frame().await.unwrap().unwrap();
        assert!(!bodies.is_stalled(MINUTE));
        tokio::time::advance(MINUTE).await;
        drop(body);
        assert!(!bodies.is_stalled(MINUTE));
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_portions() {
        let whole: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        for body in [
            UnreadBodies::default().watch(Full::new(Bytes::from(whole.clone()))),
            WatchedBody::unwatched(Full::new(Bytes::from(whole.clone()))),
        ] {
            assert!(!body.is_end_stream());
            assert_eq!(body.collect().await.unwrap().to_bytes(), whole);
        }
    }
}
