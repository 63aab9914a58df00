//! `setup` from one end to the other: catalog, publication, identities, slot, checkpoint, in this order and no other.

use tokio_postgres::Client;

use super::SetupError;
use super::report::{Note, Report};
use super::source_setup::SourceSetup;
use crate::catalog::{made, migrations, own_tables};
use crate::config::{PostgresUrl, Settings};
use crate::postgres::{self, PostgresError};

/// What `setup` calls itself in pg_stat_activity.
const APPLICATION_NAME: &str = "webhookdb setup";
/// Two that set up one catalog at once take turns by this advisory lock ("whdb" and a number of our own).
const SETUP_LOCK: i64 = 0x7768_6462_0002;
/// How long one waits for the other: longer than making a slot may take.
const LOCK_TIMEOUT_MS: u32 = 150_000;

/// The recorded ways past what is otherwise refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Begin anew where the old position can't be continued.
    pub gap: bool,
    /// Begin anew on another server.
    pub server: bool,
}

/// Prepares everything; what is there already is left as it is.
///
/// # Errors
/// Where a database fails or refuses, and where going on would lose changes silently.
pub async fn run(settings: &Settings, accept: Accept, report: Report<'_>) -> Result<(), SetupError> {
    let mut catalog = connect(settings.catalog().url(), "the catalog").await?;
    lock(&catalog).await?;
    prepare_catalog(&mut catalog, settings.catalog().schema(), report).await?;
    let default_source = settings.sources().first().map_or("", |source| source.name());
    for source in settings.sources() {
        let setup = SourceSetup {
            catalog: &catalog,
            catalog_schema: settings.catalog().schema(),
            default_source,
            settings: source,
            accept,
        };
        setup.run(report).await?;
    }
    Ok(())
}

/// Connects, or says which database it was that could not be used.
pub(super) async fn connect(url: &PostgresUrl, what: &str) -> Result<Client, SetupError> {
    postgres::connect(url, APPLICATION_NAME)
        .await
        .map_err(|source| SetupError::Connect { what: what.to_owned(), source })
}

/// Held until the connection ends.
pub(super) async fn lock(catalog: &Client) -> Result<(), PostgresError> {
    let script =
        format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SELECT pg_catalog.pg_advisory_lock({SETUP_LOCK})");
    Ok(catalog.batch_execute(&script).await?)
}

async fn prepare_catalog(catalog: &mut Client, schema: &str, report: Report<'_>) -> Result<(), SetupError> {
    let migrated = migrations::migrate(catalog).await?;
    if migrated.made_schema {
        made::record(catalog, "schema", "", "notifications", "{}").await?;
    }
    report(Note::made(migrated.made_schema, "schema notifications"));
    for name in &migrated.applied {
        report(Note::done(format!("applied migration {name}")));
    }
    let made_tables = own_tables::make_missing(catalog, schema).await?;
    report(Note::made(made_tables, &format!("tables organizations and service_integrations in schema {schema}")));
    Ok(())
}
