//! `webhookdb setup`: prepares everything, and tells what it did and found.

use std::convert::Infallible;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use clap::Args;

use super::context::{Context, connect_catalog};
use super::output::{answer, answer_text, complain, warn};
use super::prompt;
use crate::catalog::{self, CatalogError};
use crate::config::{PostgresUrl, Settings};
use crate::model::{Lsn, Secret};
use crate::setup::{self, Accept, Note};

/// What to do.
#[derive(Args, Debug)]
pub(super) struct SetupArgs {
    /// Print the SQL for a DBA to run with psql, and do nothing
    #[arg(long, conflicts_with_all = ["drop", "accept_gap", "accept_server", "skip_transaction"])]
    sql: bool,
    /// Do with an owner's or a superuser's rights what the config's role may not. The password is better given in the
    /// environment, which others on this machine cannot read
    #[arg(long, value_name = "URL", env = "WEBHOOKDB_ADMIN_URL", hide_env_values = true, value_parser = unseen)]
    admin_url: Option<Secret>,
    /// Begin anew where the old position can't be continued; the gap is recorded
    #[arg(long)]
    accept_gap: bool,
    /// Begin anew on another server; the gap is recorded
    #[arg(long)]
    accept_server: bool,
    /// Pass the transaction that Postgres cannot send; the gap is recorded. LSN: as the daemon and `status` say it
    #[arg(long, value_name = "LSN", conflicts_with_all = ["drop", "accept_gap", "accept_server"])]
    skip_transaction: Option<Lsn>,
    /// Remove everything that setup made, after a confirmation
    #[arg(long, conflicts_with_all = ["accept_gap", "accept_server"])]
    drop: bool,
    /// Confirm --drop beforehand
    #[arg(long, requires = "drop")]
    yes: bool,
}

/// A value that is no part of any message, even where it turns out not to be a URL.
#[allow(clippy::unnecessary_wraps, reason = "what clap asks for")]
fn unseen(value: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(value.to_owned()))
}

pub(super) async fn run(settings: &Settings, args: SetupArgs) -> anyhow::Result<()> {
    let admin: Option<PostgresUrl> = match &args.admin_url {
        Some(url) => Some(url.expose().parse().context("--admin-url can't be used")?),
        None => None,
    };
    if args.sql {
        return answer_text(&setup::fill_in(settings, &integration_tables(settings).await));
    }
    if args.drop {
        return drop_all(settings, admin, args.yes).await;
    }
    if let Some(lsn) = args.skip_transaction {
        setup::skip_transaction(settings, lsn, &mut tell).await?;
        return answer("Everything after the transaction will be delivered.");
    }
    let accept = Accept { gap: args.accept_gap, server: args.accept_server };
    setup::run(settings, accept, admin, &mut tell).await?;
    answer("Everything is set up.")
}

async fn drop_all(settings: &Settings, admin: Option<PostgresUrl>, yes: bool) -> anyhow::Result<()> {
    let question = "This removes the slot, the publication, and every subscription with what it is owed. \
                    Where setup made the tables of organizations and integrations, these too. Go on? [y/N] ";
    if !yes && !prompt::confirm(question)? {
        complain("Nothing was removed.");
        return Ok(());
    }
    setup::drop_all(settings, admin, &mut tell).await?;
    answer("Everything that setup made is removed.")
}

fn tell(note: Note) {
    let (sign, style, text) = match &note {
        Note::Done(text) => ("+", AnsiColor::Green, text.clone()),
        Note::Found(text) => ("=", AnsiColor::BrightBlack, text.clone()),
        Note::Hazard(hazard) => ("!", AnsiColor::Yellow, format!("{}\n    {}", hazard.what, hazard.remedy)),
    };
    let style = Style::new().fg_color(Some(style.into()));
    // What can't be printed is no reason to stop half way.
    let _ = answer(&format!("{style}{sign}{style:#} {text}"));
}

/// The tables of the integrations, as far as the catalog can be read already: the script is of use without them too.
async fn integration_tables(settings: &Settings) -> Vec<(String, String)> {
    match try_integration_tables(settings).await {
        Ok(tables) => tables,
        Err(error) => {
            warn(&format!("the integrations' tables are not known, so none is filled in: {error:#}"));
            Vec::new()
        }
    }
}

/// Schema and name of each.
async fn try_integration_tables(settings: &Settings) -> anyhow::Result<Vec<(String, String)>> {
    let catalog = connect_catalog(settings).await?;
    let context = Context { settings, catalog };
    match context.snapshot().await {
        Ok(snapshot) => {
            let tables = snapshot.integrations.into_iter().map(|one| (one.schema, one.table_name));
            Ok(tables.collect())
        }
        Err(CatalogError::NotSetUp(_)) => Ok(catalog::tables_before_setup(&context.catalog, context.schema()).await?),
        Err(error) => Err(error.into()),
    }
}
