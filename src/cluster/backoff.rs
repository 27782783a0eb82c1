//! Backoff: how long to wait before the next attempt to connect.

use std::time::Duration;

/// Delays that double from attempt to attempt up to a bound, each shortened at random by up to a half: nodes that lost the
/// same Redis do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Backoff {
        Backoff { min, max, next: min }
    }

    /// A connection that works ends the series.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    pub(super) fn delay(&mut self) -> Duration {
        let random = getrandom::u32().expect("the operating system gives random bytes");
        self.delay_with(f64::from(random) / f64::from(u32::MAX))
    }

    /// `random` is from 0 to 1.
    fn delay_with(&mut self, random: f64) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.max);
        whole.mul_f64(1.0 - random / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let delays: Vec<_> = (0..4).map(|_| backoff.delay_with(0.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 350, 350]);
        assert_eq!(backoff.delay_with(1.0).as_millis(), 175);
        backoff.reset();
        assert_eq!(backoff.delay_with(0.5).as_millis(), 75);
    }
}
