//! Drives one lane: attempts, writes to the outbox, pages of it.

mod request;
mod writing;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

pub(super) use self::request::Sent;
use self::request::{Landed, attempt, setback};
use self::writing::Written;
use super::deactivation::deactivate;
use super::endpoint::Endpoint;
use super::in_flight::{Permit, Share};
use super::lane_log::LaneLog;
use super::lane_meters::LaneMeters;
use super::lanes::LaneContext;
use super::outbox_limit::OutboxLimit;
use super::read_back::{Page, Paging, Task, read_body, read_page};
use super::tuning::TuningNow;
use crate::checkpoint::Ticket;
use crate::deliver::{Answer, Arrival, EntryId, Failure, Finished, Lane};
use crate::model::{Body, Subscription};
use crate::outbox::WriterClosed;

/// Attempts in flight get so long to finish before the subscription becomes another.
const CHANGES_WITHIN: Duration = Duration::from_secs(2);

/// Arrivals that are taken in at once.
const ARRIVALS: usize = 64;

/// A source that is gone for longer takes no memory from the others: a restart of its server is over sooner.
const SOURCE_GONE_AFTER: Duration = Duration::from_secs(5);

/// What a lane is told from outside.
#[derive(Debug)]
pub(super) enum Command {
    /// Finish what is in flight until then, write the rest, end.
    Drain { deadline: tokio::time::Instant },
    /// Cancel what is in flight, forget the rest, end.
    Abandon,
    /// The subscription has changed; `done` is told when nothing is under way by what it was.
    Become { subscription: Arc<Subscription>, done: oneshot::Sender<()> },
}

/// A subscription that is to become another.
struct Change {
    subscription: Arc<Subscription>,
    done: oneshot::Sender<()>,
    /// What is in flight then is cancelled.
    deadline: Instant,
}

pub(super) struct LaneTask {
    context: Arc<LaneContext>,
    endpoint: Arc<Endpoint>,
    lane: Lane<Ticket>,
    /// Each a task of its own: an endpoint's answers are taken in on all cores.
    attempts: JoinSet<Landed>,
    /// The right to send that is waited for, one at a time: what cannot be sent yet stays in the lane, where it is small.
    asking: Option<Task<Option<Permit>>>,
    permit: Option<Permit>,
    bodies: FuturesUnordered<Task<(EntryId, Option<Arc<Body>>)>>,
    writing: Option<Task<Result<Written, WriterClosed>>>,
    paging: Option<Task<Page>>,
    is_paging: Option<Paging>,
    change: Option<Change>,
    deactivating: Option<Task<()>>,
    /// Since when the source is gone, so that nothing can be sent.
    connection: watch::Receiver<Option<Instant>>,
    /// It is gone for good, as it seems: everything waits in the outbox.
    away: bool,
    share: Share,
    /// Whether the endpoint's last answer was an acceptance.
    trusted: bool,
    limit: OutboxLimit,
    log: LaneLog,
    pressure: watch::Receiver<u64>,
    tuning: TuningNow,
    meters: LaneMeters,
}

impl LaneTask {
    pub(super) fn new(context: Arc<LaneContext>, subscription: Arc<Subscription>, mut lane: Lane<Ticket>) -> Self {
        if subscription.is_halted() {
            lane.hold();
        }
        lane.batch_by(subscription.batching);
        let mut limit = OutboxLimit::new(&context, &subscription);
        limit.begin(&lane);
        let share = context.in_flight.share(subscription.id);
        Self {
            pressure: context.pressure.clone(),
            tuning: context.tuning.clone(),
            meters: LaneMeters::new(&subscription),
            limit,
            log: LaneLog::new(context.clone(), subscription.opaque_id),
            endpoint: Arc::new(Endpoint::of(subscription)),
            lane,
            attempts: JoinSet::new(),
            asking: None,
            permit: None,
            bodies: FuturesUnordered::new(),
            writing: None,
            paging: None,
            is_paging: None,
            change: None,
            deactivating: None,
            connection: context.fence.connection(),
            away: false,
            share,
            trusted: false,
            context,
        }
    }

    /// In a box: the futures that it goes through would each have room for a copy of it.
    pub(super) async fn run(
        mut self: Box<Self>,
        mut inbox: mpsc::Receiver<Arrival<Ticket>>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut batch = Vec::new();
        let mut pulse = self.context.heart.pulse(format!("lane {}", self.endpoint.subscription.opaque_id));
        loop {
            self.advance();
            let wake = self.lane.next_wake(Instant::now());
            let leave_by = self.leave_by();
            let untold = self.log.due();
            let change_by = self.change.as_ref().map(|change| change.deadline);
            let state = self.endpoint.subscription.state;
            let accepts = self.lane.accepts() && !self.limit.stops_reading(&self.lane, state);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Become { subscription, done }) => self.begin_change(subscription, done),
                    command => return pulse.through(self.end(command, inbox)).await,
                },
                never = pulse.beat() => match never {},
                Some(landed) = self.attempts.join_next() => self.land_all(landed),
                permit = finished(&mut self.asking) => self.permit = permit,
                written = finished(&mut self.writing) => if !self.written(written) { return },
                page = finished(&mut self.paging) => self.lane.paged(page.rows, page.complete, Instant::now()),
                Some((id, body)) = self.bodies.next() => self.lane.loaded(id, body, Instant::now()),
                () = finished(&mut self.deactivating) => {}
                Ok(()) = self.connection.changed() => self.come_back(),
                () = sleep_until(leave_by), if leave_by.is_some() => self.leave(),
                1.. = inbox.recv_many(&mut batch, ARRIVALS), if accepts => self.arrive(&mut batch),
                Ok(()) = self.tuning.changed() => self.retune(),
                Ok(()) = self.pressure.changed() => self.lane.spill_if_pressed(Instant::now()),
                () = sleep_until(change_by), if change_by.is_some() => self.call_all_off().await,
                () = sleep_until(wake), if wake.is_some() => self.lane.wake(Instant::now()),
                () = sleep_until(untold), if untold.is_some() => self.log.tell_kept_back(),
            }
        }
    }

    /// Starts whatever can be started.
    fn advance(&mut self) {
        let now = Instant::now();
        self.note_paging();
        if self.lane.in_flight() == 0 {
            self.finish_change();
        }
        self.launch(now);
        let at_hand = self.context.read_back.rows_at_hand();
        for body in self.lane.bodies_wanted(at_hand) {
            self.bodies.push(read_body(self.context.clone(), body));
        }
        if self.writing.is_none() {
            self.write();
        }
        if self.paging.is_none()
            && let Some(page) = self.lane.page_wanted(at_hand, now)
        {
            self.paging = Some(read_page(self.context.clone(), self.endpoint.subscription.id, page));
        }
        self.meters.pending(self.lane.pending());
    }

    /// Starts attempts, as many as there is the right to send, under a fence that is open.
    fn launch(&mut self, now: Instant) {
        while self.change.is_none() && !self.context.stopping.is_cancelled() && self.lane.may_start(now) {
            let permit = self.permit.take().or_else(|| self.context.in_flight.try_permit(&self.share, self.trusted));
            let Some(permit) = permit.filter(|_| self.context.fence.is_open()) else { return self.ask() };
            let request = self.lane.start(now);
            if request.is_empty() {
                break;
            }
            self.attempts.spawn(attempt(self.context.clone(), self.endpoint.clone(), permit, request));
        }
        // Nothing to send: others may.
        (self.asking, self.permit) = (None, None);
    }

    fn ask(&mut self) {
        if self.asking.is_none() {
            let (context, share, trusted) = (self.context.clone(), self.share.clone(), self.trusted);
            self.asking = Some(Box::pin(async move {
                context.fence.opened().await;
                context.in_flight.permit(&share, trusted).await
            }));
        }
    }

    fn note_paging(&mut self) {
        if self.lane.has_tail() != self.is_paging.is_some() {
            self.is_paging = self.lane.has_tail().then(|| Paging::new(self.context.clone()));
        }
    }

    /// Nothing is started by what the subscription was.
    fn begin_change(&mut self, subscription: Arc<Subscription>, done: oneshot::Sender<()>) {
        if subscription.is_halted() {
            self.lane.hold();
        }
        self.change = Some(Change { subscription, done, deadline: Instant::now() + CHANGES_WITHIN });
    }

    fn finish_change(&mut self) {
        let Some(Change { subscription, done, .. }) = self.change.take() else { return };
        let halted = subscription.is_halted();
        self.lane.batch_by(subscription.batching);
        self.endpoint = Arc::new(Endpoint::of(subscription));
        self.trust(false);
        if !halted {
            self.release();
            self.limit.begin(&self.lane);
        }
        // Whoever asked may have gone.
        let _ = done.send(());
    }

    /// When the source will have been gone for too long.
    fn leave_by(&self) -> Option<Instant> {
        let lost_at = *self.connection.borrow();
        lost_at.filter(|_| !self.away).map(|lost_at| lost_at + SOURCE_GONE_AFTER)
    }

    /// What is in memory goes to the outbox.
    fn leave(&mut self) {
        self.away = true;
        self.lane.hold();
    }

    fn come_back(&mut self) {
        if self.connection.borrow().is_none() && std::mem::take(&mut self.away) {
            self.release();
        }
    }

    /// Unless something else still holds the lane.
    fn release(&mut self) {
        let halted = self.endpoint.subscription.is_halted();
        if !(self.away || halted || self.change.is_some() || self.deactivating.is_some()) {
            self.lane.release();
        }
    }

    /// Failures to come are tried again as the config says now.
    fn retune(&mut self) {
        let tuning = self.tuning.borrow_and_update().clone();
        self.lane.retry_by(tuning.retry, tuning.breaker);
    }

    async fn call_all_off(&mut self) {
        self.end_attempts().await;
        self.lane.all_called_off(Instant::now());
    }

    /// No attempt is under way afterwards. An answer that has come by then is heard: its notification would be sent again.
    async fn end_attempts(&mut self) {
        self.attempts.abort_all();
        while let Some(landed) = self.attempts.join_next().await {
            if !landed.as_ref().is_err_and(JoinError::is_cancelled) {
                self.land(landed);
            }
        }
    }

    fn arrive(&mut self, batch: &mut Vec<Arrival<Ticket>>) {
        let now = Instant::now();
        let settled: Vec<Ticket> = batch.drain(..).filter_map(|arrival| self.lane.arrive(arrival, now)).collect();
        if !settled.is_empty() {
            self.context.progress.settle(settled);
        }
    }

    /// And what else has landed meanwhile: to look around once for each would cost more than they do.
    fn land_all(&mut self, landed: Result<Landed, JoinError>) {
        self.land(landed);
        while let Some(landed) = self.attempts.try_join_next() {
            self.land(landed);
        }
    }

    fn land(&mut self, landed: Result<Landed, JoinError>) {
        // None is aborted but by those who do not land it.
        let landed = landed.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        self.meters.attempt(&landed.outcome, landed.took);
        self.trust(landed.outcome.is_ok());
        match &landed.outcome {
            Ok(()) => self.succeeded(&landed),
            Err(failure) => self.failed(&landed, failure),
        }
    }

    /// The right that is waited for is that of an endpoint of the other kind, where this changes.
    fn trust(&mut self, trusted: bool) {
        if self.trusted != trusted {
            (self.trusted, self.asking, self.permit) = (trusted, None, None);
        }
    }

    fn succeeded(&mut self, landed: &Landed) {
        let was_flowing = self.lane.is_flowing();
        self.context.stats.succeeded(self.endpoint.subscription.id);
        for sent in &landed.notifications {
            self.meters.delivered(sent.event.committed_at);
        }
        self.context.progress.settle(self.lane.succeeded(&landed.ids(), Instant::now()));
        if !was_flowing {
            self.log.accepts_again(self.lane.pending());
        }
    }

    fn failed(&mut self, landed: &Landed, failure: &Failure) {
        let was_flowing = self.lane.is_flowing();
        let finished = self.lane.failed(&landed.ids(), &setback(landed, failure), Instant::now());
        if !finished.contains(&Finished::Split) {
            self.context.stats.failed(self.endpoint.subscription.id);
        }
        for (sent, finished) in landed.notifications.iter().zip(finished) {
            self.log.failed(sent, failure, &finished);
            if finished == Finished::GivenUp {
                self.meters.failed.increment(1);
            }
        }
        if was_flowing && !self.lane.is_flowing() {
            self.log.fails(failure);
        }
        if failure.answer.as_ref().is_some_and(Answer::is_gone) {
            self.deactivate("the endpoint answered 410 Gone".into());
        }
    }

    /// Nothing more is sent, and the catalog is told so until it has heard.
    fn deactivate(&mut self, reason: String) {
        self.lane.hold();
        if self.deactivating.is_none() {
            let (catalog, subscription) = (self.context.catalog.clone(), self.endpoint.subscription.clone());
            self.deactivating = Some(Box::pin(deactivate(catalog, subscription, reason)));
        }
    }

    async fn end(mut self: Box<Self>, command: Option<Command>, inbox: mpsc::Receiver<Arrival<Ticket>>) {
        match command {
            Some(Command::Drain { deadline }) => self.drain(deadline, inbox).await,
            Some(Command::Abandon) => self.abandon(inbox).await,
            // The session is over.
            Some(Command::Become { .. }) | None => {}
        }
    }

    async fn abandon(mut self: Box<Self>, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        self.attempts.shutdown().await;
        inbox.close();
        let mut discarded = self.lane.pending();
        while let Some(arrival) = inbox.recv().await {
            self.context.progress.settle([arrival.ticket]);
            discarded += 1;
        }
        self.meters.discarded(discarded);
        if self.writing.is_some()
            && let Ok(written) = finished(&mut self.writing).await
        {
            self.context.progress.settle(written.stores.into_iter().filter_map(|(_, ticket, _)| ticket));
        }
        self.context.progress.settle(self.lane.abandon());
    }

    async fn drain(&mut self, deadline: tokio::time::Instant, mut inbox: mpsc::Receiver<Arrival<Ticket>>) {
        self.lane.drain();
        while self.lane.in_flight() > 0 {
            tokio::select! {
                biased;
                Some(landed) = self.attempts.join_next() => self.land(landed),
                written = finished(&mut self.writing) => if !self.written(written) { return },
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        self.end_attempts().await;
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

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}
