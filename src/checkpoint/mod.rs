//! How far everything is settled: the watermark, what a restart resumes from, and the record of it in the catalog.

mod point;
mod resume;
mod store;
mod watermark;

pub use point::{Anchor, ResumePoint, Stuck};
pub use resume::{ForeignHistory, Resume, TransactionStart, Verdict};
pub use store::{CheckpointError, CheckpointStore, SourceRecord};
pub use watermark::{Ticket, Watermark};
