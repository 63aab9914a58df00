//! What a database is asked again until it succeeds is told when it begins to fail and when it works again, and not in between.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, info, warn};

/// One thing that several may be asking.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    source: Option<String>,
    lasts: AtomicBool,
}

impl Outage {
    /// `what` is asked, as in "the outbox cannot be read": `reading the outbox`.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, source: None, lasts: AtomicBool::new(false) }
    }

    /// It is asked for this source.
    #[must_use]
    pub fn of_source(self, name: &str) -> Self {
        Self { source: Some(name.to_owned()), ..self }
    }

    /// It failed, and will be tried again.
    pub fn failed(&self, error: &(dyn Error + 'static)) {
        let (what, source) = (self.what, self.source.as_deref());
        if self.lasts.swap(true, Ordering::Relaxed) {
            debug!(source, what, error, "still failing");
        } else {
            warn!(source, what, error, "failing; it is tried again until it succeeds");
        }
    }

    /// It succeeded.
    pub fn succeeded(&self) {
        if self.lasts.load(Ordering::Relaxed) && self.lasts.swap(false, Ordering::Relaxed) {
            info!(source = self.source.as_deref(), what = self.what, "working again");
        }
    }
}
