//! Which right the role lacks, where the server has refused it something of the catalog.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::CatalogError;
use crate::postgres::PostgresError;

/// The statements that would give the role what it lacks in the catalog, in their order. `schema` holds organizations and
/// integrations.
///
/// # Errors
/// Where the database fails.
pub async fn missing(client: &Client, schema: &str) -> Result<Vec<String>, PostgresError> {
    let rows = client.query(include_str!("../../sql/catalog/missing_rights.sql"), &[&schema]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Names the grants, where an error says that a right is missing.
pub(super) async fn explain(client: &Client, schema: &str, error: CatalogError) -> CatalogError {
    let CatalogError::Postgres(source) = error else { return error };
    if source.sqlstate() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return source.into();
    }
    match missing(client, schema).await {
        Ok(grants) if !grants.is_empty() => {
            CatalogError::MissingRight { grant: grants.join("; "), source: Box::new(source) }
        }
        _ => source.into(),
    }
}
