//! How many requests are under way: all subscriptions together, and those of one subscription in all its sources.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sending::cores;

/// Endpoints that have accepted nothing lately have at most this share of all requests: however many hang, those that are
/// well find room.
const DOUBTFUL_SHARE: usize = 2;

/// For each core so many requests are fresh at most: more of them at once would only wait for the machine, and take its caches
/// from one another.
const FRESH_PER_CORE: usize = 48;

/// The right to be in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    all: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
    fresh: Arc<Semaphore>,
    concurrency: usize,
    waiting: Arc<AtomicUsize>,
    /// What the lanes of one subscription share, one for each source.
    shares: Arc<Mutex<HashMap<i64, Arc<Semaphore>>>>,
}

/// What one subscription may have in flight.
#[derive(Clone, Debug)]
pub(super) struct Share(Arc<Semaphore>);

/// Given back when it is dropped.
pub(super) struct Permit {
    _share: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    _doubtful: Option<OwnedSemaphorePermit>,
    fresh: Option<OwnedSemaphorePermit>,
    all_fresh: Arc<Semaphore>,
}

impl Permit {
    /// A request that is not answered within this waits for its endpoint, and not for the machine.
    pub(super) const FRESH_FOR: Duration = Duration::from_millis(2);

    /// The request is fresh no more, and another may be.
    pub(super) fn age(&mut self) {
        self.fresh = None;
    }

    /// For another request; false where it has to be waited for.
    pub(super) fn renew(&mut self) -> bool {
        if self.fresh.is_none() {
            self.fresh = self.all_fresh.clone().try_acquire_owned().ok();
        }
        self.fresh.is_some()
    }
}

/// Somebody waits, until it is dropped.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn new(waiting: Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// At most `concurrency` for each subscription, and `max_in_flight` for all of them.
    pub(super) fn new(concurrency: usize, max_in_flight: usize) -> Self {
        let doubtful = (max_in_flight / DOUBTFUL_SHARE).max(1);
        Self {
            all: Arc::new(Semaphore::new(max_in_flight)),
            doubtful: Arc::new(Semaphore::new(doubtful)),
            fresh: Arc::new(Semaphore::new(FRESH_PER_CORE * cores())),
            concurrency,
            waiting: Arc::default(),
            shares: Arc::default(),
        }
    }

    /// What the lanes of this subscription share.
    pub(super) fn share(&self, subscription: i64) -> Share {
        let mut shares = self.shares();
        let share = shares.entry(subscription).or_insert_with(|| Arc::new(Semaphore::new(self.concurrency)));
        Share(share.clone())
    }

    /// The subscription is deleted.
    pub(super) fn forget(&self, subscription: i64) {
        self.shares().remove(&subscription);
    }

    /// The right to send, where there is some now; `trusted` where the endpoint's last answer was an acceptance.
    pub(super) fn try_permit(&self, share: &Share, trusted: bool) -> Option<Permit> {
        let share = share.0.clone().try_acquire_owned().ok()?;
        let doubtful = if trusted { None } else { Some(self.doubtful.clone().try_acquire_owned().ok()?) };
        let all = self.all.clone().try_acquire_owned().ok()?;
        let fresh = self.fresh.clone().try_acquire_owned().ok()?;
        Some(self.made_of(share, doubtful, all, fresh))
    }

    /// Whether somebody waits for the right to send.
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits for it; the semaphores are never closed.
    pub(super) async fn permit(&self, share: &Share, trusted: bool) -> Option<Permit> {
        let _waits = Waits::new(self.waiting.clone());
        let share = share.0.clone().acquire_owned().await.ok()?;
        let doubtful = if trusted { None } else { Some(self.doubtful.clone().acquire_owned().await.ok()?) };
        let all = self.all.clone().acquire_owned().await.ok()?;
        let fresh = self.fresh.clone().acquire_owned().await.ok()?;
        Some(self.made_of(share, doubtful, all, fresh))
    }

    fn made_of(
        &self,
        share: OwnedSemaphorePermit,
        doubtful: Option<OwnedSemaphorePermit>,
        all: OwnedSemaphorePermit,
        fresh: OwnedSemaphorePermit,
    ) -> Permit {
        let all_fresh = self.fresh.clone();
        Permit { _share: share, _all: all, _doubtful: doubtful, fresh: Some(fresh), all_fresh }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<i64, Arc<Semaphore>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_that_hang_leave_room_for_those_that_are_well() {
        let in_flight = InFlight::new(4, 4);
        let (hangs, well) = (in_flight.share(1), in_flight.share(2));
        let hanging: Vec<_> = (0..8).filter_map(|_| in_flight.try_permit(&hangs, false)).collect();
        assert_eq!(hanging.len(), 2);
        assert!(in_flight.permit(&hangs, false).now_or_never().is_none());
        assert!(in_flight.try_permit(&well, true).is_some());
    }

    #[tokio::test]
    async fn the_lanes_of_one_subscription_share_its_concurrency() {
        let in_flight = InFlight::new(2, 8);
        let lanes = [in_flight.share(1), in_flight.share(1)];
        let permits: Vec<_> = lanes.iter().chain(&lanes).filter_map(|lane| in_flight.try_permit(lane, true)).collect();
        assert_eq!(permits.len(), 2);
        assert!(in_flight.permit(&lanes[0], true).now_or_never().is_none());
        assert!(in_flight.try_permit(&in_flight.share(2), true).is_some(), "another has its own");
    }

    #[tokio::test]
    async fn a_request_that_waits_for_its_endpoint_makes_room_for_others() {
        let in_flight = InFlight::new(1 << 16, 1 << 16);
        let share = in_flight.share(1);
        let mut permits: Vec<_> = std::iter::from_fn(|| in_flight.try_permit(&share, true)).collect();
        assert_eq!(permits.len() % FRESH_PER_CORE, 0);
        let mut aged = permits.pop().expect("there is one");
        aged.age();
        assert!(!in_flight.is_waited_for());
        let next = in_flight.permit(&share, true).now_or_never().expect("there is room");
        assert!(!aged.renew(), "the other took it");
        let mut waits = Box::pin(in_flight.permit(&share, true));
        assert!(waits.as_mut().now_or_never().is_none() && in_flight.is_waited_for());
        drop(waits);
        assert!(!in_flight.is_waited_for());
        drop(next);
        assert!(aged.renew());
    }
}
