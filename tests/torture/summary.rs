//! What a run was, in a few lines.

use std::fmt;
use std::time::Duration;

use super::checker::Findings;
use super::history::History;
use super::plan::Plan;
use super::world::{MEMORY_MIB, Notes};

/// Everything that is worth telling of a run.
pub(super) struct Summary<'a> {
    pub(super) plan: &'a Plan,
    pub(super) history: &'a History,
    pub(super) notes: &'a Notes,
    pub(super) findings: &'a Findings,
    pub(super) misbehaved: u64,
    pub(super) largest_body: usize,
    pub(super) most_stored: usize,
    pub(super) looks: usize,
    pub(super) drained_in: Duration,
}

impl Summary<'_> {
    /// 64 MiB, `memory`, and three times the largest frame and the largest body; a frame is no larger than its body.
    pub(super) fn memory_bound_kib(&self) -> u64 {
        (64 + MEMORY_MIB) * 1024 + 6 * self.largest_body as u64 / 1024
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, history, notes, findings, .. } = self;
        let counts = &notes.counts;
        let databases = if plan.one_database { "one database" } else { "source and catalog on servers of their own" };
        let lines = [
            ("seed", plan.seed.to_string()),
            ("load and faults", format!("{:.1} minutes, {databases}", plan.duration.as_secs_f64() / 60.0)),
            ("transactions", format!("{} run, {} committed something", notes.transactions, history.transactions)),
            ("changes", history.changes.len().to_string()),
            (
                "subscriptions",
                format!("{} created, {} deleted, {} refused", counts.created, counts.deleted, counts.not_created),
            ),
            ("requests", format!("{}, of which {} were treated badly", findings.requests, self.misbehaved)),
            ("notifications accepted", findings.accepted.to_string()),
            ("duplicates", findings.duplicates.to_string()),
            ("kill -9", format!("{} ({} with a standby that took over)", counts.kills, counts.takeovers)),
            ("frozen", counts.freezes.to_string()),
            ("SIGTERM", counts.terminations.to_string()),
            ("walsenders terminated", counts.walsenders.to_string()),
            (
                "Postgres stopped",
                format!(
                    "{} immediate, {} fast (the slowest in {:?})",
                    counts.immediate, counts.fast, notes.slowest_fast_stop
                ),
            ),
            ("catalog away", counts.catalog_outages.to_string()),
            ("looks at the slot", format!("{}, at most {} notifications in the outbox", self.looks, self.most_stored)),
            ("drained in", format!("{:?}", self.drained_in)),
            ("memory", format!("{} KiB at most, the bound is {} KiB", notes.max_resident_kib, self.memory_bound_kib())),
            ("lost", findings.lost.len().to_string()),
            ("out of order", findings.out_of_order.len().to_string()),
            ("repeated for no reason", findings.repeated.len().to_string()),
            ("passed by the slot", findings.passed.len().to_string()),
            ("otherwise wrong", (findings.other.len() + notes.wrong.len()).to_string()),
        ];
        lines.iter().try_for_each(|(name, value)| writeln!(f, "{name:>24}  {value}"))
    }
}
