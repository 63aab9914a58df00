//! Test events: asked for by the command line, claimed and answered by one live daemon.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::CatalogError;

/// A request is not claimed any more once whoever asked has stopped waiting for the answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often a wait looks for the answer.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A test event that this daemon is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRequest {
    /// Names the request.
    pub id: i64,
    /// The subscription's number in the catalog.
    pub subscription: i64,
}

/// What became of a test event: delivered, or why not.
pub type TestAnswer = Result<(), String>;

/// Asks for a test event; returns the request's id. Requests that nobody took away are dropped after an hour.
///
/// # Errors
/// Where the database fails.
pub async fn insert(client: &Client, subscription: i64) -> Result<i64, CatalogError> {
    let statement = include_str!("../../sql/catalog/insert_test_request.sql");
    Ok(client.query_one(statement, &[&subscription]).await?.try_get(0)?)
}

/// Claims open requests for a daemon, at most `limit`; each goes to one daemon only.
///
/// # Errors
/// Where the database fails.
pub async fn claim(client: &Client, daemon: &str, limit: i64) -> Result<Vec<TestRequest>, CatalogError> {
    let statement = include_str!("../../sql/catalog/claim_test_requests.sql");
    let rows = client.query(statement, &[&daemon, &ANSWER_WITHIN.as_secs_f64(), &limit]).await?;
    rows.iter().map(|row| Ok(TestRequest { id: row.try_get(0)?, subscription: row.try_get(1)? })).collect()
}

/// Answers a request.
///
/// # Errors
/// Where the database fails.
pub async fn answer(client: &Client, id: i64, answer: &TestAnswer) -> Result<(), CatalogError> {
    let error = answer.as_ref().err();
    let statement = "UPDATE notifications.test_requests SET delivered = $2, error = $3 WHERE id = $1";
    client.execute(statement, &[&id, &error.is_none(), &error]).await?;
    Ok(())
}

/// Waits for the answer and takes the request away; none where no daemon answered in time.
///
/// # Errors
/// Where the database fails.
pub async fn wait(client: &Client, id: i64) -> Result<Option<TestAnswer>, CatalogError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        let found = look(client, id).await?;
        if found.is_some() || Instant::now() >= deadline {
            client.execute("DELETE FROM notifications.test_requests WHERE id = $1", &[&id]).await?;
            return Ok(found);
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn look(client: &Client, id: i64) -> Result<Option<TestAnswer>, CatalogError> {
    let statement = "SELECT delivered, error FROM notifications.test_requests WHERE id = $1 AND delivered IS NOT NULL";
    let Some(row) = client.query_opt(statement, &[&id]).await? else { return Ok(None) };
    let error: Option<String> = row.try_get(1)?;
    Ok(Some(if row.try_get(0)? { Ok(()) } else { Err(error.unwrap_or_default()) }))
}
