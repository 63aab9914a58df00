//! Log lines of an endpoint that fails in a storm: a few are written, the rest is counted.

use std::time::{Duration, Instant};

/// So many lines are written in each [`PERIOD`].
const LINES: u32 = 10;

const PERIOD: Duration = Duration::from_secs(10);

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

    /// Whether this line is to be written, and how many were not since the last one that was.
    pub(super) fn admits(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= PERIOD {
            (self.since, self.written) = (now, 0);
        }
        if self.written >= LINES {
            self.kept_back += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.kept_back))
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
        assert_eq!(storm.admits(now + PERIOD), Some(990));
        assert_eq!(storm.admits(now + PERIOD), Some(0));
    }
}
