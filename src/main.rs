//! `webhookdb`: parses, builds, runs, and alone ends the process.

use std::process::ExitCode;

/// A fifth of what a notification costs is memory that is asked for and given back, by many threads in turns. How it is set up
/// says `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    webhookdb_notifications::cli::run()
}
