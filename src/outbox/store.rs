//! A batch of operations in one transaction, under the source's epoch.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use tokio_postgres::types::{PgLsn, ToSql};
use tokio_postgres::{Client, Transaction};

use super::{Operation, Stored, attempt_log, by_hand};
use crate::model::{AttemptRecord, Event, RowKeys};
use crate::postgres::PostgresError;

/// Why the outbox could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The catalog's database failed.
    #[error("the catalog's database failed the outbox")]
    Database(#[from] tokio_postgres::Error),
    /// The catalog's database is not reached.
    #[error("the catalog's database is not reached")]
    Unreachable(#[from] PostgresError),
    /// Another daemon has taken over: what this one holds is no longer its to write.
    #[error("another daemon has taken over the outbox of source {source_name:?}")]
    Fenced {
        /// The source's name in the config file.
        source_name: String,
    },
    /// A stored row is not what this program writes.
    #[error("a row of the outbox cannot be read: {column} is out of range")]
    Malformed {
        /// The column of `notifications.outbox`.
        column: &'static str,
    },
}

/// Writes for the holder of one epoch of one source.
#[derive(Clone, Debug)]
pub struct OutboxStore {
    source_name: String,
    epoch: i64,
}

type Parameters<'a> = [&'a (dyn ToSql + Sync)];

/// A daemon that is stopped, or whose network is gone, amid a transaction still holds its lock: the server ends it after this,
/// since a takeover waits for that lock.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// The server counts a transaction as idle until all of the next message has come: a large body gets the time that a slow
/// network takes for it.
const BYTES_PER_SECOND_MIN: usize = 1 << 20;

impl OutboxStore {
    /// For the holder of this epoch.
    #[must_use]
    pub const fn new(source_name: String, epoch: i64) -> Self {
        Self { source_name, epoch }
    }

    /// The source whose outbox it writes.
    pub(super) fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Writes a batch: all of it or nothing. The operations of one row stand in the order store, reschedule, resolve.
    ///
    /// # Errors
    /// Where the epoch is stale, or the database fails; the batch may then be written again.
    pub async fn write(&self, client: &mut Client, batch: &[Operation]) -> Result<Vec<Stored>, OutboxError> {
        let transaction = self.begin(client).await?;
        let stored = self.store(&transaction, batch).await?;
        reschedule(&transaction, batch).await?;
        fail(&transaction, batch).await?;
        self.deliver(&transaction, batch).await?;
        by_hand::record(&transaction, batch).await?;
        transaction.commit().await?;
        Ok(stored)
    }

    /// Removes marks that are of no more use, and what was kept for `retention`: failures, and what subscriptions were owed when
    /// they were deactivated.
    ///
    /// # Errors
    /// Where the epoch is stale, or the database fails.
    pub async fn clean(&self, client: &mut Client, retention: Duration) -> Result<(), OutboxError> {
        let transaction = self.begin(client).await?;
        let statement = include_str!("../../sql/outbox/clean.sql");
        let mut events = transaction.query(statement, &[&self.source_name, &retention.as_secs_f64()]).await?;
        let statement = include_str!("../../sql/outbox/clean_deactivated.sql");
        events.extend(transaction.query(statement, &[&self.source_name, &retention.as_secs_f64()]).await?);
        remove_bodies(&transaction, events.iter().map(|row| row.get(0)).collect()).await?;
        Ok(transaction.commit().await?)
    }

    /// Removes bodies that nothing refers to any more; returns how many.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn sweep(&self, client: &mut Client) -> Result<u64, OutboxError> {
        let transaction = client.transaction().await?;
        // No writer of any source may be about to refer to one that is there.
        let statement = "SELECT name FROM notifications.sources ORDER BY name FOR UPDATE";
        transaction.execute(statement, &[]).await?;
        let swept = transaction.execute(include_str!("../../sql/outbox/sweep_bodies.sql"), &[]).await?;
        transaction.commit().await?;
        Ok(swept)
    }

    /// Forgets everything of a subscription that was deleted.
    ///
    /// # Errors
    /// Where the epoch is stale, or the database fails.
    pub async fn purge(&self, client: &mut Client, subscription: i64) -> Result<(), OutboxError> {
        let transaction = self.begin(client).await?;
        let events =
            transaction.query(include_str!("../../sql/outbox/purge.sql"), &[&subscription, &self.source_name]).await?;
        remove_bodies(&transaction, events.iter().map(|row| row.get(0)).collect()).await?;
        Ok(transaction.commit().await?)
    }

    async fn begin<'a>(&self, client: &'a mut Client) -> Result<Transaction<'a>, OutboxError> {
        let transaction = client.transaction().await?;
        transaction.batch_execute("SET LOCAL synchronous_commit = on").await?;
        let_idle(&transaction, IDLE_MAX).await?;
        let statement = transaction.prepare(include_str!("../../sql/outbox/fence.sql")).await?;
        match transaction.query_opt(&statement, &[&self.source_name, &self.epoch]).await? {
            Some(_) => Ok(transaction),
            None => Err(OutboxError::Fenced { source_name: self.source_name.clone() }),
        }
    }

    async fn store(&self, transaction: &Transaction<'_>, batch: &[Operation]) -> Result<Vec<Stored>, OutboxError> {
        let (mut subscriptions, mut events, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for operation in batch {
            if let Operation::Store { subscription, event, body } = operation {
                subscriptions.push(*subscription);
                events.push(event.as_ref());
                bodies.push(body.bytes().as_ref());
            }
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let column = EventColumns::of(&events);
        store_bodies(transaction, &column.id, &bodies).await?;
        let parameters: &Parameters<'_> = &[
            &self.source_name,
            &subscriptions,
            &column.id,
            &column.commit_lsn,
            &column.index,
            &column.committed_at,
            &column.relation_oid,
            &column.keys,
        ];
        let rows = transaction.query(include_str!("../../sql/outbox/store.sql"), parameters).await?;
        Ok(rows.iter().map(|row| Stored { event_id: row.get(0), subscription: row.get(1), seq: row.get(2) }).collect())
    }

    async fn deliver(&self, transaction: &Transaction<'_>, batch: &[Operation]) -> Result<(), OutboxError> {
        let (mut subscriptions, mut events) = (Vec::new(), Vec::new());
        for operation in batch {
            if let Operation::Delivered { subscription, event_id } = operation {
                subscriptions.push(*subscription);
                events.push(event_id.as_str());
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        let mark = include_str!("../../sql/outbox/mark_delivered.sql");
        execute(transaction, mark, &[&self.source_name, &subscriptions, &events]).await?;
        execute(transaction, include_str!("../../sql/outbox/remove_delivered.sql"), &[&subscriptions, &events]).await?;
        remove_bodies(transaction, events).await
    }
}

/// The columns of some events, for `unnest`.
struct EventColumns<'a> {
    id: Vec<&'a str>,
    commit_lsn: Vec<PgLsn>,
    index: Vec<i64>,
    committed_at: Vec<SystemTime>,
    relation_oid: Vec<u32>,
    keys: Vec<Option<String>>,
}

impl<'a> EventColumns<'a> {
    fn of(events: &[&'a Event]) -> Self {
        Self {
            id: events.iter().map(|event| event.id.as_str()).collect(),
            commit_lsn: events.iter().map(|event| event.position.commit_lsn.get().into()).collect(),
            index: events.iter().map(|event| i64::try_from(event.position.index).unwrap_or(i64::MAX)).collect(),
            committed_at: events.iter().map(|event| event.committed_at).collect(),
            relation_oid: events.iter().map(|event| event.relation_oid).collect(),
            keys: events.iter().map(|event| array_text(&event.keys)).collect(),
        }
    }
}

/// A statement takes bodies of so many bytes, since it copies them: twice, until the server has them. A larger body goes alone.
pub(super) const PORTION: usize = 4 << 20;

/// Each body once, however many subscriptions are owed it.
async fn store_bodies(transaction: &Transaction<'_>, ids: &[&str], bodies: &[&[u8]]) -> Result<(), OutboxError> {
    let statement = include_str!("../../sql/outbox/store_bodies.sql");
    for Portion { ids, bodies, bytes } in portions(ids, bodies) {
        if bytes <= PORTION {
            execute(transaction, statement, &[&ids, &bodies]).await?;
            continue;
        }
        let patience = Duration::from_secs((bytes / BYTES_PER_SECOND_MIN) as u64);
        let_idle(transaction, IDLE_MAX + patience).await?;
        execute(transaction, statement, &[&ids, &bodies]).await?;
        let_idle(transaction, IDLE_MAX).await?;
    }
    Ok(())
}

/// The server ends the transaction once it has waited for so long.
async fn let_idle(transaction: &Transaction<'_>, patience: Duration) -> Result<(), OutboxError> {
    let milliseconds = patience.as_millis();
    let statement = format!("SET LOCAL idle_in_transaction_session_timeout = {milliseconds}");
    Ok(transaction.batch_execute(&statement).await?)
}

#[derive(Default)]
struct Portion<'a> {
    ids: Vec<&'a str>,
    bodies: Vec<&'a [u8]>,
    bytes: usize,
}

fn portions<'a>(ids: &[&'a str], bodies: &[&'a [u8]]) -> Vec<Portion<'a>> {
    let mut seen = HashSet::new();
    let mut portions: Vec<Portion<'a>> = Vec::new();
    for (id, body) in ids.iter().zip(bodies).filter(|(id, _)| seen.insert(**id)) {
        if portions.last().is_none_or(|portion| portion.bytes + body.len() > PORTION) {
            portions.push(Portion::default());
        }
        if let Some(portion) = portions.last_mut() {
            portion.ids.push(id);
            portion.bodies.push(body);
            portion.bytes += body.len();
        }
    }
    portions
}

/// An array's text, since `unnest` takes arrays of arrays apart.
fn array_text(keys: &RowKeys) -> Option<String> {
    let RowKeys::Rows(keys) = keys else { return None };
    let keys: Vec<String> = keys.iter().map(|key| key.cast_signed().to_string()).collect();
    Some(format!("{{{}}}", keys.join(",")))
}

/// Failed attempts, column by column.
#[derive(Default)]
struct AttemptColumns<'a> {
    subscriptions: Vec<i64>,
    events: Vec<&'a str>,
    attempts: Vec<i32>,
    waits: Vec<f64>,
    ages: Vec<f64>,
    errors: Vec<&'a str>,
    logs: Vec<String>,
}

impl<'a> AttemptColumns<'a> {
    fn push(&mut self, subscription: i64, event_id: &'a str, age: Duration, record: &'a AttemptRecord) {
        self.subscriptions.push(subscription);
        self.events.push(event_id);
        self.attempts.push(record.attempt.cast_signed());
        self.ages.push(age.as_secs_f64());
        self.errors.push(&record.reason);
        self.logs.push(attempt_log::entry(record, false));
    }
}

async fn reschedule(transaction: &Transaction<'_>, batch: &[Operation]) -> Result<(), OutboxError> {
    let mut column = AttemptColumns::default();
    let mut places = HashMap::new();
    // The last word on a row counts: an UPDATE that finds two takes either.
    for operation in batch.iter().rev() {
        let Operation::Reschedule { subscription, event_id, wait, age, record } = operation else { continue };
        match places.entry((subscription, event_id)) {
            Entry::Vacant(place) => {
                place.insert(column.events.len());
                column.push(*subscription, event_id, *age, record);
                column.waits.push(wait.as_secs_f64());
            }
            Entry::Occupied(place) => attempt_log::prepend(&mut column.logs[*place.get()], record),
        }
    }
    if column.events.is_empty() {
        return Ok(());
    }
    let AttemptColumns { subscriptions, events, attempts, waits, ages, errors, logs } = &column;
    let statement = include_str!("../../sql/outbox/reschedule.sql");
    execute(transaction, statement, &[subscriptions, events, attempts, waits, ages, errors, logs]).await
}

async fn fail(transaction: &Transaction<'_>, batch: &[Operation]) -> Result<(), OutboxError> {
    let mut column = AttemptColumns::default();
    for operation in batch {
        if let Operation::Failed { subscription, event_id, age, record } = operation {
            column.push(*subscription, event_id, *age, record);
        }
    }
    if column.events.is_empty() {
        return Ok(());
    }
    let AttemptColumns { subscriptions, events, attempts, ages, errors, logs, .. } = &column;
    let statement = include_str!("../../sql/outbox/fail.sql");
    execute(transaction, statement, &[subscriptions, events, attempts, ages, errors, logs]).await
}

async fn remove_bodies(transaction: &Transaction<'_>, events: Vec<&str>) -> Result<(), OutboxError> {
    if events.is_empty() {
        return Ok(());
    }
    execute(transaction, include_str!("../../sql/outbox/remove_bodies.sql"), &[&events]).await
}

async fn execute(
    transaction: &Transaction<'_>,
    statement: &str,
    parameters: &Parameters<'_>,
) -> Result<(), OutboxError> {
    transaction.execute(statement, parameters).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_once_and_large_ones_alone() {
        let (small, large) = (vec![0; PORTION / 2], vec![0; 2 * PORTION]);
        let bodies: Vec<&[u8]> = vec![&small, &small, &large, &large, &small];
        let sent: Vec<_> =
            portions(&["a", "b", "c", "c", "d"], &bodies).into_iter().map(|portion| portion.ids).collect();
        assert_eq!(sent, [vec!["a", "b"], vec!["c"], vec!["d"]]);
    }
}
