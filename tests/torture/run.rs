//! One run: the load and the faults of a plan, the drain, the judgement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::checker::{Evidence, Findings};
use super::daemons::Process;
use super::history::History;
use super::load::WRITERS;
use super::plan::{PERMANENT, Plan, Scope};
use super::samples::{self, Samples};
use super::subscriptions::{self, Promise};
use super::summary::Summary;
use super::world::World;
use super::{faults, writers};

/// How long everything that is owed may take to arrive once all is well, on a busy machine.
const DRAIN: Duration = Duration::from_secs(180);

/// And a second more for so many notifications that are left then.
const DRAIN_RATE: u64 = 1_000;

/// Nothing new for so long, and nothing owed: it has arrived.
const QUIET: Duration = Duration::from_secs(3);

/// So many findings are printed; the file has them all.
const PRINTED: usize = 20;

/// Runs a plan; prints the summary; fails where anything is not as promised.
pub(super) async fn run(plan: Plan) {
    let directory = directory(plan.seed);
    println!("torture: seed {}, {:?}, logs in {}", plan.seed, plan.duration, directory.display());
    let world = World::make(plan, directory.clone()).await;
    let stop = CancellationToken::new();
    let mut promises = subscriptions::permanent(&world).await;
    let daemon = Process::start(&world);
    let began = Instant::now();
    world.endpoints.begin(began);
    let samples = tokio::spawn(samples::take(Arc::clone(&world), stop.clone()));
    let load: JoinSet<()> =
        (0..WRITERS).map(|number| writers::write(Arc::clone(&world), number, stop.clone())).collect();
    let guests: Vec<JoinHandle<Promise>> = world
        .plan
        .guests
        .iter()
        .cloned()
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(number, guest)| tokio::spawn(subscriptions::stay(Arc::clone(&world), number, guest, began)))
        .collect();

    let mut daemon = faults::inflict(&world, began, daemon).await;
    tokio::time::sleep_until((began + world.plan.duration).into()).await;
    world.endpoints.calm();
    stop.cancel();
    load.join_all().await;
    let samples = samples.await.expect("the looks end");
    for guest in guests {
        promises.push(guest.await.expect("the guest's stay ends"));
    }
    let history = History::read(&world.source_session().await).await.expect("the history");
    let drained_in = drain(&world, &history).await;
    if daemon.assert_alive() {
        daemon.terminate(true).await;
    }
    judge(&world, &history, &promises, &samples, drained_in);
}

/// Every run has its own; it stays where something was wrong.
fn directory(seed: u64) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("torture").join(format!("{seed}-{}", std::process::id()))
}

/// Waits until the permanent subscriptions have everything and nobody is owed anything.
async fn drain(world: &World, history: &History) -> Duration {
    let began = Instant::now();
    let expected: Vec<usize> = PERMANENT.iter().map(|scope| due(history, *scope)).collect();
    let mut quiet_since = (0, Instant::now());
    let mut limit = None;
    loop {
        let (clock, accepted) = {
            let log = world.endpoints.log();
            let accepted: Vec<usize> =
                PERMANENT.iter().enumerate().map(|(endpoint, _)| log.accepted(endpoint)).collect();
            (log.clock, accepted)
        };
        if quiet_since.0 != clock {
            quiet_since = (clock, Instant::now());
        }
        // In a run of many faults most of its time is spent waiting for leases: what has piled up grows with its length.
        let limit = *limit.get_or_insert_with(|| DRAIN + Duration::from_secs(left(&expected, &accepted) / DRAIN_RATE));
        // To count a long outbox is work for the server: not before it should be empty.
        let arrived = accepted == expected && quiet_since.1.elapsed() > QUIET;
        if arrived && owed(world).await == Some(0) {
            return began.elapsed();
        }
        if began.elapsed() > limit {
            let owed = owed(world).await;
            world.wrong(format!("not drained: {accepted:?} of {expected:?} accepted, {owed:?} owed"));
            return began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Notifications of the permanent subscriptions that are still to be accepted.
fn left(expected: &[usize], accepted: &[usize]) -> u64 {
    expected.iter().zip(accepted).map(|(expected, accepted)| expected.saturating_sub(*accepted) as u64).sum()
}

fn due(history: &History, scope: Scope) -> usize {
    match scope {
        Scope::Organization => history.changes.len(),
        Scope::Integration(table) => history.changes.iter().filter(|change| change.table == table).count(),
    }
}

async fn owed(world: &World) -> Option<i64> {
    let sql = "SELECT count(*) FROM notifications.outbox WHERE state = 'owed'";
    let row = world.catalog_session().await.query_one(sql, &[]).await;
    row.ok().map(|row| row.get(0))
}

fn judge(world: &World, history: &History, promises: &[Promise], samples: &Samples, drained_in: Duration) {
    let (log, notes) = (world.endpoints.log(), world.notes());
    let evidence = Evidence { plan: &world.plan, history, log: &log, promises, samples, deaths: &notes.deaths };
    let findings = evidence.judge();
    let summary = Summary {
        plan: &world.plan,
        history,
        notes: &notes,
        findings: &findings,
        misbehaved: log.misbehaved,
        largest_body: log.largest_body,
        most_stored: samples.most_stored,
        looks: samples.all.len(),
        drained_in,
    };
    println!("\n{summary}");
    conclude(world, &summary, &findings);
}

fn conclude(world: &World, summary: &Summary<'_>, findings: &Findings) {
    let mut wrong = summary.notes.wrong.clone();
    wrong.extend(findings.all());
    // A program that is not optimized is larger.
    if !cfg!(debug_assertions) && summary.notes.max_resident_kib > summary.memory_bound_kib() {
        wrong.push(format!("{} KiB were resident", summary.notes.max_resident_kib));
    }
    let directory = world.directory.display();
    if wrong.is_empty() {
        if std::env::var_os("TORTURE_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&world.directory);
        }
        return;
    }
    let all = format!("{summary}\n{:#?}\n\n{}\n", world.plan, wrong.join("\n"));
    std::fs::write(world.directory.join("findings.txt"), all).expect("the findings are written");
    for server in [&world.source, &world.catalog] {
        let log = world.directory.join(format!("postgres-{}.log", server.port()));
        let _ = std::fs::write(log, server.log_tail(usize::MAX));
    }
    wrong.truncate(PRINTED);
    let seed = world.plan.seed;
    panic!("seed {seed}: not as promised; all of it and the daemons' logs are in {directory}\n{}", wrong.join("\n"));
}
