//! `setup --skip-transaction`: past the one transaction that the server cannot send, and not a change further.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::assess::{self, Found};
use super::error::SetupError;
use super::report::{Note, Report};
use super::run::{connect, lock};
use crate::catalog::sources::{self, SourceState, StuckAt};
use crate::catalog::{leases, migrations};
use crate::config::{Settings, SourceSettings};
use crate::model::Lsn;
use crate::source::slot::{advance, after_commit};
use crate::source::{ReplicationConnection, SlotState, SourceError, publication};

/// A daemon that stands still there tries again and again: each try holds the slot while the server fails.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often it is looked whether the slot is free and the checkpoint has got there.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Skips the transaction of this commit in the one of these sources that stands still at it, and records the gap.
///
/// # Errors
/// Where none or several of them stand still there, something before it is not settled yet, the record and the server do not
/// fit, or a database fails.
pub async fn skip_transaction(
    settings: &Settings,
    sources: &[&SourceSettings],
    commit_lsn: Lsn,
    report: Report<'_>,
) -> Result<(), SetupError> {
    let catalog = connect(settings.catalog().url(), "the catalog").await?;
    migrations::check(&catalog).await?;
    lock(&catalog).await?;
    let (mut stuck_here, mut passed, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for source in sources {
        let Some(record) = sources::find(&catalog, source.name()).await? else { continue };
        let skip = Skip { catalog: &catalog, settings: source, commit_lsn };
        match record.stuck {
            Some(stuck) if stuck.commit_lsn == commit_lsn => stuck_here.push((skip, stuck)),
            Some(stuck) => others.push(stuck.commit_lsn),
            None if record.flush_lsn > commit_lsn
                && sources::was_skipped(&catalog, source.name(), commit_lsn).await? =>
            {
                passed.push(skip);
            }
            None => {}
        }
    }
    match (stuck_here.as_slice(), passed.as_slice()) {
        ([(skip, stuck)], _) => skip.skip(stuck, report).await,
        ([], [skip]) => {
            report(Note::found(format!("the transaction of commit {commit_lsn} was skipped already")));
            skip.move_slot(&skip.connect().await?, report).await
        }
        ([], []) => Err(SetupError::NotStuck { commit_lsn, others }),
        _ => {
            let several = stuck_here.iter().map(|(skip, _)| skip).chain(&passed);
            let sources = several.map(|skip| skip.settings.name().to_owned()).collect();
            Err(SetupError::StuckAlike { commit_lsn, sources })
        }
    }
}

struct Skip<'a> {
    catalog: &'a Client,
    settings: &'a SourceSettings,
    commit_lsn: Lsn,
}

impl Skip<'_> {
    async fn connect(&self) -> Result<Client, SetupError> {
        connect(self.settings.url(), &format!("source {}", self.settings.name())).await
    }

    async fn skip(&self, stuck: &StuckAt, report: Report<'_>) -> Result<(), SetupError> {
        let source = self.connect().await?;
        let record = self.wait_until_settled(&source).await?;
        let name = self.settings.name();
        let reason = format!(
            "transaction {} was skipped after the {} of its changes that could be sent: {}",
            stuck.xid, record.next_index, stuck.because
        );
        // Recorded first: the slot is never ahead of the checkpoint.
        let after = after_commit(self.commit_lsn);
        if !sources::skip(self.catalog, name, self.commit_lsn, after, &reason).await? {
            return Err(self.unsettled(&record));
        }
        report(Note::done(format!(
            "the checkpoint of source {name} is past {}; the gap is recorded: {reason}",
            self.commit_lsn
        )));
        self.move_slot(&source, report).await
    }

    /// Returns the record once everything before the transaction is settled and nobody reads from the slot. Waits for a
    /// daemon only where one lives.
    async fn wait_until_settled(&self, source: &Client) -> Result<SourceState, SetupError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let slot = SlotState::read(source, self.settings.slot()).await?;
            let record = self.check(source, &slot).await?;
            let problem = match slot.check(&self.settings.url().database) {
                Err(error @ SourceError::SlotActive { .. }) => error.into(),
                Err(error) => return Err(error.into()),
                Ok(()) if record.commit_lsn != self.commit_lsn => self.unsettled(&record),
                Ok(()) => return Ok(record),
            };
            let live = leases::live(self.catalog).await?;
            if live.iter().all(|lease| lease.source != self.settings.name()) || Instant::now() >= deadline {
                return Err(problem);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn unsettled(&self, record: &SourceState) -> SetupError {
        let (name, commit_lsn) = (self.settings.name().to_owned(), self.commit_lsn);
        SetupError::Unsettled { name, commit_lsn, checkpoint: record.commit_lsn }
    }

    /// The record as it is now, where it and the server fit.
    async fn check(&self, source: &Client, slot: &SlotState) -> Result<SourceState, SetupError> {
        let name = self.settings.name().to_owned();
        let system = ReplicationConnection::connect(self.settings.url()).await?.identify_system().await?;
        let publication = publication::publication_state(source, self.settings.publication()).await?;
        let found = Found { system_identifier: system.system_identifier, publication, slot: Some(slot.clone()) };
        let record = sources::find(self.catalog, &name).await?.ok_or_else(|| SetupError::NotSetUp(name.clone()))?;
        match assess::discord(self.settings, &record, &found) {
            Some(discord) => Err(SetupError::Discord { name, discord }),
            None => Ok(record),
        }
    }

    async fn move_slot(&self, source: &Client, report: Report<'_>) -> Result<(), SetupError> {
        let (name, after) = (self.settings.slot(), after_commit(self.commit_lsn));
        let slot = SlotState::read(source, name).await?;
        if slot.confirmed_flush_lsn.is_some_and(|confirmed| confirmed >= after) {
            report(Note::found(format!("slot {name} is past the transaction")));
            return Ok(());
        }
        match advance(source, name, after).await {
            Ok(end) => report(Note::done(format!("moved slot {name} to {end}, past the transaction"))),
            // The daemon finds the record, and moves the slot itself.
            Err(SourceError::SlotActive { holder, .. }) => {
                report(Note::found(format!("slot {name} is in use by {holder}, which moves it past the transaction")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
