//! Where a change stands among all changes of a source.

use super::Lsn;

/// The place of a change: its transaction's commit LSN and its index in that transaction.
///
/// An LSN alone does not name a change: rows written by one COPY share one. The order of positions is the order
/// in which changes are read, and re-reading the same log gives the same positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The commit LSN that BEGIN announces (its final LSN).
    pub commit_lsn: Lsn,
    /// Counts row changes, and each relation of a TRUNCATE, from 0.
    pub index: u64,
}

impl Position {
    /// The position of change `index` of the transaction that commits at `commit_lsn`.
    #[must_use]
    pub const fn new(commit_lsn: Lsn, index: u64) -> Self {
        Self { commit_lsn, index }
    }
}
