//! Several notifications in one request: what is ready, and behind it later changes of the same rows.
//!
//! What fails together is tried again in halves, and then each by itself: one notification that is rejected for good comes to
//! hold back its own row only. A request that is too large for the endpoint is no attempt: it goes again in halves.

use std::collections::HashSet;
use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::{EntryId, Lane, Phase};
use crate::model::Batching;

/// What a subscription's batches are at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    asked: Batching,
    /// Notifications in one request at most, so that the endpoint does not find it too large.
    size: usize,
}

impl Batches {
    /// Bodies in one request at most; one that is larger goes alone.
    const BYTES_MAX: usize = 1 << 20;

    pub(super) const fn new(asked: Batching) -> Self {
        Self { asked, size: asked.size }
    }

    /// With how many a notification that has failed so often may go.
    const fn size_after(&self, attempts: u32) -> usize {
        match attempts {
            0 => self.size,
            1 if self.size > 1 => self.size / 2,
            _ => 1,
        }
    }

    /// What the endpoint found too large once it may take another time.
    fn accepted(&mut self) {
        self.size = (self.size + 1).min(self.asked.size);
    }

    const fn too_large(&mut self, count: usize) {
        self.size = if count > 1 { count / 2 } else { 1 };
    }
}

/// What goes into one request, while it is gathered.
struct Gathered {
    ids: SmallVec<[EntryId; 1]>,
    bytes: usize,
    most: usize,
}

impl Gathered {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.ids.len() < self.most && self.bytes + bytes <= Batches::BYTES_MAX
    }

    fn add(&mut self, id: EntryId, bytes: usize) {
        self.ids.push(id);
        self.bytes += bytes;
    }
}

impl<T> Lane<T> {
    /// Notifications in one request at most.
    pub(super) fn batch_size(&self) -> usize {
        self.size_after(0)
    }

    fn size_after(&self, attempts: u32) -> usize {
        self.batches.as_ref().map_or(1, |batches| batches.size_after(attempts))
    }

    /// Whether the request that begins with this one is to go now: it is full, or it has waited for more, or more cannot come.
    pub(super) fn is_gathered(&self, first: EntryId, now: Instant) -> bool {
        let (Some(batches), Some(entry)) = (&self.batches, self.entries.get(&first)) else { return true };
        let size = batches.size_after(entry.attempts);
        size == 1 || self.ready.len() >= size || self.is_full() || entry.due + batches.asked.linger <= now
    }

    /// When a request that is not full will have waited for long enough, where one could be made.
    pub(super) fn lingers_until(&self, now: Instant) -> Option<Instant> {
        let linger = self.batches.as_ref()?.asked.linger;
        let first = self.ready.front().and_then(|id| self.entries.get(id))?;
        Some(first.due + linger).filter(|until| *until > now && self.in_flight < self.concurrency)
    }

    /// Takes what is to go together with the first that is ready, in the order of the log; all of it is under way then.
    pub(super) fn gather(&mut self, first: EntryId) -> SmallVec<[EntryId; 1]> {
        let most = self.entries.get(&first).map_or(1, |entry| self.size_after(entry.attempts));
        let mut gathered = Gathered { ids: smallvec![], bytes: 0, most };
        let mut next = Some(first);
        while let Some(id) = next
            && let Some(bytes) = self.fits(id, &gathered)
        {
            self.ready.pop_front();
            self.set_phase(id, Phase::InFlight);
            gathered.add(id, bytes);
            next = self.next_ready();
        }
        if most > 1 {
            self.gather_followers(&mut gathered);
        }
        gathered.ids.sort_unstable();
        gathered.ids
    }

    /// Later changes that wait for nothing but what goes before them in the same request.
    fn gather_followers(&mut self, gathered: &mut Gathered) {
        let mut taken: HashSet<EntryId> = gathered.ids.iter().copied().collect();
        let mut nth = 0;
        while let Some(id) = gathered.ids.get(nth).copied() {
            let followers: SmallVec<[EntryId; 4]> = self.order.held_back_by(id).into();
            for follower in followers {
                let waits_for_these = self.order.waits_for(follower).iter().all(|id| taken.contains(id));
                if let Some(bytes) =
                    self.fits(follower, gathered).filter(|_| waits_for_these && self.may_go_along(follower))
                {
                    self.set_phase(follower, Phase::InFlight);
                    gathered.add(follower, bytes);
                    taken.insert(follower);
                }
            }
            nth += 1;
        }
    }

    /// The bytes that it adds, where there is room for it among those.
    fn fits(&self, id: EntryId, gathered: &Gathered) -> Option<usize> {
        let entry = self.entries.get(&id)?;
        let alike = self.size_after(entry.attempts) == gathered.most;
        (gathered.ids.is_empty() || alike && gathered.has_room_for(entry.body_bytes)).then_some(entry.body_bytes)
    }

    fn may_go_along(&self, id: EntryId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.phase == Phase::Blocked && entry.body.is_some())
    }

    /// The endpoint took a request.
    pub(super) fn batch_accepted(&mut self) {
        self.batches.as_mut().into_iter().for_each(Batches::accepted);
    }

    /// It found one of so many too large.
    pub(super) fn batch_too_large(&mut self, count: usize) {
        self.batches.as_mut().into_iter().for_each(|batches| batches.too_large(count));
    }
}
