//! `webhookdb notification`: who is told, and where.

mod create;
pub(super) mod delete;
mod endpoint;
mod list;
mod test;

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Advice;
use crate::catalog::Snapshot;
use crate::config::Settings;
use crate::model::{Subscription, SubscriptionId, SubscriptionState};

/// The commands.
#[derive(Subcommand, Debug)]
pub(super) enum NotificationCommand {
    /// Send every change from now on to a URL
    Create(create::CreateArgs),
    /// List the notification subscriptions
    List(list::ListArgs),
    /// Send a test event, and wait for the endpoint's answer
    Test(IdArgs),
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
        NotificationCommand::Test(args) => test::run(&context, &args.id).await,
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
fn find(snapshot: &Snapshot, id: SubscriptionId) -> Option<&Subscription> {
    let is_it =
        |subscription: &&Subscription| subscription.opaque_id == id && subscription.state != SubscriptionState::Deleted;
    snapshot.subscriptions.iter().find(is_it)
}
