//! How the daemon stops, and how Postgres stops beside it: promptly, nothing lost, nothing repeated that need not be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use crate::support::fixtures::backfill_charges;
use crate::support::reply::Gate;
use crate::support::{Received, Receiver, Reply, Site, TestDatabase, cluster, own_cluster};

/// What a stop may take longer beside a daemon that holds it up in no way: the contract's 2 seconds. One that is held up
/// takes a minute or more.
const PROMPT: Duration = Duration::from_secs(2);

/// The last writes of a daemon and its last words to the server, beyond the grace.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// For a machine that has other things to do.
const BUSY: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_attempts_finish_and_leaves_no_duplicates() {
    stops_in_good_order("sigterm", Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_lets_attempts_finish_and_leaves_no_duplicates() {
    stops_in_good_order("sigint", Signal::SIGINT).await;
}

/// In the middle of a backlog: one endpoint slow, one refusing some rows for a while, so that some is owed to the outbox.
async fn stops_in_good_order(name: &str, signal: Signal) {
    const ROWS: usize = 300;
    let site = Site::new(name).await;
    let (slow, moody) = (Receiver::start().await, Receiver::start().await);
    slow.always(Reply::After(Duration::from_millis(50), Box::new(Reply::OK)));
    moody.respond(|request| match request.external_id().ends_with('7') && request.times_seen < 2 {
        true => Reply::Status(500),
        false => Reply::After(Duration::from_millis(50), Box::new(Reply::OK)),
    });
    for receiver in [&slow, &moody] {
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    }
    let mut daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=300).await;
    tokio::join!(slow.wait_for(20), moody.wait_for(20));
    daemon.signal(signal);
    assert_eq!(daemon.exited().await.code(), Some(0), "{}", daemon.log());
    assert!(slow.count() < ROWS && moody.count() < ROWS, "nothing was left for the second daemon to do");
    let _daemon = site.serve().await;
    let of_slow = |_: &Received| true;
    let of_moody = |request: &Received| request.times_seen >= 2 || !request.external_id().ends_with('7');
    tokio::join!(wait_for_accepted(&slow, of_slow, ROWS), wait_for_accepted(&moody, of_moody, ROWS));
    // What would have been sent again was due before this.
    backfill_charges(site.database.client(), 301..=301).await;
    tokio::join!(slow.wait_for_id("ch_301"), moody.wait_for_id("ch_301"));
    assert_eq!((accepted(&slow.received(), of_slow), accepted(&moody.received(), of_moody)), (ROWS + 1, ROWS + 1));
}

async fn wait_for_accepted(receiver: &Receiver, good: impl Fn(&Received) -> bool, rows: usize) {
    let all = |requests: &[Arc<Received>]| accepted(requests, &good) >= rows;
    receiver.wait_until(&format!("{rows} accepted"), all).await;
}

fn accepted(requests: &[Arc<Received>], good: impl Fn(&Received) -> bool) -> usize {
    requests.iter().filter(|request| good(request)).count()
}

#[tokio::test]
async fn an_attempt_that_hangs_is_given_the_grace_and_no_more() {
    let site = Site::with("grace", |config| config.set("delivery.grace", "1s").set("delivery.timeout", "60s")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=50).await;
    receiver.wait_for(1).await;
    let began = Instant::now();
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let took = began.elapsed();
    println!("SIGTERM with attempts that hang, grace 1 s: {took:?}");
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(1) + LAST_WORDS, "{took:?}");
    receiver.always(Reply::OK);
    let _daemon = site.serve().await;
    receiver.wait_for_distinct(50).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let site = Site::with("second_signal", |config| config.set("delivery.timeout", "60s")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let mut daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=2).await;
    receiver.wait_for(1).await;
    daemon.signal(Signal::SIGINT);
    daemon.wait_for_log("stopping").await;
    let began = Instant::now();
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.exited().await.code(), Some(1));
    assert!(began.elapsed() < BUSY, "{:?} of a grace of 20 s", began.elapsed());
    receiver.always(Reply::OK);
    let _daemon = site.serve().await;
    receiver.wait_for_distinct(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_fast_while_a_backlog_is_read() {
    let (server, site, receiver) = server_site_receiver("stop_reading").await;
    receiver.always(Reply::After(Duration::from_millis(20), Box::new(Reply::OK)));
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=3_000).await;
    receiver.wait_for(20).await;
    let took = stop_fast(&server, "while a backlog is read").await;
    cluster::start(&server).await;
    receiver.wait_for_distinct(3_000).await;
    drop(daemon);
    took.assert_prompt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_fast_while_back_pressure_has_stopped_the_reading() {
    const MEMORY: u32 = 1024 * 1024;
    let server = own_cluster(PostgresOptions::default());
    let database = TestDatabase::create_on(&server, "stop_pressed").await;
    let site = Site::in_database(database, |config| config.set("delivery.memory", "1MiB")).await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    // The outbox cannot be written either: what is read has nowhere to go.
    let locked = site.database.connect().await;
    locked.batch_execute("BEGIN; LOCK TABLE notifications.outbox IN SHARE MODE").await.expect("the lock");
    backfill_charges(site.database.client(), 1..=20_000).await;
    daemon.wait_for_metric("memory_bytes", &[], f64::from(MEMORY) * 0.7).await;
    let read = daemon.metric("changes_total", &[]).await;
    assert!(read < 20_000.0, "everything was read: {read}");
    let took = stop_fast(&server, "while back-pressure has stopped the reading").await;
    cluster::start(&server).await;
    gate.open();
    receiver.wait_within(crate::support::PATIENCE * 3, "every change", |requests| distinct(requests) == 20_000).await;
    took.assert_prompt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_fast_while_the_daemon_drains() {
    let (server, site, receiver) = server_site_receiver("stop_draining").await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    let mut daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=500).await;
    receiver.wait_for(2).await;
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_log("stopping").await;
    let took = stop_fast(&server, "while the daemon drains").await;
    gate.open();
    assert_eq!(daemon.exited().await.code(), Some(0));
    cluster::start(&server).await;
    let _daemon = site.serve().await;
    receiver.wait_for_distinct(500).await;
    took.assert_prompt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stops_fast_while_a_daemon_takes_over() {
    let (server, site, receiver) = server_site_receiver("stop_takeover").await;
    let killed = site.serve().await;
    let slot = site.database.name();
    let holder = format!("SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = '{slot}'");
    let before = site.database.text(&holder).await.expect("a walsender");
    killed.kill9().await;
    backfill_charges(site.database.client(), 1..=2_000).await;
    // It holds the slot, and waits until the killed one's lease has run out.
    let daemon = site.webhookdb.serve_unready().await;
    let taken = format!("SELECT active_pid <> {before} FROM pg_replication_slots WHERE slot_name = '{slot}'");
    site.database.wait_until("the slot is taken", &taken).await;
    let took = stop_fast(&server, "while a daemon takes over").await;
    cluster::start(&server).await;
    receiver.wait_for_distinct(2_000).await;
    drop(daemon);
    took.assert_prompt();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_outboxs_database_away_it_stops_within_its_time_and_loses_nothing() {
    const GRACE: Duration = Duration::from_secs(2);
    let elsewhere = own_cluster(PostgresOptions::default());
    let catalog = TestDatabase::create_on(&elsewhere, "away_catalog").await;
    let source = TestDatabase::create("away").await;
    let site = Site::with_catalog_at(source, &catalog.url(), |config| {
        config.set("delivery.grace", "2s").set("delivery.timeout", "60s")
    })
    .await;
    let (well, hanging) = (Receiver::start().await, Receiver::start().await);
    hanging.always(Reply::Hang);
    for receiver in [&well, &hanging] {
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    }
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=200).await;
    well.wait_for_distinct(200).await;
    hanging.wait_for(1).await;
    cluster::stop(&elsewhere, StopMode::Immediate).await;
    backfill_charges(site.database.client(), 201..=400).await;
    let began = Instant::now();
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let took = began.elapsed();
    println!("SIGTERM with the outbox's database away, grace {GRACE:?}: {took:?}");
    assert!(took < GRACE + LAST_WORDS + BUSY, "{took:?}");
    cluster::start(&elsewhere).await;
    hanging.always(Reply::OK);
    let _daemon = site.serve().await;
    tokio::join!(well.wait_for_distinct(400), hanging.wait_for_distinct(400));
}

async fn server_site_receiver(name: &str) -> (Arc<ThrowawayPostgres>, Site, Receiver) {
    let server = own_cluster(PostgresOptions::default());
    let site = Site::on(&server, name).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    (server, site, receiver)
}

/// How long a fast stop took with the daemon, and without it.
struct Stopped {
    with: Duration,
    without: Duration,
}

impl Stopped {
    #[track_caller]
    fn assert_prompt(&self) {
        assert!(self.with < self.without + PROMPT, "{:?} with the daemon, {:?} without", self.with, self.without);
    }
}

/// Stops the server beside the daemon; and then another time by itself, which says what this machine needs for it now.
async fn stop_fast(server: &Arc<ThrowawayPostgres>, when: &str) -> Stopped {
    let began = Instant::now();
    cluster::stop(server, StopMode::Fast).await;
    let with = began.elapsed();
    let alone = own_cluster(PostgresOptions::default());
    let began = Instant::now();
    cluster::stop(&alone, StopMode::Fast).await;
    let without = began.elapsed();
    println!("a fast stop {when}: {with:?}; of an idle server: {without:?}");
    Stopped { with, without }
}

fn distinct(requests: &[Arc<Received>]) -> usize {
    requests.iter().map(|request| request.webhook_id()).collect::<std::collections::HashSet<_>>().len()
}
