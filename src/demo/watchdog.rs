//! A small shell that stops a throwaway Postgres and removes its directory, even where the owner was killed.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::account::Account;

const SCRIPT: &str = include_str!("watchdog.sh");

/// Waits on a pipe from this process; cleans up when the pipe closes. It leads a process group that the server joins,
/// so that a Ctrl-C at the terminal reaches neither.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub(super) fn start(directory: &Path, account: Option<&Account>) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "watchdog"]).arg(directory).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(account) = account {
            account.apply(&mut command);
        }
        command.spawn().map(Self)
    }

    /// The process group to put the server in.
    pub(super) fn process_group(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap_or(0)
    }

    /// Closes the pipe and waits until the server is gone and its directory with it; the script bounds that itself.
    pub(super) fn finish(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
