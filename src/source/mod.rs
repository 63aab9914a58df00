//! Where changes come from: the replication connection, its slot, and what the server says of both.

pub mod alteration;
pub mod barrier;
pub mod cast;
mod channel;
mod connection;
pub mod delegate;
mod error;
mod feedback;
mod frame;
mod framing;
mod guest;
mod login;
mod progress;
pub mod publication;
mod quote;
mod sentinel;
mod server;
mod shutdown;
pub mod slot;
mod stream;
pub mod table;
mod timeline;

pub use alteration::{Alterations, Hand, NewIdentity, TableName};
pub use connection::{ReplicationConnection, SystemIdentity};
pub use delegate::Delegate;
pub use error::SourceError;
pub use feedback::Feedback;
pub use frame::Frame;
pub use guest::check_not_synchronous;
pub use login::APPLICATION_NAME;
pub use sentinel::Sentinel;
pub use server::ServerFacts;
pub use slot::{Invalidation, SlotState};
pub use stream::ReplicationStream;
pub use timeline::TimelineHistory;
