//! Every write to the catalog raises its revision and tells the daemons, in the same statement.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::CatalogError;

/// The channel on which daemons hear that the catalog changed, or that a test or a retry is asked for.
pub const CHANNEL: &str = "webhookdb_notifications";
/// The payload when the catalog changed.
pub const CATALOG_CHANGED: &str = "catalog";
/// The payload when a test is asked for.
pub const TEST_REQUESTED: &str = "test";
/// The payload when a retry by hand is asked for.
pub const RETRY_REQUESTED: &str = "retry";

/// Runs a write: a list of common table expressions of which one is named `written`. One statement is one transaction, so
/// it can neither be left half done nor mix with what others do on the same connection.
///
/// Each row of the answer is the new revision, followed by what `written` returns; no row: nothing was written.
pub(super) async fn write(
    client: &Client,
    expressions: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, CatalogError> {
    let raise = include_str!("../../sql/catalog/raise_revision.sql");
    Ok(client.query(&raise.replace("{expressions}", expressions), parameters).await?)
}

/// Like [`write`], for what writes at most one row: the new revision, if it did.
pub(super) async fn write_one(
    client: &Client,
    expressions: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Option<i64>, CatalogError> {
    let rows = write(client, expressions, parameters).await?;
    rows.first().map(|row| row.try_get("revision").map_err(Into::into)).transpose()
}
