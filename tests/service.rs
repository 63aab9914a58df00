//! What the service manager is told, by its own protocol, and what SIGHUP changes.

use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::UnixDatagram;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use webhookdb_notifications::demo::{PostgresOptions, StopMode};

use crate::support::fixtures::{backfill_charges, upsert_charge};
use crate::support::{PATIENCE, Receiver, Reply, Site, cluster, own_cluster};

/// Within this the watchdog wants a sign of life; a busy machine is late by less.
const PERIOD: Duration = Duration::from_secs(4);

/// A service manager's end of the protocol.
struct Manager {
    heard: Mutex<mpsc::Receiver<Vec<String>>>,
    directory: TempDir,
    listening: JoinHandle<()>,
}

/// Messages that no test has looked at yet: more than one brings.
const HEARD: usize = 4096;

impl Manager {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        let (hears, heard) = mpsc::channel(HEARD);
        Self { heard: Mutex::new(heard), directory, listening: tokio::spawn(listen(socket, hears)) }
    }

    /// The site, whose daemons are told of this manager and of its watchdog.
    fn watches(&self, site: Site) -> Site {
        let path = self.directory.path().join("notify");
        let webhookdb = site
            .webhookdb
            .environment("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
            .environment("WATCHDOG_USEC", &PERIOD.as_micros().to_string());
        Site { webhookdb, ..site }
    }

    /// The next message's lines; none where nothing comes for so long.
    async fn next(&self, patience: Duration) -> Option<Vec<String>> {
        let mut heard = self.heard.lock().await;
        tokio::time::timeout(patience, heard.recv()).await.ok().flatten()
    }

    /// Waits for a message that has such a line, and returns all that came until then, it included.
    async fn hears(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
        let mut heard = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Some(message) = self.next(deadline.saturating_duration_since(Instant::now())).await {
            let found = message.iter().any(|line| wanted(line));
            heard.push(message);
            if found {
                return heard;
            }
        }
        panic!("{what} was not heard: {heard:?}");
    }

    async fn hears_line(&self, line: &str) -> Vec<Vec<String>> {
        self.hears(line, |heard| heard == line).await
    }

    /// Waits for so many signs of life, from now on.
    async fn hears_life(&self, times: usize) {
        while self.next(Duration::ZERO).await.is_some() {}
        for _ in 0..times {
            self.hears_line("WATCHDOG=1").await;
        }
    }

    /// Waits until there is no sign of life for two whole periods.
    async fn hears_life_no_more(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Instant::now();
        while last.elapsed() < 2 * PERIOD {
            assert!(Instant::now() < deadline, "the watchdog is fed all the same");
            let left = (2 * PERIOD).saturating_sub(last.elapsed());
            if self.next(left).await.is_some_and(|message| message.iter().any(|line| line == "WATCHDOG=1")) {
                last = Instant::now();
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Takes every message at once, as a service manager does: the kernel keeps ten of them, and whoever sends more waits.
async fn listen(socket: UnixDatagram, hears: mpsc::Sender<Vec<String>>) {
    let mut buffer = vec![0; 8192];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let text = String::from_utf8(buffer[..length].to_vec()).expect("UTF-8");
        if hears.send(text.lines().map(str::to_owned).collect()).await.is_err() {
            return;
        }
    }
}

fn has(messages: &[Vec<String>], wanted: &str) -> bool {
    messages.iter().flatten().any(|line| line == wanted)
}

#[tokio::test]
async fn it_is_ready_when_it_streams_and_tells_its_lag_and_that_it_stops() {
    let manager = Manager::start();
    let site = manager.watches(Site::new("notify").await);
    let daemon = site.webhookdb.serve_unready().await;
    manager.hears_line("READY=1").await;
    let (status, answer) = daemon.readyz().await;
    assert_eq!(status, 200, "{answer}");
    manager.hears("the lag", |line| line.starts_with("STATUS=streaming, lag ")).await;
    manager.hears_life(2).await;
    assert_eq!(daemon.terminate().await.code(), Some(0));
    let last = manager.hears_line("STOPPING=1").await;
    assert!(!has(&last, "READY=1"), "{last:?}");
}

#[tokio::test]
async fn a_start_lasts_while_the_server_is_away_and_asks_for_more_time_as_long_as_it_turns() {
    let manager = Manager::start();
    let server = own_cluster(PostgresOptions::default());
    let site = manager.watches(Site::on(&server, "notify_away").await);
    cluster::stop(&server, StopMode::Fast).await;
    let daemon = site.webhookdb.serve_unready().await;
    let mut heard = manager.hears("why it waits", |line| line.starts_with("STATUS=waiting: ")).await;
    let longer = format!("EXTEND_TIMEOUT_USEC={}", PERIOD.as_micros());
    for _ in 0..3 {
        heard.extend(manager.hears_line(&longer).await);
    }
    assert!(!has(&heard, "READY=1"), "{heard:?}");
    // A signal to reload does not end the start.
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the config file was read again").await;
    let heard = manager.hears_line(&longer).await;
    assert!(!has(&heard, "READY=1") && !has(&heard, "RELOADING=1"), "{heard:?}");
    cluster::start(&server).await;
    manager.hears_line("READY=1").await;
    // Once it runs, a server that goes away is no reason to be killed.
    cluster::stop(&server, StopMode::Fast).await;
    daemon.wait_for_readyz("waiting", |_, answer| answer["status"] == "waiting").await;
    manager.hears_life(6).await;
    cluster::start(&server).await;
    daemon.wait_until_ready().await;
}

#[tokio::test]
async fn a_standby_is_ready_and_says_that_it_stands_by() {
    let manager = Manager::start();
    let site = Site::new("notify_standby").await;
    let first = site.serve().await;
    let site = manager.watches(site);
    let standby = site.webhookdb.serve_unready().await;
    let heard = manager.hears_line("READY=1").await;
    let stands_by = |line: &str| line.starts_with("STATUS=standing by: ");
    if !heard.iter().flatten().any(|line| stands_by(line)) {
        manager.hears("that it stands by", stands_by).await;
    }
    manager.hears_life(2).await;
    first.kill9().await;
    manager.hears("that it streams", |line| line.starts_with("STATUS=streaming")).await;
    standby.wait_until_ready().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_and_what_it_holds_back_are_no_reason_to_be_killed() {
    let manager = Manager::start();
    let config = |config: crate::support::Config| {
        config.set("delivery.timeout", "60s").set("delivery.max_pending", 20).set("delivery.when_full", "pause")
    };
    let site = manager.watches(Site::with("notify_hang", config).await);
    let receiver = Receiver::start().await;
    receiver.always(Reply::Hang);
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    backfill_charges(site.database.client(), 1..=500).await;
    daemon.wait_for_readyz("held back", |_, answer| answer["status"] == "waiting").await;
    manager.hears_life(6).await;
}

/// Fills a pipe, of which this is the end that is read.
fn fill(pipe: &impl AsRawFd) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    // Opened anew: what is set here does not concern whoever else writes to it.
    let opened = std::fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path);
    let mut writer = opened.expect("the pipe's other end");
    let page = [b'.'; 4096];
    let error = std::iter::repeat_with(|| writer.write(&page)).find_map(Result::err);
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
}

/// Whoever reads its log stands still, so that whatever logs is blocked, thread after thread: the process lives, the signals'
/// thread too, and nothing turns.
#[tokio::test]
async fn a_pipeline_that_is_stuck_feeds_the_watchdog_no_more() {
    let manager = Manager::start();
    let site = manager.watches(Site::new("notify_stuck").await);
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let mut daemon = site.webhookdb.command(&["serve"]).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut log = daemon.stderr.take().expect("stderr is piped");
    let mut chunk = vec![0; 1 << 16];
    let ready = manager.hears_line("READY=1");
    tokio::select! {
        _ = ready => {}
        _ = async { while log.read(&mut chunk).await.is_ok_and(|length| length > 0) {} } => panic!("it has ended"),
    }
    // Something to tell, where there is no room for it.
    fill(&log);
    upsert_charge(site.database.client(), "ch_1", 1, 1).await;
    manager.hears_life_no_more().await;
    assert!(daemon.try_wait().expect("its state").is_none(), "it has ended");
    // It was nothing else: once the log is read, everything turns again.
    let reading = async { while log.read(&mut chunk).await.is_ok_and(|length| length > 0) {} };
    tokio::select! {
        () = manager.hears_life(2) => {}
        () = reading => panic!("it has ended"),
    }
}

#[tokio::test]
async fn sighup_takes_over_what_can_change_and_names_what_needs_a_restart() {
    let manager = Manager::start();
    let config = |config: crate::support::Config| config.set("delivery.timeout", "60s").set("log.level", "info");
    let site = manager.watches(Site::with("sighup", config).await);
    let receiver = Receiver::start().await;
    receiver.respond(|request| if request.times_seen < 2 { Reply::Hang } else { Reply::OK });
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    let changed = site.config.clone().set("delivery.timeout", "300ms").set("delivery.memory", "32MiB");
    site.webhookdb.reconfigure(&changed.set("log.level", "debug"));
    daemon.signal(Signal::SIGHUP);
    let heard = manager.hears_line("RELOADING=1").await;
    let reloading = heard.last().expect("a message");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.hears_line("READY=1").await;
    daemon.wait_for_log("the config file was read again").await;
    let log = daemon.log();
    let line = |words: &str| log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {log}"));
    assert!(line("needs a restart").contains("[delivery] memory"), "{log}");
    let applied = line("was read again");
    assert!(applied.contains("[delivery] timeout") && applied.contains("[log] level"), "{log}");
    // The first attempt hangs for no longer than the new timeout.
    backfill_charges(site.database.client(), 1..=1).await;
    receiver.wait_for(2).await;
    daemon.wait_for_log("DEBUG").await;
}

#[tokio::test]
async fn retries_and_refused_networks_follow_the_config_without_a_restart() {
    let site = Site::with("sighup_retries", |config| {
        config.set("delivery.retry_base", "20s").set("delivery.retry_cap", "20s")
    })
    .await;
    let receiver = Receiver::start().await;
    receiver.always(Reply::Status(500));
    let id = site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    site.webhookdb.reconfigure(&site.config.clone().set("delivery.max_attempts", 2).set("delivery.retry_base", "50ms"));
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("the config file was read again").await;
    backfill_charges(site.database.client(), 1..=1).await;
    daemon.wait_for_metric("notifications_total", &[("subscription", &id), ("outcome", "failed")], 1.0).await;
    assert_eq!(receiver.count(), 2);
    let refused = site.config.clone().set("delivery.allow_networks", toml::Value::Array(Vec::new()));
    site.webhookdb.reconfigure(&refused);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_log("[delivery] allow_networks").await;
    backfill_charges(site.database.client(), 2..=2).await;
    daemon.wait_for_metric("attempts_total", &[("subscription", &id), ("outcome", "guard")], 1.0).await;
    assert_eq!(receiver.count(), 2, "a refused network was sent to");
}

#[tokio::test]
async fn a_config_file_that_is_wrong_is_refused_whole_and_the_old_one_holds() {
    let manager = Manager::start();
    let site = manager.watches(Site::with("sighup_wrong", |config| config.set("delivery.timeout", "5s")).await);
    let receiver = Receiver::start().await;
    site.subscribe("stripe_charge_v1", &receiver.url("/")).await;
    let daemon = site.serve().await;
    let wrong =
        site.config.clone().set("delivery.retry_capp", "1s").set("log.level", "trace").set("delivery.memory", "1GB!");
    site.webhookdb.reconfigure(&wrong);
    daemon.signal(Signal::SIGHUP);
    manager.hears_line("RELOADING=1").await;
    manager.hears_line("READY=1").await;
    daemon.wait_for_log("the config file is refused").await;
    let log = daemon.log();
    // Every problem, as at a start.
    assert!(log.contains("retry_capp") && log.contains("memory"), "{log}");
    backfill_charges(site.database.client(), 1..=1).await;
    receiver.wait_for(1).await;
    assert!(!daemon.log().contains("TRACE"), "the level of a refused file holds");
    // Neither does a file that is not there end it.
    std::fs::remove_file(site.webhookdb.config_path()).expect("the config file is there");
    daemon.signal(Signal::SIGHUP);
    manager.hears_line("RELOADING=1").await;
    manager.hears_line("READY=1").await;
    backfill_charges(site.database.client(), 2..=2).await;
    receiver.wait_for(2).await;
}

#[tokio::test]
async fn the_health_check_says_whether_the_daemon_lives_and_whether_it_streams() {
    let server = own_cluster(PostgresOptions::default());
    let site = Site::on(&server, "healthcheck").await;
    let stderr = site.webhookdb.run(&["healthcheck"]).await.fails_with(1);
    assert!(stderr.contains("port 0"), "{stderr}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    site.webhookdb.reconfigure(&site.config.clone().set("http.listen", format!("0.0.0.0:{port}")));
    let stderr = site.webhookdb.run(&["healthcheck"]).await.fails_with(1);
    assert!(stderr.contains("no daemon answers"), "{stderr}");
    let daemon = site.serve().await;
    assert!(site.webhookdb.run(&["healthcheck"]).await.ok().contains("alive"));
    assert!(site.webhookdb.run(&["healthcheck", "--ready"]).await.ok().contains("streaming"));
    cluster::stop(&server, StopMode::Fast).await;
    daemon.wait_for_readyz("waiting", |_, answer| answer["status"] == "waiting").await;
    assert!(site.webhookdb.run(&["healthcheck"]).await.ok().contains("alive"));
    let output = site.webhookdb.run(&["healthcheck", "--ready"]).await;
    assert!(output.stdout.contains("waiting"), "{output:#?}");
    output.fails_with(1);
}
