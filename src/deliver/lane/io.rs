//! What goes into a lane and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::deliver::order::EntryId;
use crate::deliver::{BreakerPolicy, RetryPolicy};
use crate::model::{AttemptRecord, Body, Event};

/// What bounds a lane.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts in flight at most; a lane starts with [`Limits::FIRST_CONCURRENCY`] and grows on success.
    pub concurrency: usize,
    /// Entries that the window holds at most.
    pub window: usize,
    /// Of those, the ones that wait for a retry, or for one that does; more are left in the outbox.
    pub waiting: usize,
    /// Keys of such rows that are remembered; with more of them the window fills, and the lane waits.
    pub parked_keys: usize,
    /// They stay there for so long at least, since bringing them back costs a look at all that is owed.
    pub parked_for: Duration,
    /// Bytes of bodies beyond which nothing more is taken in.
    pub bytes: usize,
    /// A full lane whose oldest notification has waited for so long is slow: it goes to the outbox.
    pub patience: Duration,
    /// So long a notification may hold the log back, full lane or not; then the lane goes to the outbox.
    pub settle_within: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// When to stop sending, and to probe.
    pub breaker: BreakerPolicy,
}

impl Limits {
    /// Enough to keep an endpoint busy while it answers, and little enough to find out that it does not.
    pub const FIRST_CONCURRENCY: usize = 2;
}

/// A change that is due to the lane's subscription; `T` settles it in the log.
#[derive(Debug)]
pub struct Arrival<T> {
    /// The change.
    pub event: Arc<Event>,
    /// Its body.
    pub body: Arc<Body>,
    /// To be settled once it is delivered, or durably in the outbox.
    pub ticket: T,
}

/// A page of the outbox that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Only rows beyond this place.
    pub after: i64,
    /// At most so many.
    pub rows: usize,
    /// Whether they are to be sent soon, so that their bodies may come along.
    pub with_bodies: bool,
}

/// A row of the outbox.
#[derive(Debug)]
pub struct StoredRow {
    /// Its place in the outbox.
    pub seq: i64,
    /// The change.
    pub event: Event,
    /// Its body, where the page had room for it.
    pub body: Option<Arc<Body>>,
    /// The size of its body.
    pub body_bytes: usize,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How long until the next attempt.
    pub due_in: Duration,
    /// How long since it first became due.
    pub age: Duration,
}

/// A body that is wanted from the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRequest {
    /// The entry, for [`Lane::loaded`](super::Lane::loaded).
    pub id: EntryId,
    /// The change's id.
    pub event_id: String,
    /// The size of the body: room for it is found before it is read.
    pub bytes: usize,
}

/// What must be written to the outbox, in this order.
#[derive(Debug)]
pub enum Write<T> {
    /// A new row. Its ticket is settled when it is durable.
    Store {
        /// The change.
        event: Arc<Event>,
        /// Its body.
        body: Arc<Body>,
        /// Not there where it was settled before.
        ticket: Option<T>,
        /// Whether the window holds the entry, so that it is not to be paged back.
        in_window: bool,
    },
    /// An attempt failed; there will be another.
    Reschedule {
        /// The change.
        event: Arc<Event>,
        /// Until the next attempt.
        wait: Duration,
        /// Since it first became due.
        age: Duration,
        /// The attempt that failed; its number is that of the failed attempts so far.
        record: AttemptRecord,
    },
    /// Delivered.
    Delivered {
        /// The change.
        event: Arc<Event>,
    },
    /// Given up.
    Failed {
        /// The change.
        event: Arc<Event>,
        /// Since it first became due.
        age: Duration,
        /// The last attempt; its number is that of all there were.
        record: AttemptRecord,
    },
}

/// Says that a [`Write::Store`] is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The change's id.
    pub event_id: String,
    /// Its place in the outbox; none where it was there before.
    pub seq: Option<i64>,
    /// As the write said.
    pub in_window: bool,
}

/// What goes out in one request, in the order of the log: one notification, unless the subscription has batches. Empty where
/// nothing can go.
pub type Request = SmallVec<[Start; 1]>;

/// A notification that is to be sent now.
#[derive(Clone, Debug)]
pub struct Start {
    /// The entry, for [`Lane::succeeded`](super::Lane::succeeded) or [`Lane::failed`](super::Lane::failed).
    pub id: EntryId,
    /// The change.
    pub event: Arc<Event>,
    /// What to post.
    pub body: Arc<Body>,
    /// From 1. A probe bears the number of the attempt that it stands in for, and uses none up.
    pub attempt: u32,
}

/// How an attempt failed.
#[derive(Clone, Debug)]
pub struct Setback {
    /// For the outbox; the lane sets its number.
    pub record: AttemptRecord,
    /// So long the endpoint asked to be left alone.
    pub asked: Option<Duration>,
    /// Whether the endpoint says that the request was too large for it.
    pub too_large: bool,
}

/// What became of an entry whose request failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    /// There will be another attempt.
    Retry {
        /// After so long.
        wait: Duration,
    },
    /// It is given up.
    GivenUp,
    /// No attempt of its own has failed, and it is where it was: it was a probe, or it went along behind an earlier change of its
    /// row.
    PutBack,
    /// The request was too large for the endpoint, which says nothing against it: it goes again in halves.
    Split,
}
