//! A backlog in a slot's log, and how fast it is read: by the daemon, and by pg_recvlogical from a copy of the slot.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use tokio::process::Command;

use super::report::Cost;
use crate::support::{Daemon, Site, psql};

/// Nothing that is measured takes longer.
const LIMIT: Duration = Duration::from_secs(900);

/// Memory that stays the same for so long is at rest.
const RESTS_FOR: Duration = Duration::from_secs(3);

/// How a backlog is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All rows at once.
    OneTransaction,
    /// Each row by itself.
    OneRowEach,
}

/// What stands in the log after the slot's position.
pub(super) struct Backlog {
    /// Behind the last commit, and before what was written for the reading to end at.
    end: String,
}

/// Charges with `data` of about 1 KB.
const INSERT: &str = "INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, balance_transaction, billing_email, created,
        customer, payment_type, status, updated, data)
    SELECT 'ch_' || n, n, 'txn_' || n, 'jane@example.com', timestamptz '2026-11-01 09:30:00+00', 'cus_' || n % 100, 'card',
        'succeeded', to_timestamp(n), jsonb_build_object('id', 'ch_' || n, 'object', 'charge', 'amount', n, 'currency', 'usd',
            'description', repeat('a charge with a description, ', 30), 'livemode', true)";

/// Writes it while no daemon runs.
pub(super) async fn write_backlog(site: &Site, rows: usize, shape: Shape) -> Backlog {
    match shape {
        Shape::OneTransaction => site.database.execute(&format!("{INSERT} FROM generate_series(1, {rows}) AS n")).await,
        Shape::OneRowEach => {
            site.database.execute("SET synchronous_commit = off").await;
            let commits = format!("DO $$ BEGIN FOR n IN 1..{rows} LOOP {INSERT}; COMMIT; END LOOP; END $$");
            site.database.execute(&commits).await;
            site.database.execute("RESET synchronous_commit").await;
        }
    }
    let end = site.database.text("SELECT pg_current_wal_insert_lsn()::text").await.expect("an LSN");
    mark(site).await;
    Backlog { end }
}

/// Something to read behind what was written, which tells that it is read.
async fn mark(site: &Site) {
    site.database.execute("SELECT pg_logical_emit_message(true, 'bench', 'end')").await;
}

/// Seconds that pg_recvlogical takes for it from a copy of the slot, less what it takes for nothing: the daemon's start is not
/// counted either. It reads all of it once before: the daemon, whose turn comes later, finds the log read too.
pub(super) async fn recvlogical(site: &Site, backlog: &Backlog) -> f64 {
    let slot = site.database.name();
    let copy = format!("{slot}_copy");
    site.database.execute(&format!("SELECT pg_copy_logical_replication_slot('{slot}', '{copy}')")).await;
    let before = format!("{copy}_before");
    site.database.execute(&format!("SELECT pg_copy_logical_replication_slot('{slot}', '{before}')")).await;
    run_recvlogical(site, &before, &backlog.end).await;
    site.database.execute(&format!("SELECT pg_drop_replication_slot('{before}')")).await;
    let all = run_recvlogical(site, &copy, &backlog.end).await;
    let end = site.database.text("SELECT pg_current_wal_insert_lsn()::text").await.expect("an LSN");
    site.database.execute(&format!("SELECT pg_replication_slot_advance('{copy}', '{end}')")).await;
    mark(site).await;
    let nothing = run_recvlogical(site, &copy, &end).await;
    site.database.execute(&format!("SELECT pg_drop_replication_slot('{copy}')")).await;
    all.saturating_sub(nothing).as_secs_f64()
}

async fn run_recvlogical(site: &Site, slot: &str, end: &str) -> Duration {
    let port = site.database.cluster().port().to_string();
    let program = psql::program("pg_recvlogical");
    let mut command = Command::new(program);
    command.args(["--start", "--no-loop", "-f", "/dev/null", "-h", "127.0.0.1", "-U", "postgres"]);
    command.args(["-p", &port, "-d", site.database.name(), "-S", slot, "-E", end]);
    command.args(["-o", "proto_version=1", "-o", "messages=true", "-o", "publication_names=webhookdb_notifications"]);
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(LIMIT, output).await.expect("in time").expect("pg_recvlogical runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    begun.elapsed()
}

/// A daemon that works through a backlog, from the moment when it began to stream.
pub(super) struct Run {
    pub(super) daemon: Daemon,
    begun: SystemTime,
    cpu_before: f64,
}

impl Run {
    pub(super) async fn start(site: &Site) -> Self {
        let daemon = site.serve().await;
        daemon.wait_for_log("streaming").await;
        let begun = streaming_since(&daemon.log());
        Self { cpu_before: 0.0, begun, daemon }
    }

    /// Counts from here on.
    pub(super) fn begin_now(&mut self) {
        self.begun = SystemTime::now();
        self.cpu_before = cpu_seconds(&self.daemon);
    }

    /// Seconds until so many changes were read.
    pub(super) async fn read(&self, changes: usize) -> f64 {
        self.reached("changes_total", &[], changes).await
    }

    /// Seconds until so many notifications were delivered.
    pub(super) async fn delivered(&self, notifications: usize) -> f64 {
        self.reached("notifications_total", &[("outcome", "delivered")], notifications).await
    }

    /// Looks ever more often the nearer it comes, so that looking costs little and is exact.
    async fn reached(&self, metric: &str, labels: &[(&str, &str)], count: usize) -> f64 {
        let deadline = Instant::now() + LIMIT;
        loop {
            let so_far = self.daemon.metric(metric, labels).await;
            let took = self.begun.elapsed().unwrap_or_default();
            if so_far >= count as f64 {
                return took.as_secs_f64();
            }
            assert!(Instant::now() < deadline, "{metric} is at {so_far} of {count}\n{}", self.daemon.log());
            let left = took.mul_f64(((count as f64 - so_far) / so_far.max(1.0)).min(1e3));
            tokio::time::sleep((left / 2).clamp(Duration::from_millis(2), Duration::from_millis(100))).await;
        }
    }

    /// Seconds until the slot has moved past the backlog: all of it is delivered, or durably in the outbox.
    pub(super) async fn settled(&self, site: &Site, backlog: &Backlog) -> f64 {
        let (slot, end) = (site.database.name(), &backlog.end);
        let sql = format!(
            "SELECT confirmed_flush_lsn >= '{end}' FROM pg_catalog.pg_replication_slots WHERE slot_name = '{slot}'"
        );
        let deadline = Instant::now() + LIMIT;
        while !site.database.is_true(&sql).await {
            assert!(Instant::now() < deadline, "the slot does not come past {end}\n{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.begun.elapsed().unwrap_or_default().as_secs_f64()
    }

    /// Resident once it stays the same, to a hundredth, for some seconds: a catalog is read several times at a start.
    pub(super) async fn resting_memory(&self) -> usize {
        let (mut memory, mut since) = (self.daemon.resident_memory(), Instant::now());
        let deadline = Instant::now() + LIMIT;
        while since.elapsed() < RESTS_FOR {
            assert!(Instant::now() < deadline, "its memory does not come to rest: {memory} bytes");
            tokio::time::sleep(RESTS_FOR / 20).await;
            let now = self.daemon.resident_memory();
            if now.abs_diff(memory) > memory / 100 {
                (memory, since) = (now, Instant::now());
            }
        }
        memory
    }

    /// What it took so far, for so many notifications.
    pub(super) fn cost(&self, notifications: usize) -> Cost {
        let cpu_seconds = cpu_seconds(&self.daemon) - self.cpu_before;
        Cost { peak_memory: self.daemon.peak_memory(), cpu_seconds, notifications }
    }
}

/// When it says that it began.
fn streaming_since(log: &str) -> SystemTime {
    let line = log.lines().find(|line| line.contains("streaming")).expect("it streams");
    let time = line.split_whitespace().next().expect("a time");
    humantime::parse_rfc3339(time).expect("a time")
}

/// Of user and system, by `/proc/PID/stat` (proc_pid_stat(5)), in ticks of a hundredth.
fn cpu_seconds(daemon: &Daemon) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("the daemon is running");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
    ticks / 100.0
}
