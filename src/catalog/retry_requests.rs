//! Retries by hand: asked for by the command line in small numbers, claimed and answered by one live daemon.

use std::time::Duration;

use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Row};

use super::CatalogError;
use crate::model::{Lsn, Position};

/// An asker that has not said for so long that it still waits is believed to be gone: its request is not claimed any more.
pub const ASKER_WAITS: Duration = Duration::from_secs(30);

/// A notification that this daemon is to send again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRequest {
    /// Names the request.
    pub id: i64,
    /// The subscription's number in the catalog.
    pub subscription: i64,
    /// The change's id.
    pub event_id: String,
    /// What the outbox holds of it; none where it is delivered or not kept any more.
    pub kept: Option<Kept>,
}

/// What the outbox holds of a notification that is to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Automatic attempts so far.
    pub attempts: u32,
    /// The length of its body.
    pub bytes: usize,
    /// Its table.
    pub relation_oid: u32,
    /// Its place among all changes of the source.
    pub position: Position,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryAnswer {
    /// The request.
    pub id: i64,
    /// Accepted, or why not.
    pub outcome: Result<(), String>,
}

/// Asks for these notifications to be sent again; returns the requests' ids with the changes'. What nobody took away is
/// dropped after an hour.
///
/// # Errors
/// Where the database fails.
pub async fn insert(
    client: &Client,
    subscription: i64,
    event_ids: &[&str],
) -> Result<Vec<(i64, String)>, CatalogError> {
    let statement = include_str!("../../sql/catalog/insert_retry_requests.sql");
    let rows = client.query(statement, &[&subscription, &event_ids]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Claims open requests of a source for a daemon, at most `limit`; each goes to one daemon only.
///
/// # Errors
/// Where the database fails.
pub async fn claim(client: &Client, daemon: &str, source: &str, limit: i64) -> Result<Vec<RetryRequest>, CatalogError> {
    let statement = include_str!("../../sql/catalog/claim_retry_requests.sql");
    let rows = client.query(statement, &[&daemon, &ASKER_WAITS.as_secs_f64(), &source, &limit]).await?;
    rows.iter()
        .map(|row| {
            let attempts: Option<i32> = row.try_get("attempts")?;
            let bytes: Option<i32> = row.try_get("bytes")?;
            let kept = match attempts.zip(bytes) {
                Some((attempts, bytes)) => Some(Kept {
                    attempts: attempts.unsigned_abs(),
                    bytes: usize::try_from(bytes).unwrap_or_default(),
                    relation_oid: row.try_get("relation_oid")?,
                    position: position(row)?,
                }),
                None => None,
            };
            Ok(RetryRequest {
                id: row.try_get("id")?,
                subscription: row.try_get("subscription")?,
                event_id: row.try_get("event_id")?,
                kept,
            })
        })
        .collect()
}

fn position(row: &Row) -> Result<Position, CatalogError> {
    let (commit_lsn, index): (PgLsn, i64) = (row.try_get("commit_lsn")?, row.try_get("index")?);
    Ok(Position::new(Lsn::new(commit_lsn.into()), index.unsigned_abs()))
}

/// Answers a request.
///
/// # Errors
/// Where the database fails.
pub async fn answer(client: &Client, id: i64, outcome: &Result<(), String>) -> Result<(), CatalogError> {
    let error = outcome.as_ref().err();
    let statement = "UPDATE notifications.retry_requests SET delivered = $2, error = $3 WHERE id = $1";
    client.execute(statement, &[&id, &error.is_none(), &error]).await?;
    Ok(())
}

/// Takes the answered ones among these requests away.
///
/// # Errors
/// Where the database fails.
pub async fn take_answers(client: &Client, ids: &[i64]) -> Result<Vec<RetryAnswer>, CatalogError> {
    let statement = "DELETE FROM notifications.retry_requests WHERE id = ANY ($1) AND delivered IS NOT NULL
                     RETURNING id, delivered, error";
    let rows = client.query(statement, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let error: Option<String> = row.try_get("error")?;
            let outcome = if row.try_get("delivered")? { Ok(()) } else { Err(error.unwrap_or_default()) };
            Ok(RetryAnswer { id: row.try_get("id")?, outcome })
        })
        .collect()
}

/// Says that somebody still waits for these requests.
///
/// # Errors
/// Where the database fails.
pub async fn still_waiting(client: &Client, ids: &[i64]) -> Result<(), CatalogError> {
    let statement =
        "UPDATE notifications.retry_requests SET requested_at = now() WHERE id = ANY ($1) AND claimed_by IS NULL";
    client.execute(statement, &[&ids]).await?;
    Ok(())
}

/// Takes these requests back: nobody waits for them any more.
///
/// # Errors
/// Where the database fails.
pub async fn withdraw(client: &Client, ids: &[i64]) -> Result<(), CatalogError> {
    client.execute("DELETE FROM notifications.retry_requests WHERE id = ANY ($1)", &[&ids]).await?;
    Ok(())
}
