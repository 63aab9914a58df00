//! From a notification to an answer: the order that must be kept, one signed attempt, its outcome, and when to try again.

mod attempt;
pub mod guard;
mod lane;
mod order;
mod retry;
mod signature;
mod tls;

pub use attempt::{Attempt, AttemptKind, Failure, FailureKind, Poster, PosterError};
pub use lane::{Ack, Arrival, EntryId, Finished, Lane, Limits, Start, StoredRow, Write};
pub use retry::RetryPolicy;
pub use signature::Signer;
