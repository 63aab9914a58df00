//! Each rule finds what it is there for, in a run that is otherwise well: two changes of one row, both accepted.

use bytes::Bytes;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use super::super::history::{Change, content};
use super::super::log::Request;
use super::super::samples::Sample;
use super::super::tables::{ALL, CHARGES};
use super::*;

const DURATION: Duration = Duration::from_secs(60);

/// Longer than a request may be on its way.
const LATER: Duration = Duration::from_secs(2);

struct Run {
    plan: Plan,
    history: History,
    log: Log,
    promise: Promise,
    samples: Samples,
    deaths: Vec<(Instant, Instant)>,
}

fn change_id(number: u64) -> ChangeId {
    ChangeId { xid: number, index: 0 }
}

fn lsn(number: u64) -> u64 {
    100 * number
}

impl Run {
    /// Committed, and promised from the first change on; nothing was sent yet.
    fn committed() -> Self {
        let change = |number: u64| Change {
            id: change_id(number),
            table: CHARGES,
            content: content("UPDATE", ALL[CHARGES].table.name, &json!("ch_1"), &json!({"amount": number})),
            after: (1..number).map(|_| 0).collect(),
        };
        Self {
            plan: Plan::new(1, DURATION),
            history: History { changes: vec![change(1), change(2)], transactions: 2 },
            log: Log::new(8),
            promise: Promise { endpoint: 0, id: None, from: 0, complete_from: Some(0), deletion: None },
            samples: Samples::default(),
            deaths: Vec::new(),
        }
    }

    fn delivered() -> Self {
        let mut run = Self::committed();
        run.sends(1, 1, true);
        run.sends(2, 1, true);
        run
    }

    fn sends(&mut self, number: u64, attempt: u32, accepted: bool) {
        self.sends_as(number, number, attempt, accepted, false);
    }

    /// Behind others in one request.
    fn sends_along(&mut self, number: u64, attempt: u32, accepted: bool) {
        self.sends_as(number, number, attempt, accepted, true);
    }

    /// A request about the change of this number, with this amount in it.
    fn sends_as(&mut self, number: u64, amount: u64, attempt: u32, accepted: bool, goes_along: bool) {
        let body = json!({
            "type": "row.updated",
            "table_name": ALL[CHARGES].table.name,
            "external_id": "ch_1",
            "row": {"amount": amount},
            "source": {"lsn": format!("0/{:X}", lsn(number)), "index": 0, "xid": number},
        });
        let body = Bytes::from(body.to_string());
        self.log.record(Request {
            endpoint: 0,
            id: &format!("msg_{number}"),
            goes_along,
            attempt: Some(attempt),
            hash: xxh3_64(&body),
            body: &body,
            signed: Ok(()),
            accepted,
            heard: true,
        });
    }

    fn looks(&mut self, confirmed: u64, stored: &[&str]) {
        let sample = Sample { at: Instant::now(), confirmed, clock: self.log.clock };
        self.samples.add(sample, &stored.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    fn findings(&self) -> Findings {
        let evidence = Evidence {
            plan: &self.plan,
            history: &self.history,
            log: &self.log,
            promises: std::slice::from_ref(&self.promise),
            samples: &self.samples,
            deaths: &self.deaths,
        };
        evidence.judge()
    }

    /// Exactly one finding, of this kind.
    fn is_found(&self, kind: &str) {
        let found = self.findings().all();
        assert!(found.len() == 1 && found[0].starts_with(kind), "{kind}: {found:#?}");
    }

    fn is_well(&self) {
        assert_eq!(self.findings().all(), Vec::<String>::new());
    }
}

#[test]
fn a_run_in_which_all_is_well_has_no_findings() {
    let mut run = Run::committed();
    run.sends(1, 1, false);
    run.looks(lsn(1) + 1, &["msg_1"]);
    run.sends(1, 2, true);
    run.sends(2, 1, true);
    run.looks(lsn(2) + 1, &[]);
    run.is_well();
}

#[test]
fn what_goes_along_behind_the_change_before_it_is_in_order_once_both_are_accepted() {
    let mut run = Run::committed();
    run.sends(1, 1, false);
    run.sends_along(2, 1, false);
    run.sends(1, 2, true);
    run.sends_along(2, 2, true);
    run.is_well();
    let mut run = Run::committed();
    run.sends_along(2, 1, true);
    run.sends(1, 1, true);
    run.is_found("out of order");
}

#[test]
fn what_never_came_or_was_never_accepted_is_lost() {
    let mut run = Run::committed();
    run.sends(1, 1, true);
    run.is_found("lost");
    run.sends(2, 1, false);
    run.is_found("lost");
}

#[test]
fn what_comes_before_an_earlier_change_of_its_row_is_accepted_is_out_of_order() {
    let mut run = Run::committed();
    run.sends(2, 1, true);
    run.sends(1, 1, true);
    run.is_found("out of order");
}

#[test]
fn what_comes_again_although_its_answer_was_heard_is_repeated_unless_a_daemon_died_in_between() {
    let mut run = Run::delivered();
    run.sends(2, 1, true);
    run.is_found("repeated");
    run.deaths.push((Instant::now(), Instant::now()));
    run.is_found("repeated");
    let accepted = &run.log.seen[0]["msg_2"].accepted;
    run.deaths = vec![(accepted[0].at, accepted[1].at)];
    run.is_well();
}

#[test]
fn what_went_along_in_a_request_that_failed_for_the_daemon_may_come_again() {
    let mut run = Run::committed();
    run.sends(1, 1, true);
    run.sends_along(2, 1, true);
    run.sends(2, 1, true);
    run.is_found("repeated");
    run.sends(1, 2, true);
    run.is_well();
    run.sends(2, 1, true);
    run.is_found("repeated");
}

#[test]
fn what_went_along_in_a_refused_request_alone_until_its_subscription_was_deleted_is_in_order() {
    let mut run = Run::committed();
    run.sends(1, 1, false);
    run.sends_along(2, 1, false);
    run.promise.deletion = Some((Instant::now(), Instant::now()));
    run.is_well();
    run.sends(2, 1, false);
    run.is_found("out of order");
}

#[test]
fn what_comes_after_its_subscription_was_deleted_is_wrong_unless_a_daemon_was_dying() {
    let mut run = Run::delivered();
    let done = Instant::now().checked_sub(LATER).expect("later than the start of the machine's clock");
    run.promise.deletion = Some((done, done));
    let late = run.findings().all();
    assert!(late.len() == 2 && late.iter().all(|found| found.contains("was deleted")), "{late:#?}");
    run.deaths.push((done, done));
    run.is_well();
    run.deaths.clear();
    run.promise.deletion = Some((Instant::now(), Instant::now()));
    run.is_well();
}

#[test]
fn what_the_slot_passed_before_it_was_accepted_or_stored_is_found() {
    let mut run = Run::committed();
    run.sends(1, 1, true);
    run.looks(lsn(2) + 1, &[]);
    run.sends(2, 1, true);
    run.is_found("passed");
}

#[test]
fn what_was_not_due_not_committed_or_told_otherwise_is_wrong() {
    let mut run = Run::delivered();
    run.promise.from = lsn(1) + 1;
    run.promise.complete_from = Some(run.promise.from);
    run.is_found("wrong");
    let mut run = Run::committed();
    run.sends(1, 1, true);
    run.sends_as(2, 7, 1, true, false);
    run.is_found("wrong");
    let mut run = Run::delivered();
    run.sends(3, 1, true);
    run.is_found("wrong");
    let mut run = Run::delivered();
    run.deaths.push((run.log.seen[0]["msg_2"].last_at, Instant::now() + DURATION));
    run.sends_as(2, 7, 2, true, false);
    assert!(run.findings().all().iter().any(|found| found.contains("another body") || found.contains("two bodies")));
}
