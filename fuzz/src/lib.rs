//! What the fuzz targets share: a database that answers what types are, and what has to hold of everything that is written.
#![warn(missing_docs)]

mod catalog;
mod json;

pub use catalog::Catalog;
pub use json::{is_json, written};
