//! What the log may bring a second time.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_128;

use super::{Event, Position};

/// Which changes a log that is read again from a checkpoint may bring although they are in the outbox, and which of those need
/// nothing more. They can be many: of each only a hash of its id is held, of 128 bits, so that two are never taken for one.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    until: Option<Position>,
    resolved: HashSet<u128>,
}

impl Replay {
    /// Beyond this position everything is new; where there is none, everything is.
    pub const fn cover(&mut self, until: Option<Position>) {
        self.until = until;
    }

    /// This one is delivered or given up.
    pub fn add_resolved(&mut self, event_id: &str) {
        self.resolved.insert(xxh3_128(event_id.as_bytes()));
    }

    /// Whether the log may bring this one again.
    #[must_use]
    pub fn covers(&self, event: &Event) -> bool {
        self.until.is_some_and(|until| event.position <= until)
    }

    /// Whether this one was delivered or given up.
    #[must_use]
    pub fn is_resolved(&self, event: &Event) -> bool {
        self.resolved.contains(&xxh3_128(event.id.as_bytes()))
    }

    /// The log has got to this change: what came before does not come again.
    pub fn reached(&mut self, event: &Event) {
        if self.until.is_some() && !self.covers(event) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{Lsn, RowKeys};

    fn event(lsn: u64) -> Event {
        Event {
            id: format!("evt_{lsn}"),
            position: Position::new(Lsn::new(lsn), 0),
            committed_at: SystemTime::UNIX_EPOCH,
            relation_oid: 1,
            keys: RowKeys::Table,
        }
    }

    #[test]
    fn without_a_position_everything_is_new() {
        assert!(!Replay::default().covers(&event(1)));
    }

    #[test]
    fn what_was_resolved_is_known_until_the_log_has_passed_it() {
        let mut replay = Replay::default();
        replay.cover(Some(event(20).position));
        replay.add_resolved("evt_10");
        assert!(replay.covers(&event(20)) && !replay.covers(&event(21)));
        replay.reached(&event(20));
        assert!(replay.is_resolved(&event(10)) && !replay.is_resolved(&event(11)));
        replay.reached(&event(21));
        assert!(!replay.is_resolved(&event(10)) && !replay.covers(&event(20)));
    }
}
