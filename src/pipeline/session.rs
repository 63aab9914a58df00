//! What a daemon holds of a source for one epoch: the watermark, the lanes, the lease. It outlives a lost connection, so
//! that what was read and is still on its way is not read again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::PipelineError;
use super::asked::Asked;
use super::catalog_watch::CatalogWatch;
use super::checkpointer::Checkpointer;
use super::fence::Fence;
use super::intake::Backlog;
use super::lanes::{self, LaneContext, Lanes};
use super::lease::{Lease, LeaseFacts};
use super::memory::Memory;
use super::progress::Progress;
use super::retries_asked::RetriesAsked;
use super::source_task::SourceContext;
use super::stats::Stats;
use super::tests_asked::TestsAsked;
use crate::checkpoint::{CheckpointStore, ResumePoint, SourceRecord};
use crate::model::{Lsn, SubscriptionState};
use crate::outbox::{OutboxReader, OutboxStore, OutboxWriter};
use crate::postgres::{Link, Outage};
use crate::source::SystemIdentity;

/// How long what is left to write may take at an orderly stop, beyond the grace, where the catalog answers.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// A catalog that answers nothing for so long once the grace is over is not waited for.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct Session {
    pub(super) epoch: i64,
    pub(super) system_identifier: u64,
    pub(super) timeline: u32,
    pub(super) progress: Arc<Progress>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) fence: Arc<Fence>,
    pub(super) facts: Arc<LeaseFacts>,
    pub(super) memory: Memory,
    /// What is persisted, and may be acknowledged.
    pub(super) persisted: watch::Receiver<Lsn>,
    /// Cancelled when another daemon has taken over, or a task of the session has failed.
    pub(super) over: CancellationToken,
    pub(super) store: CheckpointStore,
    lease: Arc<Lease>,
    link: Arc<Link>,
    stats: Arc<Stats>,
    disable_after: Duration,
    tasks: JoinSet<()>,
}

impl Session {
    /// Takes over under a fresh epoch. `point` is where the stream goes on, by the record or lowered to a new timeline.
    pub(super) async fn begin(
        context: &SourceContext,
        record: &SourceRecord,
        timeline: u32,
        point: ResumePoint,
    ) -> Result<Self, PipelineError> {
        let fence = Arc::new(Fence::default());
        let facts = Arc::new(LeaseFacts::default());
        let link = Arc::new(Link::new(context.catalog_url().clone(), "webhookdb-notifications checkpoint"));
        let lease = Arc::new(Lease {
            source_name: context.name().to_owned(),
            epoch: record.epoch,
            identity: context.identity.clone(),
            link: Arc::new(Link::new(context.catalog_url().clone(), "webhookdb-notifications lease")),
            catalog: context.catalog.clone(),
            fence: fence.clone(),
            facts: facts.clone(),
            readiness: context.readiness.clone(),
            outage: Outage::new("renewing the lease").of_source(context.name()),
        });
        lease.wait_for_others(record.epoch == 1).await?;
        let loaded = context.catalog.reload().await?;
        facts.set_sealed_secrets(loaded.snapshot.sealed.len());
        facts.set_revision(loaded.index.revision);
        lease.renew().await?;
        let over = CancellationToken::new();
        let mut tasks = JoinSet::new();
        // What follows may take long: a lease that is not renewed in the meantime is taken for that of a daemon that hangs.
        let pulse = |what: &str| context.heart.pulse(format!("{what} of {}", context.name()));
        supervise(&mut tasks, &over, context.name(), "lease", lease.clone().keep(pulse("lease")));

        let reading = Link::new(context.catalog_url().clone(), "webhookdb-notifications outbox reader");
        let reader = OutboxReader::new(reading);
        let resumed = reader.resume(context.name(), point.position).await?;
        let progress = Arc::new(Progress::new(point.clone()));
        let stats = Arc::new(Stats::default());
        let outbox = OutboxStore::new(context.name().to_owned(), record.epoch);
        let (writer, writing) = OutboxWriter::new(outbox, context.catalog_url().clone(), context.delivery.retention());
        let mut turning = pulse("outbox writer");
        let writing = async move { turning.through(writing).await.map_err(Into::into) };
        supervise(&mut tasks, &over, context.name(), "outbox writer", writing);

        let store = CheckpointStore::new(context.name().to_owned(), record.epoch, timeline);
        let (persist, persisted) = watch::channel(record.point.flush_lsn.min(point.flush_lsn));
        let checkpointer = Checkpointer {
            source_name: context.name().to_owned(),
            store: store.clone(),
            link: link.clone(),
            progress: progress.clone(),
            stats: stats.clone(),
            disable_after: context.delivery.disable_after(),
            persisted: persist,
            last: point,
            last_at: Instant::now(),
            outage: Outage::new("making checkpoints").of_source(context.name()),
        };
        supervise(&mut tasks, &over, context.name(), "checkpointer", checkpointer.run(pulse("checkpointer")));

        let lane_context = LaneContext {
            source_name: context.name().to_owned(),
            tuning: context.tuning.clone(),
            heart: context.heart.clone(),
            writer,
            reader,
            fence: fence.clone(),
            progress: progress.clone(),
            stats: stats.clone(),
            limits: lanes::limits(&context.delivery),
            in_flight: context.in_flight.clone(),
            sending: context.sending.clone(),
            read_back: context.read_back.clone(),
            max_pending: context.delivery.max_pending(),
            when_full: context.delivery.when_full(),
            readiness: context.readiness.clone(),
            catalog: context.catalog.clone(),
            pressure: context.memory.pressure(),
            stopping: CancellationToken::new(),
            over: over.clone(),
        };
        let lanes = Arc::new(Lanes::new(lane_context, resumed));
        lanes.resume(
            loaded.index.subscriptions().filter(|subscription| subscription.state != SubscriptionState::Deleted),
        );
        let asked = Asked {
            catalog: context.catalog.clone(),
            context: lanes.context(),
            daemon: context.identity.daemon.clone(),
        };
        supervise(&mut tasks, &over, context.name(), "test events", asked.clone().serve(TestsAsked));
        supervise(&mut tasks, &over, context.name(), "retries by hand", asked.serve(RetriesAsked::new()));
        let mut turning = pulse("catalog");
        let following = follow_catalog(context.catalog.clone(), lanes.clone(), facts.clone());
        let following = async move { turning.through(following).await };
        supervise(&mut tasks, &over, context.name(), "catalog", following);
        info!(source = context.name(), epoch = record.epoch, "the source is ours");
        Ok(Self {
            epoch: record.epoch,
            system_identifier: record.system_identifier,
            timeline,
            progress,
            lanes,
            fence,
            facts,
            memory: context.memory.clone(),
            persisted,
            over,
            lease,
            store,
            link,
            stats,
            disable_after: context.delivery.disable_after(),
            tasks,
        })
    }

    /// Whether what is in memory goes on from this record, on this server. Where either is behind it, they were restored from
    /// older copies: what is in memory speaks of another history then, though epoch and system identifier are the same.
    pub(super) fn fits(&self, record: &SourceRecord, server: &SystemIdentity, confirmed_flush_lsn: Lsn) -> bool {
        let persisted = *self.persisted.borrow();
        !self.over.is_cancelled()
            && self.epoch == record.epoch
            && self.system_identifier == server.system_identifier
            && self.timeline == server.timeline
            && record.point.flush_lsn >= persisted
            && confirmed_flush_lsn <= persisted
            && self.progress.read_point().flush_lsn <= server.flush_lsn
    }

    /// Lets what is in flight finish, owes the rest to the outbox, and persists the last checkpoint: returns what may be
    /// acknowledged.
    pub(super) async fn drain(mut self, mut backlog: Backlog, grace: Duration) -> Lsn {
        let deadline = Instant::now() + grace;
        let (link, source) = (self.link.clone(), self.lease.source_name.clone());
        let drained = async {
            // One subscription may have a change that another has not: read again, the first would get it twice.
            if tokio::time::timeout_at(deadline, backlog.flush(&self)).await.is_err() {
                warn!(source, "what is read and in no lane will be read again; some may be sent again");
            }
            self.lanes.drain(deadline).await;
            self.persist_last().await
        };
        tokio::select! {
            biased;
            drained = drained => match drained {
                Ok(()) => info!(source, epoch = self.epoch, settled = self.progress.is_settled(), "drained"),
                Err(error) => warn!(
                    source,
                    error = &error as &dyn std::error::Error,
                    "the last checkpoint was not made; some may be sent again"
                ),
            },
            () = beyond_grace(&link, deadline) => {
                warn!(source, "the grace period is over; what was not settled will be read from the log again");
            }
        }
        self.tasks.shutdown().await;
        *self.persisted.borrow()
    }

    async fn persist_last(&mut self) -> Result<(), PipelineError> {
        // The running checkpointer may be in the middle of one; it must not be overtaken.
        self.tasks.shutdown().await;
        let (persist, persisted) = watch::channel(*self.persisted.borrow());
        let mut checkpointer = Checkpointer {
            source_name: self.lease.source_name.clone(),
            store: self.store.clone(),
            link: self.link.clone(),
            progress: self.progress.clone(),
            stats: self.stats.clone(),
            disable_after: self.disable_after,
            persisted: persist,
            last: ResumePoint::at(*self.persisted.borrow()),
            last_at: Instant::now(),
            outage: Outage::new("making checkpoints").of_source(&self.lease.source_name),
        };
        self.persisted = persisted;
        checkpointer.persist().await?;
        checkpointer.tell_stats().await?;
        self.lease.release().await
    }
}

/// Returns when nothing is to be waited for any more: some time after the grace, or as soon as the catalog is found away.
async fn beyond_grace(link: &Link, deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
    while Instant::now() < deadline + LAST_WRITES && answers(link).await {
        tokio::time::sleep(ANSWERS_WITHIN).await;
    }
}

async fn answers(link: &Link) -> bool {
    let answer = async {
        let client = link.client().await.ok()?;
        client.batch_execute("").await.ok()
    };
    tokio::time::timeout(ANSWERS_WITHIN, answer).await.is_ok_and(|answer| answer.is_some())
}

/// A task that the session cannot do without: its end is the session's.
fn supervise(
    tasks: &mut JoinSet<()>,
    over: &CancellationToken,
    source: &str,
    name: &'static str,
    task: impl Future<Output = Result<(), PipelineError>> + Send + 'static,
) {
    let (over, source) = (over.clone(), source.to_owned());
    tasks.spawn(async move {
        // Dropped with the task, a panic included.
        let _over = over.drop_guard();
        match task.await {
            Err(PipelineError::Fenced | PipelineError::Outbox(crate::outbox::OutboxError::Fenced { .. })) => {
                warn!(source, task = name, "another daemon has taken over");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                error!(source, task = name, error, "a task of the session failed");
            }
            Ok(()) => {}
        }
    });
}

/// Ends the lanes of deleted subscriptions and tells the others what has become of theirs, and only then says that the
/// revision is respected.
async fn follow_catalog(
    catalog: Arc<CatalogWatch>,
    lanes: Arc<Lanes>,
    facts: Arc<LeaseFacts>,
) -> Result<(), PipelineError> {
    let mut changes = catalog.changes();
    loop {
        let loaded = catalog.loaded();
        let deleted = |id: &i64| {
            let subscription = loaded.index.subscription(*id);
            subscription.is_none_or(|subscription| subscription.state == SubscriptionState::Deleted)
        };
        let marked = loaded.index.subscriptions().map(|subscription| subscription.id);
        for id in lanes.subscriptions().into_iter().chain(marked).filter(deleted) {
            lanes.close(id).await;
        }
        lanes.update(&loaded.index).await;
        facts.set_sealed_secrets(loaded.snapshot.sealed.len());
        facts.set_revision(loaded.index.revision);
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}
