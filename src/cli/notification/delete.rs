//! `notification delete`: nothing more is sent once it has returned.

use std::time::Duration;

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::parse_id;
use crate::catalog::{leases, subscriptions};

/// How long the live daemons may take to confirm: each cancels its attempts in flight first.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let id = parse_id(id)?;
    let deleted = subscriptions::mark_deleted(&context.catalog, id).await?;
    wait_until_confirmed(context, deleted.revision).await?;
    subscriptions::forget(&context.catalog, deleted.id).await?;
    answer(&format!("Events will no longer be sent to {}.", deleted.url))
}

/// Waits until every live daemon has taken in what was deleted up to this revision.
pub(in super::super) async fn wait_until_confirmed(context: &Context<'_>, revision: i64) -> anyhow::Result<()> {
    if leases::wait_until_loaded(&context.catalog, revision, CONFIRMED_WITHIN).await? {
        return Ok(());
    }
    let what = format!(
        "the deletion is recorded, but not yet confirmed: a daemon did not answer within {} seconds",
        CONFIRMED_WITHIN.as_secs()
    );
    Err(Advice::new(what, "run the command again to wait further; `webhookdb status` shows the daemon").into())
}
