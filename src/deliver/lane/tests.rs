//! A lane against a model of the outbox and of a log that is read again after a crash: whatever the interleaving,
//! nothing is lost, and the first acceptances of each row are in the order of the log.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::{Lsn, RowKeys};

const LIMITS: Limits = Limits {
    concurrency: 4,
    window: 8,
    bytes: 1 << 20,
    patience: Duration::from_secs(1),
    settle_within: Duration::from_secs(5),
    retry: RetryPolicy {
        base: Duration::from_millis(10),
        cap: Duration::from_millis(100),
        max_attempts: 4,
        give_up_after: Duration::from_secs(3600),
    },
};

fn body() -> Arc<Body> {
    Arc::new(Body::new(Bytes::from_static(b"{}"), ()))
}

fn event(number: u64, keys: &RowKeys) -> Event {
    Event {
        id: format!("evt_{number}"),
        position: Position::new(Lsn::new(number), 0),
        committed_at: SystemTime::UNIX_EPOCH,
        relation_oid: 1,
        keys: keys.clone(),
    }
}

fn row(key: u64) -> RowKeys {
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
    outbox: BTreeMap<i64, (Event, State, u32)>,
    seq: i64,
    /// Writes that were taken and are not durable yet.
    pending: Vec<Write<u64>>,
    flying: Vec<Start>,
    accepted: Vec<u64>,
    given_up: HashSet<u64>,
    /// The checkpoint: every change below it is settled, and that is recorded.
    persisted: u64,
    /// Changes that were accepted and whose acceptance is recorded: they must not come again.
    recorded: HashSet<u64>,
    /// A page that was read and has not come to the lane yet.
    page: Option<(Vec<StoredRow>, bool)>,
    crashed: bool,
    now: Instant,
    lane: Lane<u64>,
}

impl World {
    fn new(log: Vec<RowKeys>) -> Self {
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
            crashed: false,
            now: Instant::now(),
            lane: Lane::new(LIMITS),
        }
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
        while let Some(start) = self.lane.start(self.now) {
            self.flying.push(start);
        }
    }

    fn land(&mut self, which: usize, accepts: bool) {
        if self.flying.is_empty() {
            return;
        }
        let start = self.flying.remove(which % self.flying.len());
        let number = start.event.position.commit_lsn.get();
        if accepts {
            assert!(!self.recorded.contains(&number), "{number} is sent again although its acceptance was recorded");
            assert!(self.crashed || !self.accepted.contains(&number), "{number} is sent twice by one lane");
            self.accepted.push(number);
            self.settled.extend(self.lane.succeeded(start.id, self.now));
        } else if self.lane.failed(start.id, "500".into(), self.now) == Finished::GivenUp {
            self.given_up.insert(number);
        }
    }

    fn row_of(&mut self, id: &str) -> Option<&mut (Event, State, u32)> {
        self.outbox.values_mut().find(|(event, ..)| event.id == id)
    }

    /// Makes the first `count` pending writes durable.
    fn commit(&mut self, count: usize) {
        self.pending.extend(self.lane.take_writes());
        let mut acks = Vec::new();
        for write in self.pending.drain(..count.min(self.pending.len())).collect::<Vec<_>>() {
            match write {
                Write::Store { event, ticket, in_window, .. } => {
                    let new = self.row_of(&event.id).is_none();
                    self.seq += 1;
                    if new {
                        self.outbox.insert(self.seq, ((*event).clone(), State::Owed, 0));
                    }
                    self.settled.extend(ticket);
                    acks.push(Ack { event_id: event.id.clone(), seq: new.then_some(self.seq), in_window });
                }
                Write::Reschedule { event, attempts, .. } => self.row_of(&event.id).expect("stored").2 = attempts,
                Write::Failed { event, .. } => self.row_of(&event.id).expect("stored").1 = State::Failed,
                Write::Delivered { event } => self.row_of(&event.id).expect("stored").1 = State::Delivered,
            }
        }
        self.lane.confirm(&acks);
        let persisted = self.persisted;
        self.outbox
            .retain(|_, (event, state, _)| *state != State::Delivered || event.position.commit_lsn.get() >= persisted);
    }

    fn persist(&mut self) {
        self.persisted = self.watermark();
    }

    fn load(&mut self) {
        for (id, event_id) in self.lane.bodies_wanted() {
            let found = self.row_of(&event_id).is_some();
            self.lane.loaded(id, found.then(body), self.now);
        }
        self.read_page();
        self.take_page();
    }

    /// Reads a page as the outbox stands now.
    fn read_page(&mut self) {
        if self.page.is_some() {
            return;
        }
        let Some(after) = self.lane.page_wanted() else { return };
        let owed = self.outbox.range(after + 1..).filter(|(_, (_, state, _))| *state == State::Owed);
        let rows: Vec<StoredRow> = owed
            .take(3)
            .map(|(seq, (event, _, attempts))| StoredRow {
                seq: *seq,
                event: event.clone(),
                body: (seq % 2 == 0).then(body),
                attempts: *attempts,
                due_in: Duration::from_millis(10 * u64::from(*attempts)),
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
        let delivered = self.outbox.values().filter(|(_, state, _)| *state == State::Delivered);
        self.recorded = delivered.map(|(event, ..)| event.position.commit_lsn.get()).collect();
        let settled = self.accepted.iter().copied().filter(|number| *number < persisted && !self.is_owed(*number));
        let settled: Vec<u64> = settled.collect();
        self.recorded.extend(settled);
        let from = Position::new(Lsn::new(persisted), 0);
        let replayed = || self.outbox.values().filter(|(event, ..)| event.position >= from);
        let replay = replayed().map(|(event, ..)| event.position).max();
        let resolved = replayed().filter(|(_, state, _)| *state != State::Owed);
        let resolved = resolved.map(|(event, ..)| event.id.clone()).collect();
        self.lane = Lane::resumed(LIMITS, replay, resolved);
    }

    fn is_owed(&self, number: u64) -> bool {
        let of_it = |(event, state, _): &(Event, State, u32)| {
            event.position.commit_lsn.get() == number && *state == State::Owed
        };
        self.outbox.values().any(of_it)
    }

    fn finish(&mut self) {
        for _ in 0..100_000 {
            self.arrive();
            self.now += Duration::from_millis(200);
            self.lane.spill_if_slow(self.now);
            self.launch();
            self.land(0, true);
            self.commit(usize::MAX);
            self.take_page();
            self.load();
            if self.next == self.log.len() as u64 && self.lane.is_idle() && self.flying.is_empty() {
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
    Commit(usize),
    Load,
    ReadPage,
    TakePage,
    Wait(u64),
    Press,
    Persist,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => Just(Step::Arrive),
        8 => Just(Step::Launch),
        8 => (any::<usize>(), prop::bool::weighted(0.6)).prop_map(|(which, accepts)| Step::Land { which, accepts }),
        6 => (1usize..8).prop_map(Step::Commit),
        4 => Just(Step::Load),
        4 => Just(Step::ReadPage),
        4 => Just(Step::TakePage),
        3 => Just(Step::Persist),
        3 => (1u64..2_000).prop_map(Step::Wait),
        1 => Just(Step::Press),
        1 => Just(Step::Crash),
    ]
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
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(log);
        for step in steps {
            match step {
                Step::Arrive => world.arrive(),
                Step::Launch => world.launch(),
                Step::Land { which, accepts } => world.land(which, accepts),
                Step::Commit(count) => world.commit(count),
                Step::Load => world.load(),
                Step::ReadPage => world.read_page(),
                Step::TakePage => world.take_page(),
                Step::Persist => world.persist(),
                Step::Wait(milliseconds) => {
                    world.now += Duration::from_millis(milliseconds);
                    world.lane.spill_if_slow(world.now);
                }
                Step::Press => world.lane.spill_if_pressed(world.now),
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
    assert!(world.lane.start(world.now).is_none());
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
    assert_eq!(blocker.event.id, "evt_0");
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

#[test]
fn a_window_full_of_failures_does_not_hold_the_log_back_until_the_next_attempt() {
    let mut world = World::new((0..10).map(row).collect());
    for _ in 0..LIMITS.window {
        world.arrive();
        world.launch();
        world.land(0, false);
    }
    world.commit(usize::MAX);
    assert!(!world.lane.accepts());
    assert!(world.lane.next_wake().is_some_and(|wake| wake <= world.now), "the lane sleeps until an attempt is due");
    world.lane.spill_if_slow(world.now);
    assert!(world.lane.accepts());
}
