//! The names, labels and units of all metrics.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Bytes of log that the server has and that were not read yet, by source.
pub const REPLICATION_LAG_BYTES: &str = "webhookdb_replication_lag_bytes";
/// Seconds since the commit of the last change that was read, while there is more to read, by source.
pub const REPLICATION_LAG_SECONDS: &str = "webhookdb_replication_lag_seconds";
/// Bytes of log that the server keeps for the slot, by source.
pub const SLOT_RETAINED_BYTES: &str = "webhookdb_slot_retained_bytes";
/// Bytes of log that may still be written before the server gives the slot up, by source; infinite without a limit.
pub const SLOT_SAFE_BYTES: &str = "webhookdb_slot_safe_bytes";
/// 1 for the state that a source is in and the reason why (empty while it streams), 0 for those that it was in before.
pub const SOURCE_STATE: &str = "webhookdb_source_state";
/// Changes read from published tables, matched or not, by source and operation.
pub const CHANGES_TOTAL: &str = "webhookdb_changes_total";
/// Notifications that came to an end, by subscription and outcome (delivered, failed, discarded).
pub const NOTIFICATIONS_TOTAL: &str = "webhookdb_notifications_total";
/// Attempts, by subscription and outcome (ok, refused, timeout, connect, tls, redirect, guard).
pub const ATTEMPTS_TOTAL: &str = "webhookdb_attempts_total";
/// Seconds that one attempt took.
pub const DELIVERY_DURATION_SECONDS: &str = "webhookdb_delivery_duration_seconds";
/// Seconds from a commit to the endpoint's acceptance.
pub const COMMIT_TO_DELIVERY_SECONDS: &str = "webhookdb_commit_to_delivery_seconds";
/// Notifications that are in their lane, by subscription; what waits in the outbox alone `webhookdb status` tells.
pub const PENDING_NOTIFICATIONS: &str = "webhookdb_pending_notifications";
/// Bytes of notifications held in memory on their way in.
pub const MEMORY_BYTES: &str = "webhookdb_memory_bytes";
/// The log position below which everything is settled and recorded, by source.
pub const CHECKPOINT_LSN: &str = "webhookdb_checkpoint_lsn";
/// Replication connections that were made after the first, by source.
pub const RECONNECTS_TOTAL: &str = "webhookdb_reconnects_total";
/// Values that could not be read as their type and were sent as their text, by type.
pub const VALUES_SENT_AS_TEXT_TOTAL: &str = "webhookdb_values_sent_as_text_total";
/// Always 1; its label tells the version.
pub const BUILD_INFO: &str = "webhookdb_build_info";

/// Subscriptions that have series of their own: each costs some ten of them, of which a Prometheus takes tens of thousands.
const SUBSCRIPTIONS_MAX: usize = 1_000;

/// What the subscriptions beyond those share, as their label.
const OTHER_SUBSCRIPTIONS: &str = "other";

/// The subscriptions that have series of their own, for as long as the process lives: series do not end either.
static SUBSCRIPTIONS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From a millisecond on a fast network to the longest timeout that the config allows.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0];

/// From a change that is sent at once to one that is given up after days.
const COMMIT_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0,
    86_400.0, 259_200.0,
];

/// The label of a subscription with traffic: its opaque id, or `other` where many had some before it.
#[must_use]
pub fn subscription_label(opaque_id: &str) -> String {
    label_among(&mut SUBSCRIPTIONS.lock().unwrap_or_else(PoisonError::into_inner), opaque_id)
}

fn label_among(known: &mut BTreeSet<String>, opaque_id: &str) -> String {
    if !known.contains(opaque_id) && known.len() >= SUBSCRIPTIONS_MAX {
        return OTHER_SUBSCRIPTIONS.to_owned();
    }
    known.insert(opaque_id.to_owned());
    opaque_id.to_owned()
}

/// Counts notifications that will never be sent, since their subscription is deleted; `subscription` is its label, and empty
/// for the changes of a table whose integration was removed.
pub fn discarded(subscription: &str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    counter!(NOTIFICATIONS_TOTAL, "subscription" => subscription.to_owned(), "outcome" => "discarded").increment(count);
}

/// Counts a connection of a source after its first; 0 makes the series, so that the first one is seen as an increase.
pub fn reconnected(source: &str, count: u64) {
    counter!(RECONNECTS_TOTAL, "source" => source.to_owned()).increment(count);
}

/// Installs the recorder of this process.
///
/// # Errors
/// Where there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(DELIVERY_DURATION_SECONDS.into()), DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(COMMIT_TO_DELIVERY_SECONDS.into()), COMMIT_BUCKETS)?
        .install_recorder()?;
    describe();
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(MEMORY_BYTES).set(0.0);
    Ok(handle)
}

fn describe() {
    describe_gauge!(REPLICATION_LAG_BYTES, Unit::Bytes, "Bytes of log that were not read yet");
    describe_gauge!(
        REPLICATION_LAG_SECONDS,
        Unit::Seconds,
        "Seconds since the commit of the last change that was read"
    );
    describe_gauge!(SLOT_RETAINED_BYTES, Unit::Bytes, "Bytes of log that the server keeps for the slot");
    describe_gauge!(
        SLOT_SAFE_BYTES,
        Unit::Bytes,
        "Bytes of log that may still be written before the server gives the slot up"
    );
    describe_gauge!(SOURCE_STATE, "1 for the state that a source is in, by state and reason");
    describe_counter!(CHANGES_TOTAL, "Changes read from published tables");
    describe_counter!(NOTIFICATIONS_TOTAL, "Notifications that came to an end");
    describe_counter!(ATTEMPTS_TOTAL, "Attempts to deliver");
    describe_histogram!(DELIVERY_DURATION_SECONDS, Unit::Seconds, "Seconds that one attempt took");
    describe_histogram!(
        COMMIT_TO_DELIVERY_SECONDS,
        Unit::Seconds,
        "Seconds from a commit to the endpoint's acceptance"
    );
    describe_gauge!(PENDING_NOTIFICATIONS, "Notifications that are in their lane");
    describe_gauge!(MEMORY_BYTES, Unit::Bytes, "Bytes of notifications held in memory on their way in");
    describe_gauge!(CHECKPOINT_LSN, "The log position below which everything is settled");
    describe_counter!(RECONNECTS_TOTAL, "Replication connections made after the first");
    describe_counter!(VALUES_SENT_AS_TEXT_TOTAL, "Values that could not be read as their type");
    describe_gauge!(BUILD_INFO, "The version that runs");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_beyond_the_cap_share_a_label_and_the_others_keep_theirs() {
        let mut known = BTreeSet::new();
        for number in 0..SUBSCRIPTIONS_MAX {
            assert_eq!(label_among(&mut known, &number.to_string()), number.to_string());
        }
        assert_eq!(label_among(&mut known, "one more"), OTHER_SUBSCRIPTIONS);
        assert_eq!(label_among(&mut known, "7"), "7");
        assert_eq!(known.len(), SUBSCRIPTIONS_MAX);
    }
}
