//! What a command wrote holds once every live daemon has confirmed it.

use std::time::Duration;

use super::super::context::Context;
use super::super::failure::Advice;
use crate::catalog::leases;

/// How long the live daemons may take to confirm: each cancels or hands over its attempts in flight first.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until every live daemon has taken in what was written up to this revision; with no live daemon that is so at
/// once. `what` was written, e.g. "the deletion".
pub(in super::super) async fn wait(context: &Context<'_>, revision: i64, what: &str) -> anyhow::Result<()> {
    wait_or(context, revision, what, "run the command again to wait further; `webhookdb status` shows the daemon").await
}

/// As [`wait`], for what is not to be done again.
pub(super) async fn wait_or(context: &Context<'_>, revision: i64, what: &str, hint: &str) -> anyhow::Result<()> {
    if leases::wait_until_loaded(&context.catalog, revision, CONFIRMED_WITHIN).await? {
        return Ok(());
    }
    let seconds = CONFIRMED_WITHIN.as_secs();
    let what = format!("{what} is recorded, but not yet confirmed: a daemon did not answer within {seconds} seconds");
    Err(Advice::new(what, hint).into())
}
