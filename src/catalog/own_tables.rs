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

/// Makes the tables where neither exists, in `maker`'s session, and records that.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn make_missing(client: &Client, maker: &Client, schema: &str) -> Result<bool, CatalogError> {
    let names: &[&str] = &["organizations", "service_integrations"];
    let existing = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = $1 AND c.relname = ANY ($2)";
    if !maker.query(existing, &[&schema, &names]).await?.is_empty() {
        return Ok(false);
    }
    // Recorded first: `setup --drop` passes over what is recorded and not there.
    made::record(client, KIND, "", &recorded_name(schema), "{}").await?;
    if let Err(error) = maker.batch_execute(&filled_in(schema)).await {
        made::forget(client, KIND, "", &recorded_name(schema)).await?;
        return Err(error.into());
    }
    Ok(true)
}

/// Drops the tables, in `dropper`'s session, if `setup` made them.
///
/// # Errors
/// Where the database fails or refuses, e.g. since something refers to them.
pub async fn drop_ours(client: &Client, dropper: &Client, schema: &str) -> Result<bool, CatalogError> {
    if owner(client, schema).await? == Tables::WebhookDbs {
        return Ok(false);
    }
    let schema = escape_identifier(schema);
    let statement = format!("DROP TABLE IF EXISTS {schema}.service_integrations, {schema}.organizations");
    dropper.batch_execute(&statement).await?;
    Ok(true)
}

fn filled_in(schema: &str) -> String {
    include_str!("../../sql/catalog/own_tables.sql").replace("{schema}", &escape_identifier(schema))
}

fn recorded_name(schema: &str) -> String {
    format!("{}.organizations", escape_identifier(schema))
}
