//! `notification update`: another URL, batches of another size or none.

use clap::{ArgGroup, Args};

use super::super::context::Context;
use super::super::output::{answer, complain};
use super::batches::{self, BatchArgs};
use super::{changed_meanwhile, confirm, endpoint, find};
use crate::catalog::details::SubscriptionDetails;
use crate::catalog::lifecycle::{self, Manner};
use crate::model::{Batching, SubscriptionState};

/// What to change of which subscription.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["url", "batch", "linger", "no_batch"])))]
pub(in super::super) struct UpdateArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// The URL to POST to from now on; what is owed goes there too
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    batches: BatchArgs,
    /// Send each notification in a request of its own from now on
    #[arg(long, conflicts_with_all = ["batch", "linger"])]
    no_batch: bool,
}

pub(super) async fn run(context: &Context<'_>, args: UpdateArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    let id = subscription.opaque_id;
    let url = args.url.as_deref().map(str::trim);
    if let Some(url) = url {
        endpoint::check(url, context.settings.delivery()).await?;
    }
    let batching = batching(&args, &subscription)?;
    let manner = Manner { url, batching };
    let revision = lifecycle::change(&context.catalog, id, &manner).await?.ok_or_else(|| changed_meanwhile(id))?;
    confirm::wait(context, revision, if url.is_some() { "the new URL" } else { "the change" }).await?;
    match subscription.state {
        SubscriptionState::Paused => complain(&format!("It is paused: `webhookdb notification resume {id}` goes on.")),
        SubscriptionState::Deactivated => {
            complain(&format!("It is deactivated: `webhookdb notification enable {id}` puts it to work again."));
        }
        _ => {}
    }
    if let Some(url) = url {
        answer(&format!("Events will be sent to {url} from now on."))?;
    }
    match batching {
        Some(Some(batching)) => {
            answer(&format!("Events will be sent in batches of {}, from now on.", batches::describe(batching)))
        }
        Some(None) => answer("Events will be sent in a request each from now on."),
        None => Ok(()),
    }
}

/// None where it stays as it is.
fn batching(args: &UpdateArgs, subscription: &SubscriptionDetails) -> anyhow::Result<Option<Option<Batching>>> {
    if args.no_batch {
        return Ok(Some(None));
    }
    Ok(args.batches.over(subscription.batching)?.map(Some))
}
