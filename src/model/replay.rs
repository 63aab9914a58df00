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
