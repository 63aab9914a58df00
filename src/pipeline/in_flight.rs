//! How many requests are under way: all subscriptions together, and those of one subscription in all its sources.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Endpoints that have accepted nothing lately have at most this share of all requests: however many hang, those that are
/// well find room.
const DOUBTFUL_SHARE: usize = 2;

/// The right to be in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    all: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
    concurrency: usize,
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
}

impl InFlight {
    /// At most `concurrency` for each subscription, and `max_in_flight` for all of them.
    pub(super) fn new(concurrency: usize, max_in_flight: usize) -> Self {
        let doubtful = (max_in_flight / DOUBTFUL_SHARE).max(1);
        Self {
            all: Arc::new(Semaphore::new(max_in_flight)),
            doubtful: Arc::new(Semaphore::new(doubtful)),
            concurrency,
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
        Some(Permit { _share: share, _all: self.all.clone().try_acquire_owned().ok()?, _doubtful: doubtful })
    }

    /// Waits for it; the semaphores are never closed.
    pub(super) async fn permit(&self, share: &Share, trusted: bool) -> Option<Permit> {
        let share = share.0.clone().acquire_owned().await.ok()?;
        let doubtful = if trusted { None } else { Some(self.doubtful.clone().acquire_owned().await.ok()?) };
        Some(Permit { _share: share, _all: self.all.clone().acquire_owned().await.ok()?, _doubtful: doubtful })
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
}
