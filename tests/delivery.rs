//! Every kind of committed change reaches its subscribers, once, as the contract describes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fixtures::{self, CHARGES, CUSTOMERS, EVENTS, ISSUES, MESSAGES, upsert_charge};
use crate::support::reply::Gate;
use crate::support::site::ORGANIZATION;
use crate::support::{Received, Receiver, Reply, Site};

#[tokio::test]
async fn an_insert_becomes_one_notification_with_the_whole_row() {
    let site = Site::new("insert").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    let body = receiver.wait_for(1).await[0].json();
    let source = &body["source"];
    let expected = json!({
        "id": body["id"], "type": "row.inserted", "timestamp": body["timestamp"],
        "organization": ORGANIZATION,
        "service_integration": site.integration_id(&CHARGES).await,
        "service_name": "stripe_charge_v1", "table_name": "stripe_charge_v1_fdcc",
        "external_id_column": "stripe_id", "external_id": "ch_1",
        "row": fixtures::to_jsonb(&site.database, &CHARGES, "ch_1").await,
        "old": null, "unchanged": [],
        "source": {"name": "main", "lsn": source["lsn"], "index": 0, "xid": xid_of_row(&site, "ch_1").await},
    });
    assert_eq!(body, expected);
    assert!(body["id"].as_str().is_some_and(|id| is_an_id(id, "evt_")), "{body}");
}

async fn xid_of_row(site: &Site, id: &str) -> Value {
    let sql = format!("SELECT to_jsonb(xmin::text::bigint)::text FROM stripe_charge_v1_fdcc WHERE stripe_id = '{id}'");
    site.database.json(&sql).await
}

fn is_an_id(id: &str, prefix: &str) -> bool {
    let alphabet = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    id.starts_with(prefix) && id.len() <= 64 && id.chars().all(alphabet)
}

#[tokio::test]
async fn the_request_bears_the_headers_of_the_contract() {
    let site = Site::new("headers").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/hooks")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    let request = Arc::clone(&receiver.wait_for(1).await[0]);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hooks"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), format!("WebhookDB-Notifications/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("content-length"), request.body.len().to_string());
    assert_eq!(request.attempt(), 1);
    assert!(is_an_id(request.webhook_id(), "msg_"), "{request:?}");
    assert!(request.header("webhook-signature").starts_with("v1,"), "{request:?}");
    assert!(!request.headers.contains_key("whdb-test-event"));
    let now = request.at_wall_clock.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(request.header("webhook-timestamp").parse().expect("seconds")) <= 2, "{request:?}");
}

#[tokio::test]
async fn the_keys_of_the_body_come_in_their_order_and_the_timestamp_is_the_commit_time() {
    let site = Site::new("body").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let now = r#"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
    let before = site.database.text(now).await.expect("a time");
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    let after = site.database.text(now).await.expect("a time");
    let request = Arc::clone(&receiver.wait_for(1).await[0]);
    let keys = [
        "id",
        "type",
        "timestamp",
        "organization",
        "service_integration",
        "service_name",
        "table_name",
        "external_id_column",
        "external_id",
        "row",
        "old",
        "unchanged",
        "source",
    ];
    assert_eq!(top_level_keys(&request.body), keys);
    let timestamp = request.json()["timestamp"].as_str().expect("a timestamp").to_owned();
    assert!(
        before <= timestamp && timestamp <= after && timestamp.len() == before.len(),
        "{before} {timestamp} {after}"
    );
}

/// In the order in which they stand, which a parsed `Value` forgets.
fn top_level_keys(body: &[u8]) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Vec<String>, A::Error> {
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                self.0.push(key);
            }
            Ok(self.0)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    serde::Deserializer::deserialize_map(&mut json, Keys(Vec::new())).expect("an object")
}

#[tokio::test]
async fn an_update_carries_the_new_row() {
    let site = Site::new("update").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    upsert_charge(site.database.client(), "ch_1", 250, 11).await;
    let requests = receiver.wait_for(2).await;
    let update = requests[1].json();
    assert_eq!((&update["type"], &update["external_id"]), (&json!("row.updated"), &json!("ch_1")));
    assert_eq!(update["row"], fixtures::to_jsonb(&site.database, &CHARGES, "ch_1").await);
    assert_eq!(update["row"]["amount"], 250);
    assert_eq!(update["old"], Value::Null);
    assert_ne!(requests[0].webhook_id(), requests[1].webhook_id());
}

#[tokio::test]
async fn a_delete_names_the_external_id_and_has_no_row() {
    let site = Site::new("delete").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    site.database.execute("DELETE FROM stripe_charge_v1_fdcc WHERE stripe_id = 'ch_1'").await;
    let delete = receiver.wait_for(2).await[1].json();
    assert_eq!((&delete["type"], &delete["external_id"]), (&json!("row.deleted"), &json!("ch_1")));
    assert_eq!((&delete["row"], &delete["old"]["stripe_id"]), (&Value::Null, &json!("ch_1")));
}

#[tokio::test]
async fn under_replica_identity_full_the_whole_old_row_is_there() {
    let site = Site::with("identity_full", |config| config.set("source.replica_identity", "full")).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    let inserted = fixtures::to_jsonb(&site.database, &CHARGES, "ch_1").await;
    upsert_charge(site.database.client(), "ch_1", 250, 11).await;
    let updated = fixtures::to_jsonb(&site.database, &CHARGES, "ch_1").await;
    site.database.execute("DELETE FROM stripe_charge_v1_fdcc").await;
    let requests = receiver.wait_for(3).await;
    assert_eq!((&requests[1].json()["old"], &requests[1].json()["row"]), (&inserted, &updated));
    assert_eq!((&requests[2].json()["old"], &requests[2].json()["external_id"]), (&updated, &json!("ch_1")));
}

#[tokio::test]
async fn a_large_value_that_an_update_left_alone_is_named_as_unchanged() {
    let site = Site::new("unchanged").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    insert_charge_stored_out_of_line(&site).await;
    let mut whole = fixtures::to_jsonb(&site.database, &CHARGES, "ch_large").await;
    site.database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 2").await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[0].json()["row"], whole);
    let update = requests[1].json();
    whole["amount"] = json!(2);
    whole.as_object_mut().expect("an object").remove("data");
    assert_eq!((&update["row"], &update["unchanged"]), (&whole, &json!(["data"])));
}

#[tokio::test]
async fn under_replica_identity_full_a_large_unchanged_value_comes_from_the_old_row() {
    let site = Site::with("filled", |config| config.set("source.replica_identity", "full")).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    insert_charge_stored_out_of_line(&site).await;
    site.database.execute("UPDATE stripe_charge_v1_fdcc SET amount = 2").await;
    let update = receiver.wait_for(2).await[1].json();
    assert_eq!(update["row"], fixtures::to_jsonb(&site.database, &CHARGES, "ch_large").await);
    assert_eq!(update["unchanged"], json!([]));
}

/// Text that does not compress is stored out of line from about 2 KB on.
async fn insert_charge_stored_out_of_line(site: &Site) {
    let noise: String = std::iter::repeat_with(|| format!("{:016x}", rand::random::<u64>())).take(1_000).collect();
    fixtures::upsert_charge_with(site.database.client(), "ch_large", 1, 10, &json!({"noise": noise})).await;
}

#[tokio::test]
async fn an_upsert_that_changes_nothing_notifies_nobody() {
    let site = Site::new("no_change").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    upsert_charge(site.database.client(), "ch_1", 999, 10).await;
    upsert_charge(site.database.client(), "ch_1", 999, 9).await;
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    receiver.expect_ids(&["ch_1", "ch_last"]).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn what_is_rolled_back_notifies_nobody() {
    let site = Site::new("rollback").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    let client = site.database.client();
    site.database.execute("BEGIN").await;
    upsert_charge(client, "ch_gone", 1, 1).await;
    site.database.execute("ROLLBACK; BEGIN").await;
    upsert_charge(client, "ch_kept", 1, 1).await;
    site.database.execute("SAVEPOINT s").await;
    upsert_charge(client, "ch_gone_too", 1, 1).await;
    site.database.execute("ROLLBACK TO s; COMMIT").await;
    upsert_charge(client, "ch_last", 1, 1).await;
    receiver.expect_ids(&["ch_kept", "ch_last"]).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_backfill_of_2000_rows_in_one_transaction_arrives_whole() {
    let site = Site::new("backfill_2000").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    fixtures::backfill_charges(site.database.client(), 1..=2_000).await;
    let requests = receiver.wait_for(2_000).await;
    assert_one_transaction_of(&requests, 2_000);
    // The same rows again, as backfills do: updates to the same values are changes all the same.
    fixtures::backfill_charges(site.database.client(), 1..=2_000).await;
    let requests = receiver.wait_for(4_000).await;
    assert!(requests[2_000..].iter().all(|request| request.kind() == "row.updated"));
    assert_one_transaction_of(&requests[2_000..], 2_000);
}

#[tokio::test]
async fn a_copy_of_1000_rows_makes_1000_different_ids() {
    let site = Site::new("copy").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    fixtures::copy_charges(site.database.client(), 1..=1_000).await;
    let requests = receiver.wait_for(1_000).await;
    assert_one_transaction_of(&requests, 1_000);
    let events: HashSet<String> = requests.iter().map(|request| request.json()["id"].to_string()).collect();
    assert_eq!(events.len(), 1_000);
}

/// Exactly `n` requests: one commit position, the indexes 0 to n-1, as many ids, and each row once.
fn assert_one_transaction_of(requests: &[Arc<Received>], n: usize) {
    assert_eq!(requests.len(), n);
    let positions: HashSet<(u64, u64)> = requests.iter().map(|request| request.position()).collect();
    let commits: HashSet<u64> = positions.iter().map(|(commit, _)| *commit).collect();
    let indexes: HashSet<u64> = positions.iter().map(|(_, index)| *index).collect();
    assert_eq!(commits.len(), 1);
    assert_eq!(indexes, (0..n as u64).collect());
    assert_eq!(requests.iter().map(|request| request.webhook_id()).collect::<HashSet<_>>().len(), n);
    assert_eq!(requests.iter().map(|request| request.external_id()).collect::<HashSet<_>>().len(), n);
}

#[tokio::test]
async fn subscriptions_of_different_scope_get_what_is_theirs_with_the_same_body() {
    let site = Site::new("scopes").await;
    let (charges, all) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &charges.url("/")).await;
    site.subscribe_organization(&all.url("/")).await;
    let _daemon = site.serve().await;
    site.database.execute(&fixtures::customer("cus_1", "Jane")).await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    let of_all = all.wait_for(2).await;
    let of_charges = charges.wait_for(1).await;
    assert_eq!((of_all.len(), of_charges.len()), (2, 1));
    let same = of_all.iter().find(|request| request.external_id() == "ch_1").expect("the charge");
    assert_eq!(same.body, of_charges[0].body);
    assert_ne!(same.webhook_id(), of_charges[0].webhook_id());
    let tables: HashSet<String> = of_all.iter().map(|request| request.json()["table_name"].to_string()).collect();
    assert_eq!(tables.len(), 2);
}

#[tokio::test]
async fn a_truncate_of_two_tables_is_one_notification_for_each() {
    let site = Site::new("truncate").await;
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 100, 10).await;
    site.database.execute("TRUNCATE stripe_charge_v1_fdcc, stripe_customer_v1_512a RESTART IDENTITY CASCADE").await;
    upsert_charge(site.database.client(), "ch_2", 100, 10).await;
    let requests = receiver.wait_for(4).await;
    let truncates: Vec<Value> = requests.iter().map(|r| r.json()).filter(|b| b["type"] == "table.truncated").collect();
    assert_eq!(truncates.len(), 2);
    for body in &truncates {
        assert_eq!((&body["row"], &body["old"], &body["external_id"]), (&Value::Null, &Value::Null, &Value::Null));
        assert_eq!(body["external_id_column"], "stripe_id");
    }
    assert_eq!(truncates[0]["source"]["lsn"], truncates[1]["source"]["lsn"]);
    for key in ["id", "table_name"] {
        assert_ne!(truncates[0][key], truncates[1][key]);
    }
    assert_ne!(truncates[0]["source"]["index"], truncates[1]["source"]["index"]);
    assert_truncate_keeps_its_place(&requests);
}

/// After the rows before it, before the rows after it, of the same table.
fn assert_truncate_keeps_its_place(requests: &[Arc<Received>]) {
    let bodies = requests.iter().map(|request| request.json());
    let of_charges: Vec<Value> = bodies.filter(|body| body["table_name"] == CHARGES.name).collect();
    let kinds: Vec<_> = of_charges.iter().map(|body| body["type"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["row.inserted", "table.truncated", "row.inserted"]);
}

#[tokio::test]
async fn a_test_event_goes_the_way_of_real_ones() {
    let site = Site::new("test_event").await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let said = site.webhookdb.run(&["notification", "test", &id]).await.ok();
    assert_eq!(said, format!("A test event has been sent to {}.\n", receiver.url("/")));
    let requests = receiver.wait_for(1).await;
    let body = requests[0].json();
    assert_eq!(requests[0].header("whdb-test-event"), "1");
    assert!(!requests[0].headers.contains_key("whdb-attempt"));
    assert_eq!(body["type"], "test");
    assert_eq!((&body["service_name"], &body["table_name"]), (&json!("test service"), &json!("test_table_name")));
    assert_eq!(body["external_id_column"], "external_id");
    assert!(body["external_id"].is_string(), "{body}");
    assert_eq!(body["row"], json!({"data": ["alpha", "beta", "charlie", "delta"]}));
}

#[tokio::test]
async fn a_test_event_that_is_refused_or_has_no_daemon_says_so() {
    let site = Site::new("test_refused").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    site.webhookdb.run(&["notification", "test", &id]).await.fails_with(1);
    assert_eq!(receiver.count(), 0);
    let _daemon = site.serve().await;
    let said = site.webhookdb.run(&["notification", "test", &id]).await.fails_with(1);
    assert!(said.contains("500"), "{said}");
    assert_eq!(receiver.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn changes_of_one_row_arrive_in_commit_order_one_at_a_time() {
    const ANSWER_AFTER: Duration = Duration::from_millis(15);
    let site = Site::new("order").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::After(ANSWER_AFTER, Box::new(Reply::OK)));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    for version in 1..=20 {
        for row in 1..=5 {
            upsert_charge(site.database.client(), &format!("ch_{row}"), version, version.into()).await;
        }
    }
    let requests = receiver.wait_for(100).await;
    let mut rows: HashMap<String, Vec<&Arc<Received>>> = HashMap::new();
    requests.iter().for_each(|request| rows.entry(request.external_id()).or_default().push(request));
    for (row, of_row) in rows {
        let amounts: Vec<i64> = of_row.iter().filter_map(|request| request.json()["row"]["amount"].as_i64()).collect();
        assert_eq!(amounts, (1..=20).collect::<Vec<_>>(), "{row}");
        for pair in of_row.windows(2) {
            assert!(pair[0].position() < pair[1].position(), "{row}");
            assert!(pair[1].at - pair[0].at >= ANSWER_AFTER, "{row}: sent before the answer to the one before");
        }
    }
}

#[tokio::test]
async fn a_row_does_not_wait_for_another_row() {
    let site = Site::new("parallel").await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.respond(move |request| if request.external_id() == "ch_1" { held.then(Reply::OK) } else { Reply::OK });
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    for (id, version) in [("ch_1", 1), ("ch_1", 2), ("ch_2", 1), ("ch_2", 2), ("ch_3", 1)] {
        upsert_charge(site.database.client(), id, version, version.into()).await;
    }
    let requests = receiver.wait_for(4).await;
    assert_eq!(count_by_id(&requests), BTreeMap::from([("ch_1".into(), 1), ("ch_2".into(), 2), ("ch_3".into(), 1)]));
    gate.open();
    assert_eq!(count_by_id(&receiver.wait_for(5).await)["ch_1"], 2);
}

fn count_by_id(requests: &[Arc<Received>]) -> BTreeMap<String, usize> {
    requests.iter().fold(BTreeMap::new(), |mut counts, request| {
        *counts.entry(request.external_id()).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn a_refused_notification_is_repeated_with_the_same_id_and_body_and_holds_back_its_row_only() {
    let site = Site::new("retry").await;
    let receiver = Receiver::start().await;
    receiver.respond(|r| if r.external_id() == "ch_1" && r.times_seen < 4 { Reply::Status(500) } else { Reply::OK });
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    for (id, version) in [("ch_1", 1), ("ch_1", 2), ("ch_2", 1)] {
        upsert_charge(site.database.client(), id, version, version.into()).await;
    }
    let requests = receiver.wait_for(6).await;
    let of_row: Vec<_> = requests.iter().filter(|request| request.external_id() == "ch_1").collect();
    let (first, second) = (&of_row[..4], of_row[4]);
    assert!(first.iter().all(|r| (r.webhook_id(), &r.body) == (first[0].webhook_id(), &first[0].body)));
    assert_eq!(first.iter().map(|request| request.attempt()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((second.json()["row"]["amount"].as_i64(), second.attempt()), (Some(2), 1));
}

#[tokio::test]
async fn after_its_attempts_are_used_up_the_next_change_of_the_row_goes_out() {
    let site = Site::with("give_up", |config| config.set("delivery.max_attempts", 3)).await;
    let receiver = Receiver::start().await;
    receiver.respond(|r| if r.json()["row"]["amount"] == 1 { Reply::Status(500) } else { Reply::OK });
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    upsert_charge(site.database.client(), "ch_1", 2, 2).await;
    let requests = receiver.wait_for_distinct(2).await;
    let attempts: Vec<_> = requests.iter().map(|request| request.attempt()).collect();
    assert_eq!(attempts, [1, 2, 3, 1]);
    assert_eq!(daemon.metric("notifications_total", &[("subscription", &id), ("outcome", "failed")]).await, 1.0);
}

#[tokio::test]
async fn rows_of_every_kind_of_table_equal_to_jsonb_whatever_the_settings_of_database_and_role() {
    let site = Site::new("rows").await;
    for table in [ISSUES, MESSAGES, EVENTS] {
        site.add(&table).await;
    }
    let name = site.database.name();
    let odd =
        ["DateStyle = 'German'", "TimeZone = 'Asia/Kathmandu'", "bytea_output = 'escape'", "extra_float_digits = -5"];
    for setting in odd {
        site.database.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let _daemon = site.serve().await;
    site.database.execute(include_str!("fixtures/rows_of_each_table.sql")).await;
    let requests = receiver.wait_for(4).await;
    for (table, id) in [(CUSTOMERS, "cus_1"), (ISSUES, "9007199254740993"), (MESSAGES, "msg_1"), (EVENTS, "cal-1-ev-1")]
    {
        let bodies = requests.iter().map(|request| request.json());
        let body = bodies.into_iter().find(|body| body["table_name"] == table.name).expect("one of each table");
        let row = fixtures::to_jsonb(&site.database, &table, id).await;
        assert_eq!((&body["row"], &body["external_id_column"]), (&row, &json!(table.remote_key)));
        assert_eq!(body["external_id"], row[table.remote_key], "{body}");
    }
}

#[tokio::test]
async fn a_table_added_while_the_daemon_runs_is_notified_about() {
    let site = Site::new("added").await;
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    let _daemon = site.serve().await;
    site.add(&ISSUES).await;
    let published =
        format!("SELECT count(*) = 1 FROM pg_catalog.pg_publication_tables WHERE tablename = '{}'", ISSUES.name);
    site.database.wait_until("the table is published", &published).await;
    site.database.execute("INSERT INTO github_issue_v1_a053 (github_id, data) VALUES (1, '{}')").await;
    let body = receiver.wait_for(1).await[0].json();
    assert_eq!((&body["table_name"], &body["external_id"]), (&json!(ISSUES.name), &json!(1)));
}

#[tokio::test]
async fn a_renamed_table_goes_on_notifying() {
    let site = Site::new("renamed").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    site.database.execute("ALTER TABLE stripe_charge_v1_fdcc RENAME TO stripe_charge_v1_0000").await;
    site.database.execute("UPDATE stripe_charge_v1_0000 SET amount = 2").await;
    let requests = receiver.wait_for(2).await;
    assert_eq!(requests[1].json()["row"]["amount"], 2);
    assert_eq!(requests[1].json()["service_integration"], requests[0].json()["service_integration"]);
}
