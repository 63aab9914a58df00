//! What Postgres cannot put into words stops its source loudly, until that one transaction is skipped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use webhookdb_notifications::demo::{PostgresOptions, StopMode};

use crate::support::fixtures::{Table, upsert_charge};
use crate::support::reply::Gate;
use crate::support::{Daemon, Output, POLL, Received, Receiver, Reply, Site, TestDatabase, cluster, own_cluster};

const BLOBS: Table = Table {
    service: "blob_v1",
    name: "blob_v1_5ce0",
    remote_key: "blob_id",
    create: "CREATE TABLE blob_v1_5ce0 (pk bigserial PRIMARY KEY, blob_id text UNIQUE NOT NULL, content bytea)",
};

/// A value whose text, two digits a byte, is longer than the 1 GB that Postgres can hold in one piece.
const UNSENDABLE: &str =
    "INSERT INTO blob_v1_5ce0 (blob_id, content) VALUES ('b_1', pg_read_binary_file('/dev/zero', 0, 540000000))";

fn charge(id: &str) -> String {
    format!("INSERT INTO stripe_charge_v1_fdcc (stripe_id, data) VALUES ('{id}', '{{}}')")
}

fn ids(requests: &[Arc<Received>]) -> Vec<String> {
    requests.iter().map(|request| request.external_id()).collect()
}

/// How long the server may take over values of such a size on a busy machine.
const LONG: Duration = Duration::from_secs(300);

async fn wait_until(daemon: &Daemon, what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition().await {
        assert!(Instant::now() < deadline, "not in time: {what}\n{}", daemon.log());
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the daemon says that it stands still, and returns the commit that it names.
async fn wait_until_stuck(daemon: &Daemon) -> String {
    wait_until(daemon, "stuck", async || daemon.readyz().await.1["status"] == "failed").await;
    let (status, answer) = daemon.readyz().await;
    assert_eq!(status, 503);
    let (reason, hint) = (answer["reason"].as_str().unwrap_or_default(), answer["hint"].as_str().unwrap_or_default());
    let commit = hint.split("--skip-transaction ").nth(1).and_then(|rest| rest.split('`').next());
    let commit = commit.unwrap_or_else(|| panic!("{answer}")).to_owned();
    assert!(reason.contains(&format!("cannot send the transaction of commit {commit}")), "{answer}");
    assert!(reason.contains("invalid memory alloc request size"), "{answer}");
    commit
}

async fn skip(site: &Site, commit: &str) -> Output {
    site.webhookdb.run_within(&["setup", "--skip-transaction", commit], "", LONG).await
}

async fn site_on_own_server(name: &str) -> (Site, Receiver) {
    let database = TestDatabase::create_on(&own_cluster(PostgresOptions::default()), name).await;
    // What is held back is neither given up nor stored while the server fails.
    let site = Site::in_database(database, |config| config.set("delivery.timeout", "2m")).await;
    site.add(&BLOBS).await;
    let receiver = Receiver::start().await;
    site.subscribe_organization(&receiver.url("/")).await;
    (site, receiver)
}

#[tokio::test]
async fn what_postgres_cannot_send_stops_the_source_until_exactly_that_transaction_is_skipped() {
    let (mut site, receiver) = site_on_own_server("unsendable").await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    receiver.wait_for_id("ch_before").await;
    let transaction = format!("BEGIN; {}; {UNSENDABLE}; {}; COMMIT", charge("ch_inside"), charge("ch_unsent"));
    site.database.execute(&transaction).await;
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;

    let commit = wait_until_stuck(&daemon).await;
    let slot_on_disk =
        site.database.cluster().data_directory().join("pg_replslot").join(site.database.name()).join("state");
    let slot_before = std::fs::read(&slot_on_disk).expect("the slot's file");
    assert_eq!(ids(&receiver.wait_for_id("ch_inside").await), ["ch_before", "ch_inside"]);
    let status = site.webhookdb.run(&["status", "--format", "json"]).await;
    let report: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!((status.status, report["sources"][0]["state"].as_str()), (1, Some("failed")), "{report}");
    assert!(report["sources"][0]["reason"].as_str().is_some_and(|reason| reason.contains(&commit)), "{report}");
    let said = site.webhookdb.run(&["setup"]).await.ok();
    assert!(said.contains(&format!("--skip-transaction {commit}")), "{said}");
    let stderr = skip(&site, "0/1").await.fails_with(1);
    assert!(stderr.contains("no source stands still") && stderr.contains(&commit), "{stderr}");

    let said = skip(&site, &commit).await.ok();
    assert!(said.contains("the gap is recorded"), "{said}");
    let recorded = format!(
        "SELECT count(*) = 1 AND bool_and(skipped_commit_lsn = '{commit}' AND from_lsn = '{commit}' AND to_lsn = from_lsn + 1
                AND reason LIKE '%skipped after the 1 of its changes%invalid memory alloc%') FROM notifications.gaps"
    );
    assert!(site.database.is_true(&recorded).await);
    daemon.wait_until_ready().await;
    assert_eq!(ids(&receiver.wait_for_id("ch_after").await), ["ch_before", "ch_inside", "ch_after"]);
    assert!(skip(&site, &commit).await.ok().contains("skipped already"));

    // A crash takes the slot back to what was on disk, before the transaction: it is passed again without being asked. Whether the
    // server has written it since is a matter of time, so what it had is put back.
    let times_passed = || daemon.log().matches("the slot is past the skipped transaction").count();
    let before = times_passed();
    cluster::stop(site.database.cluster(), StopMode::Immediate).await;
    std::fs::write(&slot_on_disk, slot_before).expect("the slot's file is written");
    cluster::start(site.database.cluster()).await;
    site.database.reconnect().await;
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    wait_until(&daemon, "passed again", async || times_passed() > before).await;
    assert_eq!(ids(&receiver.wait_for_id("ch_last").await), ["ch_before", "ch_inside", "ch_after", "ch_last"]);
    daemon.wait_until_ready().await;
}

#[tokio::test]
async fn nothing_is_skipped_before_everything_earlier_is_settled() {
    let (site, receiver) = site_on_own_server("unsettled").await;
    let gate = Gate::closed();
    receiver.always(gate.then(Reply::OK));
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    receiver.wait_for(1).await;
    // What is in flight can neither be delivered nor stored.
    site.database.execute("ALTER TABLE notifications.outbox ADD CONSTRAINT full_disk CHECK (false) NOT VALID").await;
    site.database.execute(UNSENDABLE).await;
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let commit = wait_until_stuck(&daemon).await;
    let recorded = "SELECT stuck_commit_lsn IS NOT NULL FROM notifications.sources";
    site.database.wait_until("it is recorded", recorded).await;
    daemon.kill9().await;
    site.database.terminate_sessions_of_the_program().await;
    site.database.execute("ALTER TABLE notifications.outbox DROP CONSTRAINT full_disk").await;
    // A lease that nobody renews is not waited for.
    let stderr = skip(&site, &commit).await.fails_with(1);
    assert!(stderr.contains("not settled yet") && stderr.contains("hint: run `webhookdb serve`"), "{stderr}");
    gate.open();
    let daemon = site.serve().await;
    assert_eq!(wait_until_stuck(&daemon).await, commit);
    skip(&site, &commit).await.ok();
    let requests = receiver.wait_for_id("ch_after").await;
    let mut delivered = ids(&requests);
    delivered.dedup();
    assert_eq!(delivered, ["ch_before", "ch_after"]);
    daemon.wait_until_ready().await;
}
