//! What a lane says in the log: one line for each thing that happens; where an endpoint fails in a storm, a few lines and a number.

use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::lane_task::Sent;
use super::lanes::LaneContext;
use super::storm::{Admitted, Storm};
use crate::deliver::{Failure, Finished};
use crate::model::SubscriptionId;

pub(super) struct LaneLog {
    context: Arc<LaneContext>,
    subscription: SubscriptionId,
    /// A storm of its own for each kind of line: many retries must not hide what was given up, nor either that the endpoint is down.
    attempts: Storm,
    given_up: Storm,
    turns: Storm,
}

impl LaneLog {
    pub(super) fn new(context: Arc<LaneContext>, subscription: SubscriptionId) -> Self {
        let [attempts, given_up, turns] = std::array::from_fn(|_| Storm::new(Instant::now()));
        Self { context, subscription, attempts, given_up, turns }
    }

    /// A notification's attempt failed, and this came of it.
    pub(super) fn failed(&mut self, sent: &Sent, failure: &Failure, finished: &Finished) {
        let (subscription, source) = (self.subscription, self.context.source_name.as_str());
        let Sent { event, attempt, .. } = sent;
        let (lsn, index, reason) = (event.position.commit_lsn, event.position.index, &failure.reason);
        let table = || self.context.catalog.index().table_name(source, event.relation_oid);
        let event = &event.id;
        match finished {
            Finished::Retry { wait } => {
                let Some(Admitted { untold }) = self.attempts.admits(Instant::now()) else { return };
                info!(%subscription, source, table = table(), %lsn, index, event, attempt, reason, retry_in = ?wait, untold,
                    "an attempt failed");
            }
            Finished::GivenUp => {
                let Some(Admitted { untold }) = self.given_up.admits(Instant::now()) else { return };
                warn!(%subscription, source, table = table(), %lsn, index, event, attempt, reason, untold,
                    "a notification was given up");
            }
            Finished::PutBack | Finished::Split => {
                debug!(%subscription, source, event, reason, "a request failed, which was no attempt of this notification");
            }
        }
    }

    /// The endpoint fails whatever it is sent.
    pub(super) fn fails(&mut self, failure: &Failure) {
        let (subscription, source, reason) = (self.subscription, self.context.source_name.as_str(), &failure.reason);
        let Some(Admitted { untold }) = self.turns.admits(Instant::now()) else { return };
        warn!(%subscription, source, reason, untold,
            "the endpoint fails; all that it is owed waits in the outbox until a probe is accepted");
    }

    /// The endpoint is well again, and is owed so many.
    pub(super) fn accepts_again(&mut self, pending: usize) {
        let (subscription, source) = (self.subscription, self.context.source_name.as_str());
        let Some(Admitted { untold }) = self.turns.admits(Instant::now()) else { return };
        info!(%subscription, source, pending, untold, "the endpoint accepts again; what it is owed goes out");
    }

    /// When to tell the numbers of what was not told one by one, where there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        [&self.attempts, &self.given_up, &self.turns].into_iter().filter_map(Storm::due).min()
    }

    /// Tells those numbers.
    pub(super) fn tell_kept_back(&mut self) {
        let numbers = [&mut self.attempts, &mut self.given_up, &mut self.turns].map(Storm::take_kept_back);
        if numbers.iter().any(|number| *number > 0) {
            let (subscription, source) = (self.subscription, self.context.source_name.as_str());
            let [failed, given_up, turns] = numbers;
            info!(%subscription, source, failed, given_up, turns, "more of the same was not told one by one");
        }
    }
}

impl Drop for LaneLog {
    fn drop(&mut self) {
        self.tell_kept_back();
    }
}
