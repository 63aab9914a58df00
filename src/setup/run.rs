//! `setup` from one end to the other: catalog, publication, identities, slot, checkpoint, in this order and no other.

use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::SetupError;
use super::admin::{self, Admin};
use super::error::explain_right;
use super::report::{Note, Report};
use super::source_setup::SourceSetup;
use crate::catalog::leases::{self, Lease};
use crate::catalog::{self, CatalogError, made, migrations, own_tables, rights, secrets};
use crate::config::{CatalogSettings, PostgresUrl, Settings, SourceSettings};
use crate::postgres::{self, PostgresError};
use crate::seal::KeyRing;

/// What `setup` calls itself in pg_stat_activity.
const APPLICATION_NAME: &str = "webhookdb setup";
/// Two that set up one catalog at once take turns by this advisory lock ("whdb" and a number of our own).
const SETUP_LOCK: i64 = 0x7768_6462_0002;
/// A daemon loads the catalog within milliseconds of being told, and lets what is in flight end within 2 s.
const TAKEN_IN_WITHIN: Duration = Duration::from_secs(5);
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

/// Prepares the catalog and these sources; what is there already is left as it is. What the config's role may not do is done by
/// `admin`'s rights, where that is given. A source that fails holds up no other: returns why those failed that did.
///
/// # Errors
/// Where the catalog's database fails or refuses.
pub async fn run(
    settings: &Settings,
    sources: &[&SourceSettings],
    accept: Accept,
    admin: Option<PostgresUrl>,
    report: Report<'_>,
) -> Result<Vec<SetupError>, SetupError> {
    let admin = admin.map(|url| Admin::new(url, settings)).transpose()?;
    let catalog_admin = admin::lend(admin.as_ref(), settings.catalog().url()).await?;
    let catalog = prepare_catalog(settings, catalog_admin.as_ref(), report).await?;
    let mut failed = Vec::new();
    for source in sources {
        let done = async {
            let admin = admin::lend(admin.as_ref(), admin::written(source)).await?;
            let setup = SourceSetup { catalog: &catalog, all: settings, settings: source, accept, admin };
            setup.run(report).await
        };
        failed.extend(done.await.err().map(|error| error.of_source(source.name(), settings)));
    }
    // What failed comes first: a right that is missing may be needed to look at the rest.
    if failed.is_empty() {
        let (placement, of) = (settings.placement(), settings.catalog());
        let snapshot = catalog::load(&catalog, of.schema(), &placement, of.keys()).await?;
        snapshot.misplaced.iter().for_each(|misplaced| report(Note::hazard(misplaced.to_string(), misplaced.hint())));
    }
    Ok(failed)
}

/// Connects, or says which database it was that could not be used.
pub(super) async fn connect(url: &PostgresUrl, what: &str) -> Result<Client, SetupError> {
    let explain = |source| SetupError::Connect { what: what.to_owned(), source };
    let client = postgres::connect(url, APPLICATION_NAME).await.map_err(explain)?;
    postgres::refuse_pooler(&client, url, APPLICATION_NAME).await.map_err(explain)?;
    Ok(client)
}

/// Held until the connection ends.
pub(super) async fn lock(catalog: &Client) -> Result<(), PostgresError> {
    let script =
        format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SELECT pg_catalog.pg_advisory_lock({SETUP_LOCK})");
    Ok(catalog.batch_execute(&script).await?)
}

/// The session that comes first holds the lock for both.
async fn prepare_catalog(
    settings: &Settings,
    admin: Option<&Client>,
    report: Report<'_>,
) -> Result<Client, SetupError> {
    let url = settings.catalog().url();
    let there_before = match admin {
        Some(admin) => {
            lock(admin).await?;
            let there = migrations::schema_exists(admin).await?;
            admin::prepare_catalog_role(admin, settings, report).await?;
            there
        }
        None => true,
    };
    let mut catalog = connect(url, "the catalog").await?;
    if admin.is_none() {
        lock(&catalog).await?;
    }
    let database = format!("DATABASE {}", escape_identifier(&url.database));
    let migrated = match migrations::migrate(&mut catalog).await {
        Ok(migrated) => migrated,
        Err(error) => {
            // Where the schema is there already, what is missing is not the right to make one.
            let grants = rights::missing(&catalog, "").await?;
            return Err(explain(error, "make or alter the schema notifications", &database, url).with_grants(&grants));
        }
    };
    if migrated.made_schema || !there_before {
        made::record(&catalog, "schema", "", "notifications", "{}").await?;
    }
    report(Note::made(migrated.made_schema, "schema notifications", "is there"));
    for name in &migrated.applied {
        report(Note::done(format!("applied migration {name}")));
    }
    prepare_own_tables(&catalog, settings.catalog(), admin, report).await?;
    encrypt_secrets(&catalog, settings.catalog().keys(), report).await?;
    Ok(catalog)
}

/// Secrets that are stored in another way than the config's keys would have it, be it in plain, are stored so.
async fn encrypt_secrets(catalog: &Client, keys: &KeyRing, report: Report<'_>) -> Result<(), SetupError> {
    let (count, revision) = secrets::encrypt_anew(catalog, keys).await?;
    let (Some(id), Some(revision)) = (keys.current_id(), revision) else { return Ok(()) };
    let noun = if count == 1 { "signing secret" } else { "signing secrets" };
    report(Note::done(format!("encrypted {count} {noun} by key {id}")));
    // A daemon that does not answer is told of by whoever needs its answer.
    leases::wait_until_loaded(catalog, revision, TAKEN_IN_WITHIN).await?;
    for lease in leases::live(catalog).await?.iter().filter(|lease| lease.sealed_secrets > 0) {
        report(Note::hazard(lease.what_it_cannot_read(), Lease::OTHER_KEYS_HINT));
    }
    Ok(())
}

async fn prepare_own_tables(
    catalog: &Client,
    settings: &CatalogSettings,
    admin: Option<&Client>,
    report: Report<'_>,
) -> Result<(), SetupError> {
    let (url, schema) = (settings.url(), settings.schema());
    let quoted_schema = format!("SCHEMA {}", escape_identifier(schema));
    let made_tables = own_tables::make_missing(catalog, admin.unwrap_or(catalog), schema).await;
    let made_tables = made_tables.map_err(|error| explain(error, "make tables there", &quoted_schema, url))?;
    if let Some(admin) = admin.filter(|_| made_tables) {
        admin::grant_own_tables(admin, schema, &url.user).await?;
    }
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
