//! What of the delivery may change while the daemon runs: see `Settings::taking_over`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::PipelineError;
use super::lanes;
use crate::config::DeliverySettings;
use crate::deliver::{BreakerPolicy, Poster, RetryPolicy};

/// What attempts to come go by.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How an endpoint is reached.
    pub(super) poster: Poster,
    /// When a failure is tried again.
    pub(super) retry: RetryPolicy,
    /// When an endpoint that fails is tried again.
    pub(super) breaker: BreakerPolicy,
    /// What attempts in flight get at an orderly stop.
    pub(super) grace: Duration,
}

impl Tuning {
    /// By these settings.
    ///
    /// # Errors
    /// Where no endpoint could be reached by them.
    pub fn new(settings: &DeliverySettings) -> Result<Arc<Self>, PipelineError> {
        let limits = lanes::limits(settings);
        Ok(Arc::new(Self {
            poster: Poster::new(settings)?,
            retry: limits.retry,
            breaker: limits.breaker,
            grace: settings.grace(),
        }))
    }
}

/// The tuning as it is now.
pub type TuningNow = watch::Receiver<Arc<Tuning>>;
