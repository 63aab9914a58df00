//! The watermark of one source, shared by the intake that opens and the lanes that settle.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::checkpoint::{ResumePoint, Stuck, Ticket, Watermark};

#[derive(Debug)]
pub(super) struct Progress {
    watermark: Mutex<Watermark>,
    /// The transaction that the server cannot send, until it is passed.
    stuck: Mutex<Option<Stuck>>,
    moved: Notify,
}

impl Progress {
    pub(super) fn new(point: ResumePoint) -> Self {
        Self { watermark: Mutex::new(Watermark::new(point)), stuck: Mutex::new(None), moved: Notify::new() }
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

    /// The server cannot send this transaction: all before it is read, and nothing after it will be.
    pub(super) fn set_stuck(&self, stuck: Stuck) {
        // Its commit's record begins where all before it ends.
        self.watermark().idle(stuck.commit_lsn);
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(stuck);
        self.moved.notify_one();
    }

    /// The transaction that the server cannot send.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
