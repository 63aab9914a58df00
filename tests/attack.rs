//! What must not break the guarantees: restored copies, new timelines, a slot taken away, databases that go, stops in bad moments.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use crate::support::fixtures::{CHARGES, CUSTOMERS, backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::{PATIENCE, POLL, Received, Receiver, Reply, Site, TestDatabase, cluster, own_cluster};

/// A source on a server of its own, and the catalog elsewhere: what happens to the one does not happen to the other.
struct Apart {
    site: Site,
    server: Arc<ThrowawayPostgres>,
    catalog: TestDatabase,
}

impl Apart {
    async fn new(name: &str) -> Self {
        let server = own_cluster(PostgresOptions::default());
        let catalog = TestDatabase::create(&format!("{name}_catalog")).await;
        let url = catalog.url();
        let source = TestDatabase::create_on(&server, name).await;
        let site = Site::in_database(source, |config| config.set("catalog.url", url)).await;
        Self { site, server, catalog }
    }

    /// Delivers charges from `first` to `last`, and stops once the slot has heard of it.
    async fn deliver(&self, receiver: &Receiver, charges: &[&str]) {
        let daemon = self.site.serve().await;
        for charge in charges {
            upsert_charge(self.site.database.client(), charge, 1, 1).await;
            receiver.wait_for_id(charge).await;
        }
        let end = self.site.database.current_lsn().await;
        let after = format!("{}_after", charges[0]);
        upsert_charge(self.site.database.client(), &after, 1, 1).await;
        receiver.wait_for_id(&after).await;
        self.site.database.wait_for_slot_past(&end).await;
        assert_eq!(daemon.terminate().await.code(), Some(0));
    }

    async fn stop(&self) {
        cluster::stop(&self.server, StopMode::Fast).await;
    }

    async fn start(&mut self) {
        cluster::start(&self.server).await;
        self.site.database.reconnect().await;
        self.site.database.wait_until("the recovery is over", "SELECT NOT pg_is_in_recovery()").await;
    }

    /// Copies the data directory of the stopped server.
    fn copy(&self) -> PathBuf {
        let copy = self.server.directory().join("copy");
        run("cp", &["-a", path(&self.server.data_directory()), path(&copy)]);
        copy
    }

    /// Puts the copy in the place of the stopped server's data directory; `with_log`: and the log that was written since.
    fn restore(&self, copy: &Path, with_log: bool) {
        let data = self.server.data_directory();
        let newer = self.server.directory().join("newer");
        run("mv", &[path(&data), path(&newer)]);
        run("cp", &["-a", path(copy), path(&data)]);
        if with_log {
            run("rm", &["-rf", path(&data.join("pg_wal"))]);
            run("cp", &["-a", path(&newer.join("pg_wal")), path(&data.join("pg_wal"))]);
        }
        run("rm", &["-rf", path(&newer)]);
    }

    /// Takes the replication slots away, which a base backup does not hold: as on a standby.
    fn without_slots(&self) {
        let slots = self.server.data_directory().join("pg_replslot");
        for slot in std::fs::read_dir(slots).expect("the slots' directory").flatten() {
            std::fs::remove_dir_all(slot.path()).expect("the slot goes");
        }
    }

    /// `serve` says this and ends, `setup` refuses; accepted, the gap is recorded.
    async fn is_refused_until(&self, accept: &[&str], said: &str) {
        let mut daemon = self.site.webhookdb.serve_unready().await;
        assert_eq!(daemon.exited().await.code(), Some(1));
        // What it wrote last may still be on its way through the pipe.
        for words in [said, accept[0]] {
            daemon.wait_for_log(words).await;
        }
        self.site.status_tells(said, accept[0]).await;
        let stderr = self.site.webhookdb.run(&["setup"]).await.fails_with(1);
        assert!(stderr.contains(said) && stderr.contains(accept[0]), "{stderr}");
        self.site.webhookdb.run(&[&["setup"], accept].concat()).await.ok();
        let recorded =
            "SELECT count(*) = 1 AND bool_and(from_lsn IS NOT NULL AND to_lsn IS NOT NULL) FROM notifications.gaps";
        assert!(self.catalog.is_true(recorded).await);
    }

    /// Has the next start recover from the log to this position, or to its end, on a new timeline.
    fn recover_to(&self, target: Option<&str>) {
        let data = self.server.data_directory();
        let signal = data.join("recovery.signal");
        std::fs::write(&signal, "").expect("the signal file is written");
        run("chown", &["--reference", path(&data), path(&signal)]);
        let mut settings = "restore_command = '/bin/false'\nrecovery_target_action = 'promote'\n".to_owned();
        if let Some(target) = target {
            settings.push_str(&format!("recovery_target_lsn = '{target}'\n"));
        }
        let file = data.join("postgresql.auto.conf");
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, before + &settings).expect("the settings are written");
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("the program runs");
    assert!(status.success(), "{program} {arguments:?}");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}

#[tokio::test]
async fn a_source_restored_from_a_copy_is_refused_until_the_gap_is_accepted() {
    let mut apart = Apart::new("restored").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    apart.stop().await;
    let copy = apart.copy();
    apart.start().await;
    apart.deliver(&receiver, &["ch_2", "ch_3"]).await;
    apart.stop().await;
    apart.restore(&copy, false);
    apart.start().await;

    // The log ends before the checkpoint: that is said, and ends the command.
    let mut daemon = apart.site.webhookdb.serve_unready().await;
    assert_eq!(daemon.exited().await.code(), Some(1));
    daemon.wait_for_log("before the checkpoint").await;
    drop(daemon);

    // Beyond the checkpoint the log is another one, whatever is in it, and stays so however often it is tried.
    let unpublished = "CREATE TABLE unpublished AS SELECT repeat('x', 1000) FROM generate_series(1, 30000)";
    apart.site.database.execute(unpublished).await;
    for _ in 0..2 {
        let daemon = apart.site.webhookdb.serve_unready().await;
        daemon.wait_until_failed("foreign_history").await;
        daemon.wait_for_metric("reconnects_total", &[], 2.0).await;
        assert_eq!(daemon.terminate().await.code(), Some(0));
        backfill_charges(apart.site.database.client(), 100..=400).await;
    }
    let stderr = apart.site.webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains("--accept-gap"), "{stderr}");

    apart.site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    let _daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_last", 1, 1).await;
    let requests = receiver.wait_for_id("ch_last").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2", "ch_3", "ch_2_after", "ch_last"]);
    apart.site.webhookdb.run(&["setup"]).await.ok();
}

#[tokio::test]
async fn a_running_daemon_refuses_a_restored_source_and_goes_on_once_the_gap_is_accepted() {
    let mut apart = Apart::new("restored_under").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    apart.stop().await;
    let copy = apart.copy();
    apart.start().await;
    let daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_2", 1, 1).await;
    receiver.wait_for_id("ch_2").await;
    apart.stop().await;
    apart.restore(&copy, false);
    apart.start().await;
    let reason = daemon.wait_until_failed("server_behind").await;
    apart.site.status_tells(&reason, "--accept-gap").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The daemon may hold the slot for a moment.
        let output = apart.site.webhookdb.run(&["setup", "--accept-gap"]).await;
        if output.status == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{}", output.stderr);
        tokio::time::sleep(POLL).await;
    }
    daemon.wait_until_ready().await;
    upsert_charge(apart.site.database.client(), "ch_3", 1, 1).await;
    let requests = receiver.wait_for_id("ch_3").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2", "ch_3"]);
}

#[tokio::test]
async fn source_and_catalog_restored_together_under_a_running_daemon_go_on_and_what_is_new_has_new_ids() {
    let server = own_cluster(PostgresOptions::default());
    let catalog = TestDatabase::create_on(&server, "unused").await;
    let site = Site::on(&server, "restored_whole").await;
    let mut apart = Apart { site, server, catalog };
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    apart.stop().await;
    let copy = apart.copy();
    apart.start().await;
    daemon.wait_until_ready().await;
    backfill_charges(apart.site.database.client(), 1000..=1100).await;
    receiver.wait_for_id("ch_1100").await;
    apart.stop().await;
    let before: Vec<String> = receiver.received().iter().map(|request| request.webhook_id().to_owned()).collect();
    apart.restore(&copy, false);
    apart.start().await;
    // Just like before, so that the positions in the log are the same.
    backfill_charges(apart.site.database.client(), 2000..=2100).await;
    let requests = receiver.wait_for_id("ch_2100").await;
    let new =
        |request: &&Arc<Received>| request.external_id().starts_with("ch_20") || request.external_id() == "ch_2100";
    for request in requests.iter().filter(new) {
        let id = request.webhook_id();
        assert!(!before.iter().any(|other| other == id), "{} has an id of before", request.external_id());
    }
    receiver.wait_within(PATIENCE, "every new change", |requests| requests.iter().filter(new).count() >= 101).await;
    daemon.wait_until_ready().await;
    apart.site.webhookdb.run(&["setup"]).await.ok();
}

#[tokio::test]
async fn a_new_timeline_that_holds_everything_is_followed_without_loss_or_repetition() {
    let mut apart = Apart::new("timeline").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    apart.stop().await;
    let copy = apart.copy();
    apart.start().await;
    apart.deliver(&receiver, &["ch_2"]).await;
    upsert_charge(apart.site.database.client(), "ch_3", 1, 1).await;
    apart.stop().await;
    apart.restore(&copy, true);
    apart.recover_to(None);
    apart.start().await;
    let timeline = "SELECT timeline_id > 1 FROM pg_control_checkpoint()";
    apart.site.database.execute("CHECKPOINT").await;
    assert!(apart.site.database.is_true(timeline).await);
    let _daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_4", 1, 1).await;
    receiver.expect_ids(&["ch_1", "ch_1_after", "ch_2", "ch_2_after", "ch_3", "ch_4"]).await;
}

#[tokio::test]
async fn a_new_timeline_that_left_before_the_checkpoint_is_followed_from_where_it_left() {
    let mut apart = Apart::new("timeline_lag").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    apart.stop().await;
    let copy = apart.copy();
    apart.start().await;
    apart.deliver(&receiver, &["ch_2"]).await;
    let target = apart.site.database.current_lsn().await;
    apart.deliver(&receiver, &["ch_3", "ch_4"]).await;
    apart.stop().await;
    apart.restore(&copy, true);
    apart.recover_to(Some(&target));
    apart.start().await;
    assert!(
        !apart.site.database.is_true("SELECT count(*) > 0 FROM stripe_charge_v1_fdcc WHERE stripe_id = 'ch_4'").await
    );
    for charge in ["ch_5", "ch_6"] {
        upsert_charge(apart.site.database.client(), charge, 1, 1).await;
    }
    let _daemon = apart.site.serve().await;
    let before = ["ch_1", "ch_1_after", "ch_2", "ch_2_after", "ch_3", "ch_4", "ch_3_after"];
    receiver.expect_ids(&[&before[..], &["ch_5", "ch_6"]].concat()).await;
}

#[tokio::test]
async fn a_standby_promoted_without_the_slot_is_refused_until_the_gap_is_accepted_with_lag_and_without() {
    for lags in [false, true] {
        let mut apart = Apart::new("promoted").await;
        let receiver = Receiver::start().await;
        apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
        apart.deliver(&receiver, &["ch_1"]).await;
        apart.stop().await;
        let copy = apart.copy();
        apart.start().await;
        let replayed = apart.site.database.current_lsn().await;
        apart.deliver(&receiver, &["ch_2"]).await;
        apart.stop().await;
        apart.restore(&copy, true);
        apart.without_slots();
        apart.recover_to(Some(replayed.as_str()).filter(|_| lags));
        apart.start().await;
        apart.is_refused_until(&["--accept-gap"], "is gone: changes since then may be lost").await;
        let _daemon = apart.site.serve().await;
        upsert_charge(apart.site.database.client(), "ch_3", 1, 1).await;
        let requests = receiver.wait_for_id("ch_3").await;
        assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2", "ch_2_after", "ch_3"], "lags: {lags}");
    }
}

#[tokio::test]
async fn a_catalog_restored_under_a_running_daemon_is_refused_until_the_gap_is_accepted() {
    let server = own_cluster(PostgresOptions::default());
    let catalog = TestDatabase::create_on(&server, "restored_catalog").await;
    let url = catalog.url();
    let source = TestDatabase::create("restored_catalog_source").await;
    let site = Site::in_database(source, |config| config.set("catalog.url", url)).await;
    let mut apart = Apart { site, server, catalog };
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    apart.stop().await;
    let copy = apart.copy();
    cluster::start(&apart.server).await;
    upsert_charge(apart.site.database.client(), "ch_2", 1, 1).await;
    receiver.wait_for_id("ch_2").await;
    let end = apart.site.database.current_lsn().await;
    upsert_charge(apart.site.database.client(), "ch_3", 1, 1).await;
    apart.site.database.wait_for_slot_past(&end).await;
    apart.stop().await;
    apart.restore(&copy, false);
    cluster::start(&apart.server).await;
    apart.catalog.reconnect().await;
    // The epoch is the same in the restored catalog: that its checkpoint is an older one tells.
    upsert_charge(apart.site.database.client(), "ch_4", 1, 1).await;
    assert!(daemon.wait_until_failed("slot_ahead").await.contains("the catalog is older than the slot"));
    assert_eq!(daemon.terminate().await.code(), Some(0));
    apart.is_refused_until(&["--accept-gap"], "the catalog is older than the slot").await;
    let _daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_5", 1, 1).await;
    receiver.wait_for_id("ch_5").await;
}

#[tokio::test]
async fn a_slot_dropped_and_made_again_by_somebody_is_refused_until_the_gap_is_accepted() {
    let apart = Apart::new("slot_again").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    let slot = apart.site.database.name();
    apart.site.database.query("SELECT pg_drop_replication_slot($1)", &[&slot]).await;
    upsert_charge(apart.site.database.client(), "ch_in_the_gap", 1, 1).await;
    apart.site.database.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot]).await;
    apart.is_refused_until(&["--accept-gap"], "the slot was made again").await;
    let _daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_2", 1, 1).await;
    let requests = receiver.wait_for_id("ch_2").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2"]);
}

/// Upgrades the stopped server to its own version in a new cluster, as `pg_upgrade` does from one version to the next.
/// Where the server's programs come without it, the database is moved by hand: for us that is the same, another cluster.
fn upgrade(apart: &Apart, programs: &Path) {
    let (old, directory) = (apart.server.directory().join("old"), apart.server.directory());
    let data = apart.server.data_directory();
    let owner = std::fs::metadata(&data).expect("the data directory");
    let as_owner = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(programs.join(program));
        command.args(arguments).current_dir(directory).uid(owner.uid()).gid(owner.gid());
        let output = command.output().expect("the program runs");
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        );
    };
    run("mv", &[path(&data), path(&old)]);
    as_owner("initdb", &["-D", path(&data), "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-A", "trust"]);
    if programs.join("pg_upgrade").is_file() {
        let (bin, port) = (path(programs), apart.server.port().to_string());
        let settings = "-c wal_level=logical -c fsync=off";
        let clusters =
            ["-d", path(&old), "-D", path(&data), "-b", bin, "-B", bin, "-U", "postgres", "-s", path(directory)];
        as_owner("pg_upgrade", &[&clusters[..], &["-p", &port, "-P", &port, "-o", settings, "-O", settings]].concat());
    }
}

#[tokio::test]
async fn after_pg_upgrade_it_is_another_server_until_that_and_the_gap_are_accepted() {
    let mut apart = Apart::new("upgraded").await;
    let receiver = Receiver::start().await;
    apart.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    apart.deliver(&receiver, &["ch_1"]).await;
    let postmaster = std::fs::read_to_string(apart.server.data_directory().join("postmaster.pid")).expect("running");
    let postmaster = std::fs::read_link(format!("/proc/{}/exe", postmaster.lines().next().expect("a PID")));
    let programs = postmaster.expect("the server's program").parent().expect("a directory").to_owned();
    apart.stop().await;
    upgrade(&apart, &programs);
    cluster::start(&apart.server).await;
    if !programs.join("pg_upgrade").is_file() {
        let name = apart.site.database.name();
        let client = apart.server.connect("postgres").await.expect("the server answers");
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("the database");
        apart.site.database.reconnect().await;
        let publication = "CREATE PUBLICATION webhookdb_notifications WITH (publish_via_partition_root)";
        for sql in [CHARGES.create, CUSTOMERS.create, publication] {
            apart.site.database.execute(sql).await;
        }
    }
    apart.site.database.reconnect().await;
    upsert_charge(apart.site.database.client(), "ch_in_the_gap", 1, 1).await;
    let stderr = apart.site.webhookdb.run(&["setup", "--accept-gap"]).await.fails_with(1);
    assert!(stderr.contains("--accept-server"), "{stderr}");
    apart.is_refused_until(&["--accept-server", "--accept-gap"], "this is another server").await;
    let _daemon = apart.site.serve().await;
    upsert_charge(apart.site.database.client(), "ch_2", 1, 1).await;
    let requests = receiver.wait_for_id("ch_2").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2"]);
}

#[tokio::test]
async fn a_slot_taken_away_while_streaming_is_a_gap_to_be_accepted() {
    let site = Site::new("slot_dropped").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    let slot = site.database.name();
    let deadline = Instant::now() + PATIENCE;
    let dropped = format!("SELECT pg_drop_replication_slot('{slot}')");
    while site.database.client().batch_execute(&dropped).await.is_err() {
        site.database.terminate_walsender().await;
        assert!(Instant::now() < deadline, "the slot could not be dropped");
    }
    let reason = daemon.wait_until_failed("slot_gone").await;
    site.status_tells(&reason, "--accept-gap").await;
    upsert_charge(site.database.client(), "ch_in_the_gap", 1, 1).await;
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    daemon.wait_until_ready().await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    let requests = receiver.wait_for_id("ch_2").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_2"]);
}

#[tokio::test]
async fn what_was_read_before_the_slot_was_taken_away_is_not_part_of_the_gap() {
    let site = Site::new("slot_dropped_behind").await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=50).await;
    receiver.wait_for(2).await;
    daemon.wait_for_metric("changes_total", &[], 50.0).await;
    let slot = site.database.name();
    let deadline = Instant::now() + PATIENCE;
    let dropped = format!("SELECT pg_drop_replication_slot('{slot}')");
    while site.database.client().batch_execute(&dropped).await.is_err() {
        site.database.terminate_walsender().await;
        assert!(Instant::now() < deadline, "the slot could not be dropped");
    }
    daemon.wait_until_failed("slot_gone").await;
    gate.open();
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    daemon.wait_until_ready().await;
    receiver.wait_for_distinct(50).await;
}

#[tokio::test]
async fn with_the_outbox_away_nothing_is_lost_and_nothing_acknowledged() {
    let server = own_cluster(PostgresOptions::default());
    let catalog = TestDatabase::create_on(&server, "outbox_away_catalog").await;
    let url = catalog.url();
    let source = TestDatabase::create("outbox_away").await;
    let site = Site::in_database(source, |config| config.set("catalog.url", url)).await;
    let (well, ill) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &well.url("/")).await;
    site.subscribe("stripe_charge_v1", &ill.url("/")).await;
    ill.always(Reply::Status(500));
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=20).await;
    well.wait_for(20).await;
    ill.wait_for(20).await;
    cluster::stop(&server, StopMode::Immediate).await;
    let end = site.database.current_lsn().await;
    backfill_charges(site.database.client(), 21..=60).await;
    daemon.wait_for_log("writing the outbox").await;
    ill.always(Reply::OK);
    cluster::start(&server).await;
    backfill_charges(site.database.client(), 61..=80).await;
    let (well, ill) = (well.wait_for_distinct(80).await, ill.wait_for_distinct(80).await);
    assert!(well.len() >= 80 && ill.len() >= 80);
    site.database.wait_for_slot_past(&end).await;
    drop(daemon);
}

#[tokio::test]
async fn an_orderly_stop_leaves_no_duplicates_where_one_subscription_had_held_up_the_other() {
    const ROWS: usize = 4_000;
    let site = Site::with("stop_held_up", |config| config.set("delivery.memory", "4MiB")).await;
    let (fast, slow) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::closed();
    slow.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &fast.url("/")).await;
    site.subscribe_organization(&slow.url("/")).await;
    let mut daemon = site.serve().await;
    let locked = site.database.connect().await;
    locked.batch_execute("BEGIN; LOCK TABLE notifications.outbox IN SHARE ROW EXCLUSIVE MODE").await.expect("the lock");
    backfill_charges(site.database.client(), 1..=ROWS as i64).await;
    // The slow one takes nothing more, and cannot write it away either: the intake stands.
    let mut seen = (0, Instant::now());
    while seen.0 == 0 || seen.1.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(POLL).await;
        if fast.count() > seen.0 {
            seen = (fast.count(), Instant::now());
        }
    }
    assert!(seen.0 < ROWS, "the fast one was not held up");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    locked.batch_execute("ROLLBACK").await.expect("the lock is given up");
    gate.open();
    assert_eq!(daemon.exited().await.code(), Some(0));
    let _daemon = site.serve().await;
    fast.wait_for_distinct(ROWS).await;
    slow.wait_for_distinct(ROWS).await;
    assert_eq!((fast.count(), slow.count()), (ROWS, ROWS));
}

#[tokio::test]
async fn a_delete_while_the_daemon_drains_is_confirmed_and_cancels_what_is_in_flight() {
    let site = Site::with("delete_draining", |config| config.set("delivery.timeout", "60s")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let mut daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let begun = Instant::now();
    site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    assert_eq!(daemon.exited().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "the attempt in flight was waited for: {:?}", begun.elapsed());
}
