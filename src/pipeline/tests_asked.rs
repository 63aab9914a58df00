//! Test events.

use tokio_postgres::Client;
use tracing::info;

use super::asked::{Answer, Asked, Service};
use crate::catalog::CatalogError;
use crate::catalog::test_requests::{self, TestRequest};
use crate::deliver::AttemptKind;
use crate::model::Scope;
use crate::route::test_body;

pub(super) struct TestsAsked;

impl Service for TestsAsked {
    type Request = TestRequest;

    async fn claim(&self, asked: &Asked, client: &Client, limit: i64) -> Result<Vec<TestRequest>, CatalogError> {
        test_requests::claim(client, &asked.daemon, limit).await
    }

    async fn send(&self, asked: &Asked, request: &TestRequest) -> Answer {
        let subscription = asked.subscription(request.subscription)?;
        let (organization, integration) = match &subscription.scope {
            Scope::Organization(key) => (Some(key.as_str()), None),
            Scope::Integration(opaque_id) => (None, Some(opaque_id.as_str())),
        };
        let (event_id, body) = test_body(organization, integration);
        let outcome = asked.post(&subscription, &event_id, AttemptKind::Test, &body.into()).await?;
        let reason = outcome.as_ref().err().map(|failure| &failure.reason);
        info!(subscription = %subscription.opaque_id, event = event_id, delivered = outcome.is_ok(), reason, "a test event was sent");
        outcome.map_err(|failure| failure.reason)
    }

    async fn answer(&self, client: &Client, request: &TestRequest, answer: &Answer) -> Result<(), CatalogError> {
        test_requests::answer(client, request.id, answer).await
    }
}
