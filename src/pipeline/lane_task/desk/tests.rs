use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;

use super::*;
use crate::checkpoint::{ResumePoint, Watermark};
use crate::deliver::{Arrival, BreakerPolicy, Failure, FailureKind, Limits, RetryPolicy};
use crate::model::{Body, Event, Lsn, Position, RowKeys, Scope, Subscription, SubscriptionId, SubscriptionState};

const LIMITS: Limits = Limits {
    concurrency: 1,
    window: 2,
    waiting: 2,
    parked_keys: 2,
    parked_for: Duration::ZERO,
    bytes: 1 << 20,
    patience: Duration::from_secs(1),
    settle_within: Duration::from_secs(5),
    retry: RetryPolicy {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(1),
        max_attempts: 2,
        give_up_after: Duration::from_secs(60),
    },
    breaker: BreakerPolicy { threshold: 2, base: Duration::from_secs(1), cap: Duration::from_secs(1) },
};

/// Of an endpoint that is well, and that so many changes of different rows are due to.
fn desk(changes: u64) -> Desk {
    let subscription = Subscription {
        id: 1,
        opaque_id: SubscriptionId::random(),
        scope: Scope::Organization("acme_corp".into()),
        url: "https://example.com/".into(),
        batching: None,
        secret: None,
        previous_secrets: Box::default(),
        state: SubscriptionState::Active,
        nonce: Box::default(),
        created_at: SystemTime::UNIX_EPOCH,
        starts: Box::default(),
    };
    let desk = Desk::new(Lane::new(LIMITS), LaneMeters::new(&subscription));
    let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(1)));
    for number in 0..changes {
        let position = Position::new(Lsn::new(2), number);
        let event = Event {
            id: format!("evt_{number}"),
            position,
            committed_at: SystemTime::UNIX_EPOCH,
            relation_oid: 1,
            keys: RowKeys::Rows(smallvec::smallvec![number]),
        };
        let body = Arc::new(Body::new(Bytes::from_static(b"{}"), ()));
        let arrival = Arrival { event: Arc::new(event), body, ticket: watermark.open(position, 1, 1) };
        assert_eq!(desk.open().lane.arrive(arrival, Instant::now()), None);
    }
    desk.open().trusted = true;
    desk
}

fn start(desk: &Desk) -> Request {
    desk.open().lane.start(Instant::now())
}

fn is_called(desk: &Desk) -> bool {
    desk.called().now_or_never().is_some()
}

#[test]
fn a_request_that_was_accepted_settles_its_change_and_takes_the_next_along() {
    let desk = desk(2);
    let first = start(&desk);
    let Next::Goes(settled, second) = desk.next(Landed::of(&first, Ok(())), true) else {
        panic!("there is a next one")
    };
    assert_eq!((settled.len(), second.len()), (1, 1));
    assert!(is_called(&desk), "the window was full, and has room now");
    let Next::Done(settled) = desk.next(Landed::of(&second, Ok(())), true) else { panic!("there is none any more") };
    assert_eq!(settled.len(), 1);
    assert!(desk.open().lane.is_idle() && !is_called(&desk));
}

#[test]
fn nothing_is_taken_along_while_the_subscription_changes_or_others_may_send() {
    for (is_changing, may_go_on) in [(true, true), (false, false)] {
        let desk = desk(2);
        desk.open().is_changing = is_changing;
        let first = start(&desk);
        let Next::Done(settled) = desk.next(Landed::of(&first, Ok(())), may_go_on) else {
            panic!("it lands, and no more")
        };
        let lane = &desk.open().lane;
        assert_eq!((settled.len(), lane.in_flight(), lane.pending()), (1, 0, 1));
    }
}

#[test]
fn a_failure_and_what_an_endpoint_in_doubt_accepts_are_left_to_the_lanes_task() {
    let failure = Failure { kind: FailureKind::Refused, reason: "500".into(), answer: None };
    for (trusted, outcome) in [(true, Err(failure)), (false, Ok(()))] {
        let desk = desk(2);
        desk.open().trusted = trusted;
        let first = start(&desk);
        let Next::Ended(landed) = desk.next(Landed::of(&first, outcome), true) else {
            panic!("it is left to the task")
        };
        assert_eq!((landed.notifications.len(), desk.open().lane.in_flight()), (1, 1));
    }
}
