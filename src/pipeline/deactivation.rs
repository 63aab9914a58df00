//! A subscription whose endpoint is gone, or fails for too long, is taken out of service.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use crate::catalog::subscriptions;
use crate::model::Subscription;

/// Between two tries to record it while the catalog's database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Records it and tells every daemon; what it is owed is kept. Tries until it succeeds.
pub(super) async fn deactivate(catalog: Arc<CatalogWatch>, subscription: Arc<Subscription>, reason: String) {
    while let Err(error) = try_deactivate(&catalog, subscription.id, &reason).await {
        warn!(subscription = %subscription.opaque_id, error = &error as &dyn std::error::Error, "it could not be deactivated yet");
        tokio::time::sleep(RETRY).await;
    }
    warn!(subscription = %subscription.opaque_id, url = subscription.url, reason,
        "the notification is deactivated; `webhookdb notification enable` serves it again");
}

async fn try_deactivate(catalog: &CatalogWatch, subscription: i64, reason: &str) -> Result<(), PipelineError> {
    let client = catalog.link.client().await.map_err(PipelineError::Catalog)?;
    Ok(subscriptions::deactivate(&client, subscription, reason).await?)
}
