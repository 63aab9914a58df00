//! What was committed, in order, as the source's own triggers recorded it, and which change must come before which.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use tokio_postgres::Client;

use super::log::ChangeId;
use super::tables::{ALL, Relation};

/// A committed change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) id: ChangeId,
    /// Its table's place in [`ALL`].
    pub(super) table: usize,
    pub(super) content: Box<str>,
    /// Earlier changes, by their places in the history, that this one must not overtake. Those before them are theirs.
    pub(super) after: Vec<usize>,
}

/// Every committed change.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) changes: Vec<Change>,
    pub(super) transactions: usize,
}

/// What both sides say of a change: operation, table, external id and the row but its `data`.
pub(super) fn content(operation: &str, table: &str, external_id: &Value, row: &Value) -> Box<str> {
    format!("{operation} {table} {external_id} {row}").into()
}

impl History {
    /// Reads all of it.
    pub(super) async fn read(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let sql = "SELECT xid, relation, operation, old::text, new::text FROM torture.history ORDER BY seq";
        let mut reading = Reading::default();
        for row in client.query(sql, &[]).await? {
            let value = |column| -> Value {
                let text: Option<&str> = row.get(column);
                text.map_or(Value::Null, |text| serde_json::from_str(text).expect("JSON"))
            };
            let xid: i64 = row.get(0);
            reading.add(xid.cast_unsigned(), row.get(1), row.get(2), &value(3), &value(4));
        }
        Ok(Self { transactions: reading.next_index.len(), changes: reading.changes })
    }

    /// Where each change stands.
    pub(super) fn places(&self) -> HashMap<ChangeId, usize> {
        self.changes.iter().enumerate().map(|(place, change)| (change.id, place)).collect()
    }
}

#[derive(Default)]
struct Reading {
    changes: Vec<Change>,
    next_index: HashMap<u64, u64>,
    order: Vec<Order>,
}

/// The last change of each row of a table, and the last that concerned all of it.
#[derive(Default)]
struct Order {
    rows: HashMap<u64, usize>,
    all: Option<usize>,
}

impl Reading {
    fn add(&mut self, xid: u64, relation: &str, operation: &str, old: &Value, new: &Value) {
        let table = ALL.iter().position(|known| known.table.name == relation).expect("a table of the load");
        let index = self.next_index.entry(xid).or_default();
        let id = ChangeId { xid, index: *index };
        *index += 1;
        self.order.resize_with(ALL.len(), Order::default);
        let place = self.changes.len();
        let after = match operation {
            "TRUNCATE" => self.order[table].everything(place),
            _ => self.order[table].rows(place, &keys(&ALL[table], old, new)),
        };
        let shown = if new.is_null() { old } else { new };
        let external_id = ALL[table].remote_key.map_or(&Value::Null, |key| &shown[key]);
        self.changes.push(Change { id, table, content: content(operation, relation, external_id, new), after });
    }
}

impl Order {
    fn everything(&mut self, place: usize) -> Vec<usize> {
        let mut after: Vec<usize> = self.rows.drain().map(|(_, place)| place).chain(self.all).collect();
        after.sort_unstable();
        after.dedup();
        self.all = Some(place);
        after
    }

    fn rows(&mut self, place: usize, keys: &[u64]) -> Vec<usize> {
        let mut after: Vec<usize> =
            keys.iter().filter_map(|key| self.rows.insert(*key, place).or(self.all)).filter(|p| *p != place).collect();
        after.sort_unstable();
        after.dedup();
        after
    }
}

/// The rows that a change shows to be touched: by the external id, old and new, and by the primary key.
fn keys(relation: &Relation, old: &Value, new: &Value) -> Vec<u64> {
    let Some(remote_key) = relation.remote_key else { return vec![0] };
    let mut keys = Vec::new();
    for (row, is_old) in [(old, true), (new, false)] {
        if row.is_null() {
            continue;
        }
        keys.push(hash(&("remote", row[remote_key].to_string())));
        // The old primary key is logged under FULL only: the external id's index is the identity otherwise.
        if !relation.primary_key.is_empty() && (relation.full || !is_old) {
            let values: Vec<String> = relation.primary_key.iter().map(|column| row[*column].to_string()).collect();
            keys.push(hash(&("primary", values)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn hash(key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
