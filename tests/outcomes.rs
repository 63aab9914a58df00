//! What an endpoint's answers lead to: waiting, probing, draining, giving up, deactivation; each of it recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::sink::{Manner, Sink};
use crate::support::{Received, Receiver, Reply, Site};

/// So long a well-behaved endpoint asks to be left alone here.
const ASKED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_endpoint_that_asks_for_time_in_seconds_gets_it() {
    asks_for_time("seconds", 429, || ASKED.as_secs().to_string()).await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_by_a_date_gets_it() {
    // A date has no fractions: what is left of the second is given on top.
    let date = || httpdate::fmt_http_date(SystemTime::now() + ASKED + Duration::from_secs(1));
    asks_for_time("date", 503, date).await;
}

/// Nothing is sent in the meantime, of no row, and then everything.
async fn asks_for_time(name: &str, status: u16, wait: impl Fn() -> String + Send + Sync + 'static) {
    let site = Site::new(name).await;
    let receiver = Receiver::start().await;
    receiver.respond(move |request| match request.number {
        0 => Reply::Full(status, "retry-after", wait(), String::new()),
        _ => Reply::OK,
    });
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    // Before it has heard the answer, it may send another row.
    let heard = "SELECT count(*) = 1 FROM notifications.outbox WHERE attempts = 1";
    site.database.wait_until("the answer is heard", heard).await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    let requests = receiver.wait_for_distinct(2).await;
    let requests = if requests.len() < 3 { receiver.wait_for(3).await } else { requests };
    assert!(requests[1].at - requests[0].at >= ASKED, "{:?}", requests[1].at - requests[0].at);
    let attempts: BTreeMap<_, _> = requests.iter().map(|request| (request.external_id(), request.attempt())).collect();
    assert_eq!(attempts, BTreeMap::from([("ch_1".into(), 2), ("ch_2".into(), 1)]));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_sent_nothing_more_and_what_it_is_owed_is_kept() {
    let site = Site::new("gone").await;
    let (gone, well) = (Receiver::start().await, Receiver::start().await);
    gone.always(Reply::Status(410));
    let id = site.subscribe("stripe_charge_v1", &gone.url("/")).await;
    site.subscribe("stripe_charge_v1", &well.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_until_deactivated(&site, &id).await;
    daemon.wait_for_log("is deactivated").await;
    let loaded = "SELECT bool_and(l.revision >= r.value) FROM notifications.leases l, notifications.revision r";
    site.database.wait_until("the daemon goes by that", loaded).await;
    let owed = "SELECT count(*) = 1 FROM notifications.outbox WHERE state = 'owed' AND attempts = 1";
    site.database.wait_until("what was refused is owed", owed).await;
    let before = gone.count();
    upsert_charge(site.database.client(), "ch_1", 2, 2).await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    well.wait_for_distinct(3).await;
    assert_eq!((before, gone.count()), (1, 1));
    let owed = "SELECT count(*) = 1 FROM notifications.outbox";
    assert!(site.database.is_true(owed).await, "what came after the deactivation is not kept");
    let gap =
        format!("SELECT count(*) = 1 FROM notifications.gaps WHERE subscription = '{id}' AND reason LIKE '%410%'");
    assert!(site.database.is_true(&gap).await);
}

async fn wait_until_deactivated(site: &Site, id: &str) {
    let state = format!("SELECT state = 'deactivated' FROM notifications.subscriptions WHERE opaque_id = '{id}'");
    site.database.wait_until("the subscription is deactivated", &state).await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_probed_and_its_backlog_goes_out_in_order() {
    const ROWS: usize = 300;
    let site = Site::new("breaker").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    for version in 1..=3 {
        for row in 0..ROWS / 3 {
            upsert_charge(site.database.client(), &format!("ch_{row}"), version, version.into()).await;
        }
    }
    let written = site.database.current_lsn().await;
    let owed = format!("SELECT count(*) = {ROWS} FROM notifications.outbox WHERE state = 'owed'");
    site.database.wait_until("everything is owed", &owed).await;
    site.database.wait_for_slot_past(&written).await;
    daemon.wait_for_log("the endpoint fails").await;
    let tried: Vec<_> = receiver.received().iter().map(|request| request.webhook_id().to_owned()).collect();
    assert!(tried.len() < ROWS / 3, "{} attempts at an endpoint that is down", tried.len());
    receiver.always(Reply::OK);
    let requests = receiver.wait_for_distinct(ROWS).await;
    daemon.wait_for_log("the endpoint accepts again").await;
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for request in last_of_each(&requests) {
        versions.entry(request.external_id()).or_default().push(request.json()["row"]["amount"].as_i64().expect("it"));
    }
    assert!(versions.values().all(|versions| *versions == [1, 2, 3]), "{versions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_rejected_in_their_thousands_hold_up_no_others_after_a_restart_either() {
    // More of them than the half of a window, up to which a lane would read them back.
    const REJECTED: usize = 5_500;
    // A debug build on a busy machine has a lot to do here.
    const LIMIT: Duration = Duration::from_secs(120);
    // None of them is tried again while this test runs.
    let site =
        Site::with("rejected_rows", |config| config.set("delivery.retry_cap", "5m").set("delivery.retry_base", "5m"))
            .await;
    let sink = Sink::start(Manner::RejectsEven).await;
    site.subscribe("stripe_charge_v1", &sink.url()).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=2 * i64::try_from(REJECTED).expect("a count")).await;
    sink.wait_for_accepted(REJECTED, LIMIT).await;
    let owed = format!("SELECT count(*) = {REJECTED} FROM notifications.outbox WHERE attempts = 1");
    site.database.wait_until("what is rejected is owed", &owed).await;
    upsert_charge(site.database.client(), "ch_99991", 1, 1).await;
    sink.wait_for_accepted(REJECTED + 1, LIMIT).await;
    daemon.terminate().await;
    upsert_charge(site.database.client(), "ch_99993", 1, 1).await;
    let _daemon = site.serve().await;
    sink.wait_for_accepted(REJECTED + 2, LIMIT).await;
    assert_eq!(sink.requests(), 2 * REJECTED + 2, "nothing is tried before it is due");
}

/// The accepted request of each notification, in their order.
fn last_of_each(requests: &[Arc<Received>]) -> Vec<Arc<Received>> {
    let last: BTreeMap<_, _> = requests.iter().map(|request| (request.webhook_id(), request.number)).collect();
    requests.iter().filter(|request| last[request.webhook_id()] == request.number).cloned().collect()
}

#[tokio::test]
async fn a_failed_notification_is_kept_with_each_attempt_and_the_row_goes_on() {
    let site = Site::with("recorded", |config| config.set("delivery.max_attempts", 2)).await;
    let receiver = Receiver::start().await;
    receiver.respond(|request| match request.json()["row"]["amount"].as_i64() {
        Some(1) => Reply::Full(422, "x-why", "it".into(), "no such customer\0 ".repeat(100)),
        _ => Reply::OK,
    });
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    upsert_charge(site.database.client(), "ch_1", 2, 2).await;
    receiver.wait_for(3).await;
    daemon.wait_for_log("a notification was given up").await;
    site.database
        .wait_until("it is recorded", "SELECT count(*) = 1 FROM notifications.outbox WHERE state = 'failed'")
        .await;
    let failed =
        site.database.json("SELECT to_jsonb(o)::text FROM notifications.outbox o WHERE state = 'failed'").await;
    assert_eq!((&failed["attempts"], &failed["last_error"]), (&json!(2), &json!("the endpoint answered 422")));
    let attempts = failed["attempt_log"].as_array().expect("an array");
    let numbers: Vec<&Value> = attempts.iter().map(|attempt| &attempt["attempt"]).collect();
    assert_eq!(numbers, [1, 2]);
    for attempt in attempts {
        assert_eq!((&attempt["status"], &attempt["outcome"]), (&json!(422), &json!("refused")), "{attempt}");
        assert_eq!(attempt["by_hand"], json!(false));
        assert!(attempt["duration"].as_f64().is_some_and(|seconds| seconds > 0.0), "{attempt}");
        let answer = attempt["answer"].as_str().expect("its text");
        assert!(answer.starts_with("no such customer\u{fffd}") && answer.chars().count() == 1024, "{answer}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_for_too_long_by_the_databases_record_is_deactivated() {
    let site = Site::with("disable_after", |config| config.set("delivery.disable_after", "2d")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let failing = "SELECT count(*) = 1 FROM notifications.subscriptions WHERE failing_since IS NOT NULL";
    site.database.wait_until("the failing is recorded", failing).await;
    daemon.kill9().await;
    site.database.execute("UPDATE notifications.subscriptions SET failing_since = now() - interval '49 hours'").await;
    let _daemon = site.serve().await;
    wait_until_deactivated(&site, &id).await;
    let because = site.database.text("SELECT halted_because FROM notifications.subscriptions").await;
    assert!(because.is_some_and(|because| because.contains("accepted nothing since")));
    assert!(site.database.is_true("SELECT count(*) = 1 FROM notifications.outbox WHERE state = 'owed'").await);
}

#[tokio::test]
async fn a_success_ends_a_failing() {
    let site = Site::new("recovers").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    let failing = "SELECT count(*) = 1 FROM notifications.subscriptions WHERE failing_since IS NOT NULL";
    site.database.wait_until("the failing is recorded", failing).await;
    receiver.always(Reply::OK);
    let well = "SELECT count(*) = 1 FROM notifications.subscriptions WHERE failing_since IS NULL AND last_success_at IS NOT NULL";
    site.database.wait_until("the failing is over", well).await;
}

#[tokio::test]
async fn a_subscription_that_is_owed_too_much_is_deactivated_with_a_recorded_gap() {
    let site = Site::with("max_pending", |config| config.set("delivery.max_pending", 5)).await;
    let (down, well) = (Receiver::start().await, Receiver::start().await);
    down.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &down.url("/")).await;
    site.subscribe("stripe_charge_v1", &well.url("/")).await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=20).await;
    wait_until_deactivated(&site, &id).await;
    well.wait_for_distinct(20).await;
    let gap = format!("SELECT reason FROM notifications.gaps WHERE subscription = '{id}' AND from_lsn IS NOT NULL");
    assert!(site.database.text(&gap).await.is_some_and(|reason| reason.contains("max_pending")));
}

#[tokio::test]
async fn or_else_reading_stops_and_says_so_until_there_is_room() {
    let full = |config: crate::support::Config| {
        config.set("delivery.max_pending", 5).set("delivery.when_full", "pause").set("delivery.memory", "1MiB")
    };
    let site = Site::with("when_full", full).await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    let held = gate.clone();
    receiver.respond(move |request| if request.times_seen == 1 { Reply::Status(500) } else { held.then(Reply::OK) });
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=400).await;
    let stopped =
        daemon.wait_for_readyz("nothing is read", |status, body| status == 503 && body["status"] == "waiting").await;
    assert!(stopped["reason"].as_str().is_some_and(|reason| reason.contains(&id)), "{stopped}");
    let lease = format!("SELECT held_back LIKE '%{id}%' FROM notifications.leases");
    site.database.wait_until("the lease says so", &lease).await;
    let status = site.webhookdb.run(&["status", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&status.stdout).expect("JSON");
    let source = &report["sources"][0];
    assert!(source["state"] == "waiting" && source["reason"] == stopped["reason"], "{report}");
    assert_eq!(status.status, 1, "{status:?}");
    receiver.always(Reply::OK);
    gate.open();
    receiver.wait_for_distinct(400).await;
    daemon.wait_until_ready().await;
}

#[tokio::test]
async fn reading_goes_on_once_the_subscription_that_stopped_it_is_deactivated() {
    let full = |config: crate::support::Config| {
        config.set("delivery.max_pending", 5).set("delivery.when_full", "pause").set("delivery.memory", "1MiB")
    };
    let site = Site::with("full_and_gone", full).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=400).await;
    daemon.wait_for_readyz("nothing is read", |status, body| status == 503 && body["status"] == "waiting").await;
    receiver.always(Reply::Status(410));
    wait_until_deactivated(&site, &id).await;
    let written = site.database.current_lsn().await;
    daemon.wait_until_ready().await;
    site.database.wait_for_slot_past(&written).await;
}

#[tokio::test]
async fn what_could_not_be_sent_while_it_was_paused_has_its_time_from_when_it_is_resumed() {
    let site = Site::new("paused_for_long").await;
    let receiver = Receiver::start().await;
    receiver.respond(|request| if request.times_seen < 3 { Reply::Status(500) } else { Reply::OK });
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    site.webhookdb.run(&["notification", "pause", &id]).await.ok();
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    site.database.wait_until("it is owed", "SELECT count(*) = 1 FROM notifications.outbox").await;
    site.database.execute("UPDATE notifications.outbox SET first_due_at = now() - interval '100 hours'").await;
    site.webhookdb.run(&["notification", "resume", &id]).await.ok();
    let attempts: Vec<u32> = receiver.wait_for(3).await.iter().map(|request| request.attempt()).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test]
async fn one_that_was_owed_too_much_gets_it_all_once_it_is_enabled() {
    let site = Site::with("enabled_with_much", |config| config.set("delivery.max_pending", 5)).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=20).await;
    wait_until_deactivated(&site, &id).await;
    let owed = "SELECT count(*)::text FROM notifications.outbox WHERE state = 'owed'";
    let owed: usize = site.database.text(owed).await.and_then(|count| count.parse().ok()).expect("a number");
    receiver.always(Reply::OK);
    let before = receiver.count();
    site.webhookdb.run(&["notification", "enable", &id]).await.ok();
    upsert_charge(site.database.client(), "ch_new", 1, 1).await;
    receiver.wait_until("all of it", |requests| requests.len() > before + owed).await;
    let active = format!("SELECT state = 'active' FROM notifications.subscriptions WHERE opaque_id = '{id}'");
    assert!(site.database.is_true(&active).await);
}
