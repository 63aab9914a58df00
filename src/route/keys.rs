//! Which rows a change touches: every key value that it shows, old and new.

use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3Default;

use super::RoutedTable;
use crate::decode::Datum;
use crate::model::{RowKey, RowKeys};

impl RoutedTable {
    /// The keys of a row change; one that shows no key keeps its order with the whole table.
    pub(super) fn row_keys(&self, new: Option<&[Datum<'_>]>, old: Option<&[Datum<'_>]>) -> RowKeys {
        let mut keys: SmallVec<[RowKey; 2]> = SmallVec::new();
        for (kind, columns) in [(0, &self.primary_key), (1, &self.remote_key)] {
            for values in [new, old].into_iter().flatten() {
                if let Some(key) = key(kind, columns, values).filter(|key| !keys.contains(key)) {
                    keys.push(key);
                }
            }
        }
        if keys.is_empty() { RowKeys::Table } else { RowKeys::Rows(keys) }
    }
}

/// A hash that stays the same for ever, since the outbox holds it; none where a column's value is not shown.
fn key(kind: u8, columns: &[usize], values: &[Datum<'_>]) -> Option<RowKey> {
    if columns.is_empty() {
        return None;
    }
    let mut hash = Xxh3Default::new();
    hash.update(&[kind]);
    for column in columns {
        let text = values.get(*column)?.text()?;
        hash.update(&text.len().to_le_bytes());
        hash.update(text);
    }
    Some(hash.digest())
}
