//! What is owed and could not go yet, in Postgres: written in batches under the source's epoch, paged back in order.

pub mod attempt_log;
mod by_hand;
mod operation;
mod reader;
mod store;
mod writer;

pub use operation::{Operation, Stored};
pub use reader::{OutboxReader, OutboxRow, Resumed};
pub use store::{OutboxError, OutboxStore};
pub use writer::{OutboxWriter, WriterClosed};
