//! A subscription begins and ends exactly where its commands returned.

use std::sync::Arc;

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{Received, Receiver, Reply, Site};

#[tokio::test]
async fn one_created_while_the_daemon_is_down_and_far_behind_gets_every_later_change_and_no_earlier_one() {
    let site = Site::new("exact_start").await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &old.url("/")).await;
    backfill_charges(site.database.client(), 1..=500).await;
    upsert_charge(site.database.client(), "ch_just_before", 1, 1).await;
    site.subscribe("stripe_charge_v1", &new.url("/")).await;
    upsert_charge(site.database.client(), "ch_just_after", 1, 1).await;
    backfill_charges(site.database.client(), 501..=600).await;
    let daemon = site.serve().await;
    assert_eq!(old.wait_for(602).await.len(), 602);
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let mut ids = external_ids(&new.wait_for(102).await);
    let mut expected: Vec<String> = (501..=600).map(|n| format!("ch_{n}")).collect();
    expected.extend(["ch_just_after".into(), "ch_last".into()]);
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert_eq!(new.count(), 102);
}

#[tokio::test]
async fn a_transaction_begun_before_the_creation_and_committed_after_it_is_delivered() {
    let site = Site::new("open_at_start").await;
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    site.subscribe("stripe_charge_v1", &old.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    old.wait_for(1).await;
    let open = site.database.connect().await;
    open.batch_execute("BEGIN").await.expect("a transaction");
    upsert_charge(&open, "ch_open", 1, 1).await;
    site.subscribe("stripe_charge_v1", &new.url("/")).await;
    open.batch_execute("COMMIT").await.expect("the commit");
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    new.expect_ids(&["ch_open", "ch_after"]).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert_eq!(new.count(), 2);
}

#[tokio::test]
async fn one_created_while_the_daemon_runs_becomes_active() {
    let site = Site::new("active").await;
    let receiver = Receiver::start().await;
    let daemon = site.serve().await;
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    let list = site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    assert_eq!((&list[0]["opaque_id"], &list[0]["status"]), (&id.into(), &"active".into()));
    drop(daemon);
}

#[tokio::test]
async fn after_a_deletion_nothing_more_is_sent_pending_notifications_included() {
    let site = Site::with("deletion", |config| config.set("delivery.max_attempts", 1_000)).await;
    let (deleted, control) = (Receiver::start().await, Receiver::start().await);
    for receiver in [&deleted, &control] {
        receiver.always(Reply::Status(500));
    }
    let id = site.subscribe("stripe_charge_v1", &deleted.url("/")).await;
    site.subscribe("stripe_charge_v1", &control.url("/")).await;
    let _daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=5).await;
    deleted.wait_for(5).await;
    let said = site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    let sent_before = deleted.count();
    assert_eq!(said, format!("Events will no longer be sent to {}.\n", deleted.url("/")));
    deleted.always(Reply::OK);
    backfill_charges(site.database.client(), 6..=10).await;
    // The other subscription, of the same schedule, is the clock: what was pending would have come twice by then.
    let tried = |ids: std::ops::RangeInclusive<i32>, times: usize| {
        move |requests: &[Arc<Received>]| ids.clone().all(|n| count_of(requests, &format!("ch_{n}")) >= times)
    };
    let since = control.received();
    let further = 2 + (1..=5).map(|n| count_of(&since, &format!("ch_{n}"))).max().unwrap_or(0);
    control.wait_until("every early row is tried twice more", tried(1..=5, further)).await;
    control.wait_until("every later row is tried", tried(6..=10, 1)).await;
    assert_eq!(deleted.count(), sent_before);
    let list = site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn a_deletion_cancels_the_attempt_in_flight_and_needs_no_daemon() {
    let site = Site::with("deletion_in_flight", |config| config.set("delivery.timeout", "60s")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let second = site.subscribe("stripe_charge_v1", &receiver.url("/second")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(2).await;
    site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    drop(daemon);
    site.webhookdb.run(&["notification", "delete", &second]).await.ok();
    let _daemon = site.serve().await;
    let marker = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &marker.url("/")).await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    marker.wait_for(1).await;
    assert_eq!(receiver.count(), 2);
}

fn count_of(requests: &[Arc<Received>], external_id: &str) -> usize {
    requests.iter().filter(|request| request.external_id() == external_id).count()
}

fn external_ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}
