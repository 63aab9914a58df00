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
use super::failure::tell;
use super::output::{answer, answer_text};
use crate::catalog::health::{self, SubscriptionHealth};
use crate::catalog::leases::{self, Lease};
use crate::catalog::migrations;
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
    if let Err(error) = &catalog {
        tell(error);
    }
    let healthy = report.sources.iter().all(|source| source.state == SourceState::Streaming);
    Ok(if catalog.is_ok() && healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the catalog says.
struct CatalogRead {
    subscriptions: Vec<SubscriptionHealth>,
    leases: Vec<Lease>,
    client: Client,
}

async fn read_catalog(settings: &Settings) -> anyhow::Result<CatalogRead> {
    let client = connect_catalog(settings).await?;
    migrations::check(&client).await?;
    Ok(CatalogRead {
        subscriptions: health::subscriptions(&client).await?,
        leases: leases::list(&client).await?,
        client,
    })
}
