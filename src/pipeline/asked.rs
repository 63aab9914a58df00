//! What the command line asks a live daemon to send: claimed in small numbers, sent at once, ahead of any backlog, by the very
//! way that notifications go.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_postgres::Client;
use tracing::warn;

use super::PipelineError;
use super::catalog_watch::CatalogWatch;
use super::endpoint::Endpoint;
use super::lanes::LaneContext;
use crate::catalog::CatalogError;
use crate::deliver::{AttemptKind, Failure, Timer};
use crate::model::{Subscription, SubscriptionState};
use crate::postgres::Outage;

/// Requests of one kind under way at once; more of them wait to be claimed.
const AT_ONCE: usize = 16;

/// What came of a request: accepted by the endpoint, or why not.
pub(super) type Answer = Result<(), String>;

/// A kind of request.
pub(super) trait Service: Send + Sync + 'static {
    type Request: Send + Sync + 'static;

    /// Takes open requests, at most `limit`; each goes to one daemon only.
    fn claim(
        &self,
        asked: &Asked,
        client: &Client,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self::Request>, CatalogError>> + Send;

    /// Does what is asked for.
    fn send(&self, asked: &Asked, request: &Self::Request) -> impl Future<Output = Answer> + Send;

    /// Tells the asker.
    fn answer(
        &self,
        client: &Client,
        request: &Self::Request,
        answer: &Answer,
    ) -> impl Future<Output = Result<(), CatalogError>> + Send;
}

/// What it takes to serve them.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) catalog: Arc<CatalogWatch>,
    pub(super) context: Arc<LaneContext>,
    pub(super) daemon: String,
}

impl Asked {
    /// Serves requests of one kind for as long as the session lasts.
    pub(super) async fn serve<S: Service>(self, service: S) -> Result<(), PipelineError> {
        let service = Arc::new(service);
        let mut changes = self.catalog.asked();
        let mut under_way = JoinSet::new();
        let mut may_be_more = true;
        let outage = Outage::new("reading what is asked for").of_source(&self.context.source_name);
        loop {
            let room = AT_ONCE - under_way.len();
            if may_be_more && room > 0 {
                self.context.fence.opened().await;
                let claimed = self.claim(&*service, room).await;
                match &claimed {
                    Ok(_) => outage.succeeded(),
                    Err(error) => outage.failed(error),
                }
                let claimed = claimed.unwrap_or_default();
                may_be_more = claimed.len() == room;
                for request in claimed {
                    under_way.spawn(self.clone().serve_one(service.clone(), request));
                }
                continue;
            }
            tokio::select! {
                Ok(()) = changes.changed() => may_be_more = true,
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    async fn claim<S: Service>(&self, service: &S, room: usize) -> Result<Vec<S::Request>, PipelineError> {
        let client = self.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        Ok(service.claim(self, &client, i64::try_from(room).unwrap_or(i64::MAX)).await?)
    }

    /// An answer that cannot be written is waited for in vain, and the asker says so.
    async fn serve_one<S: Service>(self, service: Arc<S>, request: S::Request) {
        let answer = service.send(&self, &request).await;
        if let Err(error) = self.answer(&*service, &request, &answer).await {
            let (source, error) = (&self.context.source_name, &error as &dyn std::error::Error);
            warn!(source, error, "what was asked for could not be answered");
        }
    }

    async fn answer<S: Service>(
        &self,
        service: &S,
        request: &S::Request,
        answer: &Answer,
    ) -> Result<(), PipelineError> {
        let client = self.catalog.link.client().await.map_err(PipelineError::Catalog)?;
        Ok(service.answer(&client, request, answer).await?)
    }

    /// The subscription of this number as it is now.
    pub(super) fn subscription(&self, id: i64) -> Result<Arc<Subscription>, String> {
        let index = self.catalog.index();
        let found = index.subscription(id).filter(|subscription| subscription.state != SubscriptionState::Deleted);
        found.cloned().ok_or_else(|| "there is no such notification any more".to_owned())
    }

    /// One attempt. It is called off when the subscription is changed in the meantime (deleted, paused, moved to another URL):
    /// nothing must be sent after the command that did so has returned.
    pub(super) async fn post(
        &self,
        subscription: &Arc<Subscription>,
        event_id: &str,
        kind: AttemptKind,
        body: &bytes::Bytes,
    ) -> Result<Result<(), Failure>, String> {
        let endpoint = Endpoint::new(subscription.clone()).map_err(|error| error.to_string())?;
        let poster = self.context.tuning.borrow().poster.clone();
        let notifications = [(event_id, body)];
        let (begun, mut timer) = (Instant::now(), Timer::default());
        tokio::select! {
            biased;
            () = self.changed(subscription) => Err("the notification was changed in the meantime".to_owned()),
            outcome = endpoint.post(&poster, kind, &notifications, begun, &mut timer) => Ok(outcome),
        }
    }

    /// Until the subscription is not what it was.
    async fn changed(&self, before: &Subscription) {
        let mut changes = self.catalog.changes();
        loop {
            let same = self.subscription(before.id).is_ok_and(|now| {
                now.url == before.url && now.batching == before.batching && now.is_halted() == before.is_halted()
            });
            if !same || changes.changed().await.is_err() {
                return;
            }
        }
    }
}
