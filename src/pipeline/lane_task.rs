//! Drives one lane: attempts, writes to the outbox, pages of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Uri;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::lanes::LaneContext;
use crate::admin::metrics::{
    ATTEMPTS_TOTAL, COMMIT_TO_DELIVERY_SECONDS, DELIVERY_DURATION_SECONDS, NOTIFICATIONS_TOTAL, PENDING_NOTIFICATIONS,
};
use crate::checkpoint::Ticket;
use crate::deliver::{
    Ack, Arrival, Attempt, AttemptKind, EntryId, Failure, Finished, Lane, Signer, Start, StoredRow, Write,
};
use crate::model::{Body, Event, EventId, SigningSecret, Subscription};
use crate::outbox::{Operation, OutboxError, OutboxRow, Stored, WriterClosed};

/// Rows of the outbox that are read at once.
const PAGE: usize = 500;

/// Between two tries to read the outbox while its database is away.
const READ_RETRY: Duration = Duration::from_millis(500);

/// What a lane is told from outside.
#[derive(Debug)]
pub(super) enum Command {
    /// Finish what is in flight until then, write the rest, end.
    Drain { deadline: tokio::time::Instant },
    /// Cancel what is in flight, forget the rest, end.
    Abandon,
}

struct Landed {
    id: EntryId,
    event: Arc<Event>,
    attempt: u32,
    took: Duration,
    /// None where it was called off before anything was sent.
    outcome: Option<Result<(), Failure>>,
}

struct Page {
    rows: Vec<StoredRow>,
    complete: bool,
}

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct LaneTask {
    context: Arc<LaneContext>,
    endpoint: Arc<Endpoint>,
    lane: Lane<Ticket>,
    attempts: FuturesUnordered<Task<Landed>>,
    bodies: FuturesUnordered<Task<(EntryId, Option<Arc<Body>>)>>,
    writing: Option<Task<Result<Written, WriterClosed>>>,
    paging: Option<Task<Page>>,
    pressure: watch::Receiver<u64>,
    meters: Meters,
}

/// Where a subscription's notifications go, and what they are signed with.
pub(super) struct Endpoint {
    pub(super) subscription: Arc<Subscription>,
    uri: Uri,
    signer: Signer,
}

/// Why a subscription cannot be served at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("its URL cannot be used")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its secret cannot be used")]
    Secret(#[from] crate::model::SigningSecretError),
}

impl Endpoint {
    pub(super) fn new(subscription: Arc<Subscription>) -> Result<Self, EndpointError> {
        let url = url::Url::parse(&subscription.url).map_err(|error| EndpointError::Url(error.into()))?;
        let uri =
            url.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| EndpointError::Url(error.into()))?;
        let secret = SigningSecret::parse(subscription.secret.expose())?;
        Ok(Self { uri, signer: Signer::new(secret.key_bytes()), subscription })
    }

    /// One attempt.
    pub(super) async fn post(
        &self,
        context: &LaneContext,
        event_id: &str,
        kind: AttemptKind,
        body: bytes::Bytes,
    ) -> Result<(), Failure> {
        let message_id = EventId::message(event_id, self.subscription.opaque_id);
        let attempt = Attempt { uri: &self.uri, message_id: &message_id, kind, body };
        context.poster.post(&attempt, &self.signer).await.map(|_| ())
    }
}

struct Meters {
    delivered: Counter,
    failed: Counter,
    ok: Counter,
    pending: Gauge,
    duration: Histogram,
    commit_to_delivery: Histogram,
    subscription: String,
}

impl Meters {
    fn new(subscription: &Subscription) -> Self {
        let subscription = subscription.opaque_id.to_string();
        let outcome = |outcome: &'static str| counter!(NOTIFICATIONS_TOTAL, "subscription" => subscription.clone(), "outcome" => outcome);
        Self {
            delivered: outcome("delivered"),
            failed: outcome("failed"),
            ok: counter!(ATTEMPTS_TOTAL, "subscription" => subscription.clone(), "outcome" => "ok"),
            pending: gauge!(PENDING_NOTIFICATIONS, "subscription" => subscription.clone()),
            duration: histogram!(DELIVERY_DURATION_SECONDS),
            commit_to_delivery: histogram!(COMMIT_TO_DELIVERY_SECONDS),
            subscription,
        }
    }

    fn attempt(&self, outcome: &Result<(), Failure>, took: Duration) {
        self.duration.record(took);
        match outcome {
            Ok(()) => self.ok.increment(1),
            Err(failure) => {
                let labels = [("subscription", self.subscription.clone()), ("outcome", failure.kind.label().into())];
                counter!(ATTEMPTS_TOTAL, &labels).increment(1);
            }
        }
    }
}

/// A submitted batch and what the writer made of it.
struct Written {
    stored: Arc<[Stored]>,
    /// The stores of the batch: which tickets they settle, and whether the window holds them.
    stores: Vec<(String, Option<Ticket>, bool)>,
}

impl LaneTask {
    pub(super) fn new(context: Arc<LaneContext>, subscription: Arc<Subscription>, lane: Lane<Ticket>) -> Self {
        let meters = Meters::new(&subscription);
        let endpoint = match Endpoint::new(subscription.clone()) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                warn!(subscription = %subscription.opaque_id, error = &error as &dyn std::error::Error, "cannot be served");
                Endpoint { subscription, uri: Uri::from_static("http://invalid./"), signer: Signer::new(&[0]) }
            }
        };
        Self {
            pressure: context.pressure.clone(),
            endpoint: Arc::new(endpoint),
            lane,
            attempts: FuturesUnordered::new(),
            bodies: FuturesUnordered::new(),
            writing: None,
            paging: None,
            meters,
            context,
        }
    }

    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Arrival<Ticket>>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut batch = Vec::new();
        loop {
            self.advance();
            let wake = self.lane.next_wake();
            tokio::select! {
                biased;
                command = commands.recv() => return self.end(command, inbox).await,
                Some(landed) = self.attempts.next() => self.land(landed),
                written = finished(&mut self.writing) => if !self.written(written) { return },
                page = finished(&mut self.paging) => self.paged(page),
                Some((id, body)) = self.bodies.next() => self.lane.loaded(id, body, Instant::now()),
                1.. = inbox.recv_many(&mut batch, 16), if self.lane.accepts() => self.arrive(&mut batch),
                Ok(()) = self.pressure.changed() => self.lane.spill_if_pressed(Instant::now()),
                () = sleep_until(wake), if wake.is_some() => self.lane.spill_if_slow(Instant::now()),
            }
        }
    }

    /// Starts whatever can be started.
    fn advance(&mut self) {
        let now = Instant::now();
        while let Some(start) = self.lane.start(now) {
            self.attempts.push(attempt(self.context.clone(), self.endpoint.clone(), start));
        }
        for (id, event_id) in self.lane.bodies_wanted() {
            self.bodies.push(Box::pin(read_body(self.context.clone(), id, event_id)));
        }
        if self.writing.is_none() {
            self.write();
        }
        if self.paging.is_none()
            && let Some(after) = self.lane.page_wanted()
        {
            self.paging = Some(read_page(self.context.clone(), self.endpoint.subscription.id, after));
        }
        // Precision is lost from 2^52 on.
        #[allow(clippy::cast_precision_loss)]
        self.meters.pending.set(self.lane.len() as f64);
    }

    fn arrive(&mut self, batch: &mut Vec<Arrival<Ticket>>) {
        let now = Instant::now();
        let settled: Vec<Ticket> = batch.drain(..).filter_map(|arrival| self.lane.arrive(arrival, now)).collect();
        if !settled.is_empty() {
            self.context.progress.settle(settled);
        }
    }

    fn land(&mut self, landed: Landed) {
        let Landed { id, event, attempt, took, outcome } = landed;
        let Some(outcome) = outcome else { return self.lane.called_off(id) };
        self.meters.attempt(&outcome, took);
        match outcome {
            Ok(()) => {
                self.context.stats.succeeded(self.endpoint.subscription.id);
                self.meters.delivered.increment(1);
                self.meters.commit_to_delivery.record(event.committed_at.elapsed().unwrap_or_default());
                self.context.progress.settle(self.lane.succeeded(id, Instant::now()));
            }
            Err(failure) => self.failed(id, &event, attempt, failure),
        }
    }

    fn failed(&mut self, id: EntryId, event: &Event, attempt: u32, failure: Failure) {
        self.context.stats.failed(self.endpoint.subscription.id);
        let subscription = self.endpoint.subscription.opaque_id;
        let (source, position) = (&self.context.source_name, event.position);
        let lsn = position.commit_lsn;
        let reason = failure.reason.clone();
        match self.lane.failed(id, failure.reason, Instant::now()) {
            Finished::Retry { wait } => {
                info!(%subscription, %source, table = event.relation_oid, %lsn, index = position.index, event = event.id,
                    attempt, reason, retry_in = ?wait, "an attempt failed");
            }
            Finished::GivenUp => {
                self.meters.failed.increment(1);
                warn!(%subscription, %source, table = event.relation_oid, %lsn, index = position.index, event = event.id,
                    attempt, reason, "a notification was given up");
            }
        }
    }

    /// Submits what the lane wants written.
    fn write(&mut self) {
        let writes = self.lane.take_writes();
        if writes.is_empty() {
            return;
        }
        let subscription = self.endpoint.subscription.id;
        let mut stores = Vec::new();
        let operations = writes.into_iter().map(|write| operation(subscription, write, &mut stores)).collect();
        let writer = self.context.writer.clone();
        let write = async move { writer.write(operations).await.map(|stored| Written { stored, stores }) };
        self.writing = Some(Box::pin(write));
    }

    /// False where the outbox is no longer ours: the lane must end without settling anything.
    fn written(&mut self, written: Result<Written, WriterClosed>) -> bool {
        let Ok(Written { stored, stores }) = written else { return false };
        let subscription = self.endpoint.subscription.id;
        let own = stored.iter().filter(|row| row.subscription == subscription);
        let seqs: std::collections::HashMap<&str, i64> = own.map(|row| (row.event_id.as_str(), row.seq)).collect();
        let acks: Vec<Ack> = stores
            .iter()
            .map(|(event_id, _, in_window)| Ack {
                seq: seqs.get(event_id.as_str()).copied(),
                event_id: event_id.clone(),
                in_window: *in_window,
            })
            .collect();
        self.lane.confirm(&acks);
        self.context.progress.settle(stores.into_iter().filter_map(|(_, ticket, _)| ticket));
        true
    }

    fn paged(&mut self, page: Page) {
        self.lane.paged(page.rows, page.complete, Instant::now());
    }

    async fn end(mut self, command: Option<Command>, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        match command {
            Some(Command::Drain { deadline }) => self.drain(deadline, inbox).await,
            Some(Command::Abandon) => {
                self.attempts.clear();
                inbox.close();
                while let Some(arrival) = inbox.recv().await {
                    self.context.progress.settle([arrival.ticket]);
                }
                if self.writing.is_some()
                    && let Ok(written) = finished(&mut self.writing).await
                {
                    self.context.progress.settle(written.stores.into_iter().filter_map(|(_, ticket, _)| ticket));
                }
                self.context.progress.settle(self.lane.abandon());
            }
            // The session is over.
            None => {}
        }
    }

    async fn drain(&mut self, deadline: tokio::time::Instant, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        self.lane.drain();
        while self.lane.in_flight() > 0 {
            tokio::select! {
                biased;
                Some(landed) = self.attempts.next() => self.land(landed),
                written = finished(&mut self.writing) => if !self.written(written) { return },
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.attempts.clear();
        inbox.close();
        let mut rest = Vec::new();
        while inbox.recv_many(&mut rest, usize::MAX).await > 0 {
            self.arrive(&mut rest);
        }
        self.lane.spill();
        loop {
            if self.writing.is_none() {
                self.write();
            }
            if self.writing.is_none() {
                return;
            }
            let written = finished(&mut self.writing).await;
            if !self.written(written) {
                return;
            }
        }
    }
}

/// Waits for a task that may not be there, and removes it once it is done; cancel-safe.
async fn finished<T>(task: &mut Option<Task<T>>) -> T {
    let Some(running) = task else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    result
}

fn attempt(context: Arc<LaneContext>, endpoint: Arc<Endpoint>, start: Start) -> Task<Landed> {
    Box::pin(async move {
        let Start { id, event, body, attempt } = start;
        let permit = tokio::select! {
            biased;
            () = context.stopping.cancelled() => None,
            permit = permit(&context) => permit,
        };
        let begun = Instant::now();
        let outcome = match permit {
            Some(_permit) => {
                let kind = AttemptKind::Notification { attempt };
                Some(endpoint.post(&context, &event.id, kind, body.bytes().clone()).await)
            }
            None => None,
        };
        Landed { id, event, attempt, took: begun.elapsed(), outcome }
    })
}

/// The right to be in flight, under a fence that is open.
async fn permit(context: &LaneContext) -> Option<tokio::sync::OwnedSemaphorePermit> {
    loop {
        context.fence.opened().await;
        let permit = context.in_flight.clone().acquire_owned().await.ok()?;
        if context.fence.is_open() {
            return Some(permit);
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}

fn operation(subscription: i64, write: Write<Ticket>, stores: &mut Vec<(String, Option<Ticket>, bool)>) -> Operation {
    match write {
        Write::Store { event, body, ticket, in_window } => {
            stores.push((event.id.clone(), ticket, in_window));
            Operation::Store { subscription, event, body }
        }
        Write::Reschedule { event, attempts, wait, age, error } => {
            Operation::Reschedule { subscription, event_id: event.id.clone(), attempts, wait, age, error }
        }
        Write::Delivered { event } => Operation::Delivered { subscription, event_id: event.id.clone() },
        Write::Failed { event, attempts, age, error } => {
            Operation::Failed { subscription, event_id: event.id.clone(), attempts, age, error }
        }
    }
}

fn read_page(context: Arc<LaneContext>, subscription: i64, after: i64) -> Task<Page> {
    Box::pin(async move {
        // A lane's page takes a share of what is read back, so that several lanes can read at once.
        let share = (context.read_back_bytes / 4).max(1);
        let bytes = i64::try_from(share).unwrap_or(i64::MAX);
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let rows = again(|| context.reader.page(&context.source_name, subscription, after, limit, bytes)).await;
        let complete = rows.len() < PAGE;
        let mut stored = Vec::with_capacity(rows.len());
        for row in rows {
            stored.push(stored_row(&context, row));
        }
        Page { rows: stored, complete }
    })
}

/// A body that finds no room now is read again when its time comes.
fn stored_row(context: &LaneContext, row: OutboxRow) -> StoredRow {
    let body = row.body.and_then(|bytes| {
        let permits = permits(context, bytes.len());
        let held = context.read_back.clone().try_acquire_many_owned(permits).ok()?;
        Some(Arc::new(Body::new(bytes, held)))
    });
    StoredRow { seq: row.seq, event: row.event, body, attempts: row.attempts, due_in: row.due_in, age: row.age }
}

async fn read_body(context: Arc<LaneContext>, id: EntryId, event_id: String) -> (EntryId, Option<Arc<Body>>) {
    let Some(bytes) = again(|| context.reader.body(&event_id)).await else { return (id, None) };
    let permits = permits(&context, bytes.len());
    // The semaphore is never closed.
    let held = context.read_back.clone().acquire_many_owned(permits).await.ok();
    (id, Some(Arc::new(Body::new(bytes, held))))
}

/// One permit a byte; a body larger than everything is processed alone.
fn permits(context: &LaneContext, bytes: usize) -> u32 {
    u32::try_from(bytes.clamp(1, context.read_back_bytes.max(1))).unwrap_or(u32::MAX)
}

/// Until it succeeds: the lane can do nothing else.
async fn again<T, F: Future<Output = Result<T, OutboxError>>>(read: impl Fn() -> F) -> T {
    loop {
        match read().await {
            Ok(result) => return result,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the outbox could not be read; trying again");
                tokio::time::sleep(READ_RETRY).await;
            }
        }
    }
}
