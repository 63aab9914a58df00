//! Turns pgoutput messages into values and values into JSON. Pure: no I/O, and nothing that arrives can make it panic.
//!
//! The way of a change: [`parse`] cuts a frame into a [`Message`] without copying; [`Types`] knows what the columns of
//! a [`Relation`] are; a [`Shape`] is both, compiled once per RELATION message, and writes rows as `to_jsonb` would. What
//! only the server can turn into JSON it leaves to [`Casts`].
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions, clippy::panic)
)]

mod array;
mod cast;
mod composite;
mod error;
mod json;
mod kind;
mod message;
mod number;
mod object;
mod reader;
mod relation;
mod shape;
mod string;
#[cfg(test)]
mod test_frames;
mod timestamp;
mod tuple;
mod types;
mod value;

pub use cast::{Cast, Casts};
pub use error::DecodeError;
pub use message::{Message, parse};
pub use relation::{Column, Relation, ReplicaIdentity};
pub use shape::{RowNotes, Shape};
pub use string::write_json_string;
pub use tuple::{Datum, OldKind, OldTuple, Tuple};
pub use types::{TYPES_SQL, TypeRow, Types};
pub use value::Written;
