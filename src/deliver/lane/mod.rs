//! One subscription's notifications, in the order that must be kept. Pure: arrivals, outcomes, confirmed writes and
//! pages of the outbox come in; starts and writes go out.
//!
//! A lane is a *window* of entries in the order of the log. While the window holds everything that the lane owes, the
//! lane is live: what arrives is sent at once unless an earlier change of its row is unresolved. An entry whose attempt
//! failed is written to the outbox and stays in the window as a stub without a body, and so is everything tied to it by
//! order.
//!
//! A lane that is too slow, whose breaker opens, or that is to hold, *spills*: all of the window is written, and forgotten once
//! that is durable and nothing is in flight; what arrives goes straight to the outbox. The lane then is its *tail*,
//! which is paged back into the window in order until nothing of it is left. While the breaker is open a few rows are paged,
//! for probes.
//!
//! More entries that wait for a retry than the window is to hold are *parked*: the outbox has them, the lane only their keys.
//!
//! One rule makes crashes harmless: an entry is written only together with every unresolved entry that it is tied to, in
//! the order of the log. What is in the outbox can therefore never overtake what was lost from memory.

mod attempts;
mod batches;
mod entry;
mod io;
mod outbox;
mod parked;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::RandomState;

pub use self::io::{
    Ack, Arrival, BodyRequest, Finished, Limits, PageRequest, Request, Setback, Start, StoredRow, Write,
};
pub use super::order::EntryId;

use self::batches::Batches;
use self::entry::{Entry, Phase, Storage};
use self::outbox::Tail;
use self::parked::Parked;
use super::breaker::{Breaker, BreakerPolicy};
use super::order::Order;
use super::retry::RetryPolicy;
use crate::model::{Batching, Replay};

/// See the module.
#[derive(Debug)]
pub struct Lane<T> {
    limits: Limits,
    breaker: Breaker,
    /// How notifications are put together; none where each is a request of its own.
    batches: Option<Batches>,
    concurrency: usize,
    /// Requests under way.
    in_flight: usize,
    entries: BTreeMap<EntryId, Entry<T>>,
    /// Of entries that the outbox has, or may have had before the log was read again.
    ids: HashMap<String, EntryId, RandomState>,
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
    parked: Parked,
    /// The window is to be forgotten, and the outbox to be paged from its beginning.
    rewinding: bool,
    /// The highest place in the outbox that the window holds or has held.
    last_seq: i64,
    /// Window entries whose write is not confirmed: the tail is not paged before `last_seq` is known.
    window_unconfirmed: usize,
    /// Outcomes whose write is not confirmed: the outbox still shows them as they were.
    outcomes_unconfirmed: usize,
    /// Rows that the outbox owes, in the window or not. Outcomes may be counted before the row that they are of.
    stored: i64,
    /// What may arrive although the outbox holds it, since the log is read again from the checkpoint.
    replay: Replay,
    writes: Vec<Write<T>>,
    draining: bool,
    /// Nothing is to be sent: the subscription is paused or deactivated.
    held: bool,
}

impl<T> Lane<T> {
    /// What an entry takes beside its body, roughly: to be counted where memory for a notification is found.
    pub const ENTRY_BYTES: usize = 1024;

    /// A lane whose outbox is empty.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            breaker: Breaker::new(limits.breaker),
            batches: None,
            concurrency: Limits::FIRST_CONCURRENCY.min(limits.concurrency),
            in_flight: 0,
            entries: BTreeMap::new(),
            ids: HashMap::default(),
            next_id: 0,
            order: Order::default(),
            ready: VecDeque::new(),
            wanted: VecDeque::new(),
            loading: 0,
            delayed: BTreeSet::new(),
            unstored: BTreeSet::new(),
            bytes: 0,
            tail: None,
            parked: Parked::default(),
            rewinding: false,
            last_seq: 0,
            window_unconfirmed: 0,
            outcomes_unconfirmed: 0,
            stored: 0,
            replay: Replay::default(),
            writes: Vec::new(),
            draining: false,
            held: false,
        }
    }

    /// A lane that finds its outbox in use, with so many rows `owed`; what `replay` covers may arrive although the outbox holds it.
    #[must_use]
    pub fn resumed(limits: Limits, owed: usize, replay: Replay) -> Self {
        let stored = i64::try_from(owed).unwrap_or(i64::MAX);
        Self { tail: Some(Tail::default()), stored, replay, ..Self::new(limits) }
    }

    /// Failures to come are tried again by these.
    pub fn retry_by(&mut self, retry: RetryPolicy, breaker: BreakerPolicy) {
        (self.limits.retry, self.limits.breaker) = (retry, breaker);
        self.breaker.judge_by(breaker);
    }

    /// Requests to come are put together so.
    pub fn batch_by(&mut self, batching: Option<Batching>) {
        self.batches = batching.map(Batches::new);
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
        self.replay.reached(&event);
        if self.held || !self.breaker.is_closed() {
            self.tail.get_or_insert_default();
        }
        if let Some(tail) = &mut self.tail {
            tail.wrote();
            self.writes.push(Write::Store { event, body, ticket: Some(ticket), in_window: false });
            return None;
        }
        let body_bytes = body.bytes().len();
        let id = self.insert(Entry {
            event,
            body: Some(body),
            body_bytes,
            ticket: Some(ticket),
            storage: Storage::Memory,
            phase: Phase::Blocked,
            attempts: 0,
            probes: 0,
            due: now,
            age_before: std::time::Duration::ZERO,
            arrived: now,
            ahead: self.unstored.len(),
        });
        self.unstored.insert(id);
        let free = self.order_entry(id);
        if self.is_held_back(id) {
            self.store_tied(id);
            self.park(id);
        } else if free {
            self.release_at(id, now, now);
        } else if self.order.waits_for(id).iter().any(|id| self.storage(*id) != Some(Storage::Memory)) {
            self.store_tied(id);
            self.park_excess(now);
        }
        None
    }

    /// What must be written now, in order; it is asked for once.
    pub fn take_writes(&mut self) -> Vec<Write<T>> {
        std::mem::take(&mut self.writes)
    }

    /// From here on nothing is started; what is in memory alone is written by [`Lane::spill`].
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// From here on nothing is started, and all that is owed goes to the outbox, until [`Lane::release`].
    pub fn hold(&mut self) {
        if !self.held {
            self.held = true;
            self.spill();
        }
    }

    /// What is owed may be sent again. It counts as due from now on: while it was held it could not be sent.
    pub fn release(&mut self) {
        self.held = false;
    }

    /// Everything that the log still waits for: the subscription is gone, and the lane is of no use any more.
    pub fn abandon(&mut self) -> Vec<T> {
        let written = self.take_writes().into_iter().filter_map(|write| match write {
            Write::Store { ticket, .. } => ticket,
            _ => None,
        });
        written.chain(std::mem::take(&mut self.entries).into_values().filter_map(|entry| entry.ticket)).collect()
    }

    /// When something will be due although nothing happens.
    #[must_use]
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        if self.draining {
            return None;
        }
        let slow = self.slow_at().filter(|_| self.tail.is_none());
        let parked = self.parked_due().filter(|_| !self.held);
        let due = match self.breaker.probe_at() {
            _ if self.held || self.rewinding => None,
            // Once its time has come, a probe waits for a page or a body.
            Some(probe_at) => Some(probe_at).filter(|at| *at > now),
            None if self.breaker.is_closed() => {
                let delayed = self.delayed.first().map(|(at, _)| *at);
                delayed.into_iter().chain(self.lingers_until(now)).min()
            }
            None => None,
        };
        due.into_iter().chain(slow).chain(parked).min()
    }

    /// Whether the lane owes nothing and waits for nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let owes_nothing = self.entries.is_empty() && self.tail.is_none() && self.parked.rows == 0;
        owes_nothing && self.writes.is_empty() && self.window_unconfirmed == 0
    }

    /// Whether something in the outbox is not in the window.
    #[must_use]
    pub fn has_tail(&self) -> bool {
        self.tail.is_some()
    }

    /// Whether something is to be written to the outbox now.
    #[must_use]
    pub const fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether the endpoint is taken to be well.
    #[must_use]
    pub fn is_flowing(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Requests under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Rows that the outbox owes the subscription.
    #[must_use]
    pub fn stored(&self) -> usize {
        usize::try_from(self.stored).unwrap_or_default()
    }

    /// Notifications that are owed, in memory or in the outbox.
    #[must_use]
    pub fn pending(&self) -> usize {
        let on_their_way = self.window_unconfirmed + self.tail.as_ref().map_or(0, |tail| tail.unconfirmed);
        self.unstored.len() + on_their_way + self.stored()
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.limits.bytes
            || self.entries.len() >= self.limits.window
            || self.writes.len() >= Self::WRITES_MAX
    }
}

#[cfg(test)]
pub(crate) mod tests;
