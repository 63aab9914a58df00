//! What a lane's window holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Body, Event};

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// In memory alone. Entered on arrival.
    Memory,
    /// In memory until its write is confirmed. Entered when the write is asked for.
    Storing,
    /// In the outbox. Entered when the write is confirmed, or when it was paged in.
    Stored,
}

/// What an entry is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for an earlier change of its row. Entered on arrival.
    Blocked,
    /// Waits for its time. Entered on arrival, when freed, and after a failed attempt.
    Delayed,
    /// Its time has come. Entered from Delayed.
    Ready,
    /// Its body is being read from the outbox. Entered from Ready.
    Loading,
    /// An attempt is under way. Entered from Ready.
    InFlight,
    /// It is sent to find out whether the endpoint is well again. Entered from Ready and Delayed, while the breaker is open.
    Probing,
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) event: Arc<Event>,
    pub(super) body: Option<Arc<Body>>,
    pub(super) body_bytes: usize,
    pub(super) ticket: Option<T>,
    pub(super) storage: Storage,
    pub(super) phase: Phase,
    pub(super) attempts: u32,
    pub(super) probes: u32,
    /// When its next attempt is due; a probe does not change it.
    pub(super) due: Instant,
    /// How old it was when it came into the window: a row of the outbox may be older than this process.
    pub(super) age_before: Duration,
    pub(super) arrived: Instant,
    /// So many were in memory alone when it arrived.
    pub(super) ahead: usize,
}

impl<T> Entry<T> {
    /// Since it became due. Waiting for an earlier change of its row counts: behind one that is rejected for days, the
    /// followers do not begin their days anew.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.arrived) + self.age_before
    }
}
