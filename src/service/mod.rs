//! The service manager (systemd, or what speaks its protocol): what it is told of this process, by `sd_notify(3)`. Where none
//! listens, nothing is told and nothing fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

/// What is shown of a status line: a reason may quote a server at length, and a message of more than 4 KiB is not taken.
const STATUS_CHARS: usize = 500;

/// Tells the service manager, and remembers what it was told.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    ready: Arc<AtomicBool>,
}

impl ServiceManager {
    /// Within this it wants a sign of life; none where it does not watch this process.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
    }

    /// The start is over. Told once.
    pub fn ready(&self) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            tell(&[NotifyState::Ready]);
        }
    }

    /// The config file is read again; [`reloaded`](Self::reloaded) follows. A start that is not over goes on being one.
    pub fn reloading(&self) {
        if self.is_ready() {
            let now = NotifyState::monotonic_usec_now().ok();
            tell(&[Some(NotifyState::Reloading), now].into_iter().flatten().collect::<Vec<_>>());
        }
    }

    /// The reload is over, whatever came of it.
    pub fn reloaded(&self) {
        if self.is_ready() {
            tell(&[NotifyState::Ready]);
        }
    }

    /// An orderly stop has begun.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("stopping: what is in flight finishes")]);
    }

    /// One line for people.
    pub fn status(&self, status: &str) {
        let line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS).collect();
        tell(&[NotifyState::Status(&line)]);
    }

    /// Everything turns. While the start lasts, which has no end where a server is away, it is given as long again.
    pub fn alive(&self, period: Duration) {
        let longer = NotifyState::ExtendTimeoutUsec(u32::try_from(period.as_micros()).unwrap_or(u32::MAX));
        match self.is_ready() {
            true => tell(&[NotifyState::Watchdog]),
            false => tell(&[NotifyState::Watchdog, longer]),
        }
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// A service manager that cannot be told takes its own measures.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(error = &error as &dyn std::error::Error, "the service manager could not be told");
    }
}
