//! Nothing is lost, and little is repeated, when the daemon or Postgres goes and comes back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::Client;
use webhookdb_notifications::demo::{PostgresOptions, StopMode};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::reply::Gate;
use crate::support::{Daemon, PATIENCE, Received, Receiver, Reply, Site, cluster, own_cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_20000_changes_every_change_arrives_in_order_per_row() {
    const ROWS: i64 = 5_000;
    const VERSIONS: i64 = 4;
    let total = usize::try_from(ROWS * VERSIONS).expect("a count");
    let site = Site::new("kill_9").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let client = site.database.connect().await;
    let load = tokio::spawn(async move { write_versions(&client, ROWS, VERSIONS).await });
    for killed_after in [total / 10, total / 2, total * 8 / 10] {
        let daemon = site.serve().await;
        receiver.wait_within(PATIENCE * 2, "a part of the changes", |requests| requests.len() >= killed_after).await;
        daemon.kill9().await;
    }
    let daemon = site.serve().await;
    load.await.expect("the load is written");
    let all = |requests: &[Arc<Received>]| requests.len() >= total && distinct(requests) >= total;
    let requests = receiver.wait_within(PATIENCE * 3, "every change", all).await;
    assert_complete_and_in_order(&requests, ROWS, VERSIONS);
    assert_repeats_are_the_same(&requests);
    drop(daemon);
}

/// Version 1 of each row is its insert, further ones its updates; the amount is the version. Transactions of 500 rows.
async fn write_versions(client: &Client, rows: i64, versions: i64) {
    for version in 1..=versions {
        for first in (1..=rows).step_by(500) {
            let sql = format!(
                "INSERT INTO stripe_charge_v1_fdcc (stripe_id, amount, data)
                 SELECT 'ch_' || n, {version}, jsonb_build_object('id', 'ch_' || n)
                 FROM generate_series({first}, {}) AS n
                 ON CONFLICT (stripe_id) DO UPDATE SET amount = excluded.amount, data = excluded.data",
                first + 499
            );
            client.batch_execute(&sql).await.expect("a part of the load");
        }
    }
}

fn distinct(requests: &[Arc<Received>]) -> usize {
    requests.iter().map(|request| request.webhook_id()).collect::<HashSet<_>>().len()
}

fn assert_complete_and_in_order(requests: &[Arc<Received>], rows: i64, versions: i64) {
    let mut firsts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for request in requests.iter().filter(|request| seen.insert(request.webhook_id().to_owned())) {
        let version = request.json()["row"]["amount"].as_i64().expect("an amount");
        firsts.entry(request.external_id()).or_default().push(version);
    }
    let expected: Vec<i64> = (1..=versions).collect();
    assert_eq!(firsts.len(), usize::try_from(rows).expect("a count"));
    for (row, order) in firsts {
        assert_eq!(order, expected, "{row}");
    }
}

/// Each webhook-id has one body, each body's change one webhook-id.
fn assert_repeats_are_the_same(requests: &[Arc<Received>]) {
    let mut bodies: HashMap<&str, &Bytes> = HashMap::new();
    let mut ids: HashMap<(u64, u64), &str> = HashMap::new();
    for request in requests {
        assert_eq!(*bodies.entry(request.webhook_id()).or_insert(&request.body), &request.body);
        assert_eq!(*ids.entry(request.position()).or_insert(request.webhook_id()), request.webhook_id());
    }
}

#[tokio::test]
async fn killed_between_the_answer_and_the_checkpoint_the_same_id_and_body_come_again() {
    let site = Site::new("kill_9_unrecorded").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_0", 1, 1).await;
    receiver.wait_for(1).await;
    let confirmed = site.database.current_lsn().await;
    site.database.wait_for_slot_past(&confirmed).await;
    let locked = site.database.connect().await;
    // Nothing can be recorded from here on: neither a checkpoint nor that a notification is delivered or owed.
    let lock = "BEGIN; LOCK TABLE notifications.sources, notifications.outbox IN SHARE ROW EXCLUSIVE MODE";
    locked.batch_execute(lock).await.expect("the lock");
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(2).await;
    let delivered = async || daemon.metric("notifications_total", &[("outcome", "delivered")]).await >= 2.0;
    wait_until("the answer has come back", delivered).await;
    daemon.kill9().await;
    // The server would still run a statement of the killed daemon that waits for the lock.
    site.database.terminate_sessions_of_the_program().await;
    locked.batch_execute("ROLLBACK").await.expect("the lock is given up");
    let _daemon = site.serve().await;
    let requests = receiver.wait_for(3).await;
    assert_eq!(external_ids(&requests), ["ch_0", "ch_1", "ch_1"]);
    assert_repeats_are_the_same(&requests);
}

async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(crate::support::POLL).await;
    }
}

#[tokio::test]
async fn a_terminated_walsender_is_replaced_and_nothing_is_lost_or_repeated() {
    let site = Site::new("walsender").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    for round in 1..=3_i64 {
        backfill_charges(site.database.client(), round * 100 + 1..=round * 100 + 50).await;
        assert!(site.database.terminate_walsender().await);
        backfill_charges(site.database.client(), round * 100 + 51..=round * 100 + 100).await;
        receiver.wait_for_distinct(usize::try_from(round * 100).expect("a count")).await;
        daemon.wait_until_ready().await;
    }
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let requests = receiver.wait_for_id("ch_last").await;
    assert_eq!((requests.len(), distinct(&requests)), (301, 301));
    assert!(daemon.metric("reconnects_total", &[]).await >= 3.0);
}

#[tokio::test]
async fn after_a_fast_restart_of_postgres_nothing_is_lost_or_repeated() {
    survives_a_restart("fast_restart", StopMode::Fast).await;
}

#[tokio::test]
async fn after_an_immediate_restart_of_postgres_nothing_is_lost_or_repeated() {
    survives_a_restart("immediate_restart", StopMode::Immediate).await;
}

async fn survives_a_restart(name: &str, mode: StopMode) {
    let server = own_cluster(PostgresOptions::default());
    let mut site = Site::on(&server, name).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    for round in 0..2 {
        backfill_charges(site.database.client(), round * 200 + 1..=round * 200 + 100).await;
        cluster::restart(&server, mode).await;
        site.database.reconnect().await;
        backfill_charges(site.database.client(), round * 200 + 101..=round * 200 + 200).await;
        receiver.wait_for_distinct(usize::try_from(round * 200 + 200).expect("a count")).await;
        daemon.wait_until_ready().await;
    }
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let requests = receiver.wait_for_id("ch_last").await;
    assert_eq!((requests.len(), distinct(&requests)), (401, 401));
}

#[tokio::test]
async fn after_a_crash_of_postgres_the_slot_is_behind_the_checkpoint_and_nothing_is_repeated() {
    let server = own_cluster(PostgresOptions::default());
    let mut site = Site::on(&server, "crash_behind").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=100).await;
    let end = site.database.current_lsn().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    receiver.wait_for_distinct(101).await;
    site.database.wait_for_slot_past(&end).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    cluster::restart(&server, StopMode::Immediate).await;
    site.database.reconnect().await;
    let behind =
        "SELECT r.confirmed_flush_lsn < s.anchor_commit_lsn FROM pg_replication_slots r, notifications.sources s";
    assert!(site.database.is_true(behind).await, "the crash did not take the slot back");
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let requests = receiver.wait_for_id("ch_last").await;
    assert_eq!((requests.len(), distinct(&requests)), (102, 102));
}

#[tokio::test]
async fn a_transaction_that_is_open_across_a_restart_arrives_whole_beside_those_that_overtook_it() {
    let site = Site::new("interleaved").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let open = site.database.connect().await;
    open.batch_execute("BEGIN").await.expect("open");
    for (number, stop) in [(1, false), (2, true), (3, false)] {
        let daemon = site.serve().await;
        upsert_charge(&open, &format!("ch_open_{number}"), 1, 1).await;
        upsert_charge(site.database.client(), &format!("ch_{number}"), 1, 1).await;
        receiver.wait_for_id(&format!("ch_{number}")).await;
        if stop {
            assert_eq!(daemon.terminate().await.code(), Some(0));
        } else {
            daemon.kill9().await;
        }
    }
    open.batch_execute("COMMIT").await.expect("committed");
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    let _daemon = site.serve().await;
    let requests = receiver.wait_for_distinct(7).await;
    let seen: HashSet<String> = external_ids(&requests).into_iter().collect();
    let expected = ["ch_1", "ch_2", "ch_3", "ch_open_1", "ch_open_2", "ch_open_3", "ch_last"].map(str::to_owned);
    assert_eq!(seen, HashSet::from(expected));
    assert_repeats_are_the_same(&requests);
}

#[tokio::test]
async fn messages_that_share_a_rows_position_take_no_index_across_a_restart() {
    let site = Site::new("messages_beside").await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let message = "SELECT pg_logical_emit_message(true, 'theirs', repeat('x', 100000))";
    let rows = "INSERT INTO stripe_charge_v1_fdcc (stripe_id, data)
                SELECT 'ch_' || n, '{}' FROM generate_series";
    site.database
        .execute(&format!("BEGIN; {message}; {rows}(1, 20) AS n; {message}; {rows}(21, 40) AS n; COMMIT"))
        .await;
    let daemon = site.serve().await;
    receiver.wait_for(2).await;
    daemon.kill9().await;
    gate.open();
    let _daemon = site.serve().await;
    let requests = receiver.wait_for_distinct(40).await;
    assert_repeats_are_the_same(&requests);
    let indexes: HashSet<u64> = requests.iter().map(|request| request.position().1).collect();
    assert_eq!(indexes, (0..40).collect());
}

/// So many rows, of which somebody subscribes to these many at the beginning and in the middle.
const MANY: i64 = 1_000_000;
const SUBSCRIBED: i64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_inside_a_transaction_of_a_million_rows_it_goes_on_inside() {
    let long = PATIENCE * 4;
    let site = Site::new("million").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let half = |first: i64| {
        let last = first + MANY / 2 - 1;
        format!(
            "INSERT INTO stripe_charge_v1_fdcc (stripe_id, data)
             SELECT 'ch_' || n, '{{}}' FROM generate_series({first}, {}) AS n;
             INSERT INTO stripe_customer_v1_512a (stripe_id, data)
             SELECT 'cus_' || n, '{{}}' FROM generate_series({}, {last}) AS n;",
            first + SUBSCRIBED - 1,
            first + SUBSCRIBED,
        )
    };
    site.database.execute(&format!("BEGIN; {}; {}; COMMIT", half(1), half(MANY / 2 + 1))).await;
    let end = site.database.current_lsn().await;
    let subscribed = usize::try_from(SUBSCRIBED).expect("a count");
    // It is inside the second half when it is killed, and all of the first half is on record.
    let gate = Gate::closed();
    let held_back = gate.then(Reply::OK);
    receiver.respond(move |request| if request.number < subscribed + 500 { Reply::OK } else { held_back.clone() });
    let daemon = site.serve().await;
    receiver.wait_within(long, "a part of the second half", |requests| requests.len() >= subscribed + 500).await;
    let on_record = format!(
        "SELECT (next_index >= {half} OR commit_lsn >= '{end}') AND NOT EXISTS (SELECT FROM notifications.outbox
             WHERE state = 'owed' AND index < {half}) FROM notifications.sources",
        half = MANY / 2
    );
    site.database.wait_until("the first half is on record", &on_record).await;
    daemon.kill9().await;
    let before = receiver.count();
    gate.open();
    let daemon = site.serve().await;
    let requests = receiver.wait_within(long, "the rest", |requests| distinct(requests) >= subscribed * 2).await;
    assert_repeats_are_the_same(&requests);
    let in_first_half = |request: &&Arc<Received>| request.position().1 < u64::try_from(MANY / 2).expect("an index");
    assert_eq!(requests[before..].iter().filter(in_first_half).count(), 0, "the first half came again");
    assert_eq!(requests.iter().filter(in_first_half).count(), subscribed, "all of the first half came once");
    let repeated = requests.len() - distinct(&requests);
    assert!(repeated < subscribed / 2, "{repeated} were repeated");
    drop(daemon);
}

#[tokio::test]
async fn a_fast_stop_of_postgres_is_not_held_up_by_undelivered_notifications() {
    /// Postgres itself needs a fraction of a second, unless a walsender's client holds it up: then a minute or more.
    const PROMPT: Duration = Duration::from_secs(5);
    let server = own_cluster(PostgresOptions::default());
    let site = Site::on(&server, "fast_stop").await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=500).await;
    receiver.wait_for(2).await;
    let began = Instant::now();
    cluster::stop(&server, StopMode::Fast).await;
    let took = began.elapsed();
    cluster::start(&server).await;
    gate.open();
    receiver.wait_for_distinct(500).await;
    assert!(took < PROMPT, "{took:?}");
    drop(daemon);
}

#[tokio::test]
async fn an_orderly_stop_lets_attempts_finish_and_leaves_no_duplicates() {
    let site = Site::new("orderly_stop").await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::After(Duration::from_millis(100), Box::new(Reply::OK)));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=100).await;
    receiver.wait_for(5).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let before = receiver.count();
    assert!(before < 100, "nothing was left for the second daemon to do");
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    receiver.wait_for_distinct(101).await;
    assert_eq!(receiver.count(), 101);
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once_and_says_so_by_its_status() {
    let site = Site::new("idle_stop").await;
    let daemon = site.serve().await;
    let began = Instant::now();
    assert_eq!(daemon.terminate().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_second_daemon_waits_says_who_holds_the_slot_and_takes_over() {
    let site = Site::new("second").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let first = site.serve().await;
    let second = site.webhookdb.serve_unready().await;
    let answer =
        second.wait_for_readyz("waiting", |status, answer| status == 503 && answer["status"] == "waiting").await;
    let reason = answer["reason"].as_str().unwrap_or_default().to_owned();
    let holders = holders_of_the_slot(&site, &first).await;
    assert!(holders.iter().any(|pid| reason.contains(pid)), "{reason} does not name one of {holders:?}");
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    receiver.wait_for(1).await;
    first.kill9().await;
    second.wait_until_ready().await;
    upsert_charge(site.database.client(), "ch_2", 1, 1).await;
    let requests = receiver.wait_for_id("ch_2").await;
    assert_eq!(distinct(&requests), 2);
    assert_repeats_are_the_same(&requests);
}

/// The daemon's process, and the walsender's.
async fn holders_of_the_slot(site: &Site, daemon: &Daemon) -> Vec<String> {
    let slot = site.database.name();
    let sql = format!("SELECT active_pid::text FROM pg_catalog.pg_replication_slots WHERE slot_name = '{slot}'");
    let walsender = site.database.text(&sql).await;
    walsender.into_iter().chain([daemon.pid().to_string()]).collect()
}

fn external_ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}
