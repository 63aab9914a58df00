//! The upkeep of the publication: tables that come, go and change, while the daemon runs and while it does not; identities; and
//! that nobody waits for us, nor fails because of us.

use std::time::{Duration, Instant};

use crate::support::fixtures::{CHARGES, CUSTOMERS, EVENTS, Table, upsert_charge};
use crate::support::{Daemon, Receiver, Site, TestDatabase, Webhookdb};

async fn setup(site: &Site) -> String {
    site.webhookdb.run(&["setup"]).await.ok()
}

async fn refused(site: &Site, arguments: &[&str]) -> String {
    site.webhookdb.run(&[&["setup"], arguments].concat()).await.fails_with(1)
}

/// A site whose organization is subscribed to, with a daemon at work.
async fn served(site: &Site) -> (Receiver, Daemon) {
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    (receiver, site.serve().await)
}

/// Runs a statement until it succeeds, which it must within some rounds of the upkeep.
async fn succeeds_soon(database: &TestDatabase, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Err(error) = database.client().batch_execute(sql).await {
        assert!(Instant::now() < deadline, "still fails: {sql}\n{error:?}");
        tokio::time::sleep(crate::support::POLL).await;
    }
}

fn is_in_publication(table: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
                        WHERE p.pubname = 'webhookdb_notifications' AND r.prrelid = to_regclass('{table}'))"
    )
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
            assert_eq!(site.database.identity(table).await, expected, "{policy}: {table}");
        }
        site.database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('a', '{}')").await;
        site.database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 1; DELETE FROM stripe_charge_v1_fdcc").await;
    }
}

#[tokio::test]
async fn no_table_is_ever_published_whose_own_update_would_fail() {
    let site = Site::new("keyless").await;
    site.add_table("keyless", "CREATE TABLE keyless (a int)").await;
    site.add_table("nothing", "CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING")
        .await;
    setup(&site).await;
    assert_eq!(site.database.identity("keyless").await, "f");
    assert_eq!(site.database.identity("nothing").await, "d");
    for table in ["keyless", "nothing"] {
        site.database
            .execute(&format!("INSERT INTO {table} VALUES (1); UPDATE {table} SET a = 2; DELETE FROM {table}"))
            .await;
    }
    let keep = Site::with("keyless_keep", |config| config.set("source.replica_identity", "keep")).await;
    keep.add_table("keyless", "CREATE TABLE keyless (a int)").await;
    let stderr = refused(&keep, &[]).await;
    assert!(stderr.contains("public.keyless") && stderr.contains("replica_identity"), "{stderr}");
    assert_eq!(keep.database.published().await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
    keep.database.execute("INSERT INTO keyless VALUES (1); UPDATE keyless SET a = 2; DELETE FROM keyless").await;
}

#[tokio::test]
async fn of_several_keys_the_first_by_column_order_is_taken_and_setup_says_so() {
    let site = Site::new("several_keys").await;
    let create = "CREATE TABLE several (pk serial PRIMARY KEY, a text UNIQUE NOT NULL, b text NOT NULL UNIQUE);
                  CREATE UNIQUE INDEX partial ON several (a) WHERE a <> ''";
    site.add_table("several", create).await;
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
    assert_eq!(site.database.published().await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
}

#[tokio::test]
async fn an_integration_that_webhookdb_removes_is_taken_out_and_leaves_a_tombstone() {
    let site = Site::new("tombstone").await;
    setup(&site).await;
    site.database.execute("DELETE FROM service_integrations WHERE table_name = 'stripe_charge_v1_fdcc'").await;
    setup(&site).await;
    assert_eq!(site.database.published().await, "stripe_customer_v1_512a");
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
    site.add_table("stray", "SELECT").await;
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
    assert_eq!(site.database.published().await, "stripe_customer_v1_512a");
    let nothing_left =
        "SELECT NOT EXISTS (SELECT FROM notifications.relations WHERE table_name = 'stripe_charge_v1_fdcc')";
    assert!(site.database.is_true(nothing_left).await);
    reader.batch_execute("COMMIT").await.expect("the lock goes");
    site.webhookdb.run(&setup).await.ok();
    assert_eq!(site.database.published().await, "stripe_charge_v1_fdcc stripe_customer_v1_512a");
}

#[tokio::test]
async fn while_the_daemon_runs_a_table_is_renamed_moved_dropped_and_made_again() {
    let site = Site::new("live").await;
    let (receiver, daemon) = served(&site).await;
    let charge = |table: &str, id: &str| format!("INSERT INTO {table} (stripe_id, data) VALUES ('{id}', '{{}}')");
    site.database.execute("ALTER TABLE stripe_charge_v1_fdcc RENAME TO renamed").await;
    site.database.execute(&charge("renamed", "ch_renamed")).await;
    site.database.execute("CREATE SCHEMA moved; ALTER TABLE renamed SET SCHEMA moved").await;
    site.database.execute(&charge("moved.renamed", "ch_moved")).await;
    let named = receiver.wait_for_id("ch_moved").await[0].json();
    assert_eq!(named["table_name"], CHARGES.name, "by the integration's name: {named}");
    daemon.wait_for_log("is now moved.renamed").await;
    // At once: in between the upkeep could find neither.
    site.database.execute(&format!("DROP TABLE moved.renamed; {}", CHARGES.create)).await;
    daemon.wait_for_log("was dropped and made again").await;
    site.database.wait_until("the new table is published", &is_in_publication(CHARGES.name)).await;
    site.database.execute(&charge(CHARGES.name, "ch_again")).await;
    let mut ids: Vec<String> = receiver.wait_for(3).await.iter().map(|request| request.external_id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["ch_again", "ch_moved", "ch_renamed"]);
}

#[tokio::test]
async fn changes_of_a_table_that_was_dropped_before_they_were_read_are_delivered() {
    let site = Site::new("dropped_pending").await;
    let (receiver, daemon) = served(&site).await;
    assert!(daemon.terminate().await.success());
    upsert_charge(site.database.client(), "ch_pending", 1, 1).await;
    site.database.execute("DROP TABLE stripe_charge_v1_fdcc").await;
    site.database.execute(CHARGES.create).await;
    let said = setup(&site).await;
    assert!(said.contains("was dropped and made again"), "{said}");
    upsert_charge(site.database.client(), "ch_new", 1, 1).await;
    let _daemon = site.serve().await;
    receiver.wait_for_id("ch_new").await;
    let pending = receiver.wait_for_id("ch_pending").await[0].json();
    assert_eq!(pending["external_id_column"], "stripe_id", "{pending}");
    // The tombstone is its integration's only for as long as there is the integration.
    site.database.execute("DELETE FROM service_integrations WHERE table_name = 'stripe_charge_v1_fdcc'").await;
    setup(&site).await;
    assert_eq!(site.database.published().await, CUSTOMERS.name);
}

fn event(calendar: i64, id: &str) -> String {
    format!(
        "INSERT INTO icalendar_event_v1_20b1 (calendar_external_hash, compound_identity, data)
         VALUES ({calendar}, '{id}', '{{}}')"
    )
}

#[tokio::test]
async fn partitions_come_and_go_and_rows_move_between_them_under_the_name_of_the_root() {
    let site = Site::new("partitions").await;
    let listed = "CREATE TABLE listed (kind int, id text NOT NULL, PRIMARY KEY (kind, id)) PARTITION BY LIST (kind);
                  CREATE TABLE listed_1 PARTITION OF listed FOR VALUES IN (1)";
    site.add_table("listed", listed).await;
    site.add(&EVENTS).await;
    let (receiver, _daemon) = served(&site).await;
    site.database.execute(&event(7, "event_1")).await;
    site.database.execute("INSERT INTO listed VALUES (1, 'row_1')").await;
    site.database.execute("CREATE TABLE listed_2 (id text NOT NULL, kind int NOT NULL)").await;
    site.database.execute("ALTER TABLE listed ATTACH PARTITION listed_2 FOR VALUES IN (2)").await;
    site.database.execute("UPDATE listed SET kind = 2").await;
    site.database.execute("ALTER TABLE listed DETACH PARTITION listed_2").await;
    // Until it is connected anew, the walsender of version 14 goes on publishing what was detached.
    if major_version(&site.database).await > 14 {
        site.database.execute("INSERT INTO listed_2 (kind, id) VALUES (2, 'row_of_nobody')").await;
    }
    site.database.execute("INSERT INTO listed VALUES (1, 'row_2')").await;
    receiver.wait_for(5).await;
    let told: Vec<(String, String)> = receiver
        .received()
        .iter()
        .map(|request| (request.json()["table_name"].as_str().unwrap_or_default().to_owned(), request.kind()))
        .collect();
    let expected = [
        (EVENTS.name, "row.inserted"),
        ("listed", "row.inserted"),
        ("listed", "row.deleted"),
        ("listed", "row.inserted"),
        ("listed", "row.inserted"),
    ];
    let mut told: Vec<(&str, &str)> = told.iter().map(|(table, kind)| (table.as_str(), kind.as_str())).collect();
    told.sort_unstable();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_partition_that_is_attached_gets_its_identity_within_the_upkeeps_interval() {
    let site = Site::new("attached").await;
    let keyless = "CREATE TABLE keyless (kind int, id int) PARTITION BY LIST (kind)";
    site.add_table("keyless", keyless).await;
    site.add(&EVENTS).await;
    let said = setup(&site).await;
    assert!(said.contains("public.keyless is partitioned and has no primary key"), "{said}");
    let _daemon = site.serve().await;
    site.database.execute("CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES IN (1)").await;
    site.database.execute("INSERT INTO keyless VALUES (1, 1)").await;
    succeeds_soon(&site.database, "UPDATE keyless SET id = 2; DELETE FROM keyless").await;
    assert_eq!(site.database.identity("keyless_1").await, "f");
    // A new leaf of an integration as WebhookDB makes them gets the index of the remote key.
    site.database.execute("ALTER TABLE icalendar_event_v1_20b1 DETACH PARTITION icalendar_event_v1_20b1_2").await;
    site.database
        .execute("CREATE TABLE later PARTITION OF icalendar_event_v1_20b1 FOR VALUES WITH (MODULUS 3, REMAINDER 2)")
        .await;
    site.database
        .wait_until("the leaf's identity", "SELECT relreplident = 'i' FROM pg_class WHERE relname = 'later'")
        .await;
}

#[tokio::test]
async fn a_table_that_is_turned_into_a_partition_is_published_by_the_whole() {
    let site = Site::new("partitioned").await;
    let (receiver, daemon) = served(&site).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let turn = "BEGIN;
         ALTER TABLE stripe_charge_v1_fdcc RENAME TO charges_0;
         CREATE TABLE stripe_charge_v1_fdcc (LIKE charges_0 INCLUDING DEFAULTS, PRIMARY KEY (pk)) PARTITION BY RANGE (pk);
         ALTER TABLE stripe_charge_v1_fdcc ATTACH PARTITION charges_0 FOR VALUES FROM (0) TO (1000);
         CREATE TABLE charges_1 PARTITION OF stripe_charge_v1_fdcc FOR VALUES FROM (1000) TO (2000);
         COMMIT";
    site.database.execute(turn).await;
    daemon.wait_for_log("is a partition of public.stripe_charge_v1_fdcc now").await;
    site.database.wait_until("the whole is published", &is_in_publication(CHARGES.name)).await;
    let out = is_in_publication("charges_0").replacen("SELECT", "SELECT NOT", 1);
    site.database.wait_until("the partition alone is not", &out).await;
    for (pk, id) in [(500, "ch_500"), (1500, "ch_1500")] {
        let sql = format!("INSERT INTO stripe_charge_v1_fdcc (pk, stripe_id, data) VALUES ({pk}, '{id}', '{{}}')");
        site.database.execute(&sql).await;
        let told = receiver.wait_until(id, |all| all.iter().any(|one| one.json()["row"]["stripe_id"] == id)).await;
        assert!(!told.is_empty());
    }
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
async fn an_identity_whose_index_vanishes_is_set_again_and_no_update_fails_for_long() {
    let site = Site::new("vanished").await;
    let (_receiver, daemon) = served(&site).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    assert_eq!(site.database.identity(CHARGES.name).await, "i");
    site.database
        .execute("ALTER TABLE stripe_charge_v1_fdcc DROP CONSTRAINT stripe_charge_v1_fdcc_stripe_id_key")
        .await;
    succeeds_soon(&site.database, "UPDATE stripe_charge_v1_fdcc SET amount = 2").await;
    daemon.wait_for_log("the replica identity of table public.stripe_charge_v1_fdcc is set again").await;
    assert_eq!(site.database.identity(CHARGES.name).await, "d");
    site.database.execute("ALTER TABLE stripe_charge_v1_fdcc ADD UNIQUE (stripe_id)").await;
    let index = "SELECT relreplident = 'i' FROM pg_class WHERE relname = 'stripe_charge_v1_fdcc'";
    site.database.wait_until("the index is the identity again", index).await;
    // The same without a daemon, by the next command.
    daemon.terminate().await;
    site.database
        .execute("ALTER TABLE stripe_charge_v1_fdcc DROP CONSTRAINT stripe_charge_v1_fdcc_stripe_id_key")
        .await;
    setup(&site).await;
    site.database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 3").await;
}

#[tokio::test]
async fn hands_off_means_out_of_the_publication_rather_than_an_update_that_fails() {
    let site = Site::with("hands_off", |config| config.set("source.replica_identity", "keep")).await;
    site.database
        .execute("ALTER TABLE stripe_charge_v1_fdcc REPLICA IDENTITY USING INDEX stripe_charge_v1_fdcc_stripe_id_key")
        .await;
    let (receiver, daemon) = served(&site).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
    site.database
        .execute("ALTER TABLE stripe_charge_v1_fdcc DROP CONSTRAINT stripe_charge_v1_fdcc_stripe_id_key")
        .await;
    succeeds_soon(&site.database, "UPDATE stripe_charge_v1_fdcc SET amount = 2").await;
    daemon.wait_for_log("was taken out of the publication").await;
    let since = async || {
        let list = site.webhookdb.run(&["integrations", "list", "--format", "json"]).await.json();
        list.as_array().expect("a list").iter().find(|item| item["table_name"] == CHARGES.name).cloned()
    };
    assert!(since().await.is_some_and(|item| item["published_since"].is_null()));
    assert_eq!(site.database.identity(CHARGES.name).await, "i", "hands off");
    site.database.execute("ALTER TABLE stripe_charge_v1_fdcc REPLICA IDENTITY DEFAULT").await;
    site.database.wait_until("it is published again", &is_in_publication(CHARGES.name)).await;
    site.database.execute("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('ch_2', '{}')").await;
    receiver.wait_until("ch_2", |all| all.iter().any(|one| one.json()["row"]["stripe_id"] == "ch_2")).await;
    let complete = "SELECT state = 'published' FROM notifications.relations WHERE table_name = 'stripe_charge_v1_fdcc'";
    site.database.wait_until("it is complete", complete).await;
    assert!(since().await.is_some_and(|item| item["published_since"].is_string()));
}

#[tokio::test]
async fn a_table_that_somebody_took_out_is_put_back_and_is_complete_from_then_on_only() {
    let site = Site::new("put_back").await;
    let (receiver, daemon) = served(&site).await;
    let since = "SELECT published_at::text FROM notifications.relations
                 WHERE table_name = 'stripe_charge_v1_fdcc' AND state = 'published'";
    let before = site.database.text(since).await;
    site.database.execute("ALTER PUBLICATION webhookdb_notifications DROP TABLE stripe_charge_v1_fdcc").await;
    daemon.wait_for_log("had been taken out of the publication").await;
    let later = format!("SELECT ({since}) > '{}'", before.expect("published"));
    site.database.wait_until("it is complete from later on", &later).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for_id("ch_1").await;
}

#[tokio::test]
async fn a_transaction_of_another_database_holds_up_no_table() {
    let (site, other) = tokio::join!(Site::new("own_database"), TestDatabase::create("other_database"));
    let writer = other.connect().await;
    writer.batch_execute("BEGIN; CREATE TABLE t (a int)").await.expect("a transaction with an id");
    let said = setup(&site).await;
    for table in [CHARGES.name, CUSTOMERS.name] {
        assert!(said.contains(&format!("table public.{table} is complete from here on")), "{said}");
    }
    writer.batch_execute("COMMIT").await.expect("the commit");
}

#[tokio::test]
async fn one_table_is_of_one_integration_and_a_second_is_refused() {
    let site = Site::new("second").await;
    setup(&site).await;
    site.webhookdb.run(&["org", "create", "Globex"]).await.ok();
    let add = ["integrations", "add", "--org", "globex", "--service", "globex_charge_v1", "--table", CHARGES.name];
    site.webhookdb.run(&add).await.ok();
    let create =
        ["notification", "create", "--integration=globex_charge_v1", "--secret", "", "--url", "https://127.0.0.1"];
    for command in [&["setup"][..], &create] {
        let stderr = site.webhookdb.run(command).await.fails_with(1);
        assert!(stderr.contains("belongs to integration svi_") && stderr.contains("remove one of the two"), "{stderr}");
    }
    let (receiver, _daemon) = served(&site).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    assert_eq!(receiver.wait_for_id("ch_1").await[0].json()["organization"], "acme_corp");
}

#[tokio::test]
async fn while_an_application_holds_one_table_the_daemon_publishes_the_others_and_nobody_waits_for_it() {
    let site = Site::new("held").await;
    let (receiver, daemon) = served(&site).await;
    let holder = site.database.connect().await;
    holder
        .batch_execute("CREATE TABLE held (id int PRIMARY KEY); CREATE TABLE free (id int PRIMARY KEY)")
        .await
        .expect("two");
    holder.batch_execute("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE").await.expect("the lock");
    for name in ["held", "free"] {
        site.integrate(&Table { service: name, name, remote_key: "id", create: "" }).await;
    }
    site.database.wait_until("the free one is published", &is_in_publication("free")).await;
    site.database.execute("INSERT INTO free VALUES (1)").await;
    receiver.wait_for(1).await;
    daemon.wait_for_log("can't be published").await;
    // The application's own statement after the lock is not stuck behind ours.
    let began = Instant::now();
    holder.batch_execute("INSERT INTO held VALUES (1); COMMIT").await.expect("the holder goes on");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    site.database.wait_until("the held one is published", &is_in_publication("held")).await;
    site.database.execute("INSERT INTO held VALUES (2)").await;
    receiver.wait_for(2).await;
}

/// A site whose integrations are in a schema of their own, which holds nothing else.
async fn by_schema(name: &str) -> Site {
    let database = TestDatabase::create(name).await;
    database.execute("CREATE SCHEMA acme; CREATE TABLE acme.things (id text PRIMARY KEY, amount int)").await;
    let config = crate::support::Config::new(&database).set("source.publish", "schema");
    let site = Site { webhookdb: Webhookdb::new(&config.clone().unset("source.publish")), config, database };
    setup(&site).await;
    site.webhookdb.run(&["org", "create", "Acme Corp", "--schema", "acme"]).await.ok();
    site.integrate(&Table { service: "things_v1", name: "things", remote_key: "id", create: "" }).await;
    site.webhookdb.reconfigure(&site.config);
    site
}

async fn major_version(database: &TestDatabase) -> i32 {
    let sql = "SELECT current_setting('server_version_num')::int / 10000";
    database.query(sql, &[]).await[0].get(0)
}

#[tokio::test]
async fn a_whole_schema_is_published_where_it_holds_nothing_but_integrations() {
    let site = by_schema("whole_schema").await;
    if major_version(&site.database).await < 15 {
        let stderr = refused(&site, &[]).await;
        assert!(stderr.contains("needs Postgres 15") && stderr.contains("publish = \"integrations\""), "{stderr}");
        return;
    }
    site.database.execute("CREATE TABLE acme.stranger (id int); INSERT INTO acme.stranger VALUES (1)").await;
    let stderr = refused(&site, &[]).await;
    assert!(stderr.contains("acme.stranger is no integration's"), "{stderr}");
    site.database.execute("UPDATE acme.stranger SET id = 2; DROP TABLE acme.stranger").await;
    let said = setup(&site).await;
    assert!(said.contains("published schema acme with all its tables"), "{said}");
    let again = setup(&site).await;
    assert!(!again.lines().any(|line| line.starts_with('+')), "{again}");
    let (receiver, _daemon) = served(&site).await;
    // Its first row is in the log before anybody has heard of the table.
    let keyless = "INSERT INTO service_integrations (organization_id, opaque_id, service_name, table_name)
                   VALUES (1, 'svi_later', 'later_v1', 'later');
                   CREATE TABLE acme.later (id text); INSERT INTO acme.later VALUES ('first')";
    site.database.execute(keyless).await;
    receiver.wait_for(1).await;
    succeeds_soon(&site.database, "UPDATE acme.later SET id = 'second'").await;
    site.database.execute("INSERT INTO acme.things VALUES ('thing', 1); DELETE FROM acme.things").await;
    receiver.wait_for(4).await;
    let members = "SELECT NOT EXISTS (SELECT FROM pg_publication_rel)";
    assert!(site.database.is_true(members).await, "no table is in the publication by itself");
}
