//! Persists how far everything is settled, and only then lets it be acknowledged.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::watch;
use tokio::time::Instant;

use super::PipelineError;
use super::heart::Pulse;
use super::progress::Progress;
use super::stats::Stats;
use crate::admin::metrics::CHECKPOINT_LSN;
use crate::checkpoint::{CheckpointError, CheckpointStore, ResumePoint};
use crate::model::Lsn;
use crate::postgres::{Link, Outage};

/// Between two checkpoints: what a crash may send twice is what was delivered within it.
const INTERVAL: Duration = Duration::from_millis(100);

/// Between two notes of who succeeded and failed last.
const STATS_INTERVAL: Duration = Duration::from_secs(2);

/// Between two checkpoints that record only that nothing happened.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// Less log than this is not worth a checkpoint that records only that nothing happened. Where the catalog is in the
/// source's database, such checkpoints are themselves what happened: they must not feed on themselves.
const IDLE_BYTES: u64 = 64 * 1024;

pub(super) struct Checkpointer {
    pub(super) source_name: String,
    pub(super) store: CheckpointStore,
    pub(super) link: Arc<Link>,
    pub(super) progress: Arc<Progress>,
    pub(super) stats: Arc<Stats>,
    /// A subscription that has failed for so long is deactivated.
    pub(super) disable_after: Duration,
    /// What is persisted, and may be acknowledged.
    pub(super) persisted: watch::Sender<Lsn>,
    pub(super) last: ResumePoint,
    pub(super) last_at: Instant,
    pub(super) outage: Outage,
}

impl Checkpointer {
    /// Until the epoch is found stale.
    pub(super) async fn run(mut self, mut pulse: Pulse) -> Result<(), PipelineError> {
        let mut stats_at = Instant::now();
        loop {
            pulse.turned();
            tokio::select! {
                () = self.progress.moved() => {}
                () = tokio::time::sleep(STATS_INTERVAL) => {}
            }
            if self.is_due(&self.progress.resume_point()) {
                pulse.through(self.attempt(Self::persist)).await?;
            }
            if stats_at.elapsed() >= STATS_INTERVAL {
                pulse.through(self.attempt(Self::tell_stats)).await?;
                stats_at = Instant::now();
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What fails is done again the next time, unless the epoch is stale.
    async fn attempt(
        &mut self,
        step: impl AsyncFnOnce(&mut Self) -> Result<(), PipelineError>,
    ) -> Result<(), PipelineError> {
        match step(self).await {
            Err(PipelineError::Checkpoint(CheckpointError::Fenced { .. })) => Err(PipelineError::Fenced),
            Err(error) => {
                self.outage.failed(&error);
                self.link.forget().await;
                Ok(())
            }
            Ok(()) => {
                self.outage.succeeded();
                Ok(())
            }
        }
    }

    /// Persists what is settled now, whatever it is.
    pub(super) async fn persist(&mut self) -> Result<(), PipelineError> {
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let point = self.progress.resume_point();
        if point != self.last {
            debug_assert!(point.flush_lsn >= self.last.flush_lsn, "a checkpoint never goes back");
            self.store.persist(&client, &point, &self.last).await?;
            // Precision is lost from 2^53 on, 8 PiB of log.
            #[allow(clippy::cast_precision_loss)]
            gauge!(CHECKPOINT_LSN, "source" => self.source_name.clone()).set(point.flush_lsn.get() as f64);
            self.persisted.send_replace(point.flush_lsn);
            self.last = point;
            self.last_at = Instant::now();
        }
        Ok(())
    }

    /// Tells the catalog who succeeded and failed.
    pub(super) async fn tell_stats(&mut self) -> Result<(), PipelineError> {
        let client = self.link.client().await.map_err(PipelineError::Catalog)?;
        let (source, epoch) = (&self.source_name, self.store.epoch());
        Ok(self.stats.flush(&client, source, epoch, self.disable_after).await?)
    }

    fn is_due(&self, point: &ResumePoint) -> bool {
        let inside = point.xid.is_some() || self.last.xid.is_some();
        let idle = point.anchor == self.last.anchor && !inside;
        // `setup --skip-transaction` must see that all before the transaction is settled.
        let stuck = self.progress.stuck().is_some_and(|stuck| stuck.commit_lsn == point.position.commit_lsn);
        if !idle || (stuck && *point != self.last) {
            return true;
        }
        let bytes = point.flush_lsn.bytes_since(self.last.flush_lsn);
        bytes >= IDLE_BYTES && self.last_at.elapsed() >= IDLE_INTERVAL
    }
}
