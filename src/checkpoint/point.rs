//! What is remembered of how far a source is settled.

use std::time::SystemTime;

use crate::model::{Lsn, Position};

/// The last settled commit that held something published. After a crash a slot may be behind the checkpoint; it must
/// then show exactly this commit again, or its history is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The commit LSN that its BEGIN announced.
    pub commit_lsn: Lsn,
    /// Where its commit record ends.
    pub end_lsn: Lsn,
    /// Its transaction id.
    pub xid: u32,
    /// When it was committed, by the server's clock.
    pub committed_at: SystemTime,
}

/// A transaction that the server cannot send: nothing after it can be read before it is skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The commit LSN that its BEGIN announced.
    pub commit_lsn: Lsn,
    /// Its transaction id.
    pub xid: u32,
    /// When it was committed, by the server's clock.
    pub committed_at: SystemTime,
}

/// Every change below `position` is settled, and the slot may be told `flush_lsn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The first position that may be unsettled.
    pub position: Position,
    /// The id of the transaction that `position` is inside of; none where its index is 0.
    pub xid: Option<u32>,
    /// The end of a commit, or of log that holds nothing of ours, below which nothing is needed again.
    pub flush_lsn: Lsn,
    /// The last settled published commit.
    pub anchor: Option<Anchor>,
}

impl ResumePoint {
    /// A point at the beginning of what a new slot will send.
    #[must_use]
    pub const fn at(lsn: Lsn) -> Self {
        Self { position: Position::new(lsn, 0), xid: None, flush_lsn: lsn, anchor: None }
    }

    /// The point on a timeline that left this one at `switch`: what lies beyond it never happened there.
    #[must_use]
    pub fn lowered_to(self, switch: Lsn) -> Self {
        if self.position.commit_lsn <= switch && self.anchor.as_ref().is_none_or(|anchor| anchor.end_lsn <= switch) {
            return self;
        }
        Self {
            position: self.position.min(Position::new(switch, 0)),
            xid: None,
            flush_lsn: self.flush_lsn.min(switch),
            anchor: self.anchor.filter(|anchor| anchor.end_lsn <= switch),
        }
    }
}
