//! What came of attempts by hand.

use tokio_postgres::Transaction;

use super::{Operation, attempt_log};

/// Records the attempts by hand of a batch.
pub(super) async fn record(transaction: &Transaction<'_>, batch: &[Operation]) -> Result<(), tokio_postgres::Error> {
    for operation in batch {
        if let Operation::TriedByHand { subscription, event_id, failed } = operation {
            match failed {
                None => accepted(transaction, *subscription, event_id).await?,
                Some(attempt) => {
                    let entry = attempt_log::entry(attempt, true);
                    failed_again(transaction, *subscription, event_id, &entry).await?;
                }
            }
        }
    }
    Ok(())
}

/// The row is kept for as long as the log may bring the change again, like any that is delivered.
async fn accepted(
    transaction: &Transaction<'_>,
    subscription: i64,
    event_id: &str,
) -> Result<(), tokio_postgres::Error> {
    let statement = "UPDATE notifications.outbox SET state = 'delivered'
                     WHERE event_id = $1 AND subscription = $2 AND state = 'failed'";
    transaction.execute(statement, &[&event_id, &subscription]).await?;
    Ok(())
}

async fn failed_again(
    transaction: &Transaction<'_>,
    subscription: i64,
    event_id: &str,
    entry: &str,
) -> Result<(), tokio_postgres::Error> {
    let statement = include_str!("../../sql/outbox/failed_by_hand.sql");
    transaction.execute(statement, &[&event_id, &subscription, &entry]).await?;
    Ok(())
}
