//! When to stop sending to an endpoint that fails whatever it is sent, and how to find out that it is well again. Pure.

use std::collections::HashSet;
use std::time::{Duration, Instant};

/// When a breaker opens, and how often it probes then.
#[derive(Clone, Copy, Debug)]
pub struct BreakerPolicy {
    /// So many different notifications fail, with no success between, and the breaker opens. One row that is rejected for good
    /// never opens it.
    pub threshold: usize,
    /// The wait before the first probe; each that fails doubles it.
    pub base: Duration,
    /// The longest wait between two probes.
    pub cap: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Attempts are made. Entered at the start and with each success.
    Closed,
    /// Only a probe may be sent, not before its time. Entered when too much has failed, when the endpoint asked for time, and
    /// when a probe has failed.
    Open { probe_at: Instant, wait: Duration },
    /// The answer to a probe is waited for. Entered when it is sent.
    Probing { wait: Duration },
}

/// Judges an endpoint by what became of its attempts.
#[derive(Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// The ids of the changes that failed since the last success, until there are enough of them.
    failing: HashSet<String>,
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed, failing: HashSet::new() }
    }

    /// From now on it judges by this; a probe that is due stays so.
    pub(super) const fn judge_by(&mut self, policy: BreakerPolicy) {
        self.policy = policy;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// When the next probe may be sent, where one is needed and none is under way.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Open { probe_at, .. } => Some(probe_at),
            State::Closed | State::Probing { .. } => None,
        }
    }

    /// The endpoint accepted something. True where that closes the breaker.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failing.clear();
        let was_open = !self.is_closed();
        self.state = State::Closed;
        was_open
    }

    /// An attempt failed; the endpoint may have asked to be left alone for `asked`. True where that opens the breaker.
    pub(super) fn failed(&mut self, event_id: &str, asked: Option<Duration>, now: Instant) -> bool {
        if !self.is_closed() {
            return false;
        }
        self.failing.insert(event_id.to_owned());
        let opens = asked.is_some() || self.failing.len() >= self.policy.threshold;
        if opens {
            let wait = self.policy.base;
            self.state = State::Open { probe_at: now + asked.unwrap_or(wait), wait };
            self.failing.clear();
        }
        opens
    }

    pub(super) fn probe_sent(&mut self) {
        if let State::Open { wait, .. } = self.state {
            self.state = State::Probing { wait };
        }
    }

    pub(super) fn probe_failed(&mut self, asked: Option<Duration>, now: Instant) {
        if let State::Probing { wait } = self.state {
            let wait = (wait * 2).min(self.policy.cap);
            self.state = State::Open { probe_at: now + asked.unwrap_or(wait), wait };
        }
    }

    /// A probe was called off before it was sent.
    pub(super) fn probe_called_off(&mut self, now: Instant) {
        if let State::Probing { wait } = self.state {
            self.state = State::Open { probe_at: now, wait };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { threshold: 3, base: Duration::from_secs(1), cap: Duration::from_secs(4) };

    #[test]
    fn it_opens_after_failures_of_different_notifications_with_no_success_between() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        assert!(!breaker.failed("a", None, now) && !breaker.failed("b", None, now));
        assert!(!breaker.succeeded());
        assert!(!breaker.failed("a", None, now) && !breaker.failed("b", None, now));
        assert!(!breaker.failed("a", None, now), "the same row again is no news of the endpoint");
        assert!(breaker.failed("c", None, now));
        assert_eq!(breaker.probe_at(), Some(now + POLICY.base));
        assert!(!breaker.failed("d", None, now), "what was under way changes nothing");
    }

    #[test]
    fn one_probe_at_a_time_ever_more_seldom_until_one_succeeds() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        let opens = ["a", "b", "c"].map(|id| breaker.failed(id, None, now));
        assert_eq!(opens, [false, false, true]);
        for seconds in [2, 4, 4] {
            breaker.probe_sent();
            assert_eq!(breaker.probe_at(), None);
            breaker.probe_failed(None, now);
            assert_eq!(breaker.probe_at(), Some(now + Duration::from_secs(seconds)));
        }
        breaker.probe_sent();
        assert!(breaker.succeeded() && breaker.is_closed());
    }

    #[test]
    fn an_endpoint_that_asks_for_time_gets_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        assert!(breaker.failed("a", Some(Duration::from_secs(60)), now));
        assert_eq!(breaker.probe_at(), Some(now + Duration::from_secs(60)));
        breaker.probe_sent();
        breaker.probe_failed(Some(Duration::from_secs(30)), now);
        assert_eq!(breaker.probe_at(), Some(now + Duration::from_secs(30)));
    }
}
