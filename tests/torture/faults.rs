//! Does to the daemon and its servers what the plan says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use webhookdb_notifications::demo::{StopMode, ThrowawayPostgres};

use super::daemons::Process;
use super::plan::{Fault, Meanwhile};
use super::world::World;
use crate::support::cluster;

/// A fast stop that takes longer was held up; Postgres itself needs a fraction of a second.
const PROMPT: Duration = Duration::from_secs(10);

/// Every fault in its time, and the daemon that runs at the end.
pub(super) async fn inflict(world: &Arc<World>, began: Instant, mut daemon: Process) -> Process {
    for (at, fault) in &world.plan.faults {
        tokio::time::sleep_until((began + *at).into()).await;
        if !daemon.assert_alive() {
            daemon = Process::start(world);
        }
        note(world, &format!("{:?} {fault:?}", began.elapsed()));
        daemon = strike(world, fault, daemon).await;
    }
    daemon
}

async fn strike(world: &Arc<World>, fault: &Fault, daemon: Process) -> Process {
    match fault {
        Fault::Kill { down } => {
            kill(world, daemon).await;
            restarted(world, *down).await
        }
        Fault::Terminate { down } => {
            world.notes().counts.terminations += 1;
            daemon.terminate(true).await;
            restarted(world, *down).await
        }
        Fault::TerminateWalsender => {
            terminate_walsender(world).await;
            daemon
        }
        Fault::TerminateSessions => {
            terminate_walsender(world).await;
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                       WHERE application_name LIKE 'webhookdb%'";
            // Whether it comes to the end does not matter.
            let _ = world.source_session().await.query(sql, &[]).await;
            let _ = world.catalog_session().await.query(sql, &[]).await;
            daemon
        }
        Fault::RestartSource { mode, down } => {
            stop(world, &world.source, *mode).await;
            tokio::time::sleep(*down).await;
            cluster::start(&world.source).await;
            daemon
        }
        Fault::CatalogAway { mode, down, meanwhile } => catalog_away(world, *mode, *down, *meanwhile, daemon).await,
        Fault::Takeover { standing_by } => {
            world.notes().counts.takeovers += 1;
            let standby = Process::start(world);
            tokio::time::sleep(*standing_by).await;
            kill(world, daemon).await;
            standby
        }
        Fault::Freeze { frozen } => freeze(world, *frozen, daemon).await,
    }
}

async fn kill(world: &World, daemon: Process) {
    world.notes().counts.kills += 1;
    daemon.kill().await;
}

async fn restarted(world: &Arc<World>, down: Duration) -> Process {
    tokio::time::sleep(down).await;
    Process::start(world)
}

async fn terminate_walsender(world: &World) {
    world.notes().counts.walsenders += 1;
    let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
               WHERE slot_name = $1 AND active_pid IS NOT NULL";
    let _ = world.source_session().await.query(sql, &[&world.slot()]).await;
}

async fn stop(world: &World, server: &Arc<ThrowawayPostgres>, mode: StopMode) {
    let began = Instant::now();
    cluster::stop(server, mode).await;
    let took = began.elapsed();
    let mut notes = world.notes();
    match mode {
        StopMode::Immediate => notes.counts.immediate += 1,
        StopMode::Fast => {
            notes.counts.fast += 1;
            notes.slowest_fast_stop = notes.slowest_fast_stop.max(took);
        }
    }
    drop(notes);
    if mode == StopMode::Fast && took > PROMPT {
        world.wrong(format!("a fast stop of Postgres took {took:?}"));
    }
}

async fn catalog_away(
    world: &Arc<World>,
    mode: StopMode,
    down: Duration,
    meanwhile: Meanwhile,
    daemon: Process,
) -> Process {
    world.notes().counts.catalog_outages += 1;
    stop(world, &world.catalog, mode).await;
    tokio::time::sleep(down / 2).await;
    let gone = match meanwhile {
        Meanwhile::Nothing => Some(daemon),
        Meanwhile::TerminateWalsender => {
            terminate_walsender(world).await;
            Some(daemon)
        }
        Meanwhile::Kill => {
            kill(world, daemon).await;
            None
        }
        Meanwhile::Terminate => {
            world.notes().counts.terminations += 1;
            daemon.terminate(false).await;
            None
        }
    };
    let daemon = gone.unwrap_or_else(|| Process::start(world));
    tokio::time::sleep(down / 2).await;
    cluster::start(&world.catalog).await;
    daemon
}

/// The one that stands by takes over, and the one that was frozen goes on; one of them is left.
async fn freeze(world: &Arc<World>, frozen: Duration, daemon: Process) -> Process {
    world.notes().counts.freezes += 1;
    let standby = Process::start(world);
    let began = Instant::now();
    daemon.signal(Signal::SIGSTOP);
    tokio::time::sleep(frozen).await;
    daemon.signal(Signal::SIGCONT);
    // Time for what the old one must not do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.notes().deaths.push((began, Instant::now()));
    kill(world, daemon).await;
    standby
}

/// For whoever reads the daemons' logs beside it.
pub(super) fn note(world: &World, what: &str) {
    use std::io::Write as _;
    let now = humantime::format_rfc3339_micros(std::time::SystemTime::now());
    let file = std::fs::OpenOptions::new().create(true).append(true).open(world.directory.join("faults.log"));
    let _ = file.and_then(|mut file| writeln!(file, "{now} {what}"));
}
