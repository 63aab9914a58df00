//! A transaction pooler in front of a server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use nix::unistd::Uid;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::{PATIENCE, POLL, TestDatabase};

/// `PgBouncer`, until it is dropped.
pub(crate) struct PgBouncer {
    port: u16,
    _process: Child,
    _directory: TempDir,
}

impl PgBouncer {
    /// In front of this database's server. Whoever logs in is the superuser.
    pub(crate) async fn start(database: &TestDatabase) -> Self {
        let port = free_port().await;
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("pgbouncer.ini");
        let server = database.cluster().port();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        );
        std::fs::write(&config, text).expect("the config file is written");
        let process = spawn(&config);
        let this = Self { port, _process: process, _directory: directory };
        this.wait_until_it_listens().await;
        this
    }

    /// The database's URL, by way of the pooler.
    pub(crate) fn url(&self, database: &TestDatabase) -> String {
        database.url().replace(&format!(":{}/", database.cluster().port()), &format!(":{}/", self.port))
    }

    async fn wait_until_it_listens(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not listen");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// It refuses root, and reads its file as whoever it runs as.
fn spawn(config: &Path) -> Child {
    let mut command = Command::new(binary());
    if Uid::effective().is_root() {
        for (path, mode) in [(config.parent().expect("a directory"), 0o755), (config, 0o644)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
        }
        command.args(["-u", "nobody"]);
    }
    command.arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("pgbouncer starts")
}

/// What scripts/install-test-tools leaves behind, in the directory `target` of the repository.
fn binary() -> PathBuf {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools/pgbouncer");
    assert!(binary.is_file(), "{} is missing: run scripts/install-test-tools", binary.display());
    binary
}

/// A port that was free a moment ago, for a program that cannot find one by itself.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").port()
}
