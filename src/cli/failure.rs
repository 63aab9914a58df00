//! An error becomes words on stderr, one hint, and an exit code.

use std::fmt;
use std::process::ExitCode;

use super::output::complain;
use crate::catalog::{CatalogError, Misplaced};
use crate::config::{ConfigError, PostgresUrlError};
use crate::deliver::guard::GuardError;
use crate::demo::DemoError;
use crate::model::SigningSecretError;
use crate::pipeline::PipelineError;
use crate::postgres::PostgresError;
use crate::setup::{Discord, SetupError};
use crate::source::SourceError;

/// Wrong usage, no config file, wrong config.
const WRONG_CONFIG: u8 = 2;

/// An error of the command line itself, with what to do about it.
#[derive(Debug)]
pub(super) struct Advice {
    message: String,
    hint: String,
}

impl Advice {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl From<&Misplaced> for Advice {
    fn from(misplaced: &Misplaced) -> Self {
        Self::new(misplaced.to_string(), misplaced.hint())
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Advice {}

/// Tells the error's chain and its hint on stderr; the exit code that goes with it.
pub(super) fn tell(error: &anyhow::Error) -> ExitCode {
    complain(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        complain(&format!("  caused by: {cause}"));
    }
    if let Some(hint) = hint(error) {
        complain(&format!("hint: {hint}"));
    }
    let is_wrong_usage = error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<PostgresUrlError>());
    if is_wrong_usage { ExitCode::from(WRONG_CONFIG) } else { ExitCode::FAILURE }
}

/// The hint of the outermost error that has one: it knows best what was being attempted.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint_of)
}

fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(advice.hint.clone());
    }
    None.or_else(|| error.downcast_ref::<ConfigError>()?.hint().map(str::to_owned))
        .or_else(|| error.downcast_ref::<PipelineError>()?.hint())
        .or_else(|| error.downcast_ref::<SetupError>()?.hint())
        .or_else(|| error.downcast_ref::<Discord>().map(Discord::hint))
        .or_else(|| error.downcast_ref::<CatalogError>()?.hint())
        .or_else(|| error.downcast_ref::<SourceError>()?.hint())
        .or_else(|| error.downcast_ref::<PostgresError>()?.hint())
        .or_else(|| error.downcast_ref::<GuardError>()?.hint())
        .or_else(|| error.downcast_ref::<SigningSecretError>()?.hint().map(str::to_owned))
        .or_else(|| error.downcast_ref::<DemoError>()?.hint().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_outermost_hint_counts() {
        let error = Err::<(), _>(SetupError::from(CatalogError::NotSetUp(None))).context("no list").unwrap_err();
        assert_eq!(hint(&error).as_deref(), Some("run `webhookdb setup`"));
        assert_eq!(hint(&Advice::new("no", "try again").into()).as_deref(), Some("try again"));
        assert_eq!(hint(&anyhow::anyhow!("no")), None);
    }
}
