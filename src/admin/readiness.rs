//! Whether the daemon streams, and if not, why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytesize::ByteSize;
use metrics::{Gauge, gauge};
use serde::Serialize;
use tokio::sync::watch;

use super::metrics::SOURCE_STATE;

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum SourceState {
    /// Not connected for the first time yet. Entered at the start.
    Starting {
        /// What is waited for.
        reason: String,
    },
    /// Changes are read. Entered when the slot is taken.
    Streaming,
    /// Something that passes by itself stands in the way: another daemon, a server that is not reached.
    Waiting {
        /// The kind of thing, as metrics name it.
        #[serde(skip)]
        label: &'static str,
        /// What it is.
        reason: String,
        /// What could be done about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Something that does not pass by itself stands in the way; it is tried again nevertheless.
    Failed {
        /// The kind of thing, as metrics name it.
        #[serde(skip)]
        label: &'static str,
        /// What it is.
        reason: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl Default for SourceState {
    fn default() -> Self {
        Self::Starting { reason: "not connected to Postgres yet".into() }
    }
}

impl SourceState {
    const fn rank(&self) -> u8 {
        match self {
            Self::Streaming => 0,
            Self::Starting { .. } => 1,
            Self::Waiting { .. } => 2,
            Self::Failed { .. } => 3,
        }
    }

    const fn reason_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Streaming => None,
            Self::Starting { reason } | Self::Waiting { reason, .. } | Self::Failed { reason, .. } => Some(reason),
        }
    }

    /// The state and its reason, as metrics name them.
    const fn labels(&self) -> Labels {
        match self {
            Self::Starting { .. } => ("starting", ""),
            Self::Streaming => ("streaming", ""),
            Self::Waiting { label, .. } => ("waiting", label),
            Self::Failed { label, .. } => ("failed", label),
        }
    }

    /// Whether there is nothing more that a start could bring: it streams, or stands by.
    fn is_in_place(&self) -> bool {
        matches!(self, Self::Streaming | Self::Waiting { label: SLOT_IN_USE, .. })
    }

    fn summary(&self, lag: Option<&Lag>) -> String {
        match (self, lag) {
            (Self::Streaming, Some(Lag { bytes, time })) => {
                format!("streaming, lag {} and {:.1} s", ByteSize::b(*bytes), time.as_secs_f64())
            }
            (Self::Streaming, None) => "streaming".into(),
            (Self::Starting { reason }, _) => format!("starting: {reason}"),
            (Self::Waiting { label: SLOT_IN_USE, reason, .. }, _) => format!("standing by: {reason}"),
            (Self::Waiting { reason, .. }, _) => format!("waiting: {reason}"),
            (Self::Failed { reason, .. }, _) => format!("failed: {reason}"),
        }
    }
}

/// A state and its reason, as the metric has them.
type Labels = (&'static str, &'static str);

fn gauge_of(source_name: &str, (state, reason): Labels) -> Gauge {
    gauge!(SOURCE_STATE, "source" => source_name.to_owned(), "state" => state, "reason" => reason)
}

/// The kind of wait that is a standby's: another daemon reads from the slot.
pub const SLOT_IN_USE: &str = "slot_in_use";

/// How far the reading of a source is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of log.
    pub bytes: u64,
    /// Since when the log has not been read to its end.
    pub time: Duration,
}

/// What helps where one subscription holds back a source.
pub const HELD_BACK_HINT: &str =
    "mend the endpoint, delete the notification, or raise [delivery] max_pending; the log grows until then";

/// The state of every source, shared by all that set it and all that show it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    sources: Arc<Mutex<Sources>>,
    changes: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Sources {
    states: BTreeMap<String, SourceState>,
    /// Whether the stream of any of them was ever opened.
    opened: bool,
    /// Why nothing is read from a source that streams, by who holds it back.
    held_back: BTreeMap<(String, String), String>,
    /// What the metric says of each.
    shown: BTreeMap<String, Labels>,
    lag: BTreeMap<String, Lag>,
}

impl Sources {
    fn held_back(&self, name: &str) -> Option<String> {
        self.held_back.iter().find(|((source, _), _)| source == name).map(|(_, reason)| reason.clone())
    }

    /// Brings the metric of a source up to its state.
    fn show(&mut self, name: &str) {
        let Some(state) = self.states.get(name) else { return };
        let labels = self.with_hold(name, state).labels();
        gauge_of(name, labels).set(1.0);
        let before = self.shown.insert(name.to_owned(), labels).filter(|before| *before != labels);
        if let Some(before) = before {
            gauge_of(name, before).set(0.0);
        }
    }

    /// A source that streams, but is held back, waits.
    fn with_hold(&self, name: &str, state: &SourceState) -> SourceState {
        match self.held_back(name) {
            Some(reason) if *state == SourceState::Streaming => {
                SourceState::Waiting { label: "held_back", reason, hint: Some(HELD_BACK_HINT.into()) }
            }
            _ => state.clone(),
        }
    }
}

impl Readiness {
    /// Sets the state of a source.
    pub fn set(&self, source_name: &str, state: SourceState) {
        let mut sources = self.sources();
        sources.states.insert(source_name.to_owned(), state);
        sources.show(source_name);
        drop(sources);
        self.changes.send_replace(());
    }

    /// Sets how far a source is behind.
    pub fn set_lag(&self, source_name: &str, lag: Lag) {
        if self.sources().lag.insert(source_name.to_owned(), lag) != Some(lag) {
            self.changes.send_replace(());
        }
    }

    /// Whatever changes is told.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether the start is over: each source has been tried, and one of them at least streams, or stands by for the daemon that
    /// serves it. A source that cannot be served does not hold up the others' start.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        let sources = self.sources();
        let is_tried = |state: &SourceState| !matches!(state, SourceState::Starting { .. });
        sources.states.values().all(is_tried) && sources.states.values().any(SourceState::is_in_place)
    }

    /// One line for people: how each source is.
    #[must_use]
    pub fn summary(&self) -> String {
        let sources = self.sources();
        let of = |(name, state): (&String, &SourceState)| {
            let state = sources.with_hold(name, state).summary(sources.lag.get(name));
            if sources.states.len() > 1 { format!("{name}: {state}") } else { state }
        };
        sources.states.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// Why nothing is read from a source, where somebody holds it back.
    #[must_use]
    pub fn held_back(&self, source_name: &str) -> Option<String> {
        self.sources().held_back(source_name)
    }

    /// A stream was opened, be it for a moment.
    pub fn stream_opened(&self) {
        self.sources().opened = true;
    }

    /// Whether no stream was ever opened, and in the way of each source stands something that does not pass by itself.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        let sources = self.sources();
        !sources.opened && sources.states.values().all(|state| matches!(state, SourceState::Failed { .. }))
    }

    /// Says that `who` holds back the reading of a source, and why, or that it does no more.
    pub fn hold_back(&self, source_name: &str, who: &str, reason: Option<String>) {
        let key = (source_name.to_owned(), who.to_owned());
        let mut sources = self.sources();
        match reason {
            Some(reason) => sources.held_back.insert(key, reason),
            None => sources.held_back.remove(&key),
        };
        sources.show(source_name);
        drop(sources);
        self.changes.send_replace(());
    }

    /// The state of the whole: the worst of its sources. Of several sources it tells the reason of each that does not stream.
    #[must_use]
    pub fn overall(&self) -> SourceState {
        let sources = self.sources();
        let states: Vec<(&str, SourceState)> =
            sources.states.iter().map(|(name, state)| (name.as_str(), sources.with_hold(name, state))).collect();
        let Some((_, mut worst)) = states.iter().max_by_key(|(_, state)| state.rank()).cloned() else {
            return SourceState::default();
        };
        if let (Some(reason), 2..) = (worst.reason_mut(), states.len()) {
            let mut reasons = Vec::new();
            for (name, mut state) in states {
                reasons.extend(state.reason_mut().map(|reason| format!("source {name}: {reason}")));
            }
            *reason = reasons.join("; ");
        }
        worst
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: &str) -> SourceState {
        SourceState::Failed { label: "slot_missing", reason: reason.into(), hint: Some("mend it".into()) }
    }

    #[test]
    fn one_source_tells_its_own_reason() {
        let readiness = Readiness::default();
        assert!(matches!(readiness.overall(), SourceState::Starting { .. }));
        readiness.set("a", SourceState::Waiting { label: "slot_in_use", reason: "held".into(), hint: None });
        let json = serde_json::to_value(readiness.overall()).unwrap();
        assert_eq!(json, serde_json::json!({"status": "waiting", "reason": "held"}));
        readiness.set("a", SourceState::Streaming);
        assert_eq!(readiness.overall(), SourceState::Streaming);
        readiness.hold_back("a", "54ca14e3c55e", Some("full".into()));
        assert!(matches!(readiness.overall(), SourceState::Waiting { reason, .. } if reason == "full"));
        readiness.hold_back("a", "54ca14e3c55e", None);
        assert_eq!(readiness.overall(), SourceState::Streaming);
    }

    #[test]
    fn of_several_the_worst_decides_and_each_that_does_not_stream_is_named() {
        let readiness = Readiness::default();
        for (name, state) in [("a", SourceState::Streaming), ("b", failed("no slot")), ("c", SourceState::default())] {
            readiness.set(name, state);
        }
        let json = serde_json::to_value(readiness.overall()).unwrap();
        let reason = "source b: no slot; source c: not connected to Postgres yet";
        assert_eq!(json, serde_json::json!({"status": "failed", "reason": reason, "hint": "mend it"}));
        readiness.set("b", SourceState::Streaming);
        readiness.set("c", SourceState::Streaming);
        assert_eq!(readiness.overall(), SourceState::Streaming);
    }

    #[test]
    fn a_start_is_over_when_every_source_was_tried_and_one_is_in_its_place() {
        let readiness = Readiness::default();
        let waiting = |label| SourceState::Waiting { label, reason: "not now".into(), hint: None };
        for (a, b, begun) in [
            (SourceState::default(), SourceState::Streaming, false),
            (waiting("unreachable"), waiting("unreachable"), false),
            (waiting("unreachable"), failed("no slot"), false),
            (waiting("unreachable"), SourceState::Streaming, true),
            (failed("no slot"), waiting(SLOT_IN_USE), true),
            (SourceState::Streaming, SourceState::Streaming, true),
        ] {
            readiness.set("a", a);
            readiness.set("b", b);
            assert_eq!(readiness.has_begun(), begun, "{}", readiness.summary());
        }
    }

    #[test]
    fn the_summary_names_the_lag_and_of_several_sources_each() {
        let readiness = Readiness::default();
        readiness.set("a", SourceState::Streaming);
        assert_eq!(readiness.summary(), "streaming");
        readiness.set_lag("a", Lag { bytes: 12 * 1024, time: Duration::from_millis(1_250) });
        assert_eq!(readiness.summary(), "streaming, lag 12.0 KiB and 1.2 s");
        readiness.set("b", SourceState::Waiting { label: SLOT_IN_USE, reason: "held".into(), hint: None });
        assert_eq!(readiness.summary(), "a: streaming, lag 12.0 KiB and 1.2 s; b: standing by: held");
    }

    #[test]
    fn it_is_hopeless_when_every_source_has_failed_for_good_and_none_ever_streamed() {
        let readiness = Readiness::default();
        readiness.set("a", failed("no slot"));
        readiness.set("b", SourceState::Waiting { label: "unreachable", reason: "unreachable".into(), hint: None });
        assert!(!readiness.is_hopeless(), "b may come yet");
        readiness.set("b", failed("wrong password"));
        assert!(readiness.is_hopeless());
        readiness.stream_opened();
        assert!(!readiness.is_hopeless());
    }
}
