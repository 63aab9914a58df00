//! One source, for as long as the daemon runs: connect, take over or go on, stream, and again.

mod halt;
mod take_over;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::take_over::Server;
use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::heart::Heart;
use super::in_flight::InFlight;
use super::intake::{Backlog, Intake};
use super::lease::Identity;
use super::memory::Memory;
use super::read_back::ReadBack;
use super::session::Session;
use super::slot_watch::SlotWatch;
use super::stale_holder::StaleHolder;
use super::tuning::TuningNow;
use super::upkeep::Upkeep;
use crate::admin::metrics::reconnected;
use crate::admin::{Readiness, SourceState};
use crate::catalog::sources;
use crate::config::{DeliverySettings, PostgresUrl, SourceSettings};
use crate::model::Lsn;
use crate::postgres::Link;
use crate::setup::Discord;
use crate::source::publication::publication_state;
use crate::source::{
    APPLICATION_NAME, Feedback, ReplicationConnection, ReplicationStream, Sentinel, ServerFacts, SlotState,
    SourceError, TimelineHistory, TimelineWatch, check_not_synchronous, known_bug, standby,
};

/// Waits between two tries to connect: from the first, doubled up to the second.
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(10);

/// A slot that another daemon holds is looked at so often: a standby takes over within it.
const TAKEOVER_POLL: Duration = Duration::from_millis(500);

/// A transaction that the server cannot send costs it seconds and gigabytes each time that it is tried.
const UNSENT_PAUSE: Duration = Duration::from_secs(30);

/// How often it is looked whether such a transaction is passed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A stream that lasted for so long was a good one: the next wait is short again.
const LASTED: Duration = Duration::from_secs(30);

/// How often it is checked that no commit waits for us: one that does waits no longer than this.
const GUEST_INTERVAL: Duration = Duration::from_secs(2);

/// What a source's task needs of the daemon; budgets are shared by all of them.
pub(super) struct SourceContext {
    pub(super) settings: SourceSettings,
    pub(super) delivery: DeliverySettings,
    pub(super) catalog_url: PostgresUrl,
    pub(super) catalog: Arc<CatalogWatch>,
    pub(super) identity: Identity,
    pub(super) tuning: TuningNow,
    pub(super) heart: Heart,
    pub(super) in_flight: InFlight,
    pub(super) sending: runtime::Handle,
    pub(super) memory: Memory,
    pub(super) read_back: Arc<ReadBack>,
    pub(super) readiness: Readiness,
    pub(super) stop: CancellationToken,
}

impl SourceContext {
    pub(super) fn name(&self) -> &str {
        self.settings.name()
    }

    /// What attempts in flight get at an orderly stop.
    fn grace(&self) -> Duration {
        self.tuning.borrow().grace
    }

    pub(super) const fn catalog_url(&self) -> &PostgresUrl {
        &self.catalog_url
    }
}

/// An open stream.
struct Connected {
    sentinel: Sentinel,
    stream: ReplicationStream,
    feedback: Feedback,
    history: TimelineHistory,
    confirmed_flush_lsn: Lsn,
    standby: Option<Standby>,
}

/// What reading from a standby takes besides.
struct Standby {
    timeline: TimelineWatch,
    primary: Link,
}

pub(super) struct SourceTask {
    context: SourceContext,
    session: Option<Session>,
    backlog: Backlog,
    streamed: bool,
    /// The last connection began from the record, not from what was in memory.
    from_record: bool,
    /// Why there was no stream the last time.
    said: Option<String>,
    slot: SlotWatch,
}

impl SourceTask {
    pub(super) fn new(context: SourceContext) -> Self {
        let slot = SlotWatch::new(context.name());
        let backlog = Backlog::default();
        Self { context, session: None, backlog, streamed: false, from_record: false, said: None, slot }
    }

    /// Serves the source until it is told to stop.
    ///
    /// # Errors
    /// What will not pass by itself, where nothing else stands in the way of any source and none has ever streamed.
    pub(super) async fn run(self) -> Result<(), PipelineError> {
        let (heart, name) = (self.context.heart.clone(), format!("source {}", self.context.name()));
        heart.watch(name, Box::pin(self.serve())).await
    }

    async fn serve(mut self) -> Result<(), PipelineError> {
        let stop = self.context.stop.clone();
        let mut wait = RETRY_BASE;
        loop {
            let begun = tokio::time::Instant::now();
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(None),
                connected = self.connect() => connected.map(Some),
            };
            let error = match outcome {
                Ok(None) => break,
                Ok(Some(connected)) => match self.stream(connected).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            let passed = self.pass_skipped(&error).await;
            if !passed {
                self.give_up_memory(&error).await;
                self.lost(&error);
                self.record(&error).await;
            }
            if self.context.readiness.is_hopeless() {
                return Err(error);
            }
            if begun.elapsed() >= LASTED {
                wait = RETRY_BASE;
            }
            let pause = match error.unsent() {
                Some(_) if !passed => UNSENT_PAUSE,
                _ if is_held_elsewhere(&error) => TAKEOVER_POLL,
                _ => wait,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // `setup` has changed the record.
                () = over(self.session.as_ref()) => {}
                never = flush(&mut self.backlog, self.session.as_ref()) => match never {},
                () = tokio::time::sleep(pause) => {}
            }
            wait = (wait * 2).min(RETRY_CAP);
        }
        if let Some(session) = self.session.take() {
            session.drain(self.backlog, self.context.grace()).await;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<Connected, PipelineError> {
        let settings = &self.context.settings;
        let sentinel = Sentinel::connect(settings.url()).await?;
        let client = sentinel.client().ok_or(SourceError::ShuttingDown)?;
        if !self.streamed {
            self.context.catalog.refuse_pooler().await?;
            self.check_secrets().await?;
        }
        let primary = standby::primary_of(&client, settings).await?.cloned();
        if let Err(error) = self.wait_for_slot(&client).await {
            return Err(self.explain(error).await);
        }
        let settings = &self.context.settings;
        check_not_synchronous(&client).await?;
        let mut connection = ReplicationConnection::connect(settings.url()).await?;
        let identity = connection.identify_system().await?;
        let history = connection.timeline_history(identity.timeline).await?;
        self.check_publication(&client).await?;
        let (stream, feedback) = connection.start(settings.slot(), settings.publication()).await?;
        let server = Server { identity: &identity, history: &history, is_standby: primary.is_some() };
        let confirmed_flush_lsn = tokio::select! {
            biased;
            // From here on a server that stops waits for us, and a takeover may take seconds.
            () = sentinel.shutting_down() => return Err(SourceError::ShuttingDown.into()),
            taken = self.take_slot(&client, &server) => taken?,
        };
        let standby = match primary {
            Some(url) => Some(Standby {
                timeline: TimelineWatch::connect(self.context.settings.url(), identity.timeline).await?,
                primary: Link::new(url, APPLICATION_NAME),
            }),
            None => None,
        };
        Ok(Connected { sentinel, stream, feedback, history, confirmed_flush_lsn, standby })
    }

    /// A daemon that begins without the key of the secrets is not what anybody wants. One that serves already goes on for those
    /// whose secrets it can read; a catalog that can't be loaded is told of where it is needed.
    async fn check_secrets(&self) -> Result<(), PipelineError> {
        match self.context.catalog.reload().await {
            Ok(loaded) => Ok(loaded.snapshot.check_secrets()?),
            Err(_) => Ok(()),
        }
    }

    /// Stands by while another daemon reads from the slot.
    async fn wait_for_slot(&mut self, client: &tokio_postgres::Client) -> Result<(), PipelineError> {
        let mut stale = StaleHolder::default();
        loop {
            let settings = &self.context.settings;
            let slot = SlotState::read(client, settings.slot()).await?;
            self.slot.look(&slot);
            let error = match slot.check(&settings.url().database) {
                Err(error @ SourceError::SlotActive { .. }) => error.into(),
                settled => return Ok(settled?),
            };
            self.lost(&error);
            if let Some(pid) = slot.active_pid {
                stale.look(&self.context, client, pid).await;
            }
            tokio::time::sleep(TAKEOVER_POLL).await;
        }
    }

    /// The publication's OID, as far as it can be told now: one that was made again is a gap.
    async fn check_publication(&self, client: &tokio_postgres::Client) -> Result<(), PipelineError> {
        let settings = &self.context.settings;
        let name = settings.publication().to_owned();
        let state = publication_state(client, settings.publication()).await.map_err(SourceError::from)?;
        let catalog = self.context.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        let recorded = sources::find(&catalog, settings.name()).await?;
        match (state, recorded) {
            (None, _) => Err(Discord::PublicationGone(name).into()),
            (Some(state), Some(recorded)) if state.oid != recorded.publication_oid => {
                Err(Discord::PublicationReplaced(name).into())
            }
            _ => Ok(()),
        }
    }

    /// Streams until the connection is lost (an error), or the daemon stops (drained then).
    async fn stream(&mut self, connected: Connected) -> Result<(), PipelineError> {
        let Connected { sentinel, mut stream, feedback, history, confirmed_flush_lsn, standby } = connected;
        let (timeline, primary) = standby.map(|standby| (standby.timeline, standby.primary)).unzip();
        let Some(session) = &self.session else { return Err(PipelineError::Fenced) };
        let context = &self.context;
        // A slot that is behind the checkpoint keeps its place until it has shown the history that the checkpoint was made
        // in: moved up before, it would have nothing left to show the next time.
        let known = CancellationToken::new();
        if confirmed_flush_lsn >= *session.persisted.borrow() {
            known.cancel();
        }
        session.fence.set_connected(true);
        let at = session.progress.read_point().position.commit_lsn;
        let stuck = session.progress.stuck().map(|stuck| stuck.commit_lsn).filter(|commit_lsn| *commit_lsn >= at);
        if self.streamed {
            reconnected(context.name(), 1);
        } else {
            tell_known_bug(context.name(), &sentinel).await;
        }
        self.streamed = true;
        context.readiness.stream_opened();
        if stuck.is_none() {
            self.said = None;
        }
        let mut upkeep = Upkeep {
            settings: &context.settings,
            catalog: &context.catalog,
            sentinel: &sentinel,
            primary: primary.as_ref(),
            slot: &mut self.slot,
            facts: session.facts.clone(),
            readiness: &context.readiness,
            memory: session.memory.clone(),
            said: HashSet::new(),
            unread: VecDeque::new(),
        };
        let mut intake = Intake::new(
            context.name(),
            session,
            &context.catalog,
            &sentinel,
            history,
            timeline,
            confirmed_flush_lsn,
            known.clone(),
            &mut self.backlog,
        );
        let outcome = tokio::select! {
            biased;
            () = context.stop.cancelled() => Ok(()),
            () = session.over.cancelled() => Err(PipelineError::Fenced),
            () = sentinel.shutting_down() => Err(SourceError::ShuttingDown.into()),
            () = feedback.lost() => Err(SourceError::Ended.into()),
            ended = intake.run(&mut stream) => ended,
            error = acknowledge(session, &known, &feedback) => Err(error),
            never = tell_streaming(context, session, stuck) => match never {},
            error = stay_asynchronous(&sentinel) => Err(error),
            error = upkeep.run() => Err(error),
        };
        outcome?;
        // The stop: nothing more is read, what is in flight finishes, and the server hears of it.
        drop(stream);
        if let Some(session) = self.session.take() {
            let drain = session.drain(std::mem::take(&mut self.backlog), context.grace());
            let mut drain = std::pin::pin!(drain);
            tokio::select! {
                biased;
                settled = &mut drain => {
                    if known.is_cancelled() {
                        feedback.acknowledge(settled);
                    }
                    feedback.close().await;
                }
                // The server stops too, and must not wait for what is in flight here.
                () = sentinel.shutting_down() => {
                    drop(feedback);
                    drain.await;
                }
            }
        }
        info!(source = context.name(), "stopped");
        Ok(())
    }
}

/// An old minor version is told once, and served nevertheless.
async fn tell_known_bug(source: &str, sentinel: &Sentinel) {
    let Some(client) = sentinel.client() else { return };
    let facts = ServerFacts::read(&client).await;
    if let Some((what, hint)) = facts.ok().and_then(|facts| known_bug(facts.version_num)) {
        warn!(source, hint, "{what}");
    }
}

/// Says that the source streams: at once, or when it is past the transaction that could not be sent.
async fn tell_streaming(context: &SourceContext, session: &Session, stuck: Option<Lsn>) -> Infallible {
    let at = || session.progress.read_point().position.commit_lsn;
    while stuck.is_some_and(|stuck| at() <= stuck) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    context.readiness.set(context.name(), SourceState::Streaming);
    info!(source = context.name(), slot = context.settings.slot(), resume = %at(), "streaming");
    std::future::pending().await
}

/// What was read goes on into the lanes without a connection, and frees the memory that other sources share.
async fn flush(backlog: &mut Backlog, session: Option<&Session>) -> Infallible {
    if let Some(session) = session {
        backlog.flush(session).await;
    }
    std::future::pending().await
}

/// Returns when the session, where there is one, is over.
async fn over(session: Option<&Session>) {
    match session {
        Some(session) => session.over.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Tells the server what is persisted, as it is.
async fn acknowledge(session: &Session, known: &CancellationToken, feedback: &Feedback) -> PipelineError {
    let mut persisted = session.persisted.clone();
    known.cancelled().await;
    loop {
        feedback.acknowledge(*persisted.borrow_and_update());
        if persisted.changed().await.is_err() {
            return PipelineError::Fenced;
        }
    }
}

/// Ends where an application's commit would wait for us.
async fn stay_asynchronous(sentinel: &Sentinel) -> PipelineError {
    loop {
        tokio::time::sleep(GUEST_INTERVAL).await;
        if let Some(client) = sentinel.client()
            && let Err(error @ SourceError::SynchronousStandby { .. }) = check_not_synchronous(&client).await
        {
            return error.into();
        }
    }
}

const fn is_held_elsewhere(error: &PipelineError) -> bool {
    matches!(error, PipelineError::Source(SourceError::SlotActive { .. }))
}
