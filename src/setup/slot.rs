//! The slot as `setup` makes it, adopts it, or makes it anew after a gap.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::SetupError;
use crate::model::Lsn;
use crate::source::{SlotState, SourceError, publication, slot, standby};

/// Making a slot waits for the transactions that are open; a minute outlasts those of ordinary applications.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait for open transactions looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The server that has the slot, and the one that is written.
pub(super) struct SlotMaker<'a> {
    /// Where the slot is.
    pub(super) client: &'a Client,
    /// Its primary, where it is a standby.
    pub(super) primary: Option<&'a Client>,
    /// Whether standbys are to get the slot too.
    pub(super) failover: bool,
}

impl SlotMaker<'_> {
    /// Makes the slot and returns its position.
    pub(super) async fn make(&self, name: &str) -> Result<Lsn, SourceError> {
        let making = slot::create(self.client, name, self.failover, PATIENCE);
        let Some(primary) = self.primary else { return making.await };
        // A slot that is older there than the publication could not be read.
        standby::catch_up(self.client, primary, PATIENCE).await?;
        tokio::select! {
            biased;
            made = making => made,
            error = standby::keep_logging_snapshots(primary) => Err(error),
        }
    }

    /// Drops the slot if it is there, and makes it again.
    pub(super) async fn make_anew(&self, name: &str) -> Result<Lsn, SourceError> {
        match slot::drop(self.client, name).await {
            Ok(()) | Err(SourceError::SlotMissing { .. }) => self.make(name).await,
            Err(error) => Err(error),
        }
    }

    /// Takes on a slot that a DBA has made, and moves it up to now. Nobody is owed anything from before, for there is no
    /// checkpoint; and the log from before may be older than the publication, which no server can read.
    pub(super) async fn adopt(&self, slot: &SlotState, database: &str) -> Result<Lsn, SetupError> {
        slot.check(database)?;
        wait_for_open_transactions(self.primary.unwrap_or(self.client)).await?;
        if let Some(primary) = self.primary {
            standby::catch_up(self.client, primary, PATIENCE).await?;
        }
        Ok(slot::advance_to_the_end(self.client, &slot.slot).await?)
    }
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
