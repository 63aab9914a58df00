//! The replication slot: what the server says of it, whether it can be read from, and its making.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Row};

use super::{Invalidation, SourceError};
use crate::model::Lsn;
use crate::postgres::PostgresError;

/// The output plugin that every slot of ours has.
const PLUGIN: &str = "pgoutput";

const STATE: &str = include_str!("../../sql/source/slot_state.sql");

/// What the server says of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Its name.
    pub slot: String,
    /// Its output plugin; none for a physical slot.
    pub plugin: Option<String>,
    /// Whether it is a logical one.
    pub logical: bool,
    /// Its database; none for a physical slot.
    pub database: Option<String>,
    /// Whether it goes with its session.
    pub temporary: bool,
    /// The walsender that reads from it.
    pub active_pid: Option<i32>,
    /// Who that is, where we may see it: application name and address.
    pub holder: Option<String>,
    /// Where the log that it holds back begins.
    pub restart_lsn: Option<Lsn>,
    /// Where its next reading begins.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// How many bytes may still be written before it is in danger; none without a limit.
    pub safe_wal_size: Option<i64>,
    /// Whether it decodes prepared transactions.
    pub two_phase: bool,
    /// Why the server has given it up, where it has.
    pub invalidation: Option<Invalidation>,
    /// Whether standbys get it too (17 and later).
    pub failover: bool,
    /// Since when nobody has read from it, as the server prints it (17 and later).
    pub inactive_since: Option<String>,
    /// How far the server's log has got.
    pub current_lsn: Option<Lsn>,
    /// How many bytes of log it holds back.
    pub retained_bytes: Option<u64>,
}

impl SlotState {
    /// What the server says of the slot; `None` where there is no such slot.
    ///
    /// # Errors
    /// Where the query fails.
    pub async fn find(client: &Client, slot: &str) -> Result<Option<Self>, SourceError> {
        let Some(row) = client.query_opt(STATE, &[&slot]).await? else { return Ok(None) };
        let columns = (0..row.len()).map(|column| row.try_get(column)).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self::from_columns(slot, &columns)))
    }

    /// What the server says of the slot.
    ///
    /// # Errors
    /// Where there is no such slot, or the query fails.
    pub async fn read(client: &Client, slot: &str) -> Result<Self, SourceError> {
        Self::find(client, slot).await?.ok_or_else(|| SourceError::SlotMissing { slot: slot.to_owned() })
    }

    /// The query that gives the columns of [`Self::from_columns`], for the replication connection.
    pub(super) fn sql(slot: &str) -> String {
        STATE.replace("$1", &super::quote::literal(slot))
    }

    pub(super) fn from_columns(slot: &str, columns: &[Option<String>]) -> Self {
        let text = |column: usize| columns.get(column).cloned().flatten();
        let truth = |column: usize| text(column).as_deref() == Some("true");
        let lsn = |column: usize| text(column)?.parse().ok();
        Self {
            slot: slot.to_owned(),
            plugin: text(0),
            logical: text(1).as_deref() == Some("logical"),
            database: text(2),
            temporary: truth(3),
            active_pid: text(4).and_then(|pid| pid.parse().ok()),
            restart_lsn: lsn(5),
            confirmed_flush_lsn: lsn(6),
            wal_status: text(7),
            safe_wal_size: text(8).and_then(|bytes| bytes.parse().ok()),
            two_phase: truth(9),
            invalidation: Invalidation::from_columns(
                text(7).as_deref() == Some("lost"),
                text(10).as_deref(),
                truth(11),
                text(5).is_some(),
            ),
            failover: truth(12),
            inactive_since: text(13),
            current_lsn: lsn(14),
            retained_bytes: text(15).and_then(|bytes| bytes.parse().ok()),
            holder: holder(text(16), text(17)),
        }
    }

    /// Whether changes of this database can be read from it now.
    ///
    /// # Errors
    /// Where they cannot: each reason is an error of its own, with its remedy.
    pub fn check(&self, database: &str) -> Result<(), SourceError> {
        self.check_kind(database)?;
        let slot = self.slot.clone();
        if let Some(reason) = self.invalidation.clone() {
            return Err(SourceError::SlotInvalidated { slot, reason });
        }
        self.reader().map_or(Ok(()), |holder| Err(SourceError::SlotActive { slot, holder }))
    }

    /// Whether it is a pgoutput slot of this database, in use or not.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check_kind(&self, database: &str) -> Result<(), SourceError> {
        let slot = self.slot.clone();
        if !self.logical {
            return Err(SourceError::SlotPhysical { slot });
        }
        match self.plugin.as_deref().unwrap_or_default() {
            PLUGIN => {}
            plugin => return Err(SourceError::SlotPlugin { slot, plugin: plugin.to_owned() }),
        }
        match self.database.as_deref().unwrap_or_default() {
            own if own == database => Ok(()),
            other => Err(SourceError::SlotDatabase { slot, database: other.to_owned(), expected: database.to_owned() }),
        }
    }

    /// Who reads from it.
    #[must_use]
    pub fn reader(&self) -> Option<String> {
        let pid = self.active_pid?;
        Some(match &self.holder {
            Some(holder) => format!("PID {pid} ({holder})"),
            None => format!("PID {pid}"),
        })
    }
}

fn holder(application_name: Option<String>, address: Option<String>) -> Option<String> {
    let name = application_name.filter(|name| !name.is_empty());
    match (name, address) {
        (Some(name), Some(address)) => Some(format!("{name} from {address}")),
        (Some(name), None) => Some(name),
        (None, Some(address)) => Some(format!("from {address}")),
        (None, None) => None,
    }
}

/// Makes the slot, and returns the position from which on it gives every change. `failover`: standbys get it too, which
/// takes version 17 and a primary. That waits for the transactions that are
/// open now; after `patience` it is given up, and nothing is left behind.
///
/// # Errors
/// Where the server refuses (no slot free, `wal_level`, no right), with the remedy, or it takes longer.
pub async fn create(client: &Client, slot: &str, failover: bool, patience: Duration) -> Result<Lsn, SourceError> {
    client.batch_execute(&format!("SET statement_timeout = {}", patience.as_millis())).await?;
    // The argument is younger than the oldest version that is supported: it is named only where it is wanted.
    let failover = if failover { ", failover => true" } else { "" };
    let sql = format!("SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot($1, $2{failover})");
    let made = client.query_one(&sql, &[&slot, &PLUGIN]).await;
    client.batch_execute("RESET statement_timeout").await?;
    match made {
        Ok(row) => position(&row.try_get::<_, String>(0)?),
        Err(error) => Err(refused(client, slot, patience, error.into()).await),
    }
}

fn position(text: &str) -> Result<Lsn, SourceError> {
    text.parse().map_err(|error| PostgresError::Unexpected(Box::new(error)).into())
}

async fn refused(client: &Client, slot: &str, patience: Duration, error: PostgresError) -> SourceError {
    let PostgresError::Server(server) = error else { return error.into() };
    let slot = slot.to_owned();
    match server.sqlstate() {
        code if *code == SqlState::QUERY_CANCELED => SourceError::SlotWaits { slot, after: patience },
        code if *code == SqlState::DUPLICATE_OBJECT => SourceError::SlotExists { slot },
        code if *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED => SourceError::NoFreeSlot(Box::new(server)),
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE => match show(client, "current_user").await {
            Ok(role) => SourceError::NoReplicationRight { role, source: Box::new(server) },
            Err(error) => error,
        },
        code if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            match show(client, "pg_catalog.current_setting('wal_level')").await {
                Ok(level) if level != "logical" => SourceError::WalLevel { level },
                _ if is_standby(client).await => SourceError::PrimaryWalLevel(Box::new(server)),
                _ => server.into(),
            }
        }
        _ => server.into(),
    }
}

async fn is_standby(client: &Client) -> bool {
    show(client, "pg_catalog.pg_is_in_recovery()").await.is_ok_and(|answer| answer == "true")
}

async fn show(client: &Client, expression: &str) -> Result<String, SourceError> {
    Ok(client.query_one(&format!("SELECT ({expression})::text"), &[]).await?.try_get(0)?)
}

/// Where a slot must be confirmed so that exactly the transaction of this commit, and no later one, is not sent any more:
/// those are sent whose commit record begins at the slot's position or beyond.
#[must_use]
pub const fn after_commit(commit_lsn: Lsn) -> Lsn {
    Lsn::new(commit_lsn.get() + 1)
}

/// Moves the slot up, where nobody reads from it, and returns where it is then. Nothing is put into words by that, so it
/// gets past what cannot be. What the server does not write to disk at once, so that a crash may take it back.
///
/// # Errors
/// Where the slot is in use, or cannot be moved there.
pub async fn advance(client: &Client, slot: &str, to: Lsn) -> Result<Lsn, SourceError> {
    let sql = "SELECT end_lsn::text FROM pg_catalog.pg_replication_slot_advance($1, $2)";
    advanced(client, slot, client.query_one(sql, &[&slot, &PgLsn::from(to.get())]).await).await
}

/// The same, to where the log ends now (on a standby: has been replayed).
///
/// # Errors
/// As [`advance`].
pub async fn advance_to_the_end(client: &Client, slot: &str) -> Result<Lsn, SourceError> {
    let sql = "SELECT end_lsn::text FROM pg_catalog.pg_replication_slot_advance($1, CASE
                   WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                   ELSE pg_catalog.pg_current_wal_flush_lsn()
               END)";
    advanced(client, slot, client.query_one(sql, &[&slot]).await).await
}

async fn advanced(client: &Client, slot: &str, answer: Result<Row, tokio_postgres::Error>) -> Result<Lsn, SourceError> {
    match answer.map_err(PostgresError::from) {
        Ok(row) => position(&row.try_get::<_, String>(0)?),
        Err(error) if error.sqlstate() == Some(&SqlState::OBJECT_IN_USE) => Err(in_use(client, slot).await?),
        Err(error) => Err(error.into()),
    }
}

/// Drops the slot, where nobody reads from it.
///
/// # Errors
/// Where it does not exist, is in use, or the role may not.
pub async fn drop(client: &Client, slot: &str) -> Result<(), SourceError> {
    let dropped = client.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", &[&slot]).await;
    match dropped.map_err(PostgresError::from) {
        Ok(_) => Ok(()),
        Err(error) if error.sqlstate() == Some(&SqlState::UNDEFINED_OBJECT) => {
            Err(SourceError::SlotMissing { slot: slot.to_owned() })
        }
        Err(error) if error.sqlstate() == Some(&SqlState::OBJECT_IN_USE) => Err(in_use(client, slot).await?),
        Err(error) => Err(error.into()),
    }
}

async fn in_use(client: &Client, slot: &str) -> Result<SourceError, SourceError> {
    let state = SlotState::read(client, slot).await?;
    let holder = state.reader().unwrap_or_else(|| "a process that has just let it go".to_owned());
    Ok(SourceError::SlotActive { slot: slot.to_owned(), holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A healthy slot's columns, with some of them replaced.
    fn slot(changed: &[(usize, Option<&str>)]) -> SlotState {
        let healthy = ["pgoutput", "logical", "app", "false", "", "0/15", "0/16", "reserved", "", "false"];
        let mut columns = healthy.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty())).to_vec();
        columns.resize(18, None);
        for (column, value) in changed {
            columns[*column] = value.map(str::to_owned);
        }
        SlotState::from_columns("s", &columns)
    }

    #[test]
    fn a_healthy_slot_is_one_that_can_be_read_from() {
        let state = slot(&[(14, Some("0/20")), (15, Some("11"))]);
        assert!(state.check("app").is_ok());
        assert_eq!(state.confirmed_flush_lsn, Some(Lsn::new(0x16)));
        assert_eq!((state.current_lsn, state.retained_bytes), (Some(Lsn::new(0x20)), Some(11)));
    }

    #[test]
    fn each_reason_against_a_slot_is_an_error_of_its_own_with_a_remedy() {
        let reason = |changed: &[(usize, Option<&str>)]| {
            let error = slot(changed).check("app").unwrap_err();
            assert!(error.hint().is_some(), "{error}");
            error.to_string()
        };
        assert!(reason(&[(1, Some("physical")), (0, None), (2, None)]).contains("physical"));
        assert!(reason(&[(0, Some("test_decoding"))]).contains("test_decoding"));
        assert!(reason(&[(2, Some("other"))]).contains("\"other\""));
        assert!(reason(&[(7, Some("lost"))]).contains("max_slot_wal_keep_size"));
        assert!(reason(&[(7, Some("lost")), (10, Some("idle_timeout"))]).contains("idle_replication_slot_timeout"));
        assert!(reason(&[(10, Some("wal_level_insufficient"))]).contains("wal_level"));
        assert!(reason(&[(11, Some("true"))]).contains("conflicted"));
        let lost_in_16 = [(5, None), (7, Some("lost")), (11, Some("true"))];
        assert!(reason(&lost_in_16).contains("max_slot_wal_keep_size"));
        assert!(reason(&[(10, Some("rows_removed")), (11, Some("true"))]).contains("removed by the primary"));
        assert!(reason(&[(10, Some("news"))]).contains("news"));
        assert!(reason(&[(4, Some("42"))]).contains("PID 42"));
        assert!(reason(&[(4, Some("42")), (16, Some("psql")), (17, Some("::1"))]).contains("PID 42 (psql from ::1)"));
    }
}
