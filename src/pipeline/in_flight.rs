//! How many requests are under way, all subscriptions together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Endpoints that have accepted nothing lately have at most this share of all requests: however many hang, those that are
/// well find room.
const DOUBTFUL_SHARE: usize = 2;

/// The right to be in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    all: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
}

/// Given back when it is dropped.
pub(super) struct Permit {
    _all: OwnedSemaphorePermit,
    _doubtful: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    pub(super) fn new(max_in_flight: usize) -> Self {
        let doubtful = (max_in_flight / DOUBTFUL_SHARE).max(1);
        Self { all: Arc::new(Semaphore::new(max_in_flight)), doubtful: Arc::new(Semaphore::new(doubtful)) }
    }

    /// The right to send, where there is some now; `trusted` where the endpoint's last answer was an acceptance.
    pub(super) fn try_permit(&self, trusted: bool) -> Option<Permit> {
        let doubtful = if trusted { None } else { Some(self.doubtful.clone().try_acquire_owned().ok()?) };
        Some(Permit { _all: self.all.clone().try_acquire_owned().ok()?, _doubtful: doubtful })
    }

    /// Waits for it; the semaphores are never closed.
    pub(super) async fn permit(&self, trusted: bool) -> Option<Permit> {
        let doubtful = if trusted { None } else { Some(self.doubtful.clone().acquire_owned().await.ok()?) };
        Some(Permit { _all: self.all.clone().acquire_owned().await.ok()?, _doubtful: doubtful })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn those_that_hang_leave_room_for_those_that_are_well() {
        let in_flight = InFlight::new(4);
        let hanging: Vec<_> = (0..8).filter_map(|_| in_flight.try_permit(false)).collect();
        assert_eq!(hanging.len(), 2);
        assert!(in_flight.permit(false).now_or_never().is_none());
        assert!(in_flight.try_permit(true).is_some());
    }
}
