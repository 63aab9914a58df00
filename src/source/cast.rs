//! Values turned into JSON by the casts that their types have, which nobody but the server can do.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use postgres_protocol::escape::escape_literal;
use tokio_postgres::error::Severity;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::login::PINNED;
use super::quote::literal;
use crate::postgres::PostgresError;

/// A cast is somebody's function. One that takes longer than this counts as one that fails: others wait for it.
const CAST_TIMEOUT: Duration = Duration::from_secs(1);

/// How many casts are on their way to the server at once: a row may hold thousands, and each waits for a round trip.
const IN_FLIGHT_MAX: usize = 32;

/// Casts values, each given by its type as SQL names it and its text. None for one that the server cannot cast.
///
/// # Errors
/// Where the connection is lost.
pub async fn to_json(client: &Client, values: &[(&str, &str)]) -> Result<Vec<Option<String>>, PostgresError> {
    let settings = settings();
    let queries: Vec<String> = values.iter().map(|(type_name, text)| query(&settings, type_name, text)).collect();
    let answers = stream::iter(queries.into_iter().map(|query| answer(client, query)));
    answers.buffered(IN_FLIGHT_MAX).try_collect().await
}

/// What a value is printed under, as on the replication connection; and a cast only reads.
fn settings() -> String {
    let pinned = PINNED.iter().map(|(name, value)| format!("SET LOCAL {name} = {}; ", literal(value)));
    let timeout = CAST_TIMEOUT.as_millis();
    format!("{}SET LOCAL statement_timeout = {timeout}; SET TRANSACTION READ ONLY;", pinned.collect::<String>())
}

/// The settings and the cast, in one transaction, each value's its own: one that fails leaves the others alone.
fn query(settings: &str, type_name: &str, text: &str) -> String {
    let text = escape_literal(text);
    format!("{settings} SELECT ({text}::{type_name})::pg_catalog.json::pg_catalog.text")
}

async fn answer(client: &Client, query: String) -> Result<Option<String>, PostgresError> {
    match client.simple_query(&query).await {
        Ok(messages) => Ok(messages.iter().find_map(first_value)),
        Err(error) if is_of_the_value(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn first_value(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// Whether the statement failed and the session goes on.
fn is_of_the_value(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.parsed_severity() == Some(Severity::Error))
}
