//! Retries by hand. Whatever comes of one, the automatic attempts stay as they are: what is owed goes on being owed, and only
//! a failure that is accepted at last stops being one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_postgres::Client;
use tracing::info;

use super::asked::{Answer, Asked, Service};
use super::endpoint::EndpointError;
use super::storm::{Admitted, Storm};
use crate::catalog::CatalogError;
use crate::catalog::retry_requests::{self, Kept, RetryRequest};
use crate::deliver::AttemptKind;
use crate::model::{AttemptRecord, Subscription};
use crate::outbox::Operation;

/// Bytes of bodies that are sent again by hand at once; one that is larger goes alone. A budget of its own, so that
/// backlogs that fill theirs do not hold up what somebody waits for.
const BODIES: usize = 4 << 20;

pub(super) struct RetriesAsked {
    bodies: Semaphore,
    storm: Mutex<Storm>,
}

impl RetriesAsked {
    pub(super) fn new() -> Self {
        Self { bodies: Semaphore::new(BODIES), storm: Mutex::new(Storm::new(Instant::now())) }
    }

    /// Whoever asks for thousands is told of each by the command.
    fn tell(
        &self,
        asked: &Asked,
        subscription: &Subscription,
        request: &RetryRequest,
        kept: &Kept,
        attempt: u32,
        reason: Option<&str>,
    ) {
        let admitted = self.storm.lock().unwrap_or_else(PoisonError::into_inner).admits(Instant::now());
        let Some(Admitted { untold }) = admitted else { return };
        let (subscription, source) = (subscription.opaque_id, asked.context.source_name.as_str());
        let (lsn, index) = (kept.position.commit_lsn, kept.position.index);
        let table = asked.catalog.index().table_name(source, kept.relation_oid);
        let event = &request.event_id;
        info!(%subscription, source, table, %lsn, index, event, attempt, reason, untold, "sent again by hand");
    }
}

impl Service for RetriesAsked {
    type Request = RetryRequest;

    async fn claim(&self, asked: &Asked, client: &Client, limit: i64) -> Result<Vec<RetryRequest>, CatalogError> {
        retry_requests::claim(client, &asked.daemon, &asked.context.source_name, limit).await
    }

    async fn send(&self, asked: &Asked, request: &RetryRequest) -> Answer {
        let kept = request.kept.ok_or("it was delivered in the meantime, or is not kept any more")?;
        let permits = u32::try_from(kept.bytes.clamp(1, BODIES)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _held = self.bodies.acquire_many(permits).await.ok();
        let body = read_body(asked, &request.event_id, kept.bytes).await?;
        asked.context.fence.opened().await;
        // As late as can be: it may have been paused while this waited.
        let subscription = served(asked, request.subscription)?;
        let (at, begun, attempt) = (SystemTime::now(), Instant::now(), kept.attempts + 1);
        let kind = AttemptKind::Notification { attempt };
        let outcome = asked.post(&subscription, &request.event_id, kind, &body).await?;
        let reason = outcome.as_ref().err().map(|failure| failure.reason.clone());
        self.tell(asked, &subscription, request, &kept, attempt, reason.as_deref());
        let failed = outcome.err().map(|failure| failure.record(attempt, at, begun.elapsed()));
        record(asked, request, failed).await?;
        reason.map_or(Ok(()), Err)
    }

    async fn answer(&self, client: &Client, request: &RetryRequest, answer: &Answer) -> Result<(), CatalogError> {
        retry_requests::answer(client, request.id, answer).await
    }
}

async fn read_body(asked: &Asked, event_id: &str, bytes: usize) -> Result<Bytes, String> {
    let body = asked.context.reader.body(event_id, bytes).await.map_err(|error| error.to_string())?;
    body.ok_or_else(|| "it is not kept any more".to_owned())
}

/// The subscription, where something may be sent to it.
fn served(asked: &Asked, id: i64) -> Result<Arc<Subscription>, String> {
    let subscription = asked.subscription(id)?;
    if subscription.secret.is_none() {
        return Err(EndpointError::Sealed.to_string());
    }
    if subscription.is_halted() {
        return Err(format!("the notification is {}", subscription.state.as_str()));
    }
    Ok(subscription)
}

async fn record(asked: &Asked, request: &RetryRequest, failed: Option<AttemptRecord>) -> Answer {
    let (subscription, event_id) = (request.subscription, request.event_id.clone());
    let operation = Operation::TriedByHand { subscription, event_id, failed };
    let written = asked.context.writer.write(vec![operation]).await;
    written.map(|_| ()).map_err(|_| "another daemon has taken over: what came of it is not recorded".to_owned())
}
