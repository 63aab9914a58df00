//! From a notification to an answer: the order that must be kept, one signed attempt, its outcome, and when to try again.

mod attempt;
mod bell;
mod breaker;
mod connection;
pub mod guard;
mod lane;
mod order;
mod payload;
mod pool;
mod retry;
mod signature;
mod target;
mod timer;
mod tls;

pub use attempt::{Answer, Attempt, AttemptKind, Failure, FailureKind, Poster, PosterError};
pub use breaker::BreakerPolicy;
#[cfg(test)]
pub(crate) use lane::tests as lane_fixtures;
pub use lane::{
    Ack, Arrival, BodyRequest, EntryId, Finished, Lane, Limits, PageRequest, Request, Setback, Start, StoredRow, Write,
};
pub use payload::Payload;
pub use retry::RetryPolicy;
pub use signature::Signer;
pub use target::{Target, TargetError};
pub use timer::Timer;
