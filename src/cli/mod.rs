//! (being built)

pub mod demo;
pub mod serve;
