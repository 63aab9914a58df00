//! `notification delete`: nothing more is sent once it has returned.

use super::super::context::Context;
use super::super::output::answer;
use super::{confirm, parse_id};
use crate::catalog::subscriptions;

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let id = parse_id(id)?;
    let deleted = subscriptions::mark_deleted(&context.catalog, id).await?;
    confirm::wait(context, deleted.revision, "the deletion").await?;
    subscriptions::forget(&context.catalog, deleted.id).await?;
    answer(&format!("Events will no longer be sent to {}.", deleted.url))
}
