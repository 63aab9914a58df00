//! `webhookdb`: parses, builds, runs, and alone ends the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    webhookdb_notifications::cli::run()
}
