//! Failed notifications are looked at and sent again by hand, and the automatic attempts know nothing of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::{Receiver, Reply, Site};

/// A site where the first attempt is the last, with a subscription to a receiver that answers 500.
async fn site_that_gives_up(name: &str, receiver: &Receiver) -> (Site, String) {
    receiver.always(Reply::Status(500));
    let site = Site::with(name, |config| config.set("delivery.max_attempts", 1)).await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    (site, id)
}

async fn wait_until_failed(site: &Site, number: i64) {
    let sql = format!("SELECT count(*) = {number} FROM notifications.outbox WHERE state = 'failed'");
    site.database.wait_until("so many were given up", &sql).await;
}

async fn failures(site: &Site, id: &str) -> Vec<Value> {
    let list = site.webhookdb.run(&["notification", "failures", id, "--format", "json"]).await.json();
    list.as_array().expect("a list").clone()
}

fn event_id(failure: &Value) -> String {
    failure["event_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn what_was_given_up_is_sent_again_in_order_and_is_no_failure_any_more() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_all", &receiver).await;
    let _daemon = site.serve().await;
    for updated in 1..=3 {
        upsert_charge(site.database.client(), "ch_row", 100, updated).await;
        wait_until_failed(&site, updated).await;
    }
    // Some fail among others that don't: an endpoint that is down altogether is not sent anything.
    let bad = |id: &str| id == "ch_row" || id.ends_with('5');
    receiver.respond(move |request| Reply::Status(if bad(&request.external_id()) { 500 } else { 200 }));
    backfill_charges(site.database.client(), 1..=700).await;
    wait_until_failed(&site, 73).await;
    let before = receiver.wait_for(703).await;
    receiver.always(Reply::OK);
    let said = site.webhookdb.run(&["notification", "retry", &id, "--all"]).await.ok();
    assert_eq!(said, format!("73 of 73 events were accepted by {}.\n", receiver.url("/")));
    let requests = receiver.wait_for(776).await;
    let again = &requests[703..];
    for request in again {
        assert!(request.attempt() == 2 && bad(&request.external_id()), "{request:?}");
        let first = before.iter().find(|first| first.webhook_id() == request.webhook_id()).expect("the same id");
        assert_eq!(first.body, request.body);
    }
    let of_row = |requests: &[std::sync::Arc<crate::support::Received>]| -> Vec<_> {
        requests.iter().filter(|request| request.external_id() == "ch_row").map(|request| request.position()).collect()
    };
    assert_eq!(of_row(again), of_row(&before));
    assert_eq!(failures(&site, &id).await, Vec::<Value>::new());
    let status = site.webhookdb.run(&["status", "--format", "json"]).await.json();
    assert_eq!((&status["subscriptions"][0]["failed"], &status["subscriptions"][0]["pending"]), (&json!(0), &json!(0)));
    let nothing_left = site.webhookdb.run(&["notification", "retry", &id, "--all"]).await.fails_with(1);
    assert!(nothing_left.contains("has no failed events"), "{nothing_left}");
}

#[tokio::test]
async fn a_retry_that_is_refused_is_told_with_its_reason_and_leaves_the_failure_as_it_was() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_refused", &receiver).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_good", 1, 1).await;
    upsert_charge(site.database.client(), "ch_bad", 1, 1).await;
    wait_until_failed(&site, 2).await;
    receiver.respond(|request| Reply::Status(if request.external_id() == "ch_bad" { 503 } else { 200 }));
    let output = site.webhookdb.run(&["notification", "retry", &id, "--all"]).await;
    assert_eq!(output.status, 1, "{output:#?}");
    let left = failures(&site, &id).await;
    assert_eq!(left.len(), 1, "{left:?}");
    let refused = format!("{} was not accepted: the endpoint answered 503\n", event_id(&left[0]));
    assert!(output.stdout.contains(&refused), "{output:#?}");
    assert!(output.stdout.contains(&format!("1 of 2 events were accepted by {}.\n", receiver.url("/"))), "{output:#?}");
    assert!(output.stderr.contains("1 of 2 events were not accepted"), "{output:#?}");
    assert_eq!((&left[0]["attempts"], &left[0]["last_error"]), (&json!(1), &json!("the endpoint answered 500")));
    let log = left[0]["attempt_log"].as_array().expect("a list").last().expect("an attempt").clone();
    assert_eq!((&log["by_hand"], &log["attempt"], &log["outcome"]), (&json!(true), &json!(2), &json!("refused")));
    assert_eq!((&log["reason"], &log["status"]), (&json!("the endpoint answered 503"), &json!(503)));
    assert_eq!(left[0]["attempt_log"].as_array().map(Vec::len), Some(2));
    assert!(log["at"].as_str().is_some_and(|at| at.ends_with('Z')) && log["duration"].is_f64(), "{log}");
    let left_behind = "SELECT count(*) = 0 FROM notifications.retry_requests";
    assert!(site.database.is_true(left_behind).await);
}

#[tokio::test]
async fn a_pending_event_that_is_sent_by_hand_stays_pending_as_it_was_whatever_comes_of_it() {
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let site =
        Site::with("retry_pending", |config| config.set("delivery.retry_base", "1h").set("delivery.retry_cap", "1h"))
            .await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    site.database.wait_until("it is pending", "SELECT count(*) = 1 FROM notifications.outbox WHERE attempts = 1").await;
    let row = "SELECT (to_jsonb(o) - 'attempt_log')::text FROM notifications.outbox o";
    let event = site.database.text("SELECT event_id FROM notifications.outbox").await.expect("an id");
    let before = site.database.json(row).await;
    assert_eq!((&before["state"], &before["attempts"]), (&json!("owed"), &json!(1)));
    let retry = ["notification", "retry", &id, "--id", &event];
    let output = site.webhookdb.run(&retry).await;
    assert!(output.stdout.contains("0 of 1 event"), "{output:#?}");
    output.fails_with(1);
    assert_eq!(site.database.json(row).await, before);
    let by_hand = "SELECT attempt_log @> '[{\"by_hand\": true, \"attempt\": 2}]' FROM notifications.outbox";
    assert!(site.database.is_true(by_hand).await);
    receiver.always(Reply::OK);
    let webhook_id = receiver.received()[0].webhook_id().to_owned();
    let said = site.webhookdb.run(&["notification", "retry", &id, "--id", &webhook_id]).await.ok();
    assert!(said.contains("1 of 1 event was accepted") && said.contains("stay pending"), "{said}");
    assert_eq!(site.database.json(row).await, before);
    assert_eq!(receiver.wait_for(3).await[2].attempt(), 2);
}

#[tokio::test]
async fn a_retry_under_way_is_called_off_when_its_notification_is_paused() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_paused", &receiver).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_until_failed(&site, 1).await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    let paused = async {
        receiver.wait_for(2).await;
        site.webhookdb.run(&["notification", "pause", &id]).await.ok();
    };
    let retry = ["notification", "retry", &id, "--all"];
    let (output, ()) = tokio::join!(site.webhookdb.run(&retry), paused);
    assert!(output.stdout.contains("was not accepted: the notification was changed in the meantime"), "{output:#?}");
    output.fails_with(1);
    assert_eq!(failures(&site, &id).await.len(), 1);
}

#[tokio::test]
async fn a_retry_goes_ahead_of_a_backlog() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_ahead", &receiver).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_first", 1, 1).await;
    wait_until_failed(&site, 1).await;
    let gate = Gate::closed();
    let closed = gate.clone();
    receiver.respond(move |request| match request.external_id().as_str() {
        "ch_first" => Reply::OK,
        _ => closed.then(Reply::OK),
    });
    backfill_charges(site.database.client(), 1..=200).await;
    receiver.wait_for(2).await;
    site.webhookdb.run(&["notification", "retry", &id, "--all"]).await.ok();
    gate.open();
    receiver.wait_for_distinct(201).await;
}

#[tokio::test]
async fn a_retry_that_can_not_be_made_says_why_and_what_to_do() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_impossible", &receiver).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_until_failed(&site, 1).await;
    let retry = async |what: &[&str], status: i32| {
        let command = [&["notification", "retry", id.as_str()], what].concat();
        site.webhookdb.run(&command).await.fails_with(status)
    };
    retry(&[], 2).await;
    retry(&["--all", "--id", "evt_x"], 2).await;
    let unknown = retry(&["--id", "evt_nobody"], 1).await;
    assert!(unknown.contains("evt_nobody") && unknown.contains("notification failures"), "{unknown}");
    drop(daemon);
    let set = async |state: &str| {
        let set = format!("UPDATE notifications.subscriptions SET state = '{state}', halted_because = 'a reason'");
        site.database.execute(&set).await;
    };
    set("paused").await;
    let paused = retry(&["--all"], 1).await;
    assert!(paused.contains("is paused (a reason)") && paused.contains(&format!("resume {id}")), "{paused}");
    set("deactivated").await;
    let deactivated = retry(&["--all"], 1).await;
    assert!(deactivated.contains("is deactivated (a reason)") && deactivated.contains(&format!("enable {id}")));
    set("active").await;
    site.database.execute("UPDATE notifications.leases SET released = true").await;
    let alone = retry(&["--all"], 1).await;
    assert!(alone.contains("no daemon is running") && alone.contains("webhookdb serve"), "{alone}");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_retry_whose_daemon_goes_is_taken_back() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_abandoned", &receiver).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_until_failed(&site, 1).await;
    receiver.always(Reply::Hang);
    let gone = async {
        receiver.wait_for(2).await;
        daemon.kill9().await;
    };
    let retry = ["notification", "retry", &id, "--all"];
    let (output, ()) = tokio::join!(site.webhookdb.run(&retry), gone);
    assert!(output.stdout.contains("0 of 1 event"), "{output:#?}");
    assert!(output.fails_with(1).contains("no daemon is running"));
    assert!(site.database.is_true("SELECT count(*) = 0 FROM notifications.retry_requests").await);
    assert_eq!(failures(&site, &id).await.len(), 1);
}

#[tokio::test]
async fn what_a_daemon_was_told_after_another_took_over_is_not_recorded() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("retry_fenced", &receiver).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_until_failed(&site, 1).await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    let retry = ["notification", "retry", &id, "--all"];
    let fenced = async {
        receiver.wait_for(2).await;
        site.database.execute("UPDATE notifications.sources SET epoch = epoch + 1").await;
        gate.open();
        daemon.wait_for_log("another daemon has taken over").await;
        daemon.wait_until_ready().await;
    };
    // Whether the asker still hears of it is left to chance; if so, it must not hear of a success.
    let asked = async {
        site.webhookdb.run_within(&retry, "", Duration::from_secs(300)).await.fails_with(1);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = asked => {}
        () = fenced => {}
    }
    assert_eq!(failures(&site, &id).await.len(), 1);
}

#[tokio::test]
async fn failures_are_listed_newest_first_no_more_than_asked_for_and_with_each_attempt() {
    let receiver = Receiver::start().await;
    let (site, id) = site_that_gives_up("failures", &receiver).await;
    let list = async |more: &[&'static str]| {
        site.webhookdb.run(&[&["notification", "failures", id.as_str()], more].concat()).await
    };
    assert_eq!(list(&[]).await.ok(), "Nothing was given up.\n");
    let _daemon = site.serve().await;
    for number in 1..=3 {
        upsert_charge(site.database.client(), &format!("ch_{number}"), 1, 1).await;
        wait_until_failed(&site, number).await;
    }
    let sent: Vec<String> = receiver.received().iter().rev().map(|request| request.webhook_id().to_owned()).collect();
    let all = failures(&site, &id).await;
    let ids: Vec<&str> = all.iter().filter_map(|failure| failure["webhook_id"].as_str()).collect();
    assert_eq!(ids, sent);
    let first = &all[0];
    assert_eq!((&first["table"], &first["attempts"]), (&json!("public.stripe_charge_v1_fdcc"), &json!(1)));
    assert_eq!(first["last_error"], "the endpoint answered 500");
    for time in ["committed_at", "last_attempt_at"] {
        assert!(first[time].as_str().is_some_and(|time| time.ends_with('Z')), "{first}");
    }
    let log = &first["attempt_log"];
    assert_eq!(
        (log.as_array().map(Vec::len), &log[0]["status"], &log[0]["by_hand"]),
        (Some(1), &json!(500), &json!(false))
    );
    let two = list(&["--limit", "2"]).await;
    assert!(two.stderr.contains("1 failure of older changes not shown; --limit 3 shows all."), "{two:#?}");
    let table = two.ok();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains(&event_id(&all[0])) && !table.contains(&event_id(&all[2])), "{table}");
    let csv = list(&["--format", "csv"]).await.ok();
    assert!(csv.starts_with("EVENT ID,COMMITTED AT,TABLE,ATTEMPTS,LAST ATTEMPT,LAST ERROR\nevt_"), "{csv}");
    let raw = list(&["--format", "raw"]).await.ok();
    assert!(raw.contains("\"lsn\"") && !raw.contains("secret"), "{raw}");
}
