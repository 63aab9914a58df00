//! The schema `notifications`, brought to this program's version: numbered, recorded, forward only.

use tokio_postgres::{Client, GenericClient, Transaction};

use super::{CatalogError, rights};

/// A step of the schema. Its number is its place, from 1.
struct Migration {
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_catalog", sql: include_str!("../../sql/migrations/0001_catalog.sql") },
    Migration { name: "0002_lanes", sql: include_str!("../../sql/migrations/0002_lanes.sql") },
    Migration { name: "0003_manners", sql: include_str!("../../sql/migrations/0003_manners.sql") },
    Migration { name: "0004_position", sql: include_str!("../../sql/migrations/0004_position.sql") },
    Migration { name: "0005_sources", sql: include_str!("../../sql/migrations/0005_sources.sql") },
    Migration { name: "0006_held_back", sql: include_str!("../../sql/migrations/0006_held_back.sql") },
    Migration { name: "0007_secrets", sql: include_str!("../../sql/migrations/0007_secrets.sql") },
    Migration { name: "0008_batches", sql: include_str!("../../sql/migrations/0008_batches.sql") },
];

/// Two programs that migrate at once take turns by this advisory lock ("whdb" and a number of our own).
const MIGRATION_LOCK: i64 = 0x7768_6462_0001;

/// What `migrate` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Whether the schema itself had to be made.
    pub made_schema: bool,
    /// The migrations that were applied now, in order.
    pub applied: Vec<&'static str>,
}

/// Brings the schema to this program's version.
///
/// # Errors
/// Where the database fails or refuses, or the schema is newer than the program.
pub async fn migrate(client: &mut Client) -> Result<Migrated, CatalogError> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let made_schema = make_schema(&transaction).await?;
    transaction.batch_execute(include_str!("../../sql/catalog/migrations_table.sql")).await?;
    let applied = apply_missing(&transaction).await?;
    transaction.commit().await?;
    Ok(Migrated { made_schema, applied })
}

/// Tells whether the schema is of this program's version.
///
/// # Errors
/// Where it is older (`setup` is to be run) or newer (this program is too old), or the database fails.
pub async fn check(client: &Client) -> Result<(), CatalogError> {
    match seen_version(client).await {
        Ok(version) if version >= newest() => Ok(()),
        Ok(_) => Err(CatalogError::NotSetUp(None)),
        // Of the schema of organizations nothing is asked here.
        Err(error) => Err(rights::explain(client, "", error).await),
    }
}

/// Made only where it is missing: to say IF NOT EXISTS takes the right to create one even where one exists.
async fn make_schema(transaction: &Transaction<'_>) -> Result<bool, CatalogError> {
    let exists = schema_exists(transaction).await?;
    if !exists {
        transaction.batch_execute("CREATE SCHEMA notifications").await?;
    }
    Ok(!exists)
}

/// Whether the schema is there, of whatever version.
///
/// # Errors
/// Where the database fails.
pub async fn schema_exists(client: &impl GenericClient) -> Result<bool, CatalogError> {
    let statement = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'notifications'";
    Ok(client.query_opt(statement, &[]).await?.is_some())
}

async fn apply_missing(transaction: &Transaction<'_>) -> Result<Vec<&'static str>, CatalogError> {
    let seen = seen_version(transaction).await?;
    let mut applied = Vec::new();
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > seen) {
        transaction.batch_execute(migration.sql).await?;
        let record = "INSERT INTO notifications.migrations (version, name) VALUES ($1, $2)";
        transaction.execute(record, &[&version, &migration.name]).await?;
        applied.push(migration.name);
    }
    Ok(applied)
}

async fn seen_version(client: &impl GenericClient) -> Result<i32, CatalogError> {
    let found = client.query_one("SELECT coalesce(max(version), 0) FROM notifications.migrations", &[]).await?;
    let found: i32 = found.try_get(0)?;
    if found > newest() { Err(CatalogError::TooNew { found, known: newest() }) } else { Ok(found) }
}

fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        for (version, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{version:04}_")), "{}", migration.name);
        }
    }
}
