//! The window's bookkeeping: every entry stands in the lists that its phase and its storage say.

use std::time::Instant;

use super::{Entry, EntryId, Lane, Phase, Storage, Write};
use crate::model::Event;

impl<T> Lane<T> {
    pub(super) fn insert(&mut self, entry: Entry<T>) -> EntryId {
        let id = self.next_id;
        self.next_id += 1;
        if entry.storage == Storage::Memory {
            self.bytes += entry.body_bytes;
        }
        if entry.storage != Storage::Memory || self.replay.covers(&entry.event) {
            self.ids.insert(entry.event.id.clone(), id);
        }
        self.entries.insert(id, entry);
        id
    }

    /// True where it waits for nothing.
    pub(super) fn order_entry(&mut self, id: EntryId) -> bool {
        let Some(event) = self.entries.get(&id).map(|entry| entry.event.clone()) else { return false };
        self.order.add(id, event.relation_oid, event.keys.clone())
    }

    pub(super) fn release_at(&mut self, id: EntryId, due: Instant, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.due = due;
        if due <= now {
            entry.phase = Phase::Ready;
            self.ready.push_back(id);
        } else {
            entry.phase = Phase::Delayed;
            self.delayed.insert((due, id));
        }
    }

    /// It waits for no other change any more, unless it is under way together with the one that it waited for.
    fn free(&mut self, id: EntryId, now: Instant) {
        if let Some(entry) = self.entries.get(&id).filter(|entry| entry.phase == Phase::Blocked) {
            self.release_at(id, entry.due.min(now), now);
        }
    }

    /// Takes an entry out, and frees those that waited for it alone.
    pub(super) fn retire(&mut self, id: EntryId, now: Instant) -> Option<Entry<T>> {
        self.drop_body(id);
        let entry = self.entries.remove(&id)?;
        self.delayed.remove(&(entry.due, id));
        self.ids.remove(&entry.event.id);
        self.unstored.remove(&id);
        self.stored -= i64::from(entry.storage != Storage::Memory);
        for freed in self.order.resolve(id) {
            self.free(freed, now);
        }
        Some(entry)
    }

    pub(super) fn store_tied(&mut self, id: EntryId) {
        if self.storage(id) == Some(Storage::Memory) {
            for tied in self.order.tied_to(id) {
                self.store(tied);
            }
        }
    }

    pub(super) fn store(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.storage == Storage::Memory) else { return };
        let Some(body) = entry.body.clone() else { return };
        entry.storage = Storage::Storing;
        let (event, ticket) = (entry.event.clone(), entry.ticket.take());
        self.ids.insert(event.id.clone(), id);
        self.writes.push(Write::Store { event, body, ticket, in_window: true });
        self.unstored.remove(&id);
        self.window_unconfirmed += 1;
        self.drop_body(id);
    }

    pub(super) fn drop_body(&mut self, id: EntryId) {
        if let Some(body) = self.entries.get_mut(&id).and_then(|entry| entry.body.take()) {
            self.bytes = self.bytes.saturating_sub(body.bytes().len());
        }
    }

    /// Whether the outbox held this change before the log was read again.
    pub(super) fn is_known(&self, event: &Event) -> bool {
        self.replay.covers(event) && (self.ids.contains_key(&event.id) || self.replay.is_resolved(event))
    }

    pub(super) fn note_resolved(&mut self, event: &Event) {
        if self.replay.covers(event) {
            self.replay.add_resolved(&event.id);
        }
    }

    pub(super) fn storage(&self, id: EntryId) -> Option<Storage> {
        self.entries.get(&id).map(|entry| entry.storage)
    }

    pub(super) fn set_storage(&mut self, id: EntryId, storage: Storage) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.storage = storage;
        }
    }

    pub(super) fn set_phase(&mut self, id: EntryId, phase: Phase) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = phase;
        }
    }
}
