//! What the outbox holds, paged back in order.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::{PgLsn, ToSql};

use super::OutboxError;
use crate::model::{Event, Lsn, Position, Replay, RowKeys};
use crate::postgres::Link;

/// A row that is owed.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Its place in the outbox.
    pub seq: i64,
    /// The change.
    pub event: Event,
    /// Its body, where the page had room for it.
    pub body: Option<Bytes>,
    /// The size of its body.
    pub body_bytes: usize,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How long until the next attempt.
    pub due_in: Duration,
    /// How long since it first became due.
    pub age: Duration,
}

/// What a daemon that takes over finds for one subscription.
#[derive(Clone, Debug, Default)]
pub struct Resumed {
    /// How many rows are owed.
    pub owed: usize,
    /// What the log may bring again.
    pub replay: Replay,
}

/// A page is the next rows of an index. A planner that has no statistics yet, of a table that was empty a minute ago, would rather
/// find all that are owed and sort them, for each page anew.
const IN_ORDER: &str = "SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off";

/// Reads the outbox of every lane.
#[derive(Clone, Debug)]
pub struct OutboxReader {
    link: Arc<Link>,
}

impl OutboxReader {
    /// Over this connection.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self { link: Arc::new(link.with_settings(IN_ORDER)) }
    }

    /// What a source's outbox holds, per subscription, for a log that is read again from `from`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn resume(&self, source_name: &str, from: Position) -> Result<HashMap<i64, Resumed>, OutboxError> {
        let client = self.link.client().await?;
        let statement = include_str!("../../sql/outbox/resume.sql");
        let from_lsn = PgLsn::from(from.commit_lsn.get());
        let from_index = i64::try_from(from.index).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 3] = [&source_name, &from_lsn, &from_index];
        // One by one: what is resolved may be many.
        let mut rows = pin!(client.query_raw(statement, parameters).await?);
        let mut found: HashMap<i64, Resumed> = HashMap::new();
        while let Some(row) = rows.try_next().await? {
            let resumed = found.entry(row.try_get("subscription")?).or_default();
            match row.try_get("resolved")? {
                Some(event_id) => resumed.replay.add_resolved(event_id),
                None => summarize(&row, resumed)?,
            }
        }
        Ok(found)
    }

    /// The next rows that a subscription is owed of a source beyond `after`, at most `limit`, with bodies of at most `bytes` in sum.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn page(
        &self,
        source_name: &str,
        subscription: i64,
        after: i64,
        limit: i64,
        bytes: i64,
    ) -> Result<Vec<OutboxRow>, OutboxError> {
        let client = self.link.client().await?;
        let statement = include_str!("../../sql/outbox/page.sql");
        let rows = client.query(statement, &[&subscription, &after, &limit, &bytes, &source_name]).await?;
        rows.iter().map(outbox_row).collect()
    }

    /// The body of a change, where it is still there; `bytes` is its size. It is read in pieces: the connection keeps a buffer of
    /// the largest answer, and the body itself is a copy out of that.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn body(&self, event_id: &str, bytes: usize) -> Result<Option<Bytes>, OutboxError> {
        let client = self.link.client().await?;
        let statement = "SELECT substring(body FROM $2 FOR $3) FROM notifications.outbox_bodies WHERE event_id = $1";
        let mut body = Vec::with_capacity(bytes);
        loop {
            let from = i32::try_from(body.len() + 1).map_err(|_| OutboxError::Malformed { column: "body" })?;
            let Some(row) = client.query_opt(statement, &[&event_id, &from, &PIECE]).await? else { return Ok(None) };
            let piece: &[u8] = row.try_get(0)?;
            body.extend_from_slice(piece);
            if body.len() >= bytes || piece.is_empty() {
                return Ok(Some(Bytes::from(body)));
            }
        }
    }
}

/// What is read of a large body at once.
const PIECE: i32 = 4 << 20;

fn summarize(row: &Row, resumed: &mut Resumed) -> Result<(), OutboxError> {
    let replay_until: Option<PgLsn> = row.try_get("replay_until")?;
    resumed.owed = usize::try_from(row.try_get::<_, i64>("owed")?).unwrap_or_default();
    resumed.replay.cover(replay_until.map(|lsn| Position::new(Lsn::new(lsn.into()), u64::MAX)));
    Ok(())
}

fn outbox_row(row: &Row) -> Result<OutboxRow, OutboxError> {
    let commit_lsn: PgLsn = row.try_get("commit_lsn")?;
    let index =
        u64::try_from(row.try_get::<_, i64>("index")?).map_err(|_| OutboxError::Malformed { column: "index" })?;
    let keys: Option<Vec<i64>> = row.try_get("keys")?;
    let keys = keys.map_or(RowKeys::Table, |keys| RowKeys::Rows(keys.into_iter().map(i64::cast_unsigned).collect()));
    Ok(OutboxRow {
        seq: row.try_get("seq")?,
        event: Event {
            id: row.try_get("event_id")?,
            position: Position::new(Lsn::new(commit_lsn.into()), index),
            committed_at: row.try_get("committed_at")?,
            relation_oid: row.try_get("relation_oid")?,
            keys,
        },
        body: row.try_get::<_, Option<Vec<u8>>>("body")?.map(Bytes::from),
        body_bytes: usize::try_from(row.try_get::<_, i32>("body_bytes")?).unwrap_or_default(),
        attempts: row.try_get::<_, i32>("attempts")?.cast_unsigned(),
        due_in: seconds(row, "due_in")?,
        age: seconds(row, "age")?,
    })
}

fn seconds(row: &Row, column: &'static str) -> Result<Duration, OutboxError> {
    Duration::try_from_secs_f64(row.try_get(column)?).map_err(|_| OutboxError::Malformed { column })
}
