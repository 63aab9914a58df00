//! What `status` says, as scripts read it.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::super::integrations::rfc3339;
use crate::catalog::health::SubscriptionHealth;
use crate::catalog::leases::Lease;

/// Everything that could be read. The fields' names are the JSON's.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) sources: Vec<SourceReport>,
    pub(super) subscriptions: Vec<SubscriptionReport>,
    pub(super) daemon: DaemonReport,
}

#[derive(Debug, Serialize)]
pub(super) struct SourceReport {
    pub(super) name: String,
    pub(super) slot: String,
    pub(super) state: SourceState,
    pub(super) reason: Option<String>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) retained_bytes: Option<u64>,
    /// How much log may still be written before the server gives the slot up; null without a limit.
    pub(super) safe_wal_bytes: Option<i64>,
    pub(super) wal_status: Option<String>,
    pub(super) checkpoint_lsn: Option<String>,
    pub(super) confirmed_lsn: Option<String>,
    /// What works, but not as well as it could.
    pub(super) warnings: Vec<Warning>,
    #[serde(skip)]
    pub(super) slot_lines: Vec<String>,
    #[serde(skip)]
    pub(super) hint: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Warning {
    pub(super) what: String,
    pub(super) remedy: String,
}

/// How a source fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceState {
    /// A live daemon reads.
    Streaming,
    /// A live daemon reads nothing more until there is room.
    Waiting,
    /// No daemon reads.
    Stopped,
    /// The slot can't be read from.
    Failed,
    /// `setup` was not run.
    NotSetUp,
    /// A database does not answer.
    Unreachable,
}

#[derive(Debug, Serialize)]
pub(super) struct SubscriptionReport {
    pub(super) opaque_id: String,
    #[serde(skip)]
    pub(super) url: String,
    pub(super) status: String,
    pub(super) pending: i64,
    pub(super) failed: i64,
    pub(super) last_success: Option<Moment>,
    pub(super) last_failure: Option<Moment>,
    pub(super) failing_since: Option<Moment>,
    /// Why it is paused or deactivated, and since when.
    pub(super) reason: Option<String>,
    pub(super) halted_at: Option<Moment>,
}

/// The last daemon that served; nothing but `alive` where none ever did.
#[derive(Debug, Default, Serialize)]
pub(super) struct DaemonReport {
    pub(super) alive: bool,
    pub(super) epoch: Option<i64>,
    pub(super) host: Option<String>,
    pub(super) pid: Option<i32>,
    pub(super) since: Option<Moment>,
}

/// A time: in full for scripts, by its age for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) SystemTime);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

impl Moment {
    /// How long ago, by the largest unit; the database's clock may be a little ahead of ours.
    pub(super) fn ago(self) -> String {
        let seconds = self.0.elapsed().unwrap_or_default().as_secs();
        match seconds {
            0..60 => format!("{seconds} s ago"),
            60..3_600 => format!("{} min ago", seconds / 60),
            3_600..86_400 => format!("{} h ago", seconds / 3_600),
            _ => format!("{} d ago", seconds / 86_400),
        }
    }
}

impl From<&SubscriptionHealth> for SubscriptionReport {
    fn from(health: &SubscriptionHealth) -> Self {
        Self {
            opaque_id: health.opaque_id.clone(),
            url: health.url.clone(),
            status: health.status.clone(),
            pending: health.pending,
            failed: health.failed,
            last_success: health.last_success.map(Moment),
            last_failure: health.last_failure.map(Moment),
            failing_since: health.failing_since.map(Moment),
            reason: health.halted_because.clone(),
            halted_at: health.halted_at.map(Moment),
        }
    }
}

impl DaemonReport {
    /// The newest daemon that lives, else the newest that did.
    pub(super) fn of(leases: &[Lease]) -> Self {
        let newest = |lease: &&Lease| (lease.live, lease.since);
        leases.iter().max_by_key(newest).map_or_else(Self::default, |lease| Self {
            alive: lease.live,
            epoch: Some(lease.epoch),
            host: Some(lease.host.clone()),
            pid: Some(lease.pid),
            since: Some(Moment(lease.since)),
        })
    }
}

impl SourceReport {
    /// Before anything is known.
    pub(super) fn new(name: &str, slot: &str) -> Self {
        Self {
            name: name.to_owned(),
            slot: slot.to_owned(),
            state: SourceState::Stopped,
            reason: None,
            lag_bytes: None,
            lag_seconds: None,
            retained_bytes: None,
            safe_wal_bytes: None,
            wal_status: None,
            checkpoint_lsn: None,
            confirmed_lsn: None,
            warnings: Vec::new(),
            slot_lines: Vec::new(),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_not_known_is_null_in_json() {
        let report = Report { sources: vec![], subscriptions: vec![], daemon: DaemonReport::default() };
        let json = serde_json::to_value(&report).unwrap();
        let daemon = serde_json::json!({"alive": false, "epoch": null, "host": null, "pid": null, "since": null});
        assert_eq!(json["daemon"], daemon);
    }

    #[test]
    fn a_time_is_whole_in_json_and_an_age_on_the_screen() {
        assert_eq!(serde_json::to_value(Moment(SystemTime::UNIX_EPOCH)).unwrap(), "1970-01-01T00:00:00.000000Z");
        let ago = |seconds| Moment(SystemTime::now() - Duration::from_secs(seconds)).ago();
        assert_eq!([ago(5), ago(60), ago(7_200), ago(200_000)], ["5 s ago", "1 min ago", "2 h ago", "2 d ago"]);
        assert_eq!(Moment(SystemTime::now() + Duration::from_secs(5)).ago(), "0 s ago");
    }

    #[test]
    fn a_daemon_that_lives_goes_before_one_that_is_newer_and_does_not() {
        let lease = |daemon: &str, live: bool, seconds: u64, pid: i32| Lease {
            source: daemon.to_owned(),
            daemon: daemon.to_owned(),
            epoch: 1,
            host: "h".to_owned(),
            pid,
            since: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
            live,
            revision: 1,
            caught_up_at: None,
            held_back: None,
            sealed_secrets: 0,
        };
        let report = DaemonReport::of(&[lease("a", true, 1, 10), lease("b", false, 2, 20)]);
        assert_eq!((report.alive, report.pid), (true, Some(10)));
        assert!(!DaemonReport::of(&[lease("b", false, 2, 20)]).alive);
    }
}
