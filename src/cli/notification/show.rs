//! `notification show`: everything about one.

use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::integrations::rfc3339;
use super::super::output::{answer, answer_text};
use super::super::table::{self, Format, Object};
use super::{associated, batches, find};
use crate::catalog::details::{self, LastError, SubscriptionDetails};

/// Errors that are shown; `failures` has all that was given up.
const ERRORS: i64 = 5;

/// Which one, and how.
#[derive(Args, Debug)]
pub(in super::super) struct ShowArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn run(context: &Context<'_>, args: ShowArgs) -> anyhow::Result<()> {
    let subscription = find(context, &args.id).await?;
    let errors = details::last_errors(&context.catalog, subscription.id, ERRORS).await?;
    let object = Object {
        fields: fields(&subscription),
        json: json(&subscription, &errors),
        // Secrets are not among the fields that anybody is shown.
        more: json!({"id": subscription.id}),
    };
    table::print_object(args.format, object)?;
    if args.format == Format::Table && !errors.is_empty() {
        answer("\n  Last errors:")?;
        let header = ["EVENT ID", "AT", "ATTEMPTS", "ERROR"];
        answer_text(&table::render(&header, errors.iter().map(cells)))?;
    }
    Ok(())
}

fn fields(subscription: &SubscriptionDetails) -> Vec<(&'static str, String)> {
    let (associated_type, associated_id) = associated(&subscription.scope);
    let or_dash = |time: Option<SystemTime>| time.map_or_else(|| "-".to_owned(), rfc3339);
    let starts: Vec<String> = subscription.starts.iter().map(start).collect();
    let mut fields = vec![
        ("ID", subscription.opaque_id.to_string()),
        ("URL", subscription.url.clone()),
        ("STATUS", subscription.state.as_str().to_owned()),
    ];
    if let Some(batching) = subscription.batching {
        fields.push(("BATCHES", batches::describe(batching)));
    }
    if let Some(because) = &subscription.halted_because {
        fields.push(("REASON", because.clone()));
    }
    if let Some(at) = subscription.halted_at {
        fields.push(("SINCE", rfc3339(at)));
    }
    if let Some(until) = subscription.rotating_until {
        fields.push(("ROTATION", format!("the secret before this one is good until {}", rfc3339(until))));
    }
    fields.extend([
        ("ASSOCIATED TYPE", associated_type.to_owned()),
        ("ASSOCIATED ID", associated_id.to_owned()),
        ("CREATED", rfc3339(subscription.created_at)),
        ("STARTS", if starts.is_empty() { "-".to_owned() } else { starts.join(", ") }),
        ("PENDING", subscription.pending.to_string()),
        ("OLDEST PENDING", or_dash(subscription.oldest_pending)),
        ("FAILED", subscription.failed.to_string()),
        ("LAST SUCCESS", or_dash(subscription.last_success)),
        ("LAST FAILURE", or_dash(subscription.last_failure)),
        ("FAILING SINCE", or_dash(subscription.failing_since)),
    ]);
    fields
}

fn start((source, lsn): (&String, &Option<String>)) -> String {
    lsn.as_ref().map_or_else(|| format!("{source} pending"), |lsn| format!("{source} at {lsn}"))
}

fn json(subscription: &SubscriptionDetails, errors: &[LastError]) -> Value {
    let (associated_type, associated_id) = associated(&subscription.scope);
    let errors: Vec<Value> = errors
        .iter()
        .map(|error| {
            json!({
                "event_id": error.event_id, "at": rfc3339(error.at), "attempts": error.attempts, "error": error.error,
            })
        })
        .collect();
    json!({
        "opaque_id": subscription.opaque_id.to_string(), "deliver_to_url": subscription.url,
        "batch": subscription.batching.map(|batching| batching.size),
        "linger_ms": subscription.batching.map(|batching| batching.linger.as_millis()),
        "status": subscription.state.as_str(), "reason": subscription.halted_because,
        "halted_at": subscription.halted_at.map(rfc3339),
        "associated_type": associated_type, "associated_id": associated_id,
        "created_at": rfc3339(subscription.created_at), "starts": subscription.starts,
        "rotating_until": subscription.rotating_until.map(rfc3339),
        "pending": subscription.pending, "oldest_pending": subscription.oldest_pending.map(rfc3339),
        "failed": subscription.failed, "last_success": subscription.last_success.map(rfc3339),
        "last_failure": subscription.last_failure.map(rfc3339),
        "failing_since": subscription.failing_since.map(rfc3339), "last_errors": errors,
    })
}

fn cells(error: &LastError) -> Vec<String> {
    vec![error.event_id.clone(), rfc3339(error.at), error.attempts.to_string(), error.error.clone()]
}
