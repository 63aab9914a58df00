//! What fails again and again for one reason is told once, and again when it works.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether something is known to fail. Shared by all who would say the same of it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    since: Mutex<Option<Instant>>,
}

impl Outage {
    /// It failed. Returns whether it worked before: the failure is to be told.
    pub(super) fn begins(&self) -> bool {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = since.is_none();
        since.get_or_insert_with(Instant::now);
        begins
    }

    /// It worked. Returns how long it had not, where it failed before: that it works is to be told.
    pub(super) fn ended(&self) -> Option<Duration> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        since.map(|since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_so_is_its_end() {
        let outage = Outage::default();
        assert_eq!(outage.ended(), None, "it never failed");
        assert!(outage.begins());
        assert!(!outage.begins(), "it is told");
        assert!(outage.ended().is_some());
        assert_eq!(outage.ended(), None, "it is told");
        assert!(outage.begins(), "another one");
    }
}
