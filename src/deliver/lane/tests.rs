//! A lane against a model of the outbox and of a log that is read again after a crash: whatever the interleaving,
//! nothing is lost, and the first acceptances of each row are in the order of the log.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::deliver::{BreakerPolicy, RetryPolicy};
use crate::model::{AttemptRecord, Body, Event, Lsn, Position, RowKeys};

mod batches;
mod pressure;

pub(crate) const LIMITS: Limits = Limits {
    concurrency: 4,
    window: 8,
    waiting: 2,
    parked_keys: 16,
    parked_for: Duration::from_millis(100),
    bytes: 1 << 20,
    patience: Duration::from_secs(1),
    settle_within: Duration::from_secs(5),
    retry: RetryPolicy {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(100),
        max_attempts: 4,
        give_up_after: Duration::from_secs(3600),
    },
    breaker: BreakerPolicy { threshold: 3, base: Duration::from_millis(50), cap: Duration::from_millis(200) },
};

pub(crate) fn body() -> Arc<Body> {
    Arc::new(Body::new(Bytes::from_static(b"{}"), ()))
}

pub(crate) fn event(number: u64, keys: &RowKeys) -> Event {
    Event {
        id: format!("evt_{number}"),
        position: Position::new(Lsn::new(number), 0),
        committed_at: SystemTime::UNIX_EPOCH,
        relation_oid: 1,
        keys: keys.clone(),
    }
}

fn setback(asked: Option<Duration>, too_large: bool) -> Setback {
    let record = AttemptRecord {
        attempt: 0,
        at: SystemTime::UNIX_EPOCH,
        outcome: "refused",
        status: Some(500),
        took: Duration::ZERO,
        reason: "500".into(),
        answer: None,
    };
    Setback { record, asked, too_large }
}

fn number(start: &Start) -> u64 {
    start.event.position.commit_lsn.get()
}

fn batches(size: usize, linger_ms: u64) -> Batching {
    Batching::new(size, Duration::from_millis(linger_ms)).expect("within its bounds")
}

pub(crate) fn row(key: u64) -> RowKeys {
    RowKeys::Rows(smallvec::smallvec![key])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Owed,
    Delivered,
    Failed,
}

/// The outbox, the log and the endpoint.
struct World {
    log: Vec<RowKeys>,
    /// The first change of the log that has not arrived at the lane.
    next: u64,
    settled: HashSet<u64>,
    /// By its place: the change, its state, its failed attempts, and when the next is due.
    outbox: BTreeMap<i64, (Event, State, u32, Instant)>,
    seq: i64,
    /// Writes that were taken and are not durable yet.
    pending: Vec<Write<u64>>,
    flying: Vec<Request>,
    accepted: Vec<u64>,
    given_up: HashSet<u64>,
    /// The checkpoint: every change below it is settled, and that is recorded.
    persisted: u64,
    /// Changes that were accepted and whose acceptance is recorded: they must not come again.
    recorded: HashSet<u64>,
    /// A page that was read and has not come to the lane yet.
    page: Option<(Vec<StoredRow>, bool)>,
    /// A body that was asked for and has not come to the lane yet.
    bodies: Vec<BodyRequest>,
    crashed: bool,
    now: Instant,
    batching: Option<Batching>,
    lane: Lane<u64>,
}

impl World {
    fn new(log: Vec<RowKeys>) -> Self {
        Self::with(LIMITS, log)
    }

    fn with(limits: Limits, log: Vec<RowKeys>) -> Self {
        Self {
            log,
            next: 0,
            settled: HashSet::new(),
            outbox: BTreeMap::new(),
            seq: 0,
            pending: Vec::new(),
            flying: Vec::new(),
            accepted: Vec::new(),
            given_up: HashSet::new(),
            persisted: 0,
            recorded: HashSet::new(),
            page: None,
            bodies: Vec::new(),
            crashed: false,
            now: Instant::now(),
            batching: None,
            lane: Lane::new(limits),
        }
    }

    fn batch_by(&mut self, batching: Option<Batching>) {
        self.batching = batching;
        self.lane.batch_by(batching);
    }

    fn watermark(&self) -> u64 {
        (0..).find(|number| !self.settled.contains(number)).unwrap_or(0)
    }

    fn arrive(&mut self) {
        if self.next < self.log.len() as u64 && self.lane.accepts() {
            let event = Arc::new(event(self.next, &self.log[self.next as usize]));
            self.settled.extend(self.lane.arrive(Arrival { event, body: body(), ticket: self.next }, self.now));
            self.next += 1;
        }
    }

    fn launch(&mut self) {
        loop {
            let request = self.lane.start(self.now);
            if request.is_empty() {
                return;
            }
            let size = self.batching.map_or(1, |batching| batching.size);
            assert!(request.len() <= size, "{} in one request", request.len());
            self.flying.push(request);
        }
    }

    /// The changes that are under way, request by request.
    fn under_way(&self) -> Vec<Vec<u64>> {
        self.flying.iter().map(|request| request.iter().map(number).collect()).collect()
    }

    fn land(&mut self, which: usize, accepts: bool) {
        self.answer(which, accepts, setback(None, false));
    }

    fn answer(&mut self, which: usize, accepts: bool, setback: Setback) {
        if self.flying.is_empty() {
            return;
        }
        let request = self.flying.remove(which % self.flying.len());
        let ids: Vec<EntryId> = request.iter().map(|start| start.id).collect();
        let numbers = request.iter().map(number);
        if accepts {
            for number in numbers {
                assert!(
                    !self.recorded.contains(&number),
                    "{number} is sent again although its acceptance was recorded"
                );
                assert!(self.crashed || !self.accepted.contains(&number), "{number} is sent twice by one lane");
                self.accepted.push(number);
            }
            self.settled.extend(self.lane.succeeded(&ids, self.now));
        } else {
            let finished = self.lane.failed(&ids, &setback, self.now);
            let given_up = numbers.zip(finished).filter(|(_, finished)| *finished == Finished::GivenUp);
            self.given_up.extend(given_up.map(|(number, _)| number));
        }
    }

    fn call_off(&mut self) {
        self.flying.clear();
        self.lane.all_called_off(self.now);
    }

    /// What a held lane is owed in the outbox alone is removed, as it is long after a deactivation: the checkpoint is past it.
    fn clean(&mut self) {
        let is_quiet = self.flying.is_empty() && self.bodies.is_empty() && self.pending.is_empty();
        if self.lane.held && !self.lane.rewinding && is_quiet && self.lane.writes.is_empty() && self.page.is_none() {
            self.persist();
            let owed = self.outbox.values().filter(|(_, state, ..)| *state == State::Owed);
            self.given_up.extend(owed.map(|(event, ..)| event.position.commit_lsn.get()));
            self.outbox.retain(|_, (_, state, ..)| *state != State::Owed);
        }
    }

    fn row_of(&mut self, id: &str) -> Option<&mut (Event, State, u32, Instant)> {
        self.outbox.values_mut().find(|(event, ..)| event.id == id)
    }

    /// Makes the first `count` pending writes durable.
    fn commit(&mut self, count: usize) {
        self.pending.extend(self.lane.take_writes());
        let (mut acks, mut outcomes) = (Vec::new(), 0);
        for write in self.pending.drain(..count.min(self.pending.len())).collect::<Vec<_>>() {
            match write {
                Write::Store { event, ticket, in_window, .. } => {
                    let new = self.row_of(&event.id).is_none();
                    self.seq += 1;
                    if new {
                        self.outbox.insert(self.seq, ((*event).clone(), State::Owed, 0, self.now));
                    }
                    self.settled.extend(ticket);
                    acks.push(Ack { event_id: event.id.clone(), seq: new.then_some(self.seq), in_window });
                }
                Write::Reschedule { event, wait, record, .. } => {
                    outcomes += 1;
                    let due = self.now + wait;
                    let row = self.row_of(&event.id).expect("stored");
                    (row.2, row.3) = (record.attempt, due);
                }
                Write::Failed { event, .. } => {
                    outcomes += 1;
                    self.row_of(&event.id).expect("stored").1 = State::Failed;
                }
                Write::Delivered { event } => {
                    outcomes += 1;
                    self.row_of(&event.id).expect("stored").1 = State::Delivered;
                }
            }
        }
        self.lane.confirm(&acks, outcomes);
        let persisted = self.persisted;
        self.outbox
            .retain(|_, (event, state, ..)| *state != State::Delivered || event.position.commit_lsn.get() >= persisted);
    }

    fn persist(&mut self) {
        self.persisted = self.watermark();
    }

    fn load(&mut self) {
        self.ask();
        for BodyRequest { id, event_id, .. } in std::mem::take(&mut self.bodies) {
            let found = self.row_of(&event_id).is_some();
            self.lane.loaded(id, found.then(body), self.now);
        }
        self.read_page();
        self.take_page();
    }

    fn ask(&mut self) {
        self.bodies.extend(self.lane.bodies_wanted(3));
    }

    /// Reads a page as the outbox stands now.
    fn read_page(&mut self) {
        if self.page.is_some() {
            return;
        }
        let Some(PageRequest { after, .. }) = self.lane.page_wanted(3, self.now) else { return };
        let owed = self.outbox.range(after + 1..).filter(|(_, (_, state, ..))| *state == State::Owed);
        let rows: Vec<StoredRow> = owed
            .take(3)
            .map(|(seq, (event, _, attempts, due))| StoredRow {
                seq: *seq,
                event: event.clone(),
                body: (seq % 2 == 0).then(body),
                body_bytes: 2,
                attempts: *attempts,
                due_in: due.saturating_duration_since(self.now),
                age: Duration::ZERO,
            })
            .collect();
        let complete = rows.len() < 3;
        self.page = Some((rows, complete));
    }

    fn take_page(&mut self) {
        if let Some((rows, complete)) = self.page.take() {
            self.lane.paged(rows, complete, self.now);
        }
    }

    /// Everything in memory is lost; the log is read again from the checkpoint.
    fn crash(&mut self) {
        let persisted = self.persisted;
        self.crashed = true;
        self.next = persisted;
        self.settled.retain(|number| *number < persisted);
        self.pending.clear();
        self.flying.clear();
        self.page = None;
        self.bodies.clear();
        let delivered = self.outbox.values().filter(|(_, state, ..)| *state == State::Delivered);
        self.recorded = delivered.map(|(event, ..)| event.position.commit_lsn.get()).collect();
        let settled = self.accepted.iter().copied().filter(|number| *number < persisted && !self.is_owed(*number));
        let settled: Vec<u64> = settled.collect();
        self.recorded.extend(settled);
        let from = Position::new(Lsn::new(persisted), 0);
        let replayed = || self.outbox.values().filter(|(event, ..)| event.position >= from);
        let mut replay = Replay::default();
        replay.cover(replayed().map(|(event, ..)| event.position).max());
        let resolved = replayed().filter(|(_, state, ..)| *state != State::Owed);
        resolved.for_each(|(event, ..)| replay.add_resolved(&event.id));
        self.lane = Lane::resumed(LIMITS, self.owed(), replay);
        self.lane.batch_by(self.batching);
    }

    fn owed(&self) -> usize {
        self.outbox.values().filter(|(_, state, ..)| *state == State::Owed).count()
    }

    /// What a driver does whenever something has happened.
    fn step(&mut self) {
        self.now += Duration::from_millis(20);
        self.launch();
        self.commit(usize::MAX);
        self.load();
    }

    fn is_owed(&self, number: u64) -> bool {
        let of_it = |(event, state, ..): &(Event, State, u32, Instant)| {
            event.position.commit_lsn.get() == number && *state == State::Owed
        };
        self.outbox.values().any(of_it)
    }

    fn finish(&mut self) {
        self.lane.release();
        for _ in 0..100_000 {
            self.arrive();
            self.now += Duration::from_millis(200);
            self.lane.wake(self.now);
            self.launch();
            self.land(0, true);
            self.commit(usize::MAX);
            self.take_page();
            self.load();
            if self.next == self.log.len() as u64 && self.lane.is_idle() && self.flying.is_empty() {
                assert_eq!(self.lane.stored(), self.owed(), "the lane knows how much the outbox owes");
                return;
            }
        }
        panic!("the lane does not come to rest: {:?}", self.lane);
    }

    fn assert_kept(&self) {
        for number in 0..self.log.len() as u64 {
            assert!(self.accepted.contains(&number) || self.given_up.contains(&number), "{number} is lost");
            assert!(self.settled.contains(&number), "{number} is never settled");
        }
        let first = |number: u64| self.accepted.iter().position(|accepted| *accepted == number);
        for later in 0..self.log.len() as u64 {
            for earlier in 0..later {
                let shared = match (&self.log[earlier as usize], &self.log[later as usize]) {
                    (RowKeys::Rows(a), RowKeys::Rows(b)) => a.iter().any(|key| b.contains(key)),
                    _ => true,
                };
                if let (true, Some(a), Some(b)) = (shared, first(earlier), first(later)) {
                    assert!(a < b, "{later} was accepted before {earlier}");
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    Launch,
    Land { which: usize, accepts: bool },
    AskForTime { which: usize, milliseconds: u64 },
    TooLarge { which: usize },
    Commit(usize),
    Load,
    ReadPage,
    TakePage,
    Wait(u64),
    Press,
    Ask,
    Hold,
    Release,
    Clean,
    CallOff,
    Persist,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => Just(Step::Arrive),
        8 => Just(Step::Launch),
        8 => (any::<usize>(), prop::bool::weighted(0.6)).prop_map(|(which, accepts)| Step::Land { which, accepts }),
        1 => (any::<usize>(), 1u64..500).prop_map(|(which, milliseconds)| Step::AskForTime { which, milliseconds }),
        1 => any::<usize>().prop_map(|which| Step::TooLarge { which }),
        6 => (1usize..8).prop_map(Step::Commit),
        4 => Just(Step::Load),
        4 => Just(Step::ReadPage),
        4 => Just(Step::TakePage),
        3 => Just(Step::Persist),
        3 => (1u64..2_000).prop_map(Step::Wait),
        1 => Just(Step::Press),
        2 => Just(Step::Ask),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
        1 => Just(Step::Clean),
        1 => Just(Step::CallOff),
        1 => Just(Step::Crash),
    ]
}

fn batching() -> impl Strategy<Value = Option<Batching>> {
    prop::option::of((1usize..8, 0u64..100).prop_map(|(size, linger)| batches(size, linger)))
}

fn change() -> impl Strategy<Value = RowKeys> {
    prop_oneof![
        12 => (0u64..6).prop_map(row),
        3 => (0u64..6, 0u64..6).prop_map(|(a, b)| RowKeys::Rows(smallvec::smallvec![a, b])),
        1 => Just(RowKeys::Table),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_interleaving_keeps_order_and_loses_nothing(
        log in prop::collection::vec(change(), 1..40),
        batching in batching(),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(log);
        world.batch_by(batching);
        for step in steps {
            match step {
                Step::Arrive => world.arrive(),
                Step::Launch => world.launch(),
                Step::Land { which, accepts } => world.land(which, accepts),
                Step::AskForTime { which, milliseconds } => {
                    world.answer(which, false, setback(Some(Duration::from_millis(milliseconds)), false));
                }
                Step::TooLarge { which } => world.answer(which, false, setback(None, true)),
                Step::Commit(count) => world.commit(count),
                Step::Load => world.load(),
                Step::ReadPage => world.read_page(),
                Step::TakePage => world.take_page(),
                Step::Persist => world.persist(),
                Step::Wait(milliseconds) => {
                    world.now += Duration::from_millis(milliseconds);
                    world.lane.wake(world.now);
                }
                Step::Press => world.lane.spill_if_pressed(world.now),
                Step::Ask => world.ask(),
                Step::Hold => world.lane.hold(),
                Step::Release => world.lane.release(),
                Step::Clean => world.clean(),
                Step::CallOff => world.call_off(),
                Step::Crash => world.crash(),
            }
        }
        world.finish();
        world.assert_kept();
    }
}

#[test]
fn other_rows_do_not_wait_for_a_row_that_fails() {
    let mut world = World::new(vec![row(1), row(1), row(2)]);
    (0..3).for_each(|_| world.arrive());
    world.launch();
    world.land(0, false);
    world.land(0, true);
    assert_eq!(world.accepted, [2]);
    world.commit(usize::MAX);
    assert_eq!(world.watermark(), 3, "what failed, and what follows it, is owed to the outbox and holds back nothing");
    assert!(world.lane.start(world.now).is_empty());
}

#[test]
fn a_change_that_was_delivered_from_the_outbox_is_not_sent_again_after_a_crash() {
    let mut world = World::new(vec![row(1), row(2)]);
    world.arrive();
    world.arrive();
    world.launch();
    let blocker = world.flying.remove(0);
    world.land(0, false);
    world.commit(usize::MAX);
    world.now += Duration::from_secs(1);
    world.launch();
    world.load();
    world.launch();
    world.land(0, true);
    assert_eq!(world.accepted, [1]);
    world.commit(usize::MAX);
    assert_eq!(blocker[0].event.id, "evt_0");
    world.crash();
    world.finish();
    assert_eq!(world.accepted, [1, 0]);
}

#[test]
fn concurrency_grows_on_success_up_to_its_limit() {
    let mut world = World::new((0..8).map(row).collect());
    (0..8).for_each(|_| world.arrive());
    world.launch();
    assert_eq!(world.flying.len(), Limits::FIRST_CONCURRENCY);
    (0..8).for_each(|_| {
        world.land(0, true);
        world.launch();
        assert!(world.flying.len() <= LIMITS.concurrency);
    });
    assert_eq!(world.accepted.len(), 8);
}

#[test]
fn what_is_stored_while_a_page_is_on_its_way_is_paged_next() {
    let mut world = World::new((0..5).map(row).collect());
    world.crash();
    (0..3).for_each(|_| world.arrive());
    world.commit(3);
    world.load();
    // The page is read when two rows are not durable yet, and arrives when they are.
    world.arrive();
    world.arrive();
    world.read_page();
    world.commit(2);
    world.take_page();
    world.finish();
    world.assert_kept();
}

/// More rows than the window holds fail, each with a success between, so that the endpoint is taken to be well.
fn rejecting(limits: Limits) -> World {
    let mut world = World::with(limits, (0..24).map(row).collect());
    for _ in 1..limits.window {
        world.arrive();
        world.arrive();
        world.launch();
        world.land(1, true);
        world.land(0, false);
    }
    world.arrive();
    world.launch();
    world.land(0, false);
    world.commit(usize::MAX);
    assert_eq!(world.owed(), limits.window);
    world
}

#[test]
fn rows_that_are_rejected_do_not_fill_the_window_and_are_tried_again_when_they_are_due() {
    let mut world = rejecting(LIMITS);
    assert!(world.lane.entries.len() <= LIMITS.waiting);
    assert!(world.lane.accepts() && !world.lane.has_tail(), "the lane is live");
    world.arrive();
    world.launch();
    assert_eq!(world.flying.len(), 1, "what is accepted does not wait for what is rejected");
    world.land(0, true);
    let due = world.lane.next_wake(world.now).expect("what is parked is due some time");
    assert!(due <= world.now + LIMITS.parked_for);
    world.finish();
    world.assert_kept();
}

#[test]
fn what_follows_a_parked_row_does_not_overtake_it() {
    let mut world = rejecting(LIMITS);
    let rejected = |number: &u64| !world.accepted.contains(number);
    let followers: Vec<RowKeys> = (0..15u64).filter(rejected).map(row).collect();
    let count = followers.len();
    world.log.truncate(15);
    world.log.extend(followers);
    world.log.extend([RowKeys::Table, row(99)]);
    (0..count + 2).for_each(|_| world.arrive());
    world.launch();
    assert!(world.flying.is_empty(), "the truncate waits for all of its table, and all of it waits for the truncate");
    world.commit(usize::MAX);
    assert_eq!(world.watermark(), world.log.len() as u64, "nothing of it holds the log back");
    world.finish();
    world.assert_kept();
}

#[test]
fn a_window_full_of_failures_does_not_hold_the_log_back_until_the_next_attempt() {
    let mut world = rejecting(Limits { parked_keys: 0, ..LIMITS });
    assert!(!world.lane.accepts());
    assert!(
        world.lane.next_wake(world.now).is_some_and(|wake| wake <= world.now),
        "the lane sleeps until an attempt is due"
    );
    world.lane.wake(world.now);
    assert!(world.lane.accepts());
}

/// A lane whose breaker is open, with everything that it owes in the outbox.
fn tripped(log: Vec<RowKeys>) -> World {
    let mut world = World::new(log);
    (0..world.log.len()).for_each(|_| world.arrive());
    for _ in 0..LIMITS.breaker.threshold {
        world.launch();
        world.land(0, false);
    }
    assert!(!world.lane.is_flowing());
    while !world.flying.is_empty() {
        world.land(0, false);
    }
    world.commit(usize::MAX);
    world.commit(usize::MAX);
    world
}

#[test]
fn an_open_breaker_owes_everything_to_the_outbox_and_sends_one_probe_at_a_time() {
    let mut world = tripped((0..8).map(row).collect());
    assert_eq!((world.watermark(), world.owed()), (8, 8), "nothing holds the log back");
    world.launch();
    assert!(world.flying.is_empty(), "it is not probed before its time");
    let attempts: u32 = world.outbox.values().map(|(_, _, attempts, _)| attempts).sum();
    for _ in 0..5 {
        world.now += LIMITS.breaker.cap;
        (0..3).for_each(|_| world.step());
        assert_eq!(world.flying.len(), 1);
        world.land(0, false);
    }
    world.commit(usize::MAX);
    let later: u32 = world.outbox.values().map(|(_, _, attempts, _)| attempts).sum();
    assert_eq!(attempts, later, "a probe is not an attempt");
    world.finish();
    world.assert_kept();
}

#[test]
fn an_endpoint_that_has_come_back_is_not_met_with_everything_at_once() {
    let mut world = tripped((0..8).map(row).collect());
    world.now += Duration::from_secs(1);
    (0..3).for_each(|_| world.step());
    world.land(0, true);
    assert!(world.lane.is_flowing());
    (0..3).for_each(|_| world.step());
    assert_eq!(world.flying.len(), 1);
    world.land(0, true);
    (0..3).for_each(|_| world.step());
    assert_eq!(world.flying.len(), 2);
}

#[test]
fn rows_that_are_rejected_for_good_do_not_keep_the_breaker_open() {
    let poison = LIMITS.breaker.threshold as u64;
    let mut world = tripped((0..poison + 1).map(row).collect());
    let mut probes = 0;
    while !world.lane.is_flowing() {
        world.now += LIMITS.breaker.cap;
        (0..3).for_each(|_| world.step());
        let accepts = number(&world.flying[0][0]) >= poison;
        world.land(0, accepts);
        probes += 1;
        assert!(probes <= poison + 1, "a row that was not probed yet comes first");
    }
}

#[test]
fn what_followed_a_row_that_was_rejected_for_days_gets_one_attempt() {
    let mut world = World::new(vec![row(1), row(1), row(1)]);
    (0..3).for_each(|_| world.arrive());
    world.launch();
    world.now += LIMITS.retry.give_up_after;
    for given_up in 1..=3 {
        world.land(0, false);
        assert_eq!(world.given_up.len(), given_up);
        world.commit(usize::MAX);
        (0..3).for_each(|_| world.step());
    }
}

#[test]
fn a_held_lane_sends_nothing_and_holds_back_nothing() {
    let mut world = World::new((0..4).map(row).collect());
    world.arrive();
    world.arrive();
    world.lane.hold();
    world.launch();
    world.arrive();
    world.arrive();
    world.commit(usize::MAX);
    (0..5).for_each(|_| world.step());
    assert!(world.flying.is_empty() && world.lane.next_wake(world.now).is_none());
    assert_eq!((world.watermark(), world.owed(), world.lane.pending()), (4, 4, 4));
    world.finish();
    assert_eq!(world.accepted.len(), 4);
}

#[test]
fn what_was_cleaned_while_it_was_held_does_not_count_as_owed_any_more() {
    let mut world = World::new((0..4).map(row).collect());
    world.lane.hold();
    (0..4).for_each(|_| world.arrive());
    world.commit(usize::MAX);
    assert_eq!(world.lane.stored(), 4);
    world.outbox.clear();
    world.lane.release();
    (0..5).for_each(|_| world.step());
    assert!(world.lane.is_idle());
    assert_eq!((world.lane.stored(), world.lane.pending()), (0, 0));
}
