//! A table as its notifications describe it: its shape in the stream, its keys, and whose it is.

use crate::catalog::Integration;
use crate::decode::{Relation, ReplicaIdentity, Shape, write_json_string};

/// Which columns are key, as the database tells now.
#[derive(Clone, Debug, Default)]
pub struct KeyColumns {
    /// The table's columns in their order: number and name.
    pub columns: Vec<(i16, String)>,
    /// The numbers of the primary key's columns.
    pub primary_key: Vec<i16>,
    /// The numbers of the remote key's columns.
    pub remote_key: Vec<i16>,
}

/// Good from one RELATION message of the table to the next.
#[derive(Debug)]
pub struct RoutedTable {
    pub(super) shape: Shape,
    /// Indexes of the columns, in the key's order.
    pub(super) primary_key: Vec<usize>,
    pub(super) remote_key: Vec<usize>,
    /// The body from `organization` to `external_id_column`.
    pub(super) description: Vec<u8>,
}

impl RoutedTable {
    /// `live` is what the database says now, which may be later than the stream; nothing where the table is gone.
    #[must_use]
    pub fn new(shape: Shape, integration: &Integration, live: Option<&KeyColumns>) -> Self {
        let found = live.and_then(|live| {
            Some((indexes(&shape, live, &live.primary_key)?, indexes(&shape, live, &live.remote_key)?))
        });
        let (primary_key, remote_key) = found.unwrap_or_else(|| (Vec::new(), identity(shape.relation())));
        let mut table = Self { shape, primary_key, remote_key, description: Vec::new() };
        table.description = table.describe(integration);
        table
    }

    /// The table's shape in the stream.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The columns of the external id: the remote key, else the primary key.
    pub(super) fn external_id(&self) -> &[usize] {
        if self.remote_key.is_empty() { &self.primary_key } else { &self.remote_key }
    }

    fn describe(&self, integration: &Integration) -> Vec<u8> {
        let names: Vec<&str> = self
            .external_id()
            .iter()
            .filter_map(|index| self.shape.relation().columns.get(*index))
            .map(|column| column.name.as_str())
            .collect();
        let mut out = Vec::new();
        for (name, value) in [
            ("organization", integration.organization.as_str()),
            ("service_integration", &integration.opaque_id),
            ("service_name", &integration.service_name),
            ("table_name", &integration.table_name),
        ] {
            out.extend_from_slice(format!(",\"{name}\":").as_bytes());
            write_json_string(value, &mut out);
        }
        out.extend_from_slice(b",\"external_id_column\":");
        match names.is_empty() {
            true => out.extend_from_slice(b"null"),
            false => write_json_string(&names.join(","), &mut out),
        }
        out
    }
}

/// Where these columns stand in the stream's tuples. The live catalog may be ahead of the stream: a column that it calls by
/// another name is told by its place, where it stands there in place of one that is not known by its name any more.
fn indexes(shape: &Shape, live: &KeyColumns, numbers: &[i16]) -> Option<Vec<usize>> {
    let columns = &shape.relation().columns;
    let index = |number: &i16| {
        let at = live.columns.iter().position(|(column, _)| column == number)?;
        let by_name = shape.column_index(&live.columns.get(at)?.1);
        let was_renamed = || {
            let before = columns.get(at).filter(|_| columns.len() == live.columns.len())?;
            let gone = live.columns.iter().all(|(_, name)| *name != before.name);
            gone.then_some(at)
        };
        by_name.or_else(was_renamed)
    };
    numbers.iter().map(index).collect()
}

/// What the stream itself says of keys; under FULL it says nothing.
fn identity(relation: &Relation) -> Vec<usize> {
    if relation.replica_identity == ReplicaIdentity::Full {
        return Vec::new();
    }
    relation.columns.iter().enumerate().filter(|(_, column)| column.key).map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Column, Types};

    fn shape(names: &[&str]) -> Shape {
        let column = |name: &&str| Column { key: false, name: (*name).to_owned(), type_oid: 25, type_modifier: -1 };
        let relation = Relation {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Full,
            columns: names.iter().map(column).collect(),
        };
        Shape::new(relation, &Types::new())
    }

    /// Where the stream, whose columns these are, has the column that the database calls `live[key]` now.
    fn index(stream: &[&str], live: &[&str], key: usize) -> Option<usize> {
        let columns = (1..).zip(live.iter().map(|name| (*name).to_owned())).collect();
        let live = KeyColumns { columns, ..KeyColumns::default() };
        let number = i16::try_from(key + 1).unwrap();
        indexes(&shape(stream), &live, &[number])?.first().copied()
    }

    #[test]
    fn a_column_is_found_by_its_name_wherever_it_stands() {
        assert_eq!(index(&["x", "pk", "id"], &["pk", "id", "z"], 1), Some(2), "one was dropped, another was added");
        assert_eq!(index(&["b", "id"], &["pk", "id", "b"], 1), Some(1), "a list of columns is published");
    }

    #[test]
    fn a_column_that_was_renamed_is_found_by_its_place() {
        assert_eq!(index(&["pk", "id"], &["pk", "key"], 1), Some(1));
        assert_eq!(index(&["pk", "id"], &["pk", "key", "new"], 1), None, "places say nothing here");
        assert_eq!(index(&["pk", "a"], &["a", "key"], 1), None, "what stands there is another column");
    }
}
