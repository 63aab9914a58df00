//! From a change to what its subscribers are told: the keys that its order depends on, and the body, built once.

mod body;
mod keys;
mod table;

pub use body::{BodyNotes, Change, Origin, test_body};
pub use table::{KeyColumns, RoutedTable};
