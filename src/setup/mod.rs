//! Everything that `setup` does, and the upkeep of the publication that `notification create` and the daemon share with it.

mod error;
mod identity;
mod publish;
pub mod upkeep;

pub use error::{Discord, SetupError};
pub use identity::{Hazard, Unpublishable};
