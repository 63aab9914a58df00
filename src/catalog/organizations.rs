//! Writes of organizations, where their table is ours.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::error::on_unique_violation;
use super::own_tables::{self, Tables};
use super::{CatalogError, Organization, revision};

/// Creates an organization.
///
/// # Errors
/// Where the table is WebhookDB's, the key is taken, or the database fails.
pub async fn create(client: &Client, schema: &str, organization: &Organization) -> Result<(), CatalogError> {
    ensure_ours(client, schema).await?;
    let Organization { key, name, schema: replication_schema } = organization;
    let statement = "written AS (INSERT INTO {schema}.organizations (name, key, replication_schema)
                     VALUES ($1, $2, $3) RETURNING id)";
    let statement = statement.replace("{schema}", &escape_identifier(schema));
    let written = revision::write_one(client, &statement, &[name, key, replication_schema]).await;
    written.map_err(|error| on_unique_violation(error, CatalogError::OrganizationExists(key.clone())))?;
    Ok(())
}

pub(super) async fn ensure_ours(client: &Client, schema: &str) -> Result<(), CatalogError> {
    match own_tables::owner(client, schema).await? {
        Tables::Ours => Ok(()),
        Tables::WebhookDbs => Err(CatalogError::NotOurs),
    }
}
