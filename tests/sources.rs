//! Several sources under one daemon: apart in failure, together in what they may use.

mod placement;
mod setting_up;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use webhookdb_notifications::demo::{PostgresOptions, StopMode};

use crate::support::cluster::{start, stop};
use crate::support::fixtures::{CHARGES, CUSTOMERS, backfill_charges, customer, upsert_charge};
use crate::support::receiver::SECRET;
use crate::support::reply::Gate;
use crate::support::site::ORGANIZATION;
use crate::support::{Config, Daemon, Proxy, Received, Receiver, Reply, Site, TestDatabase, Webhookdb, own_cluster};

/// What a delivery may take on a busy machine; a source that held up the other would hold it up for longer.
const PROMPT: Duration = Duration::from_secs(5);

/// One organization with its charges in source `a`, where the catalog is too, and its customers in source `b`.
struct TwoSources {
    site: Site,
    b: TestDatabase,
}

impl TwoSources {
    /// Two databases of the shared server.
    async fn new(name: &str) -> Self {
        Self::with(name, |config| config).await
    }

    /// The same, with a config that is changed first.
    async fn with(name: &str, change: impl FnOnce(Config) -> Config) -> Self {
        let (a, b) = tokio::join!(TestDatabase::create(name), TestDatabase::create(name));
        Self::in_databases(a, b, change).await
    }

    async fn in_databases(a: TestDatabase, b: TestDatabase, change: impl FnOnce(Config) -> Config) -> Self {
        let config = change(Config::new(&a).set("source.name", "a").add_source("b", &b));
        let site = Site { webhookdb: Webhookdb::new(&config), config, database: a };
        site.database.execute(CHARGES.create).await;
        b.execute(CUSTOMERS.create).await;
        site.webhookdb.run(&["setup"]).await.ok();
        site.webhookdb.run(&["org", "create", "Acme Corp"]).await.ok();
        for (table, source) in [(&CHARGES, "a"), (&CUSTOMERS, "b")] {
            let service = ["--service", table.service, "--table", table.name, "--source", source];
            site.webhookdb.run(&[&["integrations", "add", "--org", ORGANIZATION], &service[..]].concat()).await.ok();
        }
        Self { site, b }
    }

    async fn charge(&self, id: &str) {
        upsert_charge(self.site.database.client(), id, 1, 1).await;
    }

    async fn customer(&self, id: &str) {
        self.b.execute(&customer(id, "Ann")).await;
    }

    async fn customers(&self, count: i64) {
        let sql = format!(
            "INSERT INTO stripe_customer_v1_512a (stripe_id, data)
             SELECT 'cus_' || n, jsonb_build_object('id', n) FROM generate_series(1, {count}) AS n"
        );
        self.b.execute(&sql).await;
    }

    async fn status(&self) -> Value {
        let output = self.site.webhookdb.run(&["status", "--format", "json"]).await;
        serde_json::from_str(&output.stdout).expect("JSON")
    }

    async fn state_of(&self, subscription: &str) -> Value {
        self.site.webhookdb.run(&["notification", "show", subscription, "--format", "json"]).await.json()["status"]
            .take()
    }
}

/// The names of the sources that requests came from.
fn sources_of(requests: &[Arc<Received>]) -> HashSet<String> {
    requests.iter().map(|request| request.json()["source"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn states(status: &Value) -> Vec<(&str, &str)> {
    let sources = status["sources"].as_array().expect("sources").iter();
    sources.map(|source| (source["name"].as_str().unwrap(), source["state"].as_str().unwrap())).collect()
}

async fn wait_until_one_is_named(daemon: &Daemon, source: &str, status: &str) -> Value {
    let names_it = |code: u16, answer: &Value| {
        let reason = answer["reason"].as_str().unwrap_or_default();
        code == 503 && answer["status"] == status && reason.starts_with(&format!("source {source}: "))
    };
    daemon.wait_for_readyz(&format!("{status} for source {source}"), names_it).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_of_one_server_are_served_and_an_organization_gets_both() {
    let two = TwoSources::new("two_databases").await;
    let (all, charges) = (Receiver::start().await, Receiver::start().await);
    let id = two.site.subscribe_organization(&all.url("/")).await;
    two.site.subscribe("stripe_charge_v1", &charges.url("/")).await;
    let daemon = two.site.serve().await;
    two.charge("ch_1").await;
    two.customer("cus_1").await;
    let requests = all.wait_for(2).await;
    assert_eq!(sources_of(&requests), HashSet::from(["a".to_owned(), "b".to_owned()]));
    charges.wait_for_id("ch_1").await;

    let shown = two.site.webhookdb.run(&["notification", "show", &id, "--format", "json"]).await.json();
    assert_eq!(shown["status"], "active");
    assert!(shown["starts"]["a"].is_string() && shown["starts"]["b"].is_string(), "{shown}");
    let status = two.status().await;
    assert_eq!(states(&status), [("a", "streaming"), ("b", "streaming")]);
    for source in ["a", "b"] {
        assert!(daemon.metric("changes_total", &[("source", source)]).await >= 1.0, "{source}");
    }
    // Each daemon's session could send it: one does.
    two.site.webhookdb.run(&["notification", "test", &id]).await.ok();
    two.charge("ch_2").await;
    two.customer("cus_2").await;
    all.wait_for_id("ch_2").await;
    let requests = all.wait_for_id("cus_2").await;
    assert_eq!(requests.iter().filter(|request| request.kind() == "test").count(), 1);
    assert_eq!(requests.len(), 5);
    two.site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    two.customer("cus_3").await;
    two.charge("ch_3").await;
    charges.wait_for_id("ch_3").await;
    daemon.wait_for_metric("changes_total", &[("source", "b")], 3.0).await;
    assert_eq!((all.count(), charges.count()), (5, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_at_the_start_and_later_holds_up_neither_the_other_nor_the_daemon() {
    let server = own_cluster(PostgresOptions::default());
    let (a, b) = tokio::join!(TestDatabase::create("one_down"), TestDatabase::create_on(&server, "one_down"));
    let mut two = TwoSources::in_databases(a, b, |config| config).await;
    let receiver = Receiver::start().await;
    let id = two.site.subscribe_organization(&receiver.url("/")).await;
    stop(&server, StopMode::Fast).await;

    let daemon = two.site.webhookdb.serve_unready().await;
    wait_until_one_is_named(&daemon, "b", "waiting").await;
    delivers_promptly_and_is_checkpointed(&two, &receiver, "ch_without_b").await;
    assert_eq!(two.state_of(&id).await, "pending", "its start in b is not met");
    assert_eq!(states(&two.status().await), [("a", "streaming"), ("b", "unreachable")]);
    create_leaves_nothing_but_where_its_sources_are_reached(&two, &receiver).await;

    start(&server).await;
    daemon.wait_until_ready().await;
    two.b.reconnect().await;
    two.customer("cus_1").await;
    receiver.wait_for_id("cus_1").await;
    assert_eq!(two.state_of(&id).await, "active");

    stop(&server, StopMode::Immediate).await;
    wait_until_one_is_named(&daemon, "b", "waiting").await;
    delivers_promptly_and_is_checkpointed(&two, &receiver, "ch_without_b_again").await;
    two.site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    start(&server).await;
    daemon.wait_until_ready().await;
}

async fn delivers_promptly_and_is_checkpointed(two: &TwoSources, receiver: &Receiver, charge: &str) {
    let committed = Instant::now();
    two.charge(charge).await;
    receiver.wait_for_id(charge).await;
    assert!(committed.elapsed() < PROMPT, "{:?}", committed.elapsed());
    let lsn = two.site.database.current_lsn().await;
    backfill_charges(two.site.database.client(), 1..=1).await;
    two.site.database.wait_for_slot_past(&lsn).await;
}

async fn create_leaves_nothing_but_where_its_sources_are_reached(two: &TwoSources, receiver: &Receiver) {
    let create = |scope: &'static str| {
        let url = receiver.url("/another");
        async move { two.site.webhookdb.run(&["notification", "create", scope, "--secret", SECRET, "--url", &url]).await }
    };
    let stderr = create("--org=acme_corp").await.fails_with(1);
    assert!(stderr.contains("source b"), "{stderr}");
    let list = two.site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    create("--integration=stripe_customer_v1").await.fails_with(1);
    create("--integration=stripe_charge_v1").await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_can_not_go_on_fails_alone_until_its_own_gap_is_accepted() {
    let two = TwoSources::new("slot_dropped").await;
    let receiver = Receiver::start().await;
    two.site.subscribe_organization(&receiver.url("/")).await;
    let daemon = two.site.serve().await;
    two.customer("cus_before").await;
    receiver.wait_for_id("cus_before").await;
    // Whoever drops it has to be quicker than the daemon, which takes it again.
    let slot = two.b.name();
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    loop {
        two.b.terminate_walsender().await;
        if two.b.client().batch_execute(&drop).await.is_ok() {
            break;
        }
    }
    let answer = wait_until_one_is_named(&daemon, "b", "failed").await;
    assert!(answer["hint"].as_str().is_some_and(|hint| hint.contains("--accept-gap")), "{answer}");
    assert_eq!(states(&two.status().await), [("a", "streaming"), ("b", "failed")]);
    two.charge("ch_meanwhile").await;
    receiver.wait_for_id("ch_meanwhile").await;
    assert!((daemon.metric("reconnects_total", &[("source", "a")]).await).abs() < f64::EPSILON, "a was cut off");

    // A daemon that starts finds it so, and stays up for the other's sake.
    daemon.kill9().await;
    let daemon = two.site.webhookdb.serve_unready().await;
    wait_until_one_is_named(&daemon, "b", "failed").await;
    two.charge("ch_restarted").await;
    receiver.wait_for_id("ch_restarted").await;

    let stderr = two.site.webhookdb.run(&["setup", "--accept-gap"]).await.fails_with(1);
    assert!(stderr.contains("--source"), "{stderr}");
    two.site.webhookdb.run(&["setup", "--accept-gap", "--source", "b"]).await.ok();
    daemon.wait_until_ready().await;
    two.customer("cus_after").await;
    receiver.wait_for_id("cus_after").await;
    let gaps = "SELECT string_agg(source, ' ') FROM notifications.gaps";
    assert_eq!(two.site.database.text(gaps).await.as_deref(), Some("b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_amid_the_backlogs_of_both_nothing_is_lost() {
    const ROWS: usize = 600;
    // So little that both go to the outbox soon.
    let two = TwoSources::with("killed_amid_both", |config| config.set("delivery.memory", "1MiB")).await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::After(Duration::from_millis(500), Box::new(Reply::OK)));
    two.site.subscribe_organization(&receiver.url("/")).await;
    let daemon = two.site.serve().await;
    let (client, last) = (two.site.database.client(), i64::try_from(ROWS).expect("a number"));
    tokio::join!(backfill_charges(client, 1..=last), two.customers(last));
    // The log will not bring it again.
    let below_checkpoints = "SELECT count(DISTINCT s.name) = 2 FROM notifications.outbox o
        JOIN notifications.sources s ON s.name = o.source AND (o.commit_lsn, o.index) < (s.commit_lsn, s.next_index)
        WHERE o.state = 'owed'";
    two.site.database.wait_until("both have a backlog that only the outbox holds", below_checkpoints).await;
    daemon.kill9().await;
    assert!(receiver.count() < 2 * ROWS, "killed too late to be amid");
    receiver.always(Reply::OK);
    let _daemon = two.site.serve().await;
    let rows = |requests: &[Arc<Received>], prefix: &str| {
        let ids = requests.iter().map(|request| request.external_id()).filter(|id| id.starts_with(prefix));
        ids.collect::<HashSet<_>>().len()
    };
    receiver.wait_for_distinct(2 * ROWS).await;
    receiver.wait_until("all", |requests| rows(requests, "ch_") + rows(requests, "cus_") == 2 * ROWS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_a_subscriptions_concurrency_are_shared_by_the_sources() {
    const LARGE: usize = 100_000;
    let two = TwoSources::with("shared_budgets", |config| {
        config.set("delivery.concurrency", 2).set("delivery.timeout", "60s")
    })
    .await;
    let (slow, well) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::closed();
    slow.always(gate.then(Reply::OK));
    two.site.subscribe_organization(&slow.url("/")).await;
    let daemon = two.site.serve().await;
    two.site.database.execute(&large("stripe_charge_v1_fdcc", "ch_1", LARGE)).await;
    two.b.execute(&large("stripe_customer_v1_512a", "cus_1", LARGE)).await;
    // What hangs is held: of both, by one gauge of one budget.
    slow.wait_for(2).await;
    daemon.wait_for_metric("memory_bytes", &[], 2.0 * LARGE as f64).await;
    daemon.wait_for_metric("pending_notifications", &[], 2.0).await;

    two.site.subscribe_organization(&well.url("/")).await;
    for number in 2..=4 {
        two.charge(&format!("ch_{number}")).await;
        two.customer(&format!("cus_{number}")).await;
    }
    // Each of these would be sent to the slow one at once, if its lanes had a concurrency each.
    well.wait_for(6).await;
    assert_eq!(slow.count(), 2);
    gate.open();
    slow.wait_for_distinct(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_fails_over_to_a_standby_while_the_other_stays_where_it_is() {
    let (a, b) = tokio::join!(TestDatabase::create("fails_over"), TestDatabase::create("fails_over"));
    let port = b.cluster().port();
    let proxy = Proxy::to(port).await;
    let through_proxy = proxy.url(&b.url(), port);
    let two = TwoSources::in_databases(a, b, |config| config.set_of("b", "url", through_proxy)).await;
    let receiver = Receiver::start().await;
    let id = two.site.subscribe_organization(&receiver.url("/")).await;
    let first = two.site.serve().await;
    let second = Webhookdb::new(&two.site.config.clone().set_of("b", "url", two.b.url()));
    let standby = second.serve_unready().await;
    standby.wait_for_readyz("standing by", |status, answer| status == 503 && answer["status"] == "waiting").await;

    proxy.break_off();
    wait_until_one_is_named(&standby, "a", "waiting").await;
    let pids = "SELECT string_agg(source || ' ' || pid, ' ' ORDER BY source) FROM notifications.leases";
    let expected = format!("a {} b {}", first.pid(), standby.pid());
    two.site.database.wait_until("each has its own", &format!("SELECT ({pids}) = '{expected}'")).await;
    two.charge("ch_1").await;
    two.customer("cus_1").await;
    receiver.wait_for_id("ch_1").await;
    receiver.wait_for_id("cus_1").await;
    // Both have to confirm it.
    two.site.webhookdb.run(&["notification", "pause", &id]).await.ok();
    two.charge("ch_2").await;
    two.customer("cus_2").await;
    two.site.database.wait_until("both are kept", "SELECT count(*) = 2 FROM notifications.outbox").await;
    assert_eq!(receiver.count(), 2);
    second.run(&["notification", "resume", &id]).await.ok();
    receiver.wait_for_id("ch_2").await;
    receiver.wait_for_id("cus_2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_ends_only_where_no_source_has_a_chance() {
    let two = TwoSources::new("hopeless").await;
    let nowhere = |database: &TestDatabase| database.cluster().url("no_such_database");
    let one = two.site.config.clone().set_of("b", "url", nowhere(&two.b));
    two.site.webhookdb.reconfigure(&one);
    let receiver = Receiver::start().await;
    two.site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = two.site.webhookdb.serve_unready().await;
    wait_until_one_is_named(&daemon, "b", "failed").await;
    two.charge("ch_1").await;
    receiver.wait_for_id("ch_1").await;
    drop(daemon);
    let neither = one.set("source.url", two.site.database.cluster().url("no_such_database_either"));
    two.site.webhookdb.reconfigure(&neither);
    let stderr = two.site.webhookdb.run(&["serve"]).await.fails_with(1);
    assert!(stderr.contains("error: ") && stderr.contains("no_such_database"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_gone_takes_no_memory_from_the_other() {
    let (a, b) = tokio::join!(TestDatabase::create("gone"), TestDatabase::create("gone"));
    let port = b.cluster().port();
    let proxy = Proxy::to(port).await;
    let through_proxy = proxy.url(&b.url(), port);
    let two = TwoSources::in_databases(a, b, |config| {
        let config = config.set_of("b", "url", through_proxy).set("delivery.memory", "1MiB");
        config.set("delivery.concurrency", 1).set("delivery.max_in_flight", 1).set("delivery.timeout", "60s")
    })
    .await;
    let (charges, customers) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::closed();
    charges.always(gate.then(Reply::OK));
    two.site.subscribe("stripe_charge_v1", &charges.url("/")).await;
    two.site.subscribe("stripe_customer_v1", &customers.url("/")).await;
    let daemon = two.site.serve().await;
    two.charge("ch_1").await;
    charges.wait_for(1).await;
    // Both wait for the only request that may be under way, soon in the outbox; to be sent, each takes all the memory for what
    // is read back.
    two.b.execute(&large("stripe_customer_v1_512a", "cus_1", 700_000)).await;
    let large_ones =
        |count| format!("SELECT count(*) = {count} FROM notifications.outbox_bodies WHERE length(body) > 100000");
    two.site.database.wait_until("the first is owed", &large_ones(1)).await;
    proxy.break_off();
    wait_until_one_is_named(&daemon, "b", "waiting").await;
    two.site.database.execute(&large("stripe_charge_v1_fdcc", "ch_2", 300_000)).await;
    two.site.database.wait_until("the other is owed, too", &large_ones(2)).await;
    gate.open();
    charges.wait_for_id("ch_2").await;
    assert_eq!(customers.count(), 0);
    proxy.mend();
    customers.wait_for_id("cus_1").await;
}

/// A row with so many bytes that do not compress.
fn large(table: &str, id: &str, bytes: usize) -> String {
    format!(
        "INSERT INTO {table} (stripe_id, data) SELECT '{id}', jsonb_build_object('t', string_agg(md5(n::text), ''))
         FROM generate_series(1, {}) AS n",
        bytes / 32
    )
}
