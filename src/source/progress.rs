//! What the reading half, the feedback and the pipeline tell each other: positions that only move forward.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channel::Reader;
use crate::model::Lsn;

/// Shared by the three of them; nobody ever waits for another here.
#[derive(Default)]
pub(super) struct Progress {
    received: AtomicU64,
    acknowledged: AtomicU64,
    /// How many replies the server has asked for, and how many of these a status update has answered.
    replies_wanted: AtomicU64,
    replies_sent: AtomicU64,
    /// A reply is wanted: one permit is enough, since one status update answers all.
    pub(super) reply: Notify,
    /// `acknowledged` has moved.
    pub(super) moved: Notify,
    /// Set when the feedback should send its last word.
    pub(super) closing: CancellationToken,
    /// Set when a status update could not be sent: the connection is gone.
    pub(super) lost: CancellationToken,
    /// The reading half, once the stream has been dropped: what is left to read is read by the one who closes.
    returned: Mutex<Option<Reader>>,
}

impl Progress {
    /// Everything up to here has been read from the socket.
    pub(super) fn receive(&self, lsn: Lsn) {
        self.received.fetch_max(lsn.get(), Ordering::AcqRel);
    }

    /// Everything up to here is settled and recorded.
    pub(super) fn acknowledge(&self, lsn: Lsn) {
        let before = self.acknowledged.fetch_max(lsn.get(), Ordering::AcqRel);
        debug_assert!(before <= lsn.get(), "the acknowledged position went back from {} to {lsn}", Lsn::new(before));
        if before < lsn.get() {
            self.moved.notify_one();
        }
    }

    /// The positions for a status update: received, acknowledged.
    pub(super) fn positions(&self) -> (Lsn, Lsn) {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        // Both may have been restored from a checkpoint that is ahead of what this connection has read so far.
        (Lsn::new(self.received.load(Ordering::Acquire).max(acknowledged)), Lsn::new(acknowledged))
    }

    /// The server asks for a reply; says whether all that it had asked for before had been answered.
    pub(super) fn want_reply(&self) -> bool {
        let before = self.replies_wanted.fetch_add(1, Ordering::AcqRel);
        let answered = self.replies_sent.load(Ordering::Acquire) >= before;
        self.reply.notify_one();
        answered
    }

    /// The next status update answers everything asked for up to now.
    pub(super) fn answer(&self) {
        self.replies_sent.store(self.replies_wanted.load(Ordering::Acquire), Ordering::Release);
    }

    /// Gives the reading half back.
    pub(super) fn give_back(&self, reader: Reader) {
        *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }

    /// Takes the reading half, where it was given back.
    pub(super) fn take_back(&self) -> Option<Reader> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
