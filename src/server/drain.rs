//! Drain: the connections of a server that goes down leave one after the other, each on its own task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The time in which all connections leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    begin: Instant,
    deadline: Instant,
}

impl Drain {
    /// Begins now.
    pub(crate) fn begin(time: Duration) -> Drain {
        let begin = Instant::now();
        Drain { begin, deadline: begin + time.min(LONGEST) }
    }

    /// When the last one has left.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When it is the turn of one connection: any time, so that clients do not all reach the other nodes at once.
    fn turn(&self) -> Instant {
        let random = getrandom::u32().expect("the operating system gives random bytes");
        let part = f64::from(random) / f64::from(u32::MAX);
        self.begin + (self.deadline - self.begin).mul_f64(SPREAD * part)
    }
}

/// What is left of the time is for acknowledgements, and for polls that take the goodbye.
const SPREAD: f64 = 0.8;
/// Longer than anybody waits, short enough for every clock.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The turn of one connection, and what wakes it then.
#[derive(Debug, Default)]
pub(crate) struct Departure(Option<(Instant, Pin<Box<Sleep>>)>);

impl Departure {
    /// Ready when the connection is to leave: at its turn, or once it is not busy any more, or at the deadline. `is_busy` is
    /// told when its turn was.
    pub(crate) fn poll(
        &mut self,
        drain: &Drain,
        is_busy: impl Fn(Instant) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (turn, timer) = self.0.get_or_insert_with(|| {
            let turn = drain.turn();
            (turn, Box::pin(sleep_until(turn)))
        });
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= drain.deadline || !is_busy(*turn) {
                return Poll::Ready(());
            }
            timer.as_mut().reset(drain.deadline.min(now + LOOK_AGAIN));
        }
        Poll::Pending
    }
}

/// How often a busy connection is looked at: acknowledgements come, time out and are given up in many places, which need
/// not know of this.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
