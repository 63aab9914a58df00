//! Writes of integrations, where their table is ours.

use postgres_protocol::escape::escape_identifier;
use rand::RngExt;
use tokio_postgres::Client;

use super::error::on_unique_violation;
use super::organizations::ensure_ours;
use super::{CatalogError, revision};

/// An integration that is to be added.
#[derive(Clone, Debug)]
pub struct NewIntegration {
    /// The organization's key.
    pub organization: String,
    /// What is replicated, e.g. `stripe_charge_v1`.
    pub service_name: String,
    /// The table's name.
    pub table_name: String,
    /// The table's schema, where it is not the organization's.
    pub schema: Option<String>,
    /// The source that holds the table.
    pub source: String,
}

/// Adds an integration and returns its opaque id.
///
/// # Errors
/// Where the table is WebhookDB's, the organization is unknown or has such a table already, or the database fails.
pub async fn add(client: &Client, schema: &str, new: &NewIntegration) -> Result<String, CatalogError> {
    ensure_ours(client, schema).await?;
    let opaque_id = random_opaque_id();
    let statement =
        include_str!("../../sql/catalog/add_integration.sql").replace("{schema}", &escape_identifier(schema));
    let written = revision::write_one(
        client,
        &statement,
        &[&new.organization, &opaque_id, &new.service_name, &new.table_name, &new.source, &new.schema],
    )
    .await;
    let taken =
        CatalogError::IntegrationExists { organization: new.organization.clone(), table: new.table_name.clone() };
    match written.map_err(|error| on_unique_violation(error, taken))? {
        Some(_) => Ok(opaque_id),
        None => Err(CatalogError::UnknownOrganization(new.organization.clone())),
    }
}

/// Removes an integration, leaving a tombstone for its table; with `force`, its subscriptions too. Returns the revision
/// that daemons must have loaded before the removal is complete.
///
/// # Errors
/// Where the table is WebhookDB's, subscriptions are attached and `force` is not given, or the database fails.
pub async fn remove(client: &Client, schema: &str, opaque_id: &str, force: bool) -> Result<i64, CatalogError> {
    ensure_ours(client, schema).await?;
    let statement =
        include_str!("../../sql/catalog/remove_integration.sql").replace("{schema}", &escape_identifier(schema));
    match revision::write_one(client, &statement, &[&opaque_id, &force]).await? {
        Some(revision) => Ok(revision),
        None => Err(why_kept(client, opaque_id).await?),
    }
}

async fn why_kept(client: &Client, opaque_id: &str) -> Result<CatalogError, CatalogError> {
    let statement = "SELECT opaque_id FROM notifications.subscriptions
                     WHERE integration = $1 AND state <> 'deleted' ORDER BY id";
    let rows = client.query(statement, &[&opaque_id]).await?;
    let subscriptions = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok(match subscriptions.is_empty() {
        true => CatalogError::UnknownIntegration(opaque_id.to_owned()),
        false => CatalogError::IntegrationInUse { integration: opaque_id.to_owned(), subscriptions },
    })
}

/// `svi_` and 25 of `[a-z0-9]`, as WebhookDB makes them: about 129 random bits.
fn random_opaque_id() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    let digits = (0..25).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]));
    format!("svi_{}", digits.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_ids_have_webhookdbs_form() {
        let id = random_opaque_id();
        assert_eq!(id.len(), "svi_c1lih496odohq4aftvzii6l4a".len());
        assert!(id["svi_".len()..].bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        assert_ne!(id, random_opaque_id());
    }
}
