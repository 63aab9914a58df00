//! Two daemons of one installation: one serves, the other stands by. And one daemon whose catalog is cut off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{Daemon, Proxy, Received, Receiver, Reply, Site, TestDatabase, Webhookdb};
use nix::sys::signal::Signal;

/// The contract of a takeover, and what a machine with two busy cores may need beyond it.
const TAKEOVER: Duration = Duration::from_secs(5);
const BUSY: Duration = Duration::from_secs(5);

/// How long the server waits for a walsender's client. The lease runs out sooner.
const WAL_SENDER_TIMEOUT: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_killed_the_standby_delivers_within_seconds_and_nothing_is_lost() {
    the_active_one_is_killed("killed", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_killed_beside_a_catalog_in_another_database() {
    let catalog = TestDatabase::create("killed_catalog").await;
    the_active_one_is_killed("killed_split", Some(catalog)).await;
}

async fn the_active_one_is_killed(name: &str, catalog: Option<TestDatabase>) {
    let database = TestDatabase::create(name).await;
    let site = match &catalog {
        Some(catalog) => Site::with_catalog_at(database, &catalog.url(), |config| config).await,
        None => Site::in_database(database, |config| config).await,
    };
    let receiver = Receiver::start().await;
    receiver.always(Reply::After(Duration::from_millis(20), Box::new(Reply::OK)));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let active = site.serve().await;
    let standby = site.webhookdb.serve_unready().await;
    wait_until_it_stands_by(&standby).await;
    backfill_charges(site.database.client(), 1..=2_000).await;
    receiver.wait_for(200).await;
    active.kill9().await;
    let killed = Instant::now();
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let is_after = |request: &Arc<Received>| request.at > killed + Duration::from_millis(100);
    receiver.wait_until("the standby delivers", |requests| requests.iter().any(is_after)).await;
    let requests = receiver.received();
    let first = requests.iter().find(|request| is_after(request)).expect("one that came after the kill");
    let took = first.at.duration_since(killed);
    println!("kill -9 of the active one, until the standby delivers ({name}): {took:?}");
    receiver.wait_for_distinct(2_001).await;
    assert!(took < TAKEOVER + BUSY, "{took:?}");
}

async fn wait_until_it_stands_by(standby: &Daemon) {
    standby.wait_for_readyz("standing by", |status, answer| status == 503 && answer["status"] == "waiting").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_stopped_and_continued_writes_nothing_and_sends_nothing_more() {
    let database = TestDatabase::create("sigstop").await;
    the_active_one_is_stopped_and_continued(database, None, WAL_SENDER_TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_stopped_and_continued_beside_a_catalog_in_another_database() {
    let (catalog, database) = tokio::join!(TestDatabase::create("sigstop_cat"), TestDatabase::create("sigstop_src"));
    the_active_one_is_stopped_and_continued(database, Some(catalog), WAL_SENDER_TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_one_stopped_at_a_server_that_never_gives_its_connection_up() {
    let database = TestDatabase::create("sigstop_for_ever").await;
    the_active_one_is_stopped_and_continued(database, None, Duration::ZERO).await;
}

/// Each daemon logs in under a role of its own, so that the catalog itself can tell who wrote what.
async fn the_active_one_is_stopped_and_continued(
    database: TestDatabase,
    catalog: Option<TestDatabase>,
    wal_sender_timeout: Duration,
) {
    let limit =
        format!("ALTER DATABASE {} SET wal_sender_timeout = '{}ms'", database.name(), wal_sender_timeout.as_millis());
    database.execute(&limit).await;
    let site = match &catalog {
        Some(catalog) => Site::with_catalog_at(database, &catalog.url(), |config| config).await,
        None => Site::in_database(database, |config| config).await,
    };
    let catalog = catalog.as_ref().unwrap_or(&site.database);
    catalog.execute(AUDIT).await;
    let roles = [format!("{}_old", site.database.name()), format!("{}_new", site.database.name())];
    for role in &roles {
        catalog.execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
    }
    let [old, new] = roles.each_ref().map(|role| site_as(&site, catalog, role));

    let (well, failing) = (Receiver::start().await, Receiver::start().await);
    // So few that the subscription is not taken for one that fails altogether.
    failing.respond(|request| match request.external_id().ends_with('5') {
        true => Reply::Status(500),
        false => Reply::OK,
    });
    for receiver in [&well, &failing] {
        site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    }
    let active = old.serve().await;
    let standby = new.serve_unready().await;
    wait_until_it_stands_by(&standby).await;
    backfill_charges(site.database.client(), 1..=20).await;
    // Something is owed, and due again and again.
    tokio::join!(well.wait_for(20), failing.wait_for(24));
    wait_until_recorded(&site, catalog).await;

    active.freeze().await;
    let stopped = Instant::now();
    // It is in the stopped one's socket by now, where it will find it.
    backfill_charges(site.database.client(), 21..=40).await;
    standby.wait_until_ready().await;
    println!(
        "SIGSTOP of the active one, until the standby streams at wal_sender_timeout = {wal_sender_timeout:?}: {:?}",
        stopped.elapsed()
    );
    well.wait_for_distinct(40).await;
    failing.wait_for_distinct(40).await;
    let (before, requests) = (writes(catalog, &roles[0]).await, well.count());

    active.signal(Signal::SIGCONT);
    active.wait_for_readyz("standing by", |status, answer| status == 503 && answer["status"] == "waiting").await;
    active.wait_for_log("another daemon has taken over").await;
    let attempted = active.metric("attempts_total", &[]).await;
    // Later than anything that it had left to do.
    upsert_charge(site.database.client(), "ch_last", 1, 1).await;
    well.wait_for_id("ch_last").await;
    failing.always(Reply::OK);
    failing.wait_for_id("ch_last").await;
    assert_eq!(writes(catalog, &roles[0]).await, before, "it wrote");
    assert_eq!(active.metric("attempts_total", &[]).await.to_bits(), attempted.to_bits(), "it sent");
    assert_eq!(well.count(), requests + 1);
    assert_eq!(distinct(&well.received()), well.count(), "nothing that was accepted came twice");
    drop((active, standby));
    for role in &roles {
        catalog.execute(&format!("ALTER ROLE {role} NOLOGIN")).await;
    }
}

/// Waits until the checkpoint holds the last change: what was accepted before that would rightly come twice.
async fn wait_until_recorded(site: &Site, catalog: &TestDatabase) {
    let sql = "SELECT xmin::text FROM stripe_charge_v1_fdcc ORDER BY pk DESC LIMIT 1";
    let xid = site.database.text(sql).await.expect("a transaction");
    let recorded = format!("SELECT anchor_xid = {xid} FROM notifications.sources");
    catalog.wait_until("the last change is in the checkpoint", &recorded).await;
}

/// Notes each write to what a daemon writes, and under which role it was done.
const AUDIT: &str = "
    CREATE UNLOGGED TABLE public.audit (role text NOT NULL, written text NOT NULL);
    CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO public.audit VALUES (session_user, TG_TABLE_NAME); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON notifications.sources
        FOR EACH ROW EXECUTE FUNCTION public.note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON notifications.leases
        FOR EACH ROW EXECUTE FUNCTION public.note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON notifications.outbox
        FOR EACH ROW EXECUTE FUNCTION public.note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON notifications.outbox_bodies
        FOR EACH ROW EXECUTE FUNCTION public.note();
    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON notifications.subscriptions
        FOR EACH ROW EXECUTE FUNCTION public.note()";

fn site_as(site: &Site, catalog: &TestDatabase, role: &str) -> Webhookdb {
    let url = |database: &TestDatabase| database.cluster().url_of(role, database.name());
    let config = site.config.clone().set("catalog.url", url(catalog)).set("source.url", url(&site.database));
    Webhookdb::new(&config)
}

/// How often this role has written to each table.
async fn writes(catalog: &TestDatabase, role: &str) -> Option<String> {
    let counted = "SELECT jsonb_object_agg(written, times)::text FROM (
        SELECT written, count(*) AS times FROM public.audit WHERE role = $1 GROUP BY written) AS tables";
    catalog.query(counted, &[&role]).await[0].get(0)
}

fn distinct(requests: &[Arc<Received>]) -> usize {
    requests.iter().map(|request| request.webhook_id()).collect::<std::collections::HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off_from_its_catalog_it_starts_no_attempt_and_goes_on_when_that_is_back() {
    for cut in [Proxy::stall, Proxy::break_off] {
        cut_off_from_its_catalog(cut).await;
    }
}

async fn cut_off_from_its_catalog(cut: fn(&Proxy)) {
    let (catalog, database) = tokio::join!(TestDatabase::create("cut_catalog"), TestDatabase::create("cut_source"));
    let port = catalog.cluster().port();
    let proxy = Proxy::to(port).await;
    let site = Site::with_catalog_at(database, &proxy.url(&catalog.url(), port), |config| config).await;
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    receiver.wait_for(1).await;
    cut(&proxy);
    daemon.wait_for_log("renewing the lease").await;
    let live = "SELECT NOT released AND renewed_at > clock_timestamp() - interval '3 s' FROM notifications.leases";
    catalog.wait_until("the lease has run out", &format!("SELECT NOT ({live})")).await;
    let without = receiver.count();
    upsert_charge(site.database.client(), "ch_during", 1, 1).await;
    // It is read, and would be sent at once.
    daemon.wait_for_metric("changes_total", &[], 2.0).await;
    let lease_at = catalog.text("SELECT clock_timestamp()::text").await.expect("a time");
    let later = format!("SELECT clock_timestamp() > '{lease_at}'::timestamptz + interval '2 s'");
    catalog.wait_until("it had time to send", &later).await;
    assert_eq!(receiver.count(), without, "an attempt was started without a lease");
    let mended = Instant::now();
    proxy.mend();
    receiver.wait_for_id("ch_during").await;
    println!("the catalog back, until deliveries go on: {:?}", mended.elapsed());
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    let requests = receiver.wait_for_id("ch_after").await;
    assert_eq!((requests.len(), distinct(&requests)), (3, 3));
    daemon.wait_until_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_it_was_cut_off_from_its_catalog_is_sent_nothing_when_that_is_back() {
    let (catalog, database) = tokio::join!(TestDatabase::create("del_catalog"), TestDatabase::create("del_source"));
    let port = catalog.cluster().port();
    let proxy = Proxy::to(port).await;
    let site = Site::with_catalog_at(database, &proxy.url(&catalog.url(), port), |config| config).await;
    let around_the_proxy = Webhookdb::new(&site.config.clone().set("catalog.url", catalog.url()));
    let (deleted, kept) = (Receiver::start().await, Receiver::start().await);
    let id = site.subscribe("stripe_charge_v1", &deleted.url("/")).await;
    site.subscribe("stripe_charge_v1", &kept.url("/")).await;
    let daemon = site.serve().await;
    upsert_charge(site.database.client(), "ch_before", 1, 1).await;
    tokio::join!(deleted.wait_for(1), kept.wait_for(1));
    proxy.break_off();
    let live =
        "SELECT bool_or(NOT released AND renewed_at > clock_timestamp() - interval '3 s') FROM notifications.leases";
    catalog.wait_until("the lease has run out", &format!("SELECT NOT ({live})")).await;
    upsert_charge(site.database.client(), "ch_during", 1, 1).await;
    daemon.wait_for_metric("changes_total", &[], 2.0).await;
    // No daemon lives, as far as anybody can see: it is confirmed at once.
    around_the_proxy.run(&["notification", "delete", &id]).await.ok();
    proxy.mend();
    kept.wait_for_id("ch_during").await;
    upsert_charge(site.database.client(), "ch_after", 1, 1).await;
    kept.wait_for_id("ch_after").await;
    assert_eq!(deleted.count(), 1);
}
