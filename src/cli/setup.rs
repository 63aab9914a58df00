//! `webhookdb setup`: prepares everything, and tells what it did and found.

use anstyle::{AnsiColor, Style};
use clap::Args;

use super::context::{Context, connect_catalog};
use super::output::{answer, answer_text, complain, warn};
use super::prompt;
use crate::catalog::{self, CatalogError};
use crate::config::Settings;
use crate::model::Lsn;
use crate::setup::{self, Accept, Note};
use crate::source::publication::qualified;

/// What to do.
#[derive(Args, Debug)]
pub(super) struct SetupArgs {
    /// Print the SQL for a DBA to run with psql, and do nothing
    #[arg(long, conflicts_with_all = ["drop", "accept_gap", "accept_server", "skip_transaction"])]
    sql: bool,
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

pub(super) async fn run(settings: &Settings, args: SetupArgs) -> anyhow::Result<()> {
    if args.sql {
        return answer_text(&setup::fill_in(settings, &integration_tables(settings).await));
    }
    if args.drop {
        return drop_all(settings, args.yes).await;
    }
    if let Some(lsn) = args.skip_transaction {
        setup::skip_transaction(settings, lsn, &mut tell).await?;
        return answer("Everything after the transaction will be delivered.");
    }
    let accept = Accept { gap: args.accept_gap, server: args.accept_server };
    setup::run(settings, accept, &mut tell).await?;
    answer("Everything is set up.")
}

async fn drop_all(settings: &Settings, yes: bool) -> anyhow::Result<()> {
    let question = "This removes the slot, the publication, and every subscription with what it is owed. \
                    Where setup made the tables of organizations and integrations, these too. Go on? [y/N] ";
    if !yes && !prompt::confirm(question)? {
        complain("Nothing was removed.");
        return Ok(());
    }
    setup::drop_all(settings, &mut tell).await?;
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
async fn integration_tables(settings: &Settings) -> Vec<String> {
    match try_integration_tables(settings).await {
        Ok(tables) => tables,
        Err(error) => {
            warn(&format!("the integrations' tables are not known, so none is filled in: {error:#}"));
            Vec::new()
        }
    }
}

async fn try_integration_tables(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let catalog = connect_catalog(settings).await?;
    let context = Context { settings, catalog };
    match context.snapshot().await {
        Ok(snapshot) => Ok(snapshot.integrations.iter().map(|one| qualified(&one.schema, &one.table_name)).collect()),
        Err(CatalogError::NotSetUp(_)) => {
            let tables = catalog::tables_before_setup(&context.catalog, context.schema()).await?;
            Ok(tables.iter().map(|(schema, name)| qualified(schema, name)).collect())
        }
        Err(error) => Err(error.into()),
    }
}
