//! What to do with each transaction that is read again after a restart: skip it, go on inside it, or refuse. Pure.

use std::time::SystemTime;

use super::{Anchor, ResumePoint};
use crate::model::{Lsn, Position};

/// The server's history is not the one that the checkpoint was made in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignHistory {
    /// A later transaction came before the one that was settled last.
    #[error(
        "the server's history is not the one of the checkpoint: the last settled commit {expected} (transaction {xid}) \
         did not come again before {found}"
    )]
    AnchorMissing {
        /// The commit LSN of the anchor.
        expected: Lsn,
        /// Its transaction id.
        xid: u32,
        /// The commit that came instead, or how far the server has got without it.
        found: Lsn,
    },
    /// Another transaction stands where the last settled one, or the one half done, stood.
    #[error(
        "the server's history is not the one of the checkpoint: at {at} there is transaction {found}, not {expected}"
    )]
    OtherTransaction {
        /// The commit LSN.
        at: Lsn,
        /// The transaction id that the checkpoint holds.
        expected: u32,
        /// The transaction id that the server sent.
        found: u32,
    },
    /// Published changes stand where the checkpoint had seen none.
    #[error("the server's history is not the one of the checkpoint: there was no published commit at {found} before")]
    Unexpected {
        /// The commit LSN.
        found: Lsn,
    },
}

/// What BEGIN says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionStart {
    /// The commit LSN that it announces.
    pub commit_lsn: Lsn,
    /// The transaction id.
    pub xid: u32,
    /// When it was committed.
    pub committed_at: SystemTime,
}

/// What to do with a transaction that holds something published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was settled before.
    Skip,
    /// Its changes from this position on are new.
    From(Position),
}

/// Where the re-reading is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The slot is behind the anchor: skip until exactly that commit passes. Entered at the start.
    Seeking(Anchor),
    /// Between the anchor and the position. Entered at the start, or when the anchor has passed.
    Approaching {
        /// Whether what comes before the position can be known to be foreign.
        anchored: bool,
    },
    /// Everything is new. Entered with the first transaction at or beyond the position, or when the server has got there.
    Live,
}

/// Judges each transaction of a stream that began at or before a resume point.
#[derive(Clone, Debug)]
pub struct Resume {
    point: ResumePoint,
    stage: Stage,
}

impl Resume {
    /// For a slot whose stream starts with commits that end beyond `confirmed_flush_lsn`.
    #[must_use]
    pub fn new(point: ResumePoint, confirmed_flush_lsn: Lsn) -> Self {
        let stage = match &point.anchor {
            Some(anchor) if confirmed_flush_lsn <= anchor.commit_lsn => Stage::Seeking(anchor.clone()),
            anchor => Stage::Approaching { anchored: anchor.is_some() },
        };
        Self { point, stage }
    }

    /// Judges a transaction when the first published thing in it is met (an empty one proves nothing).
    ///
    /// # Errors
    /// Where it shows that the server's history is not the one of the resume point.
    pub fn judge(&mut self, transaction: &TransactionStart) -> Result<Verdict, ForeignHistory> {
        match &self.stage {
            Stage::Live => Ok(Verdict::From(Position::new(transaction.commit_lsn, 0))),
            Stage::Seeking(anchor) => {
                let verdict = Self::seek(anchor, transaction)?;
                if transaction.commit_lsn == anchor.commit_lsn {
                    self.stage = Stage::Approaching { anchored: true };
                }
                Ok(verdict)
            }
            Stage::Approaching { anchored } => self.approach(*anchored, transaction),
        }
    }

    /// The server has sent everything that it holds for us below this position.
    ///
    /// # Errors
    /// Where the transaction that was settled last, or the one half done, should have come by then.
    pub fn reached(&mut self, wal_end: Lsn) -> Result<(), ForeignHistory> {
        let missing = match &self.stage {
            Stage::Seeking(anchor) => Some((anchor.commit_lsn, anchor.xid)),
            Stage::Approaching { .. } => self.point.xid.map(|xid| (self.point.position.commit_lsn, xid)),
            Stage::Live => None,
        };
        match missing.filter(|(expected, _)| *expected < wal_end) {
            Some((expected, xid)) => Err(ForeignHistory::AnchorMissing { expected, xid, found: wal_end }),
            None if missing.is_none() && wal_end >= self.point.position.commit_lsn => {
                self.stage = Stage::Live;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Whether the server has shown everything that it must show: its history is that of the resume point.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    fn seek(anchor: &Anchor, transaction: &TransactionStart) -> Result<Verdict, ForeignHistory> {
        let found = transaction.commit_lsn;
        if found > anchor.commit_lsn {
            return Err(ForeignHistory::AnchorMissing { expected: anchor.commit_lsn, xid: anchor.xid, found });
        }
        let same = transaction.xid == anchor.xid && transaction.committed_at == anchor.committed_at;
        if found == anchor.commit_lsn && !same {
            return Err(ForeignHistory::OtherTransaction { at: found, expected: anchor.xid, found: transaction.xid });
        }
        Ok(Verdict::Skip)
    }

    fn approach(&mut self, anchored: bool, transaction: &TransactionStart) -> Result<Verdict, ForeignHistory> {
        let Position { commit_lsn, .. } = self.point.position;
        let found = transaction.commit_lsn;
        if found < commit_lsn {
            return if anchored { Err(ForeignHistory::Unexpected { found }) } else { Ok(Verdict::Skip) };
        }
        if let Some(xid) = self.point.xid {
            if found > commit_lsn {
                return Err(ForeignHistory::AnchorMissing { expected: commit_lsn, xid, found });
            }
            if transaction.xid != xid {
                return Err(ForeignHistory::OtherTransaction { at: found, expected: xid, found: transaction.xid });
            }
        }
        self.stage = Stage::Live;
        Ok(Verdict::From(self.point.position.max(Position::new(found, 0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn transaction(commit_lsn: u64, xid: u32) -> TransactionStart {
        let committed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(xid));
        TransactionStart { commit_lsn: Lsn::new(commit_lsn), xid, committed_at }
    }

    fn anchor(commit_lsn: u64, xid: u32) -> Anchor {
        let TransactionStart { commit_lsn, xid, committed_at } = transaction(commit_lsn, xid);
        Anchor { commit_lsn, end_lsn: Lsn::new(commit_lsn.get() + 8), xid, committed_at }
    }

    fn point(end_lsn: u64) -> ResumePoint {
        ResumePoint { anchor: Some(anchor(100, 7)), ..ResumePoint::at(Lsn::new(end_lsn)) }
    }

    fn from(commit_lsn: u64, index: u64) -> Result<Verdict, ForeignHistory> {
        Ok(Verdict::From(Position::new(Lsn::new(commit_lsn), index)))
    }

    #[test]
    fn a_slot_that_was_told_everything_goes_on_at_once() {
        let mut resume = Resume::new(point(108), Lsn::new(108));
        assert_eq!(resume.judge(&transaction(108, 8)), from(108, 0));
    }

    #[test]
    fn a_slot_that_is_behind_must_show_the_anchor_first() {
        let mut resume = Resume::new(point(108), Lsn::new(50));
        assert_eq!(resume.judge(&transaction(60, 5)), Ok(Verdict::Skip));
        assert_eq!(resume.judge(&transaction(100, 7)), Ok(Verdict::Skip));
        assert_eq!(resume.judge(&transaction(108, 8)), from(108, 0));
        assert_eq!(resume.judge(&transaction(90, 9)), from(90, 0), "once live, nothing is judged");
    }

    #[test]
    fn another_history_is_refused() {
        let behind = || Resume::new(point(108), Lsn::new(50));
        assert!(matches!(behind().judge(&transaction(120, 8)), Err(ForeignHistory::AnchorMissing { .. })));
        assert!(matches!(behind().judge(&transaction(100, 8)), Err(ForeignHistory::OtherTransaction { .. })));
        let mut idle = Resume::new(point(200), Lsn::new(150));
        assert!(matches!(idle.judge(&transaction(160, 8)), Err(ForeignHistory::Unexpected { .. })));
    }

    #[test]
    fn a_server_that_has_got_beyond_what_must_come_again_without_it_is_refused() {
        let mut behind = Resume::new(point(108), Lsn::new(50));
        assert_eq!(behind.reached(Lsn::new(100)), Ok(()));
        assert!(matches!(behind.reached(Lsn::new(108)), Err(ForeignHistory::AnchorMissing { .. })));
        let half = ResumePoint { position: Position::new(Lsn::new(300), 5), xid: Some(9), ..point(108) };
        let mut half = Resume::new(half, Lsn::new(108));
        assert!(half.reached(Lsn::new(300)).is_ok() && half.reached(Lsn::new(301)).is_err());
        half.judge(&transaction(300, 9)).unwrap();
        assert_eq!(half.reached(Lsn::new(400)), Ok(()));
        let mut idle = Resume::new(point(200), Lsn::new(150));
        assert!(idle.reached(Lsn::new(199)).is_ok() && !idle.is_live());
        assert!(idle.reached(Lsn::new(200)).is_ok() && idle.is_live());
    }

    #[test]
    fn a_transaction_half_done_goes_on_inside_and_must_be_the_same() {
        let half = || ResumePoint { position: Position::new(Lsn::new(300), 5), xid: Some(9), ..point(108) };
        let mut resume = Resume::new(half(), Lsn::new(108));
        assert_eq!(resume.judge(&transaction(300, 9)), from(300, 5));
        let mut other = Resume::new(half(), Lsn::new(108));
        assert!(matches!(other.judge(&transaction(300, 10)), Err(ForeignHistory::OtherTransaction { .. })));
        let mut later = Resume::new(half(), Lsn::new(108));
        assert!(matches!(later.judge(&transaction(310, 10)), Err(ForeignHistory::AnchorMissing { .. })));
    }

    #[test]
    fn on_a_new_timeline_only_what_was_before_the_switch_is_skipped() {
        let lowered = point(500).lowered_to(Lsn::new(90));
        assert_eq!(lowered, ResumePoint::at(Lsn::new(90)));
        let mut resume = Resume::new(lowered, Lsn::new(50));
        assert_eq!(resume.judge(&transaction(80, 5)), Ok(Verdict::Skip));
        assert_eq!(resume.judge(&transaction(95, 70)), from(95, 0));
        assert_eq!(point(200).lowered_to(Lsn::new(300)), point(200));
    }
}
