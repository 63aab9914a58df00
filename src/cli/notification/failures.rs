//! `notification failures`: what was given up, and why.

use clap::Args;
use serde_json::json;

use super::super::context::Context;
use super::super::integrations::rfc3339;
use super::super::output::complain;
use super::super::table::{self, Format, Item};
use super::{count, find};
use crate::catalog::failures::{self, FailedNotification};
use crate::model::{EventId, SubscriptionId};

/// Of which subscription, how many, and how.
#[derive(Args, Debug)]
pub(in super::super) struct FailuresArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// How many at most; the newest changes come first
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The form of the list; json has each attempt
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn run(context: &Context<'_>, args: FailuresArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    let (failed, total) = failures::list(&context.catalog, subscription.id, i64::from(args.limit)).await?;
    let items: Vec<Item> = failed.iter().map(|failed| item(subscription.opaque_id, failed)).collect();
    let header = ["EVENT ID", "COMMITTED AT", "TABLE", "ATTEMPTS", "LAST ATTEMPT", "LAST ERROR"];
    table::print(args.format, &header, &items, "Nothing was given up.")?;
    let more = total - i64::try_from(items.len()).unwrap_or(total);
    if more > 0 {
        complain(&format!("{} of older changes not shown; --limit {total} shows all.", count(more, "failure")));
    }
    Ok(())
}

fn item(subscription: SubscriptionId, failed: &FailedNotification) -> Item {
    let committed_at = rfc3339(failed.committed_at);
    let last_attempt_at = failed.last_attempt_at.map(rfc3339);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    Item {
        cells: vec![
            failed.event_id.clone(),
            committed_at.clone(),
            failed.table.clone(),
            failed.attempts.to_string(),
            or_dash(&last_attempt_at),
            or_dash(&failed.last_error),
        ],
        json: json!({
            "event_id": failed.event_id, "webhook_id": EventId::message(&failed.event_id, subscription),
            "committed_at": committed_at, "table": failed.table, "attempts": failed.attempts,
            "last_attempt_at": last_attempt_at, "last_error": failed.last_error, "attempt_log": failed.attempt_log,
        }),
        more: json!({"source": failed.source, "lsn": failed.commit_lsn.to_string(), "index": failed.index}),
    }
}
