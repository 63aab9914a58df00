//! One change as its subscribers are told of it.

use std::any::Any;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Position, RowKeys};

/// A change that is due to somebody, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The body's `id`, the same for all subscribers and every re-read of the log.
    pub id: String,
    /// Its place among all changes of the source.
    pub position: Position,
    /// When its transaction was committed, by the server's clock.
    pub committed_at: SystemTime,
    /// The table.
    pub relation_oid: u32,
    /// What it must keep its order with.
    pub keys: RowKeys,
}

/// What is posted: built once per change, shared by all its subscribers and attempts.
pub struct Body {
    bytes: Bytes,
    /// Given back when the last holder drops the body: its share of the memory budget.
    _held: Box<dyn Any + Send + Sync>,
}

impl Body {
    /// A body, and what stands for the memory that it uses.
    pub fn new(bytes: Bytes, held: impl Any + Send + Sync) -> Self {
        Self { bytes, _held: Box::new(held) }
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.bytes.len())
    }
}
