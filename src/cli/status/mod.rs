//! `webhookdb status`: one screen, with the daemon down too.

mod report;
mod screen;
mod slot_lines;
mod source;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tokio_postgres::Client;

use self::report::{DaemonReport, Report, SourceState};
use self::source::source_report;
use super::context::connect_catalog;
use super::failure::{Advice, tell};
use super::output::{answer, answer_text};
use crate::catalog::health::{self, SubscriptionHealth};
use crate::catalog::leases::{self, Lease};
use crate::catalog::{CatalogError, migrations, secrets};
use crate::config::Settings;

/// How to show it.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// The form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// One object
    Json,
}

pub(super) async fn run(settings: &Settings, args: StatusArgs) -> anyhow::Result<ExitCode> {
    let catalog = read_catalog(settings).await;
    let mut report = Report { sources: Vec::new(), subscriptions: Vec::new(), daemon: DaemonReport::default() };
    for source in settings.sources() {
        report.sources.push(source_report(source, &catalog).await);
    }
    if let Ok(read) = &catalog {
        report.subscriptions = read.subscriptions.iter().map(Into::into).collect();
        report.daemon = DaemonReport::of(&read.leases);
    }
    match args.format {
        Format::Json => answer(&serde_json::to_string(&report)?)?,
        Format::Text => answer_text(&screen::text(&report, catalog.is_ok()))?,
    }
    let errors = catalog.as_ref().map_or_else(std::slice::from_ref, |read| read.sealed.as_slice());
    for error in errors {
        tell(error);
    }
    let healthy = report.sources.iter().all(|source| source.state == SourceState::Streaming);
    Ok(if errors.is_empty() && healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the catalog says.
struct CatalogRead {
    subscriptions: Vec<SubscriptionHealth>,
    leases: Vec<Lease>,
    client: Client,
    /// Secrets that these keys, or the daemon's, do not open.
    sealed: Vec<anyhow::Error>,
}

async fn read_catalog(settings: &Settings) -> anyhow::Result<CatalogRead> {
    let client = connect_catalog(settings).await?;
    migrations::check(&client).await?;
    let leases = leases::list(&client).await?;
    Ok(CatalogRead {
        subscriptions: health::subscriptions(&client).await?,
        sealed: sealed_secrets(settings, &client, &leases).await?,
        leases,
        client,
    })
}

/// What keeps notifications from being signed, by the config that we have or by the one that the daemon was started with.
async fn sealed_secrets(
    settings: &Settings,
    client: &Client,
    leases: &[Lease],
) -> Result<Vec<anyhow::Error>, CatalogError> {
    let mut sealed = Vec::new();
    match secrets::check(client, settings.catalog().keys()).await {
        Err(error @ CatalogError::Sealed { .. }) => sealed.push(error.into()),
        checked => checked?,
    }
    let blind = leases.iter().find(|lease| lease.live && lease.sealed_secrets > 0);
    let advice = |lease: &Lease| anyhow::Error::new(Advice::new(lease.what_it_cannot_read(), Lease::OTHER_KEYS_HINT));
    sealed.extend(blind.map(advice));
    Ok(sealed)
}
