//! Keeps the publication up to the catalog while the source is ours, and looks after its health.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::gauge;
use tokio_postgres::Client;
use tracing::{debug, info, warn};

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::lease::LeaseFacts;
use super::memory::Memory;
use super::slot_watch::SlotWatch;
use crate::admin::metrics::{MEMORY_BYTES, REPLICATION_LAG_BYTES, REPLICATION_LAG_SECONDS};
use crate::admin::{Lag, Readiness};
use crate::catalog::secrets;
use crate::config::SourceSettings;
use crate::model::{Lsn, SubscriptionState};
use crate::postgres::Link;
use crate::setup::upkeep::{UpkeepNote, publish_missing};
use crate::source::{Sentinel, SlotState, SourceError, barrier};

/// New tables are published within this and the time that it takes.
const INTERVAL: Duration = Duration::from_secs(2);

/// A subscription that is pending for longer gets its message again: its `create` may have died before sending it.
const PENDING_MAX: Duration = Duration::from_secs(10);

/// Looks that are remembered: half an hour of them; behind by more, the lag is told less finely.
const UNREAD_MAX: usize = 1024;

pub(super) struct Upkeep<'a> {
    pub(super) settings: &'a SourceSettings,
    pub(super) catalog: &'a CatalogWatch,
    pub(super) sentinel: &'a Sentinel,
    /// Where the source is written, for a standby; else the sentinel's session serves.
    pub(super) primary: Option<&'a Link>,
    pub(super) slot: &'a mut SlotWatch,
    pub(super) facts: Arc<LeaseFacts>,
    pub(super) readiness: &'a Readiness,
    pub(super) memory: Memory,
    /// What was wrong at the last look, and is said: a table that cannot be published is said once.
    pub(super) said: HashSet<String>,
    /// Where the log ended when it was looked at and was not yet read so far.
    pub(super) unread: VecDeque<(Lsn, SystemTime)>,
}

/// What an operator should hear of, once for as long as it lasts.
fn complaint(note: &UpkeepNote) -> Option<String> {
    match note {
        UpkeepNote::Failed { error, .. } => Some(format!("{note}: {error}")),
        UpkeepNote::Hazard(_) | UpkeepNote::PutBack { .. } => Some(note.to_string()),
        _ => None,
    }
}

impl Upkeep<'_> {
    /// For as long as it is polled.
    pub(super) async fn run(&mut self) -> PipelineError {
        let mut changes = self.catalog.changes();
        let mut pending_at = tokio::time::Instant::now();
        loop {
            match self.writer().await {
                Ok(Some(client)) => {
                    if let Err(error) = self.publish(&client).await {
                        self.say(&error);
                    }
                    if pending_at.elapsed() >= PENDING_MAX {
                        self.remind(&client).await;
                        pending_at = tokio::time::Instant::now();
                    }
                }
                Ok(None) => {}
                Err(error) => self.say(&error),
            }
            self.forget_expired_secrets().await;
            if let Some(client) = self.sentinel.client() {
                self.measure(&client).await;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// A session where the source is written; none while it is cut.
    async fn writer(&self) -> Result<Option<Arc<Client>>, PipelineError> {
        match self.primary {
            Some(primary) => Ok(Some(primary.client().await.map_err(SourceError::from)?)),
            None => Ok(self.sentinel.client()),
        }
    }

    async fn publish(&mut self, client: &Client) -> Result<(), PipelineError> {
        let loaded = self.catalog.loaded();
        let catalog = self.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        let mut complaints = HashSet::new();
        for note in publish_missing(&catalog, client, self.settings, &loaded.snapshot).await? {
            if let Some(complaint) = complaint(&note) {
                if !self.said.contains(&complaint) {
                    self.warn_of(&note);
                }
                complaints.insert(complaint);
            } else if !matches!(note, UpkeepNote::Missing { .. }) {
                info!(source = self.settings.name(), "{note}");
            }
        }
        // What is mended and breaks again is said again.
        self.said = complaints;
        Ok(())
    }

    fn warn_of(&self, note: &UpkeepNote) {
        let source = self.settings.name();
        match note {
            UpkeepNote::Failed { error, .. } => {
                let hint = error.hint();
                warn!(source, error = error as &dyn std::error::Error, hint, "{note}");
            }
            UpkeepNote::Hazard(hazard) => warn!(source, hint = hazard.remedy, "{note}"),
            _ => warn!(source, "{note}"),
        }
    }

    fn say(&mut self, error: &PipelineError) {
        if self.said.insert(error.to_string()) {
            let hint = error.hint();
            warn!(
                source = self.settings.name(),
                error = error as &dyn std::error::Error,
                hint,
                "the publication's upkeep failed"
            );
        }
    }

    /// Secrets that were replaced, once nothing is signed with them any more.
    async fn forget_expired_secrets(&self) {
        let (loaded, now) = (self.catalog.loaded(), SystemTime::now());
        let mut previous = loaded.index.subscriptions().flat_map(|subscription| &subscription.previous_secrets);
        if !previous.any(|previous| previous.expires_at <= now) {
            return;
        }
        let forgotten = async {
            let client = self.catalog.link.client().await.map_err(PipelineError::Catalog)?;
            Ok::<(), PipelineError>(secrets::forget_expired(&client).await?)
        };
        if let Err(error) = forgotten.await {
            let (source, error) = (self.settings.name(), &error as &dyn std::error::Error);
            debug!(source, error, "replaced secrets could not be removed yet");
        }
    }

    async fn remind(&self, client: &Client) {
        let loaded = self.catalog.loaded();
        for subscription in loaded.index.subscriptions() {
            // One that was paused before its start was met has to get it, too.
            let waits = matches!(subscription.state, SubscriptionState::Pending | SubscriptionState::Paused)
                && subscription.awaits_start(self.settings.name())
                && SystemTime::now().duration_since(subscription.created_at).unwrap_or_default() >= PENDING_MAX;
            if waits && let Err(error) = barrier::emit(client, subscription.opaque_id, &subscription.nonce).await {
                let (source, subscription) = (self.settings.name(), subscription.opaque_id);
                let error = &error as &dyn std::error::Error;
                warn!(source, %subscription, error, "a pending subscription could not be started");
            }
        }
    }

    // Precision is lost from 2^53 on, 8 PiB of log.
    #[allow(clippy::cast_precision_loss)]
    async fn measure(&mut self, client: &Client) {
        let Ok(Some(slot)) = SlotState::find(client, self.settings.slot()).await else { return };
        self.slot.look(&slot);
        let source = self.settings.name().to_owned();
        gauge!(MEMORY_BYTES).set(self.memory.held() as f64);
        let current = slot.current_lsn.unwrap_or_default();
        let lag = current.bytes_since(self.facts.received());
        gauge!(REPLICATION_LAG_BYTES, "source" => source.clone()).set(lag as f64);
        let behind = self.behind(current);
        gauge!(REPLICATION_LAG_SECONDS, "source" => source).set(behind.as_secs_f64());
        self.readiness.set_lag(self.settings.name(), Lag { bytes: lag, time: behind });
    }

    /// For how long the log has not been read to its end.
    fn behind(&mut self, current: Lsn) -> Duration {
        let (received, now) = (self.facts.received(), SystemTime::now());
        while let Some((_, at)) = self.unread.front().copied().filter(|(end, _)| *end <= received) {
            self.facts.set_caught_up(at);
            self.unread.pop_front();
        }
        if received >= current {
            self.facts.set_caught_up(now);
        } else if self.unread.len() < UNREAD_MAX {
            self.unread.push_back((current, now));
        }
        self.facts.caught_up().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
    }
}
