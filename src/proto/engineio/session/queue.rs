//! SendQueue: what was accepted and has not left, bounded in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::flush::FlushMarks;
use super::{FlushMark, TransportKind};
use crate::proto::EncodedMessage;
use crate::proto::encoded::Part;

/// Messages in order of acceptance. Bytes count from acceptance until they are transmitted: first queued, then in
/// flight. What is in flight is counted for each transport on its own: at an upgrade a poll's answer may still be on
/// its way when the WebSocket is given its first messages.
///
/// What is in flight can never be taken back. Out of what waits, messages that may be lost can be taken: each leaves a
/// hole, so that the places of the others stay what they are. Holes never leave, and when they are the larger part they
/// are removed: so it takes constant time, on average.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    messages: VecDeque<Arc<EncodedMessage>>,
    /// Packets accepted so far.
    packets: u64,
    queued: Account,
    polling: Account,
    websocket: Account,
    marks: FlushMarks,
    holes: usize,
    /// All messages that may be dropped are within.
    droppable: Range<usize>,
    droppable_bytes: usize,
    /// Where the message with a key waits.
    keyed: BTreeMap<Arc<str>, usize>,
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
        if message.is_droppable() {
            self.note_droppable(&message);
        }
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
        self.marks.shift();
        self.droppable = self.droppable.start + 1..self.droppable.end + 1;
        self.keyed.values_mut().for_each(|place| *place += 1);
    }

    /// What the waiting message with this key weighs, if there is one.
    pub(super) fn keyed_bytes(&self, key: &str) -> usize {
        self.keyed.get(key).map_or(0, |place| self.messages[*place].weight())
    }

    /// Takes out the message that has this key; says whether there was one.
    pub(super) fn supersede(&mut self, key: &str) -> bool {
        let Some(&place) = self.keyed.get(key) else { return false };
        self.take_out(place);
        true
    }

    /// Takes out the first message that may be dropped; says whether there was one.
    pub(super) fn drop_oldest(&mut self) -> bool {
        while let Some(place) = self.droppable.next() {
            if self.messages[place].is_droppable() {
                self.take_out(place);
                return true;
            }
        }
        false
    }

    /// Takes out the last message that may be dropped; says whether there was one.
    pub(super) fn drop_newest(&mut self) -> bool {
        while let Some(place) = self.droppable.next_back() {
            if self.messages[place].is_droppable() {
                self.take_out(place);
                return true;
            }
        }
        false
    }

    /// Counts bytes of the session's own that are on their way by WebSocket without having been queued here.
    pub(super) fn add_in_flight(&mut self, bytes: usize) {
        self.websocket.add(bytes, bytes);
    }

    /// Moves everything to `into`; it is in flight from now on.
    pub(super) fn take_all(&mut self, via: TransportKind, into: &mut VecDeque<Arc<EncodedMessage>>) {
        self.marks.take(self.messages.len());
        if self.droppable_bytes > 0 || self.holes > 0 {
            self.forget_losses();
        }
        let queued = std::mem::take(&mut self.queued);
        self.in_flight(via).add(queued.all, queued.control);
        if into.is_empty() {
            std::mem::swap(&mut self.messages, into);
        } else {
            into.append(&mut self.messages);
        }
    }

    /// The same in portions, where messages may yet be taken out: the first ones, of about so many bytes together.
    pub(super) fn take_some(
        &mut self,
        via: TransportKind,
        bytes: usize,
        into: &mut VecDeque<Arc<EncodedMessage>>,
    ) {
        if self.queued.all <= bytes {
            return self.take_all(via, into);
        }
        let (mut places, mut taken, mut control) = (0, 0, 0);
        while taken < bytes
            && let Some(message) = self.messages.pop_front()
        {
            places += 1;
            if message.is_empty() {
                self.holes -= 1;
                continue;
            }
            taken += message.weight();
            if message.is_droppable() {
                self.droppable_bytes -= message.weight();
            }
            if let Some(key) = message.key() {
                self.keyed.remove(key);
            }
            control += if is_control(&message) { message.weight() } else { 0 };
            into.push_back(message);
        }
        self.marks.take(places);
        self.keyed.values_mut().for_each(|place| *place -= places);
        self.droppable =
            self.droppable.start.saturating_sub(places)..self.droppable.end.saturating_sub(places);
        self.queued.all -= taken;
        self.queued.control -= control;
        self.in_flight(via).add(taken, control);
    }

    pub(super) fn transmitted(&mut self, via: TransportKind, bytes: usize) {
        self.in_flight(via).subtract(bytes);
        if self.polling.all == 0 && self.websocket.all == 0 {
            self.marks.land();
        }
    }

    /// What was in flight by this transport will not be reported any more.
    pub(super) fn forget_in_flight(&mut self, via: TransportKind) {
        *self.in_flight(via) = Account::default();
    }

    /// Drops all, and its memory.
    pub(super) fn clear(&mut self) {
        self.marks.abandon();
        let marks = std::mem::take(&mut self.marks);
        *self = SendQueue { packets: self.packets, marks, ..SendQueue::default() };
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

    /// Bytes that wait and may be dropped.
    pub(super) fn droppable_bytes(&self) -> usize {
        self.droppable_bytes
    }

    /// Whether a message with a key waits.
    pub(super) fn has_keys(&self) -> bool {
        !self.keyed.is_empty()
    }

    pub(super) fn mark(&mut self) -> FlushMark {
        let flies = self.polling.all > 0 || self.websocket.all > 0;
        self.marks.put(self.messages.len(), flies)
    }

    pub(super) fn has_left(&self, mark: FlushMark) -> bool {
        self.marks.is_over(mark)
    }

    /// The message is about to be the last one.
    fn note_droppable(&mut self, message: &EncodedMessage) {
        let place = self.messages.len();
        self.droppable_bytes += message.weight();
        let start = if self.droppable.is_empty() { place } else { self.droppable.start };
        self.droppable = start..place + 1;
        if let Some(key) = message.key() {
            self.keyed.insert(Arc::clone(key), place);
        }
    }

    fn take_out(&mut self, place: usize) {
        let message = std::mem::replace(&mut self.messages[place], EncodedMessage::nothing());
        self.queued.all -= message.weight();
        self.droppable_bytes -= message.weight();
        if let Some(key) = message.key() {
            self.keyed.remove(key);
        }
        self.holes += 1;
        if self.holes > HOLES_KEPT && self.holes > self.messages.len() / 2 {
            self.remove_holes();
        }
    }

    fn remove_holes(&mut self) {
        self.holes = 0;
        let messages = &self.messages;
        let holes = |from, to| messages.range(from..to).filter(|message| message.is_empty()).count();
        self.marks.close_gaps(holes);
        self.messages.retain(|message| !message.is_empty());
        self.droppable = 0..self.messages.len();
        for (place, message) in self.messages.iter().enumerate() {
            if let Some(noted) = message.key().and_then(|key| self.keyed.get_mut(key)) {
                *noted = place;
            }
        }
    }

    /// What waits is about to leave, whole.
    fn forget_losses(&mut self) {
        if self.holes > 0 {
            self.remove_holes();
        }
        self.droppable = 0..0;
        self.droppable_bytes = 0;
        self.keyed.clear();
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

/// Whether it is one of the session's own packets, that is, was put here as such.
fn is_control(message: &EncodedMessage) -> bool {
    matches!(message.parts().next(), Some(Part::Text([b'0' | b'2', ..] | b"3probe")))
}

/// So few holes are not worth the moving.
const HOLES_KEPT: usize = 32;
