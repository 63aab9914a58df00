//! `notification resume`: what is owed goes out, and what comes.

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::{changed_meanwhile, count, find, was};
use crate::catalog::lifecycle;
use crate::model::SubscriptionState;

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let subscription = find(context, id).await?;
    let (id, url) = (subscription.opaque_id, &subscription.url);
    match subscription.state {
        SubscriptionState::Paused => {}
        SubscriptionState::Deactivated => {
            let what = format!("notification {id} is deactivated ({}), not paused", subscription.why());
            return Err(Advice::new(what, format!("`webhookdb notification enable {id}` puts it to work again")).into());
        }
        _ => return answer(&format!("Events are sent to {url}; the notification was not paused.")),
    }
    lifecycle::resume(&context.catalog, id).await?.ok_or_else(|| changed_meanwhile(id))?;
    answer(&format!("Events are sent to {url} again."))?;
    match subscription.pending {
        0 => Ok(()),
        kept => answer(&format!("{} that {} kept will be sent first.", count(kept, "event"), was(kept))),
    }
}
