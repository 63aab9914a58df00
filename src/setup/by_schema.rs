//! `publish = "schema"`: whole schemas in the publication, after a look that they hold nothing but integrations.

use std::collections::BTreeSet;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::SetupError;
use super::identity::{self, Unpublishable};
use super::report::{Note, Report};
use crate::catalog::{Integration, Snapshot};
use crate::config::SourceSettings;
use crate::postgres::PostgresError;
use crate::source::table::{self, Table};
use crate::source::{Alterations, Hand, ServerFacts, publication};

/// The first version that has FOR TABLES IN SCHEMA.
const OLDEST_VERSION: i32 = 15;

/// Puts the schemas of the source's integrations into the publication, each once its tables have their identities.
///
/// # Errors
/// Where the server is too old, a schema holds what must not be published, or the role is no superuser.
pub(super) async fn publish(
    source: &Client,
    settings: &SourceSettings,
    facts: &ServerFacts,
    snapshot: &Snapshot,
    report: Report<'_>,
) -> Result<(), SetupError> {
    if facts.major_version() < OLDEST_VERSION {
        return Err(SetupError::Server {
            problem: format!(
                "publish = \"schema\" needs Postgres {OLDEST_VERSION}, and this is {}",
                facts.major_version()
            ),
            remedy: "set publish = \"integrations\" for this source".to_owned(),
        });
    }
    let integrations: Vec<&Integration> = snapshot
        .integrations
        .iter()
        .filter(|integration| integration.source.as_deref() == Some(settings.name()))
        .collect();
    let schemas: BTreeSet<&str> = integrations.iter().map(|integration| integration.schema.as_str()).collect();
    let there = publication::schemas(source, settings.publication()).await?;
    for schema in schemas {
        let changes = check(source, settings, schema, &integrations).await?;
        if there.iter().any(|known| known == schema) {
            report(Note::found(format!("schema {schema} is published")));
            continue;
        }
        changes.run(source, &Hand::Own).await?;
        publication::add_schema(source, settings.publication(), schema)
            .await
            .map_err(|error| explain(error, settings, schema))?;
        report(Note::done(format!("published schema {schema} with all its tables")));
    }
    Ok(())
}

/// Whether everything in the schema is an integration's and can be published; returns the identities that are to be set.
async fn check(
    source: &Client,
    settings: &SourceSettings,
    schema: &str,
    integrations: &[&Integration],
) -> Result<Alterations, SetupError> {
    let oids = tables_of(source, schema).await?;
    let (mut changes, mut unfit) = (Alterations::default(), Vec::new());
    for root in table::tables(source, &oids).await? {
        let is_integrations =
            integrations.iter().any(|one| (&one.schema, &one.table_name) == (&root.schema, &root.name));
        if !is_integrations {
            unfit.push(format!("{} is no integration's", root.display_name()));
            continue;
        }
        let leaves = table::tables(source, &root.leaves).await?;
        match plan(settings, &root, &leaves) {
            Ok(plan) => changes.append(plan),
            Err(reason) => unfit.push(format!("{}: {reason}", root.display_name())),
        }
    }
    if unfit.is_empty() {
        return Ok(changes);
    }
    Err(SetupError::SchemaUnfit { schema: schema.to_owned(), problems: unfit.join("; ") })
}

fn plan(settings: &SourceSettings, root: &Table, leaves: &[Table]) -> Result<Alterations, Unpublishable> {
    Ok(identity::plan(settings.replica_identity(), root, leaves)?.changes)
}

/// The tables that FOR TABLES IN SCHEMA publishes; partitions go with what they are parts of.
async fn tables_of(source: &Client, schema: &str) -> Result<Vec<u32>, PostgresError> {
    let statement = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition";
    let rows = source.query(statement, &[&schema]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

fn explain(error: PostgresError, settings: &SourceSettings, schema: &str) -> SetupError {
    if error.sqlstate() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    SetupError::MayNotPublishSchema {
        schema: schema.to_owned(),
        statement: publication::add_schema_statement(settings.publication(), schema),
        source: Box::new(error),
    }
}
