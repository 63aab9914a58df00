//! What the catalog says about how things go, for `status`.

use std::time::SystemTime;

use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use super::CatalogError;
use crate::model::Lsn;

/// How a subscription fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionHealth {
    /// Its name for users and scripts.
    pub opaque_id: String,
    /// Where its notifications go.
    pub url: String,
    /// Where it is in its life.
    pub status: String,
    /// Notifications in the outbox that are still to be delivered.
    pub pending: i64,
    /// Notifications that were given up.
    pub failed: i64,
    /// When the endpoint last accepted one.
    pub last_success: Option<SystemTime>,
    /// When the endpoint last failed to.
    pub last_failure: Option<SystemTime>,
    /// The first failure since the last success.
    pub failing_since: Option<SystemTime>,
    /// Paused or deactivated since then.
    pub halted_at: Option<SystemTime>,
    /// Why it is paused or deactivated.
    pub halted_because: Option<String>,
}

/// Every subscription.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn subscriptions(client: &Client) -> Result<Vec<SubscriptionHealth>, CatalogError> {
    let rows = client.query(include_str!("../../sql/catalog/status.sql"), &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(SubscriptionHealth {
                opaque_id: row.try_get("opaque_id")?,
                url: row.try_get("url")?,
                status: row.try_get("state")?,
                pending: row.try_get("pending")?,
                failed: row.try_get("failed")?,
                last_success: row.try_get("last_success_at")?,
                last_failure: row.try_get("last_failure_at")?,
                failing_since: row.try_get("failing_since")?,
                halted_at: row.try_get("halted_at")?,
                halted_because: row.try_get("halted_because")?,
            })
        })
        .collect()
}

/// Where a source's checkpoint and its reader are.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Every change below is settled.
    pub commit_lsn: Lsn,
    /// What the slot may be told.
    pub flush_lsn: Lsn,
    /// Seconds since the checkpoint was written.
    pub checkpoint_age: f64,
    /// How far the daemon has read, where one lives.
    pub received_lsn: Option<Lsn>,
    /// Seconds since the commit of the last change that the daemon read.
    pub read_age: Option<f64>,
    /// The commit LSN of a transaction that the server cannot send, and why, where a daemon stands still there.
    pub stuck: Option<(Lsn, String)>,
}

/// A source's progress; none where it is not set up.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn progress(client: &Client, source: &str) -> Result<Option<Progress>, CatalogError> {
    let Some(row) = client.query_opt(include_str!("../../sql/catalog/progress.sql"), &[&source]).await? else {
        return Ok(None);
    };
    let lsn = |name| row.try_get::<_, PgLsn>(name).map(|lsn| Lsn::new(lsn.into()));
    let received: Option<PgLsn> = row.try_get("received_lsn")?;
    let stuck: Option<PgLsn> = row.try_get("stuck_commit_lsn")?;
    let because: Option<String> = row.try_get("stuck_because")?;
    Ok(Some(Progress {
        commit_lsn: lsn("commit_lsn")?,
        flush_lsn: lsn("flush_lsn")?,
        checkpoint_age: row.try_get("checkpoint_age")?,
        received_lsn: received.map(|lsn| Lsn::new(lsn.into())),
        read_age: row.try_get("read_age")?,
        stuck: stuck.map(|lsn| (Lsn::new(lsn.into()), because.unwrap_or_default())),
    }))
}
