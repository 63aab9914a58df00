//! `webhookdb demo` shows the main job, ends by itself, and leaves nothing behind, however it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, POLL};

/// A directory for temporary files of the demo's own, which the account of Postgres may enter.
fn place() -> TempDir {
    let place = tempfile::Builder::new().prefix("demo-").tempdir_in("/tmp").expect("a directory");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).expect("its mode");
    place
}

fn demo(place: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhookdb"));
    command.arg("demo").args(arguments).env("TMPDIR", place.path()).current_dir(place.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn wait_until_nothing_is_left(place: &TempDir) {
    let deadline = Instant::now() + PATIENCE;
    while !left_in(place.path()).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:#?}", left_in(place.path()));
        tokio::time::sleep(POLL).await;
    }
}

/// Files in the place, and processes whose command line names it.
fn left_in(place: &Path) -> Vec<String> {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let files = entries(place).map(|entry| entry.path().display().to_string());
    let command_lines = entries(Path::new("/proc")).filter_map(|process| {
        let bytes = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " "))
    });
    let name = place.display().to_string();
    files.chain(command_lines.filter(|line| line.contains(&name))).collect()
}

#[tokio::test]
async fn it_shows_the_main_job_and_leaves_nothing_behind() {
    let place = place();
    let output = demo(&place, &["--rows", "300"]).output().await.expect("the binary runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let shown = ["webhook-signature: v1,", "\"external_id\": \"ch_demo\"", "row.updated", "row.deleted", "303", "p99"];
    for words in shown {
        assert!(stdout.contains(words), "{words} is not shown:\n{stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "colours where there is no terminal:\n{stdout}");
    assert_eq!(left_in(place.path()), Vec::<String>::new());
}

#[tokio::test]
async fn interrupted_it_leaves_nothing_behind() {
    let place = place();
    let mut child = started(&place).await;
    send(&child, Signal::SIGINT);
    let status = child.wait().await.expect("it ends");
    assert_eq!(status.code(), Some(1));
    wait_until_nothing_is_left(&place).await;
}

#[tokio::test]
async fn killed_it_leaves_nothing_behind() {
    let place = place();
    let mut child = started(&place).await;
    send(&child, Signal::SIGKILL);
    child.wait().await.expect("it ends");
    wait_until_nothing_is_left(&place).await;
}

/// A demo of more rows than it can do before it is stopped, seen running its daemon.
async fn started(place: &TempDir) -> Child {
    let mut command = demo(place, &["--rows", "1000000"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let deadline = Instant::now() + PATIENCE;
    while !left_in(place.path()).iter().any(|line| line.contains("config.toml serve")) {
        assert!(Instant::now() < deadline, "its daemon does not start");
        tokio::time::sleep(POLL).await;
    }
    child
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).expect("it is running");
    kill(Pid::from_raw(pid), signal).expect("it is running");
}

#[tokio::test]
async fn without_postgres_it_says_how_to_get_one() {
    let place = place();
    let output = demo(&place, &[]).env("PG_BIN", place.path()).output().await.expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("PG_BIN"), "{stderr}");
    let hints = stderr.lines().filter(|line| line.to_lowercase().starts_with("hint")).count();
    assert_eq!(hints, 1, "{stderr}");
}
