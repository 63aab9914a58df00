//! Several notifications in one request, for subscribers who ask for it: in order, signed once, and apart again where they fail.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{Received, Receiver, Reply, Site};

/// What a request carries.
fn notifications(request: &Received) -> Vec<Value> {
    let body = request.json();
    assert_eq!(body["type"], "batch", "{body}");
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{body}");
    body["notifications"].as_array().expect("a list").clone()
}

fn external_id(notification: &Value) -> &str {
    notification["external_id"].as_str().expect("an id")
}

fn carries(request: &Received, id: &str) -> bool {
    notifications(request).iter().any(|notification| external_id(notification) == id)
}

/// All that was carried, in the order of arrival, each the first time.
fn carried(requests: &[impl AsRef<Received>]) -> Vec<Value> {
    let mut seen = HashSet::new();
    let all = requests.iter().flat_map(|request| notifications(request.as_ref()));
    all.filter(|notification| seen.insert(notification["id"].to_string())).collect()
}

async fn wait_for_carried(receiver: &Receiver, count: usize) -> Vec<Arc<Received>> {
    let what = format!("{count} notifications");
    receiver.wait_until(&what, |requests| carried(requests).len() >= count).await
}

/// A subscription that asks for batches.
async fn subscribe(site: &Site, receiver: &Receiver, size: &str, linger: &str) -> String {
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    site.webhookdb.run(&["notification", "update", &id, "--batch", size, "--linger", linger]).await.ok();
    id
}

#[tokio::test]
async fn changes_come_together_in_order_as_they_would_come_alone_and_signed_once() {
    let site = Site::new("batches").await;
    let (alone, together) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &alone.url("/")).await;
    let create = ["notification", "create", "--integration=stripe_charge_v1", "--url", &together.url("/")];
    let batches = ["--secret", crate::support::receiver::SECRET, "--batch", "20", "--linger", "200ms"];
    site.webhookdb.run(&[&create[..], &batches].concat()).await.ok();
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=100).await;
    let updates = "DO $$ BEGIN FOR nth IN 1..50 LOOP
        UPDATE stripe_charge_v1_fdcc SET amount = amount + 1 WHERE stripe_id = 'ch_7'; END LOOP; END $$";
    site.database.execute(updates).await;
    let plain = alone.wait_for(150).await;
    let requests = wait_for_carried(&together, 150).await;
    assert!(requests.len() < 75, "{} requests", requests.len());
    assert!(requests.iter().any(|request| notifications(request).len() == 20), "some are full");
    assert!(requests.iter().all(|request| (1..=20).contains(&notifications(request).len()) && request.attempt() == 1));
    let by_id = |bodies: Vec<Value>| -> BTreeMap<String, Value> {
        bodies.into_iter().map(|body| (body["id"].to_string(), body)).collect()
    };
    assert_eq!(by_id(carried(&requests)), by_id(plain.iter().map(|request| request.json()).collect()));
    let of_row: Vec<Value> = carried(&requests).into_iter().filter(|one| external_id(one) == "ch_7").collect();
    let versions: Vec<u64> = of_row.iter().map(|one| one["row"]["amount"].as_u64().expect("an amount")).collect();
    assert!(versions.len() == 51 && versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    let ids: HashSet<&str> = requests.iter().map(|request| request.webhook_id()).collect();
    assert_eq!(ids.len(), requests.len(), "each request has a webhook-id of its own");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_split_until_it_fits_and_counts_as_no_attempt() {
    let site = Site::new("batches_413").await;
    let receiver = Receiver::start().await;
    receiver.respond(|request| Reply::Status(if notifications(request).len() > 5 { 413 } else { 200 }));
    let id = subscribe(&site, &receiver, "64", "50ms").await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=200).await;
    let fits = |request: &Arc<Received>| notifications(request).len() <= 5;
    let fitting = |requests: &[Arc<Received>]| -> Vec<Arc<Received>> {
        requests.iter().filter(|request| fits(request)).cloned().collect()
    };
    let accepted = receiver.wait_until("200 that fit", |requests| carried(&fitting(requests)).len() == 200).await;
    assert!(accepted.iter().any(|request| notifications(request).len() > 5), "none was too large");
    assert!(accepted.iter().all(|request| request.attempt() == 1));
    let sent: usize = fitting(&accepted).iter().map(|request| notifications(request).len()).sum();
    assert_eq!(sent, 200, "what was accepted is not sent again");
    let shown = site.webhookdb.run(&["notification", "show", &id, "--format", "json"]).await.json();
    assert_eq!((&shown["failing_since"], &shown["last_failure"]), (&Value::Null, &Value::Null), "{shown}");
}

#[tokio::test]
async fn one_that_is_rejected_holds_back_its_own_row_only() {
    let config = |config: crate::support::Config| {
        config.set("delivery.retry_base", "50ms").set("delivery.retry_cap", "200ms").set("delivery.max_attempts", 1000)
    };
    let site = Site::with("batches_poison", config).await;
    let receiver = Receiver::start().await;
    receiver.respond(|request| Reply::Status(if carries(request, "ch_13") { 500 } else { 200 }));
    let id = subscribe(&site, &receiver, "50", "50ms").await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=40).await;
    upsert_charge(site.database.client(), "ch_13", 9_999, 10_000).await;
    let accepted = |requests: &[Arc<Received>]| {
        let good: Vec<_> = requests.iter().filter(|request| !carries(request, "ch_13")).cloned().collect();
        carried(&good).len()
    };
    let requests = receiver.wait_until("all the other rows", |requests| accepted(requests) == 39).await;
    assert!(notifications(&requests[0]).len() > 25, "they went together at first");
    // What is rejected alone does not count against the endpoint, and what follows it is not sent before it.
    upsert_charge(site.database.client(), "ch_later", 1, 1).await;
    let requests = receiver.wait_until("a later row", |requests| accepted(requests) == 40).await;
    let alone = |request: &&Arc<Received>| notifications(request).len() == 1 && carries(request, "ch_13");
    assert!(requests.iter().filter(alone).all(|request| notifications(request)[0]["type"] == "row.inserted"));
    let first_ok = receiver.count();
    receiver.always(Reply::OK);
    let is_follower = |one: &Value| external_id(one) == "ch_13" && one["type"] == "row.updated";
    let follows = |requests: &[Arc<Received>]| carried(&requests[first_ok..]).iter().any(is_follower);
    receiver.wait_until("what waited behind it", follows).await;
    site.database.wait_until("nothing is owed", "SELECT count(*) = 0 FROM notifications.outbox").await;
    assert_eq!(
        daemon.metric("webhookdb_notifications_total", &[("subscription", &id), ("outcome", "failed")]).await,
        0.0
    );
}

#[tokio::test]
async fn nothing_is_lost_where_the_daemon_dies_amid_batches_of_which_some_fail() {
    let config =
        |config: crate::support::Config| config.set("delivery.retry_base", "50ms").set("delivery.retry_cap", "200ms");
    let site = Site::with("batches_killed", config).await;
    let receiver = Receiver::start().await;
    receiver.respond(|request| Reply::Status(if request.number % 3 == 1 { 500 } else { 200 }));
    subscribe(&site, &receiver, "10", "5ms").await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=400).await;
    wait_for_carried(&receiver, 100).await;
    daemon.kill9().await;
    let _daemon = site.serve().await;
    let rows: HashSet<String> = (1..=400).map(|number| format!("ch_{number}")).collect();
    let accepted = |requests: &[Arc<Received>]| -> HashSet<String> {
        let good = requests.iter().filter(|request| request.number % 3 != 1);
        good.flat_map(|request| notifications(request)).map(|one| external_id(&one).to_owned()).collect()
    };
    receiver.wait_until("every row", |requests| accepted(requests).is_superset(&rows)).await;
}

#[tokio::test]
async fn test_events_and_retries_by_hand_come_in_the_same_form_and_batches_begin_and_end_by_command() {
    let site = Site::with("batches_commands", |config| config.set("delivery.max_attempts", 1)).await;
    let receiver = Receiver::start().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    let run = async |arguments: &[&str]| site.webhookdb.run(&[&["notification"], arguments].concat()).await;
    assert_eq!(
        run(&["update", &id, "--batch", "10"]).await.ok(),
        "Events will be sent in batches of up to 10, waiting 50ms for more, from now on.\n"
    );
    assert_eq!(
        run(&["update", &id, "--linger", "1s"]).await.ok(),
        "Events will be sent in batches of up to 10, waiting 1s for more, from now on.\n"
    );
    let shown = run(&["show", &id, "--format", "json"]).await.json();
    assert_eq!((&shown["batch"], &shown["linger_ms"]), (&json!(10), &json!(1000)));
    assert!(run(&["show", &id]).await.ok().contains("up to 10, waiting 1s for more"));
    run(&["test", &id]).await.ok();
    let test = receiver.wait_for(1).await[0].clone();
    assert_eq!((test.header("whdb-test-event"), &notifications(&test)[0]["type"]), ("1", &json!("test")));
    receiver.always(Reply::Status(500));
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    site.database
        .wait_until("it is given up", "SELECT count(*) = 1 FROM notifications.outbox WHERE state = 'failed'")
        .await;
    receiver.always(Reply::OK);
    run(&["retry", &id, "--all"]).await.ok();
    let requests = receiver.wait_for(3).await;
    assert_eq!(requests[1].body, requests[2].body);
    assert_eq!(requests[1].webhook_id(), requests[2].webhook_id());
    assert_eq!(external_id(&notifications(&requests[2])[0]), "ch_1");
    assert_eq!(run(&["update", &id, "--no-batch"]).await.ok(), "Events will be sent in a request each from now on.\n");
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    assert_eq!(receiver.wait_for(4).await[3].kind(), "row.inserted");
    for (arguments, words) in [
        (vec!["update", &id, "--linger", "10ms"], "give --batch COUNT too"),
        (vec!["create", "--org", "x", "--linger", "10ms"], "give --batch COUNT too"),
    ] {
        let said = run(&arguments).await.fails_with(1);
        assert!(said.contains(words), "{said}");
    }
    for arguments in [
        vec!["update", &id],
        vec!["update", &id, "--batch", "0"],
        vec!["update", &id, "--batch", "1001"],
        vec!["update", &id, "--batch", "5", "--linger", "3s"],
        vec!["update", &id, "--batch", "5", "--linger", "1500us"],
        vec!["update", &id, "--batch", "5", "--no-batch"],
    ] {
        run(&arguments).await.fails_with(2);
    }
}
