//! Everything that `setup` does, and the upkeep of the publication that `notification create` and the daemon share with it.

mod admin;
mod assess;
mod by_schema;
mod checks;
mod deletes;
mod error;
mod failover;
mod identity;
mod note;
mod publish;
mod report;
mod run;
mod script;
mod servers;
mod skip;
mod slot;
mod source_setup;
mod undo;
pub mod upkeep;

pub use assess::what_does_not_fit;
pub use deletes::delete_hazards;
pub use error::{Discord, SetupError};
pub use identity::{Hazard, Unpublishable};
pub use report::{Note, Report};
pub use run::{Accept, run};
pub use script::fill_in;
pub use skip::skip_transaction;
pub use undo::drop_all;
