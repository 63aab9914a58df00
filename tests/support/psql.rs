//! Postgres's client programs; the DBA's script, run as a DBA would.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::TestDatabase;

/// The client program of this name beside the server's; where only a server is there, the one in `PATH`, of whatever version.
pub(crate) fn program(name: &str) -> PathBuf {
    let beside_server = std::env::var_os("PG_BIN").map(|directory| PathBuf::from(directory).join(name));
    beside_server.filter(|program| program.is_file()).unwrap_or_else(|| name.into())
}

/// Runs `sql/setup-replication.sql` as a DBA would: as the superuser, with psql alone.
pub(crate) async fn run_script(
    database: &TestDatabase,
    script: &std::path::Path,
    variables: &[&str],
) -> (bool, String) {
    let mut command = Command::new(program("psql"));
    command.arg("-X").arg("-d").arg(database.url()).arg("-f").arg(script).stdin(Stdio::null());
    for variable in variables {
        command.arg("-v").arg(variable);
    }
    let output = command.output().await.expect("psql, of PostgreSQL's client programs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The script as it stands in the repository.
pub(crate) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/setup-replication.sql");
