//! Being a good guest: no application's commit may ever wait for us.

use tokio_postgres::Client;

use super::SourceError;

/// What the server takes our walsender for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// Commits do not wait for it.
    Asynchronous,
    /// The role may not see it (it needs pg_read_all_stats), or the walsender is gone.
    Unknown,
}

/// Looks at our row in pg_stat_replication. To be asked after a status update with a valid flush position was sent: until
/// then every walsender reads as asynchronous.
///
/// # Errors
/// [`SourceError::SynchronousStandby`] where the server makes commits wait for this walsender: the connection has to be
/// dropped at once. And where the query fails.
pub async fn check_not_synchronous(client: &Client, backend_pid: i32) -> Result<Standby, SourceError> {
    let sql = "SELECT sync_state FROM pg_catalog.pg_stat_replication WHERE pid = $1";
    let row = client.query_opt(sql, &[&backend_pid]).await?;
    let state: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
    match state.as_deref() {
        Some("sync" | "quorum") => Err(SourceError::SynchronousStandby { state: state.unwrap_or_default() }),
        // `potential` becomes `sync` as soon as the one before it goes.
        Some("potential") => Err(SourceError::SynchronousStandby { state: "potential".to_owned() }),
        Some(_) => Ok(Standby::Asynchronous),
        None => Ok(Standby::Unknown),
    }
}
