//! Drives one lane: attempts, writes to the outbox, pages of it.

mod desk;
mod ending;
mod notices;
mod request;
mod writing;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use self::desk::Desk;
use self::notices::{Alarm, Notice, notices};
pub(super) use self::request::Sent;
use self::request::{Landed, make_requests, setback};
use self::writing::Written;
use super::deactivation::deactivate;
use super::endpoint::Endpoint;
use super::in_flight::{Permit, Share};
use super::lane_log::LaneLog;
use super::lane_meters::LaneMeters;
use super::lanes::LaneContext;
use super::outbox_limit::OutboxLimit;
use super::read_back::{Page, Paging, Task, read_body, read_page};
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
    desk: Arc<Desk>,
    /// Each a task of its own, of one request after the other: an endpoint's answers are taken in on all cores.
    attempts: JoinSet<Option<Landed>>,
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
    limit: OutboxLimit,
    log: LaneLog,
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
            desk: Arc::new(Desk::new(lane, LaneMeters::new(&subscription))),
            limit,
            log: LaneLog::new(context.clone(), subscription.opaque_id),
            endpoint: Arc::new(Endpoint::of(subscription)),
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
            context,
        }
    }

    /// In a box: the futures that it goes through would each have room for a copy of it.
    pub(super) async fn run(
        mut self: Box<Self>,
        mut inbox: mpsc::Receiver<Arrival<Ticket>>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let (mut batch, mut alarm) = (Vec::new(), Alarm::default());
        let name = format!("lane {}", self.endpoint.subscription.opaque_id);
        let mut notices = notices(&self.context, &self.desk, self.context.heart.pulse(name.clone()));
        loop {
            self.advance();
            let (deadline, accepts) = self.outlook();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Become { subscription, done }) => self.begin_change(subscription, done),
                    command => {
                        drop(notices);
                        let heart = self.context.heart.clone();
                        return heart.watch(name, self.end(command, inbox)).await;
                    }
                },
                Some(notice) = notices.next() => self.hear(notice),
                Some(ended) = self.attempts.join_next() => self.land_all(ended),
                permit = finished(&mut self.asking) => self.permit = permit,
                written = finished(&mut self.writing) => if !self.written(written) { return },
                page = finished(&mut self.paging) => self.desk.open().lane.paged(page.rows, page.complete, Instant::now()),
                Some((id, body)) = self.bodies.next() => self.desk.open().lane.loaded(id, body, Instant::now()),
                () = finished(&mut self.deactivating) => {}
                () = alarm.rings(deadline) => self.keep_deadlines().await,
                1.. = inbox.recv_many(&mut batch, ARRIVALS), if accepts => self.arrive(&mut batch),
            }
        }
    }

    fn hear(&mut self, notice: Notice) {
        match notice {
            // Whatever it is, it is looked for at each turn.
            Notice::Called => {}
            Notice::Connection => self.come_back(),
            Notice::Tuning => self.retune(),
            Notice::Pressure => self.desk.open().lane.spill_if_pressed(Instant::now()),
        }
    }

    /// Does what has come due. It may be nothing yet.
    async fn keep_deadlines(&mut self) {
        let now = Instant::now();
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if is_due(self.leave_by()) {
            self.leave();
        }
        if is_due(self.change_by()) {
            self.call_all_off().await;
        }
        if is_due(self.log.due()) {
            self.log.tell_kept_back();
        }
        self.desk.open().lane.wake(now);
    }

    /// When something is due though nothing happens, and whether something may arrive.
    fn outlook(&mut self) -> (Option<Instant>, bool) {
        let others = [self.leave_by(), self.change_by(), self.log.due()];
        let state = self.endpoint.subscription.state;
        let desk = self.desk.open();
        let accepts = desk.lane.accepts() && !self.limit.stops_reading(&desk.lane, state);
        (others.into_iter().flatten().chain(desk.lane.next_wake(Instant::now())).min(), accepts)
    }

    /// Starts whatever can be started.
    fn advance(&mut self) {
        let now = Instant::now();
        self.note_paging();
        if self.in_flight() == 0 {
            self.finish_change();
        }
        self.launch(now);
        let at_hand = self.context.read_back.rows_at_hand();
        for body in self.desk.open().lane.bodies_wanted(at_hand) {
            self.bodies.push(read_body(self.context.clone(), body));
        }
        if self.writing.is_none() {
            self.write();
        }
        let mut desk = self.desk.open();
        if self.paging.is_none()
            && let Some(page) = desk.lane.page_wanted(at_hand, now)
        {
            self.paging = Some(read_page(self.context.clone(), self.endpoint.subscription.id, page));
        }
        desk.count_pending();
    }

    fn in_flight(&self) -> usize {
        self.desk.open().lane.in_flight()
    }

    /// Starts requests, as many as there is the right to send, under a fence that is open.
    fn launch(&mut self, now: Instant) {
        let mut desk = self.desk.open();
        while !desk.is_closed && !self.context.stopping.is_cancelled() && desk.lane.may_start(now) {
            let permit = self.permit.take().or_else(|| self.context.in_flight.try_permit(&self.share, desk.trusted));
            let Some(permit) = permit.filter(|_| self.context.fence.is_open()) else {
                desk.asks = true;
                if self.asking.is_none() {
                    self.asking = Some(ask(self.context.clone(), self.share.clone(), desk.trusted));
                }
                return;
            };
            let request = desk.lane.start(now);
            if request.is_empty() {
                break;
            }
            let (context, desk, endpoint) = (self.context.clone(), self.desk.clone(), self.endpoint.clone());
            let requests = make_requests(context, desk, endpoint, permit, request);
            self.attempts.spawn_on(requests, &self.context.sending);
        }
        // Nothing to send: others may.
        desk.asks = false;
        (self.asking, self.permit) = (None, None);
    }

    fn note_paging(&mut self) {
        let has_tail = self.desk.open().lane.has_tail();
        if has_tail != self.is_paging.is_some() {
            self.is_paging = has_tail.then(|| Paging::new(self.context.clone()));
        }
    }

    /// Nothing is started by what the subscription was.
    fn begin_change(&mut self, subscription: Arc<Subscription>, done: oneshot::Sender<()>) {
        let mut desk = self.desk.open();
        desk.is_closed = true;
        if subscription.is_halted() {
            desk.lane.hold();
        }
        self.change = Some(Change { subscription, done, deadline: Instant::now() + CHANGES_WITHIN });
    }

    fn finish_change(&mut self) {
        let Some(Change { subscription, done, .. }) = self.change.take() else { return };
        let halted = subscription.is_halted();
        {
            let mut desk = self.desk.open();
            desk.is_closed = false;
            desk.lane.batch_by(subscription.batching);
        }
        self.endpoint = Arc::new(Endpoint::of(subscription));
        self.trust(false);
        if !halted {
            self.release();
            self.limit.begin(&self.desk.open().lane);
        }
        // Whoever asked may have gone.
        let _ = done.send(());
    }

    /// When the source will have been gone for too long.
    fn leave_by(&self) -> Option<Instant> {
        let lost_at = *self.connection.borrow();
        lost_at.filter(|_| !self.away).map(|lost_at| lost_at + SOURCE_GONE_AFTER)
    }

    /// When a change waits no longer for what is in flight.
    fn change_by(&self) -> Option<Instant> {
        self.change.as_ref().map(|change| change.deadline)
    }

    /// What is in memory goes to the outbox.
    fn leave(&mut self) {
        self.away = true;
        self.desk.open().lane.hold();
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
            self.desk.open().lane.release();
        }
    }

    /// Failures to come are tried again as the config says now.
    fn retune(&mut self) {
        let tuning = self.context.tuning.borrow().clone();
        self.desk.open().lane.retry_by(tuning.retry, tuning.breaker);
    }

    fn arrive(&mut self, batch: &mut Vec<Arrival<Ticket>>) {
        let now = Instant::now();
        let settled: Vec<Ticket> = {
            let mut desk = self.desk.open();
            batch.drain(..).filter_map(|arrival| desk.lane.arrive(arrival, now)).collect()
        };
        if !settled.is_empty() {
            self.context.progress.settle(settled);
        }
    }

    /// And what else has ended meanwhile: to look around once for each would cost more than they do.
    fn land_all(&mut self, ended: Result<Option<Landed>, JoinError>) {
        self.land(ended);
        while let Some(ended) = self.attempts.try_join_next() {
            self.land(ended);
        }
    }

    /// None where it has landed already.
    fn land(&mut self, ended: Result<Option<Landed>, JoinError>) {
        // None is aborted but by those who do not land it.
        let landed = ended.unwrap_or_else(|error| resume_unwind(error.into_panic()));
        let Some(landed) = landed else { return };
        self.trust(landed.outcome.is_ok());
        match &landed.outcome {
            Ok(()) => self.succeeded(&landed),
            Err(failure) => self.failed(&landed, failure),
        }
    }

    /// The right that is waited for is that of an endpoint of the other kind, where this changes.
    fn trust(&mut self, trusted: bool) {
        let mut desk = self.desk.open();
        if desk.trusted != trusted {
            (desk.trusted, self.asking, self.permit) = (trusted, None, None);
        }
    }

    fn succeeded(&mut self, landed: &Landed) {
        let (was_flowing, tickets, pending) = {
            let mut desk = self.desk.open();
            (desk.lane.is_flowing(), desk.accepted(landed, Instant::now()), desk.lane.pending())
        };
        self.context.accepted(self.endpoint.subscription.id, tickets);
        if !was_flowing {
            self.log.accepts_again(pending);
        }
    }

    fn failed(&mut self, landed: &Landed, failure: &Failure) {
        let (was_flowing, finished, is_flowing) = {
            let mut desk = self.desk.open();
            let was_flowing = desk.lane.is_flowing();
            let finished = desk.failed(landed, &setback(landed, failure), Instant::now());
            (was_flowing, finished, desk.lane.is_flowing())
        };
        if !finished.contains(&Finished::Split) {
            self.context.stats.failed(self.endpoint.subscription.id);
        }
        for (sent, finished) in landed.notifications.iter().zip(finished) {
            self.log.failed(sent, failure, &finished);
        }
        if was_flowing && !is_flowing {
            self.log.fails(failure);
        }
        if failure.answer.as_ref().is_some_and(Answer::is_gone) {
            self.deactivate("the endpoint answered 410 Gone".into());
        }
    }

    /// Nothing more is sent, and the catalog is told so until it has heard.
    fn deactivate(&mut self, reason: String) {
        self.desk.open().lane.hold();
        if self.deactivating.is_none() {
            let (catalog, subscription) = (self.context.catalog.clone(), self.endpoint.subscription.clone());
            self.deactivating = Some(Box::pin(deactivate(catalog, subscription, reason)));
        }
    }
}

impl Drop for LaneTask {
    /// Its requests are called off with it. One that is being looked at just then takes none along.
    fn drop(&mut self) {
        self.desk.open().is_closed = true;
    }
}

/// Waits for the right to send.
fn ask(context: Arc<LaneContext>, share: Share, trusted: bool) -> Task<Option<Permit>> {
    Box::pin(async move {
        context.fence.opened().await;
        context.in_flight.permit(&share, trusted).await
    })
}

/// Waits for a task that may not be there, and removes it once it is done; cancel-safe.
async fn finished<T>(task: &mut Option<Task<T>>) -> T {
    let Some(running) = task else { return std::future::pending().await };
    let result = running.await;
    *task = None;
    result
}
