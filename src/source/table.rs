//! A table as Postgres's catalogs describe it: its columns, its keys, its replica identity, its partitions.

use serde::Deserialize;
use tokio_postgres::Client;

use super::alteration::TableName;
use crate::postgres::PostgresError;

/// What publishing a table and reading its changes take to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// Names the table through every rename.
    pub oid: u32,
    /// Its schema now.
    pub schema: String,
    /// Its name now.
    pub name: String,
    /// Its kind, as `pg_class.relkind` has it.
    kind: String,
    /// As `pg_class.relpersistence` has it.
    persistence: String,
    /// What an UPDATE or DELETE logs of the row before.
    pub identity: Identity,
    /// Whether this role may alter it.
    pub owned: bool,
    /// The role that owns it.
    pub owner: String,
    /// In the order of their numbers.
    pub columns: Vec<Column>,
    /// Whether it has virtual generated columns: Postgres refuses UPDATE and DELETE of such a table under FULL.
    pub virtual_columns: bool,
    /// The unique, immediate, valid ones on plain columns and all rows.
    pub indexes: Vec<UniqueIndex>,
    /// The columns by which the table is partitioned.
    pub partition_key: Vec<i16>,
    /// The partitions that hold the rows.
    pub leaves: Vec<u32>,
}

/// A replica identity, by the letter of `pg_class.relreplident`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Identity {
    /// The primary key, if there is one.
    #[serde(rename = "d")]
    Default,
    /// A unique index.
    #[serde(rename = "i")]
    Index,
    /// The whole row.
    #[serde(rename = "f")]
    Full,
    /// Nothing.
    #[serde(rename = "n")]
    Nothing,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Names the column through every rename.
    pub number: i16,
    /// Its name now.
    pub name: String,
    /// Whether it may hold no null.
    pub not_null: bool,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UniqueIndex {
    /// Its name, in the table's schema.
    pub name: String,
    /// Whether it is the primary key's.
    pub primary: bool,
    /// Whether it is marked as the replica identity.
    pub identity: bool,
    /// The key's columns, in the index's order.
    pub columns: Vec<i16>,
}

/// Which columns tell rows apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationKeys {
    /// The table's schema now.
    pub schema: String,
    /// The table's name now.
    pub name: String,
    /// Number and name of each column, in the order of the numbers.
    pub columns: Vec<(i16, String)>,
    /// The primary key, in its own order; empty where there is none.
    pub primary_key: Vec<i16>,
    /// The column of the external id; empty where there is no such key.
    pub remote_key: Vec<i16>,
    /// The columns by which the table is partitioned.
    pub partition_key: Vec<i16>,
}

impl Table {
    /// Whether it is a table at all, and not a view, a sequence, an index or a foreign table.
    #[must_use]
    pub fn is_table(&self) -> bool {
        matches!(self.kind.as_str(), "r" | "p")
    }

    /// Whether its changes are in the write-ahead log; those of unlogged and temporary tables are not.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        self.persistence == "p"
    }

    /// All that it is called.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName { oid: self.oid, schema: self.schema.clone(), name: self.name.clone() }
    }

    /// `schema.name`, for people.
    #[must_use]
    pub fn display_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The primary key's columns; none where there is no primary key.
    #[must_use]
    pub fn primary_key(&self) -> &[i16] {
        self.indexes.iter().find(|index| index.primary).map_or(&[], |index| &index.columns)
    }

    /// The column of the external id: see [`Self::remote_key_indexes`].
    #[must_use]
    pub fn remote_key(&self) -> Option<i16> {
        self.remote_key_indexes().first().map(|(column, _)| *column)
    }

    /// The indexes of the single-column unique not-null keys other than the primary key, as WebhookDB makes them, by the
    /// order of their columns: the first is the external id's. The columns of the partition key, which every unique index
    /// of a partitioned table must hold, do not count.
    #[must_use]
    pub fn remote_key_indexes(&self) -> Vec<(i16, &UniqueIndex)> {
        let primary = self.without_partition_key(self.primary_key());
        let mut found = Vec::new();
        for index in self.indexes.iter().filter(|index| !index.primary && self.is_not_null(index)) {
            let columns = self.without_partition_key(&index.columns);
            if let (&[column], true) = (columns.as_slice(), columns != primary) {
                found.push((column, index));
            }
        }
        found.sort_by_key(|(column, _)| *column);
        found.dedup_by_key(|(column, _)| *column);
        found
    }

    /// Whether none of the index's columns may be null, as a replica identity asks for.
    #[must_use]
    pub fn is_not_null(&self, index: &UniqueIndex) -> bool {
        let not_null = |number: &i16| self.column(*number).is_some_and(|column| column.not_null);
        index.columns.iter().all(not_null)
    }

    /// Whether an UPDATE or DELETE of the published table can say which row it was. Where not, Postgres refuses it.
    #[must_use]
    pub fn has_usable_identity(&self) -> bool {
        match self.identity {
            Identity::Default => !self.primary_key().is_empty(),
            Identity::Index => self.indexes.iter().any(|index| index.identity),
            Identity::Full => !self.virtual_columns,
            Identity::Nothing => false,
        }
    }

    /// The column of this number.
    #[must_use]
    pub fn column(&self, number: i16) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }

    /// The names of the columns of these numbers.
    #[must_use]
    pub fn names(&self, numbers: &[i16]) -> Vec<&str> {
        numbers.iter().filter_map(|number| self.column(*number)).map(|column| column.name.as_str()).collect()
    }

    /// Which columns tell the table's rows apart.
    #[must_use]
    pub fn keys(&self) -> RelationKeys {
        RelationKeys {
            schema: self.schema.clone(),
            name: self.name.clone(),
            columns: self.columns.iter().map(|column| (column.number, column.name.clone())).collect(),
            primary_key: self.primary_key().to_vec(),
            remote_key: self.remote_key().into_iter().collect(),
            partition_key: self.partition_key.clone(),
        }
    }

    fn without_partition_key(&self, columns: &[i16]) -> Vec<i16> {
        columns.iter().copied().filter(|column| !self.partition_key.contains(column)).collect()
    }
}

/// The tables of these OIDs, as far as they exist, in the order of the OIDs.
///
/// # Errors
/// Where the database fails.
pub async fn tables(client: &Client, oids: &[u32]) -> Result<Vec<Table>, PostgresError> {
    let rows = client.query(include_str!("../../sql/source/tables.sql"), &[&oids]).await?;
    let read = |item: &str| serde_json::from_str(item).map_err(|error| PostgresError::Unexpected(Box::new(error)));
    rows.iter().map(|row| read(row.try_get(0)?)).collect()
}

/// The table of this OID, if it exists.
///
/// # Errors
/// Where the database fails.
pub async fn table(client: &Client, oid: u32) -> Result<Option<Table>, PostgresError> {
    Ok(tables(client, &[oid]).await?.pop())
}

/// Which columns tell the rows of the table of this OID apart; none where it does not exist.
///
/// # Errors
/// Where the database fails.
pub async fn relation_keys(client: &Client, oid: u32) -> Result<Option<RelationKeys>, PostgresError> {
    Ok(table(client, oid).await?.map(|table| table.keys()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table with columns `a`, `b`, `c`, … that hold no nulls, numbered from 1.
    pub(crate) fn table_of(columns: usize, indexes: &[(&str, &[i16])], partition_key: &[i16]) -> Table {
        let column = |(number, letter): (i16, char)| Column { number, name: letter.to_string(), not_null: true };
        let index = |(name, columns): &(&str, &[i16])| UniqueIndex {
            name: (*name).to_owned(),
            primary: *name == "pkey",
            identity: false,
            columns: columns.to_vec(),
        };
        Table {
            oid: 16384,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            kind: "r".to_owned(),
            persistence: "p".to_owned(),
            identity: Identity::Default,
            owned: true,
            owner: "whdb_owner".to_owned(),
            columns: (1..).zip('a'..).take(columns).map(column).collect(),
            virtual_columns: false,
            indexes: indexes.iter().map(index).collect(),
            partition_key: partition_key.to_vec(),
            leaves: Vec::new(),
        }
    }

    #[test]
    fn the_remote_key_is_the_single_column_unique_key_beside_the_primary_key() {
        let stripe = table_of(3, &[("pkey", &[1]), ("stripe_id_key", &[2])], &[]);
        assert_eq!((stripe.primary_key(), stripe.remote_key()), (&[1][..], Some(2)));
        let only_primary = table_of(3, &[("pkey", &[1]), ("again", &[1]), ("pair", &[2, 3])], &[]);
        assert_eq!(only_primary.remote_key(), None);
    }

    #[test]
    fn of_several_remote_keys_the_first_by_column_order_counts() {
        let table = table_of(4, &[("pkey", &[1]), ("late", &[4]), ("early", &[3]), ("twice", &[3])], &[]);
        let columns: Vec<i16> = table.remote_key_indexes().iter().map(|(column, _)| *column).collect();
        assert_eq!(columns, [3, 4]);
    }

    #[test]
    fn a_partitioned_table_s_keys_are_seen_without_the_partition_key() {
        let calendar = table_of(3, &[("pkey", &[1, 2]), ("identity", &[1, 3])], &[1]);
        assert_eq!((calendar.primary_key(), calendar.remote_key()), (&[1, 2][..], Some(3)));
    }

    #[test]
    fn a_nullable_column_is_no_key() {
        let mut table = table_of(2, &[("pkey", &[1]), ("unique", &[2])], &[]);
        table.columns[1].not_null = false;
        assert_eq!(table.remote_key(), None);
    }

    #[test]
    fn an_identity_is_usable_where_postgres_can_name_the_row() {
        let mut table = table_of(2, &[("unique", &[2])], &[]);
        assert!(!table.has_usable_identity(), "the default without a primary key");
        table.identity = Identity::Index;
        assert!(!table.has_usable_identity(), "an index that vanished");
        table.indexes[0].identity = true;
        assert!(table.has_usable_identity());
        table.identity = Identity::Nothing;
        assert!(!table.has_usable_identity());
        table.identity = Identity::Full;
        assert!(table.has_usable_identity());
        table.virtual_columns = true;
        assert!(!table.has_usable_identity());
    }
}
