//! `setup --drop`: what `setup` made goes, and nothing else.

use std::collections::HashSet;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SetupError;
use super::admin::{self, Admin, DELEGATE_KIND};
use super::publish::{IDENTITY_KIND, identity_of_detail};
use super::report::{Note, Report};
use super::run::{connect, lock};
use super::servers::Servers;
use crate::catalog::{CatalogError, made, own_tables};
use crate::config::{PostgresUrl, Settings, SourceSettings};
use crate::postgres::PostgresError;
use crate::source::{Alterations, Delegate, Hand, ServerFacts, SlotState, delegate, publication, slot, table};

/// Removes the slots, publications, replica identities, functions and tables that `setup` made. What it only adopted stays.
///
/// # Errors
/// Where a daemon is still reading (then nothing is removed), or a database fails or refuses.
pub async fn drop_all(settings: &Settings, admin: Option<PostgresUrl>, report: Report<'_>) -> Result<(), SetupError> {
    let admin = admin.map(|url| Admin::new(url, settings)).transpose()?;
    let catalog = connect(settings.catalog().url(), "the catalog").await?;
    lock(&catalog).await?;
    let mut sources = Vec::new();
    for source in settings.sources() {
        let client = connect(source.url(), &format!("source {}", source.name())).await?;
        refuse_active(&client, source).await?;
        let admin = admin::lend(admin.as_ref(), admin::written(source)).await?;
        let servers = Servers::of(client, source).await?;
        sources.push(SourceUndo { catalog: &catalog, servers, admin, settings: source });
    }
    for source in &sources {
        source.run(report).await?;
    }
    let owner = admin::lend(admin.as_ref(), settings.catalog().url()).await?;
    drop_catalog(&catalog, owner.as_ref().unwrap_or(&catalog), settings.catalog().schema(), report).await
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
    /// A session with an owner's or a superuser's rights, where the source is written.
    admin: Option<Client>,
    settings: &'a SourceSettings,
}

impl SourceUndo<'_> {
    async fn run(&self, report: Report<'_>) -> Result<(), SetupError> {
        self.slot(report).await?;
        self.publication(report).await?;
        self.identities(report).await?;
        self.functions(report).await
    }

    /// Who owns what is to be removed.
    fn owner(&self) -> &Client {
        self.admin.as_ref().unwrap_or_else(|| self.servers.writer())
    }

    async fn functions(&self, report: Report<'_>) -> Result<(), SetupError> {
        let schema = delegate::schema_name(self.settings.slot());
        match &self.admin {
            Some(admin) if self.made(DELEGATE_KIND, &schema).await? => {
                admin::drop_functions(admin, self.settings).await?;
                made::forget(self.catalog, DELEGATE_KIND, self.settings.name(), &schema).await?;
                report(Note::done(format!("dropped schema {schema} and its functions")));
            }
            _ => {
                if let Some(delegate) = Delegate::find(self.servers.writer(), self.settings.slot()).await? {
                    let statements = drop_statements(&delegate, self.settings.slot());
                    report(not_ours(&format!("schema {schema} and its functions stay"), &statements));
                }
            }
        }
        Ok(())
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
            match publication::drop_publication(self.owner(), name).await {
                Err(error) if error.sqlstate() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    let statement = format!("DROP PUBLICATION {}", escape_identifier(name));
                    report(not_ours(&format!("publication {name} stays"), &statement));
                    return Ok(());
                }
                done => done?,
            }
            made::forget(self.catalog, "publication", self.settings.name(), name).await?;
            report(Note::done(format!("dropped publication {name}")));
        } else if publication::publication_state(self.servers.writer(), name).await?.is_some() {
            report(Note::found(format!("publication {name} was not made by setup and stays, with the tables in it")));
        }
        Ok(())
    }

    /// The tables that are still published, and their partitions, which are so with them.
    async fn published(&self) -> Result<HashSet<u32>, SetupError> {
        let state = publication::publication_state(self.servers.writer(), self.settings.publication()).await?;
        let oids: Vec<u32> = state.iter().flat_map(|state| &state.tables).map(|table| table.oid).collect();
        let roots = table::tables(self.servers.writer(), &oids).await?;
        Ok(roots.iter().flat_map(|root| &root.leaves).chain(&oids).copied().collect())
    }

    /// A table that stays published keeps its identity: the one from before might make its UPDATE and DELETE fail.
    async fn identities(&self, report: Report<'_>) -> Result<(), SetupError> {
        let published = self.published().await?;
        for identity in made::list(self.catalog, IDENTITY_KIND, self.settings.name()).await? {
            let (Ok(oid), Some(before)) = (identity.name.parse(), identity_of_detail(&identity.detail)) else {
                continue;
            };
            if published.contains(&oid) {
                continue;
            }
            if let Some(table) = table::table(self.servers.writer(), oid).await? {
                let mut changes = Alterations::default();
                changes.set_identity(table.table_name(), before);
                let done = changes.run(self.owner(), &Hand::Own).await;
                report(reset_note(&table.display_name(), &changes, done));
            }
            made::forget(self.catalog, IDENTITY_KIND, self.settings.name(), &identity.name).await?;
        }
        Ok(())
    }
}

/// The role that owns the functions goes with them where it was made for that.
fn drop_statements(delegate: &Delegate, slot: &str) -> String {
    let (schema, owner) = (escape_identifier(&delegate.schema), escape_identifier(&delegate.owner));
    let drop_schema = format!("DROP SCHEMA {schema} CASCADE");
    if delegate.owner != delegate::owner_name(slot) {
        return drop_schema;
    }
    format!("{drop_schema}; REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}; DROP ROLE {owner}")
}

fn not_ours(what: &str, statement: &str) -> Note {
    Note::hazard(format!("{what}: this role does not own it"), format!("run with --admin-url; or: {statement}"))
}

fn reset_note(table: &str, changes: &Alterations, done: Result<(), PostgresError>) -> Note {
    match done {
        Ok(()) => Note::done(format!("set the replica identity of table {table} as it was")),
        Err(error) => Note::hazard(
            format!("the replica identity of table {table} could not be set as it was: {error}"),
            changes.statements(),
        ),
    }
}

async fn drop_catalog(catalog: &Client, owner: &Client, schema: &str, report: Report<'_>) -> Result<(), SetupError> {
    match own_tables::drop_ours(catalog, owner, schema).await {
        Ok(true) => {
            report(Note::done(format!("dropped tables organizations and service_integrations in schema {schema}")));
        }
        Ok(false) => report(Note::found(format!(
            "organizations and service_integrations in schema {schema} are WebhookDB's and stay"
        ))),
        Err(CatalogError::Postgres(error)) if error.sqlstate() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let quoted = escape_identifier(schema);
            let statement = format!("DROP TABLE {quoted}.service_integrations, {quoted}.organizations");
            report(not_ours(&format!("organizations and service_integrations in schema {schema} stay"), &statement));
        }
        Err(error) => return Err(error.into()),
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
