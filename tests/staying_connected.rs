//! What happens around a running daemon, and that it stays connected, or comes back, and says why not.

use std::time::Duration;

use webhookdb_notifications::demo::PostgresOptions;

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::sink::{Manner, Sink};
use crate::support::{Daemon, PATIENCE, Proxy, Receiver, Reply, Site, TestDatabase, own_cluster};

/// Lines 9 to 13 of the list of replication hazards are each named by a test here.
const WAL_SENDER_TIMEOUT: &str = "1s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_hangs_for_five_times_wal_sender_timeout_costs_no_connection() {
    let database = TestDatabase::create("patience").await;
    database
        .execute(&format!("ALTER DATABASE {} SET wal_sender_timeout = '{WAL_SENDER_TIMEOUT}'", database.name()))
        .await;
    const ROWS: i64 = 3_000;
    let site =
        Site::in_database(database, |config| config.set("delivery.memory", "1MiB").set("delivery.timeout", "60s"))
            .await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    let before = walsender(&site).await.expect("a walsender");
    // More than the memory takes, and the outbox cannot be written: nothing is read any more.
    let locked = site.database.connect().await;
    locked.batch_execute("BEGIN; LOCK TABLE notifications.outbox IN SHARE MODE").await.expect("the lock");
    backfill_charges(site.database.client(), 1..=ROWS).await;
    receiver.wait_for(1).await;
    daemon.wait_for_metric("memory_bytes", &[], 0.7 * 1024.0 * 1024.0).await;
    let began = site.database.text("SELECT clock_timestamp()::text").await.expect("a time");
    let five_times =
        format!("SELECT clock_timestamp() > '{began}'::timestamptz + 5 * '{WAL_SENDER_TIMEOUT}'::interval");
    site.database.wait_until("five times the server's patience", &five_times).await;
    assert_eq!(walsender(&site).await.as_ref(), Some(&before), "{}", daemon.log());
    locked.batch_execute("ROLLBACK").await.expect("the lock is given up");
    gate.open();
    receiver.wait_for_distinct(ROWS as usize).await;
    assert_eq!(walsender(&site).await, Some(before));
    assert_eq!(receiver.count(), ROWS as usize);
}

/// The process that serves the slot.
async fn walsender(site: &Site) -> Option<String> {
    let slot = site.database.name();
    let sql = format!("SELECT active_pid::text FROM pg_catalog.pg_replication_slots WHERE slot_name = '{slot}'");
    site.database.text(&sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_resets_every_connection_is_waited_out_and_nothing_is_lost_or_repeated() {
    let database = TestDatabase::create("resets").await;
    let port = database.cluster().port();
    let proxy = Proxy::to(port).await;
    let url = proxy.url(&database.url(), port);
    let site =
        Site::in_database(database, |config| config.set("source.url", url.as_str()).set("catalog.url", url)).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    for round in 1..=3_i64 {
        backfill_charges(site.database.client(), round * 100 + 1..=round * 100 + 50).await;
        receiver.wait_for_distinct(usize::try_from(round * 100 - 50).expect("a count")).await;
        proxy.break_off();
        backfill_charges(site.database.client(), round * 100 + 51..=round * 100 + 100).await;
        daemon.wait_for_readyz("waiting", |status, answer| status == 503 && answer["status"] == "waiting").await;
        let tries = proxy.connections();
        wait_for_a_try(&proxy, tries).await;
        proxy.mend();
        receiver.wait_for_distinct(usize::try_from(round * 100).expect("a count")).await;
        daemon.wait_until_ready().await;
    }
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    assert_eq!(receiver.wait_for_id("ch_last").await.len(), 301);
}

async fn wait_for_a_try(proxy: &Proxy, tries: usize) {
    let again = async {
        while proxy.connections() <= tries {
            tokio::time::sleep(crate::support::POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it tries again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_owed_and_read_back_over_a_network_that_takes_seconds_for_it() {
    let (catalog, database) = tokio::join!(TestDatabase::create("slow_catalog"), TestDatabase::create("slow_source"));
    let port = catalog.cluster().port();
    let proxy = Proxy::to(port).await;
    let site = Site::with_catalog_at(database, &proxy.url(&catalog.url(), port), |config| config).await;
    let sink = Sink::start(Manner::Fails).await;
    site.subscribe("stripe_charge_v1", &sink.url()).await;
    let _daemon = site.serve().await;
    // Longer by far than the server waits for a daemon that says nothing.
    proxy.slow_down(3_000_000);
    let row = "INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('ch_1', jsonb_build_object('t', repeat('x', 18000000)))";
    site.database.execute(row).await;
    catalog.wait_until("it is owed", "SELECT count(*) = 1 FROM notifications.outbox").await;
    sink.set(Manner::Accepts);
    sink.wait_for_accepted(1, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_changed_while_it_streams_is_said_with_its_remedy_and_put_right_it_goes_on() {
    let server = own_cluster(PostgresOptions::default().superuser_password("before"));
    let site = Site::on(&server, "password").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    site.database.execute("ALTER ROLE postgres PASSWORD 'after'").await;
    // What is open stays open; what is made anew is refused.
    site.database.terminate_sessions_of_the_program().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let answer = daemon.wait_for_readyz("failed", |status, answer| status == 503 && answer["status"] == "failed").await;
    let (reason, hint) = (answer["reason"].to_string(), answer["hint"].to_string());
    assert!(reason.contains("password") && hint.contains("password"), "{answer}");
    assert!(!reason.contains("before"), "{answer}");
    site.database.execute("ALTER ROLE postgres PASSWORD 'before'").await;
    daemon.wait_until_ready().await;
    receiver.wait_for_id("ch_1").await;
    assert_eq!(daemon.log().matches("not streaming").count(), said(&daemon), "once for each reason");
}

/// How many different reasons it gave for not streaming.
fn said(daemon: &Daemon) -> usize {
    let log = daemon.log();
    let reasons =
        log.lines().filter(|line| line.contains("not streaming")).filter_map(|line| line.split_once("reason="));
    reasons.map(|(_, reason)| reason.to_owned()).collect::<std::collections::HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_walsender_free_it_says_so_and_goes_on_when_there_is_one() {
    let server = own_cluster(PostgresOptions::default().set("max_wal_senders", "1"));
    let site = Site::on(&server, "walsenders").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let url = site.database.url().parse().expect("a url");
    let other =
        webhookdb_notifications::source::ReplicationConnection::connect(&url).await.expect("the only walsender");
    let daemon = site.webhookdb.serve_unready().await;
    let answer =
        daemon.wait_for_readyz("waiting", |status, answer| status == 503 && answer["status"] == "waiting").await;
    assert!(answer["hint"].to_string().contains("max_wal_senders"), "{answer}");
    drop(other);
    daemon.wait_until_ready().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_slot_free_setup_says_so_and_leaves_what_it_made_for_the_next_run() {
    let server = own_cluster(PostgresOptions::default().set("max_replication_slots", "1"));
    let database = TestDatabase::create_on(&server, "slots").await;
    database.execute("SELECT pg_create_logical_replication_slot('somebodys', 'pgoutput')").await;
    let webhookdb = crate::support::Webhookdb::for_database(&database);
    let told = webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(told.contains("max_replication_slots"), "{told}");
    database.execute("SELECT pg_drop_replication_slot('somebodys')").await;
    webhookdb.run(&["setup"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_would_make_commits_wait_for_us_is_left_and_not_come_back_to() {
    let server = own_cluster(PostgresOptions::default());
    let site = Site::on(&server, "synchronous").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    site.database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    site.database.execute("SELECT pg_reload_conf()").await;
    let answer = daemon.wait_for_readyz("failed", |status, answer| status == 503 && answer["status"] == "failed").await;
    assert!(answer["hint"].to_string().contains("synchronous_standby_names"), "{answer}");
    // It tries again and again, and looks before it replicates: no walsender of its is ever seen.
    let nobody = "SELECT count(*) = 0 FROM pg_stat_replication";
    site.database.wait_until("the walsender is gone", nobody).await;
    let began = site.database.text("SELECT clock_timestamp()::text").await.expect("a time");
    let looked_at = format!("SELECT clock_timestamp() > '{began}'::timestamptz + interval '5 s'");
    while !site.database.is_true(&looked_at).await {
        assert!(site.database.is_true(nobody).await, "{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.database.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
    site.database.execute("SELECT pg_reload_conf()").await;
    daemon.wait_until_ready().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
}
