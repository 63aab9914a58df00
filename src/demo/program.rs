//! The real binary, run as a user would run it, with a config file of the demo's own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use super::error::DemoError;

/// The daemon needs well under a second; a cold disk may need a few.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(10);
/// An idle daemon stops at once, a busy one after its grace period of 20 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// Lines of the daemon's log that are kept to be shown where something fails.
const LOG_LINES_MAX: usize = 20;

/// This very program.
pub(super) struct Program {
    executable: PathBuf,
    config: PathBuf,
}

impl Program {
    pub(super) fn new(config: PathBuf) -> Result<Self, DemoError> {
        let executable = std::env::current_exe().map_err(DemoError::io("find this program's own file"))?;
        Ok(Self { executable, config })
    }

    /// Where the config file is.
    pub(super) fn directory(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new(""))
    }

    /// Runs a command; returns what it answered.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, DemoError> {
        let mut command = Command::new(&self.executable);
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(DemoError::io("run a command"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(DemoError::Command { arguments: arguments.join(" "), stderr })
    }

    /// Starts `serve` and waits until it streams. It is out of the terminal's reach: a Ctrl-C is the demo's to handle.
    pub(super) async fn serve(&self) -> Result<Daemon, DemoError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("serve.sh"), "serve"]).arg(&self.executable);
        command.arg("--config").arg(&self.config).arg("serve").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(DemoError::io("start the daemon"))?;
        let log = Log::default();
        let (listening, address) = oneshot::channel();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(drain(stderr, log.clone(), listening));
        }
        let daemon = Daemon { child, log };
        match tokio::time::timeout(READY_TIMEOUT, until_ready(address)).await {
            Ok(true) => Ok(daemon),
            _ => Err(DemoError::Daemon { log: daemon.log_tail() }),
        }
    }
}

/// A running `serve`. It ends when this is dropped, or when this process is killed.
pub(super) struct Daemon {
    child: Child,
    log: Log,
}

impl Daemon {
    /// An orderly stop, and a pause until it is done.
    pub(super) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let _ = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
    }

    pub(super) fn log_tail(&self) -> String {
        let lines: Vec<String> = self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        lines.join("\n")
    }
}

impl Drop for Daemon {
    /// Shell and daemon are a process group; after an orderly stop there is none any more.
    fn drop(&mut self) {
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

type Log = Arc<Mutex<VecDeque<String>>>;

/// Reads the log for as long as the daemon writes one, and finds the address that it listens on.
async fn drain(stderr: impl AsyncRead + Unpin, log: Log, listening: oneshot::Sender<String>) {
    let mut listening = Some(listening);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, address)) = line.split_once("listening on ") {
            let address = address.split_whitespace().next().unwrap_or_default().to_owned();
            listening.take().map(|sender| sender.send(address));
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_back(line);
        if log.len() > LOG_LINES_MAX {
            log.pop_front();
        }
    }
}

/// False where the daemon ended before it said where it listens.
async fn until_ready(address: oneshot::Receiver<String>) -> bool {
    let Ok(address) = address.await else { return false };
    let Ok(url) = format!("http://{address}/readyz").parse::<hyper::Uri>() else { return false };
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    while !client.get(url.clone()).await.is_ok_and(|response| response.status().is_success()) {
        tokio::time::sleep(POLL).await;
    }
    true
}
