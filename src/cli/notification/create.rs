//! `notification create`: from now on, every change.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{ArgGroup, Args};

use super::super::context::Context;
use super::super::failure::Advice;
use super::super::output::{answer, complain, warn};
use super::super::{prompt, unseen};
use super::batches::BatchArgs;
use super::begin::{self, Subject};
use super::endpoint;
use crate::catalog::subscriptions::{self, NewSubscription};
use crate::catalog::{CatalogError, Snapshot};
use crate::config::SourceSettings;
use crate::model::{Secret, SigningSecret, SubscriptionId};
use crate::postgres::PostgresError;
use crate::source::barrier;

const ASK_SECRET: &str = "Enter a random secret used to sign and verify notifications to the given url: ";
const ASK_URL: &str = "Enter the URL that WebhookDB should POST notifications to: ";

/// A subscription to be.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("scope").required(true).args(["integration", "org"])))]
pub(in super::super) struct CreateArgs {
    /// The integration to watch, by opaque id, service name or table name
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// The organization whose integrations to watch, all of them, by key or name
    #[arg(long, value_name = "KEY")]
    org: Option<String>,
    /// The secret, seen by whoever can list this machine's processes: --secret-file is the better way. Empty: one is
    /// generated
    #[arg(long, value_name = "VALUE", value_parser = unseen, conflicts_with = "secret_file")]
    secret: Option<Secret>,
    /// A file that holds the secret
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// The URL to POST to
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    batches: BatchArgs,
}

pub(super) async fn run(context: &Context<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let batching = args.batches.over(None)?;
    let snapshot = context.snapshot().await?;
    let keys = context.settings.catalog().keys();
    snapshot.check_current_key(keys)?;
    let subject = resolve(&snapshot, &args)?;
    let sources = subject.sources(context, &snapshot)?;
    let secret = read_secret(&args)?;
    let url = args.url.map_or_else(|| prompt::ask(ASK_URL, "give --url"), Ok)?.trim().to_owned();
    let parsed = endpoint::check(&url, context.settings.delivery()).await?;
    let new = NewSubscription {
        opaque_id: SubscriptionId::random(),
        scope: subject.scope(),
        url,
        batching,
        secret: keys.store(secret.text()),
        nonce: subscriptions::random_nonce(),
        sources: sources.iter().map(|source| source.name().to_owned()).collect(),
    };
    subscribe(context, &subject, &sources, &new).await?;
    match subject {
        Subject::Integration(integration) => answer(&format!(
            "All notifications for this {} integration will be sent to {parsed}",
            integration.service_name
        ))?,
        Subject::Organization(organization) => answer(&format!(
            "All notifications for all integrations belonging to organization {} will be sent to {}.",
            organization.name, new.url
        ))?,
    }
    answer(&format!("Verify with: {}", secret.whsec().expose()))
}

fn resolve<'a>(snapshot: &'a Snapshot, args: &CreateArgs) -> anyhow::Result<Subject<'a>> {
    Ok(match (&args.integration, &args.org) {
        (Some(name), _) => Subject::Integration(snapshot.resolve_integration(name)?),
        (None, name) => Subject::Organization(snapshot.resolve_organization(name.as_deref().unwrap_or_default())?),
    })
}

fn read_secret(args: &CreateArgs) -> anyhow::Result<SigningSecret> {
    let typed = match (&args.secret, &args.secret_file) {
        (Some(secret), _) => secret.expose().to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("the secret file {} can't be read", path.display()))?,
        (None, None) => prompt::ask(ASK_SECRET, "give --secret-file or --secret")?,
    };
    let typed = typed.trim();
    if typed.is_empty() {
        complain("A secret was generated. It is shown below, this once.");
        return Ok(SigningSecret::generate());
    }
    let secret = SigningSecret::parse(typed)?;
    if secret.is_short() {
        warn("the secret is shorter than 24 bytes; leave it empty to have a strong one generated");
    }
    Ok(secret)
}

/// Publishes, inserts, and marks the start in the log; whatever fails leaves no subscription behind.
async fn subscribe(
    context: &Context<'_>,
    subject: &Subject<'_>,
    sources: &[&SourceSettings],
    new: &NewSubscription,
) -> anyhow::Result<()> {
    let clients = begin::publish(context, subject, sources).await?;
    let id = subscriptions::insert_pending(&context.catalog, new).await?;
    for client in &clients {
        if let Err(error) = barrier::emit(client, new.opaque_id, &new.nonce).await {
            return Err(match subscriptions::forget(&context.catalog, id).await {
                Ok(()) => begin::not_marked(error),
                Err(failed) => left_behind(new, &error, &failed),
            });
        }
    }
    Ok(())
}

/// Neither could the start be marked nor what was begun be taken back: a daemon marks it again within seconds.
fn left_behind(new: &NewSubscription, unmarked: &PostgresError, failed: &CatalogError) -> anyhow::Error {
    let id = new.opaque_id;
    let what = format!(
        "the start of the notifications could not be marked ({unmarked}), and what was begun could not be taken back \
         ({failed}): notification {id} may have been left, and become active by itself"
    );
    let hint = format!("see `webhookdb notification list`; `webhookdb notification delete {id}` removes it");
    Advice::new(what, hint).into()
}
