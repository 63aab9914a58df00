//! What goes to the outbox, and how it comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Ack, BodyRequest, Entry, EntryId, Lane, PageRequest, Parked, Phase, Storage, StoredRow};
use crate::deliver::order::Order;
use crate::model::Body;

/// What is in the outbox and not in the window.
#[derive(Debug)]
pub(super) struct Tail {
    /// Writes to it that are not confirmed yet.
    pub(super) unconfirmed: usize,
    /// Whether it was written to since the last page was asked for.
    grown: bool,
    /// Whether the last page reached its end, and no write was confirmed since.
    exhausted: bool,
    /// Whether a page is on its way.
    paging: bool,
    /// Whether that page was asked for before the window was forgotten.
    stale: bool,
    /// Rows of the next page: as many as are sent in about a second, so that a slow endpoint's take up little memory.
    page_rows: usize,
    /// When the last page came.
    paged_at: Option<Instant>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            unconfirmed: 0,
            grown: false,
            exhausted: false,
            paging: false,
            stale: false,
            page_rows: Self::ROWS_MIN,
            paged_at: None,
        }
    }
}

impl Tail {
    const ROWS_MIN: usize = 8;
    const ROWS_MAX: usize = 1024;

    /// A page that lasts for longer is larger than need be, one that lasts for less than half of it smaller.
    const PAGE_LASTS: Duration = Duration::from_secs(1);

    pub(super) fn wrote(&mut self) {
        self.unconfirmed += 1;
        self.grown = true;
    }

    fn adapt(&mut self, now: Instant) {
        let lasted = self.paged_at.map(|at| now.saturating_duration_since(at));
        self.page_rows = match lasted {
            Some(lasted) if lasted < Self::PAGE_LASTS / 2 => (self.page_rows * 2).min(Self::ROWS_MAX),
            Some(lasted) if lasted > Self::PAGE_LASTS => (self.page_rows / 2).max(Self::ROWS_MIN),
            _ => self.page_rows,
        };
    }
}

impl<T> Lane<T> {
    /// Writes are durable: stores, and so many outcomes.
    pub fn confirm(&mut self, stores: &[Ack], outcomes: usize) {
        self.outcomes_unconfirmed = self.outcomes_unconfirmed.saturating_sub(outcomes);
        for ack in stores {
            self.stored += i64::from(ack.seq.is_some());
            if ack.in_window {
                self.window_unconfirmed = self.window_unconfirmed.saturating_sub(1);
                self.last_seq = self.last_seq.max(ack.seq.unwrap_or(0));
                if let Some(id) = self.ids.get(&ack.event_id).copied() {
                    self.set_storage(id, Storage::Stored);
                }
            } else if let Some(tail) = &mut self.tail {
                tail.unconfirmed = tail.unconfirmed.saturating_sub(1);
                tail.exhausted = false;
            }
        }
        self.rewind_if_quiet();
    }

    /// Entries whose time has come and whose body is in the outbox alone, at most so many being read at once; to be answered by
    /// [`Lane::loaded`].
    pub fn bodies_wanted(&mut self, most: usize) -> Vec<BodyRequest> {
        let mut bodies = Vec::new();
        if self.draining || self.held || self.rewinding {
            return bodies;
        }
        let room = if self.breaker.is_closed() {
            self.concurrency.saturating_sub(self.in_flight) * self.batch_size()
        } else {
            1
        };
        while self.loading < room.min(most) {
            let Some(id) = self.wanted.front().copied() else { break };
            let may_go = |entry: &&mut Entry<T>| matches!(entry.phase, Phase::Ready | Phase::Delayed);
            let Some(entry) = self.entries.get_mut(&id).filter(may_go) else {
                self.wanted.pop_front();
                continue;
            };
            // A write that is not confirmed yet cannot be read back; what was stored after it is confirmed no sooner.
            if entry.storage != Storage::Stored {
                break;
            }
            self.delayed.remove(&(entry.due, id));
            entry.phase = Phase::Loading;
            bodies.push(BodyRequest { id, event_id: entry.event.id.clone(), bytes: entry.body_bytes });
            self.wanted.pop_front();
            self.loading += 1;
        }
        bodies
    }

    /// A body that was wanted; none where the outbox no longer has it (its row was removed by an operator).
    pub fn loaded(&mut self, id: EntryId, body: Option<Arc<Body>>, now: Instant) {
        self.loading -= 1;
        if let Some(body) = body {
            self.bytes += body.bytes().len();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.body = Some(body);
                entry.phase = Phase::Ready;
                self.ready.push_front(id);
            }
        } else {
            self.retire(id, now);
        }
        self.rewind_if_quiet();
    }

    /// The page of the outbox that is wanted now, if one is: with it the lane has at most so many rows that could go out at once.
    /// To be answered by [`Lane::paged`].
    pub fn page_wanted(&mut self, most: usize, now: Instant) -> Option<PageRequest> {
        if !self.wants_page(most) {
            return None;
        }
        let (flowing, at_hand) = (self.breaker.is_closed(), self.at_hand());
        let tail = self.tail.as_mut()?;
        tail.paging = true;
        tail.grown = tail.unconfirmed > 0;
        if flowing {
            tail.adapt(now);
        }
        let rows = if flowing { tail.page_rows } else { Tail::ROWS_MIN };
        Some(PageRequest {
            after: self.last_seq,
            rows: rows.min(most.saturating_sub(at_hand)).max(1),
            with_bodies: flowing,
        })
    }

    /// Whether something could be read from the outbox now, where there is memory for it.
    #[must_use]
    pub fn wants_to_read(&self) -> bool {
        !self.wanted.is_empty() || self.wants_page(usize::MAX)
    }

    fn wants_page(&self, most: usize) -> bool {
        let Some(tail) = self.tail.as_ref().filter(|tail| !tail.exhausted && !tail.paging) else { return false };
        let stands = self.draining || self.held || self.rewinding || self.window_unconfirmed > 0;
        if stands || self.entries.len() >= self.limits.window / 2 {
            return false;
        }
        if self.breaker.is_closed() {
            let enough = (tail.page_rows / 2).max(Self::READY_ENOUGH * self.concurrency * self.batch_size());
            self.at_hand() < (most / 2).clamp(1, enough)
        } else {
            !(self.loading > 0 || self.in_flight > 0 || self.has_fresh_candidate())
        }
    }

    /// What could go out at once.
    fn at_hand(&self) -> usize {
        self.ready.len() + self.wanted.len() + self.loading
    }

    /// With so many entries ready for each attempt that may be under way the next page can wait (an endpoint that hangs has few),
    /// and as long as more than half of the last one is there: then it comes before that is used up.
    const READY_ENOUGH: usize = 4;

    fn has_fresh_candidate(&self) -> bool {
        self.probe_candidate().and_then(|id| self.entries.get(&id)).is_some_and(|entry| entry.probes == 0)
    }

    /// A page of the tail; `complete` where the outbox held no more.
    pub fn paged(&mut self, rows: Vec<StoredRow>, complete: bool, now: Instant) {
        let Some(mut tail) = self.tail.take() else { return };
        tail.paging = false;
        tail.paged_at = Some(now);
        if std::mem::take(&mut tail.stale) {
            self.tail = Some(tail);
            return;
        }
        for row in rows {
            self.last_seq = self.last_seq.max(row.seq);
            self.take_row(row, now);
        }
        self.park_excess(now);
        // Rows whose write was confirmed while the page was on its way may not be on it; those still to be confirmed will
        // ask for another page then. What is to be forgotten is not all there is.
        if !complete || tail.grown || self.rewinding {
            tail.exhausted = complete && tail.unconfirmed > 0;
            self.tail = Some(tail);
        } else {
            // The window holds all that is owed, but for what is parked. Rows that were cleaned, or removed by an operator, were still counted.
            self.stored = i64::try_from(self.entries.len() + self.parked.rows).unwrap_or(i64::MAX);
        }
    }

    fn take_row(&mut self, row: StoredRow, now: Instant) {
        self.bytes += row.body.as_ref().map_or(0, |body| body.bytes().len());
        let waits = !row.due_in.is_zero();
        let id = self.insert(Entry {
            event: Arc::new(row.event),
            body: row.body,
            body_bytes: row.body_bytes,
            ticket: None,
            storage: Storage::Stored,
            phase: Phase::Blocked,
            attempts: row.attempts,
            probes: 0,
            due: now + row.due_in,
            age_before: row.age,
            arrived: now,
            ahead: 0,
        });
        let free = self.order_entry(id);
        if self.is_held_back(id) {
            return self.park(id);
        }
        if free {
            self.release_at(id, now + row.due_in, now);
        }
        if waits || !free {
            self.drop_body(id);
        }
    }

    /// The time that [`Lane::next_wake`] told has come: writes everything that is in memory alone, where it has been there for too
    /// long, and brings back what is parked, where it is due.
    pub fn wake(&mut self, now: Instant) {
        self.unpark_if_due(now);
        if self.tail.is_none() && self.slow_at().is_some_and(|at| at <= now) {
            self.spill();
        }
    }

    /// The same sooner, since memory is short: unless the lane gets through all that it holds in time, as fast as it has been.
    /// Where it is the machine that is slow, every lane is, and the outbox would make it slower.
    pub fn spill_if_pressed(&mut self, now: Instant) {
        let Some(oldest) = self.oldest_unstored() else { return };
        let waited = now.saturating_duration_since(oldest.arrived);
        // In the time that the oldest has waited it got through what was ahead of that.
        let (settle_within, held) = (self.limits.settle_within.as_millis(), self.unstored.len() as u128);
        let gets_through = oldest.ahead as u128 * settle_within >= held * waited.as_millis();
        if self.tail.is_none() && waited >= self.limits.patience && !gets_through {
            self.spill();
        }
    }

    /// Writes everything that is in memory alone, and forgets the window when that is done: the outbox has it all.
    pub fn spill(&mut self) {
        let ids: Vec<EntryId> = self.unstored.iter().copied().collect();
        for id in ids {
            self.store(id);
        }
        self.tail.get_or_insert_default();
        self.rewinding = true;
        self.rewind_if_quiet();
    }

    /// Forgets the window once the outbox has all of it as it is: nothing under way, every write durable.
    pub(super) fn rewind_if_quiet(&mut self) {
        let unconfirmed = self.window_unconfirmed + self.outcomes_unconfirmed;
        if !self.rewinding || self.in_flight + self.loading + unconfirmed > 0 {
            return;
        }
        self.rewinding = false;
        self.entries.clear();
        self.ids.clear();
        self.order = Order::default();
        self.parked = Parked::default();
        self.ready.clear();
        self.wanted.clear();
        self.delayed.clear();
        self.bytes = 0;
        self.last_seq = 0;
        let tail = self.tail.get_or_insert_default();
        tail.exhausted = false;
        tail.stale = tail.paging;
    }

    /// When what is in memory alone will have been there for too long. Where all of a full window is in the outbox already,
    /// nothing there tells when there will be room, so that has come.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        if self.unstored.is_empty() && self.entries.len() >= self.limits.window {
            return self.entries.first_key_value().map(|(_, entry)| entry.arrived);
        }
        let patience = if self.is_full() { self.limits.patience } else { self.limits.settle_within };
        self.oldest_unstored().map(|oldest| oldest.arrived + patience)
    }

    fn oldest_unstored(&self) -> Option<&Entry<T>> {
        self.unstored.first().and_then(|id| self.entries.get(id))
    }
}
