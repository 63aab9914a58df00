//! The outbox's tables stay as large as one backlog, however many come and go. Small here; `make bloat` runs a million rows in and
//! out, three times, with a release build, and prints sizes and rates.

use std::time::{Duration, Instant};

use webhookdb_notifications::demo::PostgresOptions;

use crate::bounds::at_full_size;
use crate::support::sink::{Manner, Sink};
use crate::support::{POLL, Site, own_cluster};

/// How long one round may take, at full size on a busy machine.
const LIMIT: Duration = Duration::from_secs(1800);

const ROUNDS: usize = 3;

struct Bench {
    site: Site,
    sink: Sink,
    rows: usize,
}

impl Bench {
    async fn wait(&self, what: &str, sql: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.site.database.is_true(sql).await {
            assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// One transaction that touches every row.
    async fn change_all(&self) {
        let rows = i64::try_from(self.rows).expect("a count");
        crate::support::fixtures::backfill_charges(self.site.database.client(), 1..=rows).await;
    }

    async fn size(&self) -> i64 {
        self.size_of("outbox").await + self.size_of("outbox_bodies").await
    }

    async fn size_of(&self, table: &str) -> i64 {
        self.site.database.query(&format!("SELECT pg_total_relation_size('notifications.{table}')"), &[]).await[0]
            .get(0)
    }

    fn tell(&self, what: &str, since: Instant) {
        let took = since.elapsed().as_secs_f64();
        println!("bloat: {what}: {} rows in {took:.1} s, {:.0} a second", self.rows, self.rows as f64 / took);
    }

    async fn tell_sizes(&self, what: &str) {
        let (outbox, bodies) = (self.size_of("outbox").await >> 10, self.size_of("outbox_bodies").await >> 10);
        println!("bloat: {what}: outbox {outbox} KiB, bodies {bodies} KiB");
    }

    /// Everything into the outbox, and out of it; the size when all of it was there.
    async fn round(&self, round: usize) -> i64 {
        self.sink.set(Manner::Fails);
        let begun = Instant::now();
        self.change_all().await;
        self.tell("written to the table", begun);
        let begun = Instant::now();
        let stored = format!("SELECT count(*) = {} FROM notifications.outbox WHERE state = 'owed'", self.rows);
        self.wait("all is in the outbox", &stored).await;
        self.tell("into the outbox, the endpoint down", begun);
        let size = self.size().await;
        self.tell_sizes(&format!("round {round}, all in the outbox")).await;
        self.sink.forget();
        let draining_since = self.site.database.text("SELECT clock_timestamp()::text").await.expect("a time");
        self.sink.set(Manner::Accepts);
        while self.sink.accepted() == 0 {
            tokio::time::sleep(POLL).await;
        }
        let begun = Instant::now();
        self.sink.wait_for_accepted(self.rows, LIMIT).await;
        self.tell("out of the outbox", begun);
        let empty = "SELECT NOT EXISTS (SELECT FROM notifications.outbox) AND NOT EXISTS (SELECT FROM notifications.outbox_bodies)";
        self.wait("the outbox is empty", empty).await;
        // As often as its threshold says: what is left is less than that.
        let vacuumed = format!(
            "SELECT bool_and(coalesce(last_autovacuum > '{draining_since}', false) AND n_dead_tup < 5000)
             FROM pg_stat_user_tables
             WHERE schemaname = 'notifications' AND relname IN ('outbox', 'outbox_bodies')"
        );
        self.wait("autovacuum had its turn", &vacuumed).await;
        self.tell_sizes(&format!("round {round}, drained and vacuumed")).await;
        size
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_grows_no_larger_than_one_backlog() {
    // Many, beside the dead rows after which autovacuum comes.
    let rows = if at_full_size() { 1_000_000 } else { 20_000 };
    // Full size: as a server comes.
    let naptime = if at_full_size() { "1min" } else { "1s" };
    let cluster = own_cluster(PostgresOptions::default().set("autovacuum_naptime", naptime));
    let site = Site::on(&cluster, "bloat").await;
    let sink = Sink::start(Manner::Accepts).await;
    site.subscribe("stripe_charge_v1", &sink.url()).await;
    let _daemon = site.serve().await;
    let bench = Bench { site, sink, rows };
    let begun = Instant::now();
    bench.change_all().await;
    bench.sink.wait_for_accepted(rows, LIMIT).await;
    bench.tell("live, from the beginning of the transaction", begun);
    let mut sizes = Vec::new();
    for round in 1..=ROUNDS {
        sizes.push(bench.round(round).await);
    }
    // A page that was emptied is used again only when the next vacuum has passed it.
    assert!(sizes[ROUNDS - 1] < sizes[0] * 3 / 2, "{sizes:?}");
}
