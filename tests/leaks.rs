//! Secrets that are planted everywhere show up nowhere: in no log, error, answer, metric, or process's arguments, and in no core
//! dump.

use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::process::Command;
use webhookdb_notifications::demo::{PostgresOptions, ThrowawayPostgres};

use crate::support::fixtures::upsert_charge_with;
use crate::support::{Config, Output, Receiver, Reply, Site, TestDatabase, Webhookdb, own_cluster};

const PASSWORD: &str = "planted-database-password";
const WRONG_PASSWORD: &str = "planted-wrong-password";
const ADMIN_PASSWORD: &str = "planted-admin-password";
const SIGNING_SECRET: &str = "planted signing secret, long enough for nobody to warn";
const KEY: &str = "planted encryption key, 32 bytes";
const OLD_KEY: &str = "planted older key, of 32 bytes .";
const URL_PASSWORD: &str = "planted-password-in-endpoint";
/// What is in a row is no less private.
const CELL: &str = "planted-cell-value";

const PLANTED: [&str; 8] = [PASSWORD, WRONG_PASSWORD, ADMIN_PASSWORD, SIGNING_SECRET, KEY, OLD_KEY, URL_PASSWORD, CELL];

/// All that was printed, served or logged, each with where it was.
#[derive(Default)]
struct Gathered(Vec<(String, String)>);

impl Gathered {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn take(&mut self, output: &Output) {
        // The arguments are what a user typed.
        self.add(&output.arguments, format!("{}{}", output.stdout, output.stderr));
    }

    /// Asserts that none of these is anywhere, as it is or in base64, and that there was something to look at.
    #[track_caller]
    fn assert_clean(&self, secrets: &[&str]) {
        for (place, text) in &self.0 {
            assert!(!text.trim().is_empty(), "{place} says nothing");
            for secret in secrets {
                let encoded = data_encoding::BASE64.encode(secret.as_bytes());
                // The end depends on what follows.
                let encoded = &encoded[..encoded.len() - 4];
                let shown = text.lines().find(|line| line.contains(secret) || line.contains(encoded));
                assert_eq!(shown, None, "{place} shows {secret:?}");
            }
        }
    }
}

fn server() -> Arc<ThrowawayPostgres> {
    own_cluster(PostgresOptions::default().superuser_password(PASSWORD))
}

/// With a key and an older one, and every line that there is in the log.
fn talkative(config: Config) -> Config {
    config
        .set("catalog.encryption_key", KEY)
        .set("catalog.encryption_key_id", 1)
        .set("catalog.old_encryption_keys", vec![format!("0:{OLD_KEY}")])
        .set("log.level", "trace,tokio_postgres::query=trace")
        .set("delivery.max_attempts", 2)
}

async fn subscribe(site: &Site, url: &str) -> String {
    let file = site.webhookdb.directory().join("secret");
    std::fs::write(&file, SIGNING_SECRET).expect("a file");
    let file = file.to_str().expect("a path");
    let create = ["notification", "create", "--integration=stripe_charge_v1", "--secret-file", file, "--url", url];
    site.webhookdb.run(&create).await.ok();
    site.newest_subscription_to(url).await
}

async fn write(site: &Site, id: &str) {
    let data = serde_json::json!({ "note": CELL });
    upsert_charge_with(site.database.client(), id, 1, 1, &data).await;
}

#[tokio::test]
async fn no_program_tells_what_was_planted_while_it_works() {
    assert_nothing_is_told_of("leaks_text", "text", "TRACE").await;
}

#[tokio::test]
async fn nor_does_it_where_it_logs_json() {
    assert_nothing_is_told_of("leaks_json", "json", "\"level\":\"TRACE\"").await;
}

async fn assert_nothing_is_told_of(name: &str, format: &str, traced: &str) {
    let database = TestDatabase::create_on(&server(), name).await;
    let site = Site::in_database(database, |config| talkative(config).set("log.format", format)).await;
    let (well, ill) = (endpoint().await, endpoint().await);
    ill.always(Reply::Full(500, "x-why", "none".to_owned(), "no".to_owned()));
    let id = subscribe(&site, &well.url("/")).await;
    let failing = subscribe(&site, &ill.url("/")).await;
    let tls = Receiver::start_with_tls().await;
    subscribe(&site, &tls.url("/")).await;
    subscribe(&site, "http://127.0.0.1:1/nobody").await;
    let daemon = site.serve().await;
    write(&site, "ch_1").await;
    well.wait_for(1).await;
    let given_up = "SELECT count(*) = 3 FROM notifications.outbox WHERE state = 'failed'";
    site.database.wait_until("the others are given up", given_up).await;
    let mut gathered = Gathered::default();
    for command in COMMANDS {
        let arguments = command.split(' ').map(|word| match word {
            "ID" => id.as_str(),
            "FAILING" => failing.as_str(),
            word => word,
        });
        gathered.take(&site.webhookdb.run(&arguments.collect::<Vec<_>>()).await);
    }
    let rotated = site.webhookdb.run(&["notification", "rotate", &id]).await.ok();
    let new = rotated.lines().find_map(|line| line.strip_prefix("Verify with: whsec_")).expect("it is shown once");
    for path in ["/metrics", "/readyz", "/healthz"] {
        gathered.add(path, daemon.get(path).await.1);
    }
    let arguments = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).expect("the daemon runs");
    gathered.add("the daemon's arguments", String::from_utf8_lossy(&arguments));
    let stored = "SELECT string_agg(secret, ' ') FROM notifications.subscriptions";
    let stored = site.database.text(stored).await.expect("secrets");
    daemon.signal(Signal::SIGTERM);
    daemon.wait_for_log("drained").await;
    assert!(daemon.log().contains(traced), "nothing is traced");
    gathered.add("the log", daemon.log());
    gathered.assert_clean(&[&[new][..], &stored.split(' ').collect::<Vec<_>>(), &PLANTED].concat());
}

async fn endpoint() -> Receiver {
    Receiver::start_with_secret(SIGNING_SECRET).await
}

/// Each says something; none is about secrets. `ID` and `FAILING` are of subscriptions.
const COMMANDS: [&str; 20] = [
    "--help",
    "setup --help",
    "notification --help",
    "notification create --help",
    "notification rotate --help",
    "status --help",
    "setup",
    "setup --sql",
    "status",
    "status --format json",
    "org list --format raw",
    "integrations list --format raw",
    "notification list",
    "notification list --format raw",
    "notification show ID --format raw",
    "notification show FAILING",
    "notification failures FAILING",
    "notification retry FAILING --all",
    "notification test ID",
    "notification test FAILING",
];

#[tokio::test]
async fn no_error_tells_what_was_planted() {
    let server = server();
    let database = TestDatabase::create_on(&server, "leaks_errors").await;
    let mut gathered = Gathered::default();
    let good = talkative(Config::new(&database));
    let with_url = |url: &str| good.clone().set("catalog.url", url).set("source.url", url);
    let at = |authority: &str| format!("postgres://{authority}/{}", database.name());
    let port = server.port();
    for url in [
        at(&format!("postgres:{WRONG_PASSWORD}@127.0.0.1:{port}")),
        at(&format!("nobody:{WRONG_PASSWORD}@127.0.0.1:{port}")),
        at(&format!("postgres:{PASSWORD}@127.0.0.1:1")),
        format!("{}?sslmode=require", at(&format!("postgres:{PASSWORD}@127.0.0.1:{port}"))),
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/no_such_database"),
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres?application_name=x"),
        at(&format!("postgres:{PASSWORD}/@127.0.0.1")),
        at(&format!("postgres:{PASSWORD}@127.0.0.1:port")),
        format!("postgres:{PASSWORD}@127.0.0.1"),
    ] {
        let webhookdb = Webhookdb::new(&with_url(&url));
        for command in
            [&["setup"][..], &["setup", "--sql"], &["status"], &["status", "--format", "json"], &["org", "list"]]
        {
            gathered.take(&webhookdb.run(command).await);
        }
    }
    let site = Site::in_database(database, talkative).await;
    let failing = with_failing_admin(&site, port).await;
    failing.iter().for_each(|output| gathered.take(output));
    let create = ["notification", "create", "--integration=stripe_charge_v1", "--secret"];
    for arguments in [
        &[SIGNING_SECRET, "--url", &format!("https://user:{URL_PASSWORD}@127.0.0.1/")][..],
        &[SIGNING_SECRET, "--url", "https://169.254.169.254/"],
        &[SIGNING_SECRET, "--secret-file", "/nowhere"],
        &[SIGNING_SECRET, "--org"],
        &[&format!("whsec_{SIGNING_SECRET}"), "--url", "https://127.0.0.1/"],
    ] {
        let output = site.webhookdb.run(&[&create[..], arguments].concat()).await;
        assert_ne!(output.status, 0, "{output:?}");
        gathered.take(&output);
    }
    for (key, value) in [
        ("catalog.encryption_key", format!("{KEY}!").into()),
        ("catalog.encryption_key_file", KEY.into()),
        ("catalog.encryption_key_id", 256.into()),
        ("catalog.old_encryption_keys", toml::Value::from(vec![format!("1:{OLD_KEY}"), OLD_KEY.to_owned()])),
        ("catalog.schema", format!("postgres://postgres:{PASSWORD}@h/d").into()),
    ] {
        let webhookdb = Webhookdb::new(&site.config.clone().set(key, value));
        let output = webhookdb.run(&["serve"]).await;
        assert_eq!(output.status, 2, "{output:?}");
        gathered.take(&output);
    }
    gathered.assert_clean(&PLANTED);
}

/// What `setup` says by the rights of somebody who has none, or who is none.
async fn with_failing_admin(site: &Site, port: u16) -> Vec<Output> {
    let mut outputs = Vec::new();
    for url in [
        format!("postgres://admin:{ADMIN_PASSWORD}@127.0.0.1:{port}/postgres"),
        format!("postgres://postgres:{ADMIN_PASSWORD}@127.0.0.1:{port}/postgres"),
        format!("postgres://postgres:{ADMIN_PASSWORD}@127.0.0.1:1/postgres"),
        format!("http://postgres:{ADMIN_PASSWORD}@127.0.0.1"),
        ADMIN_PASSWORD.to_owned(),
    ] {
        let output = site.webhookdb.run(&["setup", "--admin-url", &url]).await;
        assert_ne!(output.status, 0, "{output:?}");
        outputs.push(output);
        let webhookdb = Webhookdb::new(&site.config).environment("WEBHOOKDB_ADMIN_URL", &url);
        outputs.push(webhookdb.run(&["setup", "--help"]).await);
    }
    outputs
}

#[tokio::test]
async fn a_daemon_leaves_no_core_dump() {
    let site = Site::new("core_dump").await;
    let mut daemon = site.serve().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("the daemon runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    if !dumps_core(site.webhookdb.directory()).await {
        eprintln!("NOT APPLICABLE: no core can be dumped here at all");
        return;
    }
    // Lifted by somebody with the right to do so: the process is not to be dumped for all that.
    raise_limit(daemon.pid()).await;
    daemon.signal(Signal::SIGABRT);
    let status = daemon.exited().await;
    assert!(!std::os::unix::process::ExitStatusExt::core_dumped(&status), "{status:?}");
}

/// Whether another process would leave a core dump, in this directory, once its limit is lifted so.
async fn dumps_core(directory: &std::path::Path) -> bool {
    let mut command = Command::new("sleep");
    let mut child = command.arg("60").current_dir(directory).kill_on_drop(true).spawn().expect("sleep");
    let pid = child.id().expect("it runs");
    if !raise_limit(pid).await {
        return false;
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process id"));
    nix::sys::signal::kill(pid, Signal::SIGABRT).expect("it runs");
    std::os::unix::process::ExitStatusExt::core_dumped(&child.wait().await.expect("it ends"))
}

async fn raise_limit(pid: u32) -> bool {
    let mut command = Command::new("prlimit");
    command.args(["--core=unlimited:unlimited", "--pid"]).arg(pid.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
