//! The record of a source's checkpoint and epoch in the catalog.

use std::time::SystemTime;

use tokio_postgres::types::{PgLsn, ToSql};
use tokio_postgres::{Client, Row};

use super::{Anchor, ResumePoint, Stuck};
use crate::model::{Lsn, Position};

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The catalog's database failed.
    #[error("the catalog's database refused a checkpoint")]
    Database(#[from] tokio_postgres::Error),
    /// `setup` has not been run for this source.
    #[error("source {source_name:?} has no checkpoint")]
    Missing {
        /// The source's name in the config file.
        source_name: String,
    },
    /// Another daemon has taken the slot, or the catalog was restored from an older copy.
    #[error("another daemon has taken over source {source_name:?}, or its record was restored")]
    Fenced {
        /// The source's name in the config file.
        source_name: String,
    },
    /// What is stored is not what this program writes.
    #[error("the stored checkpoint cannot be read: {column} is out of range")]
    Malformed {
        /// The column of `notifications.sources`.
        column: &'static str,
    },
}

impl CheckpointError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database(error) => error.code().is_none_or(|code| !code.code().starts_with("42")),
            Self::Fenced { .. } => true,
            Self::Missing { .. } | Self::Malformed { .. } => false,
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("run `webhookdb setup`".into()),
            Self::Malformed { .. } => {
                Some("restore notifications.sources from a backup, or run `webhookdb setup --accept-gap`".into())
            }
            Self::Database(_) => Some("check [catalog] url, and that `webhookdb setup` was run by this version".into()),
            Self::Fenced { .. } => None,
        }
    }
}

/// What the catalog holds of a source.
#[derive(Clone, Debug)]
pub struct SourceRecord {
    /// Raised by each daemon that takes the slot.
    pub epoch: i64,
    /// The slot that the checkpoint belongs to.
    pub slot: String,
    /// The publication that the checkpoint belongs to.
    pub publication: String,
    /// Tells a publication from one that was dropped and made again.
    pub publication_oid: u32,
    /// The server that the checkpoint belongs to.
    pub system_identifier: u64,
    /// The timeline that the checkpoint was made on.
    pub timeline: u32,
    /// How far everything is settled.
    pub point: ResumePoint,
}

impl SourceRecord {
    /// Raises the epoch of a source, and reads what was settled before.
    ///
    /// # Errors
    /// Where `setup` was not run, or the database fails.
    pub async fn take(client: &Client, source_name: &str) -> Result<Self, CheckpointError> {
        let row = client.query_opt(include_str!("../../sql/checkpoint/take_epoch.sql"), &[&source_name]).await?;
        row.ok_or_else(|| CheckpointError::Missing { source_name: source_name.into() })?.try_into()
    }

    /// What was settled before, as it is recorded now.
    ///
    /// # Errors
    /// Where `setup` was not run, or the database fails.
    pub async fn read(client: &Client, source_name: &str) -> Result<Self, CheckpointError> {
        let row = client.query_opt(include_str!("../../sql/checkpoint/record.sql"), &[&source_name]).await?;
        row.ok_or_else(|| CheckpointError::Missing { source_name: source_name.into() })?.try_into()
    }

    /// Records why it is not gone on from here, for `setup`, which can't see it; the next checkpoint forgets it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn refuse(client: &Client, source_name: &str, reason: &str) -> Result<(), CheckpointError> {
        let statement = "UPDATE notifications.sources SET refused = $2 WHERE name = $1 AND refused IS DISTINCT FROM $2";
        client.execute(statement, &[&source_name, &reason]).await?;
        Ok(())
    }
}

impl TryFrom<Row> for SourceRecord {
    type Error = CheckpointError;

    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let system_identifier: &str = row.try_get("system_identifier")?;
        Ok(Self {
            epoch: row.try_get("epoch")?,
            slot: row.try_get("slot")?,
            publication: row.try_get("publication")?,
            publication_oid: row.try_get("publication_oid")?,
            system_identifier: system_identifier
                .parse()
                .map_err(|_| CheckpointError::Malformed { column: "system_identifier" })?,
            timeline: narrow(&row, "timeline")?.ok_or(CheckpointError::Malformed { column: "timeline" })?,
            point: ResumePoint {
                position: Position::new(lsn(&row, "commit_lsn")?, unsigned(&row, "next_index")?),
                xid: narrow(&row, "commit_xid")?,
                flush_lsn: lsn(&row, "flush_lsn")?,
                anchor: anchor(&row)?,
            },
        })
    }
}

fn anchor(row: &Row) -> Result<Option<Anchor>, CheckpointError> {
    let Some(commit_lsn) = row.try_get::<_, Option<PgLsn>>("anchor_commit_lsn")? else { return Ok(None) };
    Ok(Some(Anchor {
        commit_lsn: Lsn::new(commit_lsn.into()),
        end_lsn: lsn(row, "anchor_end_lsn")?,
        xid: narrow(row, "anchor_xid")?.ok_or(CheckpointError::Malformed { column: "anchor_xid" })?,
        committed_at: row.try_get("anchor_committed_at")?,
    }))
}

fn lsn(row: &Row, column: &'static str) -> Result<Lsn, CheckpointError> {
    Ok(Lsn::new(row.try_get::<_, PgLsn>(column)?.into()))
}

fn unsigned(row: &Row, column: &'static str) -> Result<u64, CheckpointError> {
    u64::try_from(row.try_get::<_, i64>(column)?).map_err(|_| CheckpointError::Malformed { column })
}

fn narrow(row: &Row, column: &'static str) -> Result<Option<u32>, CheckpointError> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|value| u32::try_from(value).map_err(|_| CheckpointError::Malformed { column })).transpose()
}

/// Writes the checkpoint of one source under one epoch.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    source_name: String,
    epoch: i64,
    timeline: u32,
}

impl CheckpointStore {
    /// The epoch that it writes under.
    #[must_use]
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// For the holder of this epoch.
    #[must_use]
    pub const fn new(source_name: String, epoch: i64, timeline: u32) -> Self {
        Self { source_name, epoch, timeline }
    }

    /// Persists a point; only then may its `flush_lsn` be acknowledged. `last` is what was persisted before.
    ///
    /// # Errors
    /// Where the epoch is stale, the record is older than `last`, or the database fails.
    pub async fn persist(
        &self,
        client: &Client,
        point: &ResumePoint,
        last: &ResumePoint,
    ) -> Result<(), CheckpointError> {
        let anchor = point.anchor.as_ref();
        let committed_at: Option<SystemTime> = anchor.map(|anchor| anchor.committed_at);
        let updated = client
            .execute(
                include_str!("../../sql/checkpoint/persist.sql"),
                &[
                    &self.source_name,
                    &self.epoch,
                    &i64::from(self.timeline),
                    &PgLsn::from(point.position.commit_lsn.get()),
                    &i64::try_from(point.position.index).unwrap_or(i64::MAX),
                    &point.xid.map(i64::from),
                    &PgLsn::from(point.flush_lsn.get()),
                    &anchor.map(|anchor| PgLsn::from(anchor.commit_lsn.get())),
                    &anchor.map(|anchor| PgLsn::from(anchor.end_lsn.get())),
                    &anchor.map(|anchor| i64::from(anchor.xid)),
                    &committed_at,
                    &PgLsn::from(last.position.commit_lsn.get()),
                    &i64::try_from(last.position.index).unwrap_or(i64::MAX),
                    &PgLsn::from(last.flush_lsn.get()),
                ],
            )
            .await?;
        if updated == 1 { Ok(()) } else { Err(CheckpointError::Fenced { source_name: self.source_name.clone() }) }
    }

    /// Records the transaction that the server cannot send, with what it said.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn record_stuck(&self, client: &Client, stuck: &Stuck, because: &str) -> Result<(), CheckpointError> {
        let Stuck { commit_lsn, xid, committed_at } = stuck;
        let (commit_lsn, xid) = (PgLsn::from(commit_lsn.get()), i64::from(*xid));
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&self.source_name, &self.epoch, &commit_lsn, &xid, committed_at, &because];
        client.execute(include_str!("../../sql/checkpoint/stuck.sql"), &parameters).await?;
        Ok(())
    }
}
