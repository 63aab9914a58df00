//! Out-of-order completions in, the highest safe position out. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::{Anchor, ResumePoint};
use crate::model::{Lsn, Position};

/// Names a change that is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A change that some subscription has neither received nor durably in the outbox.
#[derive(Debug)]
struct Open {
    position: Position,
    xid: u32,
    subscriptions: usize,
}

/// A place in the stream that is reached once every ticket below `before` is settled.
#[derive(Debug)]
struct Mark {
    before: Ticket,
    point: ResumePoint,
}

/// The highest point of a source below which everything is settled.
///
/// Memory: one entry for each unsettled change, and at most one mark between two of them.
#[derive(Debug)]
pub struct Watermark {
    next: Ticket,
    open: BTreeMap<Ticket, Open>,
    marks: VecDeque<Mark>,
    /// The last mark that was reached.
    reached: ResumePoint,
    /// How far the stream was read inside the transaction that is being read.
    read: Option<(Position, u32)>,
}

impl Watermark {
    /// Starts where everything below `point` is settled.
    #[must_use]
    pub fn new(point: ResumePoint) -> Self {
        let read = point.xid.map(|xid| (point.position, xid));
        Self { next: Ticket(0), open: BTreeMap::new(), marks: VecDeque::new(), reached: point, read }
    }

    /// A change was read that this many subscriptions (at least one) must settle.
    pub fn open(&mut self, position: Position, xid: u32, subscriptions: usize) -> Ticket {
        debug_assert!(subscriptions > 0, "a change that nobody waits for is read, not opened");
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.open.insert(ticket, Open { position, xid, subscriptions });
        self.read(position, xid);
        ticket
    }

    /// A change was read; nobody waits for it unless it was opened.
    pub fn read(&mut self, position: Position, xid: u32) {
        self.read = Some((Position::new(position.commit_lsn, position.index + 1), xid));
    }

    /// One of the subscriptions of this change has settled it.
    pub fn settle(&mut self, ticket: Ticket) {
        let Some(open) = self.open.get_mut(&ticket) else {
            debug_assert!(false, "settled more often than opened");
            return;
        };
        open.subscriptions -= 1;
        if open.subscriptions == 0 {
            self.open.remove(&ticket);
            self.advance();
        }
    }

    /// A transaction was read to its end. `anchor` is it, where it held something published.
    pub fn commit(&mut self, end_lsn: Lsn, anchor: Option<Anchor>) {
        let before_what_was_read = self.read.is_some_and(|(position, _)| end_lsn <= position.commit_lsn);
        if before_what_was_read || end_lsn <= self.latest().flush_lsn {
            // An empty transaction that is read again.
            return;
        }
        self.read = None;
        let anchor = anchor.or_else(|| self.latest().anchor.clone());
        self.mark(ResumePoint { anchor, ..ResumePoint::at(end_lsn) });
    }

    /// The server has read its log to `wal_end` and found nothing more for us.
    pub fn idle(&mut self, wal_end: Lsn) {
        if self.read.is_none() && wal_end > self.latest().flush_lsn {
            let anchor = self.latest().anchor.clone();
            self.mark(ResumePoint { anchor, ..ResumePoint::at(wal_end) });
        }
    }

    /// The point to persist and then to acknowledge. It never goes back.
    #[must_use]
    pub fn resume_point(&self) -> ResumePoint {
        let inside = match self.open.first_key_value() {
            Some((_, open)) => Some((open.position, open.xid)),
            None => self.read,
        };
        match inside {
            Some((position, xid)) if position > self.reached.position => {
                let xid = (position.index > 0).then_some(xid);
                ResumePoint { position, xid, ..self.reached.clone() }
            }
            _ => self.reached.clone(),
        }
    }

    /// The point that is resumed from where the connection was lost but what was read is still held in memory.
    #[must_use]
    pub fn read_point(&self) -> ResumePoint {
        let latest = self.latest();
        match self.read {
            Some((position, xid)) if position > latest.position => {
                ResumePoint { position, xid: (position.index > 0).then_some(xid), ..latest.clone() }
            }
            _ => latest.clone(),
        }
    }

    /// Whether everything that was read is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    fn latest(&self) -> &ResumePoint {
        self.marks.back().map_or(&self.reached, |mark| &mark.point)
    }

    fn mark(&mut self, point: ResumePoint) {
        // A mark with nothing unsettled between it and the next one says no more than that next one.
        if let Some(last) = self.marks.back()
            && self.open.range(last.before..).next().is_none()
        {
            self.marks.pop_back();
        }
        self.marks.push_back(Mark { before: self.next, point });
        self.advance();
    }

    fn advance(&mut self) {
        let lowest = self.open.first_key_value().map_or(self.next, |(ticket, _)| *ticket);
        while self.marks.front().is_some_and(|mark| mark.before <= lowest)
            && let Some(mark) = self.marks.pop_front()
        {
            debug_assert!(mark.point.flush_lsn >= self.reached.flush_lsn, "the watermark never goes back");
            self.reached = mark.point;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(lsn: u64, index: u64) -> Position {
        Position::new(Lsn::new(lsn), index)
    }

    #[test]
    fn a_commit_counts_once_all_its_changes_are_settled() {
        let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(10)));
        let first = watermark.open(position(20, 0), 7, 2);
        let second = watermark.open(position(20, 1), 7, 1);
        watermark.commit(Lsn::new(30), None);
        watermark.settle(second);
        watermark.settle(first);
        assert_eq!(watermark.resume_point().flush_lsn, Lsn::new(10));
        watermark.settle(first);
        assert_eq!(watermark.resume_point(), ResumePoint::at(Lsn::new(30)));
    }

    #[test]
    fn inside_a_transaction_the_position_moves_and_the_flush_does_not() {
        let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(10)));
        let first = watermark.open(position(20, 0), 7, 1);
        watermark.open(position(20, 1), 7, 1);
        watermark.settle(first);
        let point = watermark.resume_point();
        assert_eq!((point.position, point.xid, point.flush_lsn), (position(20, 1), Some(7), Lsn::new(10)));
    }

    #[test]
    fn a_keepalive_inside_a_transaction_says_nothing() {
        let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(10)));
        watermark.read(position(20, 0), 7);
        watermark.idle(Lsn::new(25));
        assert_eq!(watermark.resume_point().flush_lsn, Lsn::new(10));
    }

    /// As the checkpoint has it in the middle of the transaction that commits at 20.
    fn halfway() -> ResumePoint {
        ResumePoint { position: position(20, 5), xid: Some(7), ..ResumePoint::at(Lsn::new(10)) }
    }

    #[test]
    fn what_comes_before_a_transaction_half_done_does_not_take_it_back() {
        let mut watermark = Watermark::new(halfway());
        watermark.idle(Lsn::new(15));
        watermark.commit(Lsn::new(17), None);
        assert_eq!((watermark.resume_point(), watermark.read_point()), (halfway(), halfway()));
        watermark.read(position(20, 5), 7);
        watermark.commit(Lsn::new(30), None);
        assert_eq!(watermark.resume_point(), ResumePoint::at(Lsn::new(30)));
    }

    #[test]
    fn an_empty_transaction_that_is_read_again_does_not_take_back_what_was_read() {
        let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(10)));
        watermark.commit(Lsn::new(12), None);
        watermark.read(position(20, 0), 7);
        let read = watermark.read_point();
        watermark.commit(Lsn::new(12), None);
        assert_eq!(watermark.read_point(), read);
    }

    #[test]
    fn marks_stay_few_behind_one_unsettled_change() {
        let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(10)));
        watermark.open(position(20, 0), 7, 1);
        for lsn in 21..10_000 {
            watermark.commit(Lsn::new(lsn), None);
        }
        assert!(watermark.marks.len() <= 2);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change { subscriptions: usize },
        Unmatched,
        Commit,
        Idle,
        Settle(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1usize..4).prop_map(|subscriptions| Step::Change { subscriptions }),
            1 => Just(Step::Unmatched),
            2 => Just(Step::Commit),
            1 => Just(Step::Idle),
            5 => any::<prop::sample::Index>().prop_map(Step::Settle),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The watermark never passes an unsettled position, never goes back, and reaches the end once all is settled.
        #[test]
        fn never_passes_an_unsettled_position_and_never_goes_back(steps in steps()) {
            let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(1)));
            let mut unsettled: Vec<(Position, Ticket, usize)> = Vec::new();
            let (mut commit_lsn, mut index) = (10u64, 0u64);
            let mut last = watermark.resume_point();
            for step in steps {
                match step {
                    Step::Change { subscriptions } => {
                        let at = position(commit_lsn, index);
                        unsettled.push((at, watermark.open(at, 1, subscriptions), subscriptions));
                        index += 1;
                    }
                    Step::Unmatched => {
                        watermark.read(position(commit_lsn, index), 1);
                        index += 1;
                    }
                    Step::Commit => {
                        watermark.commit(Lsn::new(commit_lsn + 5), None);
                        (commit_lsn, index) = (commit_lsn + 5, 0);
                    }
                    Step::Idle if index == 0 => {
                        watermark.idle(Lsn::new(commit_lsn + 2));
                        commit_lsn += 2;
                    }
                    Step::Settle(which) if !unsettled.is_empty() => {
                        let at = which.index(unsettled.len());
                        watermark.settle(unsettled[at].1);
                        unsettled[at].2 -= 1;
                        if unsettled[at].2 == 0 {
                            unsettled.remove(at);
                        }
                    }
                    Step::Idle | Step::Settle(_) => {}
                }
                let point = watermark.resume_point();
                for (open, ..) in &unsettled {
                    prop_assert!(point.position <= *open);
                    prop_assert!(point.flush_lsn <= open.commit_lsn);
                }
                prop_assert!(point.position >= last.position && point.flush_lsn >= last.flush_lsn);
                last = point;
            }
            for (_, ticket, times) in unsettled {
                for _ in 0..times {
                    watermark.settle(ticket);
                }
            }
            prop_assert!(watermark.is_settled());
            prop_assert_eq!(watermark.resume_point(), watermark.read_point());
        }
    }
}
