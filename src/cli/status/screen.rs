//! What `status` says, as people read it: the verdict first, then each source, then each subscription.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use bytesize::ByteSize;

use super::super::table;
use super::report::{DaemonReport, Moment, Report, SourceReport, SourceState, SubscriptionReport, Warning};
use crate::model::SubscriptionState;

const SUBSCRIPTIONS_HEADER: [&str; 7] = ["ID", "STATUS", "PENDING", "FAILED", "LAST SUCCESS", "LAST FAILURE", "URL"];

/// The screen. Where colours are not wanted, they are taken out as it is printed.
pub(super) fn text(report: &Report, catalog_was_read: bool) -> String {
    let mut lines = vec![verdict(report, catalog_was_read), daemon_line(&report.daemon, catalog_was_read)];
    for source in &report.sources {
        lines.push(String::new());
        lines.extend(source_lines(source));
    }
    lines.push(String::new());
    lines.extend(match (report.subscriptions.as_slice(), catalog_was_read) {
        (_, false) => vec!["Notifications: not known, since the catalog could not be read.".to_owned()],
        ([], true) => vec!["No notifications.".to_owned()],
        (some, true) => subscription_lines(some),
    });
    lines.extend(report.subscriptions.iter().flat_map(remarks));
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// What an operator wants to know first.
fn verdict(report: &Report, catalog_was_read: bool) -> String {
    let not_well = report.sources.iter().filter(|source| source.state != SourceState::Streaming);
    let mut wrong: Vec<String> =
        not_well.map(|source| format!("source {} is {}", source.name, state_word(source.state))).collect();
    if !catalog_was_read {
        wrong.insert(0, "the catalog could not be read".to_owned());
    }
    let (colour, word) = if wrong.is_empty() { (AnsiColor::Green, "healthy") } else { (AnsiColor::Red, "not healthy") };
    let because = if wrong.is_empty() { String::new() } else { format!(": {}", wrong.join("; ")) };
    let besides = endpoints(&report.subscriptions).map_or_else(String::new, |besides| format!("; {besides}"));
    format!("Status   {}{because}{besides}", painted(colour, word))
}

/// Endpoints that are not well are their subscribers' affair: told, and no reason to call the whole unhealthy.
fn endpoints(subscriptions: &[SubscriptionReport]) -> Option<String> {
    let is_deactivated = |one: &&SubscriptionReport| one.status == SubscriptionState::Deactivated.as_str();
    let deactivated = subscriptions.iter().filter(is_deactivated).count();
    let failing = subscriptions.iter().filter(|one| one.failing_since.is_some() && !is_deactivated(one)).count();
    let counted = [(failing, "failing"), (deactivated, "deactivated")].into_iter().filter(|(count, _)| *count > 0);
    let all = subscriptions.len();
    let counted: Vec<String> = counted.map(|(count, word)| format!("{count} of {all} {word}")).collect();
    (!counted.is_empty()).then(|| format!("notifications: {}", counted.join(", ")))
}

fn daemon_line(daemon: &DaemonReport, catalog_was_read: bool) -> String {
    let DaemonReport { alive, epoch, host, pid, since } = daemon;
    let (Some(epoch), Some(host), Some(pid), Some(since)) = (epoch, host, pid, since) else {
        let words = if catalog_was_read { "never started" } else { "not known" };
        return format!("Daemon   {}", painted(AnsiColor::Red, words));
    };
    let state = if *alive { painted(AnsiColor::Green, "alive") } else { painted(AnsiColor::Red, "down") };
    format!("Daemon   {state}, host {host}, pid {pid}, started {}, epoch {epoch}", since.ago())
}

const fn state_word(state: SourceState) -> &'static str {
    match state {
        SourceState::Streaming => "streaming",
        SourceState::Waiting => "waiting",
        SourceState::Stopped => "stopped",
        SourceState::Failed => "failed",
        SourceState::NotSetUp => "not set up",
        SourceState::Unreachable => "unreachable",
    }
}

const fn state_colour(state: SourceState) -> AnsiColor {
    match state {
        SourceState::Streaming => AnsiColor::Green,
        SourceState::Waiting | SourceState::Stopped => AnsiColor::Yellow,
        SourceState::Failed | SourceState::NotSetUp | SourceState::Unreachable => AnsiColor::Red,
    }
}

fn source_lines(source: &SourceReport) -> Vec<String> {
    let state = painted(state_colour(source.state), state_word(source.state));
    let bytes = |bytes: Option<u64>| bytes.map_or_else(unknown, |bytes| ByteSize(bytes).to_string());
    let lsn = |lsn: &Option<String>| lsn.clone().unwrap_or_else(unknown);
    let seconds = source.lag_seconds.map_or_else(unknown, |seconds| format!("{seconds:.1} s"));
    let mut lines = vec![format!("Source {}   {state}   slot {}", source.name, source.slot)];
    lines.extend(source.reason.iter().map(|reason| format!("  {}", painted(state_colour(source.state), reason))));
    lines.extend(source.hint.iter().map(|hint| hint_line(hint)));
    if source.lag_bytes.is_some() || source.retained_bytes.is_some() {
        lines.push(format!("  lag {}, {seconds}; retained {}", bytes(source.lag_bytes), bytes(source.retained_bytes)));
    }
    if source.checkpoint_lsn.is_some() || source.confirmed_lsn.is_some() {
        lines.push(format!("  checkpoint {}, confirmed {}", lsn(&source.checkpoint_lsn), lsn(&source.confirmed_lsn)));
    }
    lines.extend(source.slot_lines.clone());
    for Warning { what, remedy } in &source.warnings {
        lines.extend([format!("  {}: {what}", painted(AnsiColor::Yellow, "warning")), hint_line(remedy)]);
    }
    lines
}

fn unknown() -> String {
    "?".to_owned()
}

fn hint_line(hint: &str) -> String {
    format!("  hint: {hint}")
}

fn subscription_lines(subscriptions: &[SubscriptionReport]) -> Vec<String> {
    let rendered = table::render(&SUBSCRIPTIONS_HEADER, subscriptions.iter().map(cells));
    // Painted afterwards: the table counts what a colour takes as letters.
    let mut lines: Vec<String> = rendered.lines().map(str::to_owned).collect();
    for (line, subscription) in lines.iter_mut().skip(1).zip(subscriptions) {
        let status = &subscription.status;
        *line = line.replacen(status.as_str(), &painted(status_colour(subscription), status), 1);
    }
    lines
}

fn status_colour(subscription: &SubscriptionReport) -> AnsiColor {
    match subscription.status.as_str() {
        status if status == SubscriptionState::Deactivated.as_str() => AnsiColor::Red,
        status if status == SubscriptionState::Active.as_str() && subscription.failing_since.is_none() => {
            AnsiColor::Green
        }
        _ => AnsiColor::Yellow,
    }
}

fn cells(subscription: &SubscriptionReport) -> Vec<String> {
    let or_dash = |moment: Option<Moment>| moment.map_or_else(|| "-".to_owned(), Moment::ago);
    vec![
        subscription.opaque_id.clone(),
        subscription.status.clone(),
        subscription.pending.to_string(),
        subscription.failed.to_string(),
        or_dash(subscription.last_success),
        or_dash(subscription.last_failure),
        subscription.url.clone(),
    ]
}

/// What is not as it should be with a subscription, under the table.
fn remarks(subscription: &SubscriptionReport) -> Vec<String> {
    let SubscriptionReport { opaque_id, status, failing_since, failed, reason, halted_at, .. } = subscription;
    let mut lines = Vec::new();
    if let Some(at) = halted_at {
        let reason = reason.as_deref().unwrap_or("the reason is not recorded");
        lines.push(format!("  {opaque_id} is {status} since {}: {reason}", in_full(at)));
    }
    if status == SubscriptionState::Deactivated.as_str() {
        lines.push(hint_line(&format!("`webhookdb notification enable {opaque_id}`, once its endpoint is well")));
    } else if let Some(since) = failing_since {
        lines.push(format!("  {opaque_id} is failing since {}", in_full(since)));
        lines.push(hint_line(&format!("`webhookdb notification show {opaque_id}` has the last errors")));
    }
    if *failed > 0 {
        let events = if *failed == 1 { "event was" } else { "events were" };
        lines.push(format!("  {opaque_id}: {failed} {events} given up"));
        lines.push(hint_line(&format!(
            "`webhookdb notification failures {opaque_id}` shows them, `retry` sends them again"
        )));
    }
    lines
}

/// Both: when it was is what one looks for in a log.
fn in_full(moment: &Moment) -> String {
    format!("{} ({})", humantime::format_rfc3339_seconds(moment.0), moment.ago())
}

fn painted(colour: AnsiColor, text: impl Display) -> String {
    let style = Style::new().fg_color(Some(colour.into())).bold();
    format!("{style}{text}{style:#}")
}
