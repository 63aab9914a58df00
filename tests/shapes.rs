//! Tables change their shape while the log is read, or before it is: each change is told by what the table was then.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::fixtures::{CHARGES, Table};
use crate::support::oracle::{self, Old};
use crate::support::{Received, Site, in_order};

const SHAPE: Table = Table {
    service: "shape_v1",
    name: "shape_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TABLE shape_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL, a integer, b text)",
};

/// Rows before, between and after every kind of DDL that changes columns.
const EVERY_DDL: [&str; 15] = [
    "INSERT INTO shape_v1_0000 (remote_id, a, b) VALUES ('r1', 1, 'x')",
    "ALTER TABLE shape_v1_0000 ADD COLUMN c jsonb DEFAULT '{\"d\": 1}'",
    "INSERT INTO shape_v1_0000 (remote_id, a, b) VALUES ('r2', 2, 'xy')",
    "UPDATE shape_v1_0000 SET a = 3 WHERE remote_id = 'r1'",
    "ALTER TABLE shape_v1_0000 DROP COLUMN a",
    "INSERT INTO shape_v1_0000 (remote_id, b) VALUES ('r3', 'xyz')",
    "ALTER TABLE shape_v1_0000 RENAME COLUMN b TO \"B\"",
    "UPDATE shape_v1_0000 SET \"B\" = 'new'",
    "ALTER TABLE shape_v1_0000 ALTER COLUMN \"B\" TYPE integer USING length(\"B\")",
    "UPDATE shape_v1_0000 SET \"B\" = \"B\" + 1",
    "ALTER TABLE shape_v1_0000 ALTER COLUMN \"B\" TYPE text[] USING ARRAY[\"B\"::text]",
    "INSERT INTO shape_v1_0000 (remote_id, \"B\") VALUES ('r4', '{a,NULL}')",
    "ALTER TABLE shape_v1_0000 RENAME COLUMN remote_id TO external_id",
    "INSERT INTO shape_v1_0000 (external_id) VALUES ('r5')",
    "DELETE FROM shape_v1_0000 WHERE external_id IN ('r1', 'r5')",
];

/// What [`EVERY_DDL`] changes, in its order: the external id, and its column's name at that time.
const EVERY_CHANGE: [(&str, &str); 14] = [
    ("remote_id", "r1"),
    ("remote_id", "r2"),
    ("remote_id", "r1"),
    ("remote_id", "r3"),
    ("remote_id", "r2"),
    ("remote_id", "r1"),
    ("remote_id", "r3"),
    ("remote_id", "r2"),
    ("remote_id", "r1"),
    ("remote_id", "r3"),
    ("remote_id", "r4"),
    ("external_id", "r5"),
    ("external_id", "r1"),
    ("external_id", "r5"),
];

async fn assert_every_change(site: &Site, requests: Vec<Arc<Received>>) {
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bodies = in_order(requests);
    let ids = bodies.iter().map(|body| (text(&body["external_id_column"]), text(&body["external_id"])));
    let expected = EVERY_CHANGE.map(|(column, id)| (column.to_owned(), id.to_owned()));
    assert_eq!(ids.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn ddl_between_the_rows_of_one_transaction_is_followed_row_by_row() {
    let (site, receiver) = Site::watching("ddl", "key", &SHAPE).await;
    let _daemon = site.serve().await;
    site.database.execute(&EVERY_DDL.join("; ")).await;
    assert_every_change(&site, receiver.wait_for(EVERY_CHANGE.len()).await).await;
}

#[tokio::test]
async fn ddl_while_the_daemon_is_down_is_followed_although_the_catalog_is_ahead() {
    let (site, receiver) = Site::watching("ddl_down", "key", &SHAPE).await;
    for statement in EVERY_DDL {
        site.database.execute(statement).await;
    }
    site.database.execute("CREATE SCHEMA elsewhere; ALTER TABLE shape_v1_0000 SET SCHEMA elsewhere").await;
    let _daemon = site.serve().await;
    assert_every_change(&site, receiver.wait_for(EVERY_CHANGE.len()).await).await;
}

#[tokio::test]
async fn a_table_that_is_moved_and_renamed_goes_on_as_the_same_integration() {
    let (site, receiver) = Site::watching("moved", "key", &SHAPE).await;
    let _daemon = site.serve().await;
    let insert = |name: &str, id: &str| format!("INSERT INTO {name} (remote_id) VALUES ('{id}')");
    site.database.execute(&insert("shape_v1_0000", "r1")).await;
    site.database.execute("CREATE SCHEMA elsewhere; ALTER TABLE shape_v1_0000 SET SCHEMA elsewhere").await;
    site.database.execute(&insert("elsewhere.shape_v1_0000", "r2")).await;
    site.database.execute("ALTER TABLE elsewhere.shape_v1_0000 RENAME TO other").await;
    site.database.execute(&insert("elsewhere.other", "r3")).await;
    let requests = receiver.wait_for(3).await;
    oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
    let bodies = in_order(requests);
    assert!(bodies.iter().all(|body| body["service_integration"] == bodies[0]["service_integration"]), "{bodies:?}");
}

#[tokio::test]
async fn what_is_pending_of_a_table_that_is_dropped_is_delivered() {
    for policy in ["key", "full"] {
        let (site, receiver) = Site::watching("dropped", policy, &SHAPE).await;
        site.database.execute("INSERT INTO shape_v1_0000 (remote_id) VALUES ('r1')").await;
        site.database.execute("DELETE FROM shape_v1_0000; DROP TABLE shape_v1_0000").await;
        // By now the table's end is recorded, too.
        site.webhookdb.run(&["setup"]).await.ok();
        let _daemon = site.serve().await;
        let requests = receiver.wait_for(2).await;
        oracle::assert_agrees(&site.database, &requests, Old::InPart).await;
        assert_eq!(in_order(requests)[1]["old"]["remote_id"], "r1");
    }
}

#[tokio::test]
async fn a_table_that_is_dropped_and_made_again_is_taken_up_anew_and_nothing_of_the_first_is_lost() {
    let (site, receiver) = Site::watching("remade", "full", &SHAPE).await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, a) VALUES ('r1', 1)").await;
    receiver.wait_for(1).await;
    // Its keys are not to be looked up any more when this is read.
    let last =
        "ALTER TABLE shape_v1_0000 ADD COLUMN c text; INSERT INTO shape_v1_0000 (remote_id, c) VALUES ('r2', 'c')";
    site.database.execute(&format!("{last}; DROP TABLE shape_v1_0000")).await;
    site.database.execute(SHAPE.create).await;
    let published = "SELECT EXISTS (SELECT FROM pg_publication_tables WHERE tablename = 'shape_v1_0000')";
    site.database.wait_until("the new table is published", published).await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, b) VALUES ('r3', 'new')").await;
    let bodies = in_order(receiver.wait_for(3).await);
    let rows: Vec<&Value> = bodies.iter().map(|body| &body["row"]).collect();
    let first = json!({"pk": 1, "remote_id": "r1", "a": 1, "b": null});
    let second = json!({"pk": 2, "remote_id": "r2", "a": null, "b": null, "c": "c"});
    let third = json!({"pk": 1, "remote_id": "r3", "a": null, "b": "new"});
    assert_eq!(rows, [&first, &second, &third]);
    let ids: Vec<&Value> = bodies.iter().map(|body| &body["external_id"]).collect();
    assert_eq!(ids, ["r1", "r2", "r3"]);
}

const PARTS: Table = Table {
    service: "part_v1",
    name: "part_v1_0000",
    remote_key: "remote_id",
    create: "CREATE TABLE part_v1_0000 (region text, pk bigserial, remote_id text NOT NULL, note text,
                 PRIMARY KEY (region, pk), UNIQUE (region, remote_id)) PARTITION BY LIST (region);
             CREATE TABLE part_v1_0000_eu PARTITION OF part_v1_0000 FOR VALUES IN ('eu');
             CREATE TABLE part_v1_0000_us PARTITION OF part_v1_0000 FOR VALUES IN ('us')",
};

/// What is told of each change: its type, its external id, and the region of the row before and after it.
fn told(bodies: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |body: &Value| {
        let regions = (text(&body["old"]["region"]), text(&body["row"]["region"]));
        format!("{} {} {} {}", text(&body["type"]), text(&body["external_id"]), regions.0, regions.1)
    };
    bodies.iter().map(line).collect()
}

#[tokio::test]
async fn changes_of_partitions_are_told_as_the_root_s_and_a_row_that_moves_is_deleted_and_inserted() {
    let (site, receiver) = Site::watching("parts", "key", &PARTS).await;
    let _daemon = site.serve().await;
    let database = &site.database;
    database.execute("INSERT INTO part_v1_0000 (region, remote_id) VALUES ('eu', 'r1'), ('us', 'r2')").await;
    database.execute("INSERT INTO part_v1_0000_us (region, remote_id) VALUES ('us', 'r3')").await;
    database.execute("UPDATE part_v1_0000_eu SET note = 'changed'").await;
    database.execute("UPDATE part_v1_0000 SET region = 'us' WHERE remote_id = 'r1'").await;
    database.execute("DELETE FROM part_v1_0000 WHERE remote_id = 'r2'").await;
    let requests = receiver.wait_for(7).await;
    oracle::assert_agrees(database, &requests, Old::InPart).await;
    let bodies = in_order(requests);
    let expected = [
        "row.inserted r1 - eu",
        "row.inserted r2 - us",
        "row.inserted r3 - us",
        "row.updated r1 - eu",
        "row.deleted r1 eu -",
        "row.inserted r1 - us",
        "row.deleted r2 us -",
    ];
    assert_eq!(told(&bodies), expected);
    assert!(bodies.iter().all(|body| body["table_name"] == PARTS.name), "{bodies:?}");
}

/// A walsender of Postgres 14 goes on taking a table for what it was when it first met it, until the publication is altered.
async fn notice_partitions(site: &Site) {
    if !is_at_least(site, 15).await {
        let alter = "ALTER PUBLICATION webhookdb_notifications SET (publish_via_partition_root = true)";
        site.database.execute(alter).await;
    }
}

#[tokio::test]
async fn attach_and_detach_tell_nobody_and_what_changes_in_a_partition_is_told_while_it_is_one() {
    let (site, receiver) = Site::watching("attach", "key", &PARTS).await;
    let _daemon = site.serve().await;
    let database = &site.database;
    // Columns in another order than the root's.
    let asia = "CREATE TABLE asia (note text, remote_id text NOT NULL, region text NOT NULL, pk bigint NOT NULL,
                    CHECK (region = 'asia'), UNIQUE (region, remote_id))";
    let insert = |id: &str| format!("INSERT INTO asia (region, pk, remote_id) VALUES ('asia', {}, '{id}')", &id[1..]);
    database.execute(asia).await;
    database.execute(&insert("r1")).await;
    database.execute("ALTER TABLE part_v1_0000 ATTACH PARTITION asia FOR VALUES IN ('asia')").await;
    database.execute("ALTER TABLE asia REPLICA IDENTITY USING INDEX asia_region_remote_id_key").await;
    notice_partitions(&site).await;
    database.execute(&insert("r2")).await;
    database.execute("UPDATE asia SET note = 'now' WHERE remote_id = 'r1'").await;
    database.execute("DELETE FROM part_v1_0000 WHERE remote_id = 'r1'").await;
    database.execute("ALTER TABLE part_v1_0000 DETACH PARTITION asia").await;
    notice_partitions(&site).await;
    database.execute(&insert("r3")).await;
    database.execute("INSERT INTO part_v1_0000 (region, remote_id) VALUES ('eu', 'last')").await;
    receiver.wait_for_id("last").await;
    // Other rows may have overtaken what comes last of one.
    let bodies = in_order(receiver.wait_for(4).await);
    let expected =
        ["row.inserted r2 - asia", "row.updated r1 - asia", "row.deleted r1 asia -", "row.inserted last - eu"];
    assert_eq!(told(&bodies), expected);
    assert_eq!(bodies[1]["row"], json!({"region": "asia", "pk": 1, "remote_id": "r1", "note": "now"}));
}

#[tokio::test]
async fn a_truncate_is_told_of_each_table_that_it_empties_and_of_a_root_but_not_of_a_partition() {
    let site = Site::new("truncates").await;
    site.add(&PARTS).await;
    site.add(&SHAPE).await;
    site.database
        .execute("ALTER TABLE shape_v1_0000 ADD FOREIGN KEY (remote_id) REFERENCES stripe_charge_v1_fdcc (stripe_id)")
        .await;
    let receiver = crate::support::Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let _daemon = site.serve().await;
    site.database.execute("TRUNCATE part_v1_0000_eu").await;
    site.database.execute("TRUNCATE stripe_charge_v1_fdcc RESTART IDENTITY CASCADE").await;
    site.database.execute("TRUNCATE part_v1_0000").await;
    let bodies = in_order(receiver.wait_for(3).await);
    let tables: Vec<&str> = bodies.iter().filter_map(|body| body["table_name"].as_str()).collect();
    assert_eq!(tables, [CHARGES.name, SHAPE.name, PARTS.name]);
    let indexes: Vec<&Value> = bodies.iter().map(|body| &body["source"]["index"]).collect();
    assert_eq!(indexes, [0, 1, 0]);
    assert!(bodies.iter().all(|body| body["type"] == "table.truncated" && body["external_id"].is_null()), "{bodies:?}");
}

/// What a DBA may do to the publication by hand.
async fn publish_as(site: &Site, definition: &str) {
    let publication = "ALTER PUBLICATION webhookdb_notifications";
    site.database.execute(&format!("{publication} DROP TABLE shape_v1_0000; {publication} {definition}")).await;
}

async fn is_at_least(site: &Site, major: u32) -> bool {
    site.database.is_true(&format!("SELECT current_setting('server_version_num')::int >= {major}0000")).await
}

#[tokio::test]
async fn with_a_row_filter_rows_come_and_go_as_they_begin_and_cease_to_match() {
    let (site, receiver) = Site::watching("filter", "full", &SHAPE).await;
    if !is_at_least(&site, 15).await {
        return;
    }
    publish_as(&site, "ADD TABLE shape_v1_0000 WHERE (a > 0)").await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, a) VALUES ('in', 1), ('out', -1)").await;
    site.database.execute("UPDATE shape_v1_0000 SET b = 'x'").await;
    site.database.execute("UPDATE shape_v1_0000 SET a = -a").await;
    site.database.execute("DELETE FROM shape_v1_0000").await;
    let bodies = in_order(receiver.wait_for(5).await);
    let expected = [
        "row.inserted in - -",
        "row.updated in - -",
        "row.deleted in - -",
        "row.inserted out - -",
        "row.deleted out - -",
    ];
    assert_eq!(told(&bodies), expected);
}

#[tokio::test]
async fn with_a_column_list_the_rest_of_the_row_is_as_it_is() {
    let (site, receiver) = Site::watching("column_list", "key", &SHAPE).await;
    if !is_at_least(&site, 15).await {
        return;
    }
    publish_as(&site, "ADD TABLE shape_v1_0000 (b, remote_id)").await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, a, b) VALUES ('r1', 1, 'x')").await;
    site.database.execute("UPDATE shape_v1_0000 SET remote_id = 'r2'").await;
    site.database.execute("DELETE FROM shape_v1_0000").await;
    let bodies = in_order(receiver.wait_for(3).await);
    let rows: Vec<(&Value, &Value)> = bodies.iter().map(|body| (&body["row"], &body["external_id"])).collect();
    let (first, second) = (json!({"remote_id": "r1", "b": "x"}), json!({"remote_id": "r2", "b": "x"}));
    let expected = [(&first, &json!("r1")), (&second, &json!("r2")), (&Value::Null, &json!("r2"))];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn stored_generated_columns_are_in_the_row_where_postgres_publishes_them_and_break_no_update() {
    let (site, receiver) = Site::watching("generated", "full", &SHAPE).await;
    let can_publish = is_at_least(&site, 18).await;
    if can_publish {
        assert!(site.database.is_true("SELECT pubgencols = 's' FROM pg_publication").await, "made so");
        // As it is made by whoever knows nothing of them, or by an earlier version of Postgres.
        let publication = "ALTER PUBLICATION webhookdb_notifications SET (publish_generated_columns = none)";
        site.database.execute(publication).await;
        let said = site.webhookdb.run(&["setup"]).await.ok();
        assert!(said.contains("holds stored generated columns"), "{said}");
    }
    site.database.execute("ALTER TABLE shape_v1_0000 ADD COLUMN g integer GENERATED ALWAYS AS (a * 2) STORED").await;
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, a) VALUES ('r1', 1)").await;
    site.database.execute("UPDATE shape_v1_0000 SET a = 2").await;
    site.database.execute("DELETE FROM shape_v1_0000").await;
    let bodies = in_order(receiver.wait_for(3).await);
    let generated = [&bodies[0]["row"]["g"], &bodies[1]["old"]["g"], &bodies[1]["row"]["g"], &bodies[2]["old"]["g"]];
    let expected = if can_publish { [json!(2), json!(2), json!(4), json!(4)] } else { [const { Value::Null }; 4] };
    assert_eq!(generated, expected.each_ref());
    assert!(bodies[0]["row"].as_object().is_some_and(|row| row.contains_key("g") == can_publish), "{bodies:?}");
}

#[tokio::test]
async fn a_table_with_virtual_generated_columns_can_still_be_updated() {
    let (site, receiver) = Site::watching("virtual", "full", &SHAPE).await;
    if !is_at_least(&site, 18).await {
        return;
    }
    let create = "DROP TABLE shape_v1_0000;
                  CREATE TABLE shape_v1_0000 (pk bigserial PRIMARY KEY, remote_id text UNIQUE NOT NULL, a integer,
                      v integer GENERATED ALWAYS AS (a * 2) VIRTUAL)";
    site.database.execute(create).await;
    site.webhookdb.run(&["setup"]).await.ok();
    let _daemon = site.serve().await;
    site.database.execute("INSERT INTO shape_v1_0000 (remote_id, a) VALUES ('r1', 1)").await;
    site.database.execute("UPDATE shape_v1_0000 SET a = 2; DELETE FROM shape_v1_0000").await;
    let bodies = in_order(receiver.wait_for(3).await);
    assert_eq!(bodies[1]["row"], json!({"pk": 1, "remote_id": "r1", "a": 2}));
    assert_eq!(bodies[2]["external_id"], "r1");
}
