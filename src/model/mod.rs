//! The words of the field as types: no I/O, and nothing of the other rooms.

mod attempt;
mod batching;
mod change;
mod event;
mod id;
mod lsn;
mod placement;
mod position;
mod replay;
mod secret;
mod signing_secret;
mod subscription;

pub use attempt::AttemptRecord;
pub use batching::Batching;
pub use change::{Operation, RowKey, RowKeys};
pub use event::{Body, Event};
pub use id::{EventId, ParseSubscriptionIdError, SubscriptionId};
pub use lsn::{Lsn, ParseLsnError};
pub use placement::Placement;
pub use position::Position;
pub use replay::Replay;
pub use secret::Secret;
pub use signing_secret::{SigningSecret, SigningSecretError};
pub use subscription::{PreviousSecret, Scope, Subscription, SubscriptionState};
