//! What is to be done to tables and to the publication, by whose hand, and never with a long wait for a lock.

use std::time::Duration;

use postgres_protocol::escape::{escape_identifier as identifier, escape_literal as literal};
use serde::Deserialize;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::delegate::Delegate;
use crate::postgres::PostgresError;

/// A statement that waits for a lock holds up everybody who comes after it: so it gives up soon, and tries again.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a statement that found the table locked is tried in all.
const LOCK_ATTEMPTS: u32 = 5;
/// Lets those who waited behind us go first.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// A table by all that it is called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TableName {
    /// Names the table through every rename.
    pub oid: u32,
    /// Its schema now.
    pub schema: String,
    /// Its name now.
    pub name: String,
}

impl TableName {
    fn quoted(&self) -> String {
        qualified(&self.schema, &self.name)
    }
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

/// By whose rights something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hand {
    /// The session's own role.
    Own,
    /// The functions that `setup --admin-url` has left behind.
    Delegate(Delegate),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Alteration {
    Identity(TableName, NewIdentity),
    Add(String, TableName),
    TakeOut(String, TableName),
}

impl Alteration {
    fn statement(&self) -> String {
        match self {
            Self::Identity(table, identity) => {
                format!("ALTER TABLE ONLY {} REPLICA IDENTITY {}", table.quoted(), identity_clause(identity))
            }
            Self::Add(publication, table) => {
                format!("ALTER PUBLICATION {} ADD TABLE ONLY {}", identifier(publication), table.quoted())
            }
            Self::TakeOut(publication, table) => {
                format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", identifier(publication), table.quoted())
            }
        }
    }

    /// The functions know their publication, and set an identity before they publish only where one is missing.
    fn call(&self, delegate: &Delegate) -> String {
        let schema = identifier(&delegate.schema);
        match self {
            Self::Identity(table, identity) => {
                let (kind, index) = match identity {
                    NewIdentity::Default => ("default", None),
                    NewIdentity::Full => ("full", None),
                    NewIdentity::Nothing => ("nothing", None),
                    NewIdentity::Index(index) => ("index", Some(index)),
                };
                let index = index.map_or_else(|| "NULL".to_owned(), |index| literal(index));
                format!("SELECT {schema}.set_identity({}, '{kind}', {index})", table.oid)
            }
            Self::Add(_, table) => format!("SELECT {schema}.add_table({})", table.oid),
            Self::TakeOut(_, table) => format!("SELECT {schema}.drop_table({})", table.oid),
        }
    }
}

fn identity_clause(identity: &NewIdentity) -> String {
    match identity {
        NewIdentity::Default => "DEFAULT".to_owned(),
        NewIdentity::Index(index) => format!("USING INDEX {}", identifier(index)),
        NewIdentity::Full => "FULL".to_owned(),
        NewIdentity::Nothing => "NOTHING".to_owned(),
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alterations(Vec<Alteration>);

impl Alterations {
    /// Sets the replica identity. It does not recurse to partitions.
    pub fn set_identity(&mut self, table: TableName, identity: NewIdentity) {
        self.0.push(Alteration::Identity(table, identity));
    }

    /// Adds the table, and no table that inherits from it, to the publication.
    pub fn add_to(&mut self, publication: &str, table: TableName) {
        self.0.push(Alteration::Add(publication.to_owned(), table));
    }

    /// Takes the table out of the publication.
    pub fn take_out_of(&mut self, publication: &str, table: TableName) {
        self.0.push(Alteration::TakeOut(publication.to_owned(), table));
    }

    /// Does `more` after this.
    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The statements, for a message that tells a person to run them.
    #[must_use]
    pub fn statements(&self) -> String {
        self.0.iter().map(Alteration::statement).collect::<Vec<_>>().join("; ")
    }

    /// Does it, each thing in a transaction of its own: who waits for the second lock must not hold the first.
    ///
    /// # Errors
    /// Where the database fails or refuses, or a table stays locked. What was done before stays done.
    pub async fn run(&self, client: &Client, hand: &Hand) -> Result<(), PostgresError> {
        for alteration in &self.0 {
            let statement = match hand {
                Hand::Own => alteration.statement(),
                Hand::Delegate(delegate) => alteration.call(delegate),
            };
            run_briefly(client, &statement).await?;
        }
        Ok(())
    }
}

/// Runs a statement with a short lock timeout, a bounded number of times.
async fn run_briefly(client: &Client, statement: &str) -> Result<(), PostgresError> {
    // Two statements in one simple query are one transaction, in which SET LOCAL holds too: nothing of it outlives the
    // call, even one that is cut short.
    let script = format!("SET LOCAL lock_timeout = {}; {statement}", LOCK_TIMEOUT.as_millis());
    let mut attempts_left = LOCK_ATTEMPTS;
    loop {
        attempts_left -= 1;
        match client.batch_execute(&script).await {
            Err(error) if attempts_left > 0 && is_lock_trouble(&error) => sleep(LOCK_PAUSE).await,
            result => return Ok(result?),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn odd() -> Alterations {
        let table = TableName { oid: 7, schema: "whdb_acme".to_owned(), name: "a \"b\".c".to_owned() };
        let mut alterations = Alterations::default();
        alterations.set_identity(table.clone(), NewIdentity::Index("I 'x'".to_owned()));
        alterations.add_to("1 pub", table);
        alterations
    }

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        assert_eq!(
            odd().statements(),
            r#"ALTER TABLE ONLY "whdb_acme"."a ""b"".c" REPLICA IDENTITY USING INDEX "I 'x'"; ALTER PUBLICATION "1 pub" ADD TABLE ONLY "whdb_acme"."a ""b"".c""#
        );
    }

    #[test]
    fn a_delegate_is_told_the_oid_and_no_name_but_the_index() {
        let delegate = Delegate { schema: "s".to_owned(), owner: "p".to_owned() };
        let calls: Vec<String> = odd().0.iter().map(|alteration| alteration.call(&delegate)).collect();
        assert_eq!(calls, [r#"SELECT "s".set_identity(7, 'index', 'I ''x''')"#, r#"SELECT "s".add_table(7)"#]);
    }
}
