//! Notifications that were given up, and which of them a retry by hand is to send.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde_json::Value;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Row};

use super::CatalogError;
use crate::model::Lsn;

/// A notification that was given up.
#[derive(Clone, Debug)]
pub struct FailedNotification {
    /// The change's id.
    pub event_id: String,
    /// Where the change was read.
    pub source: String,
    /// Its transaction's commit position.
    pub commit_lsn: Lsn,
    /// Its place in the transaction.
    pub index: i64,
    /// When it was committed.
    pub committed_at: SystemTime,
    /// Schema and name of the table.
    pub table: String,
    /// Automatic attempts, all of which failed.
    pub attempts: i32,
    /// When the last one was made.
    pub last_attempt_at: Option<SystemTime>,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// Each attempt that failed, those by hand too.
    pub attempt_log: Value,
}

/// The failed notifications of a subscription, the newest change first, at most `limit`; and how many there are in all.
///
/// # Errors
/// Where the database fails.
pub async fn list(
    client: &Client,
    subscription: i64,
    limit: i64,
) -> Result<(Vec<FailedNotification>, i64), CatalogError> {
    let rows = client.query(include_str!("../../sql/catalog/failures.sql"), &[&subscription, &limit]).await?;
    let total = rows.first().map_or(Ok(0), |row| row.try_get("total"))?;
    Ok((rows.iter().map(read).collect::<Result<_, _>>()?, total))
}

fn read(row: &Row) -> Result<FailedNotification, CatalogError> {
    let commit_lsn: PgLsn = row.try_get("commit_lsn")?;
    let attempt_log = serde_json::from_str(row.try_get("attempt_log")?);
    Ok(FailedNotification {
        event_id: row.try_get("event_id")?,
        source: row.try_get("source")?,
        commit_lsn: Lsn::new(commit_lsn.into()),
        index: row.try_get("index")?,
        committed_at: row.try_get("committed_at")?,
        table: row.try_get("table_name")?,
        attempts: row.try_get("attempts")?,
        last_attempt_at: row.try_get("last_attempt_at")?,
        last_error: row.try_get("last_error")?,
        attempt_log: attempt_log.map_err(|error| CatalogError::Unreadable {
            kind: "record of attempts".to_owned(),
            source: error.into(),
        })?,
    })
}

/// A notification that may be sent again by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the outbox: the order of the log.
    pub seq: i64,
    /// The change's id.
    pub event_id: String,
    /// `owed`, `failed` or `delivered`.
    pub state: String,
    /// Source and OID of its table.
    pub table: (String, u32),
    /// The rows that it touches; none: all of its table.
    pub keys: Option<Vec<i64>>,
}

impl Candidate {
    /// Whether the two must not be sent at the same time, since they are about one row.
    #[must_use]
    pub fn is_tied_to(&self, other: &Self) -> bool {
        self.table == other.table
            && match (&self.keys, &other.keys) {
                (Some(own), Some(others)) => own.iter().any(|key| others.contains(key)),
                _ => true,
            }
    }
}

/// Takes the next ones, at most `room`, up to the first that is tied to one that is under way or taken before it: changes of
/// one row are sent one at a time, in their order.
pub fn take_untied<'a>(
    waiting: &mut VecDeque<Candidate>,
    under_way: impl Iterator<Item = &'a Candidate> + Clone,
    room: usize,
) -> Vec<Candidate> {
    let mut taken: Vec<Candidate> = Vec::new();
    while taken.len() < room
        && let Some(next) = waiting.front()
        && !under_way.clone().any(|earlier| next.is_tied_to(earlier))
        && !taken.iter().any(|earlier| next.is_tied_to(earlier))
    {
        taken.extend(waiting.pop_front());
    }
    taken
}

/// How many failed notifications a subscription has, and the place of the last of them.
///
/// # Errors
/// Where the database fails.
pub async fn extent(client: &Client, subscription: i64) -> Result<(i64, i64), CatalogError> {
    let statement = "SELECT count(*), coalesce(max(seq), 0) FROM notifications.outbox
                     WHERE subscription = $1 AND state = 'failed'";
    let row = client.query_one(statement, &[&subscription]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Failed notifications beyond `after`, up to and with `last`, in the order of the log; at most `limit`.
///
/// # Errors
/// Where the database fails.
pub async fn page(
    client: &Client,
    subscription: i64,
    after: i64,
    last: i64,
    limit: i64,
) -> Result<Vec<Candidate>, CatalogError> {
    let statement = "SELECT seq, event_id, state, source, relation_oid, keys FROM notifications.outbox
                     WHERE subscription = $1 AND state = 'failed' AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4";
    let rows = client.query(statement, &[&subscription, &after, &last, &limit]).await?;
    rows.iter().map(candidate).collect()
}

/// What the outbox holds of these changes for a subscription, in the order of the log.
///
/// # Errors
/// Where the database fails.
pub async fn by_id(client: &Client, subscription: i64, event_ids: &[String]) -> Result<Vec<Candidate>, CatalogError> {
    let statement = "SELECT seq, event_id, state, source, relation_oid, keys FROM notifications.outbox
                     WHERE subscription = $1 AND event_id = ANY ($2) ORDER BY seq";
    let rows = client.query(statement, &[&subscription, &event_ids]).await?;
    rows.iter().map(candidate).collect()
}

fn candidate(row: &Row) -> Result<Candidate, CatalogError> {
    Ok(Candidate {
        seq: row.try_get("seq")?,
        event_id: row.try_get("event_id")?,
        state: row.try_get("state")?,
        table: (row.try_get("source")?, row.try_get("relation_oid")?),
        keys: row.try_get("keys")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(oid: u32, keys: Option<&[i64]>) -> Candidate {
        Candidate {
            seq: 1,
            event_id: "evt_1".to_owned(),
            state: "failed".to_owned(),
            table: ("main".to_owned(), oid),
            keys: keys.map(<[i64]>::to_vec),
        }
    }

    #[test]
    fn changes_of_one_row_are_tied_and_a_change_without_keys_is_tied_to_its_whole_table() {
        let row = candidate(7, Some(&[1, 2]));
        for (other, tied) in [
            (candidate(7, Some(&[2, 3])), true),
            (candidate(7, Some(&[3])), false),
            (candidate(7, None), true),
            (candidate(8, Some(&[1, 2])), false),
            (candidate(8, None), false),
        ] {
            assert_eq!((row.is_tied_to(&other), other.is_tied_to(&row)), (tied, tied), "{other:?}");
        }
    }

    #[test]
    fn what_is_tied_waits_and_holds_back_what_stands_behind_it() {
        let rows = [1, 2, 3, 2, 4].map(|key| candidate(7, Some(&[key])));
        let mut waiting = VecDeque::from(rows.clone());
        assert_eq!(take_untied(&mut waiting, [].iter(), 2), rows[..2]);
        assert_eq!(take_untied(&mut waiting, rows[..2].iter(), 9), rows[2..3], "the second change of 2 waits");
        assert_eq!(take_untied(&mut waiting, rows[2..3].iter(), 9), rows[3..]);
        assert!(waiting.is_empty());
    }
}
