//! `webhookdb notification`: who is told, and where.

mod batches;
mod begin;
pub(super) mod confirm;
mod create;
mod delete;
mod enable;
mod endpoint;
mod failures;
mod list;
mod pause;
mod resume;
mod retry;
mod rotate;
mod show;
mod test;
mod update;

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Advice;
use crate::catalog::details::{self, SubscriptionDetails};
use crate::catalog::leases;
use crate::config::Settings;
use crate::model::{Scope, SubscriptionId};

/// The commands.
#[derive(Subcommand, Debug)]
pub(super) enum NotificationCommand {
    /// Send every change from now on to a URL
    Create(create::CreateArgs),
    /// List the notification subscriptions
    List(list::ListArgs),
    /// Show everything about one: its state and why, what it is owed, its last errors
    Show(show::ShowArgs),
    /// Send to another URL from now on, or in batches of another size, what is owed too
    Update(update::UpdateArgs),
    /// Send a test event, and wait for the endpoint's answer
    Test(IdArgs),
    /// Stop sending for a while; everything is kept until it is resumed
    Pause(IdArgs),
    /// Go on after a pause, beginning with what was kept
    Resume(IdArgs),
    /// Put a deactivated one to work again, for every change from now on
    Enable(IdArgs),
    /// Sign with a new secret, which is shown once; for a while with the one before it too
    Rotate(rotate::RotateArgs),
    /// List the notifications that were given up
    Failures(failures::FailuresArgs),
    /// Send failed notifications again, now; the automatic attempts stay as they are
    Retry(retry::RetryArgs),
    /// Stop sending; what is pending is not sent either
    Delete(IdArgs),
}

/// Which subscription.
#[derive(Args, Debug)]
pub(super) struct IdArgs {
    /// Its id, as `webhookdb notification list` shows it
    id: String,
}

pub(super) async fn run(settings: &Settings, command: NotificationCommand) -> anyhow::Result<()> {
    let context = Context::open(settings).await?;
    match command {
        NotificationCommand::Create(args) => create::run(&context, args).await,
        NotificationCommand::List(args) => list::run(&context, args).await,
        NotificationCommand::Show(args) => show::run(&context, args).await,
        NotificationCommand::Update(args) => update::run(&context, args).await,
        NotificationCommand::Test(args) => test::run(&context, &args.id).await,
        NotificationCommand::Pause(args) => pause::run(&context, &args.id).await,
        NotificationCommand::Resume(args) => resume::run(&context, &args.id).await,
        NotificationCommand::Enable(args) => enable::run(&context, &args.id).await,
        NotificationCommand::Rotate(args) => rotate::run(&context, args).await,
        NotificationCommand::Failures(args) => failures::run(&context, args).await,
        NotificationCommand::Retry(args) => retry::run(&context, args).await,
        NotificationCommand::Delete(args) => delete::run(&context, &args.id).await,
    }
}

fn parse_id(id: &str) -> anyhow::Result<SubscriptionId> {
    id.trim().parse().map_err(|error: crate::model::ParseSubscriptionIdError| {
        let hint = "`webhookdb notification list` shows the notifications and their ids";
        Advice::new(format!("{id:?} is {error}"), hint).into()
    })
}

/// The subscription of this id that is not deleted.
async fn find(context: &Context<'_>, id: &str) -> anyhow::Result<SubscriptionDetails> {
    Ok(details::find(&context.catalog, parse_id(id)?).await?)
}

/// Between the look at a subscription and the write somebody else changed it.
fn changed_meanwhile(id: SubscriptionId) -> Advice {
    let hint = format!("`webhookdb notification show {id}` shows how it is now");
    Advice::new(format!("notification {id} was changed by somebody else at the same time"), hint)
}

/// What can only be asked of a live daemon.
async fn require_daemon(context: &Context<'_>) -> anyhow::Result<()> {
    if leases::live(&context.catalog).await?.is_empty() {
        let hint = "start it with `webhookdb serve`";
        return Err(Advice::new("no daemon is running, so nothing can be sent", hint).into());
    }
    Ok(())
}

/// The two fields by which a scope is shown.
fn associated(scope: &Scope) -> (&'static str, &str) {
    match scope {
        Scope::Integration(opaque_id) => ("service_integration", opaque_id),
        Scope::Organization(key) => ("organization", key),
    }
}

/// `1 event`, `2 events`.
fn count(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The verb for so many.
const fn was(number: i64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}
