//! The daemon's processes: started, killed, stopped, watched.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use super::world::{GRACE, World};

/// Beside the grace: what is written, told and closed at an orderly stop, on a busy machine.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How often a process's memory is looked at; what is asked for is the highest it ever was.
const LOOK: Duration = Duration::from_millis(200);

/// A `webhookdb serve`, its log in a file of its own. Killed when dropped.
pub(super) struct Process {
    world: Arc<World>,
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts one and does not wait for anything.
    pub(super) fn start(world: &Arc<World>) -> Self {
        let number = (1..).find(|number| !log_file(world, *number).exists()).expect("a number");
        let log = log_file(world, number);
        let file = File::create(&log).expect("a log file");
        let child = world.site.webhookdb.command(&["serve"]).stderr(file).spawn().expect("the binary starts");
        if let Some(pid) = child.id() {
            tokio::spawn(watch_memory(Arc::clone(world), pid));
        }
        Self { world: Arc::clone(world), child, name: format!("daemon-{number}"), log }
    }

    /// A signal, if it still runs.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// It must not have ended by itself.
    pub(super) fn assert_alive(&mut self) -> bool {
        match self.child.try_wait().expect("the process can be asked") {
            None => true,
            Some(status) => {
                self.world.wrong(format!("{} ended by itself: {status}", self.name));
                false
            }
        }
    }

    /// SIGKILL; what it had not recorded may come again.
    pub(super) async fn kill(mut self) {
        let began = Instant::now();
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
        self.world.notes().deaths.push((began, Instant::now()));
    }

    fn has_said_nothing(&self) -> bool {
        std::fs::metadata(&self.log).is_ok_and(|log| log.len() == 0)
    }

    /// SIGTERM; it must end in time, and well, unless it could not record what it did.
    pub(super) async fn terminate(mut self, can_record: bool) {
        let began = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = tokio::time::timeout(GRACE + STOP_WITHIN, self.child.wait()).await;
        match status.map(|status| status.expect("the process ends")) {
            Ok(status) if ExitStatus::success(&status) => {}
            // It had not begun: not even the first line of its log was written when the signal came.
            Ok(status) if status.signal() == Some(Signal::SIGTERM as i32) && self.has_said_nothing() => {}
            Ok(status) if can_record => self.world.wrong(format!("{} stopped with {status}", self.name)),
            Ok(_) => {}
            Err(_) => {
                let took = began.elapsed();
                self.world.wrong(format!("{} did not stop within {took:?}", self.name));
                let _ = self.child.kill().await;
            }
        }
        if !can_record {
            self.world.notes().deaths.push((began, Instant::now()));
        }
    }
}

fn log_file(world: &World, number: u32) -> PathBuf {
    world.directory.join(format!("daemon-{number}.log"))
}

async fn watch_memory(world: Arc<World>, pid: u32) {
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(kib) = highest.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()) else { return };
        world.notes().saw_resident(kib);
        tokio::time::sleep(LOOK).await;
    }
}
