//! A database for one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};
use webhookdb_notifications::demo::ThrowawayPostgres;

use super::{PATIENCE, POLL, shared_cluster};

/// Names are unique within the process: the server is.
static COUNTER: AtomicU32 = AtomicU32::new(1);

/// A fresh database with a superuser's session in it; dropped with its replication slots at the end of the test.
pub(crate) struct TestDatabase {
    cluster: Arc<ThrowawayPostgres>,
    name: String,
    client: Client,
}

impl TestDatabase {
    /// On the shared server. `name` is for people who read the server's log: the test's.
    pub(crate) async fn create(name: &str) -> Self {
        Self::create_on(&shared_cluster(), name).await
    }

    /// On this server.
    pub(crate) async fn create_on(cluster: &Arc<ThrowawayPostgres>, name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{number}_{}", &name[..name.len().min(40)]);
        let postgres = cluster.connect("postgres").await.expect("the server answers");
        postgres.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("the database is made");
        let client = cluster.connect(&name).await.expect("the database answers");
        Self { cluster: Arc::clone(cluster), name, client }
    }

    /// Its name, which is also its slot's in a [`Config`](super::Config).
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server that it is on.
    pub(crate) fn cluster(&self) -> &Arc<ThrowawayPostgres> {
        &self.cluster
    }

    /// The superuser's URL.
    pub(crate) fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// Another session.
    pub(crate) async fn connect(&self) -> Client {
        self.cluster.connect(&self.name).await.expect("the database answers")
    }

    /// A new session in place of the old one, which a restart of the server has cut.
    pub(crate) async fn reconnect(&mut self) {
        self.client = self.connect().await;
    }

    /// The test's own session.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements, separated by semicolons (in one transaction, as the simple protocol has it).
    pub(crate) async fn execute(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}\n{error:?}");
        }
    }

    /// The rows of a query.
    pub(crate) async fn query(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        self.client.query(sql, parameters).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"))
    }

    /// The first column of the first row, as text; cast it in the query.
    pub(crate) async fn text(&self, sql: &str) -> Option<String> {
        self.query(sql, &[]).await.first().and_then(|row| row.get(0))
    }

    /// A query's JSON, which is to be cast to text there.
    pub(crate) async fn json(&self, sql: &str) -> serde_json::Value {
        let text = self.text(sql).await.unwrap_or_else(|| panic!("no row: {sql}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The names of the published tables, in alphabetical order.
    pub(crate) async fn published(&self) -> String {
        let sql = "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '')
                   FROM pg_publication_tables WHERE pubname = 'webhookdb_notifications'";
        self.text(sql).await.expect("a row")
    }

    /// `relreplident` of a table: d, i, f or n.
    pub(crate) async fn identity(&self, table: &str) -> String {
        let sql = format!("SELECT relreplident::text FROM pg_class WHERE oid = '{table}'::regclass");
        self.text(&sql).await.expect("the table")
    }

    /// Where the log ends now.
    pub(crate) async fn current_lsn(&self) -> String {
        self.text("SELECT pg_current_wal_lsn()::text").await.expect("an LSN")
    }

    /// Waits until a query that answers one boolean says true.
    pub(crate) async fn wait_until(&self, what: &str, sql: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_true(sql).await {
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}\n{sql}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a query that answers one boolean says; false where it has no row or is null.
    pub(crate) async fn is_true(&self, sql: &str) -> bool {
        self.query(sql, &[]).await.first().and_then(|row| row.get::<_, Option<bool>>(0)).unwrap_or(false)
    }

    /// Waits until the slot's confirmed position is at or past this one.
    pub(crate) async fn wait_for_slot_past(&self, lsn: &str) {
        let slot = &self.name;
        let sql = format!(
            "SELECT confirmed_flush_lsn >= '{lsn}'::pg_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = '{slot}'"
        );
        self.wait_until(&format!("the slot {slot} has moved past {lsn}"), &sql).await;
    }

    /// Ends the sessions that the program has in this database, its walsenders among them.
    pub(crate) async fn terminate_sessions_of_the_program(&self) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
                   WHERE datname = current_database() AND application_name LIKE 'webhookdb%'";
        self.query(sql, &[]).await[0].get(0)
    }

    /// Ends the walsender of its slot; true where there was one.
    pub(crate) async fn terminate_walsender(&self) -> bool {
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
             WHERE slot_name = '{}' AND active_pid IS NOT NULL",
            self.name
        );
        self.is_true(&sql).await
    }
}

impl Drop for TestDatabase {
    /// On a thread and a runtime of its own: the test's may be ending. Whatever fails is left to the server's end.
    fn drop(&mut self) {
        let (cluster, name) = (Arc::clone(&self.cluster), self.name.clone());
        let remover = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async { tokio::time::timeout(PATIENCE, drop_database(&cluster, &name)).await.ok() });
        });
        let _ = remover.join();
    }
}

async fn drop_database(cluster: &ThrowawayPostgres, name: &str) -> Result<(), tokio_postgres::Error> {
    let client = cluster.connect("postgres").await?;
    // A server that a test has told to wait for a standby must not wait for one now.
    client.batch_execute("SET synchronous_commit = local").await?;
    let slots = "FROM pg_catalog.pg_replication_slots WHERE database = $1";
    client.query(&format!("SELECT pg_terminate_backend(active_pid) {slots}"), &[&name]).await?;
    let drop_slots = format!("SELECT pg_drop_replication_slot(slot_name) {slots} AND active_pid IS NULL");
    while !client.query(&format!("SELECT 1 {slots}"), &[&name]).await?.is_empty() {
        client.query(&drop_slots, &[&name]).await?;
        tokio::time::sleep(POLL).await;
    }
    client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await
}
