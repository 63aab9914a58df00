//! Writes of what is published. Each raises the revision, since the router refuses a published table that it does not know.

use tokio_postgres::Client;
use tokio_postgres::types::{PgLsn, ToSql};

use super::{CatalogError, Relation, RelationState, revision};
use crate::model::Lsn;

/// Records a table before it is added to the publication. A table that is live already stays as it is; a tombstone and an
/// unassigned one become live again. Subscriptions that it is the first table for in its source are due there from `now`, where
/// the source's log ends. Returns whether it was recorded now.
///
/// # Errors
/// Where the database fails.
pub async fn announce(client: &Client, relation: &Relation, now: Lsn) -> Result<bool, CatalogError> {
    let statement = include_str!("../../sql/catalog/announce_relation.sql");
    put(client, relation, statement, &[&PgLsn::from(now.get())]).await
}

/// Records a table that somebody else published and that belongs to no integration. A table of which anything is known
/// stays as it is. Returns whether it was recorded now.
///
/// # Errors
/// Where the database fails.
pub async fn record_unassigned(client: &Client, relation: &Relation) -> Result<bool, CatalogError> {
    put(client, relation, include_str!("../../sql/catalog/unassigned_relation.sql"), &[]).await
}

async fn put(
    client: &Client,
    relation: &Relation,
    statement: &str,
    more: &[&(dyn ToSql + Sync)],
) -> Result<bool, CatalogError> {
    let Relation { source, oid, integration, organization, schema_name, table_name, primary_key, remote_key, .. } =
        relation;
    let parameters: [&(dyn ToSql + Sync); 8] =
        [source, oid, integration, organization, schema_name, table_name, primary_key, remote_key];
    let written = revision::write_one(client, statement, &[&parameters, more].concat()).await?;
    Ok(written.is_some())
}

/// Records that the table is in the publication, and from which transaction on it is complete. Returns whether it is still
/// recorded as being published.
///
/// # Errors
/// Where the database fails.
pub async fn added(client: &Client, source: &str, oid: u32, publishing_xid: i64) -> Result<bool, CatalogError> {
    let statement = "written AS (
        UPDATE notifications.relations SET publishing_xid = $3
        WHERE source = $1 AND relation_oid = $2 AND state = 'publishing' RETURNING 1)";
    Ok(revision::write_one(client, statement, &[&source, &oid, &publishing_xid]).await?.is_some())
}

/// Records that the table is complete: every transaction that was open when it was added has ended.
///
/// # Errors
/// Where the database fails.
pub async fn complete(client: &Client, source: &str, oid: u32) -> Result<(), CatalogError> {
    let statement = "written AS (
        UPDATE notifications.relations SET state = 'published', published_at = now(), publishing_xid = NULL
        WHERE source = $1 AND relation_oid = $2 AND state = 'publishing' RETURNING 1)";
    revision::write_one(client, statement, &[&source, &oid]).await?;
    Ok(())
}

/// Records that a published table is no longer in the publication: what it is to be published again for is not complete.
///
/// # Errors
/// Where the database fails.
pub async fn interrupted(client: &Client, source: &str, oid: u32) -> Result<(), CatalogError> {
    let statement = "written AS (
        UPDATE notifications.relations SET state = 'publishing', published_at = NULL, publishing_xid = NULL
        WHERE source = $1 AND relation_oid = $2 AND state = 'published' RETURNING 1)";
    revision::write_one(client, statement, &[&source, &oid]).await?;
    Ok(())
}

/// Puts back what was recorded before [`announce`], where the table could not be published after all. `before` is the
/// tombstone or the unassigned record that was there: changes of the table may still be in the log.
///
/// # Errors
/// Where the database fails.
pub async fn withdraw(client: &Client, source: &str, oid: u32, before: Option<&Relation>) -> Result<(), CatalogError> {
    let Some(before) = before else {
        let statement = "written AS (
            DELETE FROM notifications.relations
            WHERE source = $1 AND relation_oid = $2 AND state = 'publishing' RETURNING 1)";
        revision::write_one(client, statement, &[&source, &oid]).await?;
        return Ok(());
    };
    let state = if before.state == RelationState::Unassigned { "unassigned" } else { "removed" };
    let statement = include_str!("../../sql/catalog/restore_relation.sql");
    revision::write_one(client, statement, &[&source, &oid, &state, &before.integration, &before.organization]).await?;
    Ok(())
}

/// Turns the record of a table into a tombstone: its integration, or the table itself, is gone. As long as there is the
/// integration, what the log still holds of the table belongs to it.
///
/// # Errors
/// Where the database fails.
pub async fn bury(client: &Client, source: &str, oid: u32) -> Result<(), CatalogError> {
    let statement = "written AS (
        UPDATE notifications.relations SET state = 'removed', publishing_xid = NULL
        WHERE source = $1 AND relation_oid = $2 AND state <> 'removed' RETURNING 1)";
    revision::write_one(client, statement, &[&source, &oid]).await?;
    Ok(())
}

/// Records under which name the table was last seen, and its keys.
///
/// # Errors
/// Where the database fails.
pub async fn seen_as(client: &Client, relation: &Relation) -> Result<(), CatalogError> {
    let statement = "written AS (
        UPDATE notifications.relations SET schema_name = $3, table_name = $4, primary_key = $5, remote_key = $6
        WHERE source = $1 AND relation_oid = $2
          AND (schema_name, table_name, primary_key, remote_key) IS DISTINCT FROM ($3, $4, $5, $6) RETURNING 1)";
    let Relation { source, oid, schema_name, table_name, primary_key, remote_key, .. } = relation;
    revision::write_one(client, statement, &[source, oid, schema_name, table_name, primary_key, remote_key]).await?;
    Ok(())
}

/// A table that is in the publication, but not complete yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// The table's OID.
    pub oid: u32,
    /// Transactions below this one may be missing in part.
    pub xid: i64,
    /// `schema.name` when last seen.
    pub table: String,
}

/// The tables of a source that are in the publication, but not complete yet.
///
/// # Errors
/// Where the database fails.
pub async fn publishing(client: &Client, source: &str) -> Result<Vec<Publishing>, CatalogError> {
    let statement = "SELECT relation_oid, publishing_xid, schema_name || '.' || table_name
                     FROM notifications.relations
                     WHERE source = $1 AND state = 'publishing' AND publishing_xid IS NOT NULL ORDER BY relation_oid";
    let rows = client.query(statement, &[&source]).await?;
    rows.iter()
        .map(|row| Ok(Publishing { oid: row.try_get(0)?, xid: row.try_get(1)?, table: row.try_get(2)? }))
        .collect()
}

/// The OIDs of the tables of a source's integrations.
///
/// # Errors
/// Where the database fails.
pub async fn of_integrations(client: &Client, source: &str) -> Result<Vec<u32>, CatalogError> {
    let statement = "SELECT relation_oid FROM notifications.relations
                     WHERE source = $1 AND state IN ('publishing', 'published') ORDER BY relation_oid";
    client.query(statement, &[&source]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Forgets every table of a source whose server was replaced: its OIDs mean nothing there, and its log is not read again.
///
/// # Errors
/// Where the database fails.
pub async fn forget_all(client: &Client, source: &str) -> Result<(), CatalogError> {
    let statement = "written AS (DELETE FROM notifications.relations WHERE source = $1 RETURNING 1)";
    revision::write_one(client, statement, &[&source]).await?;
    Ok(())
}
