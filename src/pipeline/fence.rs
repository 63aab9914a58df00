//! Whether this daemon may start attempts: only while it holds the slot's connection and its lease.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

/// Closed until the connection stands and the lease was renewed.
#[derive(Debug)]
pub(super) struct Fence {
    /// Since when there is no connection; none while it stands.
    lost_at: watch::Sender<Option<Instant>>,
    lease_until: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Default for Fence {
    fn default() -> Self {
        Self {
            lost_at: watch::Sender::new(Some(Instant::now())),
            lease_until: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Fence {
    /// Whether an attempt may start now. The clock goes on while a process is stopped, so one that comes back late finds
    /// the fence closed.
    pub(super) fn is_open(&self) -> bool {
        self.lost_at.borrow().is_none() && self.has_lease()
    }

    /// Whether the lease still runs.
    pub(super) fn has_lease(&self) -> bool {
        self.lease().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until an attempt may start.
    pub(super) async fn opened(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_open() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.lost_at.send_modify(|lost_at| {
            *lost_at = if connected { None } else { Some(lost_at.unwrap_or_else(Instant::now)) };
        });
        self.changed.notify_waiters();
    }

    /// Tells since when there is no connection; none while it stands.
    pub(super) fn connection(&self) -> watch::Receiver<Option<Instant>> {
        self.lost_at.subscribe()
    }

    /// Renews the lease. While it was not live, a deletion was confirmed without asking its holder: where it had lapsed, it
    /// is renewed only once the lanes respect the `current` revision, which is read after everybody can see the lease again.
    /// Returns whether it is renewed.
    pub(super) async fn renew<E>(
        &self,
        until: Instant,
        respected: i64,
        current: impl AsyncFnOnce() -> Result<i64, E>,
    ) -> Result<bool, E> {
        let renewed = self.has_lease() || respected >= current().await?;
        if renewed {
            *self.lease() = Some(until);
            self.changed.notify_waiters();
        }
        Ok(renewed)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lease_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn renew(fence: &Fence, until: Instant, respected: i64, current: i64) -> bool {
        fence.renew(until, respected, async || Ok::<_, ()>(current)).await.expect("it is read")
    }

    #[tokio::test]
    async fn it_is_open_only_while_the_connection_stands_and_the_lease_runs() {
        let fence = Fence::default();
        assert!(renew(&fence, Instant::now() + Duration::from_secs(60), 0, 0).await);
        assert!(!fence.is_open(), "no connection");
        fence.set_connected(true);
        assert!(fence.is_open());
        assert!(renew(&fence, Instant::now(), 0, 0).await);
        assert!(!fence.is_open(), "the lease has run out");
    }

    #[test]
    fn it_knows_since_when_the_connection_has_been_gone() {
        let fence = Fence::default();
        let connection = fence.connection();
        assert!(connection.borrow().is_some(), "there was none yet");
        fence.set_connected(true);
        assert!(connection.borrow().is_none(), "it stands");
        fence.set_connected(false);
        let lost_at = *connection.borrow();
        fence.set_connected(false);
        assert!(lost_at.is_some() && *connection.borrow() == lost_at);
    }

    #[tokio::test]
    async fn once_lapsed_it_stays_closed_until_the_lanes_respect_what_was_changed_meanwhile() {
        let later = Instant::now() + Duration::from_secs(60);
        let fence = Fence::default();
        fence.set_connected(true);
        assert!(!renew(&fence, later, 6, 7).await && !fence.is_open(), "it never had a lease");
        assert!(renew(&fence, Instant::now(), 7, 7).await && !fence.is_open(), "the lease has run out");
        assert!(!renew(&fence, later, 7, 8).await && !fence.is_open(), "something was deleted meanwhile");
        let unknown = fence.renew(later, 7, async || Err(())).await;
        assert!(unknown.is_err() && !fence.is_open(), "whether something was deleted is not known");
        assert!(renew(&fence, later, 8, 8).await && fence.is_open(), "the lanes respect it");
        assert!(
            renew(&fence, later, 8, 9).await && fence.is_open(),
            "whoever changes something waits for a live lease"
        );
    }
}
