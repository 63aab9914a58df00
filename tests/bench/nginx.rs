//! The endpoint and the measure of what an endpoint can take: nginx that answers 204, and wrk.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use nix::unistd::Uid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, POLL};

/// nginx with one worker, keep-alive without end and no log; gone when dropped.
pub(super) struct Nginx {
    port: u16,
    _process: Child,
    _directory: TempDir,
}

impl Nginx {
    /// On this port, which is free.
    pub(super) async fn start(port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("nginx.conf");
        std::fs::write(&config, text(port, directory.path())).expect("the config file is written");
        let mut command = Command::new(program());
        command.arg("-p").arg(directory.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().expect("nginx starts: scripts/install-test-tools installs it");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            tokio::time::sleep(POLL).await;
        }
        Self { port, _process: process, _directory: directory }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

fn text(port: u16, directory: &Path) -> String {
    let directory = directory.display();
    // Root's is to stay root, as it owns the directory of its temporary files.
    let user = if Uid::effective().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr error; {user}
         events {{ worker_connections 4096; }}
         http {{
             access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
             client_body_buffer_size 2m; client_max_body_size 4m;
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
             uwsgi_temp_path {directory}; scgi_temp_path {directory};
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 204; }} }}
         }}"
    )
}

/// Debian has it where only root's PATH leads.
fn program() -> &'static str {
    let debians = "/usr/sbin/nginx";
    if Path::new(debians).exists() { debians } else { "nginx" }
}

/// Requests a second that wrk alone gets out of the same nginx: by one thread, with as many connections as a subscription has at
/// most, and a body and headers like a notification's.
pub(super) async fn wrk(nginx: &Nginx, body: &[u8], seconds: u64) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let (script, file) = (directory.path().join("post.lua"), directory.path().join("body.json"));
    std::fs::write(&file, body).expect("the body is written");
    std::fs::write(&script, lua(&file)).expect("the script is written");
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c16", &format!("-d{seconds}s"), "-s"]).arg(&script).arg(nginx.url());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.expect("wrk runs: scripts/install-test-tools installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).unwrap_or_else(|| panic!("{text}"));
    assert!(!text.contains("Non-2xx"), "{text}");
    rate.trim().parse().expect("a rate")
}

fn lua(body: &Path) -> String {
    format!(
        r#"local file = io.open("{}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["content-type"] = "application/json"
wrk.headers["user-agent"] = "WebhookDB-Notifications/0.1.0"
wrk.headers["webhook-id"] = "msg_54ca14e3c55e_nmehlw4efwukuaaaaaaqaaaaaabpbq4yaaaaaaaagkkhcgy"
wrk.headers["webhook-timestamp"] = "1795000000"
wrk.headers["webhook-signature"] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
wrk.headers["whdb-attempt"] = "1"
"#,
        body.display()
    )
}
