//! What is sent, and what came of it.

use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::{Entry, EntryId, Finished, Lane, Limits, Phase, Request, Setback, Start, Storage, Write};

impl<T> Lane<T> {
    /// Whether an attempt can be made now.
    pub fn may_start(&mut self, now: Instant) -> bool {
        self.next_to_start(now).is_some()
    }

    /// The next request to make, if one can be made now.
    pub fn start(&mut self, now: Instant) -> Request {
        let Some(first) = self.next_to_start(now) else { return Request::new() };
        let ids = if self.breaker.is_closed() { self.gather(first) } else { self.take_probe(first) };
        self.in_flight += 1;
        ids.into_iter().filter_map(|id| self.to_send(id)).collect()
    }

    fn take_probe(&mut self, id: EntryId) -> SmallVec<[EntryId; 1]> {
        if let Some(entry) = self.entries.get(&id) {
            self.delayed.remove(&(entry.due, id));
        }
        self.breaker.probe_sent();
        self.set_phase(id, Phase::Probing);
        smallvec![id]
    }

    fn to_send(&self, id: EntryId) -> Option<Start> {
        let entry = self.entries.get(&id)?;
        Some(Start { id, event: entry.event.clone(), body: entry.body.clone()?, attempt: entry.attempts + 1 })
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
        self.next_ready().filter(|first| self.is_gathered(*first, now))
    }

    /// The first one that is ready and has its body at hand.
    pub(super) fn next_ready(&mut self) -> Option<EntryId> {
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

    /// The endpoint accepted a request. Returns the tickets that the log still waits for.
    #[must_use]
    pub fn succeeded(&mut self, ids: &[EntryId], now: Instant) -> SmallVec<[T; 1]> {
        self.landed(ids);
        // An endpoint that has just come back is not met with everything at once.
        let concurrency = if self.breaker.succeeded() { 1 } else { self.concurrency + 1 };
        self.concurrency = concurrency.min(self.limits.concurrency);
        self.batch_accepted();
        let tickets = ids.iter().filter_map(|id| self.accepted(*id, now)).collect();
        self.rewind_if_quiet();
        tickets
    }

    fn accepted(&mut self, id: EntryId, now: Instant) -> Option<T> {
        let entry = self.retire(id, now)?;
        if entry.storage != Storage::Memory {
            self.note_resolved(&entry.event);
            self.write_outcome(Write::Delivered { event: entry.event });
        }
        entry.ticket
    }

    /// A request failed. Returns what became of each of its notifications, in their order.
    pub fn failed(&mut self, ids: &[EntryId], setback: &Setback, now: Instant) -> SmallVec<[Finished; 1]> {
        let probed = self.landed(ids) == Some(Phase::Probing);
        let finished = if setback.too_large && ids.len() > 1 {
            self.batch_too_large(ids.len());
            self.take_back(ids);
            ids.iter().map(|_| Finished::Split).collect()
        } else {
            self.concurrency = (self.concurrency / 2).max(Limits::FIRST_CONCURRENCY.min(self.limits.concurrency));
            if probed { self.probe_failed(ids, setback, now) } else { self.request_failed(ids, setback, now) }
        };
        self.rewind_if_quiet();
        finished
    }

    fn probe_failed(&mut self, ids: &[EntryId], setback: &Setback, now: Instant) -> SmallVec<[Finished; 1]> {
        self.breaker.probe_failed(setback.asked, now);
        let failed = |id: &EntryId| {
            if self.is_past_its_age(*id, now) {
                return self.attempt_failed(*id, setback, now);
            }
            self.put_back(*id, now);
            Finished::PutBack
        };
        ids.iter().map(failed).collect()
    }

    /// Those that wait for nothing have failed; what went along behind them was not refused for its own sake.
    fn request_failed(&mut self, ids: &[EntryId], setback: &Setback, now: Instant) -> SmallVec<[Finished; 1]> {
        let heads: SmallVec<[bool; 8]> = ids.iter().map(|id| self.order.is_free(*id)).collect();
        let followers = ids.iter().zip(&heads).filter(|(_, is_head)| !**is_head);
        followers.for_each(|(id, _)| self.set_phase(*id, Phase::Blocked));
        // One request is one piece of news about the endpoint, whatever it carried.
        let first = ids.first().and_then(|id| self.entries.get(id)).map(|entry| entry.event.clone());
        let opens = first.is_some_and(|event| self.breaker.failed(&event.id, setback.asked, now));
        let failed = |(id, is_head): (&EntryId, bool)| {
            if is_head { self.attempt_failed(*id, setback, now) } else { Finished::PutBack }
        };
        let finished = ids.iter().zip(heads).map(failed).collect();
        if opens {
            self.spill();
        }
        finished
    }

    fn attempt_failed(&mut self, id: EntryId, setback: &Setback, now: Instant) -> Finished {
        let Setback { mut record, asked, .. } = setback.clone();
        self.store_tied(id);
        let Some(entry) = self.entries.get_mut(&id) else { return Finished::GivenUp };
        entry.attempts += 1;
        record.attempt = entry.attempts;
        let (event, attempts, age) = (entry.event.clone(), entry.attempts, entry.age(now));
        match self.limits.retry.next_wait(attempts, age) {
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
        }
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

    /// Every request under way was called off.
    pub fn all_called_off(&mut self, now: Instant) {
        let under_way = |entry: &Entry<T>| matches!(entry.phase, Phase::InFlight | Phase::Probing);
        let ids: Vec<EntryId> = self.entries.iter().filter(|(_, entry)| under_way(entry)).map(|(id, _)| *id).collect();
        self.breaker.probe_called_off(now);
        self.take_back(&ids);
        self.in_flight = 0;
        self.rewind_if_quiet();
    }

    /// What was under way is where it was, and goes out again before all else.
    fn take_back(&mut self, ids: &[EntryId]) {
        for id in ids.iter().rev() {
            if self.order.is_free(*id) {
                self.set_phase(*id, Phase::Ready);
                self.ready.push_front(*id);
            } else {
                self.set_phase(*id, Phase::Blocked);
            }
        }
    }

    /// A request is over; returns what it was.
    fn landed(&mut self, ids: &[EntryId]) -> Option<Phase> {
        self.in_flight -= 1;
        ids.first().and_then(|id| self.entries.get(id)).map(|entry| entry.phase)
    }

    fn write_outcome(&mut self, write: Write<T>) {
        self.outcomes_unconfirmed += 1;
        self.writes.push(write);
    }
}
