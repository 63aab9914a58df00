//! Whether the daemon streams, and if not, why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

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
        /// What it is.
        reason: String,
        /// What could be done about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Something that does not pass by itself stands in the way; it is tried again nevertheless.
    Failed {
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

/// The state of every source, shared by all that set it and all that show it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, SourceState>>>);

impl Readiness {
    /// Sets the state of a source.
    pub fn set(&self, source_name: &str, state: SourceState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(source_name.to_owned(), state);
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
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.values().max_by_key(|state| rank(state)).cloned().unwrap_or_default()
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
        readiness.set("b", SourceState::Waiting { reason: "held".into(), hint: None });
        let json = serde_json::to_value(readiness.overall()).unwrap();
        assert_eq!(json, serde_json::json!({"status": "waiting", "reason": "held"}));
    }
}
