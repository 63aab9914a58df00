//! `notification update`: another URL.

use clap::Args;

use super::super::context::Context;
use super::super::output::{answer, complain};
use super::{changed_meanwhile, confirm, endpoint, find};
use crate::catalog::lifecycle;
use crate::model::SubscriptionState;

/// What to change of which subscription.
#[derive(Args, Debug)]
pub(in super::super) struct UpdateArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// The URL to POST to from now on; what is owed goes there too
    #[arg(long)]
    url: String,
}

pub(super) async fn run(context: &Context<'_>, args: UpdateArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    let id = subscription.opaque_id;
    let url = args.url.trim();
    endpoint::check(url, context.settings.delivery()).await?;
    let revision = lifecycle::move_to(&context.catalog, id, url).await?.ok_or_else(|| changed_meanwhile(id))?;
    confirm::wait(context, revision, "the new URL").await?;
    match subscription.state {
        SubscriptionState::Paused => complain(&format!("It is paused: `webhookdb notification resume {id}` goes on.")),
        SubscriptionState::Deactivated => {
            complain(&format!("It is deactivated: `webhookdb notification enable {id}` puts it to work again."));
        }
        _ => {}
    }
    answer(&format!("Events will be sent to {url} from now on."))
}
