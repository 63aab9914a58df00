//! The catalog in memory, kept current: told of changes by NOTIFY, looked at now and then in case it was not told, and
//! loaded again once a minute whatever that look has shown.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::Instant;
use tokio_postgres::{Client, Notification};
use tracing::{debug, error, info, warn};

use super::PipelineError;
use crate::catalog::secrets::Sealed;
use crate::catalog::{CATALOG_CHANGED, CHANNEL, CatalogError, CatalogIndex, Fingerprint, Look, Snapshot, load_after};
use crate::config::CatalogSettings;
use crate::model::Placement;
use crate::postgres::{Link, Outage, connect_listening, refuse_pooler};

/// WebhookDB's own tables change without telling us: how often they are looked at.
const POLL: Duration = Duration::from_secs(2);

/// What no look shows, such as a row that somebody has changed by hand, is found within this.
const LOAD_ANYWAY: Duration = Duration::from_secs(60);

/// Between two tries to listen while the catalog's database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Messages of the channel that wait to be heard; one that finds no room is made up for by the poll.
const HEARD: usize = 64;

/// Of the subscriptions whose secrets can't be read so many are named: a wrong key is one mistake, and all that it shows.
const SEALED_TOLD: usize = 5;

/// What the catalog holds, in two forms.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) index: Arc<CatalogIndex>,
}

pub(super) struct CatalogWatch {
    settings: CatalogSettings,
    placement: Placement,
    pub(super) link: Arc<Link>,
    loaded: ArcSwap<Loaded>,
    loading: Mutex<()>,
    changed: watch::Sender<i64>,
    asked: watch::Sender<u64>,
    outage: Outage,
}

impl CatalogWatch {
    pub(super) fn new(settings: CatalogSettings, placement: Placement) -> Self {
        let link = Arc::new(Link::new(settings.url().clone(), "webhookdb-notifications catalog"));
        Self {
            settings,
            placement,
            link,
            loaded: ArcSwap::default(),
            loading: Mutex::new(()),
            changed: watch::Sender::new(0),
            asked: watch::Sender::new(0),
            outage: Outage::new("listening to the catalog"),
        }
    }

    /// Whether the catalog's database is reached directly: a pooler would lose LISTEN, and more.
    pub(super) async fn refuse_pooler(&self) -> Result<(), PipelineError> {
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        refuse_pooler(&client, self.settings.url(), "webhookdb-notifications catalog")
            .await
            .map_err(PipelineError::Catalog)
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    pub(super) fn index(&self) -> Arc<CatalogIndex> {
        self.loaded.load().index.clone()
    }

    /// Each load is told.
    pub(super) fn changes(&self) -> watch::Receiver<i64> {
        self.changed.subscribe()
    }

    /// Each request for a test event or a retry is told; the poll finds those that were not heard.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Loads the catalog as it is now.
    pub(super) async fn reload(&self) -> Result<Arc<Loaded>, PipelineError> {
        // One at a time: a load that began earlier must not replace what a later one saw.
        let _loading = self.loading.lock().await;
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let (before, schema) = (self.loaded(), self.settings.schema());
        let snapshot = load_after(&before.snapshot, &client, schema, &self.placement, self.settings.keys()).await?;
        let loaded = Arc::new(Loaded { index: Arc::new(CatalogIndex::new(&snapshot)), snapshot });
        self.tell_misplaced(&loaded.snapshot);
        self.tell_sealed(&loaded.snapshot);
        self.loaded.store(loaded.clone());
        self.changed.send_replace(loaded.index.revision);
        Ok(loaded)
    }

    /// What the config leaves open is said once.
    fn tell_misplaced(&self, snapshot: &Snapshot) {
        let before = self.loaded();
        for misplaced in snapshot.misplaced.iter().filter(|one| !before.snapshot.misplaced.contains(one)) {
            warn!(hint = misplaced.hint(), "{misplaced}");
        }
    }

    /// A subscription whose secret can't be read is sent nothing: that is said once, and when it can be read again.
    fn tell_sealed(&self, snapshot: &Snapshot) {
        let ids = |sealed: &[Sealed]| sealed.iter().map(|one| one.subscription).collect::<HashSet<_>>();
        let (before, now) = (ids(&self.loaded().snapshot.sealed), ids(&snapshot.sealed));
        let new: Vec<&Sealed> = snapshot.sealed.iter().filter(|one| !before.contains(&one.subscription)).collect();
        for Sealed { subscription, reason } in new.iter().take(SEALED_TOLD) {
            let (hint, reason) = (reason.hint(), reason as &dyn std::error::Error);
            error!(%subscription, reason, hint, "its secret can't be read: everything is kept, and nothing is sent to it");
        }
        if let more @ 1.. = new.len().saturating_sub(SEALED_TOLD) {
            error!(more, "nor can the secrets of others");
        }
        if let count @ 1.. = before.difference(&now).count() {
            info!(count, "secrets that could not be read can be read now, or are needed no more");
        }
    }

    /// Keeps it current for as long as it is polled.
    pub(super) async fn run(&self) {
        loop {
            if let Err(error) = self.listen().await {
                if matches!(error, PipelineError::CatalogContent(CatalogError::NotSetUp(_))) {
                    // Each source says so, and what to do.
                    debug!("there is no catalog yet");
                } else {
                    self.outage.failed(&error);
                }
                self.link.forget().await;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen(&self) -> Result<(), PipelineError> {
        let (heard, mut messages) = mpsc::channel(HEARD);
        let client = connect_listening(self.settings.url(), "webhookdb-notifications listener", heard)
            .await
            .map_err(PipelineError::Catalog)?;
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        let mut poll = Poll::begin(client, self.settings.schema()).await?;
        self.reload().await?;
        self.outage.succeeded();
        // A request may have been made while nobody listened.
        self.hear_of_requests();
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.hear(&message).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(poll.due) => self.poll(&mut poll).await?,
            }
        }
    }

    async fn hear(&self, message: &Notification) -> Result<(), PipelineError> {
        if message.payload() == CATALOG_CHANGED {
            self.reload().await?;
        } else {
            self.hear_of_requests();
        }
        Ok(())
    }

    fn hear_of_requests(&self) {
        self.asked.send_modify(|count| *count += 1);
    }

    /// Loads only what has changed; the look also shows that the listening session still lives.
    async fn poll(&self, poll: &mut Poll) -> Result<(), PipelineError> {
        let seen = poll.look.take(&poll.client).await?;
        if seen.asked {
            self.hear_of_requests();
        }
        let current = seen.revision == self.index().revision && seen.tables == poll.seen.tables;
        if !current || poll.loaded_at.elapsed() >= LOAD_ANYWAY {
            self.reload().await?;
            poll.loaded_at = Instant::now();
        }
        poll.seen = seen;
        poll.due = Instant::now() + POLL;
        Ok(())
    }
}

/// The listening session, and what it saw last.
struct Poll {
    client: Client,
    look: Look,
    /// Taken before the load that it stands for: what changes in between is loaded twice rather than never.
    seen: Fingerprint,
    loaded_at: Instant,
    due: Instant,
}

impl Poll {
    async fn begin(client: Client, schema: &str) -> Result<Self, PipelineError> {
        let look = Look::prepare(&client, schema).await?;
        let seen = look.take(&client).await?;
        Ok(Self { client, look, seen, loaded_at: Instant::now(), due: Instant::now() + POLL })
    }
}
