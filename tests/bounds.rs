//! Memory is bounded by configuration, whatever happens: 64 MiB, `memory`, and three times the largest frame and the largest
//! body. Small here; `make bounds` runs the sizes that are promised, of a release build, and prints what it found.

use std::time::{Duration, Instant};

use crate::support::fixtures::{CHARGES, backfill_charges, upsert_charge};
use crate::support::sink::{Manner, SINK_SECRET, Sink};
use crate::support::{Daemon, PATIENCE, POLL, Receiver, Site};

const MIB: usize = 1 << 20;

/// How long anything here may take, at full size on a busy machine.
const LIMIT: Duration = Duration::from_secs(500);

/// Little beside what the tests would have the daemon hold, so that what does not count against it shows.
const MEMORY: usize = 16 * MIB;

/// What these tests are run with where the sizes that are promised are to be shown.
pub(crate) fn at_full_size() -> bool {
    std::env::var_os("WEBHOOKDB_FULL_SIZE").is_some()
}

fn sized<T>(small: T, full: T) -> T {
    if at_full_size() { full } else { small }
}

async fn site(name: &str, timeout: &str, sinks: &[&Sink]) -> Site {
    let authorities = sinks.iter().filter(|sink| sink.url().starts_with("https")).map(|sink| sink.certificate());
    let authorities: String = authorities.collect();
    Site::with(name, |config| {
        let config = config.set("delivery.memory", format!("{}MiB", MEMORY / MIB)).set("delivery.timeout", timeout);
        if authorities.is_empty() {
            return config;
        }
        let file = std::env::temp_dir().join(format!("{name}-{}.pem", std::process::id()));
        std::fs::write(&file, &authorities).expect("the file is written");
        config.set("delivery.ca_file", file.to_str().expect("UTF-8"))
    })
    .await
}

/// Makes subscriptions of the charges: one as users do, which publishes the table, the others without a command for each.
async fn subscribe(site: &Site, url: &str, subscriptions: usize) {
    site.subscribe(CHARGES.name, url).await;
    let integration = site.integration_id(&CHARGES).await;
    let sql = "WITH made AS (
            INSERT INTO notifications.subscriptions (opaque_id, integration, url, secret, state, nonce)
            SELECT lpad(to_hex((random() * 2 ^ 47)::bigint), 12, '0'), $1, $2, $3, 'active', ''
            FROM generate_series(1, $4::bigint) RETURNING id)
        INSERT INTO notifications.subscription_starts (subscription, source, start_lsn)
        SELECT id, 'main', pg_current_wal_lsn() FROM made";
    let subscriptions = i64::try_from(subscriptions - 1).expect("a count");
    site.database
        .client()
        .execute(sql, &[&integration, &url, &SINK_SECRET, &subscriptions])
        .await
        .expect("subscriptions");
}

/// Waits until the slot has passed everything written so far.
async fn wait_until_passed(site: &Site) {
    let end = site.database.current_lsn().await;
    let deadline = Instant::now() + LIMIT;
    let sql = format!(
        "SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = '{}'",
        site.database.name()
    );
    while !site.database.is_true(&sql).await {
        assert!(Instant::now() < deadline, "the slot has not passed {end} within {LIMIT:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// The formula of the design, for rows of this size.
fn bound(frame: usize, body: usize) -> usize {
    64 * MIB + MEMORY + 3 * (frame + body)
}

fn assert_within(daemon: &Daemon, what: &str, bound: usize) {
    let peak = daemon.peak_memory();
    println!("memory: {what}: {} MiB at most, {} MiB allowed", peak / MIB, bound / MIB);
    assert!(peak <= bound, "{what}: {} MiB, {} MiB allowed", peak / MIB, bound / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_transaction_of_many_rows_with_every_endpoint_hanging() {
    let rows = sized(30_000, 1_000_000);
    let sink = Sink::start(Manner::Hangs).await;
    let site = site("bounds_rows", sized("2s", "10s"), &[&sink]).await;
    subscribe(&site, &sink.url(), 2).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=rows).await;
    let begun = Instant::now();
    wait_until_passed(&site).await;
    let rate = 2.0 * rows as f64 / begun.elapsed().as_secs_f64();
    println!("into the outbox, with the endpoint hanging: {rate:.0} notifications a second");
    assert_within(&daemon, &format!("{rows} rows in one transaction, every endpoint hanging"), bound(4096, 4096));
    sink.set(Manner::Accepts);
    if !at_full_size() {
        sink.wait_for_accepted(2 * usize::try_from(rows).expect("a count"), LIMIT).await;
        assert_within(&daemon, "the same, delivered", bound(4096, 4096));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_subscriptions_with_hanging_endpoints() {
    let (subscriptions, rows) = sized((100, 50), (500, 300));
    let (plain, tls) = (Sink::start(Manner::Hangs).await, Sink::start_with_tls(Manner::Hangs).await);
    let site = site("bounds_subscriptions", sized("2s", "10s"), &[&plain, &tls]).await;
    for sink in [&plain, &tls] {
        subscribe(&site, &sink.url(), subscriptions).await;
    }
    let daemon = site.serve().await;
    for half in [1..=rows / 2, rows / 2 + 1..=rows] {
        let before = plain.requests().min(tls.requests());
        backfill_charges(site.database.client(), half).await;
        wait_for(&[&plain, &tls], before + 2 * subscriptions).await;
    }
    let what = format!("{} subscriptions, half of them by TLS, every endpoint hanging", 2 * subscriptions);
    wait_until_passed(&site).await;
    assert_within(&daemon, &what, bound(4096, 4096));
    for sink in [&plain, &tls] {
        sink.set(Manner::Accepts);
    }
    let last = subscriptions * usize::try_from(rows).expect("a count");
    for sink in [&plain, &tls] {
        sink.wait_for_accepted(last, LIMIT).await;
    }
    // A debug build's tasks are larger: with as many requests in flight as there may be, it sits on the bound.
    if at_full_size() {
        assert_within(&daemon, &format!("{what}, and back"), bound(4096, 4096));
    }
}

/// What is kept for later is bounded over all hosts: here 4, half of `max_in_flight`.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_many_hosts() {
    let site = Site::with("bounds_idle", |config| {
        config.set("delivery.max_in_flight", 8).set("delivery.concurrency", 1).set("delivery.timeout", "30s")
    })
    .await;
    let receivers = futures_util::future::join_all((0..40).map(|_| Receiver::start())).await;
    for receiver in &receivers {
        site.subscribe(CHARGES.name, &receiver.url("/")).await;
    }
    let daemon = site.serve().await;
    let others = daemon.sockets();
    for charge in ["ch_1", "ch_2"] {
        upsert_charge(site.database.client(), charge, 1, 1).await;
        for receiver in &receivers {
            receiver.wait_for_id(charge).await;
        }
    }
    // As many more as there may be in flight were begun when none was idle; and those to Postgres come and go too.
    let deadline = Instant::now() + Duration::from_secs(20);
    while daemon.sockets() > others + 4 + 8 + 8 {
        assert!(Instant::now() < deadline, "{} sockets, {others} before", daemon.sockets());
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until so many requests have come to each.
async fn wait_for(sinks: &[&Sink], requests: usize) {
    let deadline = Instant::now() + LIMIT;
    while sinks.iter().any(|sink| sink.requests() < requests) {
        assert!(Instant::now() < deadline, "{:?}", sinks.iter().map(|sink| sink.requests()).collect::<Vec<_>>());
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_50_mb() {
    const ROW: usize = 50_000_000;
    let rows = sized(2, 8);
    let (well, ill, hanging) =
        (Sink::start(Manner::Accepts).await, Sink::start(Manner::Fails).await, Sink::start(Manner::Hangs).await);
    let site = site("bounds_large", "5s", &[]).await;
    for sink in [&well, &ill, &hanging] {
        subscribe(&site, &sink.url(), 1).await;
    }
    let daemon = site.serve().await;
    let sql = format!(
        "INSERT INTO stripe_charge_v1_fdcc (stripe_id, data)
         SELECT 'ch_' || n, jsonb_build_object('note', repeat('x', {ROW})) FROM generate_series(1, {rows}) n"
    );
    site.database.execute(&sql).await;
    well.wait_for_accepted(rows, LIMIT).await;
    let bound = bound(ROW, ROW);
    let what = format!("{rows} rows of 50 MB, one endpoint well, one failing, one hanging");
    assert_within(&daemon, &what, bound);
    for sink in [&ill, &hanging] {
        sink.set(Manner::Accepts);
        sink.wait_for_accepted(rows, LIMIT).await;
    }
    wait_until_passed(&site).await;
    assert_within(&daemon, &format!("{what}, and back"), bound);
    // What a large row took is given back.
    let deadline = Instant::now() + PATIENCE;
    while daemon.resident_memory() > 64 * MIB + MEMORY {
        assert!(Instant::now() < deadline, "{} MiB are kept", daemon.resident_memory() / MIB);
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_logical_message_of_300_mb() {
    let sink = Sink::start(Manner::Accepts).await;
    let site = site("bounds_message", "5s", &[]).await;
    subscribe(&site, &sink.url(), 1).await;
    let daemon = site.serve().await;
    site.database.execute("SELECT pg_logical_emit_message(false, 'somebody', repeat('x', 300000000))").await;
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    sink.wait_for_accepted(1, LIMIT).await;
    assert_within(&daemon, "a foreign logical message of 300 MB", bound(4096, 4096));
}
