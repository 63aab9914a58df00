use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::checkpoint::{ResumePoint, Watermark};
use crate::deliver::lane_fixtures::{LIMITS, body, event, row};
use crate::deliver::{Arrival, Failure, FailureKind, Limits};
use crate::model::{Lsn, Position, Scope, Subscription, SubscriptionId, SubscriptionState};

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
    let limits = Limits { concurrency: 1, window: 2, ..LIMITS };
    let desk = Desk::new(Lane::new(limits), LaneMeters::new(&subscription));
    let mut watermark = Watermark::new(ResumePoint::at(Lsn::new(1)));
    for number in 0..changes {
        let position = Position::new(Lsn::new(2), number);
        let (event, body) = (Arc::new(event(number, &row(number))), body());
        let arrival = Arrival { event, body, ticket: watermark.open(position, 1, 1) };
        assert_eq!(desk.open().lane.arrive(arrival, Instant::now()), None);
    }
    desk.open().trusted = true;
    desk
}

fn start(desk: &Desk) -> Request {
    desk.open().lane.start(Instant::now())
}

/// How many changes an accepted request settles, and what goes next.
fn next(desk: &Desk, request: &Request, may_go_on: bool) -> (usize, Request) {
    match desk.next(Landed::of(request, Ok(())), may_go_on) {
        Outcome::Accepted(tickets, next) => (tickets.len(), next),
        Outcome::Ended(_) => panic!("it was accepted"),
    }
}

fn is_called(desk: &Desk) -> bool {
    desk.called().now_or_never().is_some()
}

#[test]
fn a_request_that_was_accepted_settles_its_change_and_takes_the_next_along() {
    let desk = desk(2);
    let first = start(&desk);
    let (settled, second) = next(&desk, &first, true);
    assert_eq!((settled, second.len()), (1, 1));
    assert!(is_called(&desk), "the window was full, and has room now");
    let (settled, third) = next(&desk, &second, true);
    assert_eq!((settled, third.len()), (1, 0));
    assert!(desk.open().lane.is_idle() && !is_called(&desk));
}

#[test]
fn nothing_is_taken_along_while_the_subscription_changes_or_others_may_send() {
    for (is_closed, may_go_on) in [(true, true), (false, false)] {
        let desk = desk(2);
        desk.open().is_closed = is_closed;
        let first = start(&desk);
        let (settled, second) = next(&desk, &first, may_go_on);
        let lane = &desk.open().lane;
        assert_eq!((settled, second.len(), lane.in_flight(), lane.pending()), (1, 0, 0, 1));
    }
}

#[test]
fn a_failure_and_what_an_endpoint_in_doubt_accepts_are_left_to_the_lanes_task() {
    for (trusted, outcome) in [(true, Err(refused())), (false, Ok(()))] {
        let desk = desk(2);
        desk.open().trusted = trusted;
        let first = start(&desk);
        let outcome = desk.next(Landed::of(&first, outcome), true);
        assert!(matches!(&outcome, Outcome::Ended(landed) if landed.notifications.len() == 1));
        assert_eq!(desk.open().lane.in_flight(), 1);
    }
}

#[test]
fn the_task_is_called_for_what_is_to_be_written_and_not_while_it_writes() {
    let setback =
        Setback { record: refused().record(0, SystemTime::UNIX_EPOCH, Duration::ZERO), asked: None, too_large: false };
    for is_writing in [false, true] {
        let desk = desk(4);
        let first = start(&desk);
        let finished = desk.open().failed(&Landed::of(&first, Err(refused())), &setback, Instant::now());
        assert!(matches!(finished[..], [Finished::Retry { .. }]));
        desk.open().is_writing = is_writing;
        let second = start(&desk);
        let (settled, third) = next(&desk, &second, true);
        assert_eq!((settled, third.len(), is_called(&desk)), (1, 1, !is_writing));
    }
}

fn refused() -> Failure {
    Failure { kind: FailureKind::Refused, reason: "500".into(), answer: None }
}
