//! One subscription's slow or dead endpoint delays neither another subscription nor the log. Small here; `make isolation` measures
//! a release build, and holds it to what is promised.

use std::time::{Duration, Instant};

use crate::bounds::at_full_size;
use crate::support::fixtures::{CHARGES, Table, resource};
use crate::support::sink::{Manner, Sink};
use crate::support::{PATIENCE, Site};

/// Of the charges' shape, and nobody's but the healthy subscription's.
const ALONE: Table = Table {
    service: "stripe_charge_v1",
    name: "stripe_charge_v1_a10e",
    remote_key: "stripe_id",
    create: "CREATE TABLE stripe_charge_v1_a10e (LIKE stripe_charge_v1_fdcc INCLUDING ALL)",
};

/// Between two changes: far from what the daemon can do, so that it is latency that is measured.
const PACE: Duration = Duration::from_millis(5);

/// The healthy endpoint's p99 beside bad ones, as many times that of it alone.
const PROMISED: f64 = 1.5;

/// What a machine that is busy with other tests may add, and does.
const ON_A_BUSY_MACHINE: (f64, Duration) = (5.0, Duration::from_secs(1));

struct Bench {
    site: Site,
    well: Sink,
    changes: usize,
    rounds: usize,
}

impl Bench {
    /// Writes changes at a steady pace; the latencies from commit to receipt, sorted.
    async fn round(&mut self, table: &Table) -> Vec<Duration> {
        self.rounds += 1;
        let round = self.rounds;
        let sql = format!("INSERT INTO {} (stripe_id, data) VALUES ($1, $2::text::jsonb)", table.name);
        let insert = self.site.database.client().prepare(&sql).await.expect("the statement");
        let data = resource("ch", 1).to_string();
        self.well.keep_times();
        let before = self.well.accepted();
        let mut commits = Vec::new();
        let mut pace = tokio::time::interval(PACE);
        for n in 0..self.changes {
            pace.tick().await;
            let id = format!("ch_{round}_{n}");
            self.site.database.client().execute(&insert, &[&id, &data]).await.expect("the insert");
            commits.push((id, Instant::now()));
        }
        self.well.wait_for_accepted(before + self.changes, PATIENCE).await;
        let times = self.well.times();
        let mut latencies: Vec<Duration> =
            commits.iter().map(|(id, committed)| times[id].saturating_duration_since(*committed)).collect();
        latencies.sort_unstable();
        latencies
    }
}

fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let at = (sorted.len() as f64 * quantile) as usize;
    sorted[at.min(sorted.len() - 1)]
}

fn median(mut p99: Vec<Duration>) -> Duration {
    p99.sort_unstable();
    p99[p99.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_endpoints_delay_neither_a_healthy_one_nor_the_log() {
    let (changes, pairs) = if at_full_size() { (2000, 5) } else { (400, 2) };
    let site = Site::new("isolation").await;
    site.add(&ALONE).await;
    let well = Sink::start(Manner::Accepts).await;
    let (hanging, failing, slow) =
        (Sink::start(Manner::Hangs).await, Sink::start(Manner::Fails).await, Sink::start(Manner::OneASecond).await);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let refusing = format!("http://{}/", closed.local_addr().expect("an address"));
    drop(closed);
    site.subscribe_organization(&well.url()).await;
    let mut bad = Vec::new();
    for url in [hanging.url(), failing.url(), slow.url(), refusing] {
        bad.push(site.subscribe(CHARGES.name, &url).await);
    }
    let daemon = site.serve().await;
    let mut bench = Bench { site, well, changes, rounds: 0 };
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // The first changes open connections and fill caches; they are not counted.
    bench.round(&ALONE).await;
    for _ in 0..pairs {
        all(&bench.site, "pause", &bad).await;
        alone.push(bench.round(&ALONE).await);
        all(&bench.site, "resume", &bad).await;
        beside.push(bench.round(&CHARGES).await);
        let end = bench.site.database.current_lsn().await;
        bench.site.database.wait_for_slot_past(&end).await;
    }
    assert_eq!((hanging.accepted(), failing.accepted()), (0, 0));
    assert!(slow.accepted() < changes, "the slow one was not slow");
    for bad in [&hanging, &failing, &slow] {
        assert!(bad.requests() > 0);
    }
    for (what, rounds) in [("alone", &alone), ("beside bad ones", &beside)] {
        for latencies in rounds {
            let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| quantile(latencies, q));
            println!("isolation: {what}: p50 {p50:?}, p90 {p90:?}, p99 {p99:?} of {changes}");
        }
    }
    let p99 = |rounds: &[Vec<Duration>]| median(rounds.iter().map(|latencies| quantile(latencies, 0.99)).collect());
    let (alone, beside) = (p99(&alone), p99(&beside));
    println!(
        "isolation: median p99 {alone:?} alone, {beside:?} beside: {:.2} times",
        beside.as_secs_f64() / alone.as_secs_f64()
    );
    let bound =
        if at_full_size() { alone.mul_f64(PROMISED) } else { alone.mul_f64(ON_A_BUSY_MACHINE.0) + ON_A_BUSY_MACHINE.1 };
    assert!(beside <= bound, "{beside:?} beside, {alone:?} alone");
    drop(daemon);
}

async fn all(site: &Site, command: &str, subscriptions: &[String]) {
    for id in subscriptions {
        site.webhookdb.run(&["notification", command, id]).await.ok();
    }
}
