//! One subscription's notifications, in the order that must be kept. Pure: arrivals, outcomes, confirmed writes and
//! pages of the outbox come in; starts and writes go out.
//!
//! A lane is a *window* of entries in the order of the log. While the window holds everything that the lane owes, the
//! lane is live: what arrives is sent at once unless an earlier change of its row is unresolved. An entry whose attempt
//! failed is written to the outbox and stays in the window as a stub without a body, and so is everything tied to it by
//! order. When the window holds more than its share, all of it is written, what arrives goes straight to the outbox (the
//! *tail*), and the tail is paged back in order until nothing of it is left.
//!
//! One rule makes crashes harmless: an entry is written only together with every unresolved entry that it is tied to, in
//! the order of the log. What is in the outbox can therefore never overtake what was lost from memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use super::order::EntryId;

use super::RetryPolicy;
use super::order::Order;
use crate::model::{Body, Event, Position};

/// What bounds a lane.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts in flight at most; a lane starts with [`Limits::FIRST_CONCURRENCY`] and grows on success.
    pub concurrency: usize,
    /// Entries that the window holds at most.
    pub window: usize,
    /// Bytes of bodies beyond which nothing more is taken in.
    pub bytes: usize,
    /// A full lane whose oldest notification has waited for so long is slow: it goes to the outbox.
    pub patience: Duration,
    /// So long a notification may hold the log back, full lane or not; then the lane goes to the outbox.
    pub settle_within: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
}

impl Limits {
    /// Enough to keep an endpoint busy while it answers, and little enough to find out that it does not.
    pub const FIRST_CONCURRENCY: usize = 2;
}

/// A change that is due to the lane's subscription; `T` settles it in the log.
#[derive(Debug)]
pub struct Arrival<T> {
    /// The change.
    pub event: Arc<Event>,
    /// Its body.
    pub body: Arc<Body>,
    /// To be settled once it is delivered, or durably in the outbox.
    pub ticket: T,
}

/// A row of the outbox.
#[derive(Debug)]
pub struct StoredRow {
    /// Its place in the outbox.
    pub seq: i64,
    /// The change.
    pub event: Event,
    /// Its body, where the page had room for it.
    pub body: Option<Arc<Body>>,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How long until the next attempt.
    pub due_in: Duration,
    /// How long since it first became due.
    pub age: Duration,
}

/// What must be written to the outbox, in this order.
#[derive(Debug)]
pub enum Write<T> {
    /// A new row. Its ticket is settled when it is durable.
    Store {
        /// The change.
        event: Arc<Event>,
        /// Its body.
        body: Arc<Body>,
        /// Not there where it was settled before.
        ticket: Option<T>,
        /// Whether the window holds the entry, so that it is not to be paged back.
        in_window: bool,
    },
    /// An attempt failed; there will be another.
    Reschedule {
        /// The change.
        event: Arc<Event>,
        /// Failed attempts so far.
        attempts: u32,
        /// Until the next attempt.
        wait: Duration,
        /// Since it first became due.
        age: Duration,
        /// Why the last attempt failed.
        error: String,
    },
    /// Delivered.
    Delivered {
        /// The change.
        event: Arc<Event>,
    },
    /// Given up.
    Failed {
        /// The change.
        event: Arc<Event>,
        /// Failed attempts, all there will be.
        attempts: u32,
        /// Since it first became due.
        age: Duration,
        /// Why the last attempt failed.
        error: String,
    },
}

/// Says that a [`Write::Store`] is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The change's id.
    pub event_id: String,
    /// Its place in the outbox; none where it was there before.
    pub seq: Option<i64>,
    /// As the write said.
    pub in_window: bool,
}

/// An attempt to be made now.
#[derive(Debug)]
pub struct Start {
    /// The entry, for [`Lane::succeeded`] or [`Lane::failed`].
    pub id: EntryId,
    /// The change.
    pub event: Arc<Event>,
    /// What to post.
    pub body: Arc<Body>,
    /// From 1.
    pub attempt: u32,
}

/// What became of an entry whose attempt failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    /// There will be another attempt.
    Retry {
        /// After so long.
        wait: Duration,
    },
    /// It is given up.
    GivenUp,
}

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    /// In memory alone. Entered on arrival.
    Memory,
    /// In memory until its write is confirmed. Entered when the write is asked for.
    Storing,
    /// In the outbox. Entered when the write is confirmed, or when it was paged in.
    Stored,
}

/// What an entry is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for an earlier change of its row. Entered on arrival.
    Blocked,
    /// Waits for its time. Entered on arrival, when freed, and after a failed attempt.
    Delayed(Instant),
    /// Its time has come. Entered from Delayed.
    Ready,
    /// Its body is being read from the outbox. Entered from Ready.
    Loading,
    /// An attempt is under way. Entered from Ready.
    InFlight,
}

#[derive(Debug)]
struct Entry<T> {
    event: Arc<Event>,
    body: Option<Arc<Body>>,
    ticket: Option<T>,
    storage: Storage,
    phase: Phase,
    attempts: u32,
    /// When it first became due; for a row of the outbox that is older than this process, with what went before.
    due_since: Option<(Instant, Duration)>,
    arrived: Instant,
}

impl<T> Entry<T> {
    fn age(&self, now: Instant) -> Duration {
        self.due_since.map_or(Duration::ZERO, |(since, before)| now.saturating_duration_since(since) + before)
    }
}

/// What is in the outbox and not in the window.
#[derive(Debug, Default)]
struct Tail {
    /// Writes to it that are not confirmed yet.
    unconfirmed: usize,
    /// Whether it was written to since the last page was asked for.
    grown: bool,
    /// Whether the last page reached its end, and no write was confirmed since.
    exhausted: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Lane<T> {
    limits: Limits,
    concurrency: usize,
    in_flight: usize,
    entries: BTreeMap<EntryId, Entry<T>>,
    ids: HashMap<String, EntryId>,
    next_id: EntryId,
    order: Order,
    ready: VecDeque<EntryId>,
    /// Of those, the ones whose body is in the outbox alone.
    wanted: VecDeque<EntryId>,
    /// Bodies that are being read.
    loading: usize,
    delayed: BTreeSet<(Instant, EntryId)>,
    /// Entries that are in memory alone.
    unstored: BTreeSet<EntryId>,
    bytes: usize,
    tail: Option<Tail>,
    /// The highest place in the outbox that the window holds or has held.
    last_seq: i64,
    /// Window entries whose write is not confirmed: the tail is not paged before `last_seq` is known.
    window_unconfirmed: usize,
    /// Up to here the outbox may already hold what arrives, since the log is read again from the checkpoint.
    replay_until: Option<Position>,
    /// Of what may arrive again: what the outbox says is resolved.
    resolved: HashSet<String>,
    writes: Vec<Write<T>>,
    draining: bool,
}

impl<T> Lane<T> {
    /// A lane whose outbox is empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            concurrency: Limits::FIRST_CONCURRENCY.min(limits.concurrency),
            in_flight: 0,
            entries: BTreeMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            order: Order::default(),
            ready: VecDeque::new(),
            wanted: VecDeque::new(),
            loading: 0,
            delayed: BTreeSet::new(),
            unstored: BTreeSet::new(),
            bytes: 0,
            tail: None,
            last_seq: 0,
            window_unconfirmed: 0,
            replay_until: None,
            resolved: HashSet::new(),
            writes: Vec::new(),
            draining: false,
        }
    }

    /// A lane that finds its outbox in use. Changes up to `replay_until` may arrive although the outbox holds them;
    /// `resolved` are those of them that the outbox says are delivered or given up.
    #[must_use]
    pub fn resumed(limits: Limits, replay_until: Option<Position>, resolved: HashSet<String>) -> Self {
        Self { tail: Some(Tail::default()), replay_until, resolved, ..Self::new(limits) }
    }

    /// Whether something may arrive now.
    #[must_use]
    pub fn accepts(&self) -> bool {
        match self.tail {
            Some(_) => self.writes.len() < Self::WRITES_MAX,
            None => !self.is_full(),
        }
    }

    /// Writes that are waiting to be taken; beyond it nothing is taken in.
    const WRITES_MAX: usize = 1024;

    /// Takes in a change; returns its ticket where it is settled already.
    #[must_use]
    pub fn arrive(&mut self, arrival: Arrival<T>, now: Instant) -> Option<T> {
        let Arrival { event, body, ticket } = arrival;
        if self.tail.is_none() && self.is_known(&event) {
            return Some(ticket);
        }
        if let Some(tail) = &mut self.tail {
            tail.unconfirmed += 1;
            tail.grown = true;
            self.writes.push(Write::Store { event, body, ticket: Some(ticket), in_window: false });
            return None;
        }
        let id = self.insert(Entry {
            event,
            body: Some(body),
            ticket: Some(ticket),
            storage: Storage::Memory,
            phase: Phase::Blocked,
            attempts: 0,
            due_since: None,
            arrived: now,
        });
        self.unstored.insert(id);
        if self.order_entry(id) {
            self.release(id, now);
        } else if self.order.waits_for(id).iter().any(|id| self.storage(*id) != Some(Storage::Memory)) {
            self.store_tied(id);
        }
        None
    }

    /// The next attempt to make, if one can be made now.
    pub fn start(&mut self, now: Instant) -> Option<Start> {
        if self.draining {
            return None;
        }
        while let Some((at, id)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, id));
            self.set_phase(id, Phase::Ready);
            self.ready.push_back(id);
        }
        if self.in_flight >= self.concurrency {
            return None;
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let Some(body) = entry.body.clone() else {
                // It waits for `bodies_wanted`, and does not hold back the other rows.
                self.wanted.push_back(id);
                continue;
            };
            entry.phase = Phase::InFlight;
            self.in_flight += 1;
            return Some(Start { id, event: entry.event.clone(), body, attempt: entry.attempts + 1 });
        }
        None
    }

    /// The endpoint accepted it. Returns the ticket where the log still waits for it.
    #[must_use]
    pub fn succeeded(&mut self, id: EntryId, now: Instant) -> Option<T> {
        self.landed(id);
        self.concurrency = (self.concurrency + 1).min(self.limits.concurrency);
        let entry = self.retire(id, now)?;
        if entry.storage != Storage::Memory {
            self.note_resolved(&entry.event);
            self.writes.push(Write::Delivered { event: entry.event });
        }
        entry.ticket
    }

    /// An attempt failed.
    pub fn failed(&mut self, id: EntryId, error: String, now: Instant) -> Finished {
        self.landed(id);
        self.concurrency = (self.concurrency / 2).max(Limits::FIRST_CONCURRENCY.min(self.limits.concurrency));
        self.store_tied(id);
        let Some(entry) = self.entries.get_mut(&id) else { return Finished::GivenUp };
        entry.attempts += 1;
        let (event, attempts, age) = (entry.event.clone(), entry.attempts, entry.age(now));
        let Some(wait) = self.limits.retry.next_wait(attempts, age) else {
            self.note_resolved(&event);
            self.writes.push(Write::Failed { event, attempts, age, error });
            self.retire(id, now);
            return Finished::GivenUp;
        };
        entry.phase = Phase::Delayed(now + wait);
        self.delayed.insert((now + wait, id));
        self.drop_body(id);
        self.writes.push(Write::Reschedule { event, attempts, wait, age, error });
        Finished::Retry { wait }
    }

    /// An attempt was called off before it was made.
    pub fn called_off(&mut self, id: EntryId) {
        self.landed(id);
        self.set_phase(id, Phase::Ready);
        self.ready.push_front(id);
    }

    /// What must be written now, in order; it is asked for once.
    pub fn take_writes(&mut self) -> Vec<Write<T>> {
        std::mem::take(&mut self.writes)
    }

    /// Writes are durable.
    pub fn confirm(&mut self, acks: &[Ack]) {
        for ack in acks {
            if !ack.in_window {
                if let Some(tail) = &mut self.tail {
                    tail.unconfirmed = tail.unconfirmed.saturating_sub(1);
                    tail.exhausted = false;
                }
                continue;
            }
            self.window_unconfirmed = self.window_unconfirmed.saturating_sub(1);
            self.last_seq = self.last_seq.max(ack.seq.unwrap_or(0));
            if let Some(id) = self.ids.get(&ack.event_id).copied() {
                self.set_storage(id, Storage::Stored);
            }
        }
    }

    /// Entries whose time has come and whose body is in the outbox alone; to be answered by [`Lane::loaded`].
    pub fn bodies_wanted(&mut self) -> Vec<(EntryId, String)> {
        if self.draining {
            return Vec::new();
        }
        let mut bodies = Vec::new();
        while self.in_flight + self.loading < self.concurrency {
            // A write that is not confirmed yet cannot be read back; what was stored after it is confirmed no sooner.
            let next = self.wanted.front().and_then(|id| self.entries.get_mut(id).map(|entry| (*id, entry)));
            let Some((id, entry)) = next.filter(|(_, entry)| entry.storage == Storage::Stored) else { break };
            entry.phase = Phase::Loading;
            bodies.push((id, entry.event.id.clone()));
            self.wanted.pop_front();
            self.loading += 1;
        }
        bodies
    }

    /// A body that was wanted; none where the outbox no longer has it (its row was removed by an operator).
    pub fn loaded(&mut self, id: EntryId, body: Option<Arc<Body>>, now: Instant) {
        self.loading -= 1;
        let Some(body) = body else {
            self.retire(id, now);
            return;
        };
        self.bytes += body.bytes().len();
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.body = Some(body);
            entry.phase = Phase::Ready;
            self.ready.push_front(id);
        }
    }

    /// Beyond which place of the outbox a page is wanted now, if one is. To be answered by [`Lane::paged`].
    pub fn page_wanted(&mut self) -> Option<i64> {
        let room = self.window_unconfirmed == 0
            && self.ready.len() + self.wanted.len() < Self::READY_ENOUGH
            && self.entries.len() < self.limits.window / 2;
        let tail = self.tail.as_mut().filter(|tail| room && !self.draining && !tail.exhausted)?;
        tail.grown = tail.unconfirmed > 0;
        Some(self.last_seq)
    }

    /// With so many entries ready, the next page can wait.
    const READY_ENOUGH: usize = 64;

    /// A page of the tail; `complete` where the outbox held no more. Returns tickets that need none any more.
    pub fn paged(&mut self, rows: Vec<StoredRow>, complete: bool, now: Instant) {
        for row in rows {
            self.last_seq = self.last_seq.max(row.seq);
            self.take_row(row, now);
        }
        // Rows whose write was confirmed while the page was on its way may not be on it; those still to be confirmed will
        // ask for another page then.
        let waits = |tail: Tail| Tail { exhausted: complete && tail.unconfirmed > 0, ..tail };
        self.tail = self.tail.take().filter(|tail| !complete || tail.grown).map(waits);
    }

    /// Writes everything that is in memory alone, where it has been there for too long.
    pub fn spill_if_slow(&mut self, now: Instant) {
        if self.tail.is_none() && self.slow_at().is_some_and(|at| at <= now) {
            self.spill();
        }
    }

    /// The same sooner, since memory is short.
    pub fn spill_if_pressed(&mut self, now: Instant) {
        let waited = self.oldest_unstored().map(|arrived| now.saturating_duration_since(arrived));
        if self.tail.is_none() && waited.is_some_and(|waited| waited >= self.limits.patience) {
            self.spill();
        }
    }

    /// From here on nothing is started; what is in memory alone is written.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What is left in memory alone when the attempts in flight have ended, or their time is up.
    pub fn spill(&mut self) {
        let ids: Vec<EntryId> = self.unstored.iter().copied().collect();
        for id in ids {
            self.store(id);
        }
        self.tail.get_or_insert_default();
    }

    /// Everything that the log still waits for: the subscription is gone.
    pub fn abandon(self) -> Vec<T> {
        let written = self.writes.into_iter().filter_map(|write| match write {
            Write::Store { ticket, .. } => ticket,
            _ => None,
        });
        written.chain(self.entries.into_values().filter_map(|entry| entry.ticket)).collect()
    }

    /// When something will be due although nothing happens.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        if self.draining {
            return None;
        }
        let due = self.delayed.first().map(|(at, _)| *at);
        due.into_iter().chain(self.slow_at().filter(|_| self.tail.is_none())).min()
    }

    /// Whether the lane owes nothing and waits for nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.tail.is_none() && self.writes.is_empty() && self.window_unconfirmed == 0
    }

    /// Attempts under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Entries in the window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the window is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limits.bytes
            || self.entries.len() >= self.limits.window
            || self.writes.len() >= Self::WRITES_MAX
    }

    /// When what is in memory alone will have been there for too long. Where all of a full window is in the outbox already,
    /// nothing there tells when there will be room, so that has come.
    fn slow_at(&self) -> Option<Instant> {
        if self.unstored.is_empty() && self.entries.len() >= self.limits.window {
            return self.entries.first_key_value().map(|(_, entry)| entry.arrived);
        }
        let patience = if self.is_full() { self.limits.patience } else { self.limits.settle_within };
        self.oldest_unstored().map(|arrived| arrived + patience)
    }

    fn oldest_unstored(&self) -> Option<Instant> {
        self.unstored.first().and_then(|id| self.entries.get(id)).map(|entry| entry.arrived)
    }

    /// Whether the outbox held this change before the log was read again.
    fn is_known(&mut self, event: &Event) -> bool {
        if self.replay_until.is_none_or(|until| event.position > until) {
            return false;
        }
        self.ids.contains_key(&event.id) || self.resolved.contains(&event.id)
    }

    fn note_resolved(&mut self, event: &Event) {
        if self.replay_until.is_some_and(|until| event.position <= until) {
            self.resolved.insert(event.id.clone());
        }
    }

    fn take_row(&mut self, row: StoredRow, now: Instant) {
        self.bytes += row.body.as_ref().map_or(0, |body| body.bytes().len());
        let waits = !row.due_in.is_zero();
        let id = self.insert(Entry {
            event: Arc::new(row.event),
            body: row.body,
            ticket: None,
            storage: Storage::Stored,
            phase: Phase::Blocked,
            attempts: row.attempts,
            due_since: (row.attempts > 0).then_some((now, row.age)),
            arrived: now,
        });
        let free = self.order_entry(id);
        if free {
            self.release_at(id, now + row.due_in, now);
        }
        if waits || !free {
            self.drop_body(id);
        }
    }

    fn insert(&mut self, entry: Entry<T>) -> EntryId {
        let id = self.next_id;
        self.next_id += 1;
        if entry.storage == Storage::Memory {
            self.bytes += entry.body.as_ref().map_or(0, |body| body.bytes().len());
        }
        self.ids.insert(entry.event.id.clone(), id);
        self.entries.insert(id, entry);
        id
    }

    fn order_entry(&mut self, id: EntryId) -> bool {
        let Some(event) = self.entries.get(&id).map(|entry| entry.event.clone()) else { return false };
        self.order.add(id, event.relation_oid, event.keys.clone())
    }

    fn release(&mut self, id: EntryId, now: Instant) {
        self.release_at(id, now, now);
    }

    fn release_at(&mut self, id: EntryId, due: Instant, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.due_since.get_or_insert((now, Duration::ZERO));
        if due <= now {
            entry.phase = Phase::Ready;
            self.ready.push_back(id);
        } else {
            entry.phase = Phase::Delayed(due);
            self.delayed.insert((due, id));
        }
    }

    fn landed(&mut self, id: EntryId) {
        if self.entries.get(&id).is_some_and(|entry| entry.phase == Phase::InFlight) {
            self.in_flight -= 1;
        }
    }

    fn retire(&mut self, id: EntryId, now: Instant) -> Option<Entry<T>> {
        self.drop_body(id);
        let entry = self.entries.remove(&id)?;
        if let Phase::Delayed(at) = entry.phase {
            self.delayed.remove(&(at, id));
        }
        self.ids.remove(&entry.event.id);
        self.unstored.remove(&id);
        for freed in self.order.resolve(id) {
            self.release(freed, now);
        }
        Some(entry)
    }

    fn store_tied(&mut self, id: EntryId) {
        if self.storage(id) == Some(Storage::Memory) {
            for tied in self.order.tied_to(id) {
                self.store(tied);
            }
        }
    }

    fn store(&mut self, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.storage == Storage::Memory) else { return };
        let Some(body) = entry.body.clone() else { return };
        entry.storage = Storage::Storing;
        let (event, ticket) = (entry.event.clone(), entry.ticket.take());
        self.writes.push(Write::Store { event, body, ticket, in_window: true });
        self.unstored.remove(&id);
        self.window_unconfirmed += 1;
        self.drop_body(id);
    }

    fn drop_body(&mut self, id: EntryId) {
        if let Some(body) = self.entries.get_mut(&id).and_then(|entry| entry.body.take()) {
            self.bytes = self.bytes.saturating_sub(body.bytes().len());
        }
    }

    fn storage(&self, id: EntryId) -> Option<Storage> {
        self.entries.get(&id).map(|entry| entry.storage)
    }

    fn set_storage(&mut self, id: EntryId, storage: Storage) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.storage = storage;
        }
    }

    fn set_phase(&mut self, id: EntryId, phase: Phase) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = phase;
        }
    }
}

#[cfg(test)]
mod tests;
