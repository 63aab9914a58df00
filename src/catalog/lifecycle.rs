//! Writes of a subscription's life after its creation: paused, resumed, enabled again, delivered in another manner. Each returns
//! the new revision of the catalog; none where the subscription is in a state that does not allow it.

use std::time::SystemTime;

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::subscriptions::batching_columns;
use super::{CatalogError, revision};
use crate::model::{Batching, SubscriptionId};

/// Why a subscription that an operator paused is halted.
const PAUSED_BECAUSE: &str = "paused by hand";

/// Pauses one that is served; one that is paused already is marked again, so that its confirmation can be awaited again.
///
/// # Errors
/// Where the database fails.
pub async fn pause(client: &Client, id: SubscriptionId) -> Result<Option<i64>, CatalogError> {
    let statement = include_str!("../../sql/catalog/pause_subscription.sql");
    revision::write_one(client, statement, &[&id.to_string(), &PAUSED_BECAUSE]).await
}

/// Lets a paused one go on: active, or pending where its start was not met yet.
///
/// # Errors
/// Where the database fails.
pub async fn resume(client: &Client, id: SubscriptionId) -> Result<Option<i64>, CatalogError> {
    let statement = include_str!("../../sql/catalog/resume_subscription.sql");
    revision::write_one(client, statement, &[&id.to_string()]).await
}

/// Lets a deactivated one begin anew: pending until its message with this nonce is met in the log of each of these sources.
///
/// # Errors
/// Where the database fails.
pub async fn enable(
    client: &Client,
    id: SubscriptionId,
    nonce: &str,
    sources: &[&str],
) -> Result<Option<i64>, CatalogError> {
    let statement = include_str!("../../sql/catalog/enable_subscription.sql");
    revision::write_one(client, statement, &[&id.to_string(), &nonce, &sources]).await
}

/// Takes an [`enable`] back whose message could not be written; one that has met it all the same stays enabled.
///
/// # Errors
/// Where the database fails.
pub async fn deactivate_again(
    client: &Client,
    id: SubscriptionId,
    nonce: &str,
    halted_at: Option<SystemTime>,
    halted_because: Option<&str>,
) -> Result<(), CatalogError> {
    let statement = "written AS (
        UPDATE notifications.subscriptions SET state = 'deactivated', halted_at = $3, halted_because = $4
        WHERE opaque_id = $1 AND nonce = $2 AND state = 'pending' RETURNING id)";
    revision::write_one(client, statement, &[&id.to_string(), &nonce, &halted_at, &halted_because]).await?;
    Ok(())
}

/// What of a subscription's delivery is to be another; the rest stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Manner<'a> {
    /// The endpoint, as typed.
    pub url: Option<&'a str>,
    /// How notifications are put together from now on.
    pub batching: Option<Option<Batching>>,
}

/// Sends everything that is owed, and all that comes, in another manner. For how long an old URL failed says nothing about a new one.
///
/// # Errors
/// Where the database fails.
pub async fn change(client: &Client, id: SubscriptionId, manner: &Manner<'_>) -> Result<Option<i64>, CatalogError> {
    let statement = include_str!("../../sql/catalog/change_subscription.sql");
    let (size, linger_ms) = batching_columns(manner.batching.flatten());
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&id.to_string(), &manner.url, &manner.batching.is_some(), &size, &linger_ms];
    revision::write_one(client, statement, &parameters).await
}
