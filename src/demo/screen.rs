//! What the demo shows: plain lines, coloured where the terminal allows and NO_COLOR does not forbid.

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::pretty::pretty;
use super::receiver::Delivery;
use super::tally::Tally;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const KEY: Style = AnsiColor::Cyan.on_default();

/// The headers that a subscriber needs; the rest is HTTP's own.
const HEADERS: [&str; 6] =
    ["content-type", "user-agent", "webhook-id", "webhook-timestamp", "webhook-signature", "whdb-attempt"];

/// Standard output. A reader that went away does not stop the demo: its exit status is its answer, too.
#[derive(Debug, Default)]
pub(super) struct Screen;

impl Screen {
    fn line(&self, text: &str) {
        let _ = writeln!(anstream::stdout(), "{text}");
    }

    pub(super) fn title(&self, text: &str) {
        self.line(&format!("{BOLD}{text}{BOLD:#}"));
    }

    /// A step begins.
    pub(super) fn step(&self, text: &str) {
        self.line(&format!("\n{GOOD}▸{GOOD:#} {BOLD}{text}{BOLD:#}"));
    }

    pub(super) fn note(&self, text: &str) {
        self.line(&format!("  {DIM}{text}{DIM:#}"));
    }

    /// A command as one would type it, and what it answered.
    pub(super) fn command(&self, typed: &str, answer: &str) {
        self.line(&format!("  $ webhookdb {typed}"));
        answer.lines().for_each(|line| self.note(line));
    }

    /// One notification on one line.
    pub(super) fn arrival(&self, delivery: &Delivery) {
        let (style, verdict) = if delivery.verified { (GOOD, "✓ verified") } else { (BAD, "✗ not verified") };
        let (kind, id, took) = (&delivery.kind, &delivery.external_id, time(delivery.latency));
        self.line(&format!(
            "  {KEY}{kind}{KEY:#} {id}  {style}{verdict}{style:#}  {DIM}{took} after the commit{DIM:#}"
        ));
    }

    /// One notification, whole.
    pub(super) fn whole(&self, delivery: &Delivery) {
        self.line(&format!("  {DIM}POST /{DIM:#}"));
        for name in HEADERS {
            if let Some(value) = delivery.headers.get(name).and_then(|value| value.to_str().ok()) {
                self.line(&format!("  {KEY}{name}{KEY:#}: {value}"));
            }
        }
        let body = pretty(&String::from_utf8_lossy(&delivery.body), &|name| format!("{KEY}{name}{KEY:#}"));
        self.line("");
        body.lines().for_each(|line| self.line(&format!("  {line}")));
        self.line("");
    }

    /// A bar on the terminal; nothing where there is none.
    pub(super) fn progress(&self, length: usize) -> ProgressBar {
        let bar = ProgressBar::new(length as u64);
        let template = "  {bar:40.green} {pos}/{len} notifications, {per_sec}";
        bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    pub(super) fn summary(&self, changes: usize, tally: &Tally) {
        let complete = tally.notifications() == changes;
        self.step("Summary");
        self.figure("changes committed", &grouped(changes), true);
        let repeated =
            if tally.repeated() == 0 { "none twice".to_owned() } else { format!("{} repeated", tally.repeated()) };
        self.figure("notifications", &format!("{} ({repeated})", grouped(tally.notifications())), complete);
        self.figure("verified signatures", &grouped(tally.verified()), tally.unverified() == 0);
        let (p50, p99) = (time(tally.percentile(50)), time(tally.percentile(99)));
        self.figure("commit to receipt", &format!("p50 {p50}, p99 {p99}"), true);
        self.note("(the backfill is one commit: its last row waits for all the others)");
        self.note("Server, data and daemon are gone again.");
    }

    fn figure(&self, name: &str, value: &str, good: bool) {
        let (style, sign) = if good { (GOOD, "✓") } else { (BAD, "✗") };
        self.line(&format!("  {style}{sign}{style:#} {name:<20} {BOLD}{value}{BOLD:#}"));
    }
}

/// With as many digits as mean something.
pub(super) fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1_000.0),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1_000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

/// `2003` as `2,003`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (2_003, "2,003"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn times_are_shown_to_a_sensible_digit() {
        assert_eq!(time(Duration::from_micros(1_234)), "1.2 ms");
        assert_eq!(time(Duration::from_millis(512)), "512 ms");
        assert_eq!(time(Duration::from_millis(1_504)), "1.5 s");
    }
}
