//! The minimal tables of organizations and integrations, for a database that has no WebhookDB beside it.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::{CatalogError, made};

/// Whose the tables of organizations and integrations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Made by `setup`: this program writes them too.
    Ours,
    /// WebhookDB's: read, never altered.
    WebhookDbs,
}

/// The kind under which `notifications.made` records a table.
const KIND: &str = "table";

/// Tells whose the tables are.
///
/// # Errors
/// Where the database fails or the catalog is not set up.
pub async fn owner(client: &Client, schema: &str) -> Result<Tables, CatalogError> {
    let ours = made::find(client, KIND, "", &recorded_name(schema)).await?.is_some();
    Ok(if ours { Tables::Ours } else { Tables::WebhookDbs })
}

/// Makes the tables where neither exists, and records that.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn make_missing(client: &mut Client, schema: &str) -> Result<bool, CatalogError> {
    let transaction = client.transaction().await?;
    let names: &[&str] = &["organizations", "service_integrations"];
    let existing = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = $1 AND c.relname = ANY ($2)";
    if !transaction.query(existing, &[&schema, &names]).await?.is_empty() {
        return Ok(false);
    }
    transaction.batch_execute(&filled_in(schema)).await?;
    made::record(&transaction, KIND, "", &recorded_name(schema), "{}").await?;
    transaction.commit().await?;
    Ok(true)
}

/// Drops the tables if `setup` made them.
///
/// # Errors
/// Where the database fails or refuses, e.g. since something refers to them.
pub async fn drop_ours(client: &Client, schema: &str) -> Result<bool, CatalogError> {
    if owner(client, schema).await? == Tables::WebhookDbs {
        return Ok(false);
    }
    let schema = escape_identifier(schema);
    let statement = format!("DROP TABLE IF EXISTS {schema}.service_integrations, {schema}.organizations");
    client.batch_execute(&statement).await?;
    Ok(true)
}

fn filled_in(schema: &str) -> String {
    include_str!("../../sql/catalog/own_tables.sql").replace("{schema}", &escape_identifier(schema))
}

fn recorded_name(schema: &str) -> String {
    format!("{}.organizations", escape_identifier(schema))
}
