//! Postgres servers: one that all tests of the process share, and own ones for tests that stop or break theirs.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use webhookdb_notifications::demo::{PostgresOptions, StopMode, ThrowawayPostgres};

/// Never dropped; the server's watchdog cleans up when the process ends.
static SHARED: LazyLock<Arc<ThrowawayPostgres>> = LazyLock::new(|| create(PostgresOptions::default()));

/// The server of all tests that leave it running. Each has a database and a slot of its own.
pub(crate) fn shared_cluster() -> Arc<ThrowawayPostgres> {
    Arc::clone(&SHARED)
}

/// A server for one test that restarts it, crashes it, or needs other settings.
pub(crate) fn own_cluster(options: PostgresOptions) -> Arc<ThrowawayPostgres> {
    create(options)
}

/// A streaming standby of a server, by way of a physical slot `standby`; the server is restarted for it.
pub(crate) async fn standby_of(primary: &Arc<ThrowawayPostgres>, options: PostgresOptions) -> Arc<ThrowawayPostgres> {
    let client = primary.connect("postgres").await.expect("the server answers");
    let slot = "SELECT pg_create_physical_replication_slot('standby', true)";
    client.batch_execute(slot).await.expect("the standby's slot is made");
    let options = options.set("primary_slot_name", "standby");
    let primary = Arc::clone(primary);
    let made = tokio::task::spawn_blocking(move || primary.create_standby(options)).await.expect("the thread ends");
    Arc::new(made.unwrap_or_else(|error| panic!("{error}")))
}

/// The server's major version.
pub(crate) async fn major_version(server: &ThrowawayPostgres) -> i32 {
    let client = server.connect("postgres").await.expect("the server answers");
    let row = client.query_one("SELECT current_setting('server_version_num')::integer / 10000", &[]).await;
    row.expect("a version").get(0)
}

/// Whether the server has what came with a version; where not, says so past the capture of the test's output.
pub(crate) async fn applies_from(major: i32, what: &str, server: &ThrowawayPostgres) -> bool {
    let found = major_version(server).await;
    if found < major {
        let line = format!("NOT APPLICABLE to PostgreSQL {found}: {what} came with {major}\n");
        std::io::stderr().write_all(line.as_bytes()).expect("stderr is there");
    }
    found >= major
}

fn create(options: PostgresOptions) -> Arc<ThrowawayPostgres> {
    match ThrowawayPostgres::create(options) {
        Ok(server) => Arc::new(server),
        Err(error) => panic!("{error}\n{}", error.hint().unwrap_or_default()),
    }
}

/// Restarts the server without blocking the test's runtime, on which its endpoints live.
pub(crate) async fn restart(cluster: &Arc<ThrowawayPostgres>, mode: StopMode) {
    on_a_thread(cluster, move |server| server.restart(mode)).await;
}

/// Stops the server without blocking the test's runtime.
pub(crate) async fn stop(cluster: &Arc<ThrowawayPostgres>, mode: StopMode) {
    on_a_thread(cluster, move |server| server.stop(mode)).await;
}

/// Starts the server again without blocking the test's runtime.
pub(crate) async fn start(cluster: &Arc<ThrowawayPostgres>) {
    on_a_thread(cluster, ThrowawayPostgres::start).await;
}

async fn on_a_thread<E>(
    cluster: &Arc<ThrowawayPostgres>,
    action: impl FnOnce(&ThrowawayPostgres) -> Result<(), E> + Send + 'static,
) where
    E: std::error::Error + Send + 'static,
{
    let cluster = Arc::clone(cluster);
    let done = tokio::task::spawn_blocking(move || action(&cluster)).await.expect("the thread ends");
    done.unwrap_or_else(|error| panic!("{error}"));
}
