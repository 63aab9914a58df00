//! A subscription is paused and resumed, deactivated and enabled, moved to another URL: exactly from where the commands return.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{Received, Receiver, Reply, Site};

/// What the daemon does when an endpoint has gone for good; returns when every live daemon has taken it in.
async fn deactivate(site: &Site, id: &str) {
    site.database
        .execute(&format!(
            "UPDATE notifications.subscriptions
             SET state = 'deactivated', halted_at = now(), halted_because = 'the endpoint answered 410'
             WHERE opaque_id = '{id}';
             INSERT INTO notifications.gaps (source, subscription, reason, from_lsn)
             VALUES ('main', '{id}', 'deactivated', pg_current_wal_lsn());
             UPDATE notifications.revision SET value = value + 1;
             SELECT pg_notify('webhookdb_notifications', 'catalog')"
        ))
        .await;
    wait_until_heard(site).await;
}

/// Every daemon that serves, if any does, knows the catalog as it is now.
async fn wait_until_heard(site: &Site) {
    let heard = "SELECT coalesce(bool_and(released OR revision >= (SELECT value FROM notifications.revision)), true)
                 FROM notifications.leases";
    site.database.wait_until("the daemon has heard", heard).await;
}

/// As a daemon that serves would have it, with this revision of the catalog loaded; live for minutes.
async fn pretend_to_serve(site: &Site, revision: i64) {
    let lease = "INSERT INTO notifications.leases (source, daemon, epoch, host, pid, renewed_at, revision)
                 VALUES ('main', 'd', 1, 'h', 1, now() + interval '5 minutes', $1)
                 ON CONFLICT (source) DO UPDATE SET revision = excluded.revision";
    site.database.query(lease, &[&revision]).await;
}

async fn show(site: &Site, id: &str) -> Value {
    site.webhookdb.run(&["notification", "show", id, "--format", "json"]).await.json()
}

async fn run(site: &Site, command: &str, id: &str) -> String {
    site.webhookdb.run(&["notification", command, id]).await.ok()
}

fn external_ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}

#[tokio::test]
async fn while_paused_nothing_is_sent_and_everything_is_kept() {
    let site = Site::new("pause").await;
    let (paused, other) = (Receiver::start().await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &paused.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    paused.wait_for_id("ch_before").await;
    let said = run(&site, "pause", &id).await;
    assert_eq!(
        said,
        format!("Events are kept, and not sent to {} until the notification is resumed.\n", paused.url("/"))
    );
    backfill_charges(site.database.client(), 1..=50).await;
    for updated in 1..=3 {
        upsert_charge(site.database.client(), "ch_row", 1, updated).await;
    }
    other.wait_for(54).await;
    let owed = "SELECT count(*) = 53 FROM notifications.outbox WHERE state = 'owed'";
    site.database.wait_until("everything is owed", owed).await;
    let now = show(&site, &id).await;
    assert_eq!(
        (&now["status"], &now["pending"], &now["reason"]),
        (&json!("paused"), &json!(53), &json!("paused by hand"))
    );
    assert!(now["halted_at"].is_string() && now["oldest_pending"].is_string(), "{now}");
    // What is paused stays so through a restart.
    daemon.terminate().await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_after_restart", 1, 1).await;
    other.wait_for_id("ch_after_restart").await;
    assert_eq!(external_ids(&paused.received()), ["ch_before"]);
    let said = run(&site, "resume", &id).await;
    assert!(said.starts_with(&format!("Events are sent to {} again.\n", paused.url("/"))), "{said}");
    let requests = paused.wait_for(55).await;
    assert_eq!(requests.len(), 55);
    let of_row: Vec<_> = requests.iter().filter(|request| request.external_id() == "ch_row").collect();
    assert!(of_row.is_sorted_by_key(|request| request.position()) && of_row.len() == 3, "{of_row:?}");
    assert_eq!(show(&site, &id).await["status"], "active");
}

#[tokio::test]
async fn a_pause_ends_the_attempts_under_way_and_they_go_out_when_it_is_resumed() {
    let site = Site::with("pause_in_flight", |config| config.set("delivery.timeout", "60s")).await;
    let (paused, other) = (Receiver::start().await, Receiver::start().await);
    paused.always(Reply::Hang);
    let id = site.subscribe("stripe_charge_v1", &paused.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    paused.wait_for(1).await;
    run(&site, "pause", &id).await;
    paused.always(Reply::OK);
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    other.wait_for_id("ch_2").await;
    site.database
        .wait_until("both are owed", "SELECT count(*) = 2 FROM notifications.outbox WHERE state = 'owed'")
        .await;
    assert_eq!(paused.count(), 1);
    run(&site, "resume", &id).await;
    let mut again = external_ids(&paused.wait_for(3).await[1..]);
    again.sort_unstable();
    assert_eq!(again, ["ch_1", "ch_2"]);
}

#[tokio::test]
async fn one_that_is_paused_before_its_start_is_met_gets_its_start_and_stays_paused() {
    let site = Site::new("pause_pending").await;
    let (paused, other) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    let id = site.subscribe("stripe_charge_v1", &paused.url("/")).await;
    run(&site, "pause", &id).await;
    let since = show(&site, &id).await["halted_at"].clone();
    run(&site, "pause", &id).await;
    assert_eq!(show(&site, &id).await["halted_at"], since, "the second time changes nothing");
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let _daemon = site.serve().await;
    other.wait_for(2).await;
    let now = show(&site, &id).await;
    assert_eq!((&now["status"], now["starts"]["main"].is_string()), (&json!("paused"), true), "{now}");
    site.database.wait_until("it is owed", "SELECT count(*) = 1 FROM notifications.outbox").await;
    run(&site, "resume", &id).await;
    assert_eq!(external_ids(&paused.wait_for(1).await), ["ch_after"]);
    assert_eq!(show(&site, &id).await["status"], "active");
}

#[tokio::test]
async fn one_whose_start_is_not_met_is_pending_again_when_it_is_resumed() {
    let site = Site::new("resume_pending").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    run(&site, "pause", &id).await;
    assert_eq!(run(&site, "resume", &id).await, "Events are sent to https://127.0.0.1 again.\n");
    assert_eq!(show(&site, &id).await["status"], "pending");
    let again = run(&site, "resume", &id).await;
    assert_eq!(again, "Events are sent to https://127.0.0.1; the notification was not paused.\n");
}

#[tokio::test]
async fn each_command_waits_for_the_daemon_and_says_when_it_does_not_confirm() {
    let site = Site::new("unconfirmed").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    pretend_to_serve(&site, 0).await;
    let unconfirmed = async |command: &[&str]| {
        let stderr = site.webhookdb.run(command).await.fails_with(1);
        assert!(stderr.contains("is recorded, but not yet confirmed"), "{stderr}");
    };
    let pause = ["notification", "pause", &id];
    unconfirmed(&pause).await;
    assert_eq!(show(&site, &id).await["status"], "paused");
    let update = ["notification", "update", &id, "--url", "https://127.0.0.1/new"];
    unconfirmed(&update).await;
    pretend_to_serve(&site, i64::MAX).await;
    site.webhookdb.run(&pause).await.ok();
    site.webhookdb.run(&update).await.ok();
}

#[tokio::test]
async fn what_does_not_fit_the_state_names_the_command_that_does() {
    let site = Site::new("wrong_state").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    let fails = async |command: &str, hint: &str| {
        let stderr = site.webhookdb.run(&["notification", command, &id]).await.fails_with(1);
        assert!(stderr.contains(&format!("`webhookdb notification {hint} {id}`")), "{stderr}");
    };
    run(&site, "pause", &id).await;
    fails("enable", "resume").await;
    deactivate(&site, &id).await;
    fails("resume", "enable").await;
    fails("pause", "enable").await;
    let stderr = site.webhookdb.run(&["notification", "resume", &id]).await.stderr;
    assert!(stderr.contains("the endpoint answered 410"), "{stderr}");
    for command in ["show", "pause", "resume", "enable", "failures"] {
        let stderr = site.webhookdb.run(&["notification", command, "000000000000"]).await.fails_with(1);
        assert!(stderr.contains("there is no notification 000000000000"), "{stderr}");
    }
}

#[tokio::test]
async fn an_enabled_one_gets_every_later_change_and_none_of_the_time_between() {
    let site = Site::new("enable").await;
    let (enabled, other) = (Receiver::start().await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &enabled.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    enabled.wait_for(1).await;
    deactivate(&site, &id).await;
    upsert_charge(site.database.client(), "ch_between", 1, 1).await;
    other.wait_for_id("ch_between").await;
    let said = run(&site, "enable", &id).await;
    assert_eq!(said, format!("Events are sent to {} again: every change committed from now on.\n", enabled.url("/")));
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    assert_eq!(external_ids(&enabled.wait_for_id("ch_after").await), ["ch_before", "ch_after"]);
    let now = show(&site, &id).await;
    assert_eq!((&now["status"], &now["reason"], &now["halted_at"]), (&json!("active"), &Value::Null, &Value::Null));
    let gap = "SELECT from_lsn < to_lsn AND to_lsn = (SELECT start_lsn FROM notifications.subscription_starts t
                   JOIN notifications.subscriptions s ON s.id = t.subscription WHERE s.opaque_id = g.subscription)
               FROM notifications.gaps g";
    assert!(site.database.is_true(gap).await, "the gap ends where it starts again");
    let again = run(&site, "enable", &id).await;
    assert!(again.contains("was not deactivated"), "{again}");
    drop(daemon);
}

#[tokio::test]
async fn one_enabled_while_the_daemon_is_down_and_far_behind_starts_exactly_there() {
    let site = Site::new("enable_down").await;
    let (enabled, other) = (Receiver::start().await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &enabled.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    site.serve().await.terminate().await;
    deactivate(&site, &id).await;
    backfill_charges(site.database.client(), 1..=500).await;
    run(&site, "enable", &id).await;
    assert_eq!(show(&site, &id).await["status"], "pending");
    // Whoever enables a pending one may rely on its start, too.
    assert!(run(&site, "enable", &id).await.contains("was not deactivated"));
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let _daemon = site.serve().await;
    other.wait_for(501).await;
    assert_eq!(external_ids(&enabled.wait_for_id("ch_after").await), ["ch_after"]);
}

#[tokio::test]
async fn what_was_owed_when_it_was_deactivated_goes_out_when_it_is_enabled() {
    let site = Site::with("enable_owed", |config| config.set("delivery.max_attempts", 1_000)).await;
    let (gone, control) = (Receiver::start().await, Receiver::start().await);
    for receiver in [&gone, &control] {
        receiver.always(Reply::Status(500));
    }
    let id = site.subscribe("stripe_charge_v1", &gone.url("/")).await;
    site.subscribe("stripe_charge_v1", &control.url("/")).await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=3).await;
    let owed = "SELECT count(*) = 6 FROM notifications.outbox WHERE state = 'owed' AND attempts > 0";
    site.database.wait_until("all are owed", owed).await;
    deactivate(&site, &id).await;
    let sent_before = gone.count();
    gone.always(Reply::OK);
    // The other subscription, of the same schedule, is the clock.
    control.wait_for(control.count() + 9).await;
    assert_eq!(gone.count(), sent_before);
    let said = run(&site, "enable", &id).await;
    assert!(said.contains("\n3 events that were owed before it was deactivated will be sent, too.\n"), "{said}");
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let requests = gone.wait_until("all that is due", |requests| {
        requests[sent_before..].iter().any(|request| request.external_id() == "ch_after")
            && requests.len() >= sent_before + 4
    });
    let mut sent = external_ids(&requests.await[sent_before..]);
    sent.sort();
    assert_eq!(sent, ["ch_1", "ch_2", "ch_3", "ch_after"]);
}

#[tokio::test]
async fn one_whose_endpoint_was_gone_says_so_and_gets_what_it_refused_when_it_is_enabled() {
    let site = Site::new("enable_gone").await;
    let (gone, other) = (Receiver::start().await, Receiver::start().await);
    gone.always(Reply::Status(410));
    let id = site.subscribe("stripe_charge_v1", &gone.url("/")).await;
    site.subscribe("stripe_charge_v1", &other.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_refused", 1, 1).await;
    let deactivated = format!("SELECT state = 'deactivated' FROM notifications.subscriptions WHERE opaque_id = '{id}'");
    site.database.wait_until("it is deactivated", &deactivated).await;
    wait_until_heard(&site).await;
    let now = show(&site, &id).await;
    assert!(now["reason"].as_str().is_some_and(|reason| reason.contains("410")), "{now}");
    gone.always(Reply::OK);
    upsert_charge(site.database.client(), "ch_between", 1, 1).await;
    other.wait_for_id("ch_between").await;
    run(&site, "enable", &id).await;
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let mut sent = external_ids(&gone.wait_for(3).await);
    sent.sort();
    assert_eq!(sent, ["ch_after", "ch_refused", "ch_refused"]);
    assert_eq!(gone.received().iter().filter(|request| request.attempt() == 2).count(), 1);
}

#[tokio::test]
async fn enable_leaves_it_deactivated_where_the_start_can_not_be_marked() {
    let site = Site::new("enable_fails").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    deactivate(&site, &id).await;
    let before = show(&site, &id).await;
    site.database.execute("DROP PUBLICATION webhookdb_notifications").await;
    let stderr = site.webhookdb.run(&["notification", "enable", &id]).await.fails_with(1);
    assert!(stderr.contains("hint: run `webhookdb setup`"), "{stderr}");
    assert_eq!(show(&site, &id).await, before);
}

#[tokio::test]
async fn after_an_update_everything_goes_to_the_new_url_what_was_owed_too() {
    let site = Site::new("update").await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    old.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &old.url("/")).await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=5).await;
    old.wait_for_distinct(5).await;
    let update = ["notification", "update", &id, "--url", &new.url("/new")];
    let said = site.webhookdb.run(&update).await.ok();
    let sent_before = old.count();
    assert_eq!(said, format!("Events will be sent to {} from now on.\n", new.url("/new")));
    assert_eq!(show(&site, &id).await["deliver_to_url"], new.url("/new"));
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let mut sent = external_ids(&new.wait_for_distinct(6).await);
    sent.sort();
    assert_eq!(sent, ["ch_1", "ch_2", "ch_3", "ch_4", "ch_5", "ch_after"]);
    assert_eq!(old.count(), sent_before);
}

#[tokio::test]
async fn a_bad_url_is_refused_and_the_old_one_stays() {
    let site = Site::new("update_refused").await;
    let id = site.subscribe("stripe_charge_v1", "https://127.0.0.1").await;
    for url in ["", "example.com", "ftp://127.0.0.1", "https://user:hunter2@127.0.0.1/", "https://10.0.0.1/"] {
        let stderr = site.webhookdb.run(&["notification", "update", &id, "--url", url]).await.fails_with(1);
        assert!(stderr.contains("hint: ") && !stderr.contains("hunter2"), "{url}: {stderr}");
    }
    assert_eq!(show(&site, &id).await["deliver_to_url"], "https://127.0.0.1");
    site.webhookdb.run(&["notification", "update", &id]).await.fails_with(2);
    run(&site, "pause", &id).await;
    let output = site.webhookdb.run(&["notification", "update", &id, "--url", " https://127.0.0.1/new "]).await;
    assert!(output.stderr.contains(&format!("notification resume {id}")), "{output:#?}");
    assert_eq!(output.ok(), "Events will be sent to https://127.0.0.1/new from now on.\n");
}

#[tokio::test]
async fn show_tells_everything_but_the_secret_in_each_format() {
    let site = Site::new("show").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe_organization(&receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    site.database.wait_until("it failed", "SELECT count(*) = 1 FROM notifications.outbox WHERE attempts > 0").await;
    let all = show(&site, &id).await;
    let expected = json!({
        "opaque_id": id, "deliver_to_url": receiver.url("/"), "status": "active", "batch": null, "linger_ms": null, "reason": null, "halted_at": null,
        "associated_type": "organization", "associated_id": "acme_corp", "created_at": all["created_at"],
        "starts": {"main": all["starts"]["main"]}, "rotating_until": null, "pending": 1, "oldest_pending": all["oldest_pending"], "failed": 0,
        "last_success": null, "last_failure": all["last_failure"], "failing_since": all["failing_since"],
        "last_errors": [{
            "event_id": all["last_errors"][0]["event_id"], "at": all["last_errors"][0]["at"],
            "attempts": all["last_errors"][0]["attempts"], "error": "the endpoint answered 500",
        }],
    });
    assert_eq!(all, expected);
    assert!(all["starts"]["main"].is_string() && all["oldest_pending"].is_string(), "{all}");
    let format = async |format: &str| {
        let shown = site.webhookdb.run(&["notification", "show", &id, "--format", format]).await.ok();
        assert!(!shown.contains("webhook_secret123"), "{shown}");
        shown
    };
    let table = format("table").await;
    for words in ["  ID                ", &id, "active", "organization", "acme_corp", "Last errors:", "answered 500"] {
        assert!(table.contains(words), "{words}\n{table}");
    }
    let csv = format("csv").await;
    assert!(csv.starts_with("ID,URL,STATUS,ASSOCIATED TYPE,") && csv.lines().count() == 2, "{csv}");
    let raw: Value = serde_json::from_str(&format("raw").await).expect("JSON");
    assert!(raw["id"].is_i64() && raw["opaque_id"] == id, "{raw}");
}

#[tokio::test]
async fn list_and_status_show_who_is_halted_and_why() {
    let site = Site::new("status_halted").await;
    let paused = site.subscribe("stripe_charge_v1", "https://127.0.0.1/1").await;
    let gone = site.subscribe("stripe_charge_v1", "https://127.0.0.1/2").await;
    run(&site, "pause", &paused).await;
    deactivate(&site, &gone).await;
    site.database
        .execute("UPDATE notifications.subscriptions SET failing_since = now() WHERE state = 'deactivated'")
        .await;
    let list = site.webhookdb.run(&["notification", "list"]).await.ok();
    assert!(list.contains("   paused\n") && list.contains("   deactivated\n"), "{list}");
    let output = site.webhookdb.run(&["status", "--format", "json"]).await;
    let status: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let [first, second] = [0, 1].map(|place| &status["subscriptions"][place]);
    assert_eq!((&first["status"], &first["reason"]), (&json!("paused"), &json!("paused by hand")));
    assert_eq!((&second["status"], &second["reason"]), (&json!("deactivated"), &json!("the endpoint answered 410")));
    assert!(first["halted_at"].is_string() && first["failing_since"].is_null(), "{status}");
    assert!(second["failing_since"].is_string(), "{status}");
    let text = site.webhookdb.run(&["status"]).await.stdout;
    assert!(text.contains(&format!("  {gone} is deactivated since ")), "{text}");
    assert!(text.contains(": the endpoint answered 410\n"), "{text}");
    assert!(text.contains(&format!("`webhookdb notification enable {gone}`")), "{text}");
}
