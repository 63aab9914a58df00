//! The real binary, run with a config file of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Config, Daemon, PATIENCE, TestDatabase};

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) arguments: String,
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Its stdout; fails the test where the command failed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{self:#?}");
        self.stdout
    }

    /// Its stderr; fails the test where the command succeeded, panicked, or showed a backtrace.
    #[track_caller]
    pub(crate) fn fails_with(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self:#?}");
        for sign in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(sign), "{self:#?}");
        }
        self.stderr
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let stdout = self.ok();
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }
}

/// The binary and its config file.
pub(crate) struct Webhookdb {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Webhookdb {
    /// With this config.
    pub(crate) fn new(config: &Config) -> Self {
        Self::with_text(&config.text())
    }

    /// With a config file of this very text.
    pub(crate) fn with_text(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let this = Self { directory, environment: Vec::new() };
        std::fs::write(this.config_path(), text).expect("the config file is written");
        this
    }

    /// With the config that is usual for this database.
    pub(crate) fn for_database(database: &TestDatabase) -> Self {
        Self::new(&Config::new(database))
    }

    /// Another config from the next run on.
    pub(crate) fn reconfigure(&self, config: &Config) {
        std::fs::write(self.config_path(), config.text()).expect("the config file is written");
    }

    /// A variable in the environment of every run.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The config file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// The directory that commands run in.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a command without any input.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "").await
    }

    /// Runs a command that reads this.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        self.run_within(arguments, input, PATIENCE).await
    }

    /// Runs a command that must end within `limit`.
    pub(crate) async fn run_within(&self, arguments: &[&str], input: &str, limit: Duration) -> Output {
        let mut child =
            self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary");
        let mut stdin = child.stdin.take().expect("stdin");
        // A command that asks for nothing may be gone before it is told anything.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let done = tokio::time::timeout(limit, child.wait_with_output()).await;
        let output = done.unwrap_or_else(|_| panic!("still running after {limit:?}: {arguments:?}")).expect("output");
        Output {
            arguments: arguments.join(" "),
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Starts `serve` and waits until it streams.
    pub(crate) async fn serve(&self) -> Daemon {
        let daemon = self.serve_unready().await;
        daemon.wait_until_ready().await;
        daemon
    }

    /// Starts `serve` and waits until it listens, whether or not it streams.
    pub(crate) async fn serve_unready(&self) -> Daemon {
        Daemon::spawn(self.command(&["serve"])).await
    }

    /// The command, its streams piped but for stdin and stdout. Errors must not print backtraces even where they could.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // Figures are measured of a release build: see `make bounds`.
        let binary = std::env::var_os("WEBHOOKDB_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_webhookdb").into());
        let mut command = Command::new(binary);
        command.arg("--config").arg(self.config_path()).args(arguments).current_dir(self.directory());
        command.env("RUST_BACKTRACE", "1").env_remove("WEBHOOKDB_CONFIG").env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}
