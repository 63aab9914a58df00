//! Writes of subscriptions: pending, started, deleted, forgotten.

use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use super::{CatalogError, revision};
use crate::model::{Batching, Lsn, Scope, SubscriptionId};
use crate::seal::StoredSecret;

/// A subscription that is to be inserted.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// Its name for users and scripts.
    pub opaque_id: SubscriptionId,
    /// What it covers.
    pub scope: Scope,
    /// The endpoint, as typed.
    pub url: String,
    /// How its notifications are to be put together.
    pub batching: Option<Batching>,
    /// As it is to be stored.
    pub secret: StoredSecret,
    /// Agrees with the log message that marks its start.
    pub nonce: String,
    /// The sources in whose logs the start is marked.
    pub sources: Vec<String>,
}

/// A subscription that was marked deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its number in the catalog.
    pub id: i64,
    /// The endpoint, as typed.
    pub url: String,
    /// What every live daemon must have loaded before the deletion is confirmed.
    pub revision: i64,
}

/// A nonce that nobody can guess, so that no other role's log message starts a subscription.
#[must_use]
pub fn random_nonce() -> String {
    data_encoding::HEXLOWER.encode(&rand::random::<[u8; 16]>())
}

/// The two columns that it is stored in.
pub(super) fn batching_columns(batching: Option<Batching>) -> (Option<i32>, Option<i32>) {
    // Both are bounded far below.
    let size = batching.map(|batching| i32::try_from(batching.size).unwrap_or(i32::MAX));
    let linger_ms = batching.map(|batching| i32::try_from(batching.linger.as_millis()).unwrap_or(i32::MAX));
    (size, linger_ms)
}

/// Inserts a subscription as pending; returns its number.
///
/// # Errors
/// Where the database fails.
pub async fn insert_pending(client: &Client, new: &NewSubscription) -> Result<i64, CatalogError> {
    let (organization, integration) = match &new.scope {
        Scope::Organization(key) => (Some(key), None),
        Scope::Integration(opaque_id) => (None, Some(opaque_id)),
    };
    let statement = include_str!("../../sql/catalog/insert_subscription.sql");
    let opaque_id = new.opaque_id.to_string();
    let (size, linger_ms) = batching_columns(new.batching);
    let rows = revision::write(
        client,
        statement,
        &[
            &opaque_id,
            &organization,
            &integration,
            &new.url,
            &new.secret.text.expose(),
            &new.secret.is_encrypted,
            &new.nonce,
            &new.sources,
            &size,
            &linger_ms,
        ],
    )
    .await?;
    let row = rows.first().ok_or(CatalogError::UnknownSubscription(opaque_id))?;
    Ok(row.try_get("id")?)
}

/// Sets the start of a subscription in a source to the LSN of its message, and makes it active once it has a start in each of
/// its sources. Returns whether this very call set it: false for an unknown id, a wrong nonce, a deleted subscription, and one
/// that has a start there already.
///
/// # Errors
/// Where the database fails.
pub async fn start(
    client: &Client,
    id: SubscriptionId,
    nonce: &str,
    source: &str,
    lsn: Lsn,
) -> Result<bool, CatalogError> {
    let (id, lsn) = (id.to_string(), PgLsn::from(lsn.get()));
    let statement = include_str!("../../sql/catalog/start_subscription.sql");
    let started = revision::write_one(client, statement, &[&id, &nonce, &source, &lsn]).await?;
    let statement = include_str!("../../sql/catalog/activate_subscription.sql");
    revision::write_one(client, statement, &[&id, &nonce]).await?;
    Ok(started.is_some())
}

/// Marks a subscription deleted; one that is marked already is marked again, so that its confirmation can be awaited again.
///
/// # Errors
/// Where there is none of this id, or the database fails.
pub async fn mark_deleted(client: &Client, id: SubscriptionId) -> Result<Deleted, CatalogError> {
    let statement = "written AS (
        UPDATE notifications.subscriptions SET state = 'deleted' WHERE opaque_id = $1 RETURNING id, url)";
    let rows = revision::write(client, statement, &[&id.to_string()]).await?;
    let row = rows.first().ok_or_else(|| CatalogError::UnknownSubscription(id.to_string()))?;
    Ok(Deleted { id: row.try_get("id")?, url: row.try_get("url")?, revision: row.try_get("revision")? })
}

/// Takes a subscription out of service, for this reason; what it is owed is kept, and the gap that begins is recorded. False
/// where it is out of service already, or has another URL by now, or was enabled anew (another nonce).
///
/// # Errors
/// Where the database fails.
pub async fn deactivate(client: &Client, id: i64, url: &str, nonce: &str, reason: &str) -> Result<bool, CatalogError> {
    let statement = include_str!("../../sql/catalog/deactivate_subscription.sql");
    let deactivated = revision::write_one(client, statement, &[&id, &reason, &url, &nonce]).await?;
    Ok(deactivated.is_some())
}

/// Removes a subscription and all that it is owed. Bodies in the outbox are shared, and left to the daemon.
///
/// # Errors
/// Where the database fails.
pub async fn forget(client: &Client, id: i64) -> Result<(), CatalogError> {
    let statement = "forgotten AS (DELETE FROM notifications.outbox WHERE subscription = $1),
        written AS (DELETE FROM notifications.subscriptions WHERE id = $1 RETURNING id)";
    revision::write_one(client, statement, &[&id]).await?;
    Ok(())
}

/// Removes every subscription that is marked deleted; for when no daemon can be sending to any.
///
/// # Errors
/// Where the database fails.
pub async fn forget_deleted(client: &Client, integration: &str) -> Result<(), CatalogError> {
    let statement = "SELECT id FROM notifications.subscriptions WHERE state = 'deleted' AND integration = $1";
    for row in client.query(statement, &[&integration]).await? {
        forget(client, row.try_get(0)?).await?;
    }
    Ok(())
}
