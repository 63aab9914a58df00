//! `webhookdb demo`: the main job, whole, on a throwaway Postgres of its own; the tests use the same server.

mod account;
mod binaries;
mod error;
mod options;
mod postgres;
mod pretty;
mod program;
mod receiver;
mod run;
mod screen;
mod tally;
mod throwaway_error;
mod watchdog;

pub use error::DemoError;
pub use options::PostgresOptions;
pub use postgres::{StopMode, ThrowawayPostgres};
pub use run::{Demo, receive, run};
pub use throwaway_error::ThrowawayError;
