//! `notification create`: from now on, every change.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use tokio_postgres::Client;

use super::super::context::{Context, connect_source};
use super::super::failure::Advice;
use super::super::output::{answer, complain, warn};
use super::super::prompt;
use super::endpoint;
use crate::catalog::subscriptions::{self, NewSubscription};
use crate::catalog::{Integration, Organization, Snapshot};
use crate::config::SourceSettings;
use crate::model::{Scope, SigningSecret, SubscriptionId};
use crate::setup::SetupError;
use crate::setup::upkeep::{self, UpkeepNote};
use crate::source::barrier;

/// How long a table that was just published is waited for; after that its first transactions may arrive in part.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

const ASK_SECRET: &str = "Enter a random secret used to sign and verify notifications to the given url: ";
const ASK_URL: &str = "Enter the URL that WebhookDB should POST notifications to: ";

/// A subscription to be.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("scope").required(true).args(["integration", "org"])))]
pub(super) struct CreateArgs {
    /// The integration to watch, by opaque id, service name or table name
    #[arg(long, value_name = "NAME")]
    integration: Option<String>,
    /// The organization whose integrations to watch, all of them, by key or name
    #[arg(long, value_name = "KEY")]
    org: Option<String>,
    /// The secret, seen by whoever can list this machine's processes: --secret-file is the better way. Empty: one is
    /// generated
    #[arg(long, value_name = "VALUE", conflicts_with = "secret_file")]
    secret: Option<String>,
    /// A file that holds the secret
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// The URL to POST to
    #[arg(long)]
    url: Option<String>,
}

/// Whom the subscription is about.
enum Subject<'a> {
    Integration(&'a Integration),
    Organization(&'a Organization),
}

pub(super) async fn run(context: &Context<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    let subject = Subject::resolve(&snapshot, &args)?;
    let sources = subject.sources(context)?;
    if let Some(source) = sources.iter().find(|source| snapshot.source(source.name()).is_none()) {
        return Err(SetupError::NotSetUp(source.name().to_owned()).into());
    }
    let secret = read_secret(&args)?;
    let url = args.url.map_or_else(|| prompt::ask(ASK_URL, "give --url"), Ok)?.trim().to_owned();
    let parsed = endpoint::check(&url, context.settings.delivery()).await?;
    let new = NewSubscription {
        opaque_id: SubscriptionId::random(),
        scope: subject.scope(),
        url,
        secret: secret.text().clone(),
        nonce: subscriptions::random_nonce(),
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

impl<'a> Subject<'a> {
    fn resolve(snapshot: &'a Snapshot, args: &CreateArgs) -> anyhow::Result<Self> {
        Ok(match (&args.integration, &args.org) {
            (Some(name), _) => Self::Integration(snapshot.resolve_integration(name)?),
            (None, name) => Self::Organization(snapshot.resolve_organization(name.as_deref().unwrap_or_default())?),
        })
    }

    fn scope(&self) -> Scope {
        match self {
            Self::Integration(integration) => Scope::Integration(integration.opaque_id.clone()),
            Self::Organization(organization) => Scope::Organization(organization.key.clone()),
        }
    }

    /// Where its tables are, or will be: an organization's may come to be in any source.
    fn sources<'s>(&self, context: &Context<'s>) -> anyhow::Result<Vec<&'s SourceSettings>> {
        let all = context.settings.sources().iter();
        let Self::Integration(integration) = self else { return Ok(all.collect()) };
        let sources: Vec<&SourceSettings> = all.filter(|source| source.name() == integration.source).collect();
        if sources.is_empty() {
            let what = format!("the config has no source {}, where the integration's table is", integration.source);
            return Err(Advice::new(what, "add it to the config").into());
        }
        Ok(sources)
    }

    fn covers(&self, opaque_id: &str, snapshot: &Snapshot) -> bool {
        match self {
            Self::Integration(integration) => integration.opaque_id == opaque_id,
            Self::Organization(organization) => {
                snapshot.integration(opaque_id).is_some_and(|integration| integration.organization == organization.key)
            }
        }
    }
}

fn read_secret(args: &CreateArgs) -> anyhow::Result<SigningSecret> {
    let typed = match (&args.secret, &args.secret_file) {
        (Some(secret), _) => secret.clone(),
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
    let mut clients = Vec::new();
    for source in sources {
        let client = connect_source(source).await?;
        publish(context, subject, source, &client).await?;
        clients.push(client);
    }
    let id = subscriptions::insert_pending(&context.catalog, new).await?;
    for client in &clients {
        if let Err(error) = barrier::emit(client, new.opaque_id, &new.nonce).await {
            subscriptions::forget(&context.catalog, id).await?;
            return Err(anyhow::Error::new(error).context("the start of the notifications could not be marked"));
        }
    }
    Ok(())
}

/// Makes sure that the tables are published before the subscription starts.
async fn publish(
    context: &Context<'_>,
    subject: &Subject<'_>,
    source: &SourceSettings,
    client: &Client,
) -> anyhow::Result<()> {
    let snapshot = context.snapshot().await?;
    for note in upkeep::publish_missing(&context.catalog, client, source, &snapshot).await? {
        match note {
            UpkeepNote::Failed { integration, error } if subject.covers(&integration, &snapshot) => {
                return Err(error.into());
            }
            // An organization's table may come later; the one table of an integration must be there.
            UpkeepNote::Missing { integration, table } if matches!(subject, Subject::Integration(own) if own.opaque_id == integration) =>
            {
                let name = source.name().to_owned();
                return Err(SetupError::NoTable { integration, table, name }.into());
            }
            UpkeepNote::Hazard(hazard) => warn(&format!("{}; {}", hazard.what, hazard.remedy)),
            _ => {}
        }
    }
    for table in upkeep::wait_until_complete(&context.catalog, client, source, COMPLETE_WITHIN).await? {
        warn(&format!(
            "transactions that were open when table {table} was published are still open, and arrive in part"
        ));
    }
    Ok(())
}
