//! `notification test`: the very way that real notifications go.

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::answer;
use super::{find, require_daemon};
use crate::catalog::test_requests;

pub(super) async fn run(context: &Context<'_>, id: &str) -> anyhow::Result<()> {
    let subscription = find(context, id).await?;
    require_daemon(context).await?;
    let request = test_requests::insert(&context.catalog, subscription.id).await?;
    match test_requests::wait(&context.catalog, request).await? {
        Some(Ok(())) => answer(&format!("A test event has been sent to {}.", subscription.url)),
        Some(Err(reason)) => {
            let what = format!("the test event was not accepted by {}: {reason}", subscription.url);
            Err(Advice::new(what, "look at the endpoint; it must answer 2xx").into())
        }
        None => {
            let what =
                format!("no daemon sent the test event within {} seconds", test_requests::ANSWER_WITHIN.as_secs());
            Err(Advice::new(what, "`webhookdb status` shows whether the daemon is well").into())
        }
    }
}
