//! A real Prometheus that scrapes a daemon, and its tool.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::daemon::get;
use super::pgbouncer::free_port;
use super::{Daemon, PATIENCE, POLL};

/// A sample that a query found: its labels and its value.
pub(crate) type Sample = (BTreeMap<String, String>, f64);

/// Prometheus, until it is dropped.
pub(crate) struct Prometheus {
    port: u16,
    _process: Child,
    _directory: TempDir,
}

impl Prometheus {
    /// Scrapes this daemon several times a second, and evaluates these rules.
    pub(crate) async fn start(daemon: &Daemon, rules: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 200ms, evaluation_interval: 500ms}}\nrule_files: ['{}']\n\
             scrape_configs: [{{job_name: webhookdb, static_configs: [{{targets: ['{}']}}]}}]\n",
            rules.display(),
            daemon.address()
        );
        std::fs::write(&config, text).expect("the config file is written");
        let port = free_port().await;
        let mut command = Command::new(tool("prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().expect("prometheus starts");
        let this = Self { port, _process: process, _directory: directory };
        this.wait_for("up == 1").await;
        this
    }

    /// What an instant query finds; fails the test where it is no query.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Sample> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let answer = self.get(&format!("/api/v1/query?query={query}")).await;
        // While it starts nobody answers.
        let Some(status) = answer["status"].as_str() else { return Vec::new() };
        assert_eq!(status, "success", "{expression}: {answer}");
        let found = answer["data"]["result"].as_array().expect("a vector");
        found.iter().map(sample).collect()
    }

    /// Waits until a query finds something, and returns it.
    pub(crate) async fn wait_for(&self, expression: &str) -> Vec<Sample> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.query(expression).await;
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "nothing is found by {expression}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The answer of its HTTP API; null where there is none.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (_, body) = get(&format!("http://127.0.0.1:{}{path}", self.port)).await;
        serde_json::from_str(&body).unwrap_or_default()
    }
}

fn sample(result: &Value) -> Sample {
    let labels = result["metric"].as_object().expect("labels").iter();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    (labels, result["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a value"))
}

/// Runs promtool with this on its standard input, and returns what it said; fails the test where it found something wrong.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut command = std::process::Command::new(tool("promtool"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool starts");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// What scripts/install-test-tools leaves behind.
fn tool(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools").join(name);
    assert!(binary.is_file(), "{} is missing: run scripts/install-test-tools", binary.display());
    binary
}
