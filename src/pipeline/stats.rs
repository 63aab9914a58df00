//! When each subscription last succeeded and failed: told to the catalog now and then, for `status`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use tokio_postgres::Client;
use tracing::warn;

use crate::catalog::{CatalogError, subscriptions};

#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<HashMap<i64, Last, RandomState>>);

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
    /// next note replaces it. Whoever has failed for `disable_after` by now, by what the catalog remembers, is deactivated.
    pub(super) async fn flush(
        &self,
        client: &Client,
        source: &str,
        epoch: i64,
        disable_after: Duration,
    ) -> Result<(), CatalogError> {
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
        if client.execute(statement, &[&ids, &successes, &failures, &source, &epoch]).await? == 0 {
            return Ok(());
        }
        let failed = ids.iter().zip(&failures).filter(|(_, failure)| failure.is_some()).map(|(id, _)| *id).collect();
        disable_failing(client, failed, disable_after).await
    }
}

async fn disable_failing(client: &Client, failed: Vec<i64>, disable_after: Duration) -> Result<(), CatalogError> {
    if failed.is_empty() {
        return Ok(());
    }
    let statement = include_str!("../../sql/catalog/failing_for_too_long.sql");
    for row in client.query(statement, &[&failed, &disable_after.as_secs_f64()]).await? {
        let (id, opaque_id, url): (i64, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let since = humantime::format_rfc3339_seconds(row.try_get(3)?);
        let reason = format!("the endpoint has accepted nothing since {since}");
        let nonce: String = row.try_get(4)?;
        if !subscriptions::deactivate(client, id, &url, &nonce, &reason).await? {
            continue;
        }
        warn!(
            subscription = opaque_id,
            url, reason, "the notification is deactivated; `webhookdb notification enable` serves it again"
        );
    }
    Ok(())
}
