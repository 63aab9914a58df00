//! The record of what `setup` made, so that `setup --drop` removes that and nothing else.

use tokio_postgres::{Client, GenericClient};

use super::CatalogError;

/// One thing that `setup` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name; of a replica identity: the table's OID.
    pub name: String,
    /// What is needed to undo it, as JSON.
    pub detail: String,
}

/// Records a thing; a thing recorded before keeps its first record, which says what was there before us.
///
/// # Errors
/// Where the database fails.
pub async fn record(
    client: &impl GenericClient,
    kind: &str,
    source: &str,
    name: &str,
    detail: &str,
) -> Result<(), CatalogError> {
    let statement = "INSERT INTO notifications.made (kind, source, name, detail) VALUES ($1, $2, $3, $4::text::jsonb)
                     ON CONFLICT DO NOTHING";
    client.execute(statement, &[&kind, &source, &name, &detail]).await?;
    Ok(())
}

/// The record of a thing.
///
/// # Errors
/// Where the database fails.
pub async fn find(client: &Client, kind: &str, source: &str, name: &str) -> Result<Option<Made>, CatalogError> {
    Ok(list(client, kind, source).await?.into_iter().find(|made| made.name == name))
}

/// Every thing of this kind that was made for the source.
///
/// # Errors
/// Where the database fails.
pub async fn list(client: &Client, kind: &str, source: &str) -> Result<Vec<Made>, CatalogError> {
    let statement = "SELECT name, detail::text FROM notifications.made WHERE kind = $1 AND source = $2 ORDER BY name";
    let rows = client.query(statement, &[&kind, &source]).await?;
    rows.iter().map(|row| Ok(Made { name: row.try_get(0)?, detail: row.try_get(1)? })).collect()
}

/// Forgets a thing that is gone.
///
/// # Errors
/// Where the database fails.
pub async fn forget(client: &Client, kind: &str, source: &str, name: &str) -> Result<(), CatalogError> {
    let statement = "DELETE FROM notifications.made WHERE kind = $1 AND source = $2 AND name = $3";
    client.execute(statement, &[&kind, &source, &name]).await?;
    Ok(())
}
