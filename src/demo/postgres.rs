//! A Postgres server of one's own for the demo and the tests: there in a moment, and gone without a trace.
#![allow(
    clippy::disallowed_methods,
    reason = "it drives a process by blocking calls, on threads that may block, and its own server needs no TLS"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::{Account, hand_over, private_directory};
use super::binaries::Binaries;
use super::options::PostgresOptions;
use super::throwaway_error::{ThrowawayError, io_error};
use super::watchdog::Watchdog;

/// A start that includes the recovery of a crashed test database takes a second or two on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Another server may take the port first, and the backends of a killed one hold its shared memory for a moment.
const START_ATTEMPTS: u32 = 30;
/// How long a stop may take before the server is killed; a test that expects less measures it itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the state of the server is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Below the kernel's range for outgoing connections, so that no client takes the port while the server restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What a throwaway server has by default; options come after these and win.
const SETTINGS: [(&str, &str); 10] = [
    ("wal_level", "logical"),
    ("max_wal_senders", "64"),
    ("max_replication_slots", "64"),
    ("max_connections", "300"),
    ("shared_buffers", "64MB"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("listen_addresses", "127.0.0.1"),
    ("log_line_prefix", "%m [%p] %q%a@%d "),
    ("log_checkpoints", "off"),
];

/// How a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the sessions, waits for the walsenders' clients, writes a checkpoint.
    Fast,
    /// Drops everything; the next start recovers.
    Immediate,
}

/// A running server in a private directory, listening on 127.0.0.1 and on a Unix socket. Its superuser is `postgres`.
/// Nothing of it remains when it is dropped, nor when this process is killed.
#[derive(Debug)]
pub struct ThrowawayPostgres {
    binaries: Binaries,
    account: Option<Account>,
    directory: PathBuf,
    port: u16,
    options: Mutex<PostgresOptions>,
    postmaster: Mutex<Option<Child>>,
    watchdog: Watchdog,
}

impl ThrowawayPostgres {
    /// Makes and starts one. Blocks for a second or two.
    ///
    /// # Errors
    /// Where no Postgres is installed, or it does not start.
    pub fn create(options: PostgresOptions) -> Result<Self, ThrowawayError> {
        Self::create_with(options, Self::initdb)
    }

    /// Makes and starts a standby of this server, which is stopped meanwhile. `options` say by what physical slot it gets
    /// its log, if by any.
    ///
    /// # Errors
    /// Where this server does not stop or start again, or the standby does not start.
    pub fn create_standby(&self, options: PostgresOptions) -> Result<Self, ThrowawayError> {
        self.stop(StopMode::Fast)?;
        let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let options = options.set("primary_conninfo", &conninfo);
        let copied = |standby: &Self| {
            standby.copy(&self.data_directory())?;
            self.start()
        };
        Self::create_with(options, copied)
    }

    fn create_with(
        options: PostgresOptions,
        prepare: impl FnOnce(&Self) -> Result<(), ThrowawayError>,
    ) -> Result<Self, ThrowawayError> {
        let binaries = Binaries::find()?;
        let account = Account::for_server()?;
        let directory = private_directory(account.as_ref())?;
        let watchdog = Watchdog::start(directory.path(), account.as_ref())
            .map_err(io_error("start a shell to clean up after Postgres"))?;
        // From here on it is the watchdog's to remove.
        let directory = directory.keep();
        let (options, postmaster) = (Mutex::new(options), Mutex::new(None));
        let mut server = Self { binaries, account, directory, port: 0, options, postmaster, watchdog };
        prepare(&server)?;
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// `postgres://postgres@127.0.0.1:PORT/DATABASE`, with the password where there is one.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.options().superuser_password.as_ref().map(|password| format!(":{password}"));
        self.url_of(&format!("postgres{}", password.unwrap_or_default()), database)
    }

    /// The URL for another role, `name` or `name:password`.
    #[must_use]
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Its own directory, gone with the server: the data and the log are in it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of the Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.directory()
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Connects as the superuser; the connection's task runs on the current runtime and dies with it.
    ///
    /// # Errors
    /// Where the server does not answer or has no such database.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(database), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Starts the server again on its old port after a stop or a crash, and waits until it accepts connections.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub fn start(&self) -> Result<(), ThrowawayError> {
        for _ in 0..START_ATTEMPTS {
            if self.start_once(self.port)? {
                return Ok(());
            }
            thread::sleep(POLL * 10);
        }
        Err(self.not_started())
    }

    /// Stops the server in this mode and waits until it is gone. Does nothing where it is not running.
    ///
    /// # Errors
    /// Where it does not stop in time; it is killed then.
    pub fn stop(&self, mode: StopMode) -> Result<(), ThrowawayError> {
        let signal = match mode {
            StopMode::Fast => Signal::SIGINT,
            StopMode::Immediate => Signal::SIGQUIT,
        };
        let Some(mut child) = self.postmaster().take() else { return Ok(()) };
        send(&child, signal);
        if ended_within(&mut child, STOP_TIMEOUT) {
            return Ok(());
        }
        send(&child, Signal::SIGKILL);
        let _ = child.wait();
        Err(ThrowawayError::NotStopped)
    }

    /// [`stop`](Self::stop) and [`start`](Self::start).
    ///
    /// # Errors
    /// As theirs.
    pub fn restart(&self, mode: StopMode) -> Result<(), ThrowawayError> {
        self.stop(mode)?;
        self.start()
    }

    /// Kills the postmaster with SIGKILL; its backends end by themselves when they notice.
    pub fn crash(&self) {
        if let Some(mut child) = self.postmaster().take() {
            send(&child, Signal::SIGKILL);
            let _ = child.wait();
        }
    }

    /// Sets a parameter from the next start on.
    pub fn set(&self, name: &str, value: &str) {
        let mut options = self.options();
        *options = options.clone().set(name, value);
    }

    fn options(&self) -> MutexGuard<'_, PostgresOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn postmaster(&self) -> MutexGuard<'_, Option<Child>> {
        self.postmaster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn initdb(&self) -> Result<(), ThrowawayError> {
        let mut command = self.command(&self.binaries.initdb());
        command.arg("-D").arg(self.data_directory());
        command.args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        match &self.options().superuser_password {
            None => command.args(["-A", "trust"]),
            Some(password) => command.args(["-A", "scram-sha-256"]).arg("--pwfile").arg(self.password_file(password)?),
        };
        let output = command.output().map_err(io_error("run initdb"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(ThrowawayError::Initdb { output: String::from_utf8_lossy(&said).trim().to_owned() })
    }

    /// The data of a server that is stopped, but for its slots, which are no standby's.
    fn copy(&self, data: &Path) -> Result<(), ThrowawayError> {
        let mut copy = self.command(Path::new("cp"));
        let status = copy.arg("-a").arg(data).arg(self.data_directory()).status().map_err(io_error("run cp"))?;
        if !status.success() {
            return Err(io_error("copy a data directory")(io::Error::other(status.to_string())));
        }
        let slots = std::fs::read_dir(self.data_directory().join("pg_replslot")).map_err(io_error("read the slots"))?;
        for slot in slots.flatten() {
            std::fs::remove_dir_all(slot.path()).map_err(io_error("remove a slot"))?;
        }
        let signal = self.data_directory().join("standby.signal");
        std::fs::write(&signal, "").map_err(io_error("write standby.signal"))?;
        hand_over(&signal, self.account.as_ref())
    }

    fn password_file(&self, password: &str) -> Result<PathBuf, ThrowawayError> {
        let file = self.directory.join("password");
        std::fs::write(&file, password).map_err(io_error("write the password file for initdb"))?;
        hand_over(&file, self.account.as_ref())?;
        Ok(file)
    }

    fn start_on_a_free_port(&mut self) -> Result<(), ThrowawayError> {
        for _ in 0..START_ATTEMPTS {
            self.port = free_port().map_err(io_error("find a free port"))?;
            if self.start_once(self.port)? {
                return Ok(());
            }
        }
        Err(self.not_started())
    }

    fn not_started(&self) -> ThrowawayError {
        ThrowawayError::NotStarted { log: self.log_tail(10) }
    }

    /// False where the server ended by itself.
    fn start_once(&self, port: u16) -> Result<bool, ThrowawayError> {
        let mut postmaster = self.postmaster();
        if postmaster.is_some() {
            return Ok(true);
        }
        let mut child = self.spawn(port)?;
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.is_ready(child.id()) {
            if child.try_wait().map_err(io_error("wait for Postgres"))?.is_some() {
                return Ok(false);
            }
            if Instant::now() > deadline {
                send(&child, Signal::SIGQUIT);
                let _ = child.wait();
                return Err(self.not_started());
            }
            thread::sleep(POLL);
        }
        *postmaster = Some(child);
        Ok(true)
    }

    /// Whether the postmaster has written `ready` into its lock file, which is what `pg_ctl` waits for, too.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(lock_file) = std::fs::read_to_string(self.data_directory().join("postmaster.pid")) else { return false };
        let mut lines = lock_file.lines();
        let is_own = lines.next() == Some(pid.to_string().as_str());
        // The status is the file's eighth line.
        is_own && lines.nth(6).is_some_and(|status| status.trim() == "ready")
    }

    fn spawn(&self, port: u16) -> Result<Child, ThrowawayError> {
        let mut command = self.command(&self.binaries.postgres());
        command.arg("-D").arg(self.data_directory()).arg("-p").arg(port.to_string());
        command.arg("-k").arg(&self.directory);
        let defaults = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for (name, value) in defaults.iter().chain(&self.options().settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let log = self.open_log().map_err(io_error("open the log file of Postgres"))?;
        command.stdout(Stdio::null()).stderr(log).spawn().map_err(io_error("start postgres"))
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log_file())
    }

    /// A program of the server, under its account, in the watchdog's process group, with nothing of our environment
    /// that would change what it does.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).process_group(self.watchdog.process_group());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(account) = &self.account {
            account.apply(&mut command);
        }
        command
    }
}

impl Drop for ThrowawayPostgres {
    fn drop(&mut self) {
        self.watchdog.finish();
        if let Some(mut child) = self.postmaster().take() {
            let _ = child.wait();
        }
        // The watchdog has done it, unless somebody killed the watchdog.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> io::Result<u16> {
    let tries = std::iter::repeat_with(|| rand::random_range(PORTS)).take(100);
    for port in tries {
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn send(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // A process that is gone already needs no signal.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn ended_within(child: &mut Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(POLL);
    }
    false
}
