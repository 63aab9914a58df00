//! Why there is no throwaway server.

use std::io;
use std::path::PathBuf;

/// Why there is no throwaway server.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// Neither in `PATH` nor in any usual place.
    #[error("no PostgreSQL server was found on this machine")]
    NoBinaries,
    /// `PG_BIN` is set, and wrong.
    #[error("PG_BIN is {}, which does not hold initdb and postgres", directory.display())]
    NotInPgBin {
        /// What it says.
        directory: PathBuf,
    },
    /// Root, without an account to run the server under.
    #[error("Postgres refuses to run as root, and there is no user `postgres` or `nobody` to run it under")]
    NoAccount,
    /// The directory, a process or a file could not be made.
    #[error("can't {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed:\n{output}")]
    Initdb {
        /// What it said.
        output: String,
    },
    /// The server ended at once, or never got ready.
    #[error("the throwaway Postgres did not start; its log ends with:\n{log}")]
    NotStarted {
        /// The last lines of its log.
        log: String,
    },
    /// The server did not stop in time and was killed.
    #[error("the throwaway Postgres did not stop in time and was killed")]
    NotStopped,
}

impl ThrowawayError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoBinaries => Some(
                "install one (Debian, Ubuntu: `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; \
                 macOS: `brew install postgresql`), or run scripts/install-postgres, or say where it is with PG_BIN=/path/to/bin",
            ),
            Self::NotInPgBin { .. } => {
                Some("name the directory of the server's programs, e.g. PG_BIN=/usr/lib/postgresql/17/bin")
            }
            Self::NoAccount => Some("run this as an ordinary user"),
            _ => None,
        }
    }
}

/// For `map_err`.
pub(super) fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> ThrowawayError {
    move |source| ThrowawayError::Io { action, source }
}
