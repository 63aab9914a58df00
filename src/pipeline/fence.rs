//! Whether this daemon may start attempts: only while it holds the slot's connection and its lease.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use tokio::sync::Notify;

/// Closed until the connection stands and the lease was renewed.
#[derive(Debug, Default)]
pub(super) struct Fence {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    connected: bool,
    lease_until: Option<Instant>,
}

impl State {
    fn has_lease(self) -> bool {
        self.lease_until.is_some_and(|until| Instant::now() < until)
    }
}

impl Fence {
    /// Whether an attempt may start now. The clock goes on while a process is stopped, so one that comes back late finds
    /// the fence closed.
    pub(super) fn is_open(&self) -> bool {
        let state = self.state();
        state.connected && state.has_lease()
    }

    /// Whether the lease still runs.
    pub(super) fn has_lease(&self) -> bool {
        self.state().has_lease()
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
        self.change(|state| state.connected = connected);
    }

    pub(super) fn renew(&self, until: Instant) {
        self.change(|state| state.lease_until = Some(until));
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_open_only_while_the_connection_stands_and_the_lease_runs() {
        let fence = Fence::default();
        fence.renew(Instant::now() + Duration::from_secs(60));
        assert!(!fence.is_open(), "no connection");
        fence.set_connected(true);
        assert!(fence.is_open());
        fence.renew(Instant::now());
        assert!(!fence.is_open(), "the lease has run out");
    }
}
