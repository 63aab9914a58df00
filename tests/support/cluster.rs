//! Postgres servers: one that all tests of the process share, and own ones for tests that stop or break theirs.

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
