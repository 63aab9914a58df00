//! The servers, the binary, the endpoints, and what everybody of one run writes down.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use webhookdb_notifications::demo::{PostgresOptions, ThrowawayPostgres};

use super::endpoint::{Endpoints, TIMEOUT};
use super::log::parse_lsn;
use super::plan::Plan;
use super::tables;
use crate::support::{Config, POLL, Site, TestDatabase, own_cluster};

/// Small, so that notifications go to the outbox for want of memory too.
pub(super) const MEMORY_MIB: u64 = 8;

/// For attempts in flight at an orderly stop: more than one takes.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Nothing takes longer but what is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// One run's surroundings.
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) site: Site,
    pub(super) source: Arc<ThrowawayPostgres>,
    /// The source, where there is one database only.
    pub(super) catalog: Arc<ThrowawayPostgres>,
    catalog_database: TestDatabase,
    pub(super) endpoints: Endpoints,
    /// Logs of the daemons and what is found wrong.
    pub(super) directory: PathBuf,
    pub(super) notes: Mutex<Notes>,
}

/// What was done and seen.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) counts: Counts,
    /// When a daemon was killed or stopped, so that what it had not recorded may come again.
    pub(super) deaths: Vec<(Instant, Instant)>,
    pub(super) wrong: Vec<String>,
    pub(super) max_resident_kib: u64,
    pub(super) slowest_fast_stop: Duration,
    pub(super) transactions: u64,
}

/// How often what happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kills: u64,
    pub(super) terminations: u64,
    pub(super) walsenders: u64,
    pub(super) immediate: u64,
    pub(super) fast: u64,
    pub(super) catalog_outages: u64,
    pub(super) takeovers: u64,
    pub(super) freezes: u64,
    pub(super) created: u64,
    pub(super) deleted: u64,
    pub(super) not_created: u64,
}

impl Notes {
    /// A daemon had so much memory at once.
    pub(super) fn saw_resident(&mut self, kib: u64) {
        self.max_resident_kib = self.max_resident_kib.max(kib);
    }
}

impl World {
    /// Servers, tables, setup, integrations, the recording of history; no subscription and no daemon yet.
    pub(super) async fn make(plan: Plan, directory: PathBuf) -> Arc<Self> {
        let plan = Arc::new(plan);
        std::fs::create_dir_all(&directory).expect("the directory of the run");
        let source = own_cluster(server());
        let database = TestDatabase::create_on(&source, "torture").await;
        let catalog = if plan.one_database { Arc::clone(&source) } else { own_cluster(server()) };
        let catalog_database = TestDatabase::create_on(&catalog, "catalog").await;
        let catalog_url = if plan.one_database { database.url() } else { catalog_database.url() };
        let site = Site::in_database(database, |config| configure(config, &catalog_url)).await;
        for relation in tables::ALL {
            let known = [crate::support::fixtures::CHARGES.name, crate::support::fixtures::CUSTOMERS.name];
            if !known.contains(&relation.table.name) {
                site.add(&relation.table).await;
            }
            if relation.full {
                site.database.execute(&format!("ALTER TABLE {} REPLICA IDENTITY FULL", relation.table.name)).await;
            }
        }
        site.database.execute(tables::HISTORY).await;
        for relation in tables::ALL {
            site.database.execute(&tables::recorded(&relation.table)).await;
        }
        let endpoints = Endpoints::start(Arc::clone(&plan)).await;
        let notes = Mutex::default();
        Arc::new(Self { plan, site, source, catalog, catalog_database, endpoints, directory, notes })
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is not as promised.
    pub(super) fn wrong(&self, what: String) {
        eprintln!("torture: {what}");
        self.notes().wrong.push(what);
    }

    /// A session in the source's database, whenever it can be had.
    pub(super) async fn source_session(&self) -> Client {
        session(&self.source, self.site.database.name()).await
    }

    /// A session in the catalog's database, whenever it can be had.
    pub(super) async fn catalog_session(&self) -> Client {
        session(&self.catalog, self.catalog_name()).await
    }

    /// The name of the catalog's database.
    pub(super) fn catalog_name(&self) -> &str {
        if self.plan.one_database { self.site.database.name() } else { self.catalog_database.name() }
    }

    /// The slot.
    pub(super) fn slot(&self) -> &str {
        self.site.database.name()
    }

    /// Where the source's log ends, as soon as it can be asked: everything committed until now ends before it.
    pub(super) async fn end_of_log(&self) -> u64 {
        loop {
            let client = self.source_session().await;
            let row = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await;
            if let Some(lsn) = row.ok().and_then(|row| parse_lsn(row.get(0))) {
                return lsn;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs a command; status, stdout and stderr.
    pub(super) async fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.site.webhookdb.command(arguments);
        let running = command.stdout(Stdio::piped()).output();
        match tokio::time::timeout(STUCK, running).await {
            Ok(output) => {
                let output = output.expect("the binary");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
            }
            Err(_) => {
                self.wrong(format!("`webhookdb {}` did not end within {STUCK:?}", arguments.join(" ")));
                (-1, String::new(), String::new())
            }
        }
    }
}

fn server() -> PostgresOptions {
    PostgresOptions::default()
        // A daemon that is frozen is found out in seconds.
        .set("wal_sender_timeout", "4s")
        .set("deadlock_timeout", "100ms")
        // Large transactions are spilled by the server.
        .set("logical_decoding_work_mem", "64kB")
}

fn configure(config: Config, catalog_url: &str) -> Config {
    config
        .set("catalog.url", catalog_url)
        .set("delivery.timeout", format!("{}ms", TIMEOUT.as_millis()))
        .set("delivery.retry_base", "100ms")
        .set("delivery.retry_cap", "2s")
        // Nothing is given up.
        .set("delivery.max_attempts", 1_000)
        .set("delivery.memory", format!("{MEMORY_MIB}MiB"))
        .set("delivery.grace", format!("{}s", GRACE.as_secs()))
}

async fn session(server: &ThrowawayPostgres, database: &str) -> Client {
    loop {
        match tokio::time::timeout(Duration::from_secs(5), server.connect(database)).await {
            Ok(Ok(client)) => return client,
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
