//! What is kept of an attempt that failed.

use std::time::{Duration, SystemTime};

/// A failed attempt, as it is recorded with its notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it was begun.
    pub at: SystemTime,
    /// What came of it, in the word that the metrics use.
    pub outcome: &'static str,
    /// The status of the endpoint's answer, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, for people.
    pub reason: String,
    /// The first of the endpoint's answer, where there was one.
    pub answer: Option<String>,
}
