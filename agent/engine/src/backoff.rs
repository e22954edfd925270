//! When to try again what failed.

use std::time::{Duration, Instant};

/// The first wait; it doubles with each failure.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits between attempts, longer with each failure in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Notes a failure.
    pub(super) fn fail(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        self.until = Some(now + wait);
    }

    /// Notes a success.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Whether there was a failure since the last success.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether an attempt may be made now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When the next attempt may be made, if that is later than `now`.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_start_again_after_a_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.fail(now);
            waits.push(backoff.deadline(now).unwrap() - now);
        }
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(waits[11], LONGEST);
        assert_eq!((backoff.is_over(now), backoff.is_over(now + LONGEST)), (false, true));
        backoff.succeed();
        assert_eq!((backoff.is_over(now), backoff.deadline(now)), (true, None));
    }
}
