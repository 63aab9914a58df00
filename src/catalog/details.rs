//! Everything about one subscription, for the commands that look at it and for those that are to change it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::{Client, Row};

use super::{CatalogError, snapshot};
use crate::model::{Batching, Scope, SubscriptionId, SubscriptionState};

/// A subscription, how it fares, and what it is owed; never its secrets.
#[derive(Clone, Debug)]
pub struct SubscriptionDetails {
    /// Its number in the catalog.
    pub id: i64,
    /// Its name for users and scripts.
    pub opaque_id: SubscriptionId,
    /// What it covers.
    pub scope: Scope,
    /// The endpoint, as typed.
    pub url: String,
    /// How its notifications are put together; none where each is a request of its own.
    pub batching: Option<Batching>,
    /// Where it is in its life.
    pub state: SubscriptionState,
    /// Agrees with the log message that marks its start.
    pub nonce: String,
    /// When it was created.
    pub created_at: SystemTime,
    /// For each source that it covers, the LSN from which on commits are due; none where the start was not met yet.
    pub starts: BTreeMap<String, Option<String>>,
    /// Paused or deactivated since then.
    pub halted_at: Option<SystemTime>,
    /// Why it is paused or deactivated.
    pub halted_because: Option<String>,
    /// Notifications in the outbox that are still to be delivered.
    pub pending: i64,
    /// Notifications that were given up.
    pub failed: i64,
    /// When the oldest change was committed that is still to be delivered.
    pub oldest_pending: Option<SystemTime>,
    /// When the endpoint last accepted one.
    pub last_success: Option<SystemTime>,
    /// When the endpoint last failed to.
    pub last_failure: Option<SystemTime>,
    /// The first failure since the last success.
    pub failing_since: Option<SystemTime>,
    /// Until when notifications are signed by secrets too that were replaced.
    pub rotating_until: Option<SystemTime>,
    /// How many these are.
    pub previous_secrets: i64,
}

impl SubscriptionDetails {
    /// Why it is paused or deactivated, for a sentence.
    #[must_use]
    pub fn why(&self) -> &str {
        self.halted_because.as_deref().unwrap_or("the reason is not recorded")
    }
}

/// The last failure of one notification.
#[derive(Clone, Debug)]
pub struct LastError {
    /// The change's id.
    pub event_id: String,
    /// When its last attempt failed.
    pub at: SystemTime,
    /// Failed attempts so far.
    pub attempts: i32,
    /// Why.
    pub error: String,
}

/// The subscription of this id.
///
/// # Errors
/// Where there is none, or it is deleted; where the database fails.
pub async fn find(client: &Client, id: SubscriptionId) -> Result<SubscriptionDetails, CatalogError> {
    let statement = include_str!("../../sql/catalog/subscription_details.sql");
    let row = client.query_opt(statement, &[&id.to_string()]).await?;
    row.map_or_else(|| Err(CatalogError::UnknownSubscription(id.to_string())), |row| read(id, &row))
}

/// Its latest errors, one for each notification, the newest first.
///
/// # Errors
/// Where the database fails.
pub async fn last_errors(client: &Client, subscription: i64, limit: i64) -> Result<Vec<LastError>, CatalogError> {
    let rows = client.query(include_str!("../../sql/catalog/last_errors.sql"), &[&subscription, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(LastError {
                event_id: row.try_get("event_id")?,
                at: row.try_get("last_attempt_at")?,
                attempts: row.try_get("attempts")?,
                error: row.try_get("last_error")?,
            })
        })
        .collect()
}

fn read(opaque_id: SubscriptionId, row: &Row) -> Result<SubscriptionDetails, CatalogError> {
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| CatalogError::Unreadable {
        kind: "subscription".to_owned(),
        source,
    };
    let (organization, integration) = (row.try_get("organization")?, row.try_get("integration")?);
    let scope = Scope::of(organization, integration)
        .ok_or_else(|| unreadable("a subscription is of one organization or of one integration".into()))?;
    let state = SubscriptionState::from_name(row.try_get("state")?);
    let starts: Option<&str> = row.try_get("starts")?;
    Ok(SubscriptionDetails {
        id: row.try_get("id")?,
        opaque_id,
        scope,
        url: row.try_get("url")?,
        batching: snapshot::batching(row.try_get("batch_size")?, row.try_get("batch_linger_ms")?)
            .map_err(unreadable)?,
        state: state.ok_or_else(|| unreadable("unknown state".into()))?,
        nonce: row.try_get("nonce")?,
        created_at: row.try_get("created_at")?,
        starts: serde_json::from_str(starts.unwrap_or("{}")).map_err(|error| unreadable(error.into()))?,
        halted_at: row.try_get("halted_at")?,
        halted_because: row.try_get("halted_because")?,
        pending: row.try_get("pending")?,
        failed: row.try_get("failed")?,
        oldest_pending: row.try_get("oldest_pending")?,
        last_success: row.try_get("last_success_at")?,
        last_failure: row.try_get("last_failure_at")?,
        failing_since: row.try_get("failing_since")?,
        rotating_until: row.try_get("rotating_until")?,
        previous_secrets: row.try_get("previous_secrets")?,
    })
}
