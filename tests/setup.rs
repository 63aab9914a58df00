//! `setup`: what is made, what is adopted, what is refused, and what is taken back.

use tokio_postgres::Client;
use webhookdb_notifications::config::PostgresUrl;
use webhookdb_notifications::demo::PostgresOptions;
use webhookdb_notifications::source::ReplicationConnection;

use crate::support::fixtures::{CHARGES, EVENTS, WEBHOOKDB_TABLES};
use crate::support::psql::{SCRIPT, run_script};
use crate::support::{Config, Output, Site, TestDatabase, Webhookdb, own_cluster};

async fn setup(site: &Site) -> String {
    site.webhookdb.run(&["setup"]).await.ok()
}

async fn refused(site: &Site, arguments: &[&str]) -> String {
    site.webhookdb.run(&[&["setup"], arguments].concat()).await.fails_with(1)
}

const WEBHOOKDB_CONTENT: &str = "SELECT (SELECT json_agg(o) FROM organizations o)::text
                                     || (SELECT json_agg(i) FROM service_integrations i)::text";

#[tokio::test]
async fn setup_makes_everything_once_and_finds_it_ever_after() {
    let site = Site::new("setup_again").await;
    let first = setup(&site).await;
    assert!(first.contains("+ table public.stripe_charge_v1_fdcc of svi_"), "{first}");
    let state = "SELECT (SELECT json_agg(s) FROM notifications.sources s)::text
                     || (SELECT json_agg(r) FROM notifications.relations r)::text
                     || (SELECT json_agg(m) FROM notifications.made m)::text";
    let before = site.database.text(state).await;
    let second = setup(&site).await;
    assert!(!second.lines().any(|line| line.starts_with('+')), "{second}");
    assert_eq!(site.database.text(state).await, before);
    let checkpoint = format!(
        "SELECT s.commit_lsn = r.confirmed_flush_lsn AND s.flush_lsn = s.commit_lsn AND s.anchor_xid IS NULL
                AND s.publication_oid = p.oid AND s.timeline = 1
                AND s.system_identifier = (SELECT system_identifier FROM pg_control_system())
         FROM notifications.sources s, pg_replication_slots r, pg_publication p
         WHERE r.slot_name = '{}' AND p.pubname = s.publication AND NOT p.puballtables AND p.pubviaroot",
        site.database.name()
    );
    assert!(site.database.is_true(&checkpoint).await);
}

#[tokio::test]
async fn two_at_once_make_one_of_everything() {
    let database = TestDatabase::create("two_at_once").await;
    let webhookdb = Webhookdb::for_database(&database);
    let setup = ["setup"];
    let (one, other) = tokio::join!(webhookdb.run(&setup), webhookdb.run(&setup));
    let made = |output: Output| output.ok().contains("+ made schema notifications");
    assert!(made(one) != made(other), "one of them makes it, the other finds it");
    assert!(database.is_true("SELECT count(*) = max(version) FROM notifications.migrations").await);
}

#[tokio::test]
async fn a_slot_that_is_gone_is_refused_until_the_gap_is_accepted_and_recorded() {
    let site = Site::new("gap").await;
    site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    site.database.execute("UPDATE notifications.subscription_starts SET start_lsn = 'FF/0'").await;
    site.database.query("SELECT pg_drop_replication_slot($1)", &[&site.database.name()]).await;
    let stderr = refused(&site, &[]).await;
    assert!(stderr.contains(site.database.name()) && stderr.contains("--accept-gap"), "{stderr}");
    assert!(site.database.is_true("SELECT count(*) = 0 FROM notifications.gaps").await);
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    let recorded = "SELECT count(*) = 1 AND bool_and(g.to_lsn = s.commit_lsn AND g.from_lsn < g.to_lsn AND s.epoch = 1)
                    FROM notifications.gaps g, notifications.sources s";
    assert!(site.database.is_true(recorded).await);
    let due_from_the_beginning = "SELECT bool_and(start_lsn = '0/0') FROM notifications.subscription_starts";
    assert!(site.database.is_true(due_from_the_beginning).await);
    setup(&site).await;
}

#[tokio::test]
async fn a_publication_that_was_dropped_or_made_again_is_refused_until_the_gap_is_accepted() {
    let site = Site::new("publication_gap").await;
    setup(&site).await;
    site.database.execute("DROP PUBLICATION webhookdb_notifications").await;
    assert!(refused(&site, &[]).await.contains("--accept-gap"));
    site.database.execute("CREATE PUBLICATION webhookdb_notifications").await;
    assert!(refused(&site, &[]).await.contains("made again"));
    assert_eq!(site.database.published().await, "", "what is refused leaves the source untouched");
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    assert_eq!(site.database.published().await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
    setup(&site).await;
}

#[tokio::test]
async fn another_server_is_accepted_by_its_own_option_only() {
    let site = Site::new("other_server").await;
    setup(&site).await;
    site.database.execute("UPDATE notifications.sources SET system_identifier = 5").await;
    assert!(refused(&site, &[]).await.contains("--accept-server"));
    assert!(refused(&site, &["--accept-gap"]).await.contains("--accept-server"));
    site.webhookdb.run(&["setup", "--accept-server"]).await.ok();
    assert!(site.database.is_true("SELECT count(*) = 1 FROM notifications.gaps").await);
    setup(&site).await;
}

#[tokio::test]
async fn a_catalog_that_is_older_than_the_slot_is_refused() {
    let site = Site::new("older_catalog").await;
    site.database.execute("UPDATE notifications.sources SET flush_lsn = '0/1', commit_lsn = '0/1'").await;
    let stderr = refused(&site, &[]).await;
    assert!(stderr.contains("older than the slot") && stderr.contains("--accept-gap"), "{stderr}");
}

#[tokio::test]
async fn another_slot_in_the_config_is_refused_once_one_is_set_up() {
    let site = Site::new("other_slot").await;
    site.webhookdb.reconfigure(&site.config.clone().set("source.slot", "another_slot"));
    let stderr = refused(&site, &[]).await;
    assert!(stderr.contains("another_slot") && stderr.contains(site.database.name()), "{stderr}");
}

#[tokio::test]
async fn a_publication_for_all_tables_is_refused() {
    let database = TestDatabase::create("all_tables").await;
    database.execute("CREATE PUBLICATION webhookdb_notifications FOR ALL TABLES").await;
    let stderr = Webhookdb::for_database(&database).run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains("FOR ALL TABLES") && stderr.contains("hint: "), "{stderr}");
}

#[tokio::test]
async fn a_schema_newer_than_the_program_is_refused_with_a_sentence() {
    let site = Site::new("newer").await;
    site.database.execute("INSERT INTO notifications.migrations (version, name) VALUES (9999, '9999_later')").await;
    for command in [&["setup"][..], &["notification", "list"]] {
        let stderr = site.webhookdb.run(command).await.fails_with(1);
        assert!(stderr.contains("version 9999") && stderr.contains("hint: use the version"), "{stderr}");
    }
}

#[tokio::test]
async fn webhookdbs_own_tables_are_read_and_never_altered() {
    let database = TestDatabase::create("beside_webhookdb").await;
    database.execute(WEBHOOKDB_TABLES).await;
    database.execute(CHARGES.create).await;
    let config = Config::new(&database);
    let site = Site { webhookdb: Webhookdb::new(&config), config, database };
    setup(&site).await;
    assert_eq!(site.database.published().await, CHARGES.name);
    let before = site.database.text(WEBHOOKDB_CONTENT).await;
    for command in [
        &["org", "create", "Globex"][..],
        &["integrations", "add", "--org", "acme_corp", "--service", "x", "--table", "x"],
        &["integrations", "remove", "svi_1", "--force"],
    ] {
        let stderr = site.webhookdb.run(command).await.fails_with(1);
        assert!(stderr.contains("read, never altered") && stderr.contains("hint: "), "{stderr}");
    }
    site.subscribe("svi_1", "https://127.0.0.1").await;
    site.webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    assert_eq!(site.database.text(WEBHOOKDB_CONTENT).await, before);
}

#[tokio::test]
async fn drop_removes_what_setup_made_and_nothing_else() {
    let site = Site::new("drop").await;
    site.add(&EVENTS).await;
    site.database.execute("ALTER TABLE stripe_customer_v1_512a REPLICA IDENTITY FULL").await;
    site.subscribe_organization("https://127.0.0.1").await;
    let declined = site.webhookdb.run_with_input(&["setup", "--drop"], "no\n").await;
    assert!(declined.stderr.contains("Go on?") && declined.stderr.contains("Nothing was removed"), "{declined:#?}");
    assert!(site.database.is_true("SELECT count(*) = 1 FROM notifications.subscriptions").await);
    site.webhookdb.run_with_input(&["setup", "--drop"], "yes\n").await.ok();
    let nothing_left = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{}')
            AND NOT EXISTS (SELECT FROM pg_publication)
            AND to_regnamespace('notifications') IS NULL AND to_regclass('organizations') IS NULL",
        site.database.name()
    );
    assert!(site.database.is_true(&nothing_left).await);
    for (table, expected) in [(CHARGES.name, "d"), (EVENTS.name, "d"), ("stripe_customer_v1_512a", "f")] {
        assert_eq!(site.database.identity(table).await, expected, "{table}");
    }
    site.webhookdb.run(&["setup"]).await.ok();
}

#[tokio::test]
async fn drop_and_beginning_anew_are_refused_while_somebody_reads_from_the_slot() {
    let site = Site::new("drop_active").await;
    setup(&site).await;
    let url: PostgresUrl = site.database.url().parse().expect("a url");
    let connection = ReplicationConnection::connect(&url).await.expect("a replication connection");
    let reading = connection.start(site.database.name(), "webhookdb_notifications").await.expect("the stream");
    let stderr = refused(&site, &["--drop", "--yes"]).await;
    assert!(stderr.contains("PID") && stderr.contains("webhookdb-notifications"), "{stderr}");
    site.database.execute("UPDATE notifications.sources SET flush_lsn = '0/1'").await;
    assert!(refused(&site, &["--accept-gap"]).await.contains("PID"));
    drop(reading);
}

/// A session with an open transaction, and the transaction's id.
async fn open_transaction(database: &TestDatabase) -> (Client, String) {
    let session = database.connect().await;
    session.batch_execute("BEGIN").await.expect("open");
    let row = session.query_one("SELECT pg_current_xact_id()::text", &[]).await.expect("an id");
    (session, row.get(0))
}

async fn wait_until_somebody_waits_for(database: &TestDatabase, xid: &str) {
    let sql = format!("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND transactionid = '{xid}'::xid)");
    database.wait_until("making the slot waits for a transaction", &sql).await;
}

/// A table is made in the last of the phases in which making a slot waits for others: the slot's maker then reads of it.
async fn make_a_table_at_the_worst_moment(database: &TestDatabase) {
    let (first, first_xid) = open_transaction(database).await;
    wait_until_somebody_waits_for(database, &first_xid).await;
    let (second, second_xid) = open_transaction(database).await;
    first.batch_execute("COMMIT").await.expect("closed");
    wait_until_somebody_waits_for(database, &second_xid).await;
    database.execute("CREATE TABLE at_the_worst_moment (a int)").await;
    second.batch_execute("COMMIT").await.expect("closed");
}

#[tokio::test]
async fn tables_are_made_while_the_slot_is() {
    let cluster = own_cluster(PostgresOptions::default());
    let database = TestDatabase::create_on(&cluster, "busy").await;
    let run = run_script(&database, SCRIPT.as_ref(), &["role=postgres", "slot=by_script"]);
    let ((done, said), ()) = tokio::join!(run, make_a_table_at_the_worst_moment(&database));
    assert!(done, "{said}");
    database.execute("DROP TABLE at_the_worst_moment").await;
    let webhookdb = Webhookdb::new(&Config::new(&database).set("source.slot", "by_setup"));
    let (output, ()) = tokio::join!(webhookdb.run(&["setup"]), make_a_table_at_the_worst_moment(&database));
    output.ok();
}
