//! An endpoint that misbehaves costs its own subscription only: the attempt fails in time, with its reason.

use std::time::{Duration, Instant};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::sink::{Manner, Sink};
use crate::support::{Daemon, PATIENCE, POLL, Receiver, Reply, Site};

/// Well below what a test waits for, well above what an honest exchange takes here.
const TIMEOUT: &str = "1s";

/// How soon after its beginning an attempt must have failed, on a busy machine.
const IN_TIME: Duration = Duration::from_secs(10);

const ROWS: usize = 20;

#[tokio::test]
async fn an_endpoint_that_refuses_connections() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    let site = site("refuses").await;
    let bad = Bad::subscribe(&site, &url).await;
    bad.fails_and_hurts_nobody_else(&site, &["connect"]).await;
}

#[tokio::test]
async fn an_endpoint_that_resets_connections() {
    a_receiver_that_answers("resets", Reply::Reset, &["connect"]).await;
}

#[tokio::test]
async fn an_endpoint_that_hangs() {
    a_receiver_that_answers("hangs", Reply::Hang, &["timeout"]).await;
}

#[tokio::test]
async fn an_endpoint_that_answers_500() {
    a_receiver_that_answers("answers_500", Reply::Status(500), &["refused"]).await;
}

#[tokio::test]
async fn an_endpoint_that_redirects_is_not_followed() {
    let elsewhere = Receiver::start().await;
    let redirect = Reply::Redirect(elsewhere.url("/"));
    a_receiver_that_answers("redirects", redirect, &["redirect"]).await;
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn an_endpoint_whose_answer_has_no_end() {
    a_receiver_that_answers("endless", Reply::EndlessBody, &["refused", "timeout"]).await;
}

#[tokio::test]
async fn an_endpoint_whose_answer_comes_drop_by_drop() {
    a_receiver_that_answers("slow_body", Reply::SlowBody(Duration::from_millis(100)), &["timeout"]).await;
}

/// Fails as told, and when the endpoint is well again everything that was owed arrives.
async fn a_receiver_that_answers(name: &str, reply: Reply, outcomes: &[&str]) {
    let site = site(name).await;
    let receiver = Receiver::start().await;
    receiver.always(reply);
    let bad = Bad::subscribe(&site, &receiver.url("/")).await;
    let daemon = bad.fails_and_hurts_nobody_else(&site, outcomes).await;
    receiver.always(Reply::OK);
    let delivered = [("subscription", bad.id.as_str()), ("outcome", "delivered")];
    wait_for_metric(&daemon, "notifications_total", &delivered, ROWS as f64).await;
    let mut ids: Vec<_> = receiver.received().iter().map(|request| request.external_id()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), ROWS);
}

#[tokio::test]
async fn an_endpoint_with_a_certificate_that_nobody_trusts() {
    let site = site("bad_certificate").await;
    let receiver = Receiver::start_with_tls().await;
    let bad = Bad::subscribe(&site, &receiver.url("/")).await;
    bad.fails_and_hurts_nobody_else(&site, &["tls"]).await;
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn an_endpoint_whose_certificate_the_ca_file_vouches_for() {
    let site = Site::new("ca_file").await;
    let receiver = Receiver::start_with_tls().await;
    let roots = site.webhookdb.directory().join("roots.pem");
    std::fs::write(&roots, receiver.certificate()).expect("the file of roots");
    let roots = roots.to_str().expect("UTF-8").to_owned();
    site.webhookdb.reconfigure(&site.config.clone().set("delivery.ca_file", roots));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let _daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    assert_eq!(receiver.wait_for(1).await.len(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_refused_when_the_subscription_is_made() {
    let site = Site::with("guard", |config| config.unset("delivery.allow_networks")).await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/");
    let arguments = ["notification", "create", "--integration=stripe_charge_v1", "--secret=s", "--url", &url];
    site.webhookdb.run(&arguments).await.fails_with(1);
    let list = site.webhookdb.run(&["notification", "list", "--format", "json"]).await.json();
    assert_eq!(list, serde_json::json!([]));
}

#[tokio::test]
async fn an_address_that_is_no_longer_allowed_is_not_dialled() {
    let site = site("guard_later").await;
    let receiver = Receiver::start().await;
    let bad = Bad::subscribe(&site, &receiver.url("/")).await;
    site.webhookdb.reconfigure(&site.config.clone().unset("delivery.allow_networks"));
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    wait_for_metric(&daemon, "attempts_total", &[("subscription", &bad.id), ("outcome", "guard")], 1.0).await;
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn a_kept_connection_is_used_again() {
    let site = site("kept").await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    for n in 1..=5_i32 {
        upsert_charge(site.database.client(), "ch_1", n, n.into()).await;
        receiver.wait_for(n as usize).await;
        wait_for_metric(&daemon, "attempts_total", &[("outcome", "ok")], n.into()).await;
    }
    assert!(receiver.received().iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn an_endpoint_that_closes_every_connection_without_a_word_costs_no_attempt() {
    let site = site("closes").await;
    let sink = Sink::start(Manner::AcceptsAndCloses).await;
    site.subscribe("stripe_charge_v1", &sink.url()).await;
    let daemon = site.serve().await;
    for n in 1..=5_i32 {
        upsert_charge(site.database.client(), "ch_1", n, n.into()).await;
        sink.wait_for_closed(n as usize).await;
        wait_for_metric(&daemon, "attempts_total", &[("outcome", "ok")], n.into()).await;
    }
    assert_eq!(daemon.metric("attempts_total", &[("outcome", "connect")]).await, 0.0);
}

async fn site(name: &str) -> Site {
    Site::with(name, |config| config.set("delivery.timeout", TIMEOUT).set("delivery.max_attempts", 1_000)).await
}

/// A subscription whose endpoint misbehaves.
struct Bad {
    id: String,
}

impl Bad {
    async fn subscribe(site: &Site, url: &str) -> Self {
        Self { id: site.subscribe("stripe_charge_v1", url).await }
    }

    /// Its first attempt fails in time with one of these outcomes and is logged; meanwhile a healthy subscription gets
    /// everything, and the slot moves past it all.
    async fn fails_and_hurts_nobody_else(&self, site: &Site, outcomes: &[&str]) -> Daemon {
        let good = Receiver::start().await;
        site.subscribe("stripe_charge_v1", &good.url("/")).await;
        let daemon = site.serve().await;
        let began = Instant::now();
        backfill_charges(site.database.client(), 1..=ROWS as i64).await;
        self.wait_for_failure(&daemon, outcomes).await;
        assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
        daemon.wait_for_log(&self.id).await;
        assert_eq!(good.wait_for(ROWS).await.len(), ROWS);
        let end = site.database.current_lsn().await;
        site.database.wait_for_slot_past(&end).await;
        assert_eq!(daemon.metric("attempts_total", &[("subscription", &self.id), ("outcome", "ok")]).await, 0.0);
        daemon
    }

    async fn wait_for_failure(&self, daemon: &Daemon, outcomes: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut failed = 0.0;
            for outcome in outcomes {
                failed += daemon.metric("attempts_total", &[("subscription", &self.id), ("outcome", outcome)]).await;
            }
            if failed >= 1.0 {
                return;
            }
            let attempts: Vec<_> =
                daemon.metrics().await.lines().filter(|l| l.contains("attempts_total")).map(str::to_owned).collect();
            assert!(Instant::now() < deadline, "no attempt failed by {outcomes:?}: {attempts:#?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn wait_for_metric(daemon: &Daemon, name: &str, labels: &[(&str, &str)], at_least: f64) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.metric(name, labels).await < at_least {
        assert!(Instant::now() < deadline, "{name}{labels:?} below {at_least}\n{}", daemon.metrics().await);
        tokio::time::sleep(POLL).await;
    }
}
