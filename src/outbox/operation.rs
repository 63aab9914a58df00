//! What is written to the outbox.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{AttemptRecord, Body, Event};

/// One write, for one subscription. Every operation may be repeated.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A new row; one that is there already stays as it is.
    Store {
        /// The subscription's number in the catalog.
        subscription: i64,
        /// The change.
        event: Arc<Event>,
        /// Its body, stored once for all subscriptions.
        body: Arc<Body>,
    },
    /// An attempt failed, there will be another.
    Reschedule {
        /// The subscription's number in the catalog.
        subscription: i64,
        /// The change's id.
        event_id: String,
        /// Until the next attempt.
        wait: Duration,
        /// Since it first became due.
        age: Duration,
        /// The attempt; its number is that of the failed attempts so far.
        record: AttemptRecord,
    },
    /// It was accepted.
    Delivered {
        /// The subscription's number in the catalog.
        subscription: i64,
        /// The change's id.
        event_id: String,
    },
    /// It was given up.
    Failed {
        /// The subscription's number in the catalog.
        subscription: i64,
        /// The change's id.
        event_id: String,
        /// Since it first became due.
        age: Duration,
        /// The last attempt; its number is that of all there were.
        record: AttemptRecord,
    },
    /// An attempt was made by hand: what is said about the automatic ones stays as it is.
    TriedByHand {
        /// The subscription's number in the catalog.
        subscription: i64,
        /// The change's id.
        event_id: String,
        /// None: it was accepted, and is no failure any more where it was one.
        failed: Option<AttemptRecord>,
    },
}

/// A row that a [`Operation::Store`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The subscription's number in the catalog.
    pub subscription: i64,
    /// The change's id.
    pub event_id: String,
    /// Its place in the outbox.
    pub seq: i64,
}
