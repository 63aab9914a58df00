//! Who must wait for whom: changes of one lane that share a row keep their order, others do not wait. Pure.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::model::{RowKey, RowKeys};

/// Names an entry of a lane; entries are numbered in the order of the log.
pub type EntryId = u64;

#[derive(Debug)]
struct Node {
    table: u32,
    keys: RowKeys,
    waits_for: SmallVec<[EntryId; 2]>,
    held_back: Vec<EntryId>,
}

#[derive(Debug, Default)]
struct Table {
    /// The last entry that keeps its order with the whole table, while it is unresolved.
    barrier: Option<EntryId>,
    /// The unresolved entries since that one, and it.
    open: BTreeSet<EntryId>,
}

/// The unresolved entries of a lane and what each waits for.
#[derive(Debug, Default)]
pub(super) struct Order {
    nodes: HashMap<EntryId, Node, RandomState>,
    last_of_key: HashMap<(u32, RowKey), EntryId, RandomState>,
    tables: HashMap<u32, Table, RandomState>,
}

impl Order {
    /// Adds the next entry in the order of the log; true where it waits for nothing.
    pub(super) fn add(&mut self, id: EntryId, table: u32, keys: RowKeys) -> bool {
        let waits_for = self.predecessors(table, &keys);
        for predecessor in &waits_for {
            if let Some(node) = self.nodes.get_mut(predecessor) {
                node.held_back.push(id);
            }
        }
        self.register(id, table, &keys);
        let free = waits_for.is_empty();
        self.nodes.insert(id, Node { table, keys, waits_for, held_back: Vec::new() });
        free
    }

    /// Resolves an entry; returns those that waited for it alone.
    pub(super) fn resolve(&mut self, id: EntryId) -> Vec<EntryId> {
        let Some(node) = self.nodes.remove(&id) else { return Vec::new() };
        self.unregister(id, &node);
        let mut freed = Vec::new();
        for waiting in node.held_back {
            if let Some(node) = self.nodes.get_mut(&waiting) {
                node.waits_for.retain(|predecessor| *predecessor != id);
                if node.waits_for.is_empty() {
                    freed.push(waiting);
                }
            }
        }
        freed
    }

    /// The entries that this one waits for directly.
    pub(super) fn waits_for(&self, id: EntryId) -> &[EntryId] {
        self.nodes.get(&id).map_or(&[], |node| &node.waits_for)
    }

    /// Whether it waits for nothing.
    pub(super) fn is_free(&self, id: EntryId) -> bool {
        self.waits_for(id).is_empty()
    }

    /// The entries that wait for this one directly.
    pub(super) fn held_back_by(&self, id: EntryId) -> &[EntryId] {
        self.nodes.get(&id).map_or(&[], |node| &node.held_back)
    }

    /// Every entry that is tied to this one by order, directly or through others, itself included.
    pub(super) fn tied_to(&self, id: EntryId) -> BTreeSet<EntryId> {
        let mut tied = BTreeSet::from([id]);
        let mut next = vec![id];
        while let Some(node) = next.pop().and_then(|id| self.nodes.get(&id)) {
            next.extend(node.waits_for.iter().chain(&node.held_back).filter(|id| tied.insert(**id)));
        }
        tied
    }

    /// The entry, and every one that waits for it, directly or through others.
    pub(super) fn followers_of(&self, id: EntryId) -> BTreeSet<EntryId> {
        let mut found = BTreeSet::from([id]);
        let mut next = vec![id];
        while let Some(node) = next.pop().and_then(|id| self.nodes.get(&id)) {
            next.extend(node.held_back.iter().filter(|id| found.insert(**id)));
        }
        found
    }

    /// Takes out an entry that is not resolved: who keeps its place in the order has to be known elsewhere.
    pub(super) fn forget(&mut self, id: EntryId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.unregister(id, &node);
        for predecessor in &node.waits_for {
            if let Some(node) = self.nodes.get_mut(predecessor) {
                node.held_back.retain(|held_back| *held_back != id);
            }
        }
    }

    fn predecessors(&self, table: u32, keys: &RowKeys) -> SmallVec<[EntryId; 2]> {
        let state = self.tables.get(&table);
        match keys {
            RowKeys::Table => state.into_iter().flat_map(|table| table.open.iter().copied()).collect(),
            RowKeys::Rows(keys) => {
                let mut found: SmallVec<[EntryId; 2]> =
                    keys.iter().filter_map(|key| self.last_of_key.get(&(table, *key)).copied()).collect();
                found.extend(state.and_then(|table| table.barrier));
                found.sort_unstable();
                found.dedup();
                found
            }
        }
    }

    fn register(&mut self, id: EntryId, table: u32, keys: &RowKeys) {
        let state = self.tables.entry(table).or_default();
        match keys {
            RowKeys::Table => *state = Table { barrier: Some(id), open: BTreeSet::from([id]) },
            RowKeys::Rows(keys) => {
                state.open.insert(id);
                self.last_of_key.extend(keys.iter().map(|key| ((table, *key), id)));
            }
        }
    }

    fn unregister(&mut self, id: EntryId, node: &Node) {
        if let RowKeys::Rows(keys) = &node.keys {
            for key in keys {
                if self.last_of_key.get(&(node.table, *key)) == Some(&id) {
                    self.last_of_key.remove(&(node.table, *key));
                }
            }
        }
        if let Some(table) = self.tables.get_mut(&node.table) {
            table.open.remove(&id);
            if table.barrier == Some(id) {
                table.barrier = None;
            }
            if table.open.is_empty() {
                self.tables.remove(&node.table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smallvec::smallvec;

    fn row(keys: &[RowKey]) -> RowKeys {
        RowKeys::Rows(keys.into())
    }

    #[test]
    fn changes_that_share_a_key_wait_and_others_do_not() {
        let mut order = Order::default();
        assert!(order.add(1, 9, row(&[10, 20])));
        assert!(!order.add(2, 9, row(&[20, 30])));
        assert!(!order.add(3, 9, row(&[30])));
        assert!(order.add(4, 9, row(&[40])));
        assert!(order.add(5, 8, row(&[10])), "the same key of another table is another row");
        assert_eq!(order.resolve(1), [2]);
        assert_eq!(order.resolve(2), [3]);
        assert!(order.resolve(3).is_empty());
    }

    #[test]
    fn a_truncate_waits_for_its_table_and_holds_back_what_follows() {
        let mut order = Order::default();
        order.add(1, 9, row(&[10]));
        order.add(2, 9, row(&[20]));
        assert!(!order.add(3, 9, RowKeys::Table));
        assert!(!order.add(4, 9, row(&[30])));
        assert!(!order.add(5, 9, RowKeys::Table));
        assert!(order.add(6, 8, row(&[30])));
        assert!(order.resolve(2).is_empty());
        assert_eq!(order.resolve(1), [3]);
        assert_eq!(order.resolve(3), [4]);
        assert_eq!(order.resolve(4), [5]);
    }

    #[test]
    fn what_is_tied_is_found_in_both_directions() {
        let mut order = Order::default();
        order.add(1, 9, row(&[10]));
        order.add(2, 9, row(&[20]));
        order.add(3, 9, RowKeys::Rows(smallvec![10, 20]));
        order.add(4, 9, row(&[40]));
        assert_eq!(order.tied_to(1), BTreeSet::from([1, 2, 3]));
        assert_eq!(order.waits_for(3), [1, 2]);
    }

    #[test]
    fn what_follows_is_found_and_forgotten_without_a_trace() {
        let mut order = Order::default();
        order.add(1, 9, row(&[10]));
        order.add(2, 9, row(&[20]));
        order.add(3, 9, row(&[10, 20]));
        order.add(4, 9, row(&[20]));
        assert_eq!(order.followers_of(1), BTreeSet::from([1, 3, 4]));
        [1, 3, 4].into_iter().for_each(|id| order.forget(id));
        assert!(order.resolve(2).is_empty());
        assert!(order.nodes.is_empty() && order.last_of_key.is_empty() && order.tables.is_empty());
    }

    #[test]
    fn nothing_is_left_once_all_is_resolved() {
        let mut order = Order::default();
        order.add(1, 9, row(&[10]));
        order.add(2, 9, RowKeys::Table);
        order.add(3, 9, row(&[10]));
        for id in 1..=3 {
            order.resolve(id);
        }
        assert!(order.nodes.is_empty() && order.last_of_key.is_empty() && order.tables.is_empty());
    }
}
