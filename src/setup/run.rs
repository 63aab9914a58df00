//! `setup` from one end to the other: catalog, publication, identities, slot, checkpoint, in this order and no other.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::SetupError;
use super::error::explain_right;
use super::report::{Note, Report};
use super::source_setup::SourceSetup;
use crate::catalog::{self, CatalogError, made, migrations, own_tables};
use crate::config::{CatalogSettings, PostgresUrl, Settings, SourceSettings};
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

/// Prepares the catalog and these sources; what is there already is left as it is. A source that fails holds up no other:
/// returns why those failed that did.
///
/// # Errors
/// Where the catalog's database fails or refuses.
pub async fn run(
    settings: &Settings,
    sources: &[&SourceSettings],
    accept: Accept,
    report: Report<'_>,
) -> Result<Vec<SetupError>, SetupError> {
    let mut catalog = connect(settings.catalog().url(), "the catalog").await?;
    lock(&catalog).await?;
    prepare_catalog(&mut catalog, settings.catalog(), report).await?;
    let mut failed = Vec::new();
    for source in sources {
        let setup = SourceSetup { catalog: &catalog, all: settings, settings: source, accept };
        failed.extend(setup.run(report).await.err().map(|error| error.of_source(source.name(), settings)));
    }
    let snapshot = catalog::load(&catalog, settings.catalog().schema(), &settings.placement()).await?;
    snapshot.misplaced.iter().for_each(|misplaced| report(Note::hazard(misplaced.to_string(), misplaced.hint())));
    Ok(failed)
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

async fn prepare_catalog(
    catalog: &mut Client,
    settings: &CatalogSettings,
    report: Report<'_>,
) -> Result<(), SetupError> {
    let (url, schema) = (settings.url(), settings.schema());
    let database = format!("DATABASE {}", escape_identifier(&url.database));
    let migrated = migrations::migrate(catalog).await;
    let migrated = migrated.map_err(|error| explain(error, "make the schema notifications", &database, url))?;
    if migrated.made_schema {
        made::record(catalog, "schema", "", "notifications", "{}").await?;
    }
    report(Note::made(migrated.made_schema, "schema notifications", "is there"));
    for name in &migrated.applied {
        report(Note::done(format!("applied migration {name}")));
    }
    let quoted_schema = format!("SCHEMA {}", escape_identifier(schema));
    let made_tables = own_tables::make_missing(catalog, schema).await;
    let made_tables = made_tables.map_err(|error| explain(error, "make tables there", &quoted_schema, url))?;
    let tables = format!("tables organizations and service_integrations in schema {schema}");
    report(Note::made(made_tables, &tables, "are there"));
    Ok(())
}

fn explain(error: CatalogError, what: &'static str, object: &str, url: &PostgresUrl) -> SetupError {
    match error {
        CatalogError::Postgres(error) => explain_right(error, what, object, url),
        error => error.into(),
    }
}
