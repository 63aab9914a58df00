//! Whether the daemon streams, and if not, why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Gauge, gauge};
use serde::Serialize;

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
    /// The state and its reason, as metrics name them.
    const fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Starting { .. } => ("starting", ""),
            Self::Streaming => ("streaming", ""),
            Self::Waiting { label, .. } => ("waiting", label),
            Self::Failed { label, .. } => ("failed", label),
        }
    }

    fn gauge(&self, source_name: &str) -> Gauge {
        let (state, reason) = self.labels();
        gauge!(SOURCE_STATE, "source" => source_name.to_owned(), "state" => state, "reason" => reason)
    }
}

/// What helps where one subscription holds back a source.
const HELD_BACK_HINT: &str =
    "mend the endpoint, delete the notification, or raise [delivery] max_pending; the log grows until then";

/// The state of every source, shared by all that set it and all that show it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Sources>>);

#[derive(Debug, Default)]
struct Sources {
    states: BTreeMap<String, SourceState>,
    /// Why nothing is read from a source that streams, by who holds it back.
    held_back: BTreeMap<(String, String), String>,
}

impl Readiness {
    /// Sets the state of a source.
    pub fn set(&self, source_name: &str, state: SourceState) {
        let mut sources = self.sources();
        state.gauge(source_name).set(1.0);
        let labels = state.labels();
        let before = sources.states.insert(source_name.to_owned(), state);
        if let Some(before) = before.filter(|before| before.labels() != labels) {
            before.gauge(source_name).set(0.0);
        }
    }

    /// Says that `who` holds back the reading of a source, and why, or that it does no more.
    pub fn hold_back(&self, source_name: &str, who: &str, reason: Option<String>) {
        let key = (source_name.to_owned(), who.to_owned());
        let mut sources = self.sources();
        match reason {
            Some(reason) => sources.held_back.insert(key, reason),
            None => sources.held_back.remove(&key),
        };
    }

    /// The state of the whole: the worst of its sources.
    #[must_use]
    pub fn overall(&self) -> SourceState {
        let rank = |state: &SourceState| match state {
            SourceState::Streaming => 0,
            SourceState::Starting { .. } => 1,
            SourceState::Waiting { .. } => 2,
            SourceState::Failed { .. } => 3,
        };
        let sources = self.sources();
        let worst = sources.states.values().max_by_key(|state| rank(state)).cloned().unwrap_or_default();
        match sources.held_back.values().next() {
            Some(reason) if worst == SourceState::Streaming => {
                SourceState::Waiting { label: "held_back", reason: reason.clone(), hint: Some(HELD_BACK_HINT.into()) }
            }
            _ => worst,
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_source_decides_and_none_is_no_stream() {
        let readiness = Readiness::default();
        assert!(matches!(readiness.overall(), SourceState::Starting { .. }));
        readiness.set("a", SourceState::Streaming);
        assert_eq!(readiness.overall(), SourceState::Streaming);
        readiness.set("b", SourceState::Waiting { label: "slot_in_use", reason: "held".into(), hint: None });
        let json = serde_json::to_value(readiness.overall()).unwrap();
        assert_eq!(json, serde_json::json!({"status": "waiting", "reason": "held"}));
        readiness.set("b", SourceState::Streaming);
        readiness.hold_back("a", "54ca14e3c55e", Some("full".into()));
        assert!(matches!(readiness.overall(), SourceState::Waiting { reason, .. } if reason == "full"));
        readiness.hold_back("a", "54ca14e3c55e", None);
        assert_eq!(readiness.overall(), SourceState::Streaming);
    }
}
