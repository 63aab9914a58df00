//! Memory for notifications on their way in: one budget for all sources.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// So often lanes are told again that memory is short, since each may become slow in the meantime.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    bytes: usize,
    /// Raised each time that somebody finds no memory left.
    pressure: watch::Sender<u64>,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes, pressure: watch::Sender::new(0) }
    }

    /// Memory for a body, one permit a byte; a body larger than everything is processed alone. While there is none left,
    /// the lanes of every source are pressed to make room.
    pub(super) async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.clamp(1, self.bytes.max(1))).unwrap_or(u32::MAX);
        if let Ok(held) = self.permits.clone().try_acquire_many_owned(permits) {
            return Some(held);
        }
        let mut waiting = std::pin::pin!(self.permits.clone().acquire_many_owned(permits));
        loop {
            self.pressure.send_modify(|times| *times += 1);
            match tokio::time::timeout(PRESSURE_INTERVAL, &mut waiting).await {
                // The semaphore is never closed.
                Ok(held) => return held.ok(),
                Err(_) => continue,
            }
        }
    }

    /// Told each time that somebody finds no memory left.
    pub(super) fn pressure(&self) -> watch::Receiver<u64> {
        self.pressure.subscribe()
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.bytes - self.permits.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn sources_share_it_and_whoever_finds_none_left_presses_all_lanes() {
        let memory = Memory::new(100);
        let (first, second) = (memory.clone(), memory.clone());
        let mut pressed = first.pressure();
        let held = first.reserve(80).await;
        assert_eq!(second.held(), 80);
        assert!(second.reserve(30).now_or_never().is_none(), "there is none left");
        assert!(pressed.changed().now_or_never().is_some(), "the lanes of the other source hear of it");
        drop(held);
        assert!(second.reserve(1000).now_or_never().is_some(), "one larger than everything is processed alone");
    }
}
