//! `compose.yaml`, with the images that are there.

use std::process::{Command, Output};

use webhookdb_notifications_container_tests::{unique, wait_until};

/// A project that is taken down when dropped.
struct Project {
    name: String,
    command: Vec<&'static str>,
}

impl Project {
    fn new() -> Self {
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        let has_plugin = plugin.is_ok_and(|output| output.status.success());
        let command = if has_plugin { vec!["docker", "compose"] } else { vec!["docker-compose"] };
        Self { name: unique("compose"), command }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).args(["--project-name", &self.name]).args(arguments);
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        command.env("POSTGRES_IMAGE", "webhookdb-test/postgres:18").env("WEBHOOKDB_IMAGE", "webhookdb-test/program");
        command.output().expect("docker compose")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", String::from_utf8_lossy(&self.run(&["logs", "--no-color"]).stdout));
        }
        self.run(&["down", "--volumes", "--timeout", "30"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_shows_notifications() {
    let project = Project::new();
    // Returns when everything that something else depends on is well.
    let up = project.run(&["up", "--detach", "--no-build"]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let shown = async || String::from_utf8_lossy(&project.run(&["logs", "--no-color", "receiver"]).stdout).into_owned();
    let log = wait_until("shown", shown, |log| log.matches("✓ verified").count() >= 3).await;
    assert!(log.contains("row.inserted ch_1"), "{log}");
    // The whole may be started again.
    let again = project.run(&["up", "--detach", "--no-build", "--force-recreate"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    wait_until("shown", shown, |log| log.matches("✓ verified").count() >= 1).await;
}
