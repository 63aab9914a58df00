//! Why there are no settings: no file, a file that can't be read, or everything that is wrong with what it says.

use std::fmt;
use std::path::{Path, PathBuf};

/// What keeps the config file from becoming [`Settings`](super::Settings).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named, and none is where one is looked for.
    #[error("no config file: there is neither {}", list_paths(tried))]
    NotFound {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The file is not there, or is not to be read.
    #[error("the config file {} can't be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The file says something wrong: every problem in one go, in the order of the lines.
    #[error("{}", list_problems(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them, at least one.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Never: the file has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// What the operator should do.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotFound { .. } => {
                Some("copy config.example.toml to config.toml, or name a file with --config or WEBHOOKDB_CONFIG")
            }
            Self::Unreadable { .. } => Some("check the file's name, and that this account may read it"),
            Self::Invalid { .. } => Some("config.example.toml shows every key with its default"),
        }
    }
}

/// One thing that is wrong in the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; of a missing value the line of its section, or 1 where that is missing too.
    pub line: usize,
    /// The key as an operator would point at it, such as `[delivery] timeout`; empty where the text is not TOML at all.
    pub key: String,
    /// What is expected, and what was found as far as that may be shown.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.line, self.message),
            key => write!(f, "{}: {key}: {}", self.line, self.message),
        }
    }
}

fn list_paths(paths: &[PathBuf]) -> String {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(" nor ")
}

fn list_problems(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
    lines.join("\n")
}
