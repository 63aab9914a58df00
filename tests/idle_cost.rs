//! What an installation costs on which nothing happens, and that its slot does not fall behind meanwhile.

use std::time::Duration;

use webhookdb_notifications::demo::PostgresOptions;

use crate::support::{Daemon, PATIENCE, Receiver, Site, TestDatabase, own_cluster};

/// What an idle installation may add to the log in an hour, catalog and source in one database.
const BYTES_AN_HOUR: f64 = 1024.0 * 1024.0;

/// With Postgres's default `checkpoint_timeout`: after each checkpoint the first change of a page writes the whole page.
const CHECKPOINTS_AN_HOUR: f64 = 12.0;

/// For so many renewals of the lease, one each second, the log is measured.
const RENEWALS: i64 = 20;

#[tokio::test]
async fn an_idle_installation_writes_less_than_a_megabyte_of_log_an_hour() {
    // What autovacuum has to do after `setup` would be measured too; that an idle daemon gives it nothing to do is shown below.
    let options = PostgresOptions::default().set("full_page_writes", "on").set("autovacuum", "off");
    let server = own_cluster(options);
    let site = Site::on(&server, "idle").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    site.database.execute("CHECKPOINT").await;
    Measured::over(&site, 3).await;
    let steady = Measured::over(&site, RENEWALS).await;
    // Sessions tell what they wrote within 10 seconds: this has the start, and nothing that came after it.
    let written = writes(&site).await;
    site.database.execute("CHECKPOINT").await;
    let after_checkpoint = Measured::over(&site, RENEWALS).await;
    let per_checkpoint = (after_checkpoint.bytes - steady.bytes_a_second() * after_checkpoint.seconds).max(0.0);
    let hour = steady.bytes_a_second() * 3600.0 + per_checkpoint * CHECKPOINTS_AN_HOUR;
    println!("idle: {steady:?}; after a checkpoint: {after_checkpoint:?}; in an hour: {hour:.0} bytes");
    assert!(hour < BYTES_AN_HOUR, "{hour:.0} bytes: {}", daemon.log());
    assert!(steady.bytes > 0.0, "the log shows nothing of the lease: this measures something else");
    assert_eq!(writes(&site).await, written, "something but the lease is written while nothing happens");
    assert!(site.database.is_true(LEASE_IS_LEFT_ALONE).await, "autovacuum would analyze the leases every minute");
}

/// By 50 changes more than a tenth of its rows autovacuum analyzes a table, which writes far more log than a renewal.
const LEASE_IS_LEFT_ALONE: &str = "
    SELECT max(option_value::bigint) FILTER (WHERE option_name = 'autovacuum_analyze_threshold') > 1000000000
    FROM pg_class CROSS JOIN pg_options_to_table(reloptions) WHERE oid = 'notifications.leases'::regclass";

/// How often each table but the lease's was written.
async fn writes(site: &Site) -> Option<String> {
    let sql = "SELECT jsonb_object_agg(relname, n_tup_ins + n_tup_upd + n_tup_del)::text FROM pg_stat_user_tables
               WHERE schemaname = 'notifications' AND relname <> 'leases'";
    site.database.text(sql).await
}

/// How much log was written while a daemon renewed its lease so often.
#[derive(Debug)]
struct Measured {
    bytes: f64,
    seconds: f64,
}

impl Measured {
    async fn over(site: &Site, renewals: i64) -> Self {
        let (from, began) = Self::now(site).await;
        // Each renewal is an update of the one row.
        let renewed = "SELECT clock_timestamp() > $1::text::timestamptz + make_interval(secs => $2)
                       AND renewed_at > clock_timestamp() - interval '2 s' FROM notifications.leases";
        let enough = async {
            let seconds = renewals as f64;
            while !site.database.query(renewed, &[&began, &seconds]).await.iter().any(|row| row.get(0)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE * 6, enough).await.expect("the lease is renewed every second");
        let measured = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)::float8,
                        extract(epoch FROM clock_timestamp() - $2::text::timestamptz)::float8";
        let row = &site.database.query(measured, &[&from, &began]).await[0];
        Self { bytes: row.get(0), seconds: row.get(1) }
    }

    async fn now(site: &Site) -> (String, String) {
        let sql = "SELECT pg_current_wal_insert_lsn()::text, clock_timestamp()::text";
        let row = &site.database.query(sql, &[]).await[0];
        (row.get(0), row.get(1))
    }

    fn bytes_a_second(&self) -> f64 {
        self.bytes / self.seconds
    }
}

#[tokio::test]
async fn the_slot_moves_on_while_only_another_database_is_written() {
    let site = Site::new("other_database").await;
    let daemon = site.serve().await;
    let other = TestDatabase::create("written").await;
    other.execute("CREATE TABLE t (n integer, filler text)").await;
    the_slot_moves_on(&site, &other, "t", &daemon).await;
}

#[tokio::test]
async fn the_slot_moves_on_while_only_unpublished_tables_are_written() {
    let site = Site::new("unpublished").await;
    let daemon = site.serve().await;
    site.database.execute("CREATE TABLE t (n integer, filler text)").await;
    the_slot_moves_on(&site, &site.database, "t", &daemon).await;
}

/// Twice, since the first position may have been reached for another reason. Each time for more log than an idle daemon lets
/// pass unrecorded (64 KiB), and within the time that it takes for that (10 s) and some.
async fn the_slot_moves_on(site: &Site, written: &TestDatabase, table: &str, daemon: &Daemon) {
    for _ in 0..2 {
        written
            .execute(&format!("INSERT INTO {table} SELECT n, repeat('x', 100) FROM generate_series(1, 2000) AS n"))
            .await;
        let end = written.current_lsn().await;
        site.database.wait_for_slot_past(&end).await;
    }
    daemon.wait_until_ready().await;
}
