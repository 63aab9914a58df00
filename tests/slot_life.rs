//! A slot's life: what room it has left, what it is given up for, and what is told of it, where.

use std::sync::Arc;

use webhookdb_notifications::demo::{PostgresOptions, ThrowawayPostgres};

use crate::support::cluster::applies_from;
use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::{Receiver, Reply, Site, TestDatabase, own_cluster};

/// A segment of the log.
const SEGMENT_MIB: u64 = 16;

/// What the slot may hold back.
const KEPT_MIB: u64 = 10 * SEGMENT_MIB;

/// A server that keeps little log for slots, and makes no checkpoint by itself.
fn sparing_server() -> Arc<ThrowawayPostgres> {
    let kept = format!("{KEPT_MIB}MB");
    own_cluster(PostgresOptions::default().set("max_slot_wal_keep_size", &kept).set("checkpoint_timeout", "1h"))
}

/// The log grows by so many segments, next to nothing of which is written.
async fn grow_the_log(database: &TestDatabase, segments: u64) {
    for _ in 0..segments {
        database.execute("SELECT pg_logical_emit_message(false, 'filler', 'x')").await;
        database.execute("SELECT pg_switch_wal()").await;
    }
}

#[tokio::test]
async fn a_slot_that_runs_short_is_told_stage_by_stage_until_its_log_is_removed_and_the_gap_is_accepted() {
    let catalog = TestDatabase::create("short_catalog").await;
    let database = TestDatabase::create_on(&sparing_server(), "short").await;
    let site = Site::with_catalog_at(database, &catalog.url(), |config| config).await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    // What is open since then keeps the slot where it is, whatever is confirmed.
    let open = site.database.connect().await;
    open.batch_execute("BEGIN; CREATE TABLE held_open ()").await.expect("a transaction stays open");

    for (segments, words) in [(6, "used up half"), (4, "used up nine tenths"), (2, "may remove log that was not read")]
    {
        assert!(!daemon.log().contains(words), "{}", daemon.log());
        grow_the_log(&site.database, segments).await;
        daemon.wait_for_log(words).await;
    }
    assert_eq!(daemon.log().matches("used up").count(), 2, "each stage is told once: {}", daemon.log());
    let mib = (1 << 20) as f64;
    daemon.wait_for_metric("slot_retained_bytes", &[], KEPT_MIB as f64 * mib).await;
    assert!(daemon.metric("slot_safe_bytes", &[]).await < SEGMENT_MIB as f64 * mib);
    let status = site.webhookdb.run(&["status", "--format", "json"]).await.json();
    let source = &status["sources"][0];
    assert_eq!(source["wal_status"], "unreserved", "{source}");
    assert!(source["safe_wal_bytes"].is_i64() && source["retained_bytes"].as_u64() > Some(KEPT_MIB << 20), "{source}");
    let text = site.webhookdb.run(&["status"]).await.ok();
    for words in ["slot in use by PID", "its log is unreserved", "left before max_slot_wal_keep_size", "may remove log"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }

    backfill_charges(site.database.client(), 1..=50).await;
    daemon.wait_for_metric("changes_total", &[], 50.0).await;
    site.database.execute("CHECKPOINT").await;
    let reason = daemon.wait_until_failed("slot_wal_removed").await;
    assert!(reason.contains("max_slot_wal_keep_size"), "{reason}");
    site.status_tells(&reason, "--accept-gap").await;
    open.batch_execute("ROLLBACK").await.expect("it ends");
    let stderr = site.webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains("max_slot_wal_keep_size allows") && stderr.contains("--accept-gap"), "{stderr}");
    upsert_charge(site.database.client(), "ch_in_the_gap", 1, 1).await;
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    assert!(catalog.is_true("SELECT count(*) = 1 FROM notifications.gaps").await);

    // What was read before is no part of the gap, and the room is told to be there again.
    gate.open();
    daemon.wait_until_ready().await;
    daemon.wait_for_log("the slot has room again").await;
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let requests = receiver.wait_for_distinct(51).await;
    assert!(requests.iter().all(|request| request.external_id() != "ch_in_the_gap"));
}

#[tokio::test]
async fn a_slot_that_nobody_read_for_too_long_is_told_so() {
    let server = own_cluster(PostgresOptions::default());
    if !applies_from(18, "idle_replication_slot_timeout", &server).await {
        return;
    }
    let site = Site::on(&server, "idle_timeout").await;
    let timeout = "ALTER SYSTEM SET idle_replication_slot_timeout = '1s'";
    site.database.execute(timeout).await;
    site.database.execute("SELECT pg_reload_conf()").await;
    let lost = "SELECT invalidation_reason = 'idle_timeout' FROM pg_replication_slots";
    while !site.database.is_true(lost).await {
        site.database.execute("SELECT pg_logical_emit_message(true, 'a checkpoint', 'has something to do')").await;
        site.database.execute("CHECKPOINT").await;
    }
    let mut daemon = site.webhookdb.serve_unready().await;
    assert_eq!(daemon.exited().await.code(), Some(1));
    for words in ["idle_replication_slot_timeout", "--accept-gap"] {
        daemon.wait_for_log(words).await;
    }
    site.status_tells("it was idle for longer than idle_replication_slot_timeout", "--accept-gap").await;
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    let _daemon = site.serve().await;
}
