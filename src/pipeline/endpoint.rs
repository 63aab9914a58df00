//! Where a subscription's notifications go, and what they are signed with.

use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use tracing::warn;

use crate::deliver::{Attempt, AttemptKind, Failure, Payload, Poster, Signer, Target, Timer};
use crate::model::{EventId, SigningSecret, SigningSecretError, Subscription};

pub(super) struct Endpoint {
    pub(super) subscription: Arc<Subscription>,
    target: Target,
    signer: Signer,
}

/// Why a subscription cannot be served at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("its URL cannot be used")]
    Url(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("its secret cannot be used")]
    Secret(#[from] SigningSecretError),
    /// Told with its remedy when the catalog is loaded.
    #[error("its secret is encrypted, and the daemon does not have the key: its log says more")]
    Sealed,
}

impl Endpoint {
    pub(super) fn new(subscription: Arc<Subscription>) -> Result<Self, EndpointError> {
        let url = url::Url::parse(&subscription.url).map_err(|error| EndpointError::Url(error.into()))?;
        let target = Target::new(&url).map_err(|error| EndpointError::Url(error.into()))?;
        let signer = signer(&subscription)?;
        Ok(Self { target, signer, subscription })
    }

    /// The endpoint, or where it cannot be used one that refuses everything: what is owed is kept.
    pub(super) fn of(subscription: Arc<Subscription>) -> Self {
        Self::new(subscription.clone()).unwrap_or_else(|error| {
            if !matches!(error, EndpointError::Sealed) {
                let (subscription, error) = (subscription.opaque_id, &error as &dyn std::error::Error);
                warn!(%subscription, error, "cannot be served");
            }
            Self { subscription, target: Target::nowhere(), signer: Signer::new(&[0]) }
        })
    }

    /// One request that carries these notifications, each with the change's id, in this order.
    pub(super) async fn post(
        &self,
        poster: &Poster,
        kind: AttemptKind,
        notifications: &[(&str, &Bytes)],
        begun: Instant,
        timer: &mut Timer,
    ) -> Result<(), Failure> {
        let ids = notifications.iter().map(|(event_id, _)| *event_id);
        let message_id = EventId::batch_message(ids, self.subscription.opaque_id);
        let attempt =
            Attempt { target: &self.target, message_id: &message_id, kind, payload: self.payload(notifications) };
        poster.post(&attempt, &self.signer, begun, timer).await.map(|_| ())
    }

    /// Whoever asked for batches gets nothing else, were it one notification.
    fn payload(&self, notifications: &[(&str, &Bytes)]) -> Payload {
        let mut bodies = notifications.iter().map(|(_, body)| (*body).clone());
        match (self.subscription.batching, bodies.len()) {
            (None, 1) => bodies.next().map(Payload::from).unwrap_or_default(),
            _ => Payload::batch(bodies),
        }
    }
}

/// By the secret, and for as long as each of them is good by those that it replaced.
fn signer(subscription: &Subscription) -> Result<Signer, EndpointError> {
    let secret = SigningSecret::parse(subscription.secret.as_ref().ok_or(EndpointError::Sealed)?.expose())?;
    let mut signer = Signer::new(secret.key_bytes());
    for previous in &subscription.previous_secrets {
        let until = previous.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        signer = signer.and_until(SigningSecret::parse(previous.secret.expose())?.key_bytes(), until);
    }
    Ok(signer)
}
