//! What happened to a row, and which rows it touches.

use smallvec::SmallVec;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A row came to be.
    Insert,
    /// A row was written anew.
    Update,
    /// A row went.
    Delete,
    /// A whole table was emptied.
    Truncate,
}

impl Operation {
    /// The body's `type`.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Insert => "row.inserted",
            Self::Update => "row.updated",
            Self::Delete => "row.deleted",
            Self::Truncate => "table.truncated",
        }
    }

    /// The value of the metrics' `operation` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }
}

/// A stable hash of one key value of one table. Two keys that collide only make their changes wait for each other.
pub type RowKey = u64;

/// What a change must keep its order with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKeys {
    /// Every key that a row change shows: primary and remote key, old and new.
    Rows(SmallVec<[RowKey; 2]>),
    /// A truncate, or a change of a row that shows no key at all: it keeps its order with everything of its table.
    Table,
}
