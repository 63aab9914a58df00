//! Every lane of a source: made when a subscription gets its first notification, ended when the subscription is deleted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::catalog_watch::CatalogWatch;
use super::fence::Fence;
use super::heart::Heart;
use super::in_flight::InFlight;
use super::lane_task::{Command, LaneTask};
use super::progress::Progress;
use super::read_back::ReadBack;
use super::stats::Stats;
use super::tuning::TuningNow;
use crate::admin::Readiness;
use crate::catalog::CatalogIndex;
use crate::checkpoint::Ticket;
use crate::config::{DeliverySettings, WhenFull};
use crate::deliver::{Arrival, BreakerPolicy, Lane, Limits, RetryPolicy};
use crate::model::Subscription;
use crate::outbox::{OutboxReader, OutboxWriter, Resumed};

/// Notifications between the intake and a lane: enough to keep both busy, little beside a lane's share of memory.
const INBOX: usize = 64;

/// Entries of a lane's window; a stub takes some 650 bytes.
const WINDOW: usize = 10_000;

/// Of those, the ones that wait for a retry. More are told from others by their keys alone, some 30 bytes each.
const WAITING: usize = 1_024;

/// Keys of such rows: some 3 MiB for each subscription whose endpoint rejects so many.
const PARKED_KEYS: usize = 100_000;

/// They come back no sooner: each time all that waits is read again.
const PARKED_FOR: Duration = Duration::from_secs(10);

/// A lane holds at most this share of the memory for notifications.
const LANE_SHARE: usize = 8;

/// So many different notifications fail in a row, and the endpoint is taken to be down. A few rows that are rejected for
/// good do not make it so.
const BREAKER_THRESHOLD: usize = 10;

/// An endpoint that comes back is found within it.
const PROBE_CAP: Duration = Duration::from_secs(60);

/// What is read back from the outbox has this share of the memory for notifications to itself, so that a full intake
/// never starves the lanes that would make room.
const OUTBOX_SHARE: usize = 4;

/// A task that was aborted ends when it is next looked at, which is soon.
const ABORTED_POLL: Duration = Duration::from_millis(5);

/// What all lanes of a source share.
pub(super) struct LaneContext {
    pub(super) source_name: String,
    pub(super) tuning: TuningNow,
    pub(super) heart: Heart,
    pub(super) writer: OutboxWriter,
    pub(super) reader: OutboxReader,
    pub(super) fence: Arc<Fence>,
    pub(super) progress: Arc<Progress>,
    pub(super) stats: Arc<Stats>,
    pub(super) limits: Limits,
    /// Attempts in flight, all subscriptions together.
    pub(super) in_flight: InFlight,
    /// Where requests run.
    pub(super) sending: runtime::Handle,
    /// Memory for bodies read back from the outbox, all sources together.
    pub(super) read_back: Arc<ReadBack>,
    pub(super) max_pending: Option<usize>,
    pub(super) when_full: WhenFull,
    pub(super) readiness: Readiness,
    pub(super) catalog: Arc<CatalogWatch>,
    /// Counts the times that an intake, of whatever source, found no memory left.
    pub(super) pressure: watch::Receiver<u64>,
    /// Cancelled when nothing is to be started any more.
    pub(super) stopping: CancellationToken,
    /// The session's: a lane that ends by itself ends it.
    pub(super) over: CancellationToken,
}

impl LaneContext {
    /// A request of this subscription was accepted, which settles these.
    pub(super) fn accepted(&self, subscription: i64, tickets: impl IntoIterator<Item = Ticket>) {
        self.stats.succeeded(subscription);
        self.progress.settle(tickets);
    }

    /// What a lane that is made now goes by.
    fn limits(&self) -> Limits {
        let tuning = self.tuning.borrow();
        Limits { retry: tuning.retry, breaker: tuning.breaker, ..self.limits }
    }
}

/// The memory that notifications may use on their way in.
pub(super) fn intake_bytes(settings: &DeliverySettings) -> usize {
    settings.memory() - read_back_bytes(settings)
}

/// The memory that notifications may use on their way back from the outbox.
pub(super) fn read_back_bytes(settings: &DeliverySettings) -> usize {
    settings.memory() / OUTBOX_SHARE
}

/// What the config says about a lane.
pub(super) fn limits(settings: &DeliverySettings) -> Limits {
    Limits {
        concurrency: settings.concurrency(),
        window: WINDOW,
        waiting: WAITING,
        parked_keys: PARKED_KEYS,
        parked_for: PARKED_FOR,
        bytes: settings.memory() / LANE_SHARE,
        patience: Duration::from_secs(1),
        settle_within: Duration::from_secs(5),
        retry: RetryPolicy {
            base: settings.retry_base(),
            cap: settings.retry_cap(),
            max_attempts: settings.max_attempts(),
            give_up_after: settings.give_up_after(),
        },
        breaker: BreakerPolicy {
            threshold: BREAKER_THRESHOLD,
            base: settings.retry_base(),
            cap: settings.retry_cap().min(PROBE_CAP),
        },
    }
}

struct Handle {
    /// As the lane knows it, or is being told.
    subscription: Arc<Subscription>,
    inbox: mpsc::Sender<Arrival<Ticket>>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Handle {
    /// What its lane is to be told of its subscription as it is now, and how; none where that means nothing to it.
    fn update(&mut self, subscription: &Arc<Subscription>) -> Option<(mpsc::Sender<Command>, Arc<Subscription>)> {
        if is_served_alike(&self.subscription, subscription) {
            return None;
        }
        self.subscription = subscription.clone();
        Some((self.commands.clone(), subscription.clone()))
    }
}

impl Drop for Handle {
    /// A lane whose session is over must not go on sending.
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct State {
    lanes: HashMap<i64, Handle>,
    /// Deleted subscriptions: an intake that still routes by an older catalog must not make them a new lane.
    closed: HashSet<i64>,
    /// Lanes that finish what is in flight before the daemon stops.
    draining: HashMap<i64, AbortHandle>,
    /// What the outbox held when the session began, for lanes that are not made yet.
    resumed: HashMap<i64, Resumed>,
}

pub(super) struct Lanes {
    context: Arc<LaneContext>,
    state: Mutex<State>,
}

impl Lanes {
    pub(super) fn new(context: LaneContext, resumed: HashMap<i64, Resumed>) -> Self {
        Self { context: Arc::new(context), state: Mutex::new(State { resumed, ..State::default() }) }
    }

    pub(super) fn context(&self) -> Arc<LaneContext> {
        self.context.clone()
    }

    /// The way into a subscription's lane, which is made where there is none; none where the subscription is deleted.
    pub(super) fn inbox(&self, subscription: &Arc<Subscription>) -> Option<mpsc::Sender<Arrival<Ticket>>> {
        let mut state = self.state();
        if let Some(handle) = state.lanes.get(&subscription.id) {
            return Some(handle.inbox.clone());
        }
        if state.closed.contains(&subscription.id) {
            return None;
        }
        // Whoever asks may go by an older catalog: a lane is made as the subscription is now, and told of what comes later.
        let index = self.context.catalog.index();
        let subscription = index.subscription(subscription.id).unwrap_or(subscription);
        let resumed = state.resumed.remove(&subscription.id);
        let handle = self.spawn(subscription, resumed);
        let inbox = handle.inbox.clone();
        state.lanes.insert(subscription.id, handle);
        Some(inbox)
    }

    /// Makes the lanes of subscriptions that are owed something, so that it goes on without waiting for a change.
    pub(super) fn resume<'a>(&self, subscriptions: impl Iterator<Item = &'a Arc<Subscription>>) {
        let owed: HashSet<i64> =
            self.state().resumed.iter().filter(|(_, resumed)| resumed.owed > 0).map(|(id, _)| *id).collect();
        for subscription in subscriptions.filter(|subscription| owed.contains(&subscription.id)) {
            self.inbox(subscription);
        }
    }

    /// Ends a deleted subscription's lane: attempts in flight are cancelled, and what it was owed is forgotten.
    pub(super) async fn close(&self, subscription: i64) {
        let (handle, draining) = {
            let mut state = self.state();
            if !state.closed.insert(subscription) {
                return;
            }
            (state.lanes.remove(&subscription), state.draining.remove(&subscription))
        };
        if let Some(handle) = handle {
            end(handle, Command::Abandon).await;
        }
        if let Some(task) = draining {
            // What it had not settled is read again by whoever comes next, and is due to nobody then.
            task.abort();
            while !task.is_finished() {
                tokio::time::sleep(ABORTED_POLL).await;
            }
        }
        self.context.in_flight.forget(subscription);
        // Where the writer has ended, the daemon that took over purges it.
        let _ = self.context.writer.purge(subscription).await;
    }

    /// Tells the lanes whose subscriptions have changed, where that means something to them; returns when nothing is under way
    /// by what they were.
    pub(super) async fn update(&self, catalog: &CatalogIndex) {
        let changed: Vec<_> = self
            .state()
            .lanes
            .iter_mut()
            .filter_map(|(id, handle)| handle.update(catalog.subscription(*id)?))
            .collect();
        futures_util::future::join_all(changed.into_iter().map(tell)).await;
    }

    /// The lanes' numbers.
    pub(super) fn subscriptions(&self) -> Vec<i64> {
        let state = self.state();
        state.lanes.keys().chain(state.draining.keys()).copied().collect()
    }

    /// Lets attempts in flight finish until `deadline`, and writes the rest to the outbox.
    pub(super) async fn drain(&self, deadline: Instant) {
        self.context.stopping.cancel();
        let handles: Vec<Handle> = {
            let mut state = self.state();
            let lanes: Vec<(i64, Handle)> = state.lanes.drain().collect();
            state.draining = lanes.iter().map(|(id, handle)| (*id, handle.task.abort_handle())).collect();
            lanes.into_iter().map(|(_, handle)| handle).collect()
        };
        let ends = handles.into_iter().map(|handle| end(handle, Command::Drain { deadline }));
        futures_util::future::join_all(ends).await;
    }

    fn spawn(&self, subscription: &Arc<Subscription>, resumed: Option<Resumed>) -> Handle {
        let (inbox, arrivals) = mpsc::channel(INBOX);
        let (commands, commanded) = mpsc::channel(1);
        let limits = self.context.limits();
        let lane = match resumed {
            Some(Resumed { owed, replay }) => Lane::resumed(limits, owed, replay),
            None => Lane::new(limits),
        };
        let task = Box::new(LaneTask::new(self.context.clone(), subscription.clone(), lane));
        let over = self.context.over.clone();
        let task = tokio::spawn(async move {
            // Dropped with the task where it panics: what the lane held is then read again by another session.
            let over = over.drop_guard();
            task.run(arrivals, commanded).await;
            over.disarm();
        });
        Handle { subscription: subscription.clone(), inbox, commands, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a lane does the same for both.
fn is_served_alike(one: &Subscription, other: &Subscription) -> bool {
    // An enabled one has a nonce of its own: its lane may have held since, without being told.
    one.url == other.url
        && one.batching == other.batching
        && one.nonce == other.nonce
        // Previous secrets change only together with it, but for their end, which each attempt looks at by itself.
        && one.secret == other.secret
        && one.is_halted() == other.is_halted()
}

async fn tell((commands, subscription): (mpsc::Sender<Command>, Arc<Subscription>)) {
    let (done, told) = oneshot::channel();
    // A lane that has ended sends nothing.
    if commands.send(Command::Become { subscription, done }).await.is_ok() {
        let _ = told.await;
    }
}

async fn end(mut handle: Handle, command: Command) {
    // A lane that has ended hears no command and needs none.
    let _ = handle.commands.send(command).await;
    if let Err(error) = (&mut handle.task).await
        && error.is_panic()
    {
        tracing::error!(error = &error as &dyn std::error::Error, "a lane has panicked");
    }
}
