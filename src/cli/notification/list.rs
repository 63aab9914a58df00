//! `notification list`.

use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use super::super::context::Context;
use super::super::integrations::rfc3339;
use super::super::output::complain;
use super::super::table::{self, Format, Item};
use super::associated;
use crate::model::{Subscription, SubscriptionState};

/// How to list.
#[derive(Args, Debug)]
pub(in super::super) struct ListArgs {
    /// The form of the list
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn run(context: &Context<'_>, args: ListArgs) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let known = snapshot.subscriptions.iter().filter(|subscription| subscription.state != SubscriptionState::Deleted);
    let known: Vec<&Subscription> = known.map(AsRef::as_ref).collect();
    let items: Vec<Item> = known.iter().copied().map(item).collect();
    let header = ["ID", "URL", "ASSOCIATED TYPE", "ASSOCIATED ID", "STATUS"];
    let when_empty = "There are no notifications yet; `webhookdb notification create --help` shows how to create one.";
    table::print(args.format, &header, &items, when_empty)?;
    // Not a column: the table's columns are what scripts and people know.
    for subscription in known.iter().filter(|_| args.format == Format::Table) {
        if let Some(until) = subscription.rotating_until(SystemTime::now()) {
            let (id, until) = (subscription.opaque_id, rfc3339(until));
            complain(&format!("{id} is being rotated: the secret before its present one is good until {until}."));
        }
    }
    Ok(())
}

fn item(subscription: &Subscription) -> Item {
    let id = subscription.opaque_id.to_string();
    let (associated_type, associated_id) = associated(&subscription.scope);
    let status = subscription.state.as_str();
    let starts: serde_json::Map<_, _> = subscription
        .starts
        .iter()
        .map(|(source, lsn)| (source.clone(), lsn.map(|lsn| lsn.to_string()).into()))
        .collect();
    Item {
        cells: vec![
            id.clone(),
            subscription.url.to_string(),
            associated_type.to_owned(),
            associated_id.to_owned(),
            status.to_owned(),
        ],
        json: json!({
            "opaque_id": id, "deliver_to_url": subscription.url, "status": status,
            "associated_type": associated_type, "associated_id": associated_id,
            "created_at": rfc3339(subscription.created_at),
        }),
        // Secrets are not among the fields that anybody is shown.
        more: json!({
            "id": subscription.id, "starts": starts,
            "rotating_until": subscription.rotating_until(SystemTime::now()).map(rfc3339),
        }),
    }
}
