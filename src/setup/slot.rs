//! The slot as `setup` makes it, adopts it, or makes it anew after a gap.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::SetupError;
use crate::model::Lsn;
use crate::postgres::PostgresError;
use crate::source::{SlotState, SourceError, publication, slot};

/// Making a slot waits for the transactions that are open; a minute outlasts those of ordinary applications.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait for open transactions looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Makes the slot and returns its position.
pub(super) async fn make(client: &Client, name: &str) -> Result<Lsn, SourceError> {
    slot::create(client, name, PATIENCE).await
}

/// Drops the slot if it is there, and makes it again.
pub(super) async fn make_anew(client: &Client, name: &str) -> Result<Lsn, SourceError> {
    match slot::drop(client, name).await {
        Ok(()) | Err(SourceError::SlotMissing { .. }) => make(client, name).await,
        Err(error) => Err(error),
    }
}

/// Takes on a slot that a DBA has made, and moves it up to now. Nobody is owed anything from before, for there is no
/// checkpoint; and the log from before may be older than the publication, which no server can read.
pub(super) async fn adopt(client: &Client, slot: &SlotState, database: &str) -> Result<Lsn, SetupError> {
    slot.check(database)?;
    wait_for_open_transactions(client).await?;
    let statement = "SELECT end_lsn::text
                     FROM pg_catalog.pg_replication_slot_advance($1, pg_catalog.pg_current_wal_flush_lsn())";
    let row = client.query_one(statement, &[&slot.slot]).await.map_err(PostgresError::from)?;
    let end: String = row.try_get(0).map_err(PostgresError::from)?;
    end.parse().map_err(|error| PostgresError::Unexpected(Box::new(error)).into())
}

async fn wait_for_open_transactions(client: &Client) -> Result<(), SetupError> {
    let deadline = Instant::now() + PATIENCE;
    let next = publication::next_xid(client).await?;
    while publication::oldest_xid(client).await? < next {
        if Instant::now() >= deadline {
            return Err(SetupError::OpenTransactions);
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}
