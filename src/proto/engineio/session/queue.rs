//! SendQueue: what was accepted and has not left, bounded in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::TransportKind;
use crate::proto::EncodedMessage;

/// Messages in order of acceptance. Bytes count from acceptance until they are transmitted: first queued, then in
/// flight. What is in flight is counted for each transport on its own: at an upgrade a poll's answer may still be on
/// its way when the WebSocket is given its first messages.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    messages: VecDeque<Arc<EncodedMessage>>,
    /// Packets accepted so far.
    packets: u64,
    queued: Account,
    polling: Account,
    websocket: Account,
}

/// Bytes, and how many of them are packets of the session's own (open, ping), to which the bound does not apply.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    all: usize,
    control: usize,
}

impl SendQueue {
    pub(super) fn push(&mut self, message: Arc<EncodedMessage>) {
        self.queued.all += message.weight();
        self.packets += message.packets() as u64;
        self.messages.push_back(message);
    }

    /// Puts a packet of the session's own behind the rest.
    pub(super) fn push_control(&mut self, message: Arc<EncodedMessage>) {
        self.queued.control += message.weight();
        self.push(message);
    }

    /// Puts a packet of the session's own before the rest.
    pub(super) fn push_control_front(&mut self, message: Arc<EncodedMessage>) {
        self.queued.add(message.weight(), message.weight());
        self.messages.push_front(message);
    }

    /// Counts bytes of the session's own that are on their way by WebSocket without having been queued here.
    pub(super) fn add_in_flight(&mut self, bytes: usize) {
        self.websocket.add(bytes, bytes);
    }

    /// Moves everything to `into`; it is in flight from now on.
    pub(super) fn take_all(&mut self, via: TransportKind, into: &mut VecDeque<Arc<EncodedMessage>>) {
        let queued = std::mem::take(&mut self.queued);
        self.in_flight(via).add(queued.all, queued.control);
        if into.is_empty() {
            std::mem::swap(&mut self.messages, into);
        } else {
            into.append(&mut self.messages);
        }
    }

    pub(super) fn transmitted(&mut self, via: TransportKind, bytes: usize) {
        self.in_flight(via).subtract(bytes);
    }

    /// What was in flight by this transport will not be reported any more.
    pub(super) fn forget_in_flight(&mut self, via: TransportKind) {
        *self.in_flight(via) = Account::default();
    }

    /// Drops all, and its memory.
    pub(super) fn clear(&mut self) {
        *self = SendQueue { packets: self.packets, ..SendQueue::default() };
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the WebSocket has written all that it was given.
    pub(super) fn is_websocket_idle(&self) -> bool {
        self.websocket.all == 0
    }

    /// Bytes that wait or are in flight.
    pub(super) fn bytes(&self) -> usize {
        self.accounts().map(|account| account.all).sum()
    }

    /// The same without the session's own packets: what the bound applies to.
    pub(super) fn bounded_bytes(&self) -> usize {
        self.accounts().map(|account| account.all - account.control).sum()
    }

    fn accounts(&self) -> impl Iterator<Item = Account> {
        [self.queued, self.polling, self.websocket].into_iter()
    }

    fn in_flight(&mut self, via: TransportKind) -> &mut Account {
        match via {
            TransportKind::Polling => &mut self.polling,
            TransportKind::WebSocket => &mut self.websocket,
        }
    }
}

impl Account {
    fn add(&mut self, all: usize, control: usize) {
        self.all += all;
        self.control += control;
    }

    /// Which of the bytes were control is not known: they are taken to be the last to leave, so that the bound errs
    /// by these few bytes, for this one flight, on the generous side.
    fn subtract(&mut self, bytes: usize) {
        self.all = self.all.saturating_sub(bytes);
        self.control = self.control.min(self.all);
    }
}
