//! One source, by its server and by the catalog.

use anyhow::Context as _;
use tokio_postgres::Client;

use super::super::context::connect_source;
use super::super::failure::hint;
use super::CatalogRead;
use super::report::{SourceReport, SourceState, Warning};
use super::slot_lines::slot_lines;
use crate::admin::HELD_BACK_HINT;
use crate::catalog::health::{self, Progress};
use crate::catalog::relations;
use crate::config::SourceSettings;
use crate::model::Lsn;
use crate::setup::{self, Discord, Hazard};
use crate::source::SlotState;

/// What the server of a source says; a server that is not reached is a state too.
pub(super) async fn source_report(settings: &SourceSettings, catalog: &anyhow::Result<CatalogRead>) -> SourceReport {
    let mut report = SourceReport::new(settings.name(), settings.slot());
    if let Err(error) = read_source(settings, catalog.as_ref().ok(), &mut report).await {
        report.fail(SourceState::Unreachable, &error);
    }
    report
}

async fn read_source(
    settings: &SourceSettings,
    catalog: Option<&CatalogRead>,
    report: &mut SourceReport,
) -> anyhow::Result<()> {
    let seen = see_slot(settings).await;
    let progress = match catalog {
        Some(catalog) => health::progress(&catalog.client, settings.name()).await?,
        None => None,
    };
    let lease = catalog.and_then(|read| read.leases.iter().find(|lease| lease.live && lease.source == report.name));
    let live = lease.is_some();
    report.checkpoint_lsn = progress.as_ref().map(|progress| progress.commit_lsn.to_string());
    let (client, slot) = seen?;
    let current = slot.as_ref().and_then(|slot| slot.current_lsn);
    match (&slot, catalog.is_some() && progress.is_none()) {
        (_, true) => report.set(SourceState::NotSetUp, "setup was not run", "run `webhookdb setup`"),
        (None, _) => report.set(SourceState::Failed, "the slot does not exist", "run `webhookdb setup`"),
        (Some(slot), _) => report.take_slot(slot, &settings.url().database, live),
    }
    if catalog.is_none() && slot.as_ref().is_some_and(|slot| slot.active_pid.is_some()) {
        let reason = "something reads from the slot; whether it is a daemon of this catalog is not known";
        report.set(SourceState::Unreachable, reason, "the error below says why the catalog could not be read");
    }
    report.take_hold(lease.and_then(|lease| lease.held_back.as_deref()));
    if let (Some(progress), Some(catalog)) = (&progress, catalog) {
        report.take_halt(progress, setup::what_does_not_fit(&catalog.client, &client, settings, slot).await?);
    }
    if let Some(catalog) = catalog {
        let oids = relations::of_integrations(&catalog.client, settings.name()).await?;
        let hazards = setup::delete_hazards(&client, &oids).await?;
        report.warnings = hazards.into_iter().map(|Hazard { what, remedy }| Warning { what, remedy }).collect();
    }
    if let (Some(current), Some(progress)) = (current, progress) {
        report.lag_bytes = Some(current.bytes_since(progress.flush_lsn));
        report.lag_seconds = Some(lag_seconds(&progress, current, live));
    }
    Ok(())
}

async fn see_slot(settings: &SourceSettings) -> anyhow::Result<(Client, Option<SlotState>)> {
    let client = connect_source(settings).await?;
    let slot = SlotState::find(&client, settings.slot()).await.context("the slot can't be looked at")?;
    Ok((client, slot))
}

impl SourceReport {
    fn take_slot(&mut self, slot: &SlotState, database: &str, live: bool) {
        self.retained_bytes = slot.retained_bytes;
        self.safe_wal_bytes = slot.safe_wal_size;
        self.wal_status.clone_from(&slot.wal_status);
        self.slot_lines = slot_lines(slot);
        self.confirmed_lsn = slot.confirmed_flush_lsn.map(|lsn| lsn.to_string());
        match (slot.check(database), slot.active_pid.is_some(), live) {
            (_, true, true) => self.state = SourceState::Streaming,
            (_, false, true) => {
                let hint = "it reconnects by itself; its log says more";
                self.set(SourceState::Stopped, "the daemon lives, but does not read from the slot now", hint);
            }
            (Ok(()), _, false) => self.set(SourceState::Stopped, "no daemon is running", "run `webhookdb serve`"),
            (Err(error), ..) => self.fail(SourceState::Failed, &error.into()),
        }
    }

    /// Why the daemon reads nothing, although it could.
    fn take_hold(&mut self, held_back: Option<&str>) {
        if let Some(reason) = held_back.filter(|_| self.state == SourceState::Streaming) {
            self.set(SourceState::Waiting, reason, HELD_BACK_HINT);
        }
    }

    /// What keeps the daemon from going on.
    fn take_halt(&mut self, progress: &Progress, discord: Option<Discord>) {
        if let Some((commit_lsn, because)) = &progress.stuck {
            let hint = format!("`webhookdb setup --skip-transaction {commit_lsn}` passes it, and records the gap");
            self.set(SourceState::Failed, because, &hint);
        } else if let Some(discord) = discord.filter(|_| self.state != SourceState::Streaming) {
            self.fail(SourceState::Failed, &discord.into());
        }
    }

    fn set(&mut self, state: SourceState, reason: &str, hint: &str) {
        (self.state, self.reason, self.hint) = (state, Some(reason.to_owned()), Some(hint.to_owned()));
    }

    fn fail(&mut self, state: SourceState, error: &anyhow::Error) {
        (self.state, self.reason, self.hint) = (state, Some(format!("{error:#}")), hint(error));
    }
}

/// How old the first change is that is not settled, as far as it can be known: since when the log is not read to its end
/// where a daemon is at work on it, and the age of the checkpoint where none is.
fn lag_seconds(progress: &Progress, current: Lsn, live: bool) -> f64 {
    let caught_up = |lsn: Lsn| lsn >= current;
    if caught_up(progress.flush_lsn) || (live && progress.received_lsn.is_some_and(caught_up)) {
        return 0.0;
    }
    let age = if live { progress.read_age.unwrap_or_default() } else { progress.checkpoint_age };
    age.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(flush: u64, received: Option<u64>) -> Progress {
        Progress {
            commit_lsn: Lsn::new(flush),
            flush_lsn: Lsn::new(flush),
            checkpoint_age: 100.0,
            received_lsn: received.map(Lsn::new),
            read_age: Some(7.0),
            stuck: None,
        }
    }

    #[test]
    fn lag_is_zero_only_where_all_the_log_is_read_or_settled() {
        let current = Lsn::new(50);
        assert_eq!(lag_seconds(&progress(50, None), current, false), 0.0);
        assert_eq!(lag_seconds(&progress(40, Some(50)), current, true), 0.0);
        assert_eq!(lag_seconds(&progress(40, Some(45)), current, true), 7.0);
        assert_eq!(lag_seconds(&progress(40, Some(50)), current, false), 100.0);
    }
}
