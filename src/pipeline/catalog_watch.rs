//! The catalog in memory, kept current: told of changes by NOTIFY, and asked now and then in case it was not told.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_postgres::{Client, Notification};
use tracing::warn;

use super::PipelineError;
use crate::catalog::{CATALOG_CHANGED, CHANNEL, CatalogIndex, Snapshot, load};
use crate::config::CatalogSettings;
use crate::postgres::{Link, connect_listening};

/// WebhookDB's own tables change without telling us.
const POLL: Duration = Duration::from_secs(2);

/// Between two tries to listen while the catalog's database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Messages of the channel that wait to be heard; one that finds no room is made up for by the poll.
const HEARD: usize = 64;

/// What the catalog holds, in two forms.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) index: Arc<CatalogIndex>,
}

pub(super) struct CatalogWatch {
    settings: CatalogSettings,
    default_source: String,
    pub(super) link: Arc<Link>,
    loaded: ArcSwap<Loaded>,
    loading: Mutex<()>,
    changed: watch::Sender<i64>,
    asked: watch::Sender<u64>,
}

impl CatalogWatch {
    pub(super) fn new(settings: CatalogSettings, default_source: String) -> Self {
        let link = Arc::new(Link::new(settings.url().clone(), "webhookdb-notifications catalog"));
        Self {
            settings,
            default_source,
            link,
            loaded: ArcSwap::default(),
            loading: Mutex::new(()),
            changed: watch::Sender::new(0),
            asked: watch::Sender::new(0),
        }
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

    /// Each request for a test event or a retry is told, and each poll, in case one was not heard.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Loads the catalog as it is now.
    pub(super) async fn reload(&self) -> Result<Arc<Loaded>, PipelineError> {
        // One at a time: a load that began earlier must not replace what a later one saw.
        let _loading = self.loading.lock().await;
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let snapshot = load(&client, self.settings.schema(), &self.default_source).await?;
        let loaded = Arc::new(Loaded { index: Arc::new(CatalogIndex::new(&snapshot)), snapshot });
        self.loaded.store(loaded.clone());
        self.changed.send_replace(loaded.index.revision);
        Ok(loaded)
    }

    /// Keeps it current for as long as it is polled.
    pub(super) async fn run(&self) {
        loop {
            if let Err(error) = self.listen().await {
                warn!(error = &error as &dyn std::error::Error, "the catalog is not listened to; trying again");
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
        self.reload().await?;
        loop {
            match tokio::time::timeout(POLL, messages.recv()).await {
                Ok(Some(message)) => self.hear(&message).await?,
                Ok(None) => return Ok(()),
                Err(_) => self.poll(&client).await?,
            }
        }
    }

    async fn hear(&self, message: &Notification) -> Result<(), PipelineError> {
        if message.payload() == CATALOG_CHANGED {
            self.reload().await?;
        } else {
            self.asked.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// The full load is cheap beside what it may have missed; the listening session shows that it still lives.
    async fn poll(&self, client: &Client) -> Result<(), PipelineError> {
        client.batch_execute("").await?;
        self.asked.send_modify(|count| *count += 1);
        self.reload().await?;
        Ok(())
    }
}
