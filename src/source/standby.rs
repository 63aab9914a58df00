//! A standby as the source: its slot is read there, and what has to be written goes to its primary.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;

use super::SourceError;
use crate::config::{PostgresUrl, SourceSettings};
use crate::model::Lsn;
use crate::postgres::PostgresError;

/// Standbys of earlier versions cannot decode their log.
const OLDEST_VERSION_NUM: i32 = 160_000;

/// How often it is looked how far a standby has replayed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Another snapshot is asked for so often while a slot is made: one may come before the slot waits for it.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(500);

/// Where a source is written: `None` for the server of its `url` itself, to which `client` is connected. Asked each time,
/// since a standby may be promoted at any time.
///
/// # Errors
/// Where the server is a standby that cannot be a source, with the remedy, or the query fails.
pub async fn primary_of<'a>(
    client: &Client,
    settings: &'a SourceSettings,
) -> Result<Option<&'a PostgresUrl>, SourceError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_version_num')::integer";
    let row = client.query_one(sql, &[]).await?;
    check(row.try_get(0)?, row.try_get(1)?, settings)?;
    Ok(settings.primary_url().filter(|_| row.get(0)))
}

/// Whether a server, if it is a standby, can be a source.
///
/// # Errors
/// Where it cannot, with the remedy.
pub fn check(in_recovery: bool, version_num: i32, settings: &SourceSettings) -> Result<(), SourceError> {
    match settings.primary_url() {
        _ if !in_recovery => Ok(()),
        _ if version_num < OLDEST_VERSION_NUM => Err(SourceError::StandbyTooOld { version: version_num / 10_000 }),
        None => Err(SourceError::StandbyAlone),
        Some(_) => Ok(()),
    }
}

/// Waits until the standby has replayed what the primary's log holds by now, at most for `patience`.
///
/// # Errors
/// Where that takes longer, or a query fails.
pub async fn catch_up(standby: &Client, primary: &Client, patience: Duration) -> Result<(), SourceError> {
    let end: PgLsn = primary.query_one("SELECT pg_catalog.pg_current_wal_lsn()", &[]).await?.try_get(0)?;
    let deadline = Instant::now() + patience;
    // One that was promoted in the meantime has nothing more to replay.
    let sql = "SELECT NOT pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_last_wal_replay_lsn() >= $1";
    while !standby.query_one(sql, &[&end]).await?.try_get::<_, bool>(0)? {
        if Instant::now() >= deadline {
            return Err(SourceError::StandbyBehind { needed: Lsn::new(end.into()) });
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Has the primary log what a standby waits for that makes a slot. Never returns but by an error.
///
/// A role that may not ask for it waits for what the primary logs by itself, within 15 seconds of any write.
///
/// # Errors
/// Where the primary is lost.
pub async fn keep_logging_snapshots(primary: &Client) -> SourceError {
    loop {
        let asked = primary.execute("SELECT pg_catalog.pg_log_standby_snapshot()", &[]).await;
        match asked.map_err(PostgresError::from) {
            Ok(_) => {}
            Err(error) if error.sqlstate() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                if let Err(error) = write_something(primary).await {
                    return error;
                }
            }
            Err(error) => return error.into(),
        }
        sleep(SNAPSHOT_INTERVAL).await;
    }
}

/// The primary logs snapshots only where something was written.
async fn write_something(primary: &Client) -> Result<(), SourceError> {
    Ok(primary.batch_execute("SELECT pg_catalog.pg_logical_emit_message(false, 'webhookdb', '')").await?)
}
