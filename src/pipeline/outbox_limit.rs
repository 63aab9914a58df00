//! How much a subscription may be owed, and what happens when it is owed more.

use tracing::{info, warn};

use super::lanes::LaneContext;
use crate::admin::Readiness;
use crate::config::WhenFull;
use crate::deliver::Lane;
use crate::model::{Subscription, SubscriptionState};

/// What `[delivery] max_pending` and `when_full` say, kept for one lane.
pub(super) struct OutboxLimit {
    max_pending: Option<usize>,
    when_full: WhenFull,
    /// What it was owed already when its service began, as far as that has not gone out.
    carried: usize,
    stopped: bool,
    readiness: Readiness,
    source_name: String,
    subscription: String,
}

impl OutboxLimit {
    pub(super) fn new(context: &LaneContext, subscription: &Subscription) -> Self {
        Self {
            max_pending: context.max_pending,
            when_full: context.when_full,
            carried: 0,
            stopped: false,
            readiness: context.readiness.clone(),
            source_name: context.source_name.clone(),
            subscription: subscription.opaque_id.to_string(),
        }
    }

    /// Its service begins, with a backlog that may be beyond the limit: one that is enabled again must get a chance to send it.
    pub(super) fn begin<T>(&mut self, lane: &Lane<T>) {
        self.carried = lane.stored();
    }

    /// Why the subscription is to be deactivated, where it is.
    pub(super) fn deactivates<T>(&mut self, lane: &Lane<T>) -> Option<String> {
        let most = self.max_pending.filter(|_| self.when_full == WhenFull::Disable)?;
        self.carried = self.carried.min(lane.stored());
        (lane.stored() > most + self.carried)
            .then(|| format!("it is owed more than the {most} notifications of [delivery] max_pending"))
    }

    /// Whether nothing more is to be taken in. Says so, to the log and to those who ask whether the source is read. One that is
    /// deactivated stops nothing: there would be no end to it, since nothing is sent that could make room.
    pub(super) fn stops_reading<T>(&mut self, lane: &Lane<T>, state: SubscriptionState) -> bool {
        let Some(most) = self.max_pending.filter(|_| self.when_full == WhenFull::Pause) else { return false };
        let stops = state != SubscriptionState::Deactivated && lane.stored() >= most;
        if stops != self.stopped {
            self.stopped = stops;
            self.say(stops.then(|| {
                format!(
                    "nothing is read: notification {} is owed {most}, as many as max_pending allows",
                    self.subscription
                )
            }));
        }
        stops
    }

    fn say(&self, reason: Option<String>) {
        let (subscription, source) = (&self.subscription, &self.source_name);
        match &reason {
            Some(reason) => warn!(subscription, source, reason, "reading has stopped"),
            None => info!(subscription, source, "reading goes on"),
        }
        self.readiness.hold_back(source, subscription, reason);
    }
}

impl Drop for OutboxLimit {
    fn drop(&mut self) {
        self.readiness.hold_back(&self.source_name, &self.subscription, None);
    }
}
