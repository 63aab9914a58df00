//! A subscription whose endpoint is gone, or fails for too long, is taken out of service.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use crate::catalog::subscriptions;
use crate::model::Subscription;

/// Between two tries to record it while the catalog's database is away.
const RETRY: Duration = Duration::from_secs(1);

/// Records it and tells every daemon; what it is owed is kept. Tries until it succeeds.
pub(super) async fn deactivate(catalog: Arc<CatalogWatch>, subscription: Arc<Subscription>, reason: String) {
    let mut said = false;
    let deactivated = loop {
        match try_deactivate(&catalog, &subscription, &reason).await {
            Ok(deactivated) => break deactivated,
            Err(error) => {
                tell(&subscription, &error, std::mem::replace(&mut said, true));
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    if !deactivated {
        return;
    }
    warn!(subscription = %subscription.opaque_id, url = subscription.url, reason,
        "the notification is deactivated; `webhookdb notification enable` serves it again");
}

/// Told as often as it is tried, it would fill the log: a catalog that is away concerns every subscription.
fn tell(subscription: &Subscription, error: &PipelineError, said: bool) {
    let (subscription, error) = (subscription.opaque_id, error as &dyn std::error::Error);
    if said {
        debug!(%subscription, error, "still not deactivated");
    } else {
        warn!(%subscription, error, "it could not be deactivated yet; it is tried again until it succeeds");
    }
}

async fn try_deactivate(
    catalog: &CatalogWatch,
    subscription: &Subscription,
    reason: &str,
) -> Result<bool, PipelineError> {
    let client = catalog.link.client().await.map_err(PipelineError::Catalog)?;
    let Subscription { id, url, nonce, .. } = subscription;
    Ok(subscriptions::deactivate(&client, *id, url, nonce, reason).await?)
}
