//! Whether a pooler stands in between that hands out server sessions for a transaction at a time.

use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{PostgresError, address, connect};
use crate::config::PostgresUrl;

/// Poolers hand out the session that was used last, so that one look mostly tells; other clients may come in between.
const LOOKS: u32 = 4;

/// Refuses a session that is not the client's own: LISTEN, prepared statements, settings and advisory locks would be lost in
/// it, or somebody else's. Two of our sessions show it, where one transaction of the second gets the server process of the
/// first, or leaves it another one.
///
/// # Errors
/// Where it is so, or the server does not answer.
pub async fn refuse_pooler(client: &Client, url: &PostgresUrl, application_name: &str) -> Result<(), PostgresError> {
    let after = url.connect_timeout;
    // A pooler whose last session is taken lets the next client wait; so does a server that is slow.
    match timeout(after, is_pooled(client, url, application_name)).await {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(PostgresError::Pooler { address: address(url) }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(PostgresError::Timeout { address: address(url), after }),
    }
}

async fn is_pooled(client: &Client, url: &PostgresUrl, application_name: &str) -> Result<bool, PostgresError> {
    let other = connect(url, application_name).await?;
    for _ in 0..LOOKS {
        let before = backend_pid(client).await?;
        other.batch_execute("BEGIN").await?;
        if backend_pid(&other).await? == before || backend_pid(client).await? != before {
            return Ok(true);
        }
        other.batch_execute("COMMIT").await?;
    }
    Ok(false)
}

/// Without a prepared statement, since a pooler may lose it.
async fn backend_pid(client: &Client) -> Result<Option<String>, PostgresError> {
    let messages = client.simple_query("SELECT pg_catalog.pg_backend_pid()").await?;
    let pid = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    Ok(messages.iter().find_map(pid))
}
