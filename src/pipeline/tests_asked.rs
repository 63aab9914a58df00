//! Test events: sent at once, ahead of any backlog, by the very way that notifications go.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::endpoint::Endpoint;
use super::lanes::LaneContext;
use super::lease::Identity;
use crate::catalog::test_requests::{self, TestAnswer, TestRequest};
use crate::deliver::AttemptKind;
use crate::model::Scope;
use crate::route::test_body;

/// Tests under way at once; more of them wait to be claimed.
const TESTS_MAX: usize = 16;

/// Serves test requests for as long as the session lasts.
pub(super) async fn run(
    catalog: Arc<CatalogWatch>,
    context: Arc<LaneContext>,
    identity: Identity,
) -> Result<(), PipelineError> {
    let mut asked = catalog.tests_asked();
    let mut tests = JoinSet::new();
    loop {
        tokio::select! {
            Ok(()) = asked.changed(), if tests.len() < TESTS_MAX => {}
            Some(_) = tests.join_next() => continue,
        }
        context.fence.opened().await;
        match claim(&catalog, &identity).await {
            Ok(requests) => {
                for request in requests {
                    tests.spawn(serve(catalog.clone(), context.clone(), request));
                }
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, "test requests could not be read"),
        }
    }
}

async fn claim(catalog: &CatalogWatch, identity: &Identity) -> Result<Vec<TestRequest>, PipelineError> {
    let client = catalog.link.client().await.map_err(PipelineError::Catalog)?;
    Ok(test_requests::claim(&client, &identity.daemon).await?)
}

async fn serve(catalog: Arc<CatalogWatch>, context: Arc<LaneContext>, request: TestRequest) {
    let answer = send(&catalog, &context, request.subscription).await;
    if let Err(error) = tell(&catalog, request.id, &answer).await {
        warn!(error = &error as &dyn std::error::Error, "a test could not be answered");
    }
}

async fn send(catalog: &CatalogWatch, context: &LaneContext, subscription: i64) -> TestAnswer {
    let index = catalog.index();
    let subscription = index.subscription(subscription).ok_or("there is no such notification any more")?;
    let (organization, integration) = match &subscription.scope {
        Scope::Organization(key) => (Some(key.as_str()), None),
        Scope::Integration(opaque_id) => (None, Some(opaque_id.as_str())),
    };
    let (event_id, body) = test_body(organization, integration);
    let endpoint = Endpoint::new(subscription.clone()).map_err(|error| error.to_string())?;
    let outcome = endpoint.post(&context.poster, &event_id, AttemptKind::Test, body.into()).await;
    info!(subscription = %subscription.opaque_id, delivered = outcome.is_ok(), "a test event was sent");
    outcome.map_err(|failure| failure.reason)
}

async fn tell(catalog: &CatalogWatch, request: i64, answer: &TestAnswer) -> Result<(), PipelineError> {
    let client = catalog.link.client().await.map_err(PipelineError::Catalog)?;
    test_requests::answer(&client, request, answer).await?;
    Ok(())
}
