//! What is sent, and what came of it.

use std::time::Instant;

use super::{Entry, EntryId, Finished, Lane, Limits, Phase, Setback, Start, Storage, Write};

impl<T> Lane<T> {
    /// Whether an attempt can be made now.
    pub fn may_start(&mut self, now: Instant) -> bool {
        self.next_to_start(now).is_some()
    }

    /// The next attempt to make, if one can be made now.
    pub fn start(&mut self, now: Instant) -> Option<Start> {
        let id = self.next_to_start(now)?;
        let entry = self.entries.get(&id)?;
        let (event, body, attempt) = (entry.event.clone(), entry.body.clone()?, entry.attempts + 1);
        let phase = if self.breaker.is_closed() {
            self.ready.pop_front();
            Phase::InFlight
        } else {
            self.delayed.remove(&(entry.due, id));
            self.breaker.probe_sent();
            Phase::Probing
        };
        self.in_flight += 1;
        self.set_phase(id, phase);
        Some(Start { id, event, body, attempt })
    }

    fn next_to_start(&mut self, now: Instant) -> Option<EntryId> {
        if self.draining || self.held || self.rewinding {
            return None;
        }
        if !self.breaker.is_closed() {
            return self.next_probe(now);
        }
        self.ripen(now);
        if self.in_flight >= self.concurrency {
            return None;
        }
        while let Some(id) = self.ready.front().copied() {
            let entry = self.entries.get(&id).filter(|entry| entry.phase == Phase::Ready);
            if entry.is_some_and(|entry| entry.body.is_some()) {
                return Some(id);
            }
            if entry.is_some() {
                // It waits for `bodies_wanted`, and does not hold back the other rows.
                self.wanted.push_back(id);
            }
            self.ready.pop_front();
        }
        None
    }

    /// Those whose time has come are ready.
    fn ripen(&mut self, now: Instant) {
        while let Some((at, id)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, id));
            self.set_phase(id, Phase::Ready);
            self.ready.push_back(id);
        }
    }

    /// A notification that is owed finds out whether the endpoint is well again.
    fn next_probe(&mut self, now: Instant) -> Option<EntryId> {
        if self.loading > 0 || self.breaker.probe_at()? > now {
            return None;
        }
        let id = self.probe_candidate()?;
        if self.entries.get(&id)?.body.is_none() {
            self.wanted.push_front(id);
            return None;
        }
        Some(id)
    }

    /// Another one each time, those never tried first: one that is rejected for good must not keep the breaker open.
    pub(super) fn probe_candidate(&self) -> Option<EntryId> {
        let is_free =
            |entry: &Entry<T>| matches!(entry.phase, Phase::Ready | Phase::Delayed) && entry.storage == Storage::Stored;
        let free = self.entries.iter().filter(|(_, entry)| is_free(entry));
        free.min_by_key(|(id, entry)| (entry.probes, entry.attempts, **id)).map(|(id, _)| *id)
    }

    /// The endpoint accepted it. Returns the ticket where the log still waits for it.
    #[must_use]
    pub fn succeeded(&mut self, id: EntryId, now: Instant) -> Option<T> {
        self.landed(id);
        // An endpoint that has just come back is not met with everything at once.
        let concurrency = if self.breaker.succeeded() { 1 } else { self.concurrency + 1 };
        self.concurrency = concurrency.min(self.limits.concurrency);
        let entry = self.retire(id, now)?;
        if entry.storage != Storage::Memory {
            self.note_resolved(&entry.event);
            self.write_outcome(Write::Delivered { event: entry.event });
        }
        self.rewind_if_quiet();
        entry.ticket
    }

    /// An attempt failed.
    pub fn failed(&mut self, id: EntryId, setback: Setback, now: Instant) -> Finished {
        let phase = self.landed(id);
        self.concurrency = (self.concurrency / 2).max(Limits::FIRST_CONCURRENCY.min(self.limits.concurrency));
        let probed = phase == Some(Phase::Probing);
        if probed {
            self.breaker.probe_failed(setback.asked, now);
        }
        let finished = if probed && !self.is_past_its_age(id, now) {
            self.put_back(id, now);
            Finished::Probed
        } else {
            self.attempt_failed(id, setback, now)
        };
        self.rewind_if_quiet();
        finished
    }

    fn attempt_failed(&mut self, id: EntryId, setback: Setback, now: Instant) -> Finished {
        let Setback { mut record, asked } = setback;
        self.store_tied(id);
        let Some(entry) = self.entries.get_mut(&id) else { return Finished::GivenUp };
        entry.attempts += 1;
        record.attempt = entry.attempts;
        let (event, attempts, age) = (entry.event.clone(), entry.attempts, entry.age(now));
        let opens = self.breaker.failed(&event.id, asked, now);
        let finished = match self.limits.retry.next_wait(attempts, age) {
            None => {
                self.note_resolved(&event);
                self.write_outcome(Write::Failed { event, age, record });
                self.retire(id, now);
                Finished::GivenUp
            }
            Some(wait) => {
                let wait = wait.max(asked.unwrap_or_default());
                self.release_at(id, now + wait, now);
                self.drop_body(id);
                self.write_outcome(Write::Reschedule { event, wait, age, record });
                self.park_excess(now);
                Finished::Retry { wait }
            }
        };
        if opens {
            self.spill();
        }
        finished
    }

    fn is_past_its_age(&self, id: EntryId, now: Instant) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.age(now) >= self.limits.retry.give_up_after)
    }

    /// After a probe everything is as it was, but that another is taken the next time.
    fn put_back(&mut self, id: EntryId, now: Instant) {
        self.drop_body(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.probes += 1;
        let due = entry.due;
        self.release_at(id, due, now);
    }

    /// Every attempt under way was called off.
    pub fn all_called_off(&mut self, now: Instant) {
        let under_way = |entry: &Entry<T>| matches!(entry.phase, Phase::InFlight | Phase::Probing);
        let ids: Vec<EntryId> =
            self.entries.iter().filter(|(_, entry)| under_way(entry)).map(|(id, _)| *id).rev().collect();
        ids.into_iter().for_each(|id| self.call_off(id, now));
    }

    fn call_off(&mut self, id: EntryId, now: Instant) {
        if let Some(Phase::Probing) = self.landed(id) {
            self.breaker.probe_called_off(now);
        }
        self.set_phase(id, Phase::Ready);
        self.ready.push_front(id);
        self.rewind_if_quiet();
    }

    /// The attempt is over; returns what it was.
    fn landed(&mut self, id: EntryId) -> Option<Phase> {
        let phase = self.entries.get(&id).map(|entry| entry.phase);
        if matches!(phase, Some(Phase::InFlight | Phase::Probing)) {
            self.in_flight -= 1;
        }
        phase
    }

    fn write_outcome(&mut self, write: Write<T>) {
        self.outcomes_unconfirmed += 1;
        self.writes.push(write);
    }
}
