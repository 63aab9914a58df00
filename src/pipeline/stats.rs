//! When each subscription last succeeded and failed: told to the catalog now and then, for `status`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio_postgres::Client;

#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<HashMap<i64, Last>>);

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    success: Option<SystemTime>,
    failure: Option<SystemTime>,
}

impl Stats {
    pub(super) fn succeeded(&self, subscription: i64) {
        self.note(subscription, |last| last.success = Some(SystemTime::now()));
    }

    pub(super) fn failed(&self, subscription: i64) {
        self.note(subscription, |last| last.failure = Some(SystemTime::now()));
    }

    fn note(&self, subscription: i64, note: impl FnOnce(&mut Last)) {
        note(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(subscription).or_default());
    }

    /// Writes what was noted since the last time, under the epoch that holds; what cannot be written is forgotten, since the
    /// next note replaces it.
    pub(super) async fn flush(&self, client: &Client, source: &str, epoch: i64) -> Result<(), tokio_postgres::Error> {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(());
        }
        let (mut ids, mut successes, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for (id, last) in noted {
            ids.push(id);
            successes.push(last.success);
            failures.push(last.failure);
        }
        let statement = include_str!("../../sql/catalog/note_attempts.sql");
        client.execute(statement, &[&ids, &successes, &failures, &source, &epoch]).await?;
        Ok(())
    }
}
