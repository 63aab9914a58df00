//! Why a demo did not come to its end.

use std::io;

use super::ThrowawayError;

/// Why a demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no Postgres to run it on.
    #[error("no throwaway Postgres")]
    Postgres(#[from] ThrowawayError),
    /// A statement failed.
    #[error("a statement of the demo failed")]
    Sql(#[from] tokio_postgres::Error),
    /// The receiver, a file or a process.
    #[error("can't {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// One of the program's own commands failed.
    #[error("`webhookdb {arguments}` failed:\n{stderr}")]
    Command {
        /// What it was told.
        arguments: String,
        /// What it said.
        stderr: String,
    },
    /// The daemon ended, or did not get ready.
    #[error("`webhookdb serve` does not stream; its log ends with:\n{log}")]
    Daemon {
        /// The last lines of its log.
        log: String,
    },
    /// Notifications did not arrive.
    #[error("{missing} of {expected} notifications did not arrive; the log of `webhookdb serve` ends with:\n{log}")]
    Missing {
        /// So many.
        missing: usize,
        /// Of so many.
        expected: usize,
        /// The last lines of the daemon's log.
        log: String,
    },
    /// The published library refused signatures.
    #[error("{count} notifications bore a signature that does not verify")]
    Unverified {
        /// So many.
        count: usize,
    },
    /// The receiver's key is none that the published library takes.
    #[error("the key to verify with is none: expected what `notification create` prints as `Verify with: whsec_…`")]
    Key,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Postgres(error) => error.hint(),
            _ => None,
        }
    }

    /// For `map_err`.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
