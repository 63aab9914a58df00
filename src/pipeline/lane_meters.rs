//! What a lane counts.

use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::admin::metrics::{
    ATTEMPTS_TOTAL, COMMIT_TO_DELIVERY_SECONDS, DELIVERY_DURATION_SECONDS, NOTIFICATIONS_TOTAL, PENDING_NOTIFICATIONS,
    discarded, subscription_label,
};
use crate::deliver::Failure;
use crate::model::Subscription;

pub(super) struct LaneMeters {
    delivered: Counter,
    failed: Counter,
    ok: Counter,
    /// Of all lanes of the subscription, which each add their own.
    pending: Gauge,
    added: f64,
    duration: Histogram,
    commit_to_delivery: Histogram,
    subscription: String,
}

impl LaneMeters {
    pub(super) fn new(subscription: &Subscription) -> Self {
        let subscription = subscription_label(&subscription.opaque_id.to_string());
        let outcome = |outcome: &'static str| counter!(NOTIFICATIONS_TOTAL, "subscription" => subscription.clone(), "outcome" => outcome);
        Self {
            delivered: outcome("delivered"),
            failed: outcome("failed"),
            ok: counter!(ATTEMPTS_TOTAL, "subscription" => subscription.clone(), "outcome" => "ok"),
            pending: gauge!(PENDING_NOTIFICATIONS, "subscription" => subscription.clone()),
            added: 0.0,
            duration: histogram!(DELIVERY_DURATION_SECONDS),
            commit_to_delivery: histogram!(COMMIT_TO_DELIVERY_SECONDS),
            subscription,
        }
    }

    pub(super) fn attempt(&self, outcome: &Result<(), Failure>, took: Duration) {
        self.duration.record(took);
        match outcome {
            Ok(()) => self.ok.increment(1),
            Err(failure) => {
                let labels = [("subscription", self.subscription.clone()), ("outcome", failure.kind.label().into())];
                counter!(ATTEMPTS_TOTAL, &labels).increment(1);
            }
        }
    }

    pub(super) fn delivered(&self, committed_at: SystemTime, delivered_at: SystemTime) {
        self.delivered.increment(1);
        self.commit_to_delivery.record(delivered_at.duration_since(committed_at).unwrap_or_default());
    }

    /// So many are given up.
    pub(super) fn failed(&self, count: usize) {
        self.failed.increment(count as u64);
    }

    /// So many will never be sent: the subscription is deleted.
    pub(super) fn discarded(&self, count: usize) {
        discarded(&self.subscription, count);
    }

    pub(super) fn pending(&mut self, pending: usize) {
        // Precision is lost from 2^52 on.
        #[allow(clippy::cast_precision_loss)]
        let pending = pending as f64;
        self.pending.increment(pending - self.added);
        self.added = pending;
    }
}

impl Drop for LaneMeters {
    fn drop(&mut self) {
        self.pending.decrement(self.added);
    }
}
