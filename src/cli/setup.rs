//! `webhookdb setup`: prepares everything, and tells what it did and found.

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use clap::Args;

use super::context::{Context, connect_catalog, source_of};
use super::failure::{self, Advice};
use super::output::{answer, answer_text, complain, warn};
use super::{prompt, unseen};
use crate::catalog::{self, CatalogError, Integration, Snapshot};
use crate::config::{PostgresUrl, Settings, SourceSettings};
use crate::model::{Lsn, Secret};
use crate::setup::{self, Accept, Note};

/// What to do.
#[derive(Args, Debug)]
pub(super) struct SetupArgs {
    /// Print the SQL for a DBA to run with psql, and do nothing
    #[arg(long, conflicts_with_all = ["drop", "accept_gap", "accept_server", "skip_transaction"])]
    sql: bool,
    /// This source alone, and of several the one that a gap is accepted or a transaction skipped for
    #[arg(long, value_name = "NAME", conflicts_with = "drop")]
    source: Option<String>,
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

pub(super) async fn run(settings: &Settings, args: SetupArgs) -> anyhow::Result<()> {
    let admin: Option<PostgresUrl> = match &args.admin_url {
        Some(url) => Some(url.expose().parse().context("--admin-url can't be used")?),
        None => None,
    };
    if args.drop {
        return drop_all(settings, admin, args.yes).await;
    }
    let sources = chosen(settings, args.source.as_deref())?;
    if args.sql {
        return answer_text(&setup::fill_in(settings, &with_tables(settings, &sources).await));
    }
    if let Some(lsn) = args.skip_transaction {
        setup::skip_transaction(settings, &sources, lsn, &mut tell).await?;
        return answer("Everything after the transaction will be delivered.");
    }
    let accept = Accept { gap: args.accept_gap, server: args.accept_server };
    if sources.len() > 1 && accept != Accept::default() {
        let what = "a gap or another server is accepted for one source only, and there are several";
        return Err(Advice::new(what, "name it by --source; `webhookdb status` shows how each of them fares").into());
    }
    set_up(settings, &sources, accept, admin).await
}

async fn set_up(
    settings: &Settings,
    sources: &[&SourceSettings],
    accept: Accept,
    admin: Option<PostgresUrl>,
) -> anyhow::Result<()> {
    let mut failed = setup::run(settings, sources, accept, admin, &mut tell).await?;
    let Some(last) = failed.pop() else { return answer("Everything is set up.") };
    for error in failed {
        failure::tell(&error.into());
    }
    Err(last.into())
}

/// The source of this name, or all of them.
fn chosen<'s>(settings: &'s Settings, name: Option<&str>) -> anyhow::Result<Vec<&'s SourceSettings>> {
    match name {
        Some(name) => Ok(vec![source_of(settings, name)?]),
        None => Ok(settings.sources().iter().collect()),
    }
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

/// Each source with the tables of its integrations, as far as the catalog can be read already: the script is of use without
/// them too.
async fn with_tables<'s>(
    settings: &Settings,
    sources: &[&'s SourceSettings],
) -> Vec<(&'s SourceSettings, Vec<(String, String)>)> {
    let tables = match try_integration_tables(settings).await {
        Ok(tables) => tables,
        Err(error) => {
            warn(&format!("the integrations' tables are not known, so none is filled in: {error:#}"));
            Vec::new()
        }
    };
    let of = |source: &SourceSettings| {
        let here = tables.iter().filter(|(place, _)| place.as_deref() == Some(source.name()));
        here.map(|(_, table)| table.clone()).collect()
    };
    sources.iter().map(|source| (*source, of(source))).collect()
}

/// Schema and name of each integration's table, each with its source.
async fn try_integration_tables(settings: &Settings) -> anyhow::Result<Vec<(Option<String>, (String, String))>> {
    let catalog = connect_catalog(settings).await?;
    let context = Context { settings, catalog };
    match context.snapshot().await {
        Ok(Snapshot { integrations, .. }) => {
            let of = |one: Integration| (one.source, (one.schema, one.table_name));
            Ok(integrations.into_iter().map(of).collect())
        }
        Err(CatalogError::NotSetUp(_)) => {
            let placement = settings.placement();
            let tables = catalog::tables_before_setup(&context.catalog, context.schema()).await?;
            let of = |[organization, schema, name]: [String; 3]| {
                (placement.only_source_of(&organization).map(str::to_owned), (schema, name))
            };
            Ok(tables.into_iter().map(of).collect())
        }
        Err(error) => Err(error.into()),
    }
}
