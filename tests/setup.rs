//! `setup` and the upkeep of the publication: what is made, what is adopted, what is refused, and what is taken back.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio_postgres::Client;
use webhookdb_notifications::config::PostgresUrl;
use webhookdb_notifications::demo::PostgresOptions;
use webhookdb_notifications::source::ReplicationConnection;

use crate::support::fixtures::{CHARGES, EVENTS, Table};
use crate::support::{Config, Output, Site, TestDatabase, Webhookdb, own_cluster};

const PUBLISHED: &str = "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '')
                         FROM pg_publication_tables WHERE pubname = 'webhookdb_notifications'";

async fn published(database: &TestDatabase) -> String {
    database.text(PUBLISHED).await.expect("a row")
}

/// `relreplident` of a table: d, i, f or n.
async fn identity(database: &TestDatabase, table: &str) -> String {
    let sql = format!("SELECT relreplident::text FROM pg_class WHERE oid = '{table}'::regclass");
    database.text(&sql).await.expect("the table")
}

async fn setup(site: &Site) -> String {
    site.webhookdb.run(&["setup"]).await.ok()
}

async fn refused(site: &Site, arguments: &[&str]) -> String {
    site.webhookdb.run(&[&["setup"], arguments].concat()).await.fails_with(1)
}

/// A table of one column beside the primary key, and its integration.
async fn add_table(site: &Site, name: &'static str, create: &'static str) {
    site.add(&Table { service: name, name, remote_key: "id", create }).await;
}

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
async fn each_policy_sets_the_identity_that_it_says_on_every_partition_too() {
    for (policy, expected) in [("key", "i"), ("full", "f"), ("keep", "d")] {
        let site = Site::with("identity", |config| config.set("source.replica_identity", policy)).await;
        site.add(&EVENTS).await;
        setup(&site).await;
        let leaves = "SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_partition_tree('icalendar_event_v1_20b1') t
                      JOIN pg_class c ON c.oid = t.relid";
        let tree = site.database.text(leaves).await.expect("partitions");
        for table in [CHARGES.name].into_iter().chain(tree.split(' ')) {
            assert_eq!(identity(&site.database, table).await, expected, "{policy}: {table}");
        }
        site.database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('a', '{}')").await;
        site.database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 1; DELETE FROM stripe_charge_v1_fdcc").await;
    }
}

#[tokio::test]
async fn no_table_is_ever_published_whose_own_update_would_fail() {
    let site = Site::new("keyless").await;
    add_table(&site, "keyless", "CREATE TABLE keyless (a int)").await;
    add_table(
        &site,
        "nothing",
        "CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING",
    )
    .await;
    setup(&site).await;
    assert_eq!(identity(&site.database, "keyless").await, "f");
    assert_eq!(identity(&site.database, "nothing").await, "d");
    for table in ["keyless", "nothing"] {
        site.database
            .execute(&format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET a = 2; DELETE FROM {table}"))
            .await;
    }
    let keep = Site::with("keyless_keep", |config| config.set("source.replica_identity", "keep")).await;
    add_table(&keep, "keyless", "CREATE TABLE keyless (a int)").await;
    let stderr = refused(&keep, &[]).await;
    assert!(stderr.contains("public.keyless") && stderr.contains("replica_identity"), "{stderr}");
    assert_eq!(published(&keep.database).await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
    keep.database.execute("INSERT INTO keyless VALUES (1); UPDATE keyless SET a = 2; DELETE FROM keyless").await;
}

#[tokio::test]
async fn of_several_keys_the_first_by_column_order_is_taken_and_setup_says_so() {
    let site = Site::new("several_keys").await;
    let create = "CREATE TABLE several (pk serial PRIMARY KEY, a text UNIQUE NOT NULL, b text NOT NULL UNIQUE);
                  CREATE UNIQUE INDEX partial ON several (a) WHERE a <> ''";
    add_table(&site, "several", create).await;
    let said = setup(&site).await;
    assert!(said.contains("(a, b); a is taken"), "{said}");
    let list = site.webhookdb.run(&["integrations", "list", "--format", "json"]).await.json();
    let several = list.as_array().expect("a list").iter().find(|item| item["table_name"] == "several");
    assert_eq!(several.expect("the integration")["external_id_column"], "a");
}

#[tokio::test]
async fn tables_that_come_go_and_change_their_names_are_kept_up_with() {
    let site = Site::new("upkeep").await;
    setup(&site).await;
    let oid = "SELECT relation_oid::text FROM notifications.relations WHERE state = 'published' AND integration =
               (SELECT opaque_id FROM service_integrations WHERE table_name = 'stripe_charge_v1_fdcc')";
    let before = site.database.text(oid).await;
    site.database.execute("CREATE SCHEMA moved; ALTER TABLE stripe_charge_v1_fdcc RENAME TO renamed").await;
    site.database.execute("ALTER TABLE renamed SET SCHEMA moved").await;
    let said = setup(&site).await;
    assert!(said.contains("table public.stripe_charge_v1_fdcc is now moved.renamed"), "{said}");
    assert_eq!(site.database.text(oid).await, before, "a rename loses nothing");
    site.database.execute("DROP TABLE moved.renamed").await;
    let said = setup(&site).await;
    assert!(said.contains("public.stripe_charge_v1_fdcc") && said.contains("does not exist yet"), "{said}");
    site.database.execute(CHARGES.create).await;
    setup(&site).await;
    assert_ne!(site.database.text(oid).await, before);
    assert_eq!(published(&site.database).await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
}

#[tokio::test]
async fn an_integration_that_webhookdb_removes_is_taken_out_and_leaves_a_tombstone() {
    let site = Site::new("tombstone").await;
    setup(&site).await;
    site.database.execute("DELETE FROM service_integrations WHERE table_name = 'stripe_charge_v1_fdcc'").await;
    setup(&site).await;
    assert_eq!(published(&site.database).await, "stripe_customer_v1_512a");
    let state = "SELECT state = 'removed' AND integration IS NOT NULL FROM notifications.relations
                 WHERE table_name = 'stripe_charge_v1_fdcc'";
    assert!(site.database.is_true(state).await);
}

#[tokio::test]
async fn a_table_of_no_integration_is_recorded_as_unassigned_until_it_gets_one() {
    let site = Site::new("unassigned").await;
    site.database.execute("CREATE TABLE stray (id int PRIMARY KEY)").await;
    site.database.execute("ALTER PUBLICATION webhookdb_notifications ADD TABLE stray").await;
    let said = setup(&site).await;
    assert!(said.contains("public.stray is published, but of no integration"), "{said}");
    let state = "SELECT state FROM notifications.relations WHERE table_name = 'stray'";
    assert_eq!(site.database.text(state).await.as_deref(), Some("unassigned"));
    add_table(&site, "stray", "SELECT").await;
    // Transactions of other tests on the same server hold it up: a table is complete once all that were open have ended.
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while site.database.text(state).await.as_deref() != Some("published") {
        assert!(std::time::Instant::now() < deadline, "still not complete");
        setup(&site).await;
    }
}

#[tokio::test]
async fn a_table_is_complete_only_when_the_transactions_open_at_its_publication_have_ended() {
    let site = Site::new("complete").await;
    let writer = site.database.connect().await;
    writer
        .batch_execute("BEGIN; INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('a', '{}')")
        .await
        .expect("a row");
    let create =
        ["notification", "create", "--integration=stripe_customer_v1", "--secret", "", "--url", "https://127.0.0.1"];
    let output = site.webhookdb.run(&create).await;
    assert!(output.stderr.contains("still open"), "{output:#?}");
    output.ok();
    let complete = "SELECT state = 'published' AND published_at IS NOT NULL FROM notifications.relations
                    WHERE table_name = 'stripe_customer_v1_512a'";
    assert!(!site.database.is_true(complete).await);
    writer.batch_execute("COMMIT").await.expect("the commit");
    setup(&site).await;
    assert!(site.database.is_true(complete).await);
}

#[tokio::test]
async fn a_locked_table_holds_up_neither_side_for_long() {
    let site = Site::new("locked").await;
    let reader = site.database.connect().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM stripe_charge_v1_fdcc").await.expect("a lock");
    let setup = ["setup"];
    let application = async {
        let waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted
                       AND relation = 'stripe_charge_v1_fdcc'::regclass)";
        site.database.wait_until("the lock is waited for", waiting).await;
        let began = Instant::now();
        site.database.execute("SELECT count(*) FROM stripe_charge_v1_fdcc").await;
        began.elapsed()
    };
    let (output, waited) = tokio::join!(site.webhookdb.run(&setup), application);
    assert!(waited < Duration::from_secs(5), "an application waited for {waited:?}");
    output.fails_with(1);
    assert_eq!(published(&site.database).await, "stripe_customer_v1_512a");
    let nothing_left =
        "SELECT NOT EXISTS (SELECT FROM notifications.relations WHERE table_name = 'stripe_charge_v1_fdcc')";
    assert!(site.database.is_true(nothing_left).await);
    reader.batch_execute("COMMIT").await.expect("the lock goes");
    site.webhookdb.run(&setup).await.ok();
    assert_eq!(published(&site.database).await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
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
    assert_eq!(published(&site.database).await, "", "what is refused leaves the source untouched");
    site.webhookdb.run(&["setup", "--accept-gap"]).await.ok();
    assert_eq!(published(&site.database).await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
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
    assert_eq!(published(&site.database).await, CHARGES.name);
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

/// Without the columns that are optional.
const WEBHOOKDB_TABLES: &str = "
    CREATE TABLE organizations (id int PRIMARY KEY, name text, key text);
    CREATE TABLE service_integrations (
        id int PRIMARY KEY, organization_id int, opaque_id text, service_name text, table_name text);
    INSERT INTO organizations VALUES (1, 'Acme Corp', 'acme_corp');
    INSERT INTO service_integrations VALUES (1, 1, 'svi_1', 'stripe_charge_v1', 'stripe_charge_v1_fdcc')";
const WEBHOOKDB_CONTENT: &str = "SELECT (SELECT json_agg(o) FROM organizations o)::text
                                     || (SELECT json_agg(i) FROM service_integrations i)::text";

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
        assert_eq!(identity(&site.database, table).await, expected, "{table}");
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

/// The psql beside the server's programs; where only a server is there, the one in `PATH`, of whatever version.
fn psql() -> PathBuf {
    let beside_server = std::env::var_os("PG_BIN").map(|directory| PathBuf::from(directory).join("psql"));
    beside_server.filter(|psql| psql.is_file()).unwrap_or_else(|| "psql".into())
}

/// Runs `sql/setup-replication.sql` as a DBA would: as the superuser, with psql alone.
async fn run_script(database: &TestDatabase, script: &std::path::Path, variables: &[&str]) -> (bool, String) {
    let mut command = Command::new(psql());
    command.arg("-X").arg("-d").arg(database.url()).arg("-f").arg(script).stdin(Stdio::null());
    for variable in variables {
        command.arg("-v").arg(variable);
    }
    let output = command.output().await.expect("psql, of PostgreSQL's client programs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/setup-replication.sql");

#[tokio::test]
async fn a_dba_prepares_a_database_by_psql_for_a_role_that_owns_nothing() {
    let database = TestDatabase::create("dba").await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    database.execute(WEBHOOKDB_TABLES).await;
    database.execute(CHARGES.create).await;
    database.execute(EVENTS.create).await;
    database.execute("CREATE TABLE \"O'dd\" (a int)").await;
    let (role_variable, slot) = (format!("role={role}"), format!("slot={}", database.name()));
    let tables = r#"tables={public.stripe_charge_v1_fdcc,icalendar_event_v1_20b1,"\"O'dd\""}"#;
    for _ in 0..2 {
        let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&role_variable, &slot, tables]).await;
        assert!(done, "{said}");
    }
    assert_eq!(published(&database).await, "O'dd icalendar_event_v1_20b1 stripe_charge_v1_fdcc");
    assert_eq!(identity(&database, CHARGES.name).await, "i");
    assert_eq!(identity(&database, "\"O''dd\"").await, "f");
    let leaves = "SELECT bool_and(relreplident = 'i') FROM pg_partition_tree('icalendar_event_v1_20b1') t
                  JOIN pg_class c ON c.oid = t.relid";
    assert!(database.is_true(leaves).await);
    let url = database.cluster().url_of(&role, database.name());
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
    let said = webhookdb.run(&["setup"]).await.ok();
    assert!(
        said.contains("adopted slot") && said.contains("public.icalendar_event_v1_20b1 is published, but"),
        "{said}"
    );
    webhookdb.run(&["setup"]).await.ok();
    let create = ["notification", "create", "--integration=svi_1", "--secret", "", "--url", "https://127.0.0.1"];
    webhookdb.run(&create).await.ok();
    // A table that only its owner can publish is named, with the statement that does it.
    database.execute("CREATE TABLE theirs (a int PRIMARY KEY)").await;
    database.execute("INSERT INTO service_integrations VALUES (2, 1, 'svi_2', 'theirs_v1', 'theirs')").await;
    let stderr = webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains(r#"ADD TABLE ONLY "public"."theirs""#), "{stderr}");
    let recorded = "SELECT EXISTS (SELECT FROM notifications.relations WHERE table_name = 'theirs')";
    assert!(!database.is_true(recorded).await);
    let said = webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    assert!(said.contains("was not made by setup and stays"), "{said}");
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn the_script_is_printed_with_the_names_of_the_config_filled_in() {
    let site = Site::new("print_sql").await;
    let script = site.webhookdb.run(&["setup", "--sql"]).await.ok();
    let path = site.webhookdb.directory().join("setup.sql");
    std::fs::write(&path, &script).expect("the script");
    assert!(script.contains(&format!("\\set slot '{}'", site.database.name())), "{script}");
    let (done, said) = run_script(&site.database, &path, &[]).await;
    assert!(done, "{said}");
    assert_eq!(published(&site.database).await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
}

#[tokio::test]
async fn the_script_refuses_what_it_can_not_repair() {
    let database = TestDatabase::create("dba_refused").await;
    database.execute("CREATE PUBLICATION everything FOR ALL TABLES").await;
    let slot = format!("slot={}", database.name());
    for (variable, expected) in [
        ("role=no_such_role", "There is no role no_such_role"),
        ("tables={public.nope}", "public.nope"),
        ("publication=everything", "FOR ALL TABLES"),
    ] {
        let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&slot, "role=postgres", variable]).await;
        assert!(!done && said.contains(expected), "{variable}: {said}");
    }
    database.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&database.name()]).await;
    let (done, said) = run_script(&database, SCRIPT.as_ref(), &[&slot, "role=postgres"]).await;
    assert!(!done && said.contains("older than the publication"), "{said}");
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

#[tokio::test]
async fn a_missing_right_is_named_with_the_grant_that_gives_it() {
    let database = TestDatabase::create("rights").await;
    let role = format!("{}_role", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN REPLICATION")).await;
    let url = database.cluster().url_of(&role, database.name());
    let webhookdb = Webhookdb::new(&Config::for_url(&url).set("source.slot", database.name()));
    let stderr = webhookdb.run(&["setup"]).await.fails_with(1);
    let grant = format!("GRANT CREATE ON DATABASE \"{}\" TO \"{role}\"", database.name());
    assert!(stderr.contains(&grant), "{stderr}");
    database.execute(&grant).await;
    // Who may not create tables in public is told so.
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let stderr = webhookdb.run(&["setup"]).await.fails_with(1);
    assert!(stderr.contains(&format!("GRANT CREATE ON SCHEMA \"public\" TO \"{role}\"")), "{stderr}");
    database.execute(&format!("GRANT CREATE ON SCHEMA public TO {role}")).await;
    webhookdb.run(&["setup"]).await.ok();
    webhookdb.run(&["setup", "--drop", "--yes"]).await.ok();
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
