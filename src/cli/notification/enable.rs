//! `notification enable`: a deactivated one begins anew.

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::begin::{self, Subject};
use super::{changed_meanwhile, confirm, count, find, was};
use crate::catalog::details::SubscriptionDetails;
use crate::catalog::{lifecycle, subscriptions};
use crate::model::SubscriptionState;
use crate::source::barrier;

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let subscription = find(context, id).await?;
    let (id, url) = (subscription.opaque_id, &subscription.url);
    let not_deactivated = format!("Events are sent to {url}; the notification was not deactivated.");
    match subscription.state {
        SubscriptionState::Deactivated => {}
        SubscriptionState::Paused => {
            let what = format!("notification {id} is paused, not deactivated");
            return Err(Advice::new(what, format!("`webhookdb notification resume {id}` lets it go on")).into());
        }
        SubscriptionState::Pending => {
            mark_again(context, &subscription).await?;
            return answer(&not_deactivated);
        }
        _ => return answer(&not_deactivated),
    }
    restart(context, &subscription).await?;
    answer(&format!("Events are sent to {url} again: every change committed from now on."))?;
    match subscription.pending {
        0 => Ok(()),
        owed => {
            let owed = format!("{} that {} owed before it was deactivated", count(owed, "event"), was(owed));
            answer(&format!("{owed} will be sent, too."))
        }
    }
}

/// Another `enable` or a `create` may have ended before it marked the start: this one must not return before it is marked.
async fn mark_again(context: &Context<'_>, subscription: &SubscriptionDetails) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let subject = Subject::of(&snapshot, &subscription.scope)?;
    let sources = subject.sources(context, &snapshot)?;
    for client in begin::publish(context, &subject, &sources).await? {
        let marked = barrier::emit(&client, subscription.opaque_id, &subscription.nonce).await;
        marked.map_err(begin::not_marked)?;
    }
    Ok(())
}

/// Publishes, begins anew, and marks the start in the log; whatever fails leaves it deactivated.
async fn restart(context: &Context<'_>, subscription: &SubscriptionDetails) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let subject = Subject::of(&snapshot, &subscription.scope)?;
    let sources = subject.sources(context, &snapshot)?;
    let clients = begin::publish(context, &subject, &sources).await?;
    let (id, nonce) = (subscription.opaque_id, subscriptions::random_nonce());
    let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
    let revision = lifecycle::enable(&context.catalog, id, &nonce, &names).await?;
    let revision = revision.ok_or_else(|| changed_meanwhile(id))?;
    for client in &clients {
        if let Err(error) = barrier::emit(client, id, &nonce).await {
            let because = subscription.halted_because.as_deref();
            lifecycle::deactivate_again(&context.catalog, id, &nonce, subscription.halted_at, because).await?;
            return Err(begin::not_marked(error));
        }
    }
    confirm::wait(context, revision, "the new beginning").await
}
