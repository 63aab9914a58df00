//! A cheap look at the catalog: has it changed, and does anybody ask for something?

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::{Client, Statement};

use super::CatalogError;
use super::test_requests::ANSWER_WITHIN;

/// What the catalog looks like from afar. It tells every change that this program makes, and changes of WebhookDB's tables
/// by a hash: one that happens to give the same hash, and what somebody writes into `notifications` by hand, is not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Raised by every change of the catalog that goes through this program.
    pub revision: i64,
    /// Of organizations and integrations.
    pub tables: String,
    /// Whether a request waits for a daemon to claim it.
    pub asked: bool,
}

/// The look, prepared for one session.
pub struct Look(Statement);

impl Look {
    /// Prepares it. `schema` holds organizations and integrations.
    ///
    /// # Errors
    /// Where the database fails or the catalog is not set up.
    pub async fn prepare(client: &Client, schema: &str) -> Result<Self, CatalogError> {
        let statement = include_str!("../../sql/catalog/fingerprint.sql");
        Ok(Self(client.prepare(&statement.replace("{schema}", &escape_identifier(schema))).await?))
    }

    /// Looks; `client` is the session that it was prepared for.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn take(&self, client: &Client) -> Result<Fingerprint, CatalogError> {
        let row = client.query_one(&self.0, &[&ANSWER_WITHIN.as_secs_f64()]).await?;
        Ok(Fingerprint { revision: row.try_get(0)?, tables: row.try_get(1)?, asked: row.try_get(2)? })
    }
}
