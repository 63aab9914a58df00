//! The publication: what is in it, and the statements that alter it without ever waiting long for a lock.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::PgLsn;

use postgres_protocol::escape::escape_identifier as identifier;

use super::table::Table;
use crate::model::Lsn;
use crate::postgres::PostgresError;

/// A statement that waits for a lock holds up everybody who comes after it: so it gives up soon, and tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a statement that found the table locked is tried in all.
const LOCK_ATTEMPTS: u32 = 5;
/// Lets those who waited behind us go first.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

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
    pub tables: Vec<PublishedTable>,
}

/// A table in a publication.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PublishedTable {
    /// Names the table through every rename.
    pub oid: u32,
    /// Its schema now.
    pub schema: String,
    /// Its name now.
    pub name: String,
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

/// The OID of the table of this name, if there is one.
///
/// # Errors
/// Where the database fails.
pub async fn find_table(client: &Client, schema: &str, name: &str) -> Result<Option<u32>, PostgresError> {
    let statement = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";
    Ok(client.query_opt(statement, &[&schema, &name]).await?.map(|row| row.try_get(0)).transpose()?)
}

/// A replica identity that a table is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewIdentity {
    /// The primary key.
    Default,
    /// The unique index of this name.
    Index(String),
    /// The whole row.
    Full,
    /// Nothing.
    Nothing,
}

/// Statement by statement what is to be done to a table, in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableChanges(Vec<String>);

impl TableChanges {
    /// Sets the replica identity. It does not recurse to partitions.
    pub fn set_identity(&mut self, schema: &str, name: &str, identity: &NewIdentity) {
        let identity = match identity {
            NewIdentity::Default => "DEFAULT".to_owned(),
            NewIdentity::Index(index) => format!("USING INDEX {}", identifier(index)),
            NewIdentity::Full => "FULL".to_owned(),
            NewIdentity::Nothing => "NOTHING".to_owned(),
        };
        self.0.push(format!("ALTER TABLE ONLY {} REPLICA IDENTITY {identity}", qualified(schema, name)));
    }

    /// Adds the table, and no table that inherits from it, to the publication.
    pub fn add_to(&mut self, publication: &str, table: &Table) {
        let (publication, table) = (identifier(publication), qualified(&table.schema, &table.name));
        self.0.push(format!("ALTER PUBLICATION {publication} ADD TABLE ONLY {table}"));
    }

    /// Takes the table out of the publication.
    pub fn take_out_of(&mut self, publication: &str, schema: &str, name: &str) {
        let (publication, table) = (identifier(publication), qualified(schema, name));
        self.0.push(format!("ALTER PUBLICATION {publication} DROP TABLE ONLY {table}"));
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The statements, for a message that tells a person to run them.
    #[must_use]
    pub fn statements(&self) -> &[String] {
        &self.0
    }

    /// Makes the changes, all or none, with a short lock timeout, a bounded number of times.
    ///
    /// # Errors
    /// Where the database fails or refuses, or a table stays locked.
    pub async fn run(&self, client: &Client) -> Result<(), PostgresError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut attempts_left = LOCK_ATTEMPTS;
        loop {
            attempts_left -= 1;
            // Several statements in one simple query are one transaction, in which SET LOCAL holds too: nothing of it
            // outlives the call, even one that is cut short.
            match client.batch_execute(&self.script()).await {
                Err(error) if attempts_left > 0 && is_lock_trouble(&error) => sleep(LOCK_PAUSE).await,
                result => return Ok(result?),
            }
        }
    }

    fn script(&self) -> String {
        format!("SET LOCAL lock_timeout = {}; {}", LOCK_TIMEOUT.as_millis(), self.0.join("; "))
    }
}

fn is_lock_trouble(error: &tokio_postgres::Error) -> bool {
    let trouble = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| trouble.contains(code))
}

/// `"schema"."name"`.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
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

/// The oldest transaction that is still open: all below it have ended.
///
/// # Errors
/// Where the database fails.
pub async fn oldest_xid(client: &Client) -> Result<i64, PostgresError> {
    let statement = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint";
    Ok(client.query_one(statement, &[]).await?.try_get(0)?)
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
    /// The OID of the table of that name, if there is one.
    pub named: Option<u32>,
}

/// One look at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The publication's OID, if it exists.
    pub publication_oid: Option<u32>,
    /// The oldest transaction that is still open.
    pub oldest_xid: i64,
    /// An answer for each question, in their order.
    pub seen: Vec<Seen>,
}

/// Asks for all at once, since this is done every few seconds.
///
/// # Errors
/// Where the database fails.
pub async fn look_up(client: &Client, publication: &str, wanted: &[Wanted]) -> Result<Look, PostgresError> {
    let known: Vec<Option<u32>> = wanted.iter().map(|wanted| wanted.known).collect();
    let schemas: Vec<&str> = wanted.iter().map(|wanted| wanted.schema.as_str()).collect();
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    let statement = include_str!("../../sql/source/look_up.sql");
    let rows = client.query(statement, &[&publication, &known, &schemas, &names]).await?;
    let mut look = Look { publication_oid: None, oldest_xid: 0, seen: Vec::with_capacity(rows.len()) };
    for row in rows {
        look.publication_oid = row.try_get("publication")?;
        look.oldest_xid = row.try_get("oldest_xid")?;
        let known: (Option<String>, Option<String>) = (row.try_get("known_schema")?, row.try_get("known_name")?);
        look.seen.push(Seen {
            known: known.0.zip(known.1),
            known_published: row.try_get("known_published")?,
            named: row.try_get("named")?,
        });
    }
    Ok(look)
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table_of;
    use super::*;

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        let mut table = table_of(1, &[("pkey", &[1])], &[]);
        table.schema = "whdb_acme".to_owned();
        table.name = "a \"b\".c".to_owned();
        let mut changes = TableChanges::default();
        changes.set_identity(&table.schema, &table.name, &NewIdentity::Index("I x".to_owned()));
        changes.add_to("1 pub", &table);
        assert_eq!(
            changes.statements(),
            [
                r#"ALTER TABLE ONLY "whdb_acme"."a ""b"".c" REPLICA IDENTITY USING INDEX "I x""#,
                r#"ALTER PUBLICATION "1 pub" ADD TABLE ONLY "whdb_acme"."a ""b"".c""#,
            ]
        );
    }
}
