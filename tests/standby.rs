//! Primaries and their standbys: slots that standbys get too, and standbys that are the source themselves.

use std::sync::Arc;
use std::time::Instant;

use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

use crate::support::cluster::{self, applies_from, major_version, standby_of};
use crate::support::fixtures::{ISSUES, upsert_charge};
use crate::support::{Config, PATIENCE, POLL, Proxy, Received, Receiver, Site, TestDatabase, Webhookdb, own_cluster};

/// A primary and its standby, the source's database on both, and the catalog elsewhere.
struct Pair {
    primary: Arc<ThrowawayPostgres>,
    standby: Arc<ThrowawayPostgres>,
    catalog: TestDatabase,
}

impl Pair {
    /// The database is on the primary.
    async fn new(primary: Arc<ThrowawayPostgres>, name: &str, options: PostgresOptions) -> (Self, TestDatabase) {
        let mut database = TestDatabase::create_on(&primary, name).await;
        let standby = standby_of(&primary, options).await;
        database.reconnect().await;
        let catalog = TestDatabase::create(&format!("{name}_catalog")).await;
        (Self { primary, standby, catalog }, database)
    }

    /// A site whose source is the standby.
    async fn site_on_the_standby(&self, database: TestDatabase) -> Site {
        let (standby, primary) = (self.standby.url(database.name()), database.url());
        Site::with_catalog_at(database, &self.catalog.url(), |config| {
            config.set("source.url", standby).set("source.primary_url", primary)
        })
        .await
    }

    /// The primary goes for good, and the standby takes its place; returns a session in its database.
    async fn fail_over(&self, database: &str) -> tokio_postgres::Client {
        cluster::stop(&self.primary, StopMode::Fast).await;
        let client = self.standby.connect(database).await.expect("the standby answers");
        client.batch_execute("SELECT pg_promote()").await.expect("it is promoted");
        client
    }
}

fn ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}

#[tokio::test]
async fn a_standby_that_has_the_slot_too_goes_on_without_loss_or_repetition_when_it_is_promoted() {
    let primary = own_cluster(PostgresOptions::default());
    if !applies_from(17, "slots that standbys get too", &primary).await {
        return;
    }
    let options = PostgresOptions::default().set("hot_standby_feedback", "on").set("sync_replication_slots", "on");
    let (pair, database) = Pair::new(primary, "failover", options).await;
    let proxy = Proxy::to(pair.primary.port()).await;
    let url = proxy.url(&database.url(), pair.primary.port());
    let site = Site::with_catalog_at(database, &pair.catalog.url(), |config| config.set("source.url", url)).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    assert!(site.webhookdb.run(&["status"]).await.ok().contains("standbys get it too"));

    // What the standby does not have is not sent, where the primary is told so.
    site.database.execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'").await;
    site.database.execute("SELECT pg_reload_conf()").await;
    cluster::stop(&pair.standby, StopMode::Fast).await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    let waits = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'WaitForStandbyConfirmation'";
    site.database.wait_until("the walsender waits for the standby", waits).await;
    assert_eq!(receiver.count(), 1);
    cluster::start(&pair.standby).await;
    receiver.wait_for_id("ch_2").await;
    daemon.wait_until_ready().await;

    let name = site.database.name();
    wait_until_synchronized(&site, &pair).await;
    upsert_charge(site.database.client(), "ch_3", 1, 1).await;
    receiver.wait_for_id("ch_3").await;

    let promoted = pair.fail_over(name).await;
    proxy.lead_to(pair.standby.port());
    upsert_charge(&promoted, "ch_4", 1, 1).await;
    let requests = receiver.wait_for_id("ch_4").await;
    daemon.wait_until_ready().await;
    let mut told = ids(&requests);
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ["ch_1", "ch_2", "ch_3", "ch_4"], "nothing is lost");
    let mut seen: Vec<_> = requests.iter().map(|request| request.webhook_id()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), requests.len(), "nothing is repeated");
    assert!(pair.catalog.is_true("SELECT count(*) = 0 FROM notifications.gaps").await);
}

/// The standby has the slot for good once the primary's has moved on to what the standby still has the log of: that takes
/// changes that are confirmed.
async fn wait_until_synchronized(site: &Site, pair: &Pair) {
    let standby = pair.standby.connect("postgres").await.expect("the standby answers");
    let slot = "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary)";
    let deadline = Instant::now() + PATIENCE;
    for newer in 2.. {
        if standby.query_one(slot, &[&site.database.name()]).await.expect("an answer").get(0) {
            return;
        }
        assert!(Instant::now() < deadline, "not synchronized: {}", pair.standby.log_tail(10));
        upsert_charge(site.database.client(), "ch_2", newer, newer.into()).await;
        site.database.execute("SELECT pg_log_standby_snapshot()").await;
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test]
async fn a_slot_is_brought_in_line_with_failover() {
    let server = own_cluster(PostgresOptions::default());
    if !applies_from(17, "slots that standbys get too", &server).await {
        return;
    }
    let database = TestDatabase::create_on(&server, "in_line").await;
    let site = Site::in_database(database, |config| config.set("source.failover", false)).await;
    let is = async |failover: bool| {
        let sql = format!("SELECT failover = {failover} FROM pg_replication_slots");
        site.database.is_true(&sql).await
    };
    assert!(is(false).await);
    site.webhookdb.reconfigure(&site.config.clone().unset("source.failover"));
    let daemon = site.serve().await;
    let told = site.webhookdb.run(&["setup"]).await.ok();
    assert!(told.contains("can't be altered") && is(false).await, "{told}");
    drop(daemon);
    site.database.wait_until("the slot is free", "SELECT NOT active FROM pg_replication_slots").await;
    site.webhookdb.run(&["setup"]).await.ok();
    assert!(is(true).await);
    site.webhookdb.reconfigure(&site.config);
    site.webhookdb.run(&["setup"]).await.ok();
    assert!(is(false).await);
}

#[tokio::test]
async fn a_standby_is_the_source_and_goes_on_when_it_is_promoted() {
    let primary = own_cluster(PostgresOptions::default());
    let (pair, database) =
        Pair::new(primary, "on_standby", PostgresOptions::default().set("hot_standby_feedback", "on")).await;
    if major_version(&pair.primary).await < 16 {
        return is_refused(&pair, database, true, "only from 16 on").await;
    }
    let site = pair.site_on_the_standby(database).await;
    let name = site.database.name().to_owned();
    assert!(site.database.is_true("SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_type = 'logical'").await);
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    // The daemon publishes what comes later, on the primary.
    site.add(&ISSUES).await;
    let published = "SELECT count(*) = 3 FROM pg_publication_tables";
    site.database.wait_until("the new table is published", published).await;
    site.webhookdb.run(&["status"]).await.ok();
    // One that is started again may have to replay what it had before.
    cluster::restart(&pair.standby, StopMode::Immediate).await;
    upsert_charge(site.database.client(), "ch_1_after", 1, 1).await;
    receiver.wait_for_id("ch_1_after").await;
    daemon.wait_until_ready().await;

    let promoted = pair.fail_over(&name).await;
    upsert_charge(&promoted, "ch_2", 1, 1).await;
    receiver.wait_for_id("ch_2").await;
    daemon.wait_for_log("has left timeline 1 for timeline 2").await;
    daemon.wait_until_ready().await;
    // What is written goes to the server itself from now on.
    let second = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &second.url("/")).await;
    upsert_charge(&promoted, "ch_3", 1, 1).await;
    second.wait_for_id("ch_3").await;
    receiver.wait_for_id("ch_3").await;
    assert_eq!(daemon.terminate().await.code(), Some(0));

    // The record is of the new timeline, and nothing beyond the switch was taken for what came before it.
    let _daemon = site.serve().await;
    upsert_charge(&promoted, "ch_4", 1, 1).await;
    let requests = receiver.wait_for_id("ch_4").await;
    assert_eq!(ids(&requests), ["ch_1", "ch_1_after", "ch_2", "ch_3", "ch_4"]);
    assert_eq!(ids(&second.wait_for_id("ch_4").await), ["ch_3", "ch_4"]);
    assert!(pair.catalog.is_true("SELECT count(*) = 0 FROM notifications.gaps").await);
}

/// By `setup` and by `serve`.
async fn is_refused(pair: &Pair, database: TestDatabase, with_primary: bool, words: &str) {
    let config = Config::new(&database)
        .set("catalog.url", pair.catalog.url())
        .set("source.url", pair.standby.url(database.name()));
    let config = if with_primary { config.set("source.primary_url", database.url()) } else { config };
    let webhookdb = Webhookdb::new(&config);
    let stderr = webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains(words) && stderr.contains("hint:"), "{stderr}");
    let mut daemon = webhookdb.serve_unready().await;
    assert_eq!(daemon.exited().await.code(), Some(1));
    daemon.wait_for_log(words).await;
}

#[tokio::test]
async fn a_slot_that_conflicts_with_what_its_standby_replays_is_told_so() {
    let primary = own_cluster(PostgresOptions::default());
    let (pair, database) = Pair::new(primary, "conflict", PostgresOptions::default()).await;
    let major = major_version(&pair.primary).await;
    if major < 16 {
        return is_refused(&pair, database, false, "the server is a standby of version").await;
    }
    let on_standby = pair.standby.connect("postgres").await.expect("the standby answers");
    let feedback = async |on: bool| {
        let set = format!("ALTER SYSTEM SET hot_standby_feedback = {on}");
        on_standby.batch_execute(&set).await.expect("it is set");
        on_standby.batch_execute("SELECT pg_reload_conf()").await.expect("it is in force");
    };
    feedback(true).await;
    let site = pair.site_on_the_standby(database).await;
    let daemon = site.serve().await;
    feedback(false).await;
    let conflicting =
        "SELECT coalesce(bool_or(conflicting), false) FROM pg_replication_slots WHERE slot_type = 'logical'";
    while !on_standby.query_one(conflicting, &[]).await.expect("an answer").get::<_, bool>(0) {
        // Rows of the catalog that the slot needs, dead and removed.
        site.database.execute("CREATE TABLE gone ()").await;
        site.database.execute("DROP TABLE gone").await;
        site.database.execute("VACUUM pg_class").await;
    }
    let label = if major == 16 { "slot_conflict" } else { "slot_rows_removed" };
    let reason = daemon.wait_until_failed(label).await;
    feedback(true).await;
    assert!(reason.contains("removed by the primary"), "{reason}");
    site.status_tells(&reason, "hot_standby_feedback").await;
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    daemon.wait_until_ready().await;

    pair.primary.set("wal_level", "replica");
    cluster::restart(&pair.primary, StopMode::Fast).await;
    let label = if major == 16 { "slot_conflict" } else { "slot_wal_level_insufficient" };
    let reason = daemon.wait_until_failed(label).await;
    assert!(reason.contains("wal_level was lowered"), "{reason}");
    site.status_tells(&reason, "wal_level = logical on the primary").await;
    let stderr = site.webhookdb.run(&["setup", "--accept-gap"]).await.fails_with(1);
    assert!(stderr.contains("wal_level on the primary is too low"), "{stderr}");

    let without_primary = site.config.clone().unset("source.primary_url");
    site.webhookdb.reconfigure(&without_primary);
    let stderr = site.webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains("the config names no primary_url"), "{stderr}");
}
