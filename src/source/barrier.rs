//! The log message that marks where a subscription starts.

use tokio_postgres::Client;

use super::quote::literal;
use crate::model::SubscriptionId;
use crate::postgres::PostgresError;

/// The prefix of our messages in the log; any role may write them, so a nonce says which are ours.
pub const PREFIX: &str = "webhookdb.notifications";

/// Writes the message into the log, flushed: when this returns, every later commit is behind it.
///
/// The message alone is not flushed at once; the transaction's id makes its COMMIT flush the log up to it.
///
/// # Errors
/// Where the database fails; then the message may or may not be in the log.
pub async fn emit(client: &Client, id: SubscriptionId, nonce: &str) -> Result<(), PostgresError> {
    let (prefix, content) = (literal(PREFIX), literal(&content(id, nonce)));
    let script = format!(
        "SET LOCAL synchronous_commit = on; SELECT pg_catalog.pg_current_xact_id(); \
         SELECT pg_catalog.pg_logical_emit_message(false, {prefix}, {content})"
    );
    Ok(client.batch_execute(&script).await?)
}

/// What the message holds: `<opaque id>:<nonce>`.
#[must_use]
pub fn content(id: SubscriptionId, nonce: &str) -> String {
    format!("{id}:{nonce}")
}

/// Reads what [`content`] wrote; anything else is somebody else's message.
#[must_use]
pub fn parse(content: &str) -> Option<(SubscriptionId, &str)> {
    let (id, nonce) = content.split_once(':')?;
    Some((id.parse().ok()?, nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_no_other_is() {
        let id = SubscriptionId::random();
        assert_eq!(parse(&content(id, "abc")), Some((id, "abc")));
        for foreign in ["", "abc", ":abc", "54CA14E3C55E:abc"] {
            assert_eq!(parse(foreign), None);
        }
    }
}
