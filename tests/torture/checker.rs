//! Holds what was promised against what came. It knows the source's history, the log of the endpoints and the looks at
//! slot and outbox, and nothing of how the daemon works.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::history::History;
use super::log::{ChangeId, Log, Seen};
use super::plan::{Plan, Scope};
use super::samples::Samples;
use super::subscriptions::Promise;

/// A request that was on its way when a deletion was confirmed, or a process died, may be read so much later.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What was found, each with what it takes to find the cause.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) lost: Vec<String>,
    pub(super) out_of_order: Vec<String>,
    pub(super) repeated: Vec<String>,
    pub(super) passed: Vec<String>,
    pub(super) other: Vec<String>,
    /// Accepted, each counted once.
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    pub(super) requests: u64,
}

/// What the check is made on.
pub(super) struct Evidence<'a> {
    pub(super) plan: &'a Plan,
    pub(super) history: &'a History,
    pub(super) log: &'a Log,
    pub(super) promises: &'a [Promise],
    pub(super) samples: &'a Samples,
    pub(super) deaths: &'a [(Instant, Instant)],
}

impl Findings {
    /// Everything in one list, with its kind.
    pub(super) fn all(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("out of order", &self.out_of_order),
            ("repeated", &self.repeated),
            ("passed by the slot", &self.passed),
            ("wrong", &self.other),
        ];
        kinds.iter().flat_map(|(kind, found)| found.iter().map(move |what| format!("{kind}: {what}"))).collect()
    }
}

impl Evidence<'_> {
    pub(super) fn judge(&self) -> Findings {
        let mut findings = Findings::default();
        findings.other.extend(self.log.wrong.iter().cloned());
        self.contents(&mut findings);
        for promise in self.promises {
            Subscription::new(self, promise, &mut findings).judge(&mut findings);
        }
        findings
    }

    /// What was told is what was committed.
    fn contents(&self, findings: &mut Findings) {
        let places = self.history.places();
        for (id, told) in &self.log.told {
            match places.get(id).map(|place| &self.history.changes[*place].content) {
                None => findings.other.push(format!("{id:?} was never committed: {}", told.content)),
                Some(content) if *content != told.content => {
                    findings.other.push(format!("{id:?} was {content}, and was told as {}", told.content));
                }
                Some(_) => {}
            }
        }
    }

    fn died_between(&self, earlier: Instant, later: Instant) -> bool {
        self.deaths.iter().any(|(began, ended)| earlier <= *ended + ON_ITS_WAY && later >= *began)
    }
}

struct Subscription<'a> {
    evidence: &'a Evidence<'a>,
    promise: &'a Promise,
    /// By change: the `webhook-id`, and what came under it.
    seen: HashMap<ChangeId, (&'a str, &'a Seen)>,
    /// Accepted requests of which something was then tried again: they failed for the daemon, with all that they carried.
    tried_again: HashSet<u64>,
}

impl<'a> Subscription<'a> {
    fn new(evidence: &'a Evidence<'a>, promise: &'a Promise, findings: &mut Findings) -> Self {
        let mut seen = HashMap::new();
        for (id, requests) in &evidence.log.seen[promise.endpoint] {
            let id: &str = id;
            findings.requests += requests.requests;
            if let Some((other, _)) = seen.insert(requests.change, (id, requests)) {
                findings.other.push(format!("{:?} came as {id} and as {other}", requests.change));
            }
        }
        let acceptances = evidence.log.seen[promise.endpoint].values().flat_map(|seen| seen.accepted.windows(2));
        let tried_again = acceptances.filter(|pair| pair[1].attempt > pair[0].attempt).map(|pair| pair[0].request);
        Self { evidence, promise, seen, tried_again: tried_again.collect() }
    }

    fn judge(&self, findings: &mut Findings) {
        for (place, change) in self.evidence.history.changes.iter().enumerate() {
            let told = self.evidence.log.told.get(&change.id);
            // Where nobody heard of a change, those that were there all the time miss it.
            let lsn = told.map_or(u64::MAX, |told| told.lsn);
            match self.seen.get(&change.id) {
                Some((id, seen)) => {
                    if !self.covers(change.table) || lsn < self.promise.from {
                        findings.other.push(format!("{} was not due: {id}", self.about(place)));
                    }
                    self.order(place, id, seen, findings);
                    self.repetitions(id, seen, findings);
                    self.settled(place, id, seen, lsn, findings);
                    if seen.accepted.is_empty() && self.is_due(change.table, lsn) && self.promise.deletion.is_none() {
                        findings.lost.push(format!("{} came as {id} and was never accepted", self.about(place)));
                    }
                }
                None if self.is_due(change.table, lsn) && self.promise.deletion.is_none() => {
                    findings.lost.push(self.about(place));
                }
                None => {}
            }
        }
        self.after_deletion(findings);
    }

    fn covers(&self, table: usize) -> bool {
        match self.evidence.plan.scope(self.promise.endpoint) {
            Scope::Organization => true,
            Scope::Integration(own) => own == table,
        }
    }

    fn is_due(&self, table: usize, lsn: u64) -> bool {
        let permanent = self.promise.endpoint < super::plan::PERMANENT.len();
        let known = lsn != u64::MAX || permanent;
        self.covers(table) && known && self.promise.complete_from.is_some_and(|from| lsn >= from)
    }

    /// No request before every earlier change of the same row was accepted.
    fn order(&self, place: usize, id: &str, seen: &Seen, findings: &mut Findings) {
        let changes = &self.evidence.history.changes;
        for before in &changes[place].after {
            let earlier = &changes[*before];
            let lsn = self.evidence.log.told.get(&earlier.id).map_or(u64::MAX, |told| told.lsn);
            let accepted = self.seen.get(&earlier.id).and_then(|(_, seen)| seen.accepted.first());
            let was_due = self.is_due(earlier.table, lsn);
            // It may have come along behind that one alone, in a request that was refused.
            let came_by_itself = seen.first_request != u64::MAX;
            if accepted.is_some_and(|accepted| accepted.number > seen.first_request)
                || (accepted.is_none() && was_due && came_by_itself)
            {
                let when = accepted.map(|accepted| accepted.number);
                findings.out_of_order.push(format!(
                    "{} came as {id}, request {} at {}, before {} was accepted ({when:?})",
                    self.about(place),
                    seen.first_request,
                    humantime::format_rfc3339_micros(seen.first_at),
                    self.about(*before)
                ));
            }
        }
    }

    /// Only what was not heard, or could not be recorded before a death, comes again.
    fn repetitions(&self, id: &str, seen: &Seen, findings: &mut Findings) {
        findings.accepted += u64::from(!seen.accepted.is_empty());
        findings.duplicates += seen.accepted.len().saturating_sub(1) as u64;
        for pair in seen.accepted.windows(2) {
            let (earlier, later) = (pair[0], pair[1]);
            let was_tried_again = self.tried_again.contains(&earlier.request);
            if earlier.heard && !was_tried_again && !self.evidence.died_between(earlier.at, later.at) {
                findings.repeated.push(format!(
                    "{id} to endpoint {}: attempt {:?} was accepted as request {} and, {:?} later, attempt {:?} as {}",
                    self.promise.endpoint,
                    earlier.attempt,
                    earlier.number,
                    later.at - earlier.at,
                    later.attempt,
                    later.number
                ));
            }
        }
    }

    /// At each look, what the slot had passed was accepted or in the outbox.
    fn settled(&self, place: usize, id: &str, seen: &Seen, lsn: u64, findings: &mut Findings) {
        let change = &self.evidence.history.changes[place];
        if !self.is_due(change.table, lsn) {
            return;
        }
        let accepted = seen.accepted.first().map(|accepted| accepted.number);
        let asked = self.promise.deletion.map(|(asked, _)| asked);
        if let Some(sample) = self.evidence.samples.passed(id, lsn, accepted, asked) {
            findings.passed.push(format!("{} ({id}), accepted as {accepted:?}: {sample:X?}", self.about(place)));
        }
    }

    fn after_deletion(&self, findings: &mut Findings) {
        let Some((_, done)) = self.promise.deletion else { return };
        for (id, seen) in self.seen.values() {
            if seen.last_at > done + ON_ITS_WAY && !self.evidence.died_between(done, done) {
                findings.other.push(format!(
                    "{id} came to endpoint {}, {:?} after its subscription was deleted",
                    self.promise.endpoint,
                    seen.last_at - done
                ));
            }
        }
    }

    fn about(&self, place: usize) -> String {
        let change = &self.evidence.history.changes[place];
        let lsn = self.evidence.log.told.get(&change.id).map(|told| told.lsn);
        let ChangeId { xid, index } = change.id;
        let endpoint = self.promise.endpoint;
        format!("endpoint {endpoint}, transaction {xid}, change {index}, LSN {lsn:X?} [{}]", change.content)
    }
}

#[cfg(test)]
mod tests;
