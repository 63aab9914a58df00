//! The servers of a source: the one that has its slot, and the one that is written. They are one, but for a standby.

use tokio_postgres::Client;

use super::SetupError;
use super::run::connect;
use crate::config::SourceSettings;
use crate::source::{ServerFacts, standby};

/// A session in each.
pub(super) struct Servers {
    /// Where the slot is.
    pub(super) reader: Client,
    /// Its primary, where it is a standby.
    pub(super) primary: Option<Client>,
}

impl Servers {
    /// With a session in the first, connects to the other where there is one.
    pub(super) async fn of(reader: Client, settings: &SourceSettings) -> Result<Self, SetupError> {
        let primary = match standby::primary_of(&reader, settings).await? {
            Some(url) => Some(connect(url, &format!("the primary of source {}", settings.name())).await?),
            None => None,
        };
        Ok(Self { reader, primary })
    }

    /// Where publication and tables are altered, and messages written.
    pub(super) fn writer(&self) -> &Client {
        self.primary.as_ref().unwrap_or(&self.reader)
    }

    /// Whether `primary_url` leads to the primary of the server with this identifier, as far as the role may see it.
    pub(super) async fn check_primary(&self, system_identifier: u64) -> Result<(), SetupError> {
        let Some(primary) = &self.primary else { return Ok(()) };
        let facts = ServerFacts::read(primary).await?;
        let problem = if facts.in_recovery {
            "primary_url leads to a standby, too"
        } else if facts.system_identifier.is_some_and(|found| found != system_identifier) {
            "primary_url leads to another cluster than url"
        } else {
            return Ok(());
        };
        let remedy = "name the primary of the server of url in primary_url".to_owned();
        Err(SetupError::Server { problem: problem.to_owned(), remedy })
    }
}
