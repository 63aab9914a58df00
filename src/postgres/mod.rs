//! How a Postgres server is reached, for SQL and for replication alike: TLS as the URL asks, and errors with a remedy.

use crate::config::PostgresUrl;

/// (being built) Why a server was not reached or refused a statement.
#[derive(Debug, thiserror::Error)]
#[error("postgres")]
pub struct PostgresError;

/// (being built) Connects, and drives the connection in a task of its own until the client is dropped.
///
/// # Errors
/// Where the server is not reached or refuses.
pub async fn connect(_url: &PostgresUrl, _application_name: &str) -> Result<tokio_postgres::Client, PostgresError> {
    Err(PostgresError)
}
