//! `webhookdb demo`: the main job, whole, on a throwaway Postgres of its own; the tests use the same server.

mod binaries;
pub mod postgres;
mod watchdog;

pub use postgres::{PostgresOptions, StopMode, ThrowawayError, ThrowawayPostgres};
