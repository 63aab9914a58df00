//! What most commands begin with: a connection to the catalog, and the catalog itself.

use anyhow::Context as _;
use tokio_postgres::Client;

use crate::catalog::{self, CatalogError, Snapshot, migrations};
use crate::config::{Settings, SourceSettings};
use crate::postgres;
use crate::source::standby;

/// What the commands call themselves in pg_stat_activity.
pub(super) const APPLICATION_NAME: &str = "webhookdb";

/// The catalog's database, of this program's version.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) catalog: Client,
}

impl<'a> Context<'a> {
    /// Connects to the catalog, and checks that it is set up.
    pub(super) async fn open(settings: &'a Settings) -> anyhow::Result<Self> {
        let catalog = connect_catalog(settings).await?;
        migrations::check(&catalog).await?;
        Ok(Self { settings, catalog })
    }

    /// The schema of organizations and integrations.
    pub(super) fn schema(&self) -> &str {
        self.settings.catalog().schema()
    }

    /// The whole catalog as it stands.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, CatalogError> {
        catalog::load(&self.catalog, self.schema(), default_source(self.settings)).await
    }
}

pub(super) async fn connect_catalog(settings: &Settings) -> anyhow::Result<Client> {
    let connected = postgres::connect(settings.catalog().url(), APPLICATION_NAME).await;
    connected.context("cannot use the catalog's database")
}

pub(super) async fn connect_source(settings: &SourceSettings) -> anyhow::Result<Client> {
    let connected = postgres::connect(settings.url(), APPLICATION_NAME).await;
    connected.with_context(|| format!("cannot use the database of source {}", settings.name()))
}

/// Where a source is written: its server, or the primary of one that is a standby.
pub(super) async fn connect_writer(settings: &SourceSettings) -> anyhow::Result<Client> {
    let client = connect_source(settings).await?;
    let Some(primary) = standby::primary_of(&client, settings).await? else { return Ok(client) };
    let connected = postgres::connect(primary, APPLICATION_NAME).await;
    connected.with_context(|| format!("cannot use the primary of source {}", settings.name()))
}

/// The source of an integration for which none is recorded.
pub(super) fn default_source(settings: &Settings) -> &str {
    settings.sources().first().map_or("", |source| source.name())
}
