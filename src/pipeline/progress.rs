//! The watermark of one source, shared by the intake that opens and the lanes that settle.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::checkpoint::{ResumePoint, Ticket, Watermark};

#[derive(Debug)]
pub(super) struct Progress {
    watermark: Mutex<Watermark>,
    moved: Notify,
}

impl Progress {
    pub(super) fn new(point: ResumePoint) -> Self {
        Self { watermark: Mutex::new(Watermark::new(point)), moved: Notify::new() }
    }

    pub(super) fn settle(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut watermark = self.watermark();
        tickets.into_iter().for_each(|ticket| watermark.settle(ticket));
        drop(watermark);
        self.moved.notify_one();
    }

    /// Changes the watermark by what was read.
    pub(super) fn read<R>(&self, change: impl FnOnce(&mut Watermark) -> R) -> R {
        let result = change(&mut self.watermark());
        self.moved.notify_one();
        result
    }

    pub(super) fn resume_point(&self) -> ResumePoint {
        self.watermark().resume_point()
    }

    pub(super) fn read_point(&self) -> ResumePoint {
        self.watermark().read_point()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.watermark().is_settled()
    }

    /// Waits until something was read or settled since the last wait.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    fn watermark(&self) -> MutexGuard<'_, Watermark> {
        self.watermark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
