//! What most commands begin with: a connection to the catalog, and the catalog itself.

use anyhow::Context as _;
use tokio_postgres::Client;

use super::failure::Advice;
use crate::catalog::{self, CatalogError, Snapshot, migrations};
use crate::config::{PostgresUrl, Settings, SourceSettings};
use crate::postgres::{self, PostgresError};
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
        let catalog = self.settings.catalog();
        catalog::load(&self.catalog, self.schema(), &self.settings.placement(), catalog.keys()).await
    }
}

/// The source that somebody has named.
pub(super) fn source_of<'s>(settings: &'s Settings, name: &str) -> Result<&'s SourceSettings, Advice> {
    settings.source(name).ok_or_else(|| {
        let names: Vec<&str> = settings.sources().iter().map(SourceSettings::name).collect();
        Advice::new(format!("the config has no source {name}"), format!("its sources are: {}", names.join(", ")))
    })
}

pub(super) async fn connect_catalog(settings: &Settings) -> anyhow::Result<Client> {
    connect(settings.catalog().url()).await.context("cannot use the catalog's database")
}

pub(super) async fn connect_source(settings: &SourceSettings) -> anyhow::Result<Client> {
    let connected = connect(settings.url()).await;
    connected.with_context(|| format!("cannot use the database of source {}", settings.name()))
}

/// Where a source is written: its server, or the primary of one that is a standby.
pub(super) async fn connect_writer(settings: &SourceSettings) -> anyhow::Result<Client> {
    let client = connect_source(settings).await?;
    let Some(primary) = standby::primary_of(&client, settings).await? else { return Ok(client) };
    connect(primary).await.with_context(|| format!("cannot use the primary of source {}", settings.name()))
}

async fn connect(url: &PostgresUrl) -> Result<Client, PostgresError> {
    let client = postgres::connect(url, APPLICATION_NAME).await?;
    postgres::refuse_pooler(&client, url, APPLICATION_NAME).await?;
    Ok(client)
}
