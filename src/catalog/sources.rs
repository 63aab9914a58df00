//! The record of a source: what it is made of, and where its checkpoint stands.

use tokio_postgres::types::{PgLsn, ToSql};
use tokio_postgres::{Client, Row};

use super::{CatalogError, revision};
use crate::model::Lsn;

/// Where reading begins: the slot as it was made or adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The source's name in the config.
    pub name: String,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The publication's OID.
    pub publication_oid: u32,
    /// Names the cluster.
    pub system_identifier: u64,
    /// The timeline that the server writes.
    pub timeline: u32,
    /// The slot's confirmed position.
    pub lsn: Lsn,
}

/// What is recorded of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// The publication's OID.
    pub publication_oid: u32,
    /// Names the cluster.
    pub system_identifier: u64,
    /// Every change below this commit is settled.
    pub commit_lsn: Lsn,
    /// What the slot may be told.
    pub flush_lsn: Lsn,
    /// How many changes of the transaction of that commit are settled too.
    pub next_index: i64,
    /// Why a daemon refused to go on from here, where one did.
    pub refused: Option<String>,
    /// The transaction that the server cannot send, where a daemon has met one.
    pub stuck: Option<StuckAt>,
}

/// A transaction that the server cannot send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckAt {
    /// Its commit LSN.
    pub commit_lsn: Lsn,
    /// Its transaction id.
    pub xid: i64,
    /// What the daemon said of it.
    pub because: String,
}

/// What is recorded of the source of this name.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn find(client: &Client, name: &str) -> Result<Option<SourceState>, CatalogError> {
    let statement =
        "SELECT slot, publication, publication_oid, system_identifier::text, commit_lsn, flush_lsn, refused,
                         next_index, stuck_commit_lsn, stuck_xid, stuck_because
                     FROM notifications.sources WHERE name = $1";
    client.query_opt(statement, &[&name]).await?.map(|row| read(&row)).transpose()
}

fn read(row: &Row) -> Result<SourceState, CatalogError> {
    let identifier: String = row.try_get(3)?;
    let lsn = |place| row.try_get::<_, PgLsn>(place).map(|lsn| Lsn::new(lsn.into()));
    Ok(SourceState {
        slot: row.try_get(0)?,
        publication: row.try_get(1)?,
        publication_oid: row.try_get(2)?,
        system_identifier: identifier.parse().map_err(|error| CatalogError::Unreadable {
            kind: "system identifier".to_owned(),
            source: Box::new(error),
        })?,
        commit_lsn: lsn(4)?,
        flush_lsn: lsn(5)?,
        refused: row.try_get(6)?,
        next_index: row.try_get(7)?,
        stuck: stuck(row)?,
    })
}

fn stuck(row: &Row) -> Result<Option<StuckAt>, CatalogError> {
    let Some(commit_lsn) = row.try_get::<_, Option<PgLsn>>(8)? else { return Ok(None) };
    Ok(Some(StuckAt { commit_lsn: Lsn::new(commit_lsn.into()), xid: row.try_get(9)?, because: row.try_get(10)? }))
}

/// Of the other sources, those of the same cluster.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn of_cluster(client: &Client, system_identifier: u64, but: &str) -> Result<Vec<String>, CatalogError> {
    let statement = "SELECT name FROM notifications.sources
                     WHERE system_identifier = $1::text::numeric AND name <> $2 ORDER BY name";
    let rows = client.query(statement, &[&system_identifier.to_string(), &but]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Moves the checkpoint past the transaction that the server cannot send, where all before it is settled, and records the
/// gap with its reason. Whoever holds the source's epoch loses it. Returns whether that was so.
///
/// # Errors
/// Where the database fails.
pub async fn skip(
    client: &Client,
    name: &str,
    commit_lsn: Lsn,
    after: Lsn,
    reason: &str,
) -> Result<bool, CatalogError> {
    let (commit_lsn, after) = (PgLsn::from(commit_lsn.get()), PgLsn::from(after.get()));
    let statement = include_str!("../../sql/catalog/skip_transaction.sql");
    Ok(revision::write_one(client, statement, &[&name, &commit_lsn, &after, &reason]).await?.is_some())
}

/// Whether this transaction was skipped before.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn was_skipped(client: &Client, name: &str, commit_lsn: Lsn) -> Result<bool, CatalogError> {
    let statement = "SELECT EXISTS (SELECT FROM notifications.gaps WHERE source = $1 AND skipped_commit_lsn = $2)";
    Ok(client.query_one(statement, &[&name, &PgLsn::from(commit_lsn.get())]).await?.try_get(0)?)
}

/// Writes the first checkpoint. Returns whether there was none before.
///
/// # Errors
/// Where the database fails.
pub async fn begin(client: &Client, beginning: &Beginning) -> Result<bool, CatalogError> {
    write(client, include_str!("../../sql/catalog/begin_source.sql"), beginning, &[]).await
}

/// Begins anew after a gap, recording it with its reason. Whoever holds the source's epoch loses it, and every
/// subscription is due from the beginning of the new slot, whose positions the old ones say nothing about.
///
/// # Errors
/// Where the database fails.
pub async fn begin_anew(client: &Client, beginning: &Beginning, reason: &str) -> Result<bool, CatalogError> {
    write(client, include_str!("../../sql/catalog/begin_source_anew.sql"), beginning, &[&reason]).await
}

async fn write(
    client: &Client,
    statement: &str,
    beginning: &Beginning,
    more: &[&(dyn ToSql + Sync)],
) -> Result<bool, CatalogError> {
    let Beginning { name, slot, publication, publication_oid, system_identifier, timeline, lsn } = beginning;
    let (identifier, timeline, lsn) = (system_identifier.to_string(), i64::from(*timeline), PgLsn::from(lsn.get()));
    let parameters: [&(dyn ToSql + Sync); 7] = [name, slot, publication, publication_oid, &identifier, &timeline, &lsn];
    let written = revision::write_one(client, statement, &[&parameters, more].concat()).await?;
    Ok(written.is_some())
}
