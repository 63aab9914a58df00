//! `webhookdb`: parses, builds, runs, and alone ends the process.

use std::process::ExitCode;

/// A third of what a notification costs is memory that is asked for and given back, by many threads in turns.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    webhookdb_notifications::cli::run()
}
