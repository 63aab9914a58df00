//! What can be wrong with a replication message.

use std::str::Utf8Error;

/// A message that is not pgoutput, protocol version 1, as the server speaks it to us. Offsets count from the first
/// byte of the message, its tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends in the middle of a field.
    #[error("replication message ends early: {wanted} bytes wanted at offset {offset}, {left} left")]
    Truncated {
        /// Where the field begins.
        offset: usize,
        /// How long the field is.
        wanted: usize,
        /// How much of it there is.
        left: usize,
    },
    /// A name that nothing terminates.
    #[error("replication message has an unterminated string at offset {offset}")]
    Unterminated {
        /// Where the string begins.
        offset: usize,
    },
    /// The message goes on after its last field.
    #[error("replication message has {count} bytes too many at offset {offset}")]
    TrailingBytes {
        /// Where the message should have ended.
        offset: usize,
        /// How many bytes follow.
        count: usize,
    },
    /// A message tag of another protocol version or plugin.
    #[error("unknown replication message, tag {tag:#04x}")]
    UnknownMessage {
        /// The first byte.
        tag: u8,
    },
    /// A byte that selects what follows has a value that the protocol does not know.
    #[error("unknown {what} {tag:#04x} at offset {offset} of a replication message")]
    UnknownTag {
        /// What the byte selects.
        what: &'static str,
        /// The byte.
        tag: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A value in binary format, which is never asked for.
    #[error("value in binary format at offset {offset} of a replication message, text was asked for")]
    BinaryValue {
        /// Where the value's tag stands.
        offset: usize,
    },
    /// A name that is not UTF-8.
    #[error("name at offset {offset} of a replication message is not UTF-8")]
    NameNotUtf8 {
        /// Where the name begins.
        offset: usize,
        /// What is wrong with it.
        #[source]
        source: Utf8Error,
    },
    /// A commit time that the system's clock cannot express.
    #[error("commit time {microseconds} µs since 2000 is out of range")]
    TimeOutOfRange {
        /// The time as it was sent.
        microseconds: i64,
    },
    /// A tuple that has not as many columns as its relation.
    #[error("tuple of relation {relation_oid} has {found} columns, its RELATION message {expected}")]
    ColumnCount {
        /// The relation.
        relation_oid: u32,
        /// The relation's columns.
        expected: usize,
        /// The tuple's columns.
        found: usize,
    },
}

impl DecodeError {
    /// Whether reading the same log again may go better. It does not: the same bytes come again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// What the operator should do.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NameNotUtf8 { .. } => Some("rename the table or column to valid UTF-8; the database must be UTF8"),
            Self::UnknownMessage { .. } | Self::BinaryValue { .. } => {
                Some("the slot must use the plugin pgoutput of PostgreSQL 14 to 18; check it with `webhookdb setup`")
            }
            _ => Some("the stream is damaged or not PostgreSQL 14 to 18; check for a proxy between, and report this"),
        }
    }
}
