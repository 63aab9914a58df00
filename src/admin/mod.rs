//! What the operator sees of a running daemon: health, readiness, metrics.

mod http;
pub mod metrics;
mod readiness;

pub use http::{AdminError, serve};
pub use readiness::{HELD_BACK_HINT, Lag, Readiness, SLOT_IN_USE, SourceState};
