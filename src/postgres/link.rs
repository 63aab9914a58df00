//! One SQL connection that is made anew when it was lost.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::{PostgresError, connect};
use crate::config::PostgresUrl;

/// A connection for as long as it lasts, and then another one. Statements of several callers are pipelined on it.
#[derive(Debug)]
pub struct Link {
    url: PostgresUrl,
    application_name: String,
    settings: &'static str,
    client: Mutex<Option<Arc<Client>>>,
}

impl Link {
    /// A link that connects when it is first used.
    #[must_use]
    pub fn new(url: PostgresUrl, application_name: &str) -> Self {
        Self { url, application_name: application_name.into(), settings: "", client: Mutex::new(None) }
    }

    /// Each session begins with these statements.
    #[must_use]
    pub fn with_settings(self, settings: &'static str) -> Self {
        Self { settings, ..self }
    }

    /// The connection, made now where there is none.
    ///
    /// # Errors
    /// Where the server is not reached or refuses.
    pub async fn client(&self) -> Result<Arc<Client>, PostgresError> {
        let mut held = self.client.lock().await;
        if let Some(client) = held.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Arc::new(connect(&self.url, &self.application_name).await?);
        client.batch_execute(self.settings).await?;
        *held = Some(client.clone());
        Ok(client)
    }

    /// Forgets the connection, so that the next caller gets another.
    pub async fn forget(&self) {
        *self.client.lock().await = None;
    }
}
