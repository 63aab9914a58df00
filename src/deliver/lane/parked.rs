//! What waits for a retry and does not fit into the window: in the outbox alone, with its keys here, so that nothing overtakes
//! it and the rows behind it go on. However many rows an endpoint rejects, those that it accepts do not wait for them.
//!
//! Those that are due last are parked, and what waits for them with them. When the first of them is due the window is
//! forgotten, and the outbox is paged from its beginning, in order.

use std::collections::HashSet;
use std::time::Instant;

use super::{EntryId, Lane, Storage};
use crate::model::{RowKey, RowKeys};

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// Rows of the outbox.
    pub(super) rows: usize,
    keys: HashSet<(u32, RowKey)>,
    /// Tables of which something is parked.
    tables: HashSet<u32>,
    /// Tables of which something is parked that keeps its order with all of the table.
    whole_tables: HashSet<u32>,
    /// When the first of them is due.
    pub(super) due: Option<Instant>,
}

impl Parked {
    /// Whether this change must not overtake something parked.
    fn holds_back(&self, table: u32, keys: &RowKeys) -> bool {
        self.whole_tables.contains(&table)
            || match keys {
                RowKeys::Table => self.tables.contains(&table),
                RowKeys::Rows(keys) => keys.iter().any(|key| self.keys.contains(&(table, *key))),
            }
    }

    fn add(&mut self, table: u32, keys: &RowKeys) {
        self.rows += 1;
        self.tables.insert(table);
        match keys {
            RowKeys::Table => {
                self.whole_tables.insert(table);
            }
            RowKeys::Rows(keys) => self.keys.extend(keys.iter().map(|key| (table, *key))),
        }
    }
}

impl<T> Lane<T> {
    /// Whether an entry must not overtake something parked.
    pub(super) fn is_held_back(&self, id: EntryId) -> bool {
        let event = self.entries.get(&id).map(|entry| &entry.event);
        event.is_some_and(|event| self.parked.holds_back(event.relation_oid, &event.keys))
    }

    /// Parks what waits and is more than the window is to hold. While the breaker is open nothing is: each probe takes another
    /// entry of the window.
    pub(super) fn park_excess(&mut self, now: Instant) {
        if self.rewinding || !self.breaker.is_closed() {
            return;
        }
        while self.waiting() > self.limits.waiting && self.parked.keys.len() < self.limits.parked_keys {
            let Some((due, id)) = self.delayed.last().copied() else { return };
            let due = due.max(now + self.limits.parked_for);
            self.parked.due = Some(self.parked.due.map_or(due, |first| first.min(due)));
            for id in self.order.followers_of(id) {
                self.park(id);
            }
        }
    }

    /// Takes an entry that the outbox has, or is about to have, out of the window.
    pub(super) fn park(&mut self, id: EntryId) {
        self.drop_body(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        debug_assert!(entry.storage != Storage::Memory, "what is parked would be lost");
        self.delayed.remove(&(entry.due, id));
        self.ids.remove(&entry.event.id);
        self.order.forget(id);
        self.parked.add(entry.event.relation_oid, &entry.event.keys);
    }

    /// Brings back what is parked once the first of it is due.
    pub(super) fn unpark_if_due(&mut self, now: Instant) {
        if self.parked_due().is_some_and(|due| due <= now) {
            self.spill();
        }
    }

    pub(super) fn parked_due(&self) -> Option<Instant> {
        self.parked.due.filter(|_| !self.rewinding)
    }

    /// Entries that are in the outbox and that nothing can be done about now.
    fn waiting(&self) -> usize {
        let at_hand = self.ready.len() + self.wanted.len() + self.loading + self.in_flight;
        self.entries.len().saturating_sub(self.unstored.len() + at_hand)
    }
}
