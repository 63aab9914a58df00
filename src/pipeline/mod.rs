//! The only room that knows every stage: it wires them, supervises them and drains them.

mod asked;
mod catalog_watch;
mod checkpointer;
mod deactivation;
mod endpoint;
mod error;
mod fence;
mod heart;
mod in_flight;
mod intake;
mod lane_log;
mod lane_meters;
mod lane_task;
mod lanes;
mod lease;
mod live_types;
mod memory;
mod outbox_limit;
mod progress;
mod read_back;
mod report;
mod retries_asked;
mod run;
mod sending;
mod session;
mod slot_watch;
mod source_task;
mod stale_holder;
mod stats;
mod storm;
mod tests_asked;
mod tuning;
mod upkeep;

pub use error::PipelineError;
pub use run::run;
pub use tuning::{Tuning, TuningNow};
