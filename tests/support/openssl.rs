//! OpenSSL's own server, which speaks what rustls never did.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdin, Command};

use super::pki::Issued;
use super::{PATIENCE, POLL};

/// Old versions need old algorithms.
const EVERYTHING: [&str; 2] = ["-cipher", "ALL:@SECLEVEL=0"];

/// A server of exactly one version of TLS, on any free port of 127.0.0.1. Killed when dropped.
pub(crate) struct OpensslServer {
    version: &'static str,
    said: Arc<Mutex<String>>,
    _files: TempDir,
    /// A server whose input ends does so too.
    _stdin: ChildStdin,
    _child: Child,
}

impl OpensslServer {
    /// Of this version, as an option of OpenSSL's (`-tls1_1`), with this certificate.
    pub(crate) async fn start(version: &'static str, shown: &Issued) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let pem = files.path().join("server.pem");
        std::fs::write(&pem, format!("{}{}", shown.chain, shown.key)).expect("written");
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", version]).args(EVERYTHING).arg("-cert").arg(&pem);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("openssl");
        let (stdin, mut stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        let said = Arc::new(Mutex::new(String::new()));
        let hearing = Arc::clone(&said);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]);
                hearing.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        let server = Self { version, said, _files: files, _stdin: stdin, _child: child };
        server.wait_for("ACCEPT 127.0.0.1:").await;
        server
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("https://{}/", self.address())
    }

    fn address(&self) -> String {
        let said = self.said();
        let line = said.lines().find_map(|line| line.strip_prefix("ACCEPT ")).expect("an address");
        line.trim().to_owned()
    }

    /// What it has printed so far, requests among it.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has printed this.
    pub(crate) async fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            assert!(Instant::now() < deadline, "not said: {words}\n{}", self.said());
            tokio::time::sleep(POLL).await;
        }
    }

    /// That OpenSSL's own client reaches it.
    pub(crate) async fn is_reached_by_openssl(&self) -> bool {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address(), self.version]).args(EVERYTHING).stdin(Stdio::null());
        command.output().await.expect("openssl").status.success()
    }
}
