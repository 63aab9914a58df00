//! How a walsender that wants to shut down looks from here: it asks for a reply, gets it, and asks at once again.

use std::time::{Duration, Instant};

use crate::model::Lsn;

/// So many requests at one position, each after the one before was answered...
const REQUESTS: u32 = 3;
/// ... within this time. An idle server with a short `wal_sender_timeout` asks at most twice in it.
const WITHIN: Duration = Duration::from_secs(1);

/// Watches the server's requests for a reply.
///
/// A server in a fast shutdown waits until its walsender's client has confirmed everything, which may take us as long as
/// the slowest endpoint. It cannot say so: this is all that it shows.
#[derive(Debug, Default)]
pub(super) struct ShutdownSigns {
    streak: Option<Streak>,
}

#[derive(Debug)]
struct Streak {
    wal_end: Lsn,
    since: Instant,
    requests: u32,
}

impl ShutdownSigns {
    /// Takes note of a request for a reply, and says whether the server is shutting down. `answered`: whether every request
    /// before it had been answered; those that had waited unread are no sign.
    pub(super) fn observe(&mut self, wal_end: Lsn, answered: bool, now: Instant) -> bool {
        match &mut self.streak {
            Some(streak) if answered && streak.wal_end == wal_end && now.duration_since(streak.since) < WITHIN => {
                streak.requests += 1;
                streak.requests >= REQUESTS
            }
            _ => {
                self.streak = Some(Streak { wal_end, since: now, requests: 1 });
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(requests: &[(u64, u64, bool)]) -> Vec<bool> {
        let (start, mut signs) = (Instant::now(), ShutdownSigns::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        requests.iter().map(|(ms, lsn, answered)| signs.observe(Lsn::new(*lsn), *answered, at(*ms))).collect()
    }

    #[test]
    fn three_answered_requests_at_one_position_within_a_second() {
        assert_eq!(observe(&[(0, 7, true), (1, 7, true), (2, 7, true)]), [false, false, true]);
    }

    #[test]
    fn what_an_idle_or_slow_connection_shows_is_no_sign() {
        let none = [false; 3];
        assert_eq!(observe(&[(0, 7, true), (500, 7, true), (1000, 7, true)]), none, "idling at a short timeout");
        assert_eq!(observe(&[(0, 7, true), (1, 8, true), (2, 9, true)]), none, "the log moves on");
        assert_eq!(observe(&[(0, 7, true), (1, 7, false), (2, 7, false)]), none, "requests that had waited unread");
    }
}
