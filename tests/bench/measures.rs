//! One round of each measure. What is held against each other is measured one right after the other.

use std::time::{Duration, Instant};

use super::Bench;
use super::load::{Run, Shape, recvlogical, write_backlog};
use super::nginx::{Nginx, wrk};
use super::report::{Cost, Sample};
use crate::support::fixtures::{CHARGES, CUSTOMERS, resource};
use crate::support::pgbouncer::free_port;
use crate::support::receiver::SECRET;
use crate::support::sink::{Manner, Sink};
use crate::support::{Site, TestDatabase};

/// Between two changes where latency is measured.
const PACE: Duration = Duration::from_millis(1);

const MIB: f64 = 1_048_576.0;

/// A figure by itself.
const fn figure(figure: f64, cost: Cost) -> Sample {
    Sample { figure, reference: f64::NAN, cost }
}

impl Bench {
    /// As an operator would have it: with the defaults, but that loopback is allowed.
    async fn site(&self, name: &str) -> Site {
        let database = TestDatabase::create_on(&self.cluster, name).await;
        let defaults = |config: crate::support::Config| {
            config.set("delivery.retry_base", "1s").set("delivery.retry_cap", "6h").set("delivery.timeout", "10s")
        };
        Site::in_database(database, defaults).await
    }

    /// Reading and matching where nobody is subscribed to the table, beside somebody who is to another.
    pub(super) async fn read(&self, shape: Shape) -> Sample {
        let site = self.site("bench_read").await;
        site.subscribe(CUSTOMERS.name, "http://127.0.0.1:9/").await;
        let rows = if shape == Shape::OneTransaction { self.sizes.rows } else { self.sizes.transactions };
        let backlog = write_backlog(&site, rows, shape).await;
        let reference = recvlogical(&site, &backlog).await;
        let run = Run::start(&site).await;
        let seconds = run.read(rows).await;
        Sample { figure: rows as f64 / seconds, reference: rows as f64 / reference, cost: run.cost(rows) }
    }

    /// Live against wrk; then the outbox, in and out; then live again among many subscriptions, and what those take.
    pub(super) async fn deliver(&self) -> Vec<Sample> {
        let rows = self.sizes.rows;
        let nginx = Nginx::start(free_port().await).await;
        let site = self.site("bench_deliver").await;
        site.subscribe(CHARGES.name, &nginx.url()).await;
        let idle = Run::start(&site).await;
        let idle_memory = idle.resting_memory().await;
        idle.daemon.terminate().await;
        let backlog = write_backlog(&site, rows, Shape::OneTransaction).await;
        let before = self.wrk(&nginx).await;
        let run = Run::start(&site).await;
        let live = rows as f64 / run.delivered(rows).await;
        let cost = run.cost(rows);
        run.settled(&site, &backlog).await;
        run.daemon.terminate().await;
        let reference = f64::midpoint(before, self.wrk(&nginx).await);
        drop((site, nginx));
        let (into_outbox, drained) = self.outbox(rows).await;

        let nginx = Nginx::start(free_port().await).await;
        let site = self.site("bench_many").await;
        site.subscribe(CHARGES.name, &nginx.url()).await;
        subscribe_many(&site, self.sizes.many_subscriptions, CUSTOMERS.name, "http://127.0.0.1:9/").await;
        let idle = Run::start(&site).await;
        let each =
            (idle.resting_memory().await.saturating_sub(idle_memory)) as f64 / self.sizes.many_subscriptions as f64;
        idle.daemon.terminate().await;
        write_backlog(&site, rows, Shape::OneTransaction).await;
        let run = Run::start(&site).await;
        let among_many = rows as f64 / run.delivered(rows).await;
        vec![
            Sample { figure: live, reference, cost },
            into_outbox,
            Sample { reference: live, ..drained },
            Sample { figure: among_many, reference: live, cost: run.cost(rows) },
            figure(each / 1024.0, Cost { cpu_seconds: 0.0, notifications: 0, ..run.cost(rows) }),
        ]
    }

    /// The endpoint is down, and comes back.
    async fn outbox(&self, rows: usize) -> (Sample, Sample) {
        let site = self.site("bench_outbox").await;
        let port = free_port().await;
        site.subscribe(CHARGES.name, &format!("http://127.0.0.1:{port}/")).await;
        let backlog = write_backlog(&site, rows, Shape::OneTransaction).await;
        let mut run = Run::start(&site).await;
        let seconds = run.settled(&site, &backlog).await;
        let stored = figure(rows as f64 / seconds, run.cost(rows));
        let _nginx = Nginx::start(port).await;
        run.delivered(1).await;
        run.begin_now();
        let seconds = run.delivered(rows).await;
        (stored, figure(rows as f64 / seconds, run.cost(rows)))
    }

    /// In batches, as fast as the log can be read.
    pub(super) async fn batches(&self) -> Sample {
        let rows = self.sizes.rows;
        let nginx = Nginx::start(free_port().await).await;
        let site = self.site("bench_batches").await;
        let id = site.subscribe(CHARGES.name, &nginx.url()).await;
        site.webhookdb.run(&["notification", "update", &id, "--batch", "100"]).await.ok();
        let backlog = write_backlog(&site, rows, Shape::OneTransaction).await;
        let reference = recvlogical(&site, &backlog).await;
        let run = Run::start(&site).await;
        let seconds = run.delivered(rows).await;
        Sample { figure: rows as f64 / seconds, reference: rows as f64 / reference, cost: run.cost(rows) }
    }

    pub(super) async fn fan_out(&self) -> Sample {
        let nginx = Nginx::start(free_port().await).await;
        let site = self.site("bench_fan_out").await;
        site.subscribe(CHARGES.name, &nginx.url()).await;
        subscribe_many(&site, self.sizes.fan_out - 1, CHARGES.name, &nginx.url()).await;
        let changes = (self.sizes.rows / self.sizes.fan_out).max(1);
        write_backlog(&site, changes, Shape::OneTransaction).await;
        let before = self.wrk(&nginx).await;
        let run = Run::start(&site).await;
        let requests = changes * self.sizes.fan_out;
        let figure = requests as f64 / run.delivered(requests).await;
        let cost = run.cost(requests);
        run.daemon.terminate().await;
        Sample { figure, reference: f64::midpoint(before, self.wrk(&nginx).await), cost }
    }

    /// Requests a second, of the same body and headers. To be measured before and after what it is the reference of: machines change
    /// their speed.
    async fn wrk(&self, nginx: &Nginx) -> f64 {
        wrk(nginx, &body(), self.sizes.wrk_seconds).await
    }

    /// From the moment when a statement that commits by itself is sent to the moment when its notification has come.
    pub(super) async fn latency(&self) -> Vec<Sample> {
        let sink = Sink::start(Manner::Accepts).await;
        let site = self.site("bench_latency").await;
        site.subscribe(CHARGES.name, &sink.url()).await;
        let run = Run::start(&site).await;
        let insert = format!("INSERT INTO {} (stripe_id, data) VALUES ($1, $2::text::jsonb)", CHARGES.name);
        let insert = site.database.client().prepare(&insert).await.expect("the statement");
        let data = resource("ch", 1).to_string();
        sink.keep_times();
        let mut sent = Vec::new();
        let mut pace = tokio::time::interval(PACE);
        // The first second warms up, and does not count.
        let warm_up = self.sizes.paced / 20;
        for n in 0..self.sizes.paced + warm_up {
            pace.tick().await;
            let id = format!("ch_{n}");
            let at = Instant::now();
            site.database.client().execute(&insert, &[&id, &data]).await.expect("the insert");
            sent.push((id, at));
        }
        sink.wait_for_accepted(sent.len(), Duration::from_secs(60)).await;
        let times = sink.times();
        let latency = |(id, at): &(String, Instant)| times[id].saturating_duration_since(*at).as_secs_f64() * 1e3;
        let mut latencies: Vec<f64> = sent[warm_up..].iter().map(latency).collect();
        latencies.sort_by(f64::total_cmp);
        let cost = run.cost(sent.len());
        [50, 99].map(|percent| figure(latencies[(latencies.len() - 1) * percent / 100], cost)).into()
    }

    /// Idle, and while it delivers as fast as it can.
    pub(super) async fn memory(&self) -> Vec<Sample> {
        let rows = self.sizes.rows;
        let nginx = Nginx::start(free_port().await).await;
        let site = self.site("bench_memory").await;
        site.subscribe(CHARGES.name, &nginx.url()).await;
        subscribe_many(&site, self.sizes.few_subscriptions - 1, CUSTOMERS.name, "http://127.0.0.1:9/").await;
        let run = Run::start(&site).await;
        let idle = run.resting_memory().await as f64 / MIB;
        run.daemon.terminate().await;
        write_backlog(&site, rows, Shape::OneTransaction).await;
        let run = Run::start(&site).await;
        run.delivered(rows).await;
        let cost = run.cost(rows);
        vec![figure(idle, Cost { notifications: 0, ..cost }), figure(cost.peak_memory as f64 / MIB, cost)]
    }
}

/// So many at once, as if they had begun long ago.
async fn subscribe_many(site: &Site, count: usize, table: &str, url: &str) {
    let sql = format!(
        "WITH made AS (
            INSERT INTO notifications.subscriptions (opaque_id, integration, url, secret, state, nonce)
            SELECT substr(md5(n::text), 1, 12), i.opaque_id, '{url}', '{SECRET}', 'active', n::text
            FROM service_integrations i, generate_series(1, {count}) AS n WHERE i.table_name = '{table}'
            RETURNING id)
         INSERT INTO notifications.subscription_starts (subscription, source, start_lsn)
         SELECT id, 'main', '0/0' FROM made"
    );
    site.database.execute(&sql).await;
}

/// Of a notification of the load.
fn body() -> Vec<u8> {
    let description = "a charge with a description, ".repeat(30);
    let data = serde_json::json!({
        "id": "ch_123456", "amount": 123_456, "object": "charge", "currency": "usd", "livemode": true, "description": description,
    });
    let row = serde_json::json!({
        "pk": 123_456, "stripe_id": "ch_123456", "amount": 123_456, "balance_transaction": "txn_123456",
        "billing_email": "jane@example.com", "created": "2026-11-01T09:30:00+00:00", "customer": "cus_56", "invoice": null,
        "payment_type": "card", "receipt_email": null, "status": "succeeded", "updated": "1970-01-02T10:17:36+00:00", "data": data,
    });
    let body = serde_json::json!({
        "id": "evt_nmehlw4efwukuaaaaaaqaaaaaabpbq4yaaaaaaaagkkhcgy", "type": "row.inserted",
        "timestamp": "2026-11-23T12:00:00.123456Z", "organization": "acme_corp",
        "service_integration": "svi_c1lih496odohq4aftvzii6l4a", "service_name": "stripe_charge_v1",
        "table_name": "stripe_charge_v1_fdcc", "external_id_column": "stripe_id", "external_id": "ch_123456",
        "row": row, "old": null, "unchanged": [],
        "source": {"name": "main", "lsn": "0/16B3748", "index": 123_456, "xid": 742},
    });
    body.to_string().into_bytes()
}
