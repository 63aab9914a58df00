//! Organizations, integrations and subscriptions in Postgres: read in one snapshot, written so that every daemon hears.

pub mod details;
mod error;
pub mod failures;
mod fingerprint;
pub mod health;
mod index;
pub mod integrations;
pub mod leases;
pub mod lifecycle;
pub mod made;
pub mod migrations;
pub mod organizations;
pub mod own_tables;
mod placement;
pub mod relations;
mod resolve;
pub mod retry_requests;
mod revision;
pub mod rights;
pub mod secrets;
mod snapshot;
pub mod sources;
pub mod subscriptions;
pub mod test_requests;

pub use error::CatalogError;
pub use fingerprint::{Fingerprint, Look};
pub use index::{CatalogIndex, Route, TableRoute};
pub use placement::Misplaced;
pub use revision::{CATALOG_CHANGED, CHANNEL, RETRY_REQUESTED, TEST_REQUESTED};
pub use snapshot::{
    Integration, Organization, Relation, RelationState, Snapshot, SourceRecord, load, load_after, tables_before_setup,
};
