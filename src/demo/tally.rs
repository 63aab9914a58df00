//! What arrived, counted.

use std::collections::HashSet;
use std::time::Duration;

/// Counts notifications as they arrive.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ids: HashSet<String>,
    requests: usize,
    verified: usize,
    latencies: Vec<Duration>,
}

impl Tally {
    /// One more; its latency counts where it came for the first time.
    pub(super) fn add(&mut self, webhook_id: &str, verified: bool, latency: Duration) {
        self.requests += 1;
        self.verified += usize::from(verified);
        if self.ids.insert(webhook_id.to_owned()) {
            self.latencies.push(latency);
        }
    }

    /// Different notifications.
    pub(super) fn notifications(&self) -> usize {
        self.ids.len()
    }

    /// Requests beyond the first for a notification.
    pub(super) fn repeated(&self) -> usize {
        self.requests - self.ids.len()
    }

    /// Requests whose signature verified.
    pub(super) const fn verified(&self) -> usize {
        self.verified
    }

    /// Requests whose signature did not verify.
    pub(super) const fn unverified(&self) -> usize {
        self.requests - self.verified
    }

    /// The latency that so many percent of the notifications did not exceed (nearest rank).
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut tally = Tally::default();
        for n in 1..=200_u64 {
            tally.add(&format!("msg_{n}"), true, Duration::from_millis(n));
        }
        assert_eq!(tally.percentile(50), Duration::from_millis(100));
        assert_eq!(tally.percentile(99), Duration::from_millis(198));
        assert_eq!(Tally::default().percentile(99), Duration::ZERO);
    }

    #[test]
    fn a_repeated_notification_counts_once() {
        let mut tally = Tally::default();
        for verified in [true, false] {
            tally.add("msg_1", verified, Duration::from_millis(1));
        }
        assert_eq!((tally.notifications(), tally.repeated(), tally.verified(), tally.unverified()), (1, 1, 1, 1));
    }
}
