//! What the operator wrote, checked whole, and the settings that the program runs by.
//!
//! A file's text becomes a tree, the tree [what the file says](file), and that, checked, the settings. Each step reports
//! to one list of problems and goes on, so that the operator hears of all of them at once.

mod database;
mod encryption;
mod environment;
mod error;
mod file;
mod files;
mod limits;
mod load;
mod postgres_url;
mod problems;
mod settings;
mod suggest;
mod takeover;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod values;

pub use error::{ConfigError, Problem};
pub use postgres_url::{ChannelBinding, PostgresUrl, PostgresUrlError, SslMode};
pub use settings::{
    CatalogSettings, DeliverySettings, HttpSettings, LogFormat, LogSettings, Publish, ReplicaIdentity, Settings,
    SourceSettings, WhenFull,
};
pub use takeover::Takeover;
