//! A lane as its task and the requests under way share it: one that was accepted takes the next along by itself, so that nobody
//! has to be woken for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use smallvec::SmallVec;
use tokio::sync::Notify;

use super::request::Landed;
use crate::checkpoint::Ticket;
use crate::deliver::{Finished, Lane, Request, Setback};
use crate::pipeline::lane_meters::LaneMeters;

pub(super) struct Desk {
    state: Mutex<DeskState>,
    /// There is something to do for the lane's task.
    called: Notify,
}

pub(super) struct DeskState {
    pub(super) lane: Lane<Ticket>,
    pub(super) meters: LaneMeters,
    /// Whether the endpoint's last answer was an acceptance.
    pub(super) trusted: bool,
    /// The task waits for the right to send more at once.
    pub(super) asks: bool,
    /// The task has a batch on its way to the outbox, and looks for more when that is durable.
    pub(super) is_writing: bool,
    /// The subscription is to become another, or the lane's task is gone: nothing is started by what it was.
    pub(super) is_closed: bool,
}

/// What became of a request.
pub(super) enum Outcome {
    /// It was accepted and settles these; what goes the same way next is empty where nothing does.
    Accepted(SmallVec<[Ticket; 1]>, Request),
    /// The lane's task has to see to it.
    Ended(Landed),
}

impl Desk {
    pub(super) fn new(lane: Lane<Ticket>, meters: LaneMeters) -> Self {
        let state = DeskState { lane, meters, trusted: false, asks: false, is_writing: false, is_closed: false };
        Self { state: Mutex::new(state), called: Notify::new() }
    }

    /// Not to be held across a wait.
    pub(super) fn open(&self) -> MutexGuard<'_, DeskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do for the lane's task since the last wait.
    pub(super) async fn called(&self) {
        self.called.notified().await;
    }

    /// Lands a request that an endpoint accepted that is well, and takes the next one, where `may_go_on`.
    pub(super) fn next(&self, landed: Landed, may_go_on: bool) -> Outcome {
        let mut desk = self.open();
        if landed.outcome.is_err() || !desk.trusted || !desk.lane.is_flowing() {
            return Outcome::Ended(landed);
        }
        let had_room = desk.lane.accepts();
        let now = landed.ended;
        let tickets = desk.accepted(&landed, now);
        desk.count_pending();
        let next = if may_go_on && !desk.is_closed { desk.lane.start(now) } else { Request::new() };
        // The end of the last one is news for the task by itself.
        if !next.is_empty() && desk.calls(had_room, now) {
            self.called.notify_one();
        }
        Outcome::Accepted(tickets, next)
    }
}

impl DeskState {
    /// Whether the lane's task has something to take in, to read or write, or to send beside what is under way.
    fn calls(&mut self, had_room: bool, now: Instant) -> bool {
        let has_room = !had_room && self.lane.accepts();
        let has_writes = !self.is_writing && self.lane.has_writes();
        has_room || has_writes || self.lane.wants_to_read() || (!self.asks && self.lane.may_start(now))
    }

    /// Counts what the lane owes.
    pub(super) fn count_pending(&mut self) {
        self.meters.pending(self.lane.pending());
    }

    /// Counts a request that failed, and what comes of it.
    pub(super) fn failed(&mut self, landed: &Landed, setback: &Setback, now: Instant) -> SmallVec<[Finished; 1]> {
        self.meters.attempt(&landed.outcome, landed.took());
        let finished = self.lane.failed(&landed.ids(), setback, now);
        let given_up = finished.iter().filter(|finished| **finished == Finished::GivenUp).count();
        self.meters.failed(given_up);
        finished
    }

    /// Counts one that was accepted. Returns the tickets that the log still waits for.
    #[must_use]
    pub(super) fn accepted(&mut self, landed: &Landed, now: Instant) -> SmallVec<[Ticket; 1]> {
        self.meters.attempt(&landed.outcome, landed.took());
        let delivered_at = SystemTime::now();
        for sent in &landed.notifications {
            self.meters.delivered(sent.event.committed_at, delivered_at);
        }
        self.lane.succeeded(&landed.ids(), now)
    }
}

#[cfg(test)]
mod tests;
