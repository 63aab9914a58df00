//! `setup --drop`: what `setup` made goes, and nothing else.

use tokio_postgres::Client;

use super::SetupError;
use super::publish::{IDENTITY_KIND, identity_of_detail};
use super::report::{Note, Report};
use super::run::{connect, lock};
use super::servers::Servers;
use crate::catalog::{made, own_tables};
use crate::config::{Settings, SourceSettings};
use crate::postgres::PostgresError;
use crate::source::publication::{self, TableChanges};
use crate::source::{ServerFacts, SlotState, slot, table};

/// Removes the slots, publications, replica identities and tables that `setup` made. What it only adopted stays.
///
/// # Errors
/// Where a daemon is still reading (then nothing is removed), or a database fails or refuses.
pub async fn drop_all(settings: &Settings, report: Report<'_>) -> Result<(), SetupError> {
    let catalog = connect(settings.catalog().url(), "the catalog").await?;
    lock(&catalog).await?;
    let mut sources = Vec::new();
    for source in settings.sources() {
        let client = connect(source.url(), &format!("source {}", source.name())).await?;
        refuse_active(&client, source).await?;
        let servers = Servers::of(client, source).await?;
        sources.push(SourceUndo { catalog: &catalog, servers, settings: source });
    }
    for source in &sources {
        source.run(report).await?;
    }
    drop_catalog(&catalog, settings.catalog().schema(), report).await
}

async fn refuse_active(client: &Client, settings: &SourceSettings) -> Result<(), SetupError> {
    let database = ServerFacts::read(client).await?.database;
    match SlotState::find(client, settings.slot()).await? {
        Some(slot) if slot.active_pid.is_some() => Ok(slot.check(&database)?),
        _ => Ok(()),
    }
}

struct SourceUndo<'a> {
    catalog: &'a Client,
    servers: Servers,
    settings: &'a SourceSettings,
}

impl SourceUndo<'_> {
    async fn run(&self, report: Report<'_>) -> Result<(), SetupError> {
        self.slot(report).await?;
        self.publication(report).await?;
        self.identities(report).await
    }

    async fn made(&self, kind: &str, name: &str) -> Result<bool, SetupError> {
        Ok(made::find(self.catalog, kind, self.settings.name(), name).await?.is_some())
    }

    async fn slot(&self, report: Report<'_>) -> Result<(), SetupError> {
        let name = self.settings.slot();
        if SlotState::find(&self.servers.reader, name).await?.is_none() {
            report(Note::found(format!("slot {name} is gone already")));
        } else if self.made("slot", name).await? {
            slot::drop(&self.servers.reader, name).await?;
            made::forget(self.catalog, "slot", self.settings.name(), name).await?;
            report(Note::done(format!("dropped slot {name}")));
        } else {
            report(Note::hazard(
                format!("slot {name} was not made by setup and stays: the server keeps its log for it"),
                format!("SELECT pg_drop_replication_slot('{name}')"),
            ));
        }
        Ok(())
    }

    async fn publication(&self, report: Report<'_>) -> Result<(), SetupError> {
        let name = self.settings.publication();
        if self.made("publication", name).await? {
            publication::drop_publication(self.servers.writer(), name).await?;
            made::forget(self.catalog, "publication", self.settings.name(), name).await?;
            report(Note::done(format!("dropped publication {name}")));
        } else if publication::publication_state(self.servers.writer(), name).await?.is_some() {
            report(Note::found(format!("publication {name} was not made by setup and stays, with the tables in it")));
        }
        Ok(())
    }

    /// A table that stays published keeps its identity: the one from before might make its UPDATE and DELETE fail.
    async fn identities(&self, report: Report<'_>) -> Result<(), SetupError> {
        let state = publication::publication_state(self.servers.writer(), self.settings.publication()).await?;
        for identity in made::list(self.catalog, IDENTITY_KIND, self.settings.name()).await? {
            let (Ok(oid), Some(before)) = (identity.name.parse(), identity_of_detail(&identity.detail)) else {
                continue;
            };
            if state.as_ref().is_some_and(|state| state.tables.iter().any(|table| table.oid == oid)) {
                continue;
            }
            if let Some(table) = table::table(self.servers.writer(), oid).await? {
                let mut changes = TableChanges::default();
                changes.set_identity(&table.schema, &table.name, &before);
                report(reset_note(&table.display_name(), &changes, changes.run(self.servers.writer()).await));
            }
            made::forget(self.catalog, IDENTITY_KIND, self.settings.name(), &identity.name).await?;
        }
        Ok(())
    }
}

fn reset_note(table: &str, changes: &TableChanges, done: Result<(), PostgresError>) -> Note {
    match done {
        Ok(()) => Note::done(format!("set the replica identity of table {table} as it was")),
        Err(error) => Note::hazard(
            format!("the replica identity of table {table} could not be set as it was: {error}"),
            changes.statements().join("; "),
        ),
    }
}

async fn drop_catalog(catalog: &Client, schema: &str, report: Report<'_>) -> Result<(), SetupError> {
    if own_tables::drop_ours(catalog, schema).await? {
        report(Note::done(format!("dropped tables organizations and service_integrations in schema {schema}")));
    } else {
        report(Note::found(format!(
            "organizations and service_integrations in schema {schema} are WebhookDB's and stay"
        )));
    }
    let made_schema = made::find(catalog, "schema", "", "notifications").await?.is_some();
    let script = if made_schema {
        "DROP SCHEMA notifications CASCADE".to_owned()
    } else {
        // The schema is a DBA's, and this role may not be allowed to make it again.
        drop_tables_script(catalog).await?
    };
    catalog.batch_execute(&script).await.map_err(PostgresError::from)?;
    report(Note::done(if made_schema { "dropped schema notifications" } else { "emptied schema notifications" }));
    Ok(())
}

async fn drop_tables_script(catalog: &Client) -> Result<String, SetupError> {
    let statement = "SELECT format('DROP TABLE IF EXISTS %I.%I CASCADE', n.nspname, c.relname)
                     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = 'notifications' AND c.relkind IN ('r', 'p')";
    let rows = catalog.query(statement, &[]).await.map_err(PostgresError::from)?;
    let tables: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    Ok(tables.map_err(PostgresError::from)?.join("; "))
}
