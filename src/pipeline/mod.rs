//! The only room that knows every stage: it wires them, supervises them and drains them.

mod asked;
mod catalog_watch;
mod checkpointer;
mod error;
mod fence;
mod intake;
mod lane_task;
mod lanes;
mod lease;
mod progress;
mod retries_asked;
mod run;
mod session;
mod source_task;
mod stats;
mod tests_asked;
mod upkeep;

pub use error::PipelineError;
pub use run::run;
