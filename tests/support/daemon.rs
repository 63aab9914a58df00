//! A running `webhookdb serve`.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{PATIENCE, POLL};

/// The daemon's process. Killed when dropped; its log is shown where the test fails.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Ends when all of the log is here.
    logging: JoinHandle<()>,
    address: String,
}

impl Daemon {
    /// Starts the command and waits for its `listening on ADDRESS`.
    pub(crate) async fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(String::new()));
        let (listening, address) = oneshot::channel();
        let logging = tokio::spawn(drain(stderr, Arc::clone(&log), listening));
        match tokio::time::timeout(PATIENCE, address).await {
            Ok(Ok(address)) => Self { child, log, logging, address },
            _ => panic!("serve did not say where it listens:\n{}", text(&log)),
        }
    }

    /// `host:port` of health and metrics.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Everything that it has logged so far.
    pub(crate) fn log(&self) -> String {
        text(&self.log)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the daemon is running")
    }

    /// Waits until `/readyz` answers 200.
    pub(crate) async fn wait_until_ready(&self) {
        self.wait_for_readyz("ready", |status, _| status == 200).await;
    }

    /// Waits until `/readyz` answers as `expected` says, and returns the answer.
    pub(crate) async fn wait_for_readyz(&self, what: &str, expected: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, answer) = self.readyz().await;
            if expected(status, &answer) {
                return answer;
            }
            assert!(status != 0 || !self.has_exited(), "not {what}: the daemon has exited\n{}", self.log());
            assert!(Instant::now() < deadline, "not {what}: {status} {answer}\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the process is over and only waits to be collected.
    fn has_exited(&self) -> bool {
        let stat = self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_none_or(|stat| stat.contains(") Z "))
    }

    /// Waits until the log contains this.
    pub(crate) async fn wait_for_log(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "not logged: {words}\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// `/readyz`: status and JSON; status 0 where nobody answers.
    pub(crate) async fn readyz(&self) -> (u16, Value) {
        let (status, body) = self.get("/readyz").await;
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// `/metrics` as text.
    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await.1
    }

    /// The sum of a metric's samples that bear all these labels; the name without its `webhookdb_`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics().await;
        metrics.lines().filter_map(|line| sample(line, &format!("webhookdb_{name}"), labels)).sum()
    }

    /// Waits until that sum is at least this.
    pub(crate) async fn wait_for_metric(&self, name: &str, labels: &[(&str, &str)], at_least: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name, labels).await < at_least {
            assert!(Instant::now() < deadline, "{name} is below {at_least}\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it has given up for now by this kind of reason, and checks that log and metric say so as `/readyz` does;
    /// returns what they say.
    pub(crate) async fn wait_until_failed(&self, label: &str) -> String {
        let answer = self.wait_for_readyz("failed", |_, answer| answer["status"] == "failed").await;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        let (reason, hint) = (text("reason"), text("hint"));
        assert!(!reason.is_empty() && !hint.is_empty(), "{answer}");
        self.wait_for_log(&reason.replace('"', "\\\"")).await;
        let state = [("source", "main"), ("state", "failed"), ("reason", label)];
        self.wait_for_metric("source_state", &state, 1.0).await;
        let streaming = self.metric("source_state", &[("state", "streaming")]).await;
        assert!(streaming < 0.5, "{}", self.metrics().await);
        reason
    }

    /// Any path of its listener: status and body; status 0 where nobody answers.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(&format!("http://{}{path}", self.address)).await
    }

    /// The most memory that it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory("VmHWM")
    }

    /// The memory that it has resident, in bytes.
    pub(crate) fn resident_memory(&self) -> usize {
        self.memory("VmRSS")
    }

    /// How many sockets it has open.
    pub(crate) fn sockets(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the daemon is running");
        let targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    fn memory(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the daemon is running");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        let kib: usize = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number of kB");
        kib << 10
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id"));
        kill(pid, signal).expect("the daemon is running");
    }

    /// SIGSTOP, and waits until every thread stands still.
    pub(crate) async fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_frozen() {
            assert!(Instant::now() < deadline, "not stopped");
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_frozen(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the daemon is running");
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats.into_iter().all(|stat| stat.contains(") T "))
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) async fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().await.expect("the process ends");
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.exited().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => {
                (&mut self.logging).await.expect("the log is read");
                status.expect("the process ends")
            }
            Err(_) => panic!("still running after {PATIENCE:?}"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            eprintln!("--- log of serve at {} ---\n{}---", self.address, self.log());
        }
    }
}

/// GET: status and body; status 0 where nobody answers.
pub(crate) async fn get(url: &str) -> (u16, String) {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let url = url.parse().expect("a URL");
    let Ok(Ok(response)) = tokio::time::timeout(Duration::from_secs(5), client.get(url)).await else {
        return (0, String::new());
    };
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Keeps the pipe empty for as long as the process lives, and finds the address.
async fn drain(stderr: impl AsyncRead + Unpin, log: Arc<Mutex<String>>, listening: oneshot::Sender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    let mut listening = Some(listening);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, rest)) = line.split_once("listening on ") {
            let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
            listening.take().map(|sender| sender.send(rest[..end].to_owned()));
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn text(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The value of a line of the exposition format, where it is a sample of this metric with these labels.
fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let (series, value) = line.rsplit_once(' ')?;
    let (metric, rest) = series.split_once('{').unwrap_or((series, ""));
    if metric != name {
        return None;
    }
    let pairs = rest.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let found: BTreeMap<_, _> = pairs.map(|(label, value)| (label, value.trim_matches('"'))).collect();
    let all = labels.iter().all(|(label, value)| found.get(label) == Some(value));
    all.then(|| value.parse().ok()).flatten()
}
