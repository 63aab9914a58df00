//! Reads the stream of one connection: decodes, judges what is new, matches, and hands notifications to the lanes.
//!
//! Whatever is awaited may be cut off at any time, by a lost connection or a stop. Therefore a change takes effect (a ticket
//! is opened, its notifications stand in the `backlog`) in one step without an await, and the `backlog` outlives the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use metrics::{Counter, counter};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::live_types::{cast_wanted, learn_types};
use super::session::Session;
use crate::admin::metrics::{CHANGES_TOTAL, VALUES_SENT_AS_TEXT_TOTAL, discarded, subscription_label};
use crate::catalog::{CatalogIndex, Integration, Route, TableRoute, subscriptions};
use crate::checkpoint::{Anchor, Resume, Stuck, Ticket, TransactionStart, Verdict};
use crate::decode::{Casts, Message, Relation, Shape, Types, parse};
use crate::deliver::{Arrival, Lane};
use crate::model::{Body, Event, EventId, Lsn, Operation, Position, Subscription};
use crate::route::{Change, KeyColumns, Origin, RoutedTable};
use crate::source::barrier;
use crate::source::table::{RelationKeys, relation_keys};
use crate::source::{Frame, ReplicationStream, Sentinel, SourceError, TimelineHistory, TimelineWatch};

/// A notification that is opened and not yet in its lane.
struct Pending {
    subscription: Arc<Subscription>,
    arrival: Arrival<Ticket>,
}

/// What outlives the connection: see the module.
#[derive(Default)]
pub(super) struct Backlog(VecDeque<Pending>);

impl Backlog {
    /// Hands what is pending to the lanes; what cannot be taken now holds the stream back.
    pub(super) async fn flush(&mut self, session: &Session) {
        while let Some(pending) = self.0.front() {
            let Some(inbox) = session.lanes.inbox(&pending.subscription) else {
                self.forget_first(session);
                continue;
            };
            match inbox.reserve().await {
                Ok(room) => {
                    if let Some(pending) = self.0.pop_front() {
                        room.send(pending.arrival);
                    }
                }
                // The lane was closed in the meantime; the next look finds no inbox.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// The subscription is deleted: nothing is owed to it.
    fn forget_first(&mut self, session: &Session) {
        if let Some(pending) = self.0.pop_front() {
            // One for each change that was read by an older catalog: no line for each, but a number.
            let subscription = pending.subscription.opaque_id;
            debug!(%subscription, event = pending.arrival.event.id, "deleted in the meantime");
            discarded(&subscription_label(&subscription.to_string()), 1);
            session.progress.settle([pending.arrival.ticket]);
        }
    }
}

struct Transaction {
    start: TransactionStart,
    /// Judged when the first published thing in it is met.
    verdict: Option<Verdict>,
    next_index: u64,
}

struct Table {
    routed: RoutedTable,
    integration: Arc<Integration>,
    /// The only transaction that it is good for, where there is one: see [`Types::are_passing`].
    only_for: Option<u32>,
}

struct Counters([(Operation, Counter); 4]);

impl Counters {
    fn new(source_name: &str) -> Self {
        let all = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate];
        Self(all.map(|operation| {
            let labels = [("source", source_name.to_owned()), ("operation", operation.label().to_owned())];
            (operation, counter!(CHANGES_TOTAL, &labels))
        }))
    }

    fn count(&self, operation: Operation) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == operation) {
            counter.increment(1);
        }
    }
}

pub(super) struct Intake<'a> {
    source_name: &'a str,
    session: &'a Session,
    catalog: &'a CatalogWatch,
    sentinel: &'a Sentinel,
    history: TimelineHistory,
    /// Where the server is a standby, which may leave the history's timeline while it streams.
    timeline: Option<TimelineWatch>,
    resume: Resume,
    /// Cancelled when the stream has shown that it is the history of the checkpoint.
    known: CancellationToken,
    types: Types,
    relations: HashMap<u32, Relation>,
    /// What the database last said of each table's keys: by now it may be gone.
    keys: HashMap<u32, KeyColumns>,
    tables: HashMap<u32, Table>,
    transaction: Option<Transaction>,
    counters: Counters,
    backlog: &'a mut Backlog,
}

impl<'a> Intake<'a> {
    #[allow(
        clippy::too_many_arguments,
        reason = "what one connection brings, and what outlives it; named once, in one place"
    )]
    pub(super) fn new(
        source_name: &'a str,
        session: &'a Session,
        catalog: &'a CatalogWatch,
        sentinel: &'a Sentinel,
        history: TimelineHistory,
        timeline: Option<TimelineWatch>,
        confirmed_flush_lsn: Lsn,
        known: CancellationToken,
        backlog: &'a mut Backlog,
    ) -> Self {
        Self {
            source_name,
            session,
            catalog,
            sentinel,
            history,
            timeline,
            resume: Resume::new(session.progress.read_point(), confirmed_flush_lsn),
            known,
            types: Types::new(),
            relations: HashMap::new(),
            keys: HashMap::new(),
            tables: HashMap::new(),
            transaction: None,
            counters: Counters::new(source_name),
            backlog,
        }
    }

    /// Until the stream ends.
    pub(super) async fn run(&mut self, stream: &mut ReplicationStream) -> Result<(), PipelineError> {
        loop {
            self.backlog.flush(self.session).await;
            let frame = match stream.next().await {
                Ok(frame) => frame,
                Err(error) => return Err(self.ended(error)),
            };
            match frame {
                Frame::Data { payload, wal_end, .. } => {
                    self.session.facts.set_received(wal_end);
                    self.message(parse(payload)?).await?;
                }
                Frame::Keepalive { wal_end } => {
                    self.check_timeline(wal_end).await?;
                    if self.transaction.is_none() {
                        self.resume.reached(wal_end)?;
                        if self.resume.is_live() {
                            self.known.cancel();
                        }
                    }
                    self.session.facts.set_received(wal_end);
                    self.session.progress.read(|watermark| watermark.idle(wal_end));
                }
                Frame::Skipped { bytes, .. } => {
                    debug!(bytes, "somebody's logical message was passed over");
                    self.judge()?;
                }
            }
        }
    }

    /// Why nothing more comes. Where the server fails at the transaction that it has begun to send, all before it is read,
    /// and that is noted: it may be skipped once all before it is settled.
    fn ended(&mut self, error: SourceError) -> PipelineError {
        let Some(TransactionStart { commit_lsn, xid, committed_at }) = self.transaction.as_ref().map(|one| one.start)
        else {
            return error.into();
        };
        let error = error.amid(commit_lsn);
        if matches!(error, SourceError::CannotSend { .. }) {
            match self.judge() {
                Ok(Some(Verdict::From(_))) => {
                    self.session.progress.set_stuck(Stuck { commit_lsn, xid, committed_at });
                }
                // It was skipped before.
                Ok(_) => {}
                Err(foreign) => return foreign,
            }
        }
        error.into()
    }

    async fn message(&mut self, message: Message) -> Result<(), PipelineError> {
        match message {
            Message::Begin { final_lsn, committed_at, xid } => {
                self.check_timeline(final_lsn).await?;
                self.begin(final_lsn, committed_at, xid);
            }
            Message::Commit { end_lsn, .. } => {
                self.check_timeline(end_lsn).await?;
                self.commit(end_lsn);
            }
            Message::Relation(relation) => {
                self.tables.remove(&relation.oid);
                self.relations.insert(relation.oid, relation);
            }
            Message::Insert { relation_oid, new } => self.change(relation_oid, Change::Insert(&new)).await?,
            Message::Update { relation_oid, old, new } => {
                self.change(relation_oid, Change::Update(old.as_ref(), &new)).await?;
            }
            Message::Delete { relation_oid, old } => self.change(relation_oid, Change::Delete(&old)).await?,
            Message::Truncate { relation_oids, .. } => {
                for relation_oid in relation_oids {
                    self.change(relation_oid, Change::Truncate).await?;
                    self.backlog.flush(self.session).await;
                }
            }
            Message::Logical { transactional, lsn, prefix, content } => {
                self.judge()?;
                if !transactional && prefix == barrier::PREFIX.as_bytes() {
                    self.barrier(lsn, &content).await?;
                }
            }
            Message::Origin { .. } | Message::Type { .. } => {}
        }
        Ok(())
    }

    /// Nothing beyond the end of the timeline is taken in.
    async fn check_timeline(&mut self, lsn: Lsn) -> Result<(), PipelineError> {
        match &mut self.timeline {
            Some(timeline) => Ok(timeline.check(lsn).await?),
            None => Ok(()),
        }
    }

    fn begin(&mut self, commit_lsn: Lsn, committed_at: std::time::SystemTime, xid: u32) {
        let start = TransactionStart { commit_lsn, xid, committed_at };
        self.transaction = Some(Transaction { start, verdict: None, next_index: 0 });
    }

    fn commit(&mut self, end_lsn: Lsn) {
        let Some(Transaction { start, verdict, .. }) = self.transaction.take() else { return };
        if verdict == Some(Verdict::Skip) {
            return;
        }
        let TransactionStart { commit_lsn, xid, committed_at } = start;
        let anchor = verdict.map(|_| Anchor { commit_lsn, end_lsn, xid, committed_at });
        self.session.progress.read(|watermark| watermark.commit(end_lsn, anchor));
    }

    /// Something published was met in the present transaction.
    fn judge(&mut self) -> Result<Option<Verdict>, PipelineError> {
        let Some(transaction) = &mut self.transaction else { return Ok(None) };
        if transaction.verdict.is_none() {
            transaction.verdict = Some(self.resume.judge(&transaction.start)?);
            if self.resume.is_live() {
                self.known.cancel();
            }
        }
        Ok(transaction.verdict)
    }

    async fn change(&mut self, relation_oid: u32, change: Change<'_>) -> Result<(), PipelineError> {
        let verdict = self.judge()?.ok_or(PipelineError::OutOfOrder("a change outside of a transaction"))?;
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        let start = transaction.start;
        let position = Position::new(start.commit_lsn, transaction.next_index);
        transaction.next_index += 1;
        match verdict {
            Verdict::Skip => return Ok(()),
            Verdict::From(from) if position < from => return Ok(()),
            Verdict::From(_) => {}
        }
        let index = self.catalog.index();
        let Route::Table(route) = self.route(&index, relation_oid).await? else {
            self.counters.count(change.operation());
            discarded("", 1);
            self.session.progress.read(|watermark| watermark.read(position, start.xid));
            return Ok(());
        };
        let due: Vec<Arc<Subscription>> = route
            .subscriptions
            .iter()
            .filter(|subscription| subscription.is_due(self.source_name, start.commit_lsn))
            .cloned()
            .collect();
        if due.is_empty() {
            self.counters.count(change.operation());
            self.session.progress.read(|watermark| watermark.read(position, start.xid));
            return Ok(());
        }
        let (event, body) = self.notify(&route, relation_oid, change, position, &start, due.len()).await?;
        // From here on there is no await: the change takes effect as a whole.
        self.counters.count(change.operation());
        let ticket = self.session.progress.read(|watermark| watermark.open(position, start.xid, due.len()));
        self.backlog.0.extend(due.into_iter().map(|subscription| Pending {
            subscription,
            arrival: Arrival { event: event.clone(), body: body.clone(), ticket },
        }));
        Ok(())
    }

    /// What to do with a table. Before an unknown one stops the source, the upkeep gets the time to record it: where whole
    /// schemas are published, a new table's first rows may be here before its record is.
    async fn route(&self, index: &CatalogIndex, relation_oid: u32) -> Result<Route, PipelineError> {
        if let Some(route) = index.route(self.source_name, relation_oid) {
            return Ok(route.clone());
        }
        let mut loaded = self.catalog.reload().await?.index.clone();
        let mut changes = self.catalog.changes();
        let deadline = tokio::time::Instant::now() + UNKNOWN_TABLE_PATIENCE;
        loop {
            if let Some(route) = loaded.route(self.source_name, relation_oid) {
                return Ok(route.clone());
            }
            // Ends at the deadline, whatever else the catalog has to tell.
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                break;
            }
            loaded = self.catalog.index();
        }
        let relation = self.relations.get(&relation_oid);
        Err(PipelineError::UnknownRelation {
            schema: relation.map(|relation| relation.schema.clone()).unwrap_or_default(),
            table: relation.map(|relation| relation.name.clone()).unwrap_or_default(),
            oid: relation_oid,
        })
    }

    async fn notify(
        &mut self,
        route: &TableRoute,
        relation_oid: u32,
        change: Change<'_>,
        position: Position,
        start: &TransactionStart,
        due: usize,
    ) -> Result<(Arc<Event>, Arc<Body>), PipelineError> {
        self.prepare_table(route, relation_oid, start.xid).await?;
        let table = self.tables.get(&relation_oid).ok_or(PipelineError::OutOfOrder("a change without its relation"))?;
        let timeline = self.history.owner_of(start.commit_lsn);
        let origin = Origin {
            source_name: self.source_name,
            event_id: EventId::new(self.session.system_identifier, timeline, position, start.xid, start.committed_at),
            position,
            xid: start.xid,
            committed_at: start.committed_at,
        };
        let (mut out, mut casts) = (Vec::new(), Casts::default());
        let (keys, notes) = loop {
            let written = change.write_body(&table.routed, &origin, &mut casts, &mut out)?;
            let wanted = casts.take_wanted();
            if wanted.is_empty() {
                break written;
            }
            out.clear();
            cast_wanted(wanted, &mut casts, self.sentinel).await?;
        };
        for type_name in notes.sent_as_text {
            counter!(VALUES_SENT_AS_TEXT_TOTAL, "type" => type_name).increment(1);
        }
        out.shrink_to_fit();
        let held = self.session.memory.reserve(out.len() + due * Lane::<Ticket>::ENTRY_BYTES).await;
        let event =
            Event { id: origin.event_id.event(), position, committed_at: start.committed_at, relation_oid, keys };
        Ok((Arc::new(event), Arc::new(Body::new(Bytes::from(out), held))))
    }

    /// Makes sure that the table is known as the stream and the catalog have it now.
    async fn prepare_table(&mut self, route: &TableRoute, relation_oid: u32, xid: u32) -> Result<(), PipelineError> {
        let still_good = |table: &Table| {
            *table.integration == *route.integration && table.only_for.is_none_or(|only_for| only_for == xid)
        };
        if self.tables.get(&relation_oid).is_some_and(still_good) {
            return Ok(());
        }
        let relation = self
            .relations
            .get(&relation_oid)
            .cloned()
            .ok_or(PipelineError::OutOfOrder("a change without its relation"))?;
        let client = self.sentinel.client().ok_or(SourceError::ShuttingDown)?;
        self.types.forget_passing(&relation);
        learn_types(&mut self.types, &relation, xid, &client).await?;
        let only_for = self.types.are_passing(&relation).then_some(xid);
        if let Some(keys) = relation_keys(&client, relation_oid).await.map_err(SourceError::from)? {
            let RelationKeys { columns, primary_key, remote_key, .. } = keys;
            self.keys.insert(relation_oid, KeyColumns { columns, primary_key, remote_key });
        }
        let shape = Shape::new(relation, &self.types);
        let routed = RoutedTable::new(shape, &route.integration, self.keys.get(&relation_oid));
        self.tables.insert(relation_oid, Table { routed, integration: route.integration.clone(), only_for });
        Ok(())
    }

    /// A subscription's start: set before anything that follows is routed.
    async fn barrier(&self, lsn: Lsn, content: &[u8]) -> Result<(), PipelineError> {
        let Some((id, nonce)) = std::str::from_utf8(content).ok().and_then(barrier::parse) else { return Ok(()) };
        let client = self.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        if subscriptions::start(&client, id, nonce, self.source_name, lsn).await? {
            info!(subscription = %id, source = self.source_name, %lsn, "the subscription starts here");
        }
        self.catalog.reload().await?;
        Ok(())
    }
}

/// Some rounds of the upkeep, in one of which a table that is an integration's is recorded.
const UNKNOWN_TABLE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(6);
