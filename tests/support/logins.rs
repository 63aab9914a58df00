//! Logging in as the daemon does: for SQL, and for replication.

use webhookdb_notifications::config::PostgresUrl;
use webhookdb_notifications::postgres::{self, PostgresError};
use webhookdb_notifications::source::{ReplicationConnection, SourceError};

use super::secured::PASSWORD;

const IS_TLS: &str = "SELECT ssl::text FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";

/// The URL.
pub(crate) fn parse(url: &str) -> PostgresUrl {
    url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Logs in for SQL; whether by TLS.
pub(crate) async fn by_sql(url: &str) -> Result<bool, PostgresError> {
    let client = postgres::connect(&parse(url), "test").await?;
    let tls: String = client.query_one(IS_TLS, &[]).await?.get(0);
    Ok(tls == "true")
}

/// Logs in for replication; whether by TLS.
pub(crate) async fn by_replication(url: &str) -> Result<bool, SourceError> {
    let mut connection = ReplicationConnection::connect(&parse(url)).await?;
    let rows = connection.query(IS_TLS).await?;
    Ok(rows[0][0].as_deref() == Some("true"))
}

/// Both ways log in, and both by TLS or neither.
#[track_caller]
fn both(sql: Result<bool, PostgresError>, replication: Result<bool, SourceError>) -> bool {
    let (sql, replication) = (sql.unwrap_or_else(|error| panic!("{error:?}")), replication);
    assert_eq!(sql, replication.unwrap_or_else(|error| panic!("{error:?}")));
    sql
}

/// Logs in both ways; whether by TLS.
pub(crate) async fn uses_tls(url: &str) -> bool {
    both(by_sql(url).await, by_replication(url).await)
}

/// Both ways fail, with an error that does not pass by itself and the same hint, which is returned.
pub(crate) async fn refusal(url: &str) -> (PostgresError, String) {
    let sql = by_sql(url).await.expect_err(url);
    let replication = by_replication(url).await.expect_err(url);
    assert_eq!(sql.to_string(), replication.to_string(), "{url}");
    assert_eq!(sql.hint(), replication.hint(), "{url}");
    assert!(!sql.is_retryable() && !replication.is_retryable(), "{url}: {sql:?}");
    for shown in [format!("{sql:?} {sql}"), format!("{replication:?} {replication}")] {
        assert!(!shown.contains(PASSWORD), "the password is shown: {shown}");
    }
    let hint = sql.hint().expect("a hint");
    (sql, hint)
}
