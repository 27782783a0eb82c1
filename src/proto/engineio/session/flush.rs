//! Flush marks: whether what was in a queue at some time has left.

use std::collections::VecDeque;

/// The end of a send queue as it was at some time: to ask later whether all that was before it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushMark(u64);

/// The marks in a queue, in their order. A mark is first between two messages, then in flight, then over.
#[derive(Debug, Default)]
pub(super) struct FlushMarks {
    /// Where each stands: behind so many messages. No two in one place.
    waiting: VecDeque<(FlushMark, usize)>,
    last: u64,
    /// Up to this one they are in flight, or over.
    taken: u64,
    over: u64,
}

impl FlushMarks {
    /// Puts a mark behind so many waiting messages; with none, behind what is in flight, if `flies`.
    pub(super) fn put(&mut self, place: usize, flies: bool) -> FlushMark {
        match self.waiting.back() {
            Some(&(mark, last)) if last == place => return mark,
            None if place == 0 && !flies => return FlushMark(self.over),
            _ => self.last += 1,
        }
        let mark = FlushMark(self.last);
        if place == 0 {
            self.taken = self.last;
        } else {
            self.waiting.push_back((mark, place));
        }
        mark
    }

    pub(super) fn is_over(&self, mark: FlushMark) -> bool {
        mark.0 <= self.over
    }

    /// So many messages are in flight now.
    pub(super) fn take(&mut self, messages: usize) {
        while let Some((FlushMark(mark), _)) = self.waiting.pop_front_if(|(_, place)| *place <= messages) {
            self.taken = mark;
        }
        self.waiting.iter_mut().for_each(|(_, place)| *place -= messages);
    }

    /// All that was in flight has been transmitted.
    pub(super) fn land(&mut self) {
        self.over = self.taken;
    }

    /// A message came before all others.
    pub(super) fn shift(&mut self) {
        self.waiting.iter_mut().for_each(|(_, place)| *place += 1);
    }

    /// Messages were taken out: `between` says how many between two places.
    pub(super) fn close_gaps(&mut self, mut between: impl FnMut(usize, usize) -> usize) {
        let (mut seen, mut gone) = (0, 0);
        for (mark, place) in std::mem::take(&mut self.waiting) {
            gone += between(seen, place);
            seen = place;
            match self.waiting.back_mut() {
                Some(last) if last.1 == place - gone => last.0 = mark,
                _ => self.waiting.push_back((mark, place - gone)),
            }
        }
    }

    /// What waits or is in flight never arrives: its marks are never over.
    pub(super) fn abandon(&mut self) {
        self.waiting = VecDeque::new();
        self.taken = self.over;
    }
}
