//! What an operator sees of a running daemon: metrics by a real Prometheus, the dashboard and the alerts that come along, log lines.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::prometheus::{Prometheus, promtool};
use crate::support::{Daemon, PATIENCE, POLL, Receiver, Reply, Site};

/// The metrics of the contract, with their labels.
const CONTRACT: &[(&str, &[&str])] = &[
    ("replication_lag_bytes", &["source"]),
    ("replication_lag_seconds", &["source"]),
    ("slot_retained_bytes", &["source"]),
    ("changes_total", &["source", "operation"]),
    ("notifications_total", &["subscription", "outcome"]),
    ("attempts_total", &["subscription", "outcome"]),
    ("delivery_duration_seconds_count", &[]),
    ("delivery_duration_seconds_sum", &[]),
    ("delivery_duration_seconds_bucket", &["le"]),
    ("commit_to_delivery_seconds_count", &[]),
    ("commit_to_delivery_seconds_sum", &[]),
    ("commit_to_delivery_seconds_bucket", &["le"]),
    ("pending_notifications", &["subscription"]),
    ("memory_bytes", &[]),
    ("checkpoint_lsn", &["source"]),
    ("reconnects_total", &["source"]),
    ("values_sent_as_text_total", &["type"]),
    ("build_info", &["version"]),
];

/// A table whose json `to_jsonb` refuses.
const ODD: &str = "CREATE TABLE odd_v1_0000 (
    pk bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, id text UNIQUE NOT NULL, doc json)";

/// Endpoints of every kind, each subscribed to the charges under the outcome of its attempts.
struct Endpoints {
    ids: Vec<(&'static str, String)>,
    _receivers: Vec<Receiver>,
}

impl Endpoints {
    async fn subscribe(site: &Site) -> Self {
        let (mut ids, mut receivers) = (Vec::new(), Vec::new());
        let replies = [
            ("ok", Reply::OK),
            ("refused", Reply::Status(500)),
            ("timeout", Reply::Hang),
            ("redirect", Reply::Redirect("/".to_owned())),
        ];
        for (outcome, reply) in replies {
            let receiver = Receiver::start().await;
            receiver.always(reply);
            ids.push((outcome, site.subscribe("stripe_charge_v1", &receiver.url("/")).await));
            receivers.push(receiver);
        }
        let untrusted = Receiver::start_with_tls().await;
        for (outcome, url) in [
            ("tls", untrusted.url("/")),
            // Nobody listens on the first port.
            ("connect", "http://127.0.0.1:1/".to_owned()),
            ("guard", "http://[::1]:1/".to_owned()),
        ] {
            ids.push((outcome, site.subscribe("stripe_charge_v1", &url).await));
        }
        receivers.push(untrusted);
        Self { ids, _receivers: receivers }
    }

    fn id(&self, outcome: &str) -> &str {
        &self.ids.iter().find(|(known, _)| *known == outcome).expect("an endpoint of this kind").1
    }
}

async fn busy_site() -> (Site, Endpoints) {
    let site = Site::with("observing", |config| {
        config
            .set("delivery.timeout", "1s")
            .set("delivery.max_attempts", 2)
            .set("delivery.memory", "1MiB")
            .set("delivery.max_pending", 100)
            .set("delivery.when_full", "pause")
    })
    .await;
    site.add_table("odd_v1_0000", ODD).await;
    // What a subscription may be made for now need not be allowed later.
    let networks = ["127.0.0.0/8", "::1/128"].map(toml::Value::from).to_vec();
    site.webhookdb.reconfigure(&site.config.clone().set("delivery.allow_networks", networks));
    let endpoints = Endpoints::subscribe(&site).await;
    site.webhookdb.reconfigure(&site.config);
    (site, endpoints)
}

/// Everything that a metric counts happens, and is waited for.
async fn everything_happens(site: &Site, endpoints: &Endpoints, daemon: &Daemon, prometheus: &Prometheus) {
    let well = Receiver::start().await;
    site.subscribe("odd_v1_0000", &well.url("/")).await;
    site.database.execute(r#"INSERT INTO odd_v1_0000 (id, doc) VALUES ('a', '{"a": "\u0000"}')"#).await;
    well.wait_for(1).await;
    let client = site.database.client();
    upsert_charge(client, "ch_1", 1, 1).await;
    upsert_charge(client, "ch_1", 2, 2).await;
    site.database.execute("DELETE FROM stripe_charge_v1_fdcc").await;
    site.database.execute("TRUNCATE stripe_charge_v1_fdcc").await;
    for (outcome, id) in &endpoints.ids {
        let of_it = |name: &str, label: &str| format!("webhookdb_{name}{{subscription=\"{id}\",outcome=\"{label}\"}}");
        prometheus.wait_for(&format!("{} > 0", of_it("attempts_total", outcome))).await;
        let ended = if *outcome == "ok" { "delivered == 4" } else { "failed > 0" };
        let (ended, condition) = ended.split_once(' ').expect("an outcome and a condition");
        prometheus.wait_for(&format!("{} {condition}", of_it("notifications_total", ended))).await;
    }
    discard_something(site, daemon).await;
    let slot = site.database.name();
    let end = format!("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'");
    site.database.execute(&end).await;
    daemon.wait_for_metric("reconnects_total", &[("source", "main")], 1.0).await;
    daemon.wait_until_ready().await;
    // More than the failing ones may be owed: memory fills, and reading stops while more is written.
    backfill_charges(client, 1..=600).await;
    daemon.wait_for_readyz("held back", |status, body| status == 503 && body["status"] == "waiting").await;
    backfill_charges(client, 1..=600).await;
}

/// A notification that is owed to a subscription when it is deleted.
async fn discard_something(site: &Site, daemon: &Daemon) {
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    let id = site.subscribe("stripe_customer_v1", &receiver.url("/")).await;
    site.database.execute(&crate::support::fixtures::customer("cus_1", "Ada")).await;
    receiver.wait_for(1).await;
    site.webhookdb.run(&["notification", "delete", &id]).await.ok();
    daemon.wait_for_metric("notifications_total", &[("subscription", &id), ("outcome", "discarded")], 1.0).await;
}

fn in_repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn a_prometheus_finds_every_metric_of_the_contract_and_all_that_dashboard_and_alerts_ask_for() {
    let (site, endpoints) = busy_site().await;
    let daemon = site.serve().await;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus-rules.yml");
    let prometheus = Prometheus::start(&daemon, &rules).await;
    everything_happens(&site, &endpoints, &daemon, &prometheus).await;
    for (name, labels) in CONTRACT {
        // At some time: what is in memory is soon in the outbox.
        let found = prometheus.wait_for(&format!("max_over_time(webhookdb_{name}[10m]) > 0")).await;
        let expected: BTreeSet<&str> = labels.iter().copied().chain(["instance", "job"]).collect();
        for (found, _) in found {
            let found: BTreeSet<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
    for operation in ["insert", "update", "delete", "truncate"] {
        let expression = format!("webhookdb_changes_total{{source=\"main\",operation=\"{operation}\"}} > 0");
        prometheus.wait_for(&expression).await;
    }
    let held_back = "webhookdb_source_state{state=\"waiting\",reason=\"held_back\"} == 1";
    prometheus.wait_for(held_back).await;
    assert_eq!(prometheus.query("webhookdb_source_state{state=\"streaming\"} == 1").await, []);
    prometheus
        .wait_for(&format!("webhookdb_pending_notifications{{subscription=\"{}\"}} > 0", endpoints.id("timeout")))
        .await;
    let version = env!("CARGO_PKG_VERSION");
    prometheus.wait_for(&format!("webhookdb_build_info{{version=\"{version}\"}} == 1")).await;
    promtool(&["check", "metrics"], &daemon.metrics().await);
    the_dashboards_panels_show_something(&prometheus).await;
    the_rules_are_sound(&prometheus).await;
    nothing_is_named_that_is_not_there(&prometheus).await;
}

/// Each query of each panel finds something, as Grafana would ask it.
async fn the_dashboards_panels_show_something(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(&in_repository("deploy/grafana-dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets: Vec<&Value> = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten().collect();
    assert!(targets.len() > 15, "{} queries", targets.len());
    for target in targets {
        let asked = target["expr"].as_str().expect("a query");
        let asked = asked.replace("$source", ".+").replace("$subscription", ".*").replace("$__rate_interval", "10m");
        assert!(!asked.contains('$'), "a variable that Grafana would not know: {asked}");
        prometheus.wait_for(&asked).await;
    }
}

async fn the_rules_are_sound(prometheus: &Prometheus) {
    let answer = prometheus.get("/api/v1/rules").await;
    let rules = answer["data"]["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() > 10, "{answer}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Every metric that the repository's texts for operators name is one that the daemon serves.
async fn nothing_is_named_that_is_not_there(prometheus: &Prometheus) {
    let answer = prometheus.get("/api/v1/label/__name__/values").await;
    let served: BTreeSet<String> =
        answer["data"].as_array().expect("names").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for file in ["deploy/grafana-dashboard.json", "deploy/prometheus-rules.yml", "deploy/prometheus-rules.test.yml"] {
        let named = metrics_named_in(&in_repository(file));
        assert!(!named.is_empty(), "{file} names no metric");
        let missing: Vec<&String> = named.difference(&served).collect();
        assert!(missing.is_empty(), "{file} names what is not served: {missing:?}");
    }
    for file in ["docs/operators/monitoring.md", "docs/operators/failures.md"] {
        for name in metrics_named_in(&in_repository(file)) {
            let served = served.contains(&name) || served.contains(&format!("{name}_bucket"));
            assert!(served, "{file} names what is not served: {name}");
        }
    }
}

/// Words that begin as our metrics do.
fn metrics_named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    // The slot, the schema and the binary begin so too.
    let others = ["webhookdb_notifications", "webhookdb_notifications_admin", "webhookdb_notifications_publisher"];
    words.filter(|word| word.starts_with("webhookdb_") && !others.contains(word)).map(str::to_owned).collect()
}

#[test]
fn names_of_metrics_are_found_in_expressions_and_others_are_not() {
    let text = "rate(webhookdb_changes_total{source=~\"$source\"}[5m]) of the slot webhookdb_notifications";
    assert_eq!(metrics_named_in(text), BTreeSet::from(["webhookdb_changes_total".to_owned()]));
}

#[test]
fn the_alerts_fire_on_what_they_are_for() {
    promtool(&["check", "rules", "deploy/prometheus-rules.yml"], "");
    promtool(&["test", "rules", "deploy/prometheus-rules.test.yml"], "");
}

#[tokio::test]
async fn a_storm_of_failures_is_told_by_a_few_lines_and_their_number() {
    const ROWS: usize = 1_000;
    let site = Site::with("log_storm", |config| config.set("delivery.max_attempts", 1)).await;
    let receiver = Receiver::start().await;
    // Every second row is accepted, so that the endpoint is not taken to be down, and each of the others is given up.
    let is_even = |id: &str| id.trim_start_matches("ch_").parse::<u64>().is_ok_and(|number| number.is_multiple_of(2));
    receiver.respond(move |request| if is_even(&request.external_id()) { Reply::OK } else { Reply::Status(500) });
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=ROWS as i64).await;
    let deadline = Instant::now() + PATIENCE;
    while given_up_told(&daemon.log()) < ROWS / 2 {
        assert!(Instant::now() < deadline, "{} are told\n{}", given_up_told(&daemon.log()), daemon.log());
        tokio::time::sleep(POLL).await;
    }
    let retried = site.webhookdb.run(&["notification", "retry", &id, "--all"]).await;
    assert_eq!(retried.status, 1, "{retried:#?}");
    let log = daemon.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    let (given_up, by_hand) = (lines("a notification was given up"), lines("sent again by hand"));
    // Ten in each ten seconds, of which a busy machine may need a few.
    assert!((10..=60).contains(&given_up) && (10..=60).contains(&by_hand), "{given_up}, {by_hand}\n{log}");
    assert_eq!(given_up_told(&log), ROWS / 2, "{log}");
    for line in log.lines().filter(|line| line.contains("given up") || line.contains("by hand")) {
        let fields = [
            "subscription=",
            "source=\"main\"",
            "table=\"stripe_charge_v1_fdcc\"",
            "lsn=",
            "index=",
            "event=",
            "attempt=",
        ];
        for field in fields {
            assert!(line.contains(field), "{field} is missing: {line}");
        }
    }
}

/// How many notifications that were given up the log tells of, line by line and by the numbers of what was kept back.
fn given_up_told(log: &str) -> usize {
    let of = |line: &str| match line.contains("a notification was given up") {
        true => 1 + number(line, "untold"),
        false => number(line, "given_up"),
    };
    log.lines().map(of).sum()
}

/// The number after `NAME=` in a line of the log; 0 where there is none.
fn number(line: &str, name: &str) -> usize {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.map_or(0, |value| value.parse().expect("a number"))
}
