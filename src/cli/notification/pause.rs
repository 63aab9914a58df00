//! `notification pause`: nothing is sent once it has returned, and everything is owed.

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::{changed_meanwhile, confirm, find};
use crate::catalog::lifecycle;
use crate::model::SubscriptionState;

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let subscription = find(context, id).await?;
    let id = subscription.opaque_id;
    if subscription.state == SubscriptionState::Deactivated {
        let what = format!("notification {id} is deactivated ({}): nothing is sent to it anyway", subscription.why());
        return Err(Advice::new(what, format!("`webhookdb notification enable {id}` puts it to work again")).into());
    }
    let revision = lifecycle::pause(&context.catalog, id).await?.ok_or_else(|| changed_meanwhile(id))?;
    confirm::wait(context, revision, "the pause").await?;
    answer(&format!("Events are kept, and not sent to {} until the notification is resumed.", subscription.url))
}
