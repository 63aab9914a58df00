//! The publication: what is in it, and what is still open from before something was.

use postgres_protocol::escape::escape_identifier as identifier;
use serde::Deserialize;
use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use super::alteration::TableName;
use crate::config::ReplicaIdentity;
use crate::model::Lsn;
use crate::postgres::PostgresError;

/// A publication as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublicationState {
    /// One that is dropped and made again has another.
    pub oid: u32,
    /// Whether it is FOR ALL TABLES.
    pub all_tables: bool,
    /// Whether partitions' changes bear their root's name.
    pub via_partition_root: bool,
    /// Whether it publishes inserts, updates, deletes and truncates.
    pub complete: bool,
    /// Whether it publishes stored generated columns, where the server can.
    pub generated_columns: bool,
    /// Whether this role may alter it.
    pub owned: bool,
    /// What it publishes now.
    pub tables: Vec<TableName>,
}

/// The publication of this name, if it exists.
///
/// # Errors
/// Where the database fails.
pub async fn publication_state(client: &Client, name: &str) -> Result<Option<PublicationState>, PostgresError> {
    let row = client.query_opt(include_str!("../../sql/source/publication.sql"), &[&name]).await?;
    let read = |item: &str| serde_json::from_str(item).map_err(|error| PostgresError::Unexpected(Box::new(error)));
    row.map(|row| read(row.try_get(0)?)).transpose()
}

/// From this major version on a publication can hold stored generated columns, and has to where the table's replica
/// identity is FULL: else the table's own UPDATE and DELETE fail.
const GENERATED_COLUMNS_SINCE: i32 = 18;

/// Publishes stored generated columns.
const GENERATED_COLUMNS: &str = "publish_generated_columns = stored";

/// Creates the publication, with no table in it: it must be there before the slot.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn create_empty(client: &Client, name: &str, major_version: i32) -> Result<(), PostgresError> {
    let generated =
        if major_version >= GENERATED_COLUMNS_SINCE { format!(", {GENERATED_COLUMNS}") } else { String::new() };
    let name = identifier(name);
    let statement = format!("CREATE PUBLICATION {name} WITH (publish_via_partition_root = true{generated})");
    Ok(client.batch_execute(&statement).await?)
}

/// The statement that makes a publication hold stored generated columns.
#[must_use]
pub fn generated_columns_statement(name: &str) -> String {
    format!("ALTER PUBLICATION {} SET ({GENERATED_COLUMNS})", identifier(name))
}

/// Makes the publication hold stored generated columns.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn publish_generated_columns(client: &Client, name: &str) -> Result<(), PostgresError> {
    Ok(client.batch_execute(&generated_columns_statement(name)).await?)
}

/// Drops the publication.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn drop_publication(client: &Client, name: &str) -> Result<(), PostgresError> {
    let statement = format!("DROP PUBLICATION IF EXISTS {}", identifier(name));
    Ok(client.batch_execute(&statement).await?)
}

/// The schemas of which it publishes every table. Version 15 and later.
///
/// # Errors
/// Where the database fails.
pub async fn schemas(client: &Client, name: &str) -> Result<Vec<String>, PostgresError> {
    let statement = "SELECT n.nspname::text
                     FROM pg_catalog.pg_publication p
                     JOIN pg_catalog.pg_publication_namespace s ON s.pnpubid = p.oid
                     JOIN pg_catalog.pg_namespace n ON n.oid = s.pnnspid
                     WHERE p.pubname = $1 ORDER BY 1";
    let rows = client.query(statement, &[&name]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Adds a schema with all of its tables, those to come too. Version 15 and later; takes a superuser.
///
/// # Errors
/// Where the database fails or refuses.
pub async fn add_schema(client: &Client, name: &str, schema: &str) -> Result<(), PostgresError> {
    Ok(client.batch_execute(&add_schema_statement(name, schema)).await?)
}

/// What [`add_schema`] runs, for a message that tells a person to run it.
#[must_use]
pub fn add_schema_statement(name: &str, schema: &str) -> String {
    format!("ALTER PUBLICATION {} ADD TABLES IN SCHEMA {}", identifier(name), identifier(schema))
}

/// The OID of the table of this name, if there is one.
///
/// # Errors
/// Where the database fails.
pub async fn find_table(client: &Client, schema: &str, name: &str) -> Result<Option<u32>, PostgresError> {
    let statement = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
    Ok(client.query_opt(statement, &[&schema, &name]).await?.map(|row| row.try_get(0)).transpose()?)
}

/// A transaction id above that of every transaction that is open now.
///
/// It takes one for itself: the upper end of a snapshot may lie below transactions that are open already.
///
/// # Errors
/// Where the database fails.
pub async fn next_xid(client: &Client) -> Result<i64, PostgresError> {
    let statement = "SELECT pg_catalog.pg_current_xact_id()::text::bigint";
    Ok(client.query_one(statement, &[]).await?.try_get(0)?)
}

/// Where the log ends: whatever is committed from now on is committed at or after it.
///
/// # Errors
/// Where the database fails.
pub async fn log_end(client: &Client) -> Result<Lsn, PostgresError> {
    let row = client.query_one("SELECT pg_catalog.pg_current_wal_insert_lsn()", &[]).await?;
    Ok(Lsn::new(row.try_get::<_, PgLsn>(0)?.into()))
}

/// The oldest transaction of this database that has written and is still open: all below it have ended.
///
/// Those of other databases do not count: nothing of them is in the slot's log.
///
/// # Errors
/// Where the database fails.
pub async fn oldest_xid(client: &Client) -> Result<i64, PostgresError> {
    Ok(client.query_one(include_str!("../../sql/source/oldest_xid.sql"), &[]).await?.try_get(0)?)
}

/// What an integration is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The OID of its table, where one was recorded.
    pub known: Option<u32>,
    /// The schema in which it is to be found.
    pub schema: String,
    /// The name under which it is to be found.
    pub name: String,
}

/// What the source says about one [`Wanted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Schema and name now of the table of the known OID, if it exists.
    pub known: Option<(String, String)>,
    /// Whether that table is in the publication.
    pub known_published: bool,
    /// Whether it, or one of its partitions, may have another identity than it is to have.
    pub identity_in_doubt: bool,
    /// Whether it is a partition now of the table of that name.
    pub known_is_partition_of_named: bool,
    /// The OID of the table of that name, if there is one.
    pub named: Option<u32>,
}

/// One look at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The publication's OID, if it exists.
    pub publication_oid: Option<u32>,
    /// An answer for each question, in their order.
    pub seen: Vec<Seen>,
}

/// Asks for all at once, since this is done every few seconds.
///
/// # Errors
/// Where the database fails.
pub async fn look_up(
    client: &Client,
    publication: &str,
    policy: ReplicaIdentity,
    wanted: &[Wanted],
) -> Result<Look, PostgresError> {
    let known: Vec<Option<u32>> = wanted.iter().map(|wanted| wanted.known).collect();
    let schemas: Vec<&str> = wanted.iter().map(|wanted| wanted.schema.as_str()).collect();
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    let statement = include_str!("../../sql/source/look_up.sql");
    let rows = client.query(statement, &[&publication, &known, &schemas, &names, &policy.as_str()]).await?;
    let mut look = Look { publication_oid: None, seen: Vec::with_capacity(rows.len()) };
    for row in rows {
        look.publication_oid = row.try_get("publication")?;
        let known: (Option<String>, Option<String>) = (row.try_get("known_schema")?, row.try_get("known_name")?);
        look.seen.push(Seen {
            known: known.0.zip(known.1),
            known_published: row.try_get("known_published")?,
            identity_in_doubt: row.try_get("identity_in_doubt")?,
            known_is_partition_of_named: row.try_get("known_is_partition_of_named")?,
            named: row.try_get("named")?,
        });
    }
    Ok(look)
}
