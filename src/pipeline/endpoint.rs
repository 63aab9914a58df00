//! Where a subscription's notifications go, and what they are signed with.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use hyper::Uri;
use tracing::warn;

use crate::deliver::{Attempt, AttemptKind, Failure, Poster, Signer};
use crate::model::{EventId, SigningSecret, SigningSecretError, Subscription};

pub(super) struct Endpoint {
    pub(super) subscription: Arc<Subscription>,
    uri: Uri,
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
        let uri =
            url.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| EndpointError::Url(error.into()))?;
        let signer = signer(&subscription)?;
        Ok(Self { uri, signer, subscription })
    }

    /// The endpoint, or where it cannot be used one that refuses everything: what is owed is kept.
    pub(super) fn of(subscription: Arc<Subscription>) -> Self {
        Self::new(subscription.clone()).unwrap_or_else(|error| {
            if !matches!(error, EndpointError::Sealed) {
                let (subscription, error) = (subscription.opaque_id, &error as &dyn std::error::Error);
                warn!(%subscription, error, "cannot be served");
            }
            Self { subscription, uri: Uri::from_static("http://invalid./"), signer: Signer::new(&[0]) }
        })
    }

    /// One attempt.
    pub(super) async fn post(
        &self,
        poster: &Poster,
        event_id: &str,
        kind: AttemptKind,
        body: bytes::Bytes,
    ) -> Result<(), Failure> {
        let message_id = EventId::message(event_id, self.subscription.opaque_id);
        let attempt = Attempt { uri: &self.uri, message_id: &message_id, kind, body };
        poster.post(&attempt, &self.signer).await.map(|_| ())
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
