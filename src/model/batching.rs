//! Several notifications in one request, for subscribers who ask for it.

use std::time::Duration;

/// How a subscription's notifications are put together into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Notifications in one request at most, from 1 to [`Batching::SIZE_MAX`].
    pub size: usize,
    /// So long a request that could still take more waits for it, at most [`Batching::LINGER_MAX`].
    pub linger: Duration,
}

impl Batching {
    /// More in one request would save nothing any more.
    pub const SIZE_MAX: usize = 1000;

    /// Well below the time after which a lane that keeps the log waiting is taken to be slow.
    pub const LINGER_MAX: Duration = Duration::from_secs(2);

    /// Of these values, where they are in their bounds.
    #[must_use]
    pub fn new(size: usize, linger: Duration) -> Option<Self> {
        ((1..=Self::SIZE_MAX).contains(&size) && linger <= Self::LINGER_MAX).then_some(Self { size, linger })
    }
}
