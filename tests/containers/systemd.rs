//! The Debian package under a systemd that has booted.

use webhookdb_notifications_container_tests::{Container, Stage, log, run, shell, wait_until};

const UNIT: &str = "webhookdb-notifications.service";

/// The exposure that the unit may have by `systemd-analyze security`, in tenths.
const EXPOSURE_MAX: &str = "15";

/// The program as an operator calls it, with what the unit gets as credentials.
const PROGRAM: &str = "CREDENTIALS_DIRECTORY=/etc/credstore webhookdb-notifications";

/// A machine with the package installed and the database prepared.
struct Service {
    stage: Stage,
    machine: Container,
}

impl Service {
    async fn installed() -> Self {
        let stage = Stage::new("18").await;
        let machine = stage.machine().await;
        run(&machine, &["dpkg", "--install", "/root/webhookdb-notifications.deb"]).await.ok();
        let service = Self { stage, machine };
        // A first installation enables and starts nothing: there is no config.
        assert_eq!(run(&service.machine, &["systemctl", "is-enabled", UNIT]).await.stdout.trim(), "disabled");
        assert_eq!(service.property("ActiveState").await, "inactive");
        let url = service.stage.database_url();
        let store = format!("umask 077; printf %s '{url}' >/etc/credstore/webhookdb.catalog-url");
        shell(&service.machine, &store).await.ok();
        service.configure("info", "").await;
        service.stage.prepare(&service.machine, PROGRAM).await;
        service
    }

    /// Writes the config file: readable for the service's account, and no secret in it.
    async fn configure(&self, level: &str, more: &str) {
        let catalog = "url_file = \"${CREDENTIALS_DIRECTORY}/webhookdb.catalog-url\"";
        let text = self.stage.config(catalog, level) + more;
        let write = format!(
            "cat >/etc/webhookdb/config.toml <<'END'\n{text}END\n\
             chgrp webhookdb /etc/webhookdb/config.toml && chmod 640 /etc/webhookdb/config.toml"
        );
        shell(&self.machine, &write).await.ok();
    }

    /// Settings of this machine, or none of them.
    async fn drop_in(&self, lines: Option<&str>) {
        let directory = "/etc/systemd/system/webhookdb-notifications.service.d";
        let change = match lines {
            Some(lines) => format!("mkdir -p {directory} && printf '[Service]\\n%b' '{lines}' >{directory}/test.conf"),
            None => format!("rm -rf {directory}"),
        };
        shell(&self.machine, &format!("{change} && systemctl daemon-reload")).await.ok();
    }

    async fn systemctl(&self, verb: &str) -> webhookdb_notifications_container_tests::Output {
        let output = run(&self.machine, &["systemctl", verb, UNIT]).await;
        if output.status != 0 {
            println!("{}", self.journal().await);
        }
        output
    }

    async fn property(&self, name: &str) -> String {
        let command = ["systemctl", "show", "--value", "--property", name, UNIT];
        run(&self.machine, &command).await.ok().trim().to_owned()
    }

    async fn wait_for_property(&self, name: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_until(name, async || self.property(name).await, |value| wanted(value)).await
    }

    async fn journal(&self) -> String {
        run(&self.machine, &["journalctl", "--no-pager", "--output=cat", "--unit", UNIT]).await.ok()
    }

    async fn wait_for_journal(&self, words: &str) -> String {
        wait_until(words, async || self.journal().await, |journal| journal.contains(words)).await
    }

    /// It runs, streams, and what is committed arrives.
    async fn serves(&self, id: &str) {
        self.wait_for_property("ActiveState", |state| state == "active").await;
        let ready = async || shell(&self.machine, &format!("{PROGRAM} healthcheck --ready")).await;
        wait_until("streaming", ready, |output| output.status == 0).await;
        self.stage.insert(id).await;
        self.stage.wait_for_arrival("row.inserted", id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_package_installs_a_service_that_is_ready_reloads_stops_and_is_removed() {
    let service = Service::installed().await;
    let machine = &service.machine;

    let unit = "/usr/lib/systemd/system/webhookdb-notifications.service";
    let verified = run(machine, &["systemd-analyze", "verify", unit]).await;
    assert!(!verified.stderr.contains("webhookdb-notifications"), "{verified:#?}");
    verified.ok();
    let judged = run(machine, &["systemd-analyze", "security", "--no-pager", "--threshold", EXPOSURE_MAX, UNIT]).await;
    let judged = judged.ok();
    println!("{}", judged.lines().last().unwrap_or_default());

    // Returns when it is ready, and that is when it streams.
    run(machine, &["systemctl", "enable", "--now", UNIT]).await.ok();
    shell(machine, &format!("{PROGRAM} healthcheck --ready")).await.ok();
    service.wait_for_property("StatusText", |status| status.starts_with("streaming, lag ")).await;
    let pid = service.property("MainPID").await;
    // Its files in /proc are root's, since nobody else may look into it.
    let account = format!("[ \"$(id -u webhookdb)\" = \"$(awk '/^Uid/ {{ print $2 }}' /proc/{pid}/status)\" ]");
    shell(machine, &account).await.ok();
    service.serves("ch_1").await;
    let journal = service.wait_for_journal("streaming").await;
    assert!(!journal.contains("not-a-secret") && !journal.contains("core dump"), "{journal}");
    // Neither do the arguments or the environment of the process, nor the unit's properties, show the password.
    let look = format!("tr '\\0' ' ' </proc/{pid}/cmdline; tr '\\0' ' ' </proc/{pid}/environ; systemctl show {UNIT}");
    let told = shell(machine, &look).await.ok();
    assert!(told.contains("/etc/webhookdb/config.toml") && !told.contains("not-a-secret"), "{told}");

    service.configure("debug", "").await;
    service.systemctl("reload").await.ok();
    service.wait_for_journal("applied=\"[log] level\"").await;
    service.configure("debug", "[delivery.wrong]\n").await;
    service.systemctl("reload").await.ok();
    service.wait_for_journal("the config file is refused").await;
    service.configure("info", "").await;
    assert_eq!(service.property("MainPID").await, pid, "a reload is no restart");
    service.serves("ch_2").await;

    service.systemctl("stop").await.ok();
    assert_eq!(
        (service.property("Result").await, service.property("ExecMainStatus").await),
        ("success".into(), "0".into())
    );
    let journal = service.journal().await;
    assert!(journal.contains("drained"), "{journal}");
    service.stage.insert("ch_3").await;
    service.systemctl("start").await.ok();
    service.stage.wait_for_arrival("row.inserted", "ch_3").await;

    run(machine, &["dpkg", "--remove", "webhookdb-notifications"]).await.ok();
    assert_eq!(service.property("LoadState").await, "not-found");
    shell(machine, "! pgrep webhookdb-notif").await.ok();
    // What has arrived has arrived once: both stops were orderly.
    let arrivals = log(&service.stage.receiver).await;
    for id in ["ch_1", "ch_2", "ch_3"] {
        assert_eq!(arrivals.matches(&format!("row.inserted {id} ")).count(), 1, "{arrivals}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_or_is_stuck_is_started_again() {
    let service = Service::installed().await;
    service.drop_in(Some("WatchdogSec=6s\\nRestartSec=1s\\n")).await;
    service.systemctl("start").await.ok();
    service.serves("ch_1").await;

    run(&service.machine, &["systemctl", "kill", "--signal=KILL", UNIT]).await.ok();
    service.wait_for_property("NRestarts", |restarts| restarts == "1").await;
    service.serves("ch_2").await;

    // The whole process stands still.
    run(&service.machine, &["systemctl", "kill", "--signal=STOP", UNIT]).await.ok();
    service.wait_for_journal("Watchdog timeout (limit 6s)").await;
    service.wait_for_property("NRestarts", |restarts| restarts == "2").await;
    service.serves("ch_3").await;

    // A database that is away is no reason: for longer than the watchdog waits, nothing is restarted.
    service.stage.postgres.stop_with_timeout(Some(30)).await.expect("Postgres stops");
    service.wait_for_property("StatusText", |status| status.starts_with("waiting: ")).await;
    let since = service.property("WatchdogTimestampMonotonic").await;
    let later = |now: &str| micros(now) > micros(&since) + 2 * 6_000_000;
    service.wait_for_property("WatchdogTimestampMonotonic", later).await;
    service.stage.postgres.start().await.expect("Postgres starts");
    service.stage.wait_for_postgres().await;
    service.serves("ch_4").await;
    assert_eq!(service.property("NRestarts").await, "2");

    // The pipeline alone is stuck, in a process that lives: whoever reads its log has stopped reading, so that each thread that
    // logs is blocked.
    let reader = "mkfifo /run/unread && systemd-run --unit=reader sh -c 'exec sleep infinity <>/run/unread'";
    shell(&service.machine, reader).await.ok();
    service.drop_in(Some("WatchdogSec=6s\\nStandardError=file:/run/unread\\nRestart=no\\n")).await;
    service.systemctl("stop").await.ok();
    service.systemctl("start").await.ok();
    service.serves("ch_5").await;
    // There is no room, and something to tell: where a subscription starts.
    let fill = "dd if=/dev/zero of=/run/unread bs=4096 oflag=nonblock";
    let filled = shell(&service.machine, fill).await;
    assert!(filled.stderr.contains("temporarily unavailable"), "{filled:?}");
    service.stage.subscribe(&service.machine, PROGRAM).await;
    service.wait_for_property("Result", |result| result == "watchdog").await;
    assert_eq!(service.property("ExecMainCode").await, "2", "killed, not ended");
    service.drop_in(None).await;
    service.systemctl("start").await.ok();
    service.serves("ch_6").await;
}

fn micros(text: &str) -> u64 {
    text.parse().expect("a number of microseconds")
}
