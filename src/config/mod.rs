//! What the operator wrote, checked whole, and the settings that the program runs by.

mod postgres_url;
mod settings;

pub use postgres_url::{PostgresUrl, PostgresUrlError, SslMode};
pub use settings::{
    CatalogSettings, DeliverySettings, HttpSettings, LogFormat, LogSettings, ReplicaIdentity, Settings, SourceSettings,
};
