//! When a failed notification is tried again, and when it is given up. Pure but for the jitter.

use std::time::Duration;

/// Exponential waits with jitter, bounded in number and in time.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The wait before the second attempt.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// After so many attempts a notification is given up.
    pub max_attempts: u32,
    /// So long after it first became due a notification is given up.
    pub give_up_after: Duration,
}

/// Waits differ by up to this share, so that what failed together does not come back together.
const JITTER: f64 = 0.15;

impl RetryPolicy {
    /// The wait after `attempts` failed attempts of a notification that became due `age` ago; none: give up.
    #[must_use]
    pub fn next_wait(&self, attempts: u32, age: Duration) -> Option<Duration> {
        if attempts >= self.max_attempts || age >= self.give_up_after {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(32);
        let wait = self.base.saturating_mul(2u32.saturating_pow(doublings)).min(self.cap);
        Some(wait.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(6 * 3600),
        max_attempts: 25,
        give_up_after: Duration::from_secs(72 * 3600),
    };

    #[test]
    fn waits_double_up_to_the_cap_and_stay_within_the_jitter() {
        for (attempts, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (15, 16_384.0), (16, 21_600.0), (24, 21_600.0)] {
            let wait = POLICY.next_wait(attempts, Duration::ZERO).unwrap().as_secs_f64();
            assert!((seconds * 0.85..=seconds * 1.15).contains(&wait), "{attempts}: {wait}");
        }
    }

    #[test]
    fn it_gives_up_by_number_and_by_age() {
        assert!(POLICY.next_wait(25, Duration::ZERO).is_none());
        assert!(POLICY.next_wait(1, Duration::from_secs(72 * 3600)).is_none());
    }
}
