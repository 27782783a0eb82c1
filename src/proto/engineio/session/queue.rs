//! SendQueue: what was accepted and has not left, bounded in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::proto::EncodedMessage;

/// Messages in order of acceptance. Bytes count from acceptance until they are transmitted: first queued, then in
/// flight.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    messages: VecDeque<Arc<EncodedMessage>>,
    queued: usize,
    in_flight: usize,
}

impl SendQueue {
    pub(super) fn push(&mut self, message: Arc<EncodedMessage>) {
        self.queued += message.len();
        self.messages.push_back(message);
    }

    /// Puts a control packet behind the rest; it counts, but no bound refuses it.
    pub(super) fn push_control(&mut self, message: Arc<EncodedMessage>) {
        self.push(message);
    }

    pub(super) fn take_all(&mut self, into: &mut VecDeque<Arc<EncodedMessage>>) {
        self.in_flight += std::mem::take(&mut self.queued);
        if into.is_empty() {
            std::mem::swap(&mut self.messages, into);
        } else {
            into.append(&mut self.messages);
        }
    }

    pub(super) fn transmitted(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Drops all, and its memory.
    pub(super) fn clear(&mut self) {
        *self = SendQueue::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.in_flight == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.queued + self.in_flight
    }
}
