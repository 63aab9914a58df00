//! (being built)

pub mod barrier;
pub mod publication;
pub mod table;
