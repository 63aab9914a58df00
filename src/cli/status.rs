//! `webhookdb status`: one screen, with the daemon down too.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio_postgres::Client;

use super::context::{connect_catalog, connect_source};
use super::failure::{Advice, hint, tell};
use super::integrations::rfc3339;
use super::output::{answer, answer_text};
use super::table;
use crate::admin::HELD_BACK_HINT;
use crate::catalog::health::{self, Progress, SubscriptionHealth};
use crate::catalog::leases::{self, Lease};
use crate::catalog::{CatalogError, migrations, relations, secrets};
use crate::config::{Settings, SourceSettings};
use crate::model::{Lsn, SubscriptionState};
use crate::setup::{self, Discord, Hazard};
use crate::source::{Room, SlotState};

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

/// Everything that could be read. The fields' names are the JSON's.
#[derive(Debug, Serialize)]
struct Report {
    sources: Vec<SourceReport>,
    subscriptions: Vec<SubscriptionReport>,
    daemon: DaemonReport,
}

#[derive(Debug, Serialize)]
struct SourceReport {
    name: String,
    slot: String,
    state: SourceState,
    reason: Option<String>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    retained_bytes: Option<u64>,
    /// How much log may still be written before the server gives the slot up; null without a limit.
    safe_wal_bytes: Option<i64>,
    wal_status: Option<String>,
    checkpoint_lsn: Option<String>,
    confirmed_lsn: Option<String>,
    /// What works, but not as well as it could.
    warnings: Vec<Warning>,
    #[serde(skip)]
    slot_lines: Vec<String>,
    #[serde(skip)]
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Warning {
    what: String,
    remedy: String,
}

/// How a source fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SourceState {
    /// A live daemon reads.
    Streaming,
    /// A live daemon reads nothing more until there is room.
    Waiting,
    /// No daemon reads.
    Stopped,
    /// The slot can't be read from.
    Failed,
    /// `setup` was not run.
    NotSetUp,
    /// A database does not answer.
    Unreachable,
}

#[derive(Debug, Serialize)]
struct SubscriptionReport {
    opaque_id: String,
    status: String,
    pending: i64,
    failed: i64,
    last_success: Option<String>,
    last_failure: Option<String>,
    failing_since: Option<String>,
    /// Why it is paused or deactivated, and since when.
    reason: Option<String>,
    halted_at: Option<String>,
}

/// The last daemon that served; nothing but `alive` where none ever did.
#[derive(Debug, Default, Serialize)]
struct DaemonReport {
    alive: bool,
    epoch: Option<i64>,
    host: Option<String>,
    pid: Option<i32>,
    since: Option<String>,
}

pub(super) async fn run(settings: &Settings, args: StatusArgs) -> anyhow::Result<ExitCode> {
    let catalog = read_catalog(settings).await;
    let mut report = Report { sources: Vec::new(), subscriptions: Vec::new(), daemon: DaemonReport::default() };
    for source in settings.sources() {
        report.sources.push(source_report(source, &catalog).await);
    }
    if let Ok(read) = &catalog {
        report.subscriptions = read.subscriptions.iter().map(subscription_report).collect();
        report.daemon = daemon_report(&read.leases);
    }
    match args.format {
        Format::Json => answer(&serde_json::to_string(&report)?)?,
        Format::Text => answer_text(&text(&report))?,
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

/// What the server of a source says; a server that is not reached is a state too.
async fn source_report(settings: &SourceSettings, catalog: &anyhow::Result<CatalogRead>) -> SourceReport {
    let mut report = SourceReport {
        name: settings.name().to_owned(),
        slot: settings.slot().to_owned(),
        state: SourceState::Stopped,
        reason: None,
        lag_bytes: None,
        lag_seconds: None,
        retained_bytes: None,
        safe_wal_bytes: None,
        wal_status: None,
        checkpoint_lsn: None,
        confirmed_lsn: None,
        warnings: Vec::new(),
        slot_lines: Vec::new(),
        hint: None,
    };
    if let Err(error) = read_source(settings, catalog.as_ref().ok(), &mut report).await {
        report.fail(SourceState::Unreachable, &error);
    }
    report
}

async fn read_source(
    settings: &SourceSettings,
    catalog: Option<&CatalogRead>,
    report: &mut SourceReport,
) -> anyhow::Result<()> {
    let seen = see_slot(settings).await;
    let progress = match catalog {
        Some(catalog) => health::progress(&catalog.client, settings.name()).await?,
        None => None,
    };
    let lease = catalog.and_then(|read| read.leases.iter().find(|lease| lease.live && lease.source == report.name));
    let live = lease.is_some();
    report.checkpoint_lsn = progress.as_ref().map(|progress| progress.commit_lsn.to_string());
    let (client, slot) = seen?;
    let current = slot.as_ref().and_then(|slot| slot.current_lsn);
    match (&slot, catalog.is_some() && progress.is_none()) {
        (_, true) => report.set(SourceState::NotSetUp, "setup was not run", "run `webhookdb setup`"),
        (None, _) => report.set(SourceState::Failed, "the slot does not exist", "run `webhookdb setup`"),
        (Some(slot), _) => report.take_slot(slot, &settings.url().database, live),
    }
    report.take_hold(lease.and_then(|lease| lease.held_back.as_deref()));
    if let (Some(progress), Some(catalog)) = (&progress, catalog) {
        report.take_halt(progress, setup::what_does_not_fit(&catalog.client, &client, settings, slot).await?);
    }
    if let Some(catalog) = catalog {
        let oids = relations::of_integrations(&catalog.client, settings.name()).await?;
        let hazards = setup::delete_hazards(&client, &oids).await?;
        report.warnings = hazards.into_iter().map(|Hazard { what, remedy }| Warning { what, remedy }).collect();
    }
    if let (Some(current), Some(progress)) = (current, progress) {
        report.lag_bytes = Some(current.bytes_since(progress.flush_lsn));
        report.lag_seconds = Some(lag_seconds(&progress, current, live));
    }
    Ok(())
}

async fn see_slot(settings: &SourceSettings) -> anyhow::Result<(Client, Option<SlotState>)> {
    let client = connect_source(settings).await?;
    let slot = SlotState::find(&client, settings.slot()).await.context("the slot can't be looked at")?;
    Ok((client, slot))
}

impl SourceReport {
    fn take_slot(&mut self, slot: &SlotState, database: &str, live: bool) {
        self.retained_bytes = slot.retained_bytes;
        self.safe_wal_bytes = slot.safe_wal_size;
        self.wal_status.clone_from(&slot.wal_status);
        self.slot_lines = [vec![slot_line(slot)], room_lines(slot)].concat();
        self.confirmed_lsn = slot.confirmed_flush_lsn.map(|lsn| lsn.to_string());
        match (slot.check(database), slot.active_pid.is_some(), live) {
            (_, true, true) => self.state = SourceState::Streaming,
            (_, false, true) => {
                let hint = "it reconnects by itself; its log says more";
                self.set(SourceState::Stopped, "the daemon lives, but does not read from the slot now", hint);
            }
            (Ok(()), _, false) => self.set(SourceState::Stopped, "no daemon is running", "run `webhookdb serve`"),
            (Err(error), ..) => self.fail(SourceState::Failed, &error.into()),
        }
    }

    /// Why the daemon reads nothing, although it could.
    fn take_hold(&mut self, held_back: Option<&str>) {
        if let Some(reason) = held_back.filter(|_| self.state == SourceState::Streaming) {
            self.set(SourceState::Waiting, reason, HELD_BACK_HINT);
        }
    }

    /// What keeps the daemon from going on.
    fn take_halt(&mut self, progress: &Progress, discord: Option<Discord>) {
        if let Some((commit_lsn, because)) = &progress.stuck {
            let hint = format!("`webhookdb setup --skip-transaction {commit_lsn}` passes it, and records the gap");
            self.set(SourceState::Failed, because, &hint);
        } else if let Some(discord) = discord.filter(|_| self.state != SourceState::Streaming) {
            self.fail(SourceState::Failed, &discord.into());
        }
    }

    fn set(&mut self, state: SourceState, reason: &str, hint: &str) {
        (self.state, self.reason, self.hint) = (state, Some(reason.to_owned()), Some(hint.to_owned()));
    }

    fn fail(&mut self, state: SourceState, error: &anyhow::Error) {
        (self.state, self.reason, self.hint) = (state, Some(format!("{error:#}")), hint(error));
    }
}

/// How old the first change is that is not settled, as far as it can be known: since when the log is not read to its end
/// where a daemon is at work on it, and the age of the checkpoint where none is.
fn lag_seconds(progress: &Progress, current: Lsn, live: bool) -> f64 {
    let caught_up = |lsn: Lsn| lsn >= current;
    if caught_up(progress.flush_lsn) || (live && progress.received_lsn.is_some_and(caught_up)) {
        return 0.0;
    }
    let age = if live { progress.read_age.unwrap_or_default() } else { progress.checkpoint_age };
    age.max(0.0)
}

fn subscription_report(health: &SubscriptionHealth) -> SubscriptionReport {
    SubscriptionReport {
        opaque_id: health.opaque_id.clone(),
        status: health.status.clone(),
        pending: health.pending,
        failed: health.failed,
        last_success: health.last_success.map(rfc3339),
        last_failure: health.last_failure.map(rfc3339),
        failing_since: health.failing_since.map(rfc3339),
        reason: health.halted_because.clone(),
        halted_at: health.halted_at.map(rfc3339),
    }
}

fn daemon_report(leases: &[Lease]) -> DaemonReport {
    let newest = |lease: &&Lease| (lease.live, lease.since);
    leases.iter().max_by_key(newest).map_or_else(DaemonReport::default, |lease| DaemonReport {
        alive: lease.live,
        epoch: Some(lease.epoch),
        host: Some(lease.host.clone()),
        pid: Some(lease.pid),
        since: Some(rfc3339(lease.since)),
    })
}

fn text(report: &Report) -> String {
    let mut lines = vec![daemon_line(&report.daemon), String::new()];
    for source in &report.sources {
        lines.extend(source_lines(source));
    }
    lines.push(String::new());
    let subscriptions = match report.subscriptions.as_slice() {
        [] => "No notifications.\n".to_owned(),
        some => table::render(&SUBSCRIPTIONS_HEADER, some.iter().map(cells)),
    };
    let remarks: Vec<String> = report.subscriptions.iter().flat_map(remarks).collect();
    format!("{}\n{subscriptions}{}", lines.join("\n"), remarks.concat())
}

/// What is not as it should be with a subscription, under the table.
fn remarks(subscription: &SubscriptionReport) -> Vec<String> {
    let SubscriptionReport { opaque_id, status, failing_since, reason, halted_at, .. } = subscription;
    let mut lines = Vec::new();
    if let Some(at) = halted_at {
        let reason = reason.as_deref().unwrap_or("the reason is not recorded");
        lines.push(format!("  {opaque_id} is {status} since {at}: {reason}\n"));
    }
    if status == SubscriptionState::Deactivated.as_str() {
        lines.push(format!("  hint: `webhookdb notification enable {opaque_id}`, once its endpoint is well\n"));
    } else if let Some(since) = failing_since {
        lines.push(format!("  {opaque_id} is failing since {since}\n"));
    }
    lines
}

const SUBSCRIPTIONS_HEADER: [&str; 6] = ["ID", "STATUS", "PENDING", "FAILED", "LAST SUCCESS", "LAST FAILURE"];

fn cells(subscription: &SubscriptionReport) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        subscription.opaque_id.clone(),
        subscription.status.clone(),
        subscription.pending.to_string(),
        subscription.failed.to_string(),
        or_dash(&subscription.last_success),
        or_dash(&subscription.last_failure),
    ]
}

fn daemon_line(daemon: &DaemonReport) -> String {
    let DaemonReport { alive, epoch, host, pid, since } = daemon;
    let (Some(epoch), Some(host), Some(pid), Some(since)) = (epoch, host, pid, since) else {
        return format!("Daemon   {}", coloured(false, "never started"));
    };
    let state = coloured(*alive, if *alive { "alive" } else { "down" });
    format!("Daemon   {state}   host {host}, pid {pid}, since {since}, epoch {epoch}")
}

fn source_lines(source: &SourceReport) -> Vec<String> {
    let state = match source.state {
        SourceState::Streaming => "streaming",
        SourceState::Waiting => "waiting",
        SourceState::Stopped => "stopped",
        SourceState::Failed => "failed",
        SourceState::NotSetUp => "not set up",
        SourceState::Unreachable => "unreachable",
    };
    let state = coloured(source.state == SourceState::Streaming, state);
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |bytes| ByteSize(bytes).to_string());
    let lsn = |lsn: &Option<String>| lsn.clone().unwrap_or_else(|| "?".to_owned());
    let seconds = source.lag_seconds.map_or_else(|| "?".to_owned(), |seconds| format!("{seconds:.1} s"));
    let mut lines = vec![
        format!("Source {}   {state}   slot {}", source.name, source.slot),
        format!("  lag {}, {seconds}; retained {}", bytes(source.lag_bytes), bytes(source.retained_bytes)),
        format!("  checkpoint {}, confirmed {}", lsn(&source.checkpoint_lsn), lsn(&source.confirmed_lsn)),
    ];
    lines.extend(source.slot_lines.clone());
    lines.extend(source.reason.iter().map(|reason| format!("  {reason}")));
    lines.extend(source.hint.iter().map(|hint| format!("  hint: {hint}")));
    lines.extend(source.warnings.iter().map(|Warning { what, remedy }| format!("  warning: {what}\n  hint: {remedy}")));
    lines
}

/// What the server says of the slot: who reads from it, what has become of its log, what room it has left.
fn slot_line(slot: &SlotState) -> String {
    let reader = slot.reader().map_or_else(|| "not in use".to_owned(), |reader| format!("in use by {reader}"));
    let mut words = vec![reader];
    words.extend(slot.wal_status.as_ref().map(|status| format!("its log is {status}")));
    words.extend(slot.safe_wal_size.map(|left| {
        let left = ByteSize(u64::try_from(left).unwrap_or_default());
        format!("{left} left before max_slot_wal_keep_size")
    }));
    words.extend(slot.failover.then(|| "standbys get it too".to_owned()));
    format!("  slot {}", words.join(", "))
}

/// A slot that has little room left is told so, with the remedy.
fn room_lines(slot: &SlotState) -> Vec<String> {
    let room = Room::of(slot);
    room.hint().map_or_else(Vec::new, |hint| vec![format!("  {room}"), format!("  hint: {hint}")])
}

fn coloured(good: bool, text: &str) -> String {
    let colour = if good { AnsiColor::Green } else { AnsiColor::Red };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn progress(flush: u64, received: Option<u64>) -> Progress {
        Progress {
            commit_lsn: Lsn::new(flush),
            flush_lsn: Lsn::new(flush),
            checkpoint_age: 100.0,
            received_lsn: received.map(Lsn::new),
            read_age: Some(7.0),
            stuck: None,
        }
    }

    #[test]
    fn lag_is_zero_only_where_all_the_log_is_read_or_settled() {
        let current = Lsn::new(50);
        assert_eq!(lag_seconds(&progress(50, None), current, false), 0.0);
        assert_eq!(lag_seconds(&progress(40, Some(50)), current, true), 0.0);
        assert_eq!(lag_seconds(&progress(40, Some(45)), current, true), 7.0);
        assert_eq!(lag_seconds(&progress(40, Some(50)), current, false), 100.0);
    }

    #[test]
    fn what_is_not_known_is_null_in_json() {
        let report = Report { sources: vec![], subscriptions: vec![], daemon: DaemonReport::default() };
        let json = serde_json::to_value(&report).unwrap();
        let daemon = serde_json::json!({"alive": false, "epoch": null, "host": null, "pid": null, "since": null});
        assert_eq!(json["daemon"], daemon);
    }

    #[test]
    fn a_daemon_that_lives_goes_before_one_that_is_newer_and_does_not() {
        let lease = |daemon: &str, live: bool, seconds: u64, pid: i32| Lease {
            source: daemon.to_owned(),
            daemon: daemon.to_owned(),
            epoch: 1,
            host: "h".to_owned(),
            pid,
            since: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
            live,
            revision: 1,
            caught_up_at: None,
            held_back: None,
            sealed_secrets: 0,
        };
        let report = daemon_report(&[lease("a", true, 1, 10), lease("b", false, 2, 20)]);
        assert_eq!((report.alive, report.pid), (true, Some(10)));
        assert!(!daemon_report(&[lease("b", false, 2, 20)]).alive);
    }
}
