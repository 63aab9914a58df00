//! Log lines that come in a storm: a few are written, the rest is counted.

use std::time::{Duration, Instant};

/// So many lines are written in each [`PERIOD`].
const LINES: u32 = 10;

const PERIOD: Duration = Duration::from_secs(10);

/// A line that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// How many were not since the last one that was, where there are any: a field of this line.
    pub(super) untold: Option<u64>,
}

/// What was written and what was not, lately.
#[derive(Debug)]
pub(super) struct Storm {
    since: Instant,
    written: u32,
    kept_back: u64,
}

impl Storm {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, written: 0, kept_back: 0 }
    }

    /// Whether this line is to be written.
    pub(super) fn admits(&mut self, now: Instant) -> Option<Admitted> {
        if now.saturating_duration_since(self.since) >= PERIOD {
            (self.since, self.written) = (now, 0);
        }
        if self.written >= LINES {
            self.kept_back += 1;
            return None;
        }
        self.written += 1;
        let untold = std::mem::take(&mut self.kept_back);
        Some(Admitted { untold: (untold > 0).then_some(untold) })
    }

    /// When the number of those that were not written is to be told by itself, where there are any: their storm may be over.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.kept_back > 0).then(|| self.since + PERIOD)
    }

    /// How many were not written since the last one that was.
    pub(super) const fn take_kept_back(&mut self) -> u64 {
        std::mem::replace(&mut self.kept_back, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_told_by_a_few_lines_and_a_number() {
        let now = Instant::now();
        let mut storm = Storm::new(now);
        let written = (0..1000).filter(|_| storm.admits(now).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(storm.admits(now + PERIOD), Some(Admitted { untold: Some(990) }));
        assert_eq!(storm.admits(now + PERIOD), Some(Admitted { untold: None }));
    }

    #[test]
    fn what_nothing_follows_is_told_by_its_number_when_the_period_is_over() {
        let now = Instant::now();
        let mut storm = Storm::new(now);
        (0..10).for_each(|_| assert!(storm.admits(now).is_some()));
        assert_eq!(storm.due(), None);
        (0..5).for_each(|_| assert!(storm.admits(now).is_none()));
        assert_eq!(storm.due(), Some(now + PERIOD));
        assert_eq!((storm.take_kept_back(), storm.due()), (5, None));
    }
}
